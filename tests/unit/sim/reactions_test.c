/* SPDX-License-Identifier: Apache-2.0 */
/* The table of reactions against the simulated kernel. */
#include "../unit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../reactions.h"
#include "base/fs.h"
#include "base/str.h"
#include "scratch.h"
#include "sim/sim.h"

struct word {
        const char *word, *name;
};
/* Which names of the table which fixture has. */
struct fixture {
        const char *capture;
        struct word words[14];
};
static const struct fixture fixtures[] = {
        { "tests/fixtures/hosts/quadro-4fn.capture",
          { { "$GPU", "0000:61:00.0" },
            { "$DRIVER", "nvidia" },
            { "$GROUP", "71" },
            { "$MATE", "0000:61:00.1" },
            { "$MATEDRIVER", "snd_hda_intel" },
            { "$LOCKED", "0000:61:00.0" } } },
        { "tests/fixtures/hosts/l40s-8.capture",
          { { "$GPU", "0000:3b:00.0" },
            { "$DRIVER", "nvidia" },
            { "$GROUP", "31" },
            { "$LOCKED", "0000:3b:00.0" },
            { "$ALONE", "0000:3b:00.0" },
            { "$RESETS", "flr bus" },
            { "$RESET", "bus" } } },
        { "tests/fixtures/hosts/pf-with-vfs.capture", { { "$PF", "0000:4d:00.0" }, { "$PFDRIVER", "i915" } } },
        { "tests/fixtures/hosts/no-iommu.capture", { { "$BARE", "0000:41:00.0" }, { "$BAREDRIVER", "nvidia" } } },
        { "tests/fixtures/hosts/mdev-a2.capture",
          { { "$MDEV", "6bd3d5f6-1d4c-4c0a-9a53-0a3a7f1e5b01" },
            { "$PARENT", "0000:08:00.4" },
            { "$MDEV2", "c1f0a6de-52b7-4a7e-8f5d-3b9d6c2e7a02" },
            { "$PARENT2", "0000:08:00.5" },
            { "$PARENT2DRIVER", "nvidia" } } },
};

struct side {
        const struct fixture *fixture;
        struct sim *sim;
        int root;
};

static const char *side_name(void *ctx, const char *word)
{
        const struct side *s = ctx;

        for (size_t i = 0; i < N_ELEMENTS(s->fixture->words) && s->fixture->words[i].word; i++)
                if (streq(s->fixture->words[i].word, word))
                        return s->fixture->words[i].name;
        return NULL;
}

static int side_write(void *ctx, const char *path, const char *value)
{
        const struct side *s = ctx;
        struct err err;

        if (str_has_prefix(path, "proc/"))
                return sim_write_proc(s->sim, path + 5, value, &err);
        return sim_write(s->sim, path + 4, value, &err);
}

static int side_read(void *ctx, const char *path, char *out, size_t size)
{
        struct err err;

        return fs_read_value(((struct side *)ctx)->root, path, out, size, &err);
}

static int side_link_name(void *ctx, const char *path, char *out, size_t size)
{
        struct err err;

        return fs_readlink_last(((struct side *)ctx)->root, path, out, size, &err);
}

static int side_exists(void *ctx, const char *path)
{
        return fs_exists(((struct side *)ctx)->root, path);
}

static int side_count(void *ctx, const char *dir, const char *prefix)
{
        _cleanup_fs_list_ struct fs_list names = { 0 };
        struct err err;
        int n = 0;

        int r = fs_list(((struct side *)ctx)->root, dir, &names, &err);
        if (r < 0)
                return fs_gone(r) ? 0 : r;
        for (size_t i = 0; i < names.n; i++)
                n += str_has_prefix(names.names[i], prefix);
        return n;
}

static int side_hold(void *ctx, const char *bdf, bool hold)
{
        char line[64] = "";
        struct err err;

        if (hold)
                str_format(line, sizeof(line), "unbind %s hang", bdf);
        return sim_fault(((struct side *)ctx)->sim, line, &err);
}

static bool ran[REACTION_CASES];

static void run_fixture(const struct fixture *fixture)
{
        _cleanup_scratch_ char *root = scratch_new();
        struct side side = { .fixture = fixture };
        const struct reaction_host host = { &side, side_name, side_write, side_read, side_link_name, side_exists, side_count, side_hold };
        struct err err;
        char why[1024];

        ASSERT_OK(sim_prepare(fixture->capture, root, &err), &err);
        ASSERT_OK(sim_open(&side.sim, root, &err), &err);
        side.root = open(root, O_RDONLY | O_DIRECTORY);
        for (size_t i = 0; i < REACTION_CASES; i++) {
                int r = reaction_run(&host, &reaction_cases[i], why, sizeof(why));
                if (r < 0)
                        fail_msg("%s: \"%s\": %s", fixture->capture, reaction_cases[i].name, why);
                ran[i] |= r == 0;
        }
        (void)close(side.root);
        sim_free(side.sim);
}

static void test_the_simulation_does_what_the_table_says(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(fixtures); i++)
                run_fixture(&fixtures[i]);
        for (size_t i = 0; i < REACTION_CASES; i++)
                if (!ran[i])
                        fail_msg("no fixture has what \"%s\" needs", reaction_cases[i].name);
}

static void test_every_reaction_of_the_simulation_is_in_the_table(void **state)
{
        size_t n;
        const char *const *names = sim_reactions(&n);

        (void)state;
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
                bool found = false;
                for (size_t k = 0; k < REACTION_CASES; k++)
                        found |= streq(reaction_cases[k].reaction, names[i]);
                if (!found)
                        fail_msg("reaction \"%s\" has no case in tests/reactions.h", names[i]);
        }
        for (size_t k = 0; k < REACTION_CASES; k++) {
                bool found = false;
                for (size_t i = 0; i < n; i++)
                        found |= streq(reaction_cases[k].reaction, names[i]);
                if (!found)
                        fail_msg("case \"%s\" is of no reaction", reaction_cases[k].name);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_the_simulation_does_what_the_table_says),
                TEST(test_every_reaction_of_the_simulation_is_in_the_table),
        };

        return RUN(tests);
}
