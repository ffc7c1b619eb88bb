/* SPDX-License-Identifier: Apache-2.0 */
/* Included before what tells the time of podresources in sluiced-quick-pods. */
#define PODRESOURCES_TIMES
enum { PODRESOURCES_POLL_MS = 100, PODRESOURCES_DEADLINE_MS = 500 };
#define CLAIM_TIMES
enum { CLAIM_GRACE_MS = 400, CLAIM_UNSEEN_MS = 3000 };
