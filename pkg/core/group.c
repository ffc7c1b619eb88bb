/* SPDX-License-Identifier: Apache-2.0 */
#include "core/group.h"

#include "base/str.h"
#include "core/naming.h"
#include "core/vfio_driver.h"

enum {
        VENDOR_ASPEED = 0x1a03,
        VENDOR_MATROX = 0x102b,
        CLASS_AUDIO_BASE = 0x04, /* 0403 HD audio, and the older 0401, 0480 */
        CLASS_DISPLAY_BASE = 0x03,
        CLASS_USB = 0x0c03,
        CLASS_SERIAL_OTHER = 0x0c80, /* UCSI (USB-C) of a GPU */
};

static unsigned class_top(const struct function *fn)
{
        return fn->class_code >> 8;
}

static bool is_bridge(const struct function *fn)
{
        switch (class_top(fn)) {
        case 0x0600: /* host bridge */
        case 0x0604: /* PCI to PCI, root and switch ports */
        case 0x0607: /* CardBus */
        case 0x0609: /* semi-transparent */
                return true;
        default:
                return false;
        }
}

bool group_on_vfio(const struct function *fn)
{
        return fn->vfio_index >= 0 || vfio_driver_is(fn->driver);
}

bool group_member_accepted(const struct function *fn)
{
        return !*fn->driver || streq(fn->driver, "pci-stub") || group_on_vfio(fn);
}

static bool same_slot(struct bdf a, struct bdf b)
{
        return a.domain == b.domain && a.bus == b.bus && a.device == b.device;
}

bool group_is_host_display(const struct function *fn)
{
        return fn->boot_vga == 1 || fn->framebuffer;
}

bool group_is_bmc(const struct function *fn)
{
        return fn->vendor == VENDOR_ASPEED || fn->vendor == VENDOR_MATROX;
}

/* A GPU by what it is, whatever the rules say of it. */
static bool is_plain_gpu(const struct rules *rules, const struct function *fn)
{
        return rules_class_is_gpu(rules, fn->class_code) && naming_prefix(fn->vendor);
}

static bool is_companion(const struct inventory *inv, const struct rules *rules, const struct function *member)
{
        unsigned top = class_top(member), base = top >> 8;

        if (base != CLASS_AUDIO_BASE && base != CLASS_DISPLAY_BASE && top != CLASS_USB && top != CLASS_SERIAL_OTHER)
                return false;
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *other = &inv->functions[i];

                if (other->group == member->group && same_slot(other->bdf, member->bdf) && !bdf_equal(other->bdf, member->bdf) &&
                    is_plain_gpu(rules, other))
                        return true;
        }
        return false;
}

const char *member_role_name(enum member_role role)
{
        static const char *const names[] = {
                [MEMBER_GPU] = "gpu", [MEMBER_COMPANION] = "companion", [MEMBER_BRIDGE] = "bridge", [MEMBER_FOREIGN] = "foreign"
        };

        return names[role];
}

enum member_role group_member_role(const struct inventory *inv, const struct rules *rules, const struct function *member)
{
        bool by_address;

        if (is_bridge(member))
                return MEMBER_BRIDGE;
        unsigned number = rules_match(rules, member, NULL, &by_address);
        if (number > 0 && rules->rules[number - 1].deny)
                return MEMBER_FOREIGN;
        if (member->n_vfs > 0 || member->mdev_parent)
                return MEMBER_FOREIGN; /* Binding it would take its VFs or instances away from their users. */
        if ((group_is_host_display(member) || group_is_bmc(member)) && !by_address)
                return MEMBER_FOREIGN;
        if (is_plain_gpu(rules, member))
                return MEMBER_GPU;
        if (is_companion(inv, rules, member))
                return MEMBER_COMPANION;
        return number > 0 ? MEMBER_GPU : MEMBER_FOREIGN;
}

static void blame(struct group_verdict *verdict, enum reason reason, const struct function *culprit)
{
        verdict->reason = reason;
        verdict->culprit = culprit;
        verdict->detail[0] = '\0';
        if (culprit)
                str_format(verdict->detail, sizeof(verdict->detail), BDF_FMT " (class %04x, driver %s)", BDF_ARGS(culprit->bdf),
                           class_top(culprit), *culprit->driver ? culprit->driver : "none");
}

/* The first of each sort among the other members of a group, in order of address. */
struct census {
        const struct broken *unreadable;                          /* whatever it is */
        const struct function *foreign_active;                    /* foreign, and in use by the host as far as VFIO is concerned */
        const struct function *foreign_parked;                    /* foreign, and set aside */
        const struct outsider *outsider_active, *outsider_parked; /* no PCI function; as the two above */
        const struct function *gpu;                               /* another GPU */
        const struct function *companion;
        const struct function *on_host_driver; /* GPU or companion */
};

static void first(const struct function **slot, const struct function *fn)
{
        if (!*slot)
                *slot = fn;
}

static void count_member(const struct inventory *inv, const struct rules *rules, const struct function *member, struct census *census,
                         struct group_verdict *verdict)
{
        enum member_role role = group_member_role(inv, rules, member);

        if (role == MEMBER_BRIDGE)
                return;
        verdict->n_members++;
        if (role == MEMBER_FOREIGN) {
                /* A firmware framebuffer shows the console without any PCI driver. */
                bool active = !group_member_accepted(member) || (group_is_host_display(member) && !*member->driver);
                first(active ? &census->foreign_active : &census->foreign_parked, member);
                return;
        }
        if (role == MEMBER_GPU) {
                verdict->n_gpus++;
                first(&census->gpu, member);
        } else {
                first(&census->companion, member);
        }
        if (!group_member_accepted(member)) {
                verdict->n_to_bind++;
                first(&census->on_host_driver, member);
        }
}

/* A member of which nothing is known must be thought to be the host's. */
static void blame_unreadable(struct group_verdict *verdict, const struct broken *broken)
{
        verdict->reason = REASON_GROUP_FOREIGN;
        verdict->culprit = NULL;
        str_format(verdict->detail, sizeof(verdict->detail), "%s (%s: %.80s)", broken->name, reason_word(broken->reason), broken->detail);
}

static void count_unreadable(const struct inventory *inv, int group, struct census *census, struct group_verdict *verdict)
{
        for (size_t i = 0; i < inv->n_broken; i++) {
                if (inv->broken[i].group != group)
                        continue;
                verdict->n_members++;
                if (!census->unreadable)
                        census->unreadable = &inv->broken[i];
        }
}

static void blame_outsider(struct group_verdict *verdict, const struct outsider *outsider)
{
        verdict->reason = REASON_GROUP_FOREIGN;
        verdict->culprit = NULL;
        str_format(verdict->detail, sizeof(verdict->detail), "%s (no PCI function: subsystem %s, driver %s)", outsider->name,
                   *outsider->subsystem ? outsider->subsystem : "unknown", *outsider->driver ? outsider->driver : "none");
}

/* The kernel asks of it what it asks of a PCI function: a VFIO driver, or none. */
static void count_outsiders(const struct inventory *inv, int group, struct census *census, struct group_verdict *verdict)
{
        for (size_t i = 0; i < inv->n_outsiders; i++) {
                const struct outsider *outsider = &inv->outsiders[i];
                bool active = *outsider->driver && !str_has_prefix(outsider->driver, "vfio-");
                const struct outsider **slot = active ? &census->outsider_active : &census->outsider_parked;

                if (outsider->group != group)
                        continue;
                verdict->n_members++;
                if (!*slot)
                        *slot = outsider;
        }
}

static void conclude(struct group_verdict *verdict, const struct census *census, const struct function *fn, enum group_rule rule)
{
        if (census->foreign_active)
                blame(verdict, REASON_GROUP_FOREIGN, census->foreign_active);
        else if (census->outsider_active)
                blame_outsider(verdict, census->outsider_active);
        else if (census->gpu && rule != GROUP_ONE_DEVICE)
                blame(verdict, REASON_GROUP_SEVERAL, census->gpu);
        else if (census->foreign_parked && verdict->n_to_bind > 0)
                blame(verdict, REASON_GROUP_FOREIGN, census->foreign_parked);
        else if (census->outsider_parked && verdict->n_to_bind > 0)
                blame_outsider(verdict, census->outsider_parked);
        else if (census->gpu && bdf_compare(census->gpu->bdf, fn->bdf) < 0)
                blame(verdict, REASON_GROUP_FOLLOWER, census->gpu);
        else
                blame(verdict, REASON_NONE, census->on_host_driver);
}

static void conclude_alone(struct group_verdict *verdict, const struct census *census)
{
        const struct function *foreign = census->foreign_active ? census->foreign_active : census->foreign_parked;
        const struct outsider *outsider = census->outsider_active ? census->outsider_active : census->outsider_parked;

        verdict->n_to_bind = 0;
        if (foreign)
                blame(verdict, REASON_GROUP_FOREIGN, foreign);
        else if (outsider)
                blame_outsider(verdict, outsider);
        else if (census->gpu)
                blame(verdict, REASON_GROUP_SEVERAL, census->gpu);
        else if (census->companion)
                blame(verdict, REASON_GROUP_FOREIGN, census->companion);
}

struct group_verdict group_judge(const struct inventory *inv, const struct rules *rules, const struct function *fn, enum group_rule rule,
                                 bool vendor_vfio)
{
        struct group_verdict verdict = { .n_gpus = 1, .n_members = 1, .n_to_bind = group_on_vfio(fn) ? 0 : 1 };
        struct census census = { 0 };

        if (fn->group < 0 || fn->noiommu) {
                blame(&verdict, fn->group < 0 ? REASON_NO_GROUP : REASON_NOIOMMU, NULL);
                return verdict;
        }
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *member = &inv->functions[i];

                if (member->group == fn->group && !bdf_equal(member->bdf, fn->bdf))
                        count_member(inv, rules, member, &census, &verdict);
        }
        count_unreadable(inv, fn->group, &census, &verdict);
        count_outsiders(inv, fn->group, &census, &verdict);
        if (census.unreadable)
                blame_unreadable(&verdict, census.unreadable);
        else if (vendor_vfio)
                conclude_alone(&verdict, &census);
        else
                conclude(&verdict, &census, fn, rule);
        return verdict;
}

struct bdf card_of(const struct function *fn)
{
        struct bdf card = fn->is_vf ? fn->physfn : fn->bdf;

        card.function = 0;
        return card;
}
