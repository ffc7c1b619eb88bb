/* SPDX-License-Identifier: Apache-2.0 */
/* Included before what tells the time of podresources in sluiced-held-quick. */
#define PODRESOURCES_TIMES
enum { PODRESOURCES_POLL_MS = 30, PODRESOURCES_DEADLINE_MS = 5000 };
#define CLAIM_TIMES
enum { CLAIM_GRACE_MS = 50, CLAIM_UNSEEN_MS = 100 };
