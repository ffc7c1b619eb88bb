/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include "reactions.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../reactions.h"
#include "base/alloc.h"
#include "base/str.h"

static const char *find_word(const struct reaction_word *words, const char *word)
{
        const struct reaction_word *gpu = NULL, *found = NULL;

        for (const struct reaction_word *w = words; w->word != NULL; w++) {
                if (streq(w->word, "$GPU"))
                        gpu = w;
                if (streq(w->word, word))
                        found = w;
        }
        if (found == NULL || found->name != NULL)
                return found != NULL ? found->name : NULL;
        return gpu != NULL ? group_of(gpu->name) : NULL;
}

/* ---- this kernel, as the table sees it ---- */

static const char *kernel_name(void *ctx, const char *word)
{
        return find_word(ctx, word);
}

static int kernel_do(void *ctx, const char *path, const char *value)
{
        (void)ctx;
        return kernel_write(value, "/%s", path);
}

static int kernel_value(void *ctx, const char *path, char *out, size_t size)
{
        (void)ctx;
        if (!kernel_exists("/%s", path))
                return -ENOENT;
        str_format(out, size, "%s", kernel_read("/%s", path));
        return 0;
}

static int kernel_link_name(void *ctx, const char *path, char *out, size_t size)
{
        (void)ctx;
        str_format(out, size, "%s", kernel_link("/%s", path));
        return out[0] != '\0' ? 0 : -ENOENT;
}

static int kernel_there(void *ctx, const char *path)
{
        (void)ctx;
        return kernel_exists("/%s", path);
}

static int kernel_count(void *ctx, const char *dir, const char *prefix)
{
        char path[1024];
        int n = 0;

        (void)ctx;
        str_format(path, sizeof(path), "/%s", dir);
        DIR *d = opendir(path);
        for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
                n += str_has_prefix(e->d_name, prefix);
        if (d != NULL)
                (void)closedir(d);
        return n;
}

/* The stand-in driver waits in its remove(). */
static int kernel_hold(void *ctx, const char *bdf, bool hold)
{
        const char *minor = strstr(kernel_read("/proc/driver/nvidia/gpus/%s/information", bdf), "Device Minor:");

        (void)ctx;
        if (!minor)
                return -ENOENT;
        minor += strcspn(minor, "0123456789");
        return kernel_write(hold ? minor : "-1", "/sys/module/nvidia/parameters/hold_remove");
}

/* ---- one test per case ---- */

struct reaction_run {
        const struct reaction_case *the_case;
        const struct reaction_word *words;
        void (*ready)(void);
};

static bool speaks_of(const struct reaction_case *c, const char *word)
{
        for (size_t i = 0; i < REACTION_STEPS_MAX && c->steps[i].what != STEP_LAST; i++)
                if (strstr(c->steps[i].path, word) != NULL || strstr(c->steps[i].value, word) != NULL)
                        return true;
        return false;
}

static bool has_all_words(const struct reaction_case *c, const struct reaction_word *words)
{
        const struct reaction_host host = { .ctx = (void *)(uintptr_t)words, .name = kernel_name };
        char out[1024];

        for (size_t i = 0; i < REACTION_STEPS_MAX && c->steps[i].what != STEP_LAST; i++)
                if (!reaction_expand(&host, c->steps[i].path, out, sizeof(out)) ||
                    !reaction_expand(&host, c->steps[i].value, out, sizeof(out)))
                        return false;
        return true;
}

static void test_reaction(void **state)
{
        const struct reaction_run *run = *state;
        const struct reaction_host host = {
                .ctx = (void *)(uintptr_t)run->words,
                .name = kernel_name,
                .write = kernel_do,
                .read = kernel_value,
                .link_name = kernel_link_name,
                .exists = kernel_there,
                .count = kernel_count,
                .hold = kernel_hold,
        };
        char why[1024] = "";

        if (run->ready != NULL && speaks_of(run->the_case, "$MDEV"))
                run->ready();
        if (reaction_run(&host, run->the_case, why, sizeof(why)) != 0)
                fail_msg("%s", why);
}

int run_reactions(const char *topology, const struct reaction_word *words, void (*ready)(void))
{
        struct CMUnitTest tests[REACTION_CASES];
        struct reaction_run runs[REACTION_CASES];
        size_t n = 0;

        for (size_t i = 0; i < REACTION_CASES; i++) {
                if (!has_all_words(&reaction_cases[i], words))
                        continue;
                runs[n] = (struct reaction_run){ .the_case = &reaction_cases[i], .words = words, .ready = ready };
                tests[n] = (struct CMUnitTest){
                        .name = reaction_cases[i].name,
                        .test_func = test_reaction,
                        .initial_state = &runs[n],
                };
                n++;
        }
        announce(tests, n);
        return _cmocka_run_group_tests(topology, tests, n, NULL, NULL);
}

bool reactions_all_covered(const char **ret_missing)
{
        const struct reaction_word *const all[] = { gpu_words, sriov_words, noiommu_words };

        for (size_t i = 0; i < REACTION_CASES; i++) {
                bool covered = false;

                for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
                        covered |= has_all_words(&reaction_cases[i], all[k]);
                if (!covered) {
                        *ret_missing = reaction_cases[i].name;
                        return false;
                }
        }
        return true;
}
