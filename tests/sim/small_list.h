/* SPDX-License-Identifier: Apache-2.0 */
/* Included before pkg/kubelet/plugin.c of sluiced-small-list: six devices are as much as kubelet is said to accept. */
#include "rpc/rpc.h"
#define RPC_SEND_MAX 220
