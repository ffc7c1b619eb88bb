/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: YAML `apiVersion: sluice.dev/v1alpha1, kind: NodeConfig` to structs.
 *
 * Every problem is reported with file, line and key; unknown and duplicate keys are problems. Documented key by key in
 * docs/config.md, which is checked against the schema tables in config_parse.c. */
#ifndef SLUICE_CONFIG_CONFIG_H
#define SLUICE_CONFIG_CONFIG_H

#include "base/err.h"
#include "base/str.h"
#include "core/rules.h"

enum registration {
        REGISTER_SOCKET,  /* path A: kubelet.sock */
        REGISTER_WATCHER, /* path B: plugins_registry */
        REGISTER_NONE,    /* a node without kubelet: only the node API is served */
};

struct config {
        struct rules rules;
        char *pci_ids;         /* user pci.ids file, NULL = none */
        unsigned pci_ids_line; /* where it is named, for messages */
        enum registration registration;
        unsigned bind_deadline_ms; /* for each card; 1000..60000, default 10000 */
        uint32_t node_group;       /* gid that may use the node API, beside root; 0 = none */
        unsigned rescan_ms;        /* backstop; 5000..600000, default 10000 */
};

enum { CONFIG_MAX_BYTES = 1 << 20, CONFIG_MAX_RULES = 256 };

struct config *config_default(void); /* the implicit rule (docs/config.md) */

/* Parses @text (@file only for messages). On problems: returns -EINVAL, *ret untouched, one line per problem in
 * @problems ("file:line: key: sentence\n"). */
int config_parse(const char *file, const char *text, size_t n, struct config **ret, struct strbuf *problems);
/* Reads and parses. A file that cannot be read is a problem, too; an absent one is -ENOENT: the caller decides whether that
 * means config_default(). */
int config_load(const char *path, struct config **ret, struct strbuf *problems);

struct config *config_free(struct config *config); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct config *, config_free)

/* Calls @each with the path of every key there is ("rules[].select.ids"), for the test of docs/config.md. */
void config_each_key(void (*each)(void *ctx, const char *path), void *ctx);

/* The configuration in force as YAML, defaults included (`sluiced --print-config`); parsing it again gives the same. */
char *config_print(const struct config *config);

#endif
