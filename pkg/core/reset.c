/* SPDX-License-Identifier: Apache-2.0 */
#include "core/reset.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

enum reset_scope reset_method_scope(const char *method)
{
        static const struct {
                const char *name;
                enum reset_scope scope;
        } methods[] = {
                { "device_specific", RESET_FUNCTION },
                { "acpi", RESET_FUNCTION },
                { "flr", RESET_FUNCTION },
                { "af_flr", RESET_FUNCTION },
                { "pm", RESET_DOUBTFUL },
                { "bus", RESET_BUS },
                { "cxl_bus", RESET_BUS },
        };

        for (size_t i = 0; i < N_ELEMENTS(methods); i++)
                if (streq(method, methods[i].name))
                        return methods[i].scope;
        return RESET_UNKNOWN;
}

const char *reset_scope_name(enum reset_scope scope)
{
        static const char *const names[] = { "function", "bus", "doubtful", "unknown" };

        assert((size_t)scope < N_ELEMENTS(names));
        return names[scope];
}

/* Is @fn on the bus below @bridge, or on one below that? */
static bool is_below(const struct inventory *inv, const struct function *fn, struct bdf bridge)
{
        for (size_t depth = 0; fn && depth < inv->n_functions && !bdf_equal(fn->upstream, fn->bdf); depth++) {
                if (bdf_equal(fn->upstream, bridge))
                        return true;
                fn = inventory_function(inv, fn->upstream);
        }
        return false;
}

/* The kernel resets a function's bus only when nothing else is on it (pci_parent_bus_reset); when it listed the method it may not
 * have known yet. What could not be read may be anywhere. */
static bool bus_is_own(const struct inventory *inv, const struct function *fn, char *why, size_t why_size)
{
        if (bdf_equal(fn->upstream, fn->bdf)) {
                str_format(why, why_size, "needs a bridge above it");
                return false;
        }
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *other = &inv->functions[i];
                if (other == fn || !is_below(inv, other, fn->upstream))
                        continue;
                str_format(why, why_size, other->group == fn->group ? "is refused beside " BDF_FMT : "would reset " BDF_FMT ", too",
                           BDF_ARGS(other->bdf));
                return false;
        }
        if (inv->n_broken > 0) {
                str_format(why, why_size, "may reach %.40s, which could not be read", inv->broken[0].name);
                return false;
        }
        return true;
}

static bool suits(const struct inventory *inv, const struct function *fn, const char *method, char *why, size_t why_size)
{
        switch (reset_method_scope(method)) {
        case RESET_FUNCTION:
                if (fn->n_vfs == 0)
                        return true;
                str_format(why, why_size, "would end its VFs");
                return false;
        case RESET_BUS:
                return bus_is_own(inv, fn, why, why_size);
        case RESET_DOUBTFUL:
                str_format(why, why_size, "may reset nothing");
                return false;
        case RESET_UNKNOWN:
                break;
        }
        str_format(why, why_size, "is not known to this version");
        return false;
}

static bool has_word(const char *list, const char *word)
{
        size_t n = strlen(word);

        for (const char *at = list + strspn(list, " "); *at; at += strspn(at, " ")) {
                size_t length = strcspn(at, " ");
                if (length == n && strncmp(at, word, n) == 0)
                        return true;
                at += length;
        }
        return false;
}

bool reset_is_list(const char *text)
{
        return !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ")];
}

const char *reset_methods_of(const struct function *fn, const char *before)
{
        return *fn->reset_methods && has_word(before, fn->reset_methods) ? before : fn->reset_methods;
}

bool reset_choose(const struct inventory *inv, const struct function *fn, const char *methods, char ret[static RESET_LEN], char *why,
                  size_t why_size)
{
        char method[RESET_LEN], objection[96];
        bool any = false;

        str_format(why, why_size, BDF_FMT ": the kernel knows no way to reset it", BDF_ARGS(fn->bdf));
        for (const char *at = methods + strspn(methods, " "); *at; at += strspn(at, " ")) {
                str_format(method, sizeof(method), "%.*s", (int)strcspn(at, " "), at);
                at += strcspn(at, " ");
                if (suits(inv, fn, method, objection, sizeof(objection))) {
                        str_format(ret, RESET_LEN, "%s", method);
                        return true;
                }
                size_t used = strlen(why);
                if (any)
                        str_format(why + used, why_size - used, ", %s %s", method, objection);
                else
                        str_format(why, why_size, BDF_FMT ": %s %s", BDF_ARGS(fn->bdf), method, objection);
                any = true;
        }
        return false;
}

void reset_describe(const struct function *fn, char *out, size_t size)
{
        char method[RESET_LEN];

        str_format(out, size, "%s", "");
        for (const char *at = fn->reset_methods + strspn(fn->reset_methods, " "); *at; at += strspn(at, " ")) {
                str_format(method, sizeof(method), "%.*s", (int)strcspn(at, " "), at);
                at += strcspn(at, " ");
                size_t used = strlen(out);
                str_format(out + used, size - used, "%s%s (%s)", used ? ", " : "", method, reset_scope_name(reset_method_scope(method)));
        }
}
