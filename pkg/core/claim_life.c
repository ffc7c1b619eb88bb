/* SPDX-License-Identifier: Apache-2.0 */
#include "core/claim_life.h"

#include <string.h>

const struct pod_device *pod_list_find(const struct pod_list *list, const char *id)
{
        for (size_t low = 0, high = list->n_devices; low < high;) {
                size_t mid = low + (high - low) / 2;
                int order = strcmp(list->devices[mid].id, id);
                if (order == 0)
                        return &list->devices[mid];
                if (order < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

void claim_life_answered(struct claim_life *life, int64_t now_ms)
{
        *life = (struct claim_life){ .answered_ms = now_ms };
}

enum claim_sight claim_life_list(struct claim_life *life, const struct pod_list *list, bool shown)
{
        if (list->asked_ms <= life->answered_ms)
                return SIGHT_UNKNOWN;
        if (list->kubelet != life->kubelet)
                *life = (struct claim_life){ .answered_ms = life->answered_ms, .kubelet = list->kubelet };
        if (shown) {
                life->shown = true;
                life->missing = false;
                return SIGHT_SHOWN;
        }
        if (!life->missing) {
                life->missing = true;
                life->missing_ms = list->asked_ms;
        }
        int64_t enough_ms = life->shown ? CLAIM_GRACE_MS : CLAIM_UNSEEN_MS;
        return list->asked_ms - life->missing_ms >= enough_ms ? SIGHT_GONE : SIGHT_UNKNOWN;
}
