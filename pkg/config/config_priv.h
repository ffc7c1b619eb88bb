/* SPDX-License-Identifier: Apache-2.0 */
/* What parsing and printing share: the words of the enums, in the order of their values. */
#ifndef SLUICE_CONFIG_CONFIG_PRIV_H
#define SLUICE_CONFIG_CONFIG_PRIV_H

#include "config/config.h"

#define CONFIG_API_VERSION "sluice.dev/v1alpha1"
#define CONFIG_KIND        "NodeConfig"

static const char *const config_roles[] = { "any", "pf", "vf" };
static const char *const config_binds[] = { "never", "on-allocate", "at-start" };
static const char *const config_releases[] = { "keep", "restore", "reset", "reset+restore" };
static const char *const config_powers[] = { "leave", "on" };
static const char *const config_persistences[] = { "leave", "off" };
static const char *const config_groups[] = { "withhold", "one-device" };
static const char *const config_topologies[] = { "drop", "split" };
static const char *const config_prefers[] = { "pack", "spread" };
static const char *const config_name_rules[] = { "default", "keep-hyphen", "strip-brand" };
static const char *const config_registrations[] = { "socket", "watcher", "none" };

struct yaml;
bool config_take(struct yaml *yaml, struct config *config); /* true when there was no problem */

#endif
