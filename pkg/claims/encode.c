/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/encode.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "core/reset.h"

/* ---- to text ---- */

static char *dump(json_t *tree)
{
        json_auto_t *owned = alloc_check(tree); /* packing fails without memory, or on what is no UTF-8 */

        return alloc_check(json_dumps(owned, JSON_COMPACT));
}

static json_t *encode_device(const struct claim_device *device)
{
        char card[BDF_TEXT_MAX];

        return alloc_check(json_pack("{s:s, s:s, s:i, s:i, s:i}", "id", device->id, "card", bdf_format(device->card, card), "group",
                                     device->group, "vendor", (int)device->vendor, "device", (int)device->device));
}

char *encode_claim(const struct claim *claim)
{
        json_t *devices = alloc_check(json_array());

        for (size_t i = 0; i < claim->n_devices; i++)
                (void)json_array_append_new(devices, encode_device(&claim->devices[i]));
        return dump(json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:I, s:{s:s, s:s, s:s}}", "owner", claim_owner_name(claim->owner), "state",
                              claim_state_name(claim->state), "mode", device_mode_name(claim->mode), "resource", claim->resource, "devices",
                              devices, "boot_id", claim->boot_id, "since_ms", (json_int_t)claim->since_ms, "pod", "namespace",
                              claim->pod_namespace, "name", claim->pod, "container", claim->container));
}

char *encode_original(const struct original *o)
{
        char card[BDF_TEXT_MAX];

        json_t *tree = alloc_check(json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:s, s:b, s:s, s:s}", "card", bdf_format(o->card, card),
                                             "state", original_state_name(o->state), "vendor", (int)o->vendor, "device", (int)o->device,
                                             "subvendor", (int)o->subvendor, "subdevice", (int)o->subdevice, "driver", o->driver,
                                             "driver_override", o->driver_override, "override_known", (int)o->override_known, "target",
                                             o->target, "boot_id", o->boot_id));
        if (*o->power_control)
                (void)json_object_set_new(tree, "power_control", json_string(o->power_control));
        if (*o->d3cold_allowed)
                (void)json_object_set_new(tree, "d3cold_allowed", json_string(o->d3cold_allowed));
        if (*o->reset_methods)
                (void)json_object_set_new(tree, "reset_methods", json_string(o->reset_methods));
        return dump(tree);
}

/* ---- back ---- */

static int bad(struct err *err, const char *what)
{
        return err_say(err, EBADMSG, "%s", what);
}

/* Whole, and without what str_clean would replace. */
static bool take_text(char *dst, size_t size, const char *text)
{
        for (const char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        return str_copy(dst, size, text);
}

static bool take_id(uint16_t *ret, json_int_t id)
{
        if (id < 0 || id > UINT16_MAX)
                return false;
        *ret = (uint16_t)id;
        return true;
}

/* The value whose name is @word; -1 = none of @n has it. */
static int find_word(const char *word, const char *(*name)(int value), int n)
{
        for (int i = 0; i < n; i++)
                if (streq(name(i), word))
                        return i;
        return -1;
}

static const char *name_of_owner(int value)
{
        return claim_owner_name((enum claim_owner)value);
}

static const char *name_of_claim_state(int value)
{
        return claim_state_name((enum claim_state)value);
}

static const char *name_of_original_state(int value)
{
        return original_state_name((enum original_state)value);
}

static const char *name_of_mode(int value)
{
        return device_mode_name((enum device_mode)value);
}

static int decode_device(const json_t *tree, struct claim_device *ret, struct err *err)
{
        const char *id, *card;
        json_int_t group, vendor, device;
        struct claim_device d = { 0 };
        struct bdf bdf;

        if (json_unpack_ex((json_t *)tree, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:I, s:I}", "id", &id, "card", &card, "group", &group,
                           "vendor", &vendor, "device", &device) < 0)
                return bad(err, "a device in it has other members than id, card, group, vendor and device");
        if (!take_text(d.id, sizeof(d.id), id) || (!bdf_parse(id, &bdf) && !str_is_uuid(id)))
                return bad(err, "a device in it has an id that is neither an address nor a UUID");
        if (!bdf_parse(card, &d.card))
                return bad(err, "a device in it has no valid card");
        if (group < -1 || group > INT32_MAX || !take_id(&d.vendor, vendor) || !take_id(&d.device, device))
                return bad(err, "a device in it has a group or an identity that is none");
        d.group = (int)group;
        *ret = d;
        return 0;
}

static int decode_devices(const json_t *list, struct claim *claim, struct err *err)
{
        size_t n = json_array_size(list); /* 0 when it is no array */

        if (n == 0 || n > CLAIM_DEVICES_MAX)
                return err_say(err, EBADMSG, "it has %zu devices instead of 1 to %d", n, CLAIM_DEVICES_MAX);
        claim->devices = xcalloc(n, sizeof(*claim->devices));
        for (; claim->n_devices < n; claim->n_devices++) {
                int r = decode_device(json_array_get(list, claim->n_devices), &claim->devices[claim->n_devices], err);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < claim->n_devices; i++)
                        if (streq(claim->devices[i].id, claim->devices[claim->n_devices].id))
                                return bad(err, "it names a device twice");
        }
        return 0;
}

static int check_key(const struct claim *claim, struct err *err)
{
        char key[CLAIM_KEY_MAX];

        if (claim->owner == OWNER_NODE_API)
                return str_has_prefix(claim->key, "node:") ? 0 : bad(err, "its key is none of the node API's");
        if (claim->owner != OWNER_KUBELET || claim->n_devices != 1)
                return bad(err, "it is neither the node API's nor a claim of kubelet's, which has one device");
        claim_key_of_kubelet(claim->devices[0].id, key);
        return streq(key, claim->key) ? 0 : bad(err, "its key is not that of its device");
}

static int fill_claim(const char *key, const json_t *tree, struct claim *claim, struct err *err)
{
        const char *owner, *state, *mode, *resource, *boot_id, *namespace, *pod, *container;
        json_int_t since_ms;
        json_t *devices;

        if (json_unpack_ex((json_t *)tree, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:o, s:s, s:I, s:{s:s, s:s, s:s}}", "owner", &owner,
                           "state", &state, "mode", &mode, "resource", &resource, "devices", &devices, "boot_id", &boot_id, "since_ms",
                           &since_ms, "pod", "namespace", &namespace, "name", &pod, "container", &container) < 0)
                return bad(err, "it has not the members of a claim");
        int owner_value = find_word(owner, name_of_owner, OWNER_RECONCILE + 1);
        int state_value = find_word(state, name_of_claim_state, CLAIM_RELEASING + 1);
        int mode_value = find_word(mode, name_of_mode, MODE_VFIO + 1);
        if (owner_value < 0 || state_value < 0 || mode_value < 0)
                return bad(err, "its owner, state or mode is a word that this program does not know");
        claim->owner = (enum claim_owner)owner_value;
        claim->state = (enum claim_state)state_value;
        claim->mode = (enum device_mode)mode_value;
        claim->since_ms = since_ms;
        if (!take_text(claim->key, sizeof(claim->key), key) || !take_text(claim->resource, sizeof(claim->resource), resource) ||
            !take_text(claim->boot_id, sizeof(claim->boot_id), boot_id) ||
            !take_text(claim->pod_namespace, sizeof(claim->pod_namespace), namespace) || !take_text(claim->pod, sizeof(claim->pod), pod) ||
            !take_text(claim->container, sizeof(claim->container), container) || !*resource)
                return bad(err, "one of its names is too long, missing, or has control bytes");
        int r = decode_devices(devices, claim, err);
        return r < 0 ? r : check_key(claim, err);
}

int decode_claim(const char *key, const char *text, struct claim *ret, struct err *err)
{
        _cleanup_claim_ struct claim claim = { .n_devices = 0 };

        json_auto_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        int r = tree ? fill_claim(key, tree, &claim, err) : bad(err, "it is no JSON");
        if (r < 0)
                return r;
        *ret = claim;
        claim.devices = NULL; /* handed over */
        return 0;
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
        return !*text || streq(text, a) || streq(text, b);
}

int decode_original(const char *key, const char *text, struct original *ret, struct err *err)
{
        const char *card, *state, *driver, *override, *target, *boot_id, *control = "", *d3cold = "", *methods = "";
        json_int_t ids[4];
        struct original o = { .override_known = false };
        int known;

        json_auto_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        if (!tree)
                return bad(err, "it is no JSON");
        if (json_unpack_ex(tree, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:b, s:s, s:s, s?s, s?s, s?s}", "card", &card,
                           "state", &state, "vendor", &ids[0], "device", &ids[1], "subvendor", &ids[2], "subdevice", &ids[3], "driver",
                           &driver, "driver_override", &override, "override_known", &known, "target", &target, "boot_id", &boot_id,
                           "power_control", &control, "d3cold_allowed", &d3cold, "reset_methods", &methods) < 0)
                return bad(err, "it has not the members of an original");
        int state_value = find_word(state, name_of_original_state, ORIGINAL_RESTORING + 1);
        if (state_value < 0)
                return bad(err, "its state is a word that this program does not know");
        o.state = (enum original_state)state_value;
        o.override_known = known != 0;
        if (!bdf_parse(key, &o.bdf) || !bdf_parse(card, &o.card))
                return bad(err, "it does not say which function of which card it is about");
        if (!take_id(&o.vendor, ids[0]) || !take_id(&o.device, ids[1]) || !take_id(&o.subvendor, ids[2]) || !take_id(&o.subdevice, ids[3]))
                return bad(err, "its identity is none");
        if (!take_text(o.driver, sizeof(o.driver), driver) || !take_text(o.driver_override, sizeof(o.driver_override), override) ||
            !take_text(o.target, sizeof(o.target), target) || !take_text(o.boot_id, sizeof(o.boot_id), boot_id) || !*target)
                return bad(err, "one of its names is too long, missing, or has control bytes");
        if (!take_text(o.power_control, sizeof(o.power_control), control) || !is_one_of(control, "on", "auto") ||
            !take_text(o.d3cold_allowed, sizeof(o.d3cold_allowed), d3cold) || !is_one_of(d3cold, "0", "1"))
                return bad(err, "what it says of power is nothing that the kernel says");
        if (!take_text(o.reset_methods, sizeof(o.reset_methods), methods) || !reset_is_list(methods))
                return bad(err, "what it says of reset_method is no list of methods");
        *ret = o;
        return 0;
}
