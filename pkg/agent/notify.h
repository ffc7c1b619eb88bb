/* SPDX-License-Identifier: Apache-2.0 */
/* sd_notify(3) protocol: one datagram to $NOTIFY_SOCKET. Silent without it. */
#ifndef SLUICE_AGENT_NOTIFY_H
#define SLUICE_AGENT_NOTIFY_H

void notify_service_manager(const char *state /* "READY=1\nSTATUS=..." */);

#endif
