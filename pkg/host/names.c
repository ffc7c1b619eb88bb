/* SPDX-License-Identifier: Apache-2.0 */
/* libpci's name lists behind our own precedence. This is the only file that includes <pci/pci.h>. */
#include "host/names.h"

#include <errno.h>
#include <fcntl.h>
#include <pci/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "core/gpu_ids.h"
#include "core/inventory.h"

enum { FILE_MAX = 16 << 20, FOUND_MAX = 65536 };
#define LOOKUP_FLAGS (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

/* One name list: a file that libpci has parsed, or will parse at the first look-up. */
struct list {
        struct pci_access *access; /* NULL = no such file */
        bool failed;               /* it could not be parsed: it knows nothing */
};

/* What was asked before. @key is vendor << 16 | device, vendors have the bit above. */
struct found {
        uint64_t key;
        char *name; /* NULL = unknown */
};

struct names {
        struct list user, system;
        struct found *found; /* sorted by key */
        size_t n_found, cap_found;
};

#define VENDOR_KEY (UINT64_C(1) << 32)

/* libpci reports a bad file through a callback that may not return (by default it ends the process). It holds nothing open
 * when it calls, so that jumping out leaks nothing; what it had parsed is freed with its access. */
static _Thread_local jmp_buf escape;
static _Thread_local char complaint[256];

__attribute__((format(printf, 1, 2), noreturn)) static void on_error(char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(complaint, sizeof(complaint), fmt, args);
        va_end(args);
        (void)str_chomp(complaint);
        longjmp(escape, 1);
}

__attribute__((format(printf, 1, 2))) static void on_warning(char *fmt, ...)
{
        (void)fmt;
}

static struct pci_access *access_new(const char *file)
{
        struct pci_access *access = pci_alloc();

        access->error = on_error;
        access->warning = on_warning;
        access->debug = on_warning;
        access->id_lookup_mode = 0; /* the default adds a cache file in $HOME to every look-up */
        if (file)
                pci_set_name_list_path(access, xstrdup(file), 1);
        return access;
}

static void list_done(struct list *list)
{
        if (list->access)
                pci_cleanup(list->access);
        *list = (struct list){ 0 };
}

/* False when the file is not there or not of the format; @complaint is "" or says what. */
static bool list_load(struct list *list)
{
        complaint[0] = '\0';
        if (setjmp(escape)) {
                list->failed = true;
                return false;
        }
        return pci_load_name_list(list->access) != 0;
}

/* The text "Device", alone or before the id, is what tools write where they know nothing. */
static bool says_nothing(const char *name)
{
        uint64_t id;

        if (!*name || streq(name, "Device"))
                return true;
        return str_has_prefix(name, "Device ") && strlen(name) == strlen("Device 26b9") && str_to_u64(name + 7, 16, 0xffff, &id);
}

static bool list_find(struct list *list, uint64_t key, char *out, size_t size)
{
        char text[512];

        if (!list->access || list->failed)
                return false;
        if (setjmp(escape)) {
                list->failed = true;
                return false;
        }
        int vendor = (int)(key >> 16 & 0xffff), device = (int)(key & 0xffff);
        const char *name = key & VENDOR_KEY
                                   ? pci_lookup_name(list->access, text, sizeof(text), PCI_LOOKUP_VENDOR | LOOKUP_FLAGS, vendor)
                                   : pci_lookup_name(list->access, text, sizeof(text), PCI_LOOKUP_DEVICE | LOOKUP_FLAGS, vendor, device);
        if (!name || says_nothing(name))
                return false;
        str_clean(out, size, name);
        return true;
}

static int check_user_file(const char *path, struct err *err)
{
        struct stat st;

        int r = fs_stat(AT_FDCWD, path, &st);
        if (r < 0)
                return err_set(err, -r, "cannot open pci.ids file %s", path);
        if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
                return err_say(err, EINVAL, "pci.ids file %s is no plain file of at most %d MiB", path, FILE_MAX >> 20);
        _cleanup_close_ int fd = fs_open(AT_FDCWD, path, O_RDONLY, 0);
        return fd < 0 ? err_set(err, -fd, "cannot open pci.ids file %s", path) : 0;
}

int names_new(struct names **ret, const char *user_file, const char *system_file, struct err *err)
{
        if (user_file) {
                int r = check_user_file(user_file, err);
                if (r < 0)
                        return r;
        }
        struct names *names = xcalloc(1, sizeof(*names));
        names->system.access = access_new(system_file);
        if (user_file) {
                names->user.access = access_new(user_file);
                if (!list_load(&names->user)) {
                        (void)names_free(names);
                        return err_say(err, EINVAL, "cannot read pci.ids file %s: %s", user_file,
                                       *complaint ? complaint : "it cannot be opened");
                }
        }
        *ret = names;
        return 0;
}

struct names *names_free(struct names *names)
{
        if (!names)
                return NULL;
        list_done(&names->user);
        list_done(&names->system);
        for (size_t i = 0; i < names->n_found; i++)
                free(names->found[i].name);
        free(names->found);
        free(names);
        return NULL;
}

/* Index of the first entry that is not below @key. */
static size_t position(const struct names *names, uint64_t key)
{
        size_t low = 0, high = names->n_found;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                if (names->found[mid].key < key)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

/* User file, built-in table; not the system's file. */
static bool find_cheap(struct names *names, uint64_t key, char *out, size_t size)
{
        uint16_t vendor = (uint16_t)(key >> 16), device = (uint16_t)key;

        if (list_find(&names->user, key, out, size))
                return true;
        const char *name = key & VENDOR_KEY ? gpu_ids_vendor(vendor) : gpu_ids_device(vendor, device);
        if (!name)
                return false;
        str_clean(out, size, name);
        return true;
}

static const char *find(struct names *names, uint64_t key, bool cheap)
{
        char text[MODEL_LEN];
        size_t at = position(names, key);

        if (at < names->n_found && names->found[at].key == key)
                return names->found[at].name;
        bool known = find_cheap(names, key, text, sizeof(text));
        if (!known && cheap)
                return NULL; /* not remembered: the system's file may know it */
        if (!known)
                known = list_find(&names->system, key, text, sizeof(text));
        if (names->n_found == FOUND_MAX)
                return NULL; /* more ids than any host has: unknown rather than without end */
        GROW(names->found, names->n_found, names->cap_found);
        memmove(&names->found[at + 1], &names->found[at], (names->n_found - at) * sizeof(*names->found));
        names->found[at] = (struct found){ .key = key, .name = known ? xstrdup(text) : NULL };
        names->n_found++;
        return names->found[at].name;
}

const char *names_device(struct names *names, uint16_t vendor, uint16_t device)
{
        return find(names, (uint64_t)vendor << 16 | device, false);
}

const char *names_vendor(struct names *names, uint16_t vendor)
{
        return find(names, VENDOR_KEY | (uint64_t)vendor << 16, false);
}

const char *names_peek(struct names *names, uint16_t vendor, uint16_t device)
{
        return find(names, (uint64_t)vendor << 16 | device, true);
}

void names_trim(struct names *names)
{
        if (names->system.access)
                pci_free_name_list(names->system.access);
}
