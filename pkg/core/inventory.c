/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot: built, sorted, then shared. Equality and difference walk one table of fields, so that a new field that is
 * put into the table is noticed by both. */
#include "core/inventory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/str.h"

struct inventory *inventory_new(void)
{
        struct inventory *inv = xcalloc(1, sizeof(*inv));

        inv->refs = 1;
        return inv;
}

struct function *inventory_add_function(struct inventory *inv, struct bdf bdf)
{
        GROW(inv->functions, inv->n_functions, inv->cap_functions);
        struct function *fn = &inv->functions[inv->n_functions++];

        *fn = (struct function){
                .bdf = bdf,
                .root_port = bdf,
                .upstream = bdf,
                .numa_node = -1,
                .group = -1,
                .vfio_index = -1,
                .vf_index = -1,
                .boot_vga = -1,
        };
        return fn;
}

struct instance *inventory_add_instance(struct inventory *inv)
{
        GROW(inv->instances, inv->n_instances, inv->cap_instances);
        struct instance *instance = &inv->instances[inv->n_instances++];

        *instance = (struct instance){ .group = -1 };
        return instance;
}

void inventory_add_broken(struct inventory *inv, const char *name, enum reason reason, const char *detail)
{
        GROW(inv->broken, inv->n_broken, inv->cap_broken);
        struct broken *broken = &inv->broken[inv->n_broken++];

        *broken = (struct broken){ .reason = reason, .group = -1 };
        str_clean(broken->name, sizeof(broken->name), name);
        str_clean(broken->detail, sizeof(broken->detail), detail);
}

void inventory_add_outsider(struct inventory *inv, int group, const char *name, const char *subsystem, const char *driver)
{
        GROW(inv->outsiders, inv->n_outsiders, inv->cap_outsiders);
        struct outsider *outsider = &inv->outsiders[inv->n_outsiders++];

        *outsider = (struct outsider){ .group = group };
        str_clean(outsider->name, sizeof(outsider->name), name);
        str_clean(outsider->subsystem, sizeof(outsider->subsystem), subsystem);
        str_clean(outsider->driver, sizeof(outsider->driver), driver);
}

void inventory_add_driver(struct inventory *inv, const char *driver)
{
        GROW(inv->drivers, inv->n_drivers, inv->cap_drivers);
        str_clean(inv->drivers[inv->n_drivers++], DRIVER_LEN, driver);
}

static int compare_functions(const void *a, const void *b)
{
        return bdf_compare(((const struct function *)a)->bdf, ((const struct function *)b)->bdf);
}

static int compare_instances(const void *a, const void *b)
{
        return strcmp(((const struct instance *)a)->uuid, ((const struct instance *)b)->uuid);
}

static int compare_broken(const void *a, const void *b)
{
        const struct broken *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        if (r == 0)
                r = (int)x->reason - (int)y->reason;
        if (r == 0)
                r = (x->group > y->group) - (x->group < y->group);
        return r ? r : strcmp(x->detail, y->detail);
}

static int compare_outsiders(const void *a, const void *b)
{
        const struct outsider *x = a, *y = b;

        return x->group != y->group ? (x->group > y->group) - (x->group < y->group) : strcmp(x->name, y->name);
}

static int compare_drivers(const void *a, const void *b)
{
        return strcmp(a, b);
}

static void sort(void *list, size_t n, size_t size, int (*compare)(const void *, const void *))
{
        if (n > 1) /* qsort(NULL, 0) is undefined */
                qsort(list, n, size, compare);
}

void inventory_seal(struct inventory *inv)
{
        /* By far the largest of the arrays, and it stays: without the room it had for growing. */
        if (inv->cap_functions > inv->n_functions)
                inv->functions = xrealloc(inv->functions, inv->n_functions, sizeof(*inv->functions));
        sort(inv->functions, inv->n_functions, sizeof(*inv->functions), compare_functions);
        sort(inv->instances, inv->n_instances, sizeof(*inv->instances), compare_instances);
        sort(inv->broken, inv->n_broken, sizeof(*inv->broken), compare_broken);
        sort(inv->outsiders, inv->n_outsiders, sizeof(*inv->outsiders), compare_outsiders);
        sort(inv->drivers, inv->n_drivers, sizeof(*inv->drivers), compare_drivers);
        inv->cap_functions = inv->cap_instances = inv->cap_broken = inv->cap_outsiders = inv->cap_drivers = 0;
}

static int compare_variants(const void *a, const void *b)
{
        const struct variant *x = a, *y = b;
        int r = strcmp(x->module, y->module);

        return r ? r : strcmp(x->alias, y->alias);
}

void inventory_set_variants(struct inventory *inv, const struct variant *list, size_t n)
{
        inv->variants = xrealloc(inv->variants, n ? n : 1, sizeof(*inv->variants));
        inv->n_variants = n;
        if (n > 0)
                memcpy(inv->variants, list, n * sizeof(*list));
        sort(inv->variants, n, sizeof(*inv->variants), compare_variants);
}

static bool is_sealed(const struct inventory *inv)
{
        return inv->cap_functions == 0 && inv->cap_instances == 0 && inv->cap_broken == 0 && inv->cap_outsiders == 0 &&
               inv->cap_drivers == 0;
}

struct inventory *inventory_ref(struct inventory *inv)
{
        assert(inv->refs > 0);
        inv->refs++;
        return inv;
}

struct inventory *inventory_unref(struct inventory *inv)
{
        if (!inv)
                return NULL;
        assert(inv->refs > 0);
        if (--inv->refs > 0)
                return NULL;
        free(inv->functions);
        free(inv->instances);
        free(inv->broken);
        free(inv->outsiders);
        free(inv->drivers);
        free(inv->variants);
        free(inv);
        return NULL;
}

static void *find(const void *key, const void *list, size_t n, size_t size, int (*compare)(const void *, const void *))
{
        return n ? bsearch(key, list, n, size, compare) : NULL;
}

static int compare_bdf_key(const void *key, const void *fn)
{
        return bdf_compare(*(const struct bdf *)key, ((const struct function *)fn)->bdf);
}

const struct function *inventory_function(const struct inventory *inv, struct bdf bdf)
{
        assert(is_sealed(inv));
        return find(&bdf, inv->functions, inv->n_functions, sizeof(*inv->functions), compare_bdf_key);
}

const struct broken *inventory_unread(const struct inventory *inv, struct bdf bdf)
{
        char name[BDF_TEXT_MAX];

        (void)bdf_format(bdf, name);
        for (size_t i = 0; i < inv->n_broken; i++)
                if (inv->broken[i].reason == REASON_GARBAGE && streq(inv->broken[i].name, name))
                        return &inv->broken[i];
        return NULL;
}

static int compare_uuid_key(const void *key, const void *instance)
{
        return strcmp(key, ((const struct instance *)instance)->uuid);
}

const struct instance *inventory_instance(const struct inventory *inv, const char *uuid)
{
        assert(is_sealed(inv));
        return find(uuid, inv->instances, inv->n_instances, sizeof(*inv->instances), compare_uuid_key);
}

bool inventory_has_driver(const struct inventory *inv, const char *driver)
{
        assert(is_sealed(inv));
        return find(driver, inv->drivers, inv->n_drivers, sizeof(*inv->drivers), compare_drivers) != NULL;
}

enum field_type { FIELD_TEXT, FIELD_INT, FIELD_UINT, FIELD_BOOL, FIELD_HEX8, FIELD_HEX16, FIELD_HEX32, FIELD_BDF, FIELD_BARS };
struct field {
        const char *label;
        enum field_type type;
        size_t offset;
};

#define FN(type, label, member)                                        \
        {                                                              \
                label, FIELD_##type, offsetof(struct function, member) \
        }
static const struct field function_fields[] = {
        FN(HEX16, "vendor", vendor),
        FN(HEX16, "device", device),
        FN(HEX16, "subsystem vendor", subvendor),
        FN(HEX16, "subsystem device", subdevice),
        FN(HEX32, "class", class_code),
        FN(HEX8, "revision", revision),
        FN(TEXT, "vendor name", vendor_name),
        FN(TEXT, "model", model),
        FN(TEXT, "driver", driver),
        FN(INT, "NUMA node", numa_node),
        FN(TEXT, "root", root),
        FN(BDF, "root port", root_port),
        FN(BDF, "upstream", upstream),
        FN(INT, "group", group),
        FN(BOOL, "no-IOMMU", noiommu),
        FN(BOOL, "group node", group_node),
        FN(INT, "vfio index", vfio_index),
        FN(BOOL, "cdev node", cdev_node),
        FN(BOOL, "physical function", is_pf),
        FN(UINT, "total VFs", total_vfs),
        FN(UINT, "VFs", n_vfs),
        FN(BOOL, "virtual function", is_vf),
        FN(BDF, "PF", physfn),
        FN(INT, "VF index", vf_index),
        FN(INT, "boot VGA", boot_vga),
        FN(BOOL, "framebuffer", framebuffer),
        FN(TEXT, "reset methods", reset_methods),
        FN(BARS, "BARs", bars),
        FN(BOOL, "mdev parent", mdev_parent),
        FN(BOOL, "vGPU capable", vgpu_capable),
        FN(UINT, "vGPU type", vgpu_type),
        FN(TEXT, "vGPU name", vgpu_name),
        FN(BOOL, "unbind lock", unbind_lock),
};

/* What a hand found out or sets: part of what plans depend on, but no change of the host that anybody waits for. */
static const struct field learnt_fields[] = {
        FN(BOOL, "override known", override_known), FN(TEXT, "driver override", driver_override),
        FN(TEXT, "override owner", override_owner), FN(TEXT, "power control", power_control),
        FN(TEXT, "D3cold allowed", d3cold_allowed),
};
#undef FN

#define INSTANCE(type, label, member)                                  \
        {                                                              \
                label, FIELD_##type, offsetof(struct instance, member) \
        }
static const struct field instance_fields[] = {
        INSTANCE(BDF, "parent", parent),  INSTANCE(TEXT, "type", type_id), INSTANCE(TEXT, "type name", type_name),
        INSTANCE(TEXT, "driver", driver), INSTANCE(INT, "group", group),   INSTANCE(BOOL, "group node", group_node),
};
#undef INSTANCE

static const struct field outsider_fields[] = {
        { "subsystem", FIELD_TEXT, offsetof(struct outsider, subsystem) },
        { "driver", FIELD_TEXT, offsetof(struct outsider, driver) },
};

static bool bars_equal(const struct bar *a, const struct bar *b)
{
        for (size_t i = 0; i < N_BARS; i++)
                if (a[i].start != b[i].start || a[i].size != b[i].size || a[i].flags != b[i].flags)
                        return false;
        return true;
}

static bool field_equal(const struct field *field, const void *old, const void *now)
{
        const void *a = (const char *)old + field->offset, *b = (const char *)now + field->offset;

        switch (field->type) {
        case FIELD_TEXT:
                return streq(a, b);
        case FIELD_INT:
        case FIELD_UINT:
        case FIELD_HEX32:
                return *(const uint32_t *)a == *(const uint32_t *)b;
        case FIELD_BOOL:
                return *(const bool *)a == *(const bool *)b;
        case FIELD_HEX8:
                return *(const uint8_t *)a == *(const uint8_t *)b;
        case FIELD_HEX16:
                return *(const uint16_t *)a == *(const uint16_t *)b;
        case FIELD_BDF:
                return bdf_equal(*(const struct bdf *)a, *(const struct bdf *)b);
        case FIELD_BARS:
                return bars_equal(a, b);
        }
        return false;
}
_Static_assert(sizeof(int) == sizeof(uint32_t) && sizeof(unsigned) == sizeof(uint32_t), "int fields are compared as 32 bits");

static void field_print(const struct field *field, const void *object, struct strbuf *out)
{
        const void *p = (const char *)object + field->offset;

        switch (field->type) {
        case FIELD_TEXT:
                strbuf_add(out, *(const char *)p ? p : "none");
                break;
        case FIELD_INT:
                if (*(const int *)p < 0)
                        strbuf_add(out, "none");
                else
                        strbuf_addf(out, "%d", *(const int *)p);
                break;
        case FIELD_UINT:
                strbuf_addf(out, "%u", *(const unsigned *)p);
                break;
        case FIELD_BOOL:
                strbuf_add(out, *(const bool *)p ? "yes" : "no");
                break;
        case FIELD_HEX8:
                strbuf_addf(out, "%02x", *(const uint8_t *)p);
                break;
        case FIELD_HEX16:
                strbuf_addf(out, "%04x", *(const uint16_t *)p);
                break;
        case FIELD_HEX32:
                strbuf_addf(out, "%06" PRIx32, *(const uint32_t *)p);
                break;
        case FIELD_BDF:
                strbuf_addf(out, BDF_FMT, BDF_ARGS(*(const struct bdf *)p));
                break;
        case FIELD_BARS:
                break;
        }
}

/* The fields that differ, as text into @out (may be NULL); returns how many. */
static unsigned fields_differ(const struct field *fields, size_t n, const void *old, const void *now, struct strbuf *out)
{
        unsigned count = 0;

        for (size_t i = 0; i < n; i++) {
                if (field_equal(&fields[i], old, now))
                        continue;
                if (out) {
                        strbuf_addf(out, "%s%s ", count ? ", " : "", fields[i].label);
                        if (fields[i].type == FIELD_BARS) {
                                strbuf_add(out, "changed");
                        } else {
                                field_print(&fields[i], old, out);
                                strbuf_add(out, " -> ");
                                field_print(&fields[i], now, out);
                        }
                }
                count++;
        }
        return count;
}

static bool flags_equal(const struct inventory *a, const struct inventory *b)
{
        return a->iommu == b->iommu && a->vfio_node == b->vfio_node && a->iommufd_node == b->iommufd_node &&
               a->holders_visible == b->holders_visible && streq(a->boot_id, b->boot_id);
}

bool inventory_equal(const struct inventory *a, const struct inventory *b)
{
        if (a == b)
                return true;
        if (!flags_equal(a, b) || a->n_functions != b->n_functions || a->n_instances != b->n_instances || a->n_broken != b->n_broken ||
            a->n_outsiders != b->n_outsiders || a->n_drivers != b->n_drivers || a->n_variants != b->n_variants)
                return false;
        for (size_t i = 0; i < a->n_functions; i++)
                if (!bdf_equal(a->functions[i].bdf, b->functions[i].bdf) ||
                    fields_differ(function_fields, N_ELEMENTS(function_fields), &a->functions[i], &b->functions[i], NULL) ||
                    fields_differ(learnt_fields, N_ELEMENTS(learnt_fields), &a->functions[i], &b->functions[i], NULL))
                        return false;
        for (size_t i = 0; i < a->n_instances; i++)
                if (!streq(a->instances[i].uuid, b->instances[i].uuid) ||
                    fields_differ(instance_fields, N_ELEMENTS(instance_fields), &a->instances[i], &b->instances[i], NULL))
                        return false;
        for (size_t i = 0; i < a->n_broken; i++)
                if (compare_broken(&a->broken[i], &b->broken[i]) != 0)
                        return false;
        for (size_t i = 0; i < a->n_outsiders; i++)
                if (compare_outsiders(&a->outsiders[i], &b->outsiders[i]) != 0 ||
                    fields_differ(outsider_fields, N_ELEMENTS(outsider_fields), &a->outsiders[i], &b->outsiders[i], NULL))
                        return false;
        for (size_t i = 0; i < a->n_drivers; i++)
                if (!streq(a->drivers[i], b->drivers[i]))
                        return false;
        for (size_t i = 0; i < a->n_variants; i++)
                if (compare_variants(&a->variants[i], &b->variants[i]) != 0)
                        return false;
        return true;
}

/* One kind of list, walked in step. @print says what an element is called, and why it is there (NULL = "appeared"). */
struct list_kind {
        size_t size;
        int (*compare)(const void *, const void *);
        const struct field *fields;
        size_t n_fields;
        void (*print)(const void *element, struct strbuf *name, struct strbuf *why);
};

static void print_function(const void *element, struct strbuf *name, struct strbuf *why)
{
        strbuf_addf(name, BDF_FMT, BDF_ARGS(((const struct function *)element)->bdf));
        strbuf_add(why, "appeared");
}

static void print_instance(const void *element, struct strbuf *name, struct strbuf *why)
{
        strbuf_add(name, ((const struct instance *)element)->uuid);
        strbuf_add(why, "appeared");
}

static void print_broken(const void *element, struct strbuf *name, struct strbuf *why)
{
        const struct broken *broken = element;

        strbuf_add(name, broken->name);
        strbuf_add(why, reason_sentence(broken->reason));
        if (*broken->detail)
                strbuf_addf(why, " (%s)", broken->detail);
}

static void print_outsider(const void *element, struct strbuf *name, struct strbuf *why)
{
        const struct outsider *outsider = element;

        strbuf_add(name, outsider->name);
        strbuf_addf(why, "appeared in IOMMU group %d, and is no PCI function", outsider->group);
}

static const struct list_kind function_kind = { sizeof(struct function), compare_functions, function_fields, N_ELEMENTS(function_fields),
                                                print_function };
static const struct list_kind instance_kind = { sizeof(struct instance), compare_instances, instance_fields, N_ELEMENTS(instance_fields),
                                                print_instance };
static const struct list_kind broken_kind = { sizeof(struct broken), compare_broken, NULL, 0, print_broken };
static const struct list_kind outsider_kind = { sizeof(struct outsider), compare_outsiders, outsider_fields, N_ELEMENTS(outsider_fields),
                                                print_outsider };

static void report(const struct list_kind *kind, const void *old, const void *now, inventory_change_fn *each, void *ctx)
{
        _cleanup_strbuf_ struct strbuf name = { 0 }, what = { 0 }, ignored = { 0 };

        if (old && now) {
                if (!fields_differ(kind->fields, kind->n_fields, old, now, &what))
                        return;
                kind->print(now, &name, &ignored);
        } else if (now) {
                kind->print(now, &name, &what);
        } else {
                kind->print(old, &name, &ignored);
                strbuf_add(&what, kind == &broken_kind ? "no longer noted as unreadable" : "gone");
        }
        each(ctx, name.text, what.text);
}

static void diff_lists(const struct list_kind *kind, const void *old, size_t n_old, const void *now, size_t n_now,
                       inventory_change_fn *each, void *ctx)
{
        const char *a = old, *b = now;

        while (n_old > 0 || n_now > 0) {
                int order = n_old == 0 ? 1 : n_now == 0 ? -1 : kind->compare(a, b);

                report(kind, order <= 0 ? a : NULL, order >= 0 ? b : NULL, each, ctx);
                if (order <= 0) {
                        a += kind->size;
                        n_old--;
                }
                if (order >= 0) {
                        b += kind->size;
                        n_now--;
                }
        }
}

void inventory_diff(const struct inventory *old, const struct inventory *now, inventory_change_fn *each, void *ctx)
{
        static const struct inventory nothing;

        if (!old)
                old = &nothing;
        diff_lists(&function_kind, old->functions, old->n_functions, now->functions, now->n_functions, each, ctx);
        diff_lists(&instance_kind, old->instances, old->n_instances, now->instances, now->n_instances, each, ctx);
        diff_lists(&broken_kind, old->broken, old->n_broken, now->broken, now->n_broken, each, ctx);
        diff_lists(&outsider_kind, old->outsiders, old->n_outsiders, now->outsiders, now->n_outsiders, each, ctx);
}
