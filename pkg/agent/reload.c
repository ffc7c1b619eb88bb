/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration changes: the new one is put in force, or the old one stays and the log says why. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>

#include "agent/agent_priv.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"

enum { RELOAD_SETTLE_MS = 200 /* an editor or a ConfigMap writes in several steps */ };

static void log_lines(const char *text)
{
        const char *line;
        size_t n;

        while (str_line(&text, &line, &n))
                log_error("%.*s", (int)n, line);
}

/* ---- what the files look like ---- */

static struct file_stamp stamp_of(const char *path)
{
        struct stat st;

        if (!path || fs_stat(AT_FDCWD, path, &st) < 0)
                return (struct file_stamp){ 0 };
        return (struct file_stamp){ .dev = st.st_dev,
                                    .ino = st.st_ino,
                                    .size = (uint64_t)st.st_size,
                                    .changed_ns = st.st_ctim.tv_sec * INT64_C(1000000000) + st.st_ctim.tv_nsec };
}

static bool stamp_equal(struct file_stamp a, struct file_stamp b)
{
        return a.dev == b.dev && a.ino == b.ino && a.size == b.size && a.changed_ns == b.changed_ns;
}

static bool stamp_is_absent(struct file_stamp stamp)
{
        return stamp_equal(stamp, (struct file_stamp){ 0 });
}

/* ---- reloading ---- */

/* Takes @config over. False = refused, the one in force stays. */
static bool put_in_force(struct agent *agent, struct config *config)
{
        unsigned deadline_ms = config->bind_deadline_ms;
        struct err err;

        if (config->registration != agent->world.config->registration)
                log_warn("the new 'registration' takes effect at the next start");
        if (config->node_group != agent->world.config->node_group)
                log_warn("the new 'nodeSocketGroup' takes effect at the next start");
        if (world_configure(&agent->world, config, &err) < 0) {
                log_error("%s is not used, the configuration in force stays: %s", agent->options->config_path, err.msg);
                return false;
        }
        log_info("%s is in force", agent->options->config_path);
        claims_set_deadline(agent->claims, deadline_ms);
        agent_arm_backstop(agent);
        agent_tell_kubelet(agent);
        agent_reconcile(agent);
        return true;
}

void agent_reload(struct agent *agent, bool asked)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL;

        /* What it would be put to work in is being taken down. */
        if (agent->stopping)
                return;
        agent->config_stamp = stamp_of(agent->options->config_path); /* Good or bad, it is looked at once. */
        int r = config_load(agent->options->config_path, &config, &problems);
        if (r == -ENOENT && agent->world.config->rules.implicit) {
                log_info("there is no %s: the implicit rule stays in force", agent->options->config_path);
                return;
        }
        if (r < 0) {
                log_lines(problems.text);
                log_error("%s is not used, the configuration in force stays", agent->options->config_path);
                return;
        }
        _cleanup_free_ char *before = config_print(agent->world.config);
        _cleanup_free_ char *after = config_print(config);
        struct file_stamp pci_ids = stamp_of(config->pci_ids);
        bool same = streq(before, after) && stamp_equal(pci_ids, agent->pci_ids_stamp);
        if (same) {
                config_free(config);
                if (asked)
                        log_info("%s is unchanged", agent->options->config_path);
                return;
        }
        bool used = put_in_force(agent, config);
        /* A bad file is looked at once, too. */
        agent->pci_ids_stamp = used ? pci_ids : stamp_of(agent->world.config->pci_ids);
}

/* ---- noticing ---- */

static void on_reload_timer(uv_timer_t *timer)
{
        agent_check_config(timer->data);
}

static void on_config_changed(uv_fs_event_t *watch, const char *name, int events, int status)
{
        struct agent *agent = watch->data;

        (void)name;
        (void)events;
        (void)status;
        (void)uv_timer_start(&agent->reload, on_reload_timer, RELOAD_SETTLE_MS, 0);
}

/* The directory: an editor and a ConfigMap replace the file. What inotify cannot tell (the directory itself is made or
 * replaced, the pci.ids file lies elsewhere) the backstop finds. */
static int watch_directory(struct agent *agent)
{
        _cleanup_free_ char *path = xstrdup(agent->options->config_path);

        (void)uv_fs_event_stop(&agent->config_watch);
        return uv_fs_event_start(&agent->config_watch, on_config_changed, dirname(path), 0);
}

void agent_stamp_names(struct agent *agent)
{
        agent->pci_ids_stamp = stamp_of(agent->options->config->pci_ids);
}

/* The file was read long before: without a stamp the first look by the clock reads it again. */
void agent_watch_config(struct agent *agent)
{
        int r = watch_directory(agent);
        if (r < 0 && r != UV_ENOENT)
                log_warn("cannot watch %s for changes (%s): they are noticed within %u ms", agent->options->config_path, uv_strerror(r),
                         agent->world.config->rescan_ms);
}

/* A configuration that is gone is no new one: the one in force stays. */
void agent_check_config(struct agent *agent)
{
        /* First, so that what changes between the two is told. It may be another directory by now. */
        (void)watch_directory(agent);
        struct file_stamp config = stamp_of(agent->options->config_path), pci_ids = stamp_of(agent->world.config->pci_ids);
        bool config_changed = !stamp_is_absent(config) && !stamp_equal(config, agent->config_stamp);
        bool names_changed = !stamp_is_absent(pci_ids) && !stamp_equal(pci_ids, agent->pci_ids_stamp);
        if (config_changed || names_changed)
                agent_reload(agent, false);
}
