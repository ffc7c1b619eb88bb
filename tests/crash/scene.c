/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "claims/request.h"
#include "config/config.h"
#include "core/plan.h"
#include "hands/worker.h"
#include "host/host.h"
#include "host/modules.h"
#include "picture.h"
#include "rig.h"
#include "sim/sim.h"
#include "tmp.h"

#define HEAD "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nrules:\n"
#define ALL  "  - bind: on-allocate\n    group: one-device\n    persistence: off\n" /* every GPU may be bound */

#define POWER "    power: on\n"
#define LOADS "loadModules: true\n"

#define PLAN     .what = "plan", .last = "plan over-said"
#define ALLOCATE .bind = "on-allocate", .n_devices = 1

const struct scene_kind scene_kinds[] = {
        { .name = "bind", PLAN, ALLOCATE, .ends_bound = true },
        { .name = "bind-several", PLAN, .bind = "on-allocate", .n_devices = SCENE_DEVICES_MAX, .ends_bound = true },
        { .name = "bind-undone", PLAN, ALLOCATE, .fails = true },
        { .name = "power", PLAN, ALLOCATE, .powers = true, .ends_bound = true },
        { .name = "bind-loads", PLAN, ALLOCATE, .unloaded = true, .ends_bound = true },
        { .name = "power-back", .cause = CAUSE_RELEASE, PLAN, ALLOCATE, .release = "keep", .powers = true, .ends_bound = true },
        { .name = "bind-at-start", .cause = CAUSE_START, PLAN, .bind = "at-start", .n_devices = 1, .ends_bound = true },
        { .name = "restore", .cause = CAUSE_RELEASE, PLAN, ALLOCATE, .release = "restore" },
        { .name = "reset", .cause = CAUSE_RELEASE, PLAN, ALLOCATE, .release = "reset", .ends_bound = true },
        { .name = "reset-restore", .cause = CAUSE_RELEASE, PLAN, ALLOCATE, .release = "reset+restore" },
        { .name = "reset-narrowed", .cause = CAUSE_RELEASE, PLAN, ALLOCATE, .release = "reset", .narrows = true, .ends_bound = true },
        { .name = "recover", .cause = CAUSE_RECOVERY, PLAN, ALLOCATE, .killed_in = STEP_OVERRIDE },
        { .name = "recover-unbound", .cause = CAUSE_RECOVERY, PLAN, ALLOCATE, .killed_in = STEP_UNBIND },
        { .name = "recover-locked", .cause = CAUSE_RECOVERY, PLAN, ALLOCATE, .killed_in = STEP_GUARD_UNBIND_LOCK },
        { .name = "recover-replaced",
          .cause = CAUSE_RECOVERY,
          .what = "plan",
          .last = "remove end",
          ALLOCATE,
          .killed_in = STEP_UNBIND,
          .replaced = true },
        { .name = "look", .cause = CAUSE_START, .what = "look", .last = "look over-said", ALLOCATE },
        { .name = "question", .cause = CAUSE_QUESTION, .what = "list-holders", .last = "look over-said", ALLOCATE },
};
const size_t scene_n_kinds = N_ELEMENTS(scene_kinds);

char *scene_config(const struct scene *scene)
{
        const struct scene_kind *kind = scene->kind;
        struct strbuf b = { 0 };

        strbuf_add(&b, HEAD);
        if (kind->cause == CAUSE_START)
                strbuf_addf(&b, "  - select: {addresses: [\"%s\"]}\n    bind: %s\n    group: one-device\n    persistence: off\n",
                            scene->ids[0], kind->bind);
        strbuf_add(&b, kind->powers ? ALL POWER : ALL);
        if (kind->release)
                strbuf_addf(&b, "    release: %s\n", kind->release);
        if (kind->unloaded)
                strbuf_add(&b, LOADS);
        return strbuf_take(&b);
}

void scene_make_class(const char *sim_dir)
{
        _cleanup_free_ char *class = xasprintf("%s/sys/class", sim_dir), *vfio_dev = xasprintf("%s/vfio-dev", class);

        if (fs_mkdir(AT_FDCWD, class, 0755) < 0 || fs_mkdir(AT_FDCWD, vfio_dev, 0755) < 0)
                abort();
}

bool scene_unload_vfio_pci(const char *sim_dir)
{
        static const char *const files[] = { "bind", "unbind" };
        _cleanup_free_ char *path = xasprintf("%s/sys/bus/pci/drivers/vfio-pci", sim_dir);

        _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; dir >= 0 && i < N_ELEMENTS(files); i++)
                (void)fs_unlink(dir, files[i], 0);
        return dir >= 0 && fs_unlink(AT_FDCWD, path, AT_REMOVEDIR) == 0;
}

void scene_make_host(const struct scene *scene, const char *sim_dir)
{
        scene_make_class(sim_dir);
        if (scene->kind->narrows)
                rig_doubt_resets(sim_dir);
        if (scene->kind->unloaded && !scene_unload_vfio_pci(sim_dir))
                abort();
}

/* ---- one look at a host of our own ---- */

struct stage {
        char dir[48];
        struct sim *sim;
        struct inventory *inventory;
        struct config *config;
        struct offer *offer;
};

static void check(int r, const struct err *err)
{
        if (r >= 0)
                return;
        (void)fprintf(stderr, "%s\n", err->msg);
        abort();
}

static void stage_open(struct stage *stage, const char *fixture, const char *config, bool unloaded)
{
        _cleanup_free_ char *source = xasprintf("tests/fixtures/hosts/%s.capture", fixture);
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct names *names;
        struct err err = { 0 };

        *stage = (struct stage){ 0 };
        str_format(stage->dir, sizeof(stage->dir), "%s/sluice-scene-XXXXXX", tmp_base());
        if (!mkdtemp(stage->dir))
                abort();
        check(sim_prepare(source, stage->dir, &err), &err);
        check(sim_open(&stage->sim, stage->dir, &err), &err);
        scene_make_class(stage->dir);
        if (unloaded && !scene_unload_vfio_pci(stage->dir))
                abort();
        check(config_parse("scene", config, strlen(config), &stage->config, &problems), &err);
        check(names_new(&names, NULL, NULL, &err), &err);
        check(host_scan(sim_tree(stage->sim), names, true, &stage->inventory, &err), &err);
        names_free(names);
        struct modules *modules = modules_new();
        check(modules_apply(modules, sim_tree(stage->sim), stage->inventory, &err), &err);
        modules_free(modules);
        stage->offer = offer_decide(&(struct offer_input){ .inventory = stage->inventory, .rules = &stage->config->rules });
}

static void stage_close(struct stage *stage)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", stage->dir);

        offer_unref(stage->offer);
        inventory_unref(stage->inventory);
        config_free(stage->config);
        sim_free(stage->sim);
        if (system(command) != 0)
                abort();
}

/* The plan that binds @device alone; false when there is none, or nothing to do. */
static bool plan_of(const struct stage *stage, const struct device *device, struct plan *ret)
{
        struct err err;

        return device->state == DEVICE_HEALTHY && device->needs_bind &&
               plan_bind(stage->inventory, &stage->config->rules, &device, 1, true, ret, &err) == REASON_NONE && ret->n_steps > 0;
}

static bool ignore_report(void *ctx, const struct report *report)
{
        (void)ctx;
        (void)report;
        return true;
}

static void execute(const struct stage *stage, const struct plan *plan)
{
        _cleanup_kernel_ struct kernel *kernel = NULL;
        struct err err;

        _cleanup_close_ int locks = open(stage->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        check(kernel_open(&kernel, stage->dir, &err), &err);
        if (worker_execute(kernel, locks, plan, ignore_report, NULL) != PLAN_DONE)
                abort();
}

/* ---- scenes ---- */

static const char whole_config[] = HEAD ALL, power_config[] = HEAD ALL POWER, loads_config[] = HEAD ALL LOADS;

static bool same_shape(const struct plan *a, const struct plan *b)
{
        if (a->n_steps != b->n_steps)
                return false;
        for (uint32_t i = 0; i < a->n_steps; i++)
                if (a->steps[i].kind != b->steps[i].kind)
                        return false;
        return true;
}

/* The first device of each shape. Caller frees. */
static const struct device **distinct(const struct stage *stage, size_t *ret_n)
{
        const struct device **list = xcalloc(stage->offer->n_devices + 1, sizeof(const struct device *));
        struct plan *plans = xcalloc(stage->offer->n_devices + 1, sizeof(*plans));
        size_t n = 0;

        for (size_t i = 0; i < stage->offer->n_devices; i++) {
                bool known = !plan_of(stage, &stage->offer->devices[i], &plans[n]);
                for (size_t k = 0; k < n && !known; k++)
                        known = same_shape(&plans[k], &plans[n]);
                if (!known)
                        list[n++] = &stage->offer->devices[i];
        }
        free(plans);
        *ret_n = n;
        return list;
}

static bool share_a_card(const struct stage *stage, const struct device *a, const struct device *b)
{
        const struct device *both[] = { a, b };
        size_t unit[2];

        request_units(stage->inventory, both, 2, unit);
        return unit[1] == unit[0];
}

static void note_functions(const struct stage *stage, const struct device *device, struct bdf *ret, unsigned *ret_n)
{
        struct plan plan;

        if (!plan_of(stage, device, &plan))
                abort();
        for (uint32_t i = 0; i < plan.n_steps && *ret_n < SCENE_FUNCTIONS_MAX; i++)
                if (plan.steps[i].kind == STEP_PROBE)
                        ret[(*ret_n)++] = plan.steps[i].bdf;
}

/* @first and what can be asked for together with it. */
static void choose(const struct stage *stage, const struct device *first, struct scene *scene)
{
        const struct device *chosen[SCENE_DEVICES_MAX] = { first };
        struct plan plan;
        unsigned n = 1;

        for (size_t i = 0; i < stage->offer->n_devices && n < scene->kind->n_devices; i++) {
                const struct device *d = &stage->offer->devices[i];
                bool fits = streq(d->resource, first->resource) && plan_of(stage, d, &plan);
                for (unsigned k = 0; k < n && fits; k++)
                        fits = !share_a_card(stage, chosen[k], d);
                if (fits)
                        chosen[n++] = d;
        }
        (void)str_copy(scene->resource, sizeof(scene->resource), first->resource);
        for (unsigned i = 0; i < n; i++)
                (void)str_copy(scene->ids[i], sizeof(scene->ids[i]), chosen[i]->id);
        scene->n_ids = n;
        for (unsigned i = 0; i < n; i++)
                note_functions(stage, chosen[i], scene->functions[i], &scene->n_functions[i]);
        const struct pool *pool = offer_pool(stage->offer, first->resource);
        scene->n_listed = (unsigned)pool->n_devices;
        for (size_t i = 0; i < pool->n_devices; i++)
                scene->n_healthy += stage->offer->devices[pool->devices[i]].state == DEVICE_HEALTHY;
}

static char *draw(const struct scene *scene, const char *config, unsigned mask)
{
        struct stage stage;
        struct plan plan;

        stage_open(&stage, scene->fixture, config, scene->kind->unloaded);
        if (!scene->kind->unloaded)
                scene_make_host(scene, stage.dir);
        for (unsigned i = 0; i < scene->n_ids; i++) {
                const struct device *d = offer_device(stage.offer, scene->ids[i]);
                if ((mask & 1U << i) && plan_of(&stage, d, &plan))
                        execute(&stage, &plan);
        }
        char *picture = picture_of(stage.dir);
        stage_close(&stage);
        return picture;
}

static char *draw_loaded(const struct scene *scene)
{
        struct stage stage;
        struct err err;

        stage_open(&stage, scene->fixture, loads_config, true);
        check(sim_load_module(stage.sim, "vfio-pci", &err), &err);
        char *picture = picture_of(stage.dir);
        stage_close(&stage);
        return picture;
}

/* Nothing of the host is on it, and what its module would be loaded for can be asked for. */
static bool can_be_without_vfio_pci(const struct scene *scene)
{
        struct stage stage;
        struct plan plan;
        bool can = false;

        stage_open(&stage, scene->fixture, whole_config, false);
        bool unloads = scene_unload_vfio_pci(stage.dir);
        stage_close(&stage);
        if (!unloads)
                return false;
        stage_open(&stage, scene->fixture, loads_config, true);
        const struct device *device = offer_device(stage.offer, scene->ids[0]);
        if (device && plan_of(&stage, device, &plan))
                for (uint32_t i = 0; i < plan.n_steps; i++)
                        can = can || plan.steps[i].kind == STEP_LOAD_MODULE;
        stage_close(&stage);
        return can;
}

static bool has_release(const struct stage *stage, const struct scene *scene)
{
        const struct function *fn = inventory_function(stage->inventory, offer_device(stage->offer, scene->ids[0])->bdf);
        enum release_policy policy;
        char detail[ERR_MSG_MAX];

        for (policy = RELEASE_KEEP; !streq(release_policy_name(policy), scene->kind->release); policy++)
                ;
        return plan_release_possible(stage->inventory, fn, policy, detail, sizeof(detail)) == REASON_NONE;
}

/* Where the bind is killed that is to be recovered; false: it has no such step. */
static bool find_kill(const struct stage *stage, struct scene *scene)
{
        struct plan plan;
        char card[BDF_TEXT_MAX], bdf[BDF_TEXT_MAX];
        bool found = false;

        if (!plan_of(stage, offer_device(stage->offer, scene->ids[0]), &plan))
                abort();
        for (uint32_t i = 0; i < plan.n_steps; i++) {
                if (plan.steps[i].kind != scene->kind->killed_in)
                        continue;
                found = true;
                str_format(scene->killed_at, sizeof(scene->killed_at), "hand %s %u %s after %s", bdf_format(plan.cards[0], card), i,
                           step_kind_name(plan.steps[i].kind), bdf_format(plan.steps[i].bdf, bdf));
        }
        return found;
}

static bool is_possible(const struct stage *stage, struct scene *scene)
{
        switch (scene->kind->cause) {
        case CAUSE_RELEASE:
                return has_release(stage, scene);
        case CAUSE_RECOVERY:
                return (!scene->kind->replaced || scene->n_functions[0] == 1) && find_kill(stage, scene);
        default:
                if (scene->kind->unloaded && !can_be_without_vfio_pci(scene))
                        return false;
                return scene->kind->n_devices == 1 || scene->n_ids > 1;
        }
}

void scene_draw(struct scene *scene)
{
        bool powers = scene->kind->powers;

        for (unsigned mask = 0; mask < 1U << scene->n_ids; mask++)
                scene->world[mask] = draw(scene, powers ? power_config : scene->kind->unloaded ? loads_config : whole_config, mask);
        if (powers)
                scene->bare = draw(scene, whole_config, (1U << scene->n_ids) - 1);
        if (scene->kind->unloaded)
                scene->loaded = draw_loaded(scene);
}

void scene_done(struct scene *scene)
{
        for (unsigned mask = 0; mask < 1U << scene->n_ids; mask++) {
                free(scene->world[mask]);
                scene->world[mask] = NULL;
        }
        free(scene->bare);
        free(scene->loaded);
        scene->bare = scene->loaded = NULL;
}

void scenes_of(const char *fixture, struct scene **ret, size_t *n, size_t *cap)
{
        struct stage stage;
        size_t n_devices;

        stage_open(&stage, fixture, whole_config, false);
        const struct device **devices = distinct(&stage, &n_devices);
        for (size_t d = 0; d < n_devices; d++)
                for (size_t k = 0; k < scene_n_kinds; k++) {
                        struct scene scene = { .kind = &scene_kinds[k] };
                        (void)str_copy(scene.fixture, sizeof(scene.fixture), fixture);
                        choose(&stage, devices[d], &scene);
                        if (!is_possible(&stage, &scene))
                                continue;
                        GROW(*ret, *n, *cap);
                        (*ret)[(*n)++] = scene;
                }
        free(devices);
        stage_close(&stage);
}
