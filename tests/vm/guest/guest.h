/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites in the guest use: plain access to the real kernel's files, modules, processes, the host outside. Failures
 * that no test can continue from end the test with a message (fail_msg). */
#ifndef SLUICE_TESTS_VM_GUEST_H
#define SLUICE_TESTS_VM_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

enum { VALUE_BYTES = 256, OUTPUT_BYTES = 4096 };

/* ---- suites: one per topology file, same name ---- */

/* Announces the tests to the runner and runs them; returns the number that failed. */
#define RUN_SUITE(tests)          run_suite(tests, sizeof(tests) / sizeof((tests)[0]), #tests)
#define run_suite(tests, n, name) (announce(tests, n), cmocka_run_group_tests_name(name, tests, NULL, NULL))
void announce(const struct CMUnitTest *tests, size_t n);
/* Only tests whose names match run ("*held*"); NULL = all. */
void set_filter(const char *pattern);

int suite_gpu(void);
int suite_groups(void);
int suite_sriov(void);
int suite_numa(void);
int suite_noiommu(void);
int node_suite_gpu(void);
int node_suite_pod(void);
int node_suite_groups(void);
int node_suite_sriov(void);
int node_suite_numa(void);
int node_suite_noiommu(void);
int node_suite_amd(void);
int node_suite_eight(void);
int node_suite_kills(void);
int node_suite_lasting(void);
int node_suite_release(void);

/* ---- sysfs and procfs ---- */

#define PCI "/sys/bus/pci/devices/"

/* One write(2) of @value: 0 or -errno, as the kernel said. */
int kernel_write(const char *value, const char *path_fmt, ...) __attribute__((format(printf, 2, 3)));
/* The file's content without the newline; "" when it cannot be read. Valid until 8 calls later. */
const char *kernel_read(const char *path_fmt, ...) __attribute__((format(printf, 1, 2)));
/* Last component of a link's target, "" when there is none. As long valid as kernel_read's. */
const char *kernel_link(const char *path_fmt, ...) __attribute__((format(printf, 1, 2)));
bool kernel_exists(const char *path_fmt, ...) __attribute__((format(printf, 1, 2)));
/* Writes a whole ordinary file. */
void file_write(const char *path, const char *text);

static inline const char *driver_of(const char *bdf)
{
        return kernel_link(PCI "%s/driver", bdf);
}
static inline const char *group_of(const char *bdf)
{
        return kernel_link(PCI "%s/iommu_group", bdf);
}

/* Waits until @path exists (or no longer does), at most @ms; false when it did not happen. */
bool await_exists(bool exists, int ms, const char *path_fmt, ...) __attribute__((format(printf, 3, 4)));
bool await_driver(const char *bdf, const char *driver, int ms);

/* ---- programs, modules, the host ---- */

/* Runs a program to its end, stdout and stderr in @output (may be NULL). Returns its exit status, 128 + signal. */
int run_program(char *output, size_t size, const char *const *argv);
#define RUN_PROGRAM_INTO(output, size, ...) run_program(output, size, (const char *const[]){ __VA_ARGS__, NULL })
#define RUN_PROGRAM(output, ...)            RUN_PROGRAM_INTO(output, OUTPUT_BYTES, __VA_ARGS__)

struct process {
        pid_t pid;
        int out; /* its stdout; -1 = inherited */
};
/* Starts a program and waits until it says the line @ready (NULL: does not wait). */
struct process start_program(const char *ready, const char *const *argv);
/* And waits for its end: its exit status, 128 + signal; 0 when it was not started. */
int stop_process(struct process *p, int signal_number);
void stop_all_processes(void); /* what a test that failed left running */

void load_modules(const char *names); /* "vfio-pci mdev" */
/* Loads the stand-in driver with @parameters ("fail_probe=5"), replacing one that is loaded. */
void load_nvidia(const char *parameters);
void unload_nvidia(void);
void set_nvidia(const char *parameter, const char *value);

/* A monitor command of QEMU: the host does it at once, its effect is waited for by the test. */
void host_do(const char *command_fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- the device's user ---- */

enum { VFIO_USABLE = 0, VFIO_FAILED = 1, VFIO_NOT_VIABLE = 3 };
int use_device(const char *group, const char *device, char *output); /* vfio_user's exit status */
struct process hold_device(const char *group, const char *device);
struct process hold_node(const char *path); /* a process named "holder" has it open */

/* Puts a function back to @driver ("" = none) without an override, however it was left. */
void restore_function(const char *bdf, const char *driver);
void release_kernel(void); /* nothing waits in the stand-in driver any more, but for who has its nodes open */
/* All of them: no override, nothing on vfio-pci, the stand-in driver gone (and VFs and instances with it). */
void restore_kernel(void);
void bind_vfio(const char *bdf); /* by hand: what an administrator would have done before */

int64_t now_ms(void);
void sleep_ms(int ms);

#endif
