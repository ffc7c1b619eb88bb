/* SPDX-License-Identifier: Apache-2.0 */
#include "core/device.h"

#include <assert.h>

#include "base/cleanup.h"

const char *device_kind_name(enum device_kind kind)
{
        static const char *const names[] = {
                [DEVICE_GPU] = "gpu", [DEVICE_VF] = "vf", [DEVICE_VGPU_VF] = "vgpu-vf", [DEVICE_VGPU_MDEV] = "vgpu-mdev"
        };

        assert((size_t)kind < N_ELEMENTS(names));
        return names[kind];
}

const char *device_mode_name(enum device_mode mode)
{
        static const char *const names[] = { [MODE_VFIO] = "vfio" };

        assert((size_t)mode < N_ELEMENTS(names));
        return names[mode];
}

const char *bind_policy_name(enum bind_policy bind)
{
        static const char *const names[] = { [BIND_NEVER] = "never", [BIND_ON_ALLOCATE] = "on-allocate", [BIND_AT_START] = "at-start" };

        assert((size_t)bind < N_ELEMENTS(names));
        return names[bind];
}

const char *release_policy_name(enum release_policy policy)
{
        static const char *const names[] = {
                [RELEASE_KEEP] = "keep", [RELEASE_RESTORE] = "restore", [RELEASE_RESET] = "reset", [RELEASE_RESET_RESTORE] = "reset+restore"
        };

        assert((size_t)policy < N_ELEMENTS(names));
        return names[policy];
}

const char *device_state_name(enum device_state state)
{
        static const char *const names[] = {
                [DEVICE_WITHHELD] = "withheld", [DEVICE_HEALTHY] = "healthy", [DEVICE_UNHEALTHY] = "unhealthy"
        };

        assert((size_t)state < N_ELEMENTS(names));
        return names[state];
}
