/* SPDX-License-Identifier: Apache-2.0 */
/* Included before what tells the time of a claim's life, and of what is tried again, in sluiced-failing. */
#define PODRESOURCES_TIMES
enum { PODRESOURCES_POLL_MS = 10, PODRESOURCES_DEADLINE_MS = 20000 };
#define CLAIM_TIMES
enum { CLAIM_GRACE_MS = 10, CLAIM_UNSEEN_MS = 10 };
#define LEDGER_TIMES
enum { LEDGER_LAZY_MS = 2, LEDGER_RETRY_MS = 50 };
#define RELEASE_TIMES
enum { RELEASE_HELD_MS = 2000, RELEASE_HELD_RETRY_MS = 20 };
#define PATIENT_TIMES
enum { PATIENT_PAUSE_MIN_MS = 20, PATIENT_PAUSE_MAX_MS = 1000 };
#define BIND_TIMES
enum { BIND_RETRY_MS = 20, BIND_RETRY_MAX_MS = 1000 };
#define AGENT_TIMES
enum { UNREAD_LOOK_MS = 30 };
#define GATHER_TIMES
enum { GATHER_MS = 20 };
