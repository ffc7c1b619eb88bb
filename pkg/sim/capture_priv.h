/* SPDX-License-Identifier: Apache-2.0 */
/* What a capture may say, shared by its reader and its writer: what is wrong with a path, or with a link's target seen
 * from the link's path (which has passed the first check); NULL = nothing. The texts are constant. */
#ifndef SLUICE_SIM_CAPTURE_PRIV_H
#define SLUICE_SIM_CAPTURE_PRIV_H

const char *capture_path_problem(const char *path);
const char *capture_target_problem(const char *path, const char *target);

#endif
