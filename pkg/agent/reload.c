/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration changes: the new one is put in force, or the old one stays and the log says why. */
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_priv.h"
#include "base/alloc.h"
#include "base/log.h"

enum { RELOAD_SETTLE_MS = 200 /* an editor or a ConfigMap writes in several steps */ };

static void log_lines(const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n");
                log_error("%.*s", (int)n, text);
                text += n + (text[n] == '\n');
        }
}

void agent_reload(struct agent *agent, bool asked)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL;
        struct err err;

        int r = config_load(agent->options->config_path, &config, &problems);
        if (r < 0) {
                log_lines(problems.text ? problems.text : "");
                log_error("%s is not used, the configuration in force stays", agent->options->config_path);
                return;
        }
        _cleanup_free_ char *before = config_print(agent->world.config);
        _cleanup_free_ char *after = config_print(config);
        if (streq(before, after)) {
                config_unref(config);
                if (asked)
                        log_info("%s is unchanged", agent->options->config_path);
                return;
        }
        if (config->registration != agent->world.config->registration)
                log_warn("the new 'registration' takes effect at the next start");
        unsigned deadline_ms = config->bind_deadline_ms;
        unsigned rescan_ms = config->rescan_ms;
        if (world_configure(&agent->world, config, &err) < 0) {
                log_error("%s is not used: %s", agent->options->config_path, err.msg);
                return;
        }
        log_info("%s is in force", agent->options->config_path);
        claims_set_deadline(agent->claims, deadline_ms);
        (void)uv_timer_start(&agent->backstop, agent_on_backstop, rescan_ms, rescan_ms);
        if (agent->serving)
                kubelet_offer(agent->kubelet, agent->world.offer);
        agent_reconcile(agent);
}

static void on_reload_timer(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        if (access(agent->options->config_path, F_OK) == 0 && !agent->stopping)
                agent_reload(agent, false);
}

static void on_config_changed(uv_fs_event_t *watch, const char *name, int events, int status)
{
        struct agent *agent = watch->data;

        (void)name;
        (void)events;
        (void)status;
        (void)uv_timer_start(&agent->reload, on_reload_timer, RELOAD_SETTLE_MS, 0);
}

void agent_watch_config(struct agent *agent)
{
        _cleanup_free_ char *path = xstrdup(agent->options->config_path);

        /* The directory: an editor and a ConfigMap replace the file. Without the directory only SIGHUP reloads. */
        int r = uv_fs_event_start(&agent->config_watch, on_config_changed, dirname(path), 0);
        if (r < 0 && r != UV_ENOENT)
                log_warn("cannot watch %s for changes (%s): send SIGHUP after a change", agent->options->config_path, uv_strerror(r));
}
