/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include "base/alloc.h"

enum { PAGES_MAX = 4096 };

void pages_done(struct pages *pages)
{
        for (size_t i = 0; i < pages->n; i++)
                protobuf_c_message_free_unpacked(pages->list[i], NULL);
        free(pages->list);
        pile_done(&pages->pile);
}

/* One more; a daemon whose pages do not end is no good. */
static int next_page(struct daemon *daemon, struct pages *pages, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *response)
{
        static const struct err endless = { .msg = "the list does not end" };

        if (pages->n == PAGES_MAX)
                return say_failed(method, &endless);
        GROW(pages->list, pages->n, pages->cap);
        int status = daemon_ask(daemon, method, request, response, &pages->list[pages->n]);
        pages->n += status == EXIT_OK;
        return status;
}

/* The elements of a list of every page, one after the other: PAGE(i) is the i-th page as its own type. */
#define JOIN(pages, PAGE, whole, field)                                                     \
        do {                                                                                \
                size_t _n = 0;                                                              \
                for (size_t _i = 0; _i < (pages)->n; _i++)                                  \
                        _n += PAGE(_i)->n_##field;                                          \
                (whole)->field = pile_take(&(pages)->pile, _n, sizeof(*(whole)->field));    \
                for (size_t _i = 0; _i < (pages)->n; _i++)                                  \
                        for (size_t _k = 0; _k < PAGE(_i)->n_##field; _k++)                 \
                                (whole)->field[(whole)->n_##field++] = PAGE(_i)->field[_k]; \
        } while (0)

int pages_of_devices(struct daemon *daemon, struct pages *pages)
{
        pb_node_list_devices_request request = SLUICE__NODE__V1__NODE_LIST_DEVICES_REQUEST__INIT;
        pb_node_list_devices_response *whole = &pages->devices;

#define PAGE(i) ((const pb_node_list_devices_response *)(const void *)pages->list[i])
        do {
                int status = next_page(daemon, pages, "Node/NodeListDevices", &request.base,
                                       &sluice__node__v1__node_list_devices_response__descriptor);
                if (status != EXIT_OK)
                        return status;
                request.page_token = PAGE(pages->n - 1)->next_page_token;
        } while (*request.page_token);
        *whole = (pb_node_list_devices_response)SLUICE__NODE__V1__NODE_LIST_DEVICES_RESPONSE__INIT;
        whole->host = PAGE(0)->host;
        JOIN(pages, PAGE, whole, devices);
        JOIN(pages, PAGE, whole, pools);
        JOIN(pages, PAGE, whole, broken);
        JOIN(pages, PAGE, whole, warnings);
#undef PAGE
        return EXIT_OK;
}

int pages_of_claims(struct daemon *daemon, struct pages *pages)
{
        pb_node_list_prepared_request request = SLUICE__NODE__V1__NODE_LIST_PREPARED_REQUEST__INIT;
        pb_node_list_prepared_response *whole = &pages->claims;

        request.holders = true;
#define PAGE(i) ((const pb_node_list_prepared_response *)(const void *)pages->list[i])
        do {
                int status = next_page(daemon, pages, "Node/NodeListPrepared", &request.base,
                                       &sluice__node__v1__node_list_prepared_response__descriptor);
                if (status != EXIT_OK)
                        return status;
                request.page_token = PAGE(pages->n - 1)->next_page_token;
        } while (*request.page_token);
        *whole = (pb_node_list_prepared_response)SLUICE__NODE__V1__NODE_LIST_PREPARED_RESPONSE__INIT;
        JOIN(pages, PAGE, whole, claims);
#undef PAGE
        return EXIT_OK;
}
