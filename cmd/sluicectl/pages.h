/* SPDX-License-Identifier: Apache-2.0 */
/* Lists that come in pages, as one. */
#ifndef SLUICE_CMD_SLUICECTL_PAGES_H
#define SLUICE_CMD_SLUICECTL_PAGES_H

#include "daemon.h"
#include "present/messages.h"

/* Zero-initialise. The pages stay, and the whole list borrows from them. */
struct pages {
        ProtobufCMessage **list;
        size_t n, cap;
        struct pile pile;
        pb_node_list_devices_response devices;
        pb_node_list_prepared_response claims;
};
void pages_done(struct pages *pages);
#define _cleanup_pages_ _cleanup_(pages_done)

/* An exit status; EXIT_OK: pages->devices or pages->claims is the whole. */
int pages_of_devices(struct daemon *daemon, struct pages *pages);
int pages_of_claims(struct daemon *daemon, struct pages *pages);

#endif
