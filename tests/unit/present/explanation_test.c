/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <jansson.h>

#include "../core/world.h"
#include "core/naming.h"
#include "present/explanation.h"

static const char BIND[] = "ids=10de:* bind=on-allocate";
static const char HOST[] = "0000:3b:00.0 10de:26b9 0302 nvidia g=7 lock\n0000:3b:00.1 10de:22ba 0403 snd_hda_intel g=7\n"
                           "0000:3a:00.0 8086:352a 0604 pcieport g=7\n0000:41:00.0 10de:26b9 0302 vfio-pci g=9\n"
                           "0000:42:00.0 144d:a80a 0108 nvme g=9\n";

/* The explanation of @id, with what the others know of it. */
static char *explained(const char *host, const char *rules_text, const char *id, enum present_format format,
                       const struct explanation_input *known)
{
        _cleanup_inventory_ struct inventory *inv = world_host(host);
        _cleanup_(rules_done) struct rules rules = world_rules(rules_text);
        const struct offer_input in = { .inventory = inv, .rules = &rules };
        _cleanup_offer_ struct offer *offer = offer_decide(&in);
        _cleanup_strbuf_ struct strbuf out = { 0 };
        _cleanup_pile_ struct pile pile = { 0 };
        struct explanation_input input = known ? *known : (struct explanation_input){ 0 };
        struct err err;

        input.inventory = inv;
        input.offer = offer;
        input.rules = &rules;
        input.device = offer_device(offer, id);
        assert_non_null(input.device);
        ASSERT_OK(present_explanation(pb_explanation_of(&pile, &input), format, 3600 * 1000 * 5, &out, &err), &err);
        return strbuf_take(&out);
}

static void assert_tells(const char *text, const char *part)
{
        if (!strstr(text, part))
                fail_msg("\"%s\" is not in\n%s", part, text);
}

static void test_a_device_to_be_bound_has_its_group_and_its_plan(void **state)
{
        (void)state;
        _cleanup_free_ char *text = explained(HOST, BIND, "0000:3b:00.0", PRESENT_TABLE, NULL);
        assert_tells(text, "0000:3b:00.0  AD102GL [L40S], healthy\n  gpu on card 0000:3b:00.0, 10de:26b9, driver nvidia, NUMA node 0\n");
        assert_tells(text, "IOMMU group 7: may be handed out, 2 to be bound first\n");
        assert_tells(text, "\n  0000:3a:00.0 bridge    pcieport      yes           -      -\n");
        assert_tells(text, "\n  0000:3b:00.1 companion snd_hda_intel no            -      -\n");
        assert_tells(text, "\nClaimed by nobody\n");
        assert_tells(text, "\nAllocate would do this, and undo it when a step fails:\n   1.   need the driver vfio-pci");
        assert_tells(text, " * unbind 0000:3b:00.1 from snd_hda_intel\n");
        _cleanup_free_ char *bound = explained("0000:3b:00.0 10de:26b9 0302 vfio-pci g=7\n", BIND, "0000:3b:00.0", PRESENT_WIDE, NULL);
        assert_tells(bound, "\nAllocate would answer at once: nothing has to be done\n");
        assert_tells(bound, "IOMMU group 7: may be handed out\n");
}

static void test_a_device_that_is_not_offered_has_the_culprit_and_what_to_do(void **state)
{
        (void)state;
        _cleanup_free_ char *text = explained(HOST, BIND, "0000:41:00.0", PRESENT_TABLE, NULL);
        _cleanup_free_ char *why =
                xasprintf("  %s: %s: 0000:42:00.0 (class 0108, driver nvme)\n    %s\n", reason_word(REASON_GROUP_FOREIGN),
                          reason_sentence(REASON_GROUP_FOREIGN), reason_remedy(REASON_GROUP_FOREIGN));
        const char *first = strstr(text, why), *second = first ? strstr(first + 1, why) : NULL,
                   *third = second ? strstr(second + 1, why) : NULL;
        if (!third) /* of the device, of its group, of Allocate */
                fail_msg("\"%s\" is not three times in\n%s", why, text);
        assert_tells(text, "IOMMU group 9: may not be handed out\n");
        assert_tells(text, "\nAllocate would refuse it:\n");
}

static void test_what_is_healthy_and_cannot_be_bound_is_refused_by_its_plan(void **state)
{
        (void)state;
        _cleanup_free_ char *text =
                explained("0000:3b:00.0 10de:26b9 0302 nvidia override=pci-stub\n", BIND, "0000:3b:00.0", PRESENT_TABLE, NULL);
        assert_tells(text, "Allocate would refuse it:\n  foreign-owner: ");
        assert_tells(text, "driver_override of 0000:3b:00.0 to pci-stub");
}

static void test_claims_holders_originals_and_a_hold_are_told(void **state)
{
        struct claim_device device = { .id = "0000:3b:00.0" };
        const struct claim claim = { .key = "kubelet:0000:3b:00.0",
                                     .state = CLAIM_SEEN,
                                     .devices = &device,
                                     .n_devices = 1,
                                     .since_ms = 3600 * 1000,
                                     .pod_namespace = "team",
                                     .pod = "virt-launcher-a",
                                     .container = "compute" };
        const struct original original = { .bdf = { 0, 0x3b, 0, 0 }, .state = ORIGINAL_BOUND, .driver = "nvidia", .target = "vfio-pci" };
        const struct claim *claims[] = { &claim };
        const struct original *originals[] = { &original };
        pb_cordon cordon = SLUICE__NODE__V1__CORDON__INIT;
        pb_holders holders = SLUICE__NODE__V1__HOLDERS__INIT;
        pb_holder holder = SLUICE__NODE__V1__HOLDER__INIT, *list[] = { &holder };
        const struct explanation_input known = {
                .claims = claims, .n_claims = 1, .originals = originals, .n_originals = 1, .cordon = &cordon, .holders = &holders
        };

        (void)state;
        cordon.target = pb_text("0000:3b:00.0");
        cordon.note = pb_text("fan is loud");
        cordon.since_ms = 3600 * 1000 * 5 - 90 * 1000;
        holder.pid = 4242;
        holder.comm = pb_text("qemu-kvm");
        holder.node = pb_text("/dev/vfio/7");
        holders.why_not = pb_text("no right");
        holders.holders = list;
        holders.n_holders = 1;
        _cleanup_free_ char *text = explained(HOST, BIND, "0000:3b:00.0", PRESENT_TABLE, &known);
        assert_tells(text, "\nCordoned for 90s as 0000:3b:00.0: fan is loud\n");
        assert_tells(text, "\nClaimed:\n  seen for 4h, by kubelet for team/virt-launcher-a/compute\n");
        assert_tells(text, "\nOpen: /dev/vfio/7 by pid 4242 (qemu-kvm)\nWho else has it open is not known: no right\n");
        assert_tells(text, "\n0000:3b:00.0: bound to vfio-pci by Sluice; before, driver nvidia, driver_override -\n");

        _cleanup_free_ char *json = explained(HOST, BIND, "0000:3b:00.0", PRESENT_JSON, &known);
        json_t *tree = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        json_t *first = json_array_get(json_object_get(tree, "claims"), 0);
        assert_int_equal(json_integer_value(json_object_get(first, "since_ms")), 3600 * 1000);
        assert_string_equal(json_string_value(json_object_get(json_object_get(first, "pod"), "name")), "virt-launcher-a");
        assert_true(json_is_null(json_object_get(json_object_get(tree, "allocate"), "refusal")));
        json_decref(tree);
}

static void test_the_end_of_its_claim_is_told_as_its_rule_has_it(void **state)
{
        static const char bound[] = "0000:3b:00.0 10de:26b9 0302 vfio-pci g=7\n";
        const struct original original = { .bdf = { 0, 0x3b, 0, 0 },
                                           .card = { 0, 0x3b, 0, 0 },
                                           .state = ORIGINAL_BOUND,
                                           .vendor = 0x10de,
                                           .device = 0x26b9,
                                           .target = "vfio-pci" };
        const struct original *originals[] = { &original };
        const struct explanation_input known = { .originals = originals, .n_originals = 1 };

        (void)state;
        _cleanup_free_ char *kept = explained(bound, BIND, "0000:3b:00.0", PRESENT_TABLE, &known);
        assert_tells(kept, ": bind on-allocate, release keep\n");
        assert_tells(kept, "\nWhen its pod is gone, it stays as it is\n");
        _cleanup_free_ char *back = explained(bound, "ids=10de:* bind=on-allocate release=restore", "0000:3b:00.0", PRESENT_TABLE, &known);
        assert_tells(back, "\nWhen its pod is gone, this is done:\n");
        assert_tells(back, " * unbind 0000:3b:00.0 from vfio-pci\n");
        _cleanup_free_ char *blind = explained("0000:3b:00.0 10de:26b9 0302 vfio-pci g=7\n!holders\n",
                                               "ids=10de:* bind=on-allocate release=restore", "0000:3b:00.0", PRESENT_TABLE, &known);
        assert_tells(blind, "\nWhen its pod is gone, it cannot be released as its rule says:\n  holders-unknown: ");
        _cleanup_free_ char *unbound = explained(HOST, BIND, "0000:3b:00.0", PRESENT_TABLE, NULL);
        assert_null(strstr(unbound, "When its pod is gone"));
}

static void test_the_table_of_claims_names_pods_by_their_whole_name(void **state)
{
        struct claim_device device = { .id = "0000:3b:00.0" };
        struct claim seen = { .key = "kubelet:a",
                              .state = CLAIM_SEEN,
                              .devices = &device,
                              .n_devices = 1,
                              .since_ms = 1,
                              .resource = "nvidia.com/X",
                              .pod_namespace = "team",
                              .pod = "vm",
                              .container = "compute" };
        struct claim answered = { .key = "kubelet:b", .state = CLAIM_ANSWERED, .devices = &device, .n_devices = 1, .since_ms = 599 * 1000 };
        _cleanup_pile_ struct pile pile = { 0 };
        _cleanup_strbuf_ struct strbuf table = { 0 }, none = { 0 }, yaml = { 0 };
        pb_node_list_prepared_response list = SLUICE__NODE__V1__NODE_LIST_PREPARED_RESPONSE__INIT;
        pb_claim *claims[] = { pb_claim_of(&pile, &seen), pb_claim_of(&pile, &answered) };
        struct err err;

        (void)state;
        ASSERT_OK(present_claims(&list, PRESENT_TABLE, 0, &none, &err), &err);
        assert_string_equal(none.text, "Nothing is claimed.\n");
        list.claims = claims;
        list.n_claims = 2;
        for (size_t i = 0; i < list.n_claims; i++) {
                claims[i]->holders = pb_new(&pile, holders);
                claims[i]->holders->complete = true;
        }
        ASSERT_OK(present_claims(&list, PRESENT_TABLE, 600 * 1000, &table, &err), &err);
        assert_string_equal(table.text, "DEVICE       POD             STATE    SINCE HOLDERS\n"
                                        "0000:3b:00.0 team/vm/compute seen        9m -\n"
                                        "0000:3b:00.0 -               answered    1s -\n");
        ASSERT_OK(present_claims(&list, PRESENT_YAML, 0, &yaml, &err), &err);
        assert_tells(yaml.text, "name: vm");
        assert_null(strstr(yaml.text, "page_token"));
}

static void test_the_table_of_claims_says_who_has_it_open_and_what_cannot_be_seen(void **state)
{
        struct claim_device device = { .id = "0000:3b:00.0" };
        struct claim claim = {
                .key = "kubelet:a", .state = CLAIM_ANSWERED, .devices = &device, .n_devices = 1, .resource = "nvidia.com/X"
        };
        _cleanup_pile_ struct pile pile = { 0 };
        _cleanup_strbuf_ struct strbuf table = { 0 }, wide = { 0 }, json = { 0 }, old = { 0 };
        pb_node_list_prepared_response list = SLUICE__NODE__V1__NODE_LIST_PREPARED_RESPONSE__INIT;
        pb_holder qemu = SLUICE__NODE__V1__HOLDER__INIT, ended = qemu, *processes[] = { &qemu, &ended };
        pb_holders all = SLUICE__NODE__V1__HOLDERS__INIT, blind = all, more = all;
        pb_claim *claims[] = { pb_claim_of(&pile, &claim), pb_claim_of(&pile, &claim), pb_claim_of(&pile, &claim) };
        struct err err;

        (void)state;
        qemu.pid = 4242;
        qemu.comm = pb_text("qemu-kvm");
        ended.pid = 4243;
        all.complete = true;
        blind.why_not = more.why_not = pb_text("a sentence");
        all.holders = more.holders = processes;
        all.n_holders = 2;
        more.n_holders = 1;
        list.claims = claims;
        list.n_claims = 3;
        claims[0]->holders = &all;
        claims[1]->holders = &blind;
        claims[2]->holders = &more;
        ASSERT_OK(present_claims(&list, PRESENT_TABLE, 0, &table, &err), &err);
        assert_string_equal(table.text, "DEVICE       POD STATE    SINCE HOLDERS\n"
                                        "0000:3b:00.0 -   answered     ? 4242,4243\n"
                                        "0000:3b:00.0 -   answered     ? ?\n"
                                        "0000:3b:00.0 -   answered     ? 4242,?\n"
                                        "\n? who has it open is not known: a sentence\n");
        ASSERT_OK(present_claims(&list, PRESENT_WIDE, 0, &wide, &err), &err);
        assert_tells(wide.text, "? 4242 (qemu-kvm),4243 ");
        ASSERT_OK(present_claims(&list, PRESENT_JSON, 0, &json, &err), &err);
        assert_tells(json.text, "\"why_not\": \"a sentence\"");
        assert_tells(json.text, "\"comm\": \"qemu-kvm\"");
        claims[0]->holders = claims[1]->holders = claims[2]->holders = NULL;
        ASSERT_OK(present_claims(&list, PRESENT_TABLE, 0, &old, &err), &err);
        assert_tells(old.text, "? ?\n\n? who has it open is not known: this sluiced does not tell\n");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_a_device_to_be_bound_has_its_group_and_its_plan),
                TEST(test_a_device_that_is_not_offered_has_the_culprit_and_what_to_do),
                TEST(test_what_is_healthy_and_cannot_be_bound_is_refused_by_its_plan),
                TEST(test_claims_holders_originals_and_a_hold_are_told),
                TEST(test_the_end_of_its_claim_is_told_as_its_rule_has_it),
                TEST(test_the_table_of_claims_names_pods_by_their_whole_name),
                TEST(test_the_table_of_claims_says_who_has_it_open_and_what_cannot_be_seen),
        };

        return RUN(tests);
}
