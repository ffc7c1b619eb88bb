/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts for benchmarks: any number of GPUs of sixteen models, on vfio-pci, written as a capture. */
#ifndef SLUICE_TESTS_BENCH_HOST_H
#define SLUICE_TESTS_BENCH_HOST_H

#include <stdbool.h>

#include "base/str.h"

enum { BENCH_MODELS = 16 };

/* @bound: on vfio-pci with group and nodes; else on the host driver "nvidia". At most 240 * 31 GPUs. */
void bench_host(struct strbuf *out, unsigned n_models, unsigned per_model, bool bound);

#endif
