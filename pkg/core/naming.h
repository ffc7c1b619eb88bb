/* SPDX-License-Identifier: Apache-2.0 */
/* Names: from a pci.ids or profile name to a Kubernetes resource name and KubeVirt's variable. Pure text. */
#ifndef SLUICE_CORE_NAMING_H
#define SLUICE_CORE_NAMING_H

#include "core/rules.h"

enum { NAME_PART_MAX = 63, PREFIX_MAX = 244 };

/* The slug rule that users of NVIDIA's KubeVirt plugin have in their manifests: trim; upper-case; '/' and '.' become
 * '_'; each white-space run one '_'; everything else outside [A-Z0-9_] is dropped (NAME_KEEP_HYPHEN keeps '-').
 * "AD102GL [L40S]" -> "AD102GL_L40S", "GA107GL [A2 / A16]" -> "GA107GL_A2___A16". No trimming, no collapsing of '_'. */
char *naming_slug(const char *model, enum name_rule rule); /* caller frees; may be "" */

/* vGPU profile: white-space runs become '_', case and '-' kept: "NVIDIA A10-12Q" -> "NVIDIA_A10-12Q".
 * NAME_STRIP_BRAND drops the leading brand word: "A10-12Q". Other characters outside [A-Za-z0-9-_.] are dropped. */
char *naming_profile(const char *profile, enum name_rule rule);

/* "nvidia.com", "amd.com", "intel.com"; NULL for other vendors. Static. */
const char *naming_prefix(uint16_t vendor);

/* IsExtendedResourceName of Kubernetes: exactly one '/', prefix a lower-case DNS-1123 subdomain of at most 244 bytes, no
 * "kubernetes.io/" in it, not starting with "requests."; name part 1..63 of [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?.
 * @why (may be NULL) gets a static sentence on failure. */
bool naming_resource_is_valid(const char *resource, const char **why);

/* Copies a name part, shortened to 63 bytes where it is longer: its first 54 bytes, '_', and 8 hex digits of a hash of the
 * whole, so that two long names stay apart, and the same on every node and in every version. Returns whether it had to. */
bool naming_shorten(const char *name, char out[static NAME_PART_MAX + 1]);

/* KubeVirt's variable: prefix PCI_RESOURCE_ or MDEV_PCI_RESOURCE_ + resource upper-cased, '/' and '.' to '_'; '-' stays.
 * facts: KubeVirt pkg/util ResourceNameToEnvVar. Caller frees. */
char *naming_kubevirt_variable(const char *resource, bool mdev);

/* Name of a device by its rule (NULL = the implicit one): rule.resource, else (rule.prefix or the vendor's) + "/" + part.
 * The part is rule.alias; for a vGPU its profile, or "<device id>-<type>" when that has no known name; for others the alias
 * table's entry for the id, the slug of the model, or the 4 hex digits of the device id when the model is unknown. (The alias
 * table says nothing of vGPUs: their profiles would all become one name.) '_' at an end of a slug, which Kubernetes would
 * refuse, is dropped. @warning gets NAME_FALLBACK, NAME_SHORTENED or REASON_NONE. Returns REASON_NONE, or UNKNOWN_VENDOR or
 * NAME_INVALID with @out "". */
enum reason naming_resource(const struct rules *rules, const struct rule *rule, const struct function *fn, const struct instance *instance,
                            enum device_kind kind, char out[static RESOURCE_MAX], enum reason *warning);

#endif
