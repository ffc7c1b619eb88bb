/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

enum { PATH_BYTES = 512, N_VALUES = 8, READY_TIMEOUT_MS = 60000, WORDS_MAX = 16, CHILDREN_MAX = 16 };

#define FORMAT_PATH(path, fmt)                                 \
        do {                                                   \
                va_list _ap;                                   \
                va_start(_ap, fmt);                            \
                (void)vsnprintf(path, sizeof(path), fmt, _ap); \
                va_end(_ap);                                   \
        } while (0)

static const char *filter;

void set_filter(const char *pattern)
{
        filter = pattern;
        cmocka_set_test_filter(pattern);
}

void announce(const struct CMUnitTest *tests, size_t n)
{
        unsigned planned = 0;

        for (size_t i = 0; i < n; i++)
                planned += filter == NULL || str_glob(filter, tests[i].name);
        (void)printf("PLAN %u\n", planned);
        (void)fflush(stdout);
}

int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
        (void)usleep((useconds_t)ms * 1000);
}

/* Answers live in a ring, so that one assertion can compare several. */
static char *next_value(void)
{
        static char values[N_VALUES][OUTPUT_BYTES];
        static unsigned at;
        char *value = values[at++ % N_VALUES];

        value[0] = '\0';
        return value;
}

int kernel_write(const char *value, const char *path_fmt, ...)
{
        char path[PATH_BYTES];

        FORMAT_PATH(path, path_fmt);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        ssize_t n = write(fd, value, strlen(value));
        int ret = n < 0 ? -errno : 0;
        (void)close(fd);
        return ret;
}

const char *kernel_read(const char *path_fmt, ...)
{
        char path[PATH_BYTES], *value = next_value();

        FORMAT_PATH(path, path_fmt);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return value;
        ssize_t n = read(fd, value, OUTPUT_BYTES - 1);
        value[n > 0 ? n : 0] = '\0';
        (void)close(fd);
        return str_chomp(value);
}

const char *kernel_link(const char *path_fmt, ...)
{
        char path[PATH_BYTES], *value = next_value();

        FORMAT_PATH(path, path_fmt);
        ssize_t n = readlink(path, value, OUTPUT_BYTES - 1);
        if (n < 0)
                return "";
        value[n] = '\0';
        const char *slash = strrchr(value, '/');
        return slash != NULL ? slash + 1 : value;
}

bool kernel_exists(const char *path_fmt, ...)
{
        char path[PATH_BYTES];
        struct stat st;

        FORMAT_PATH(path, path_fmt);
        return lstat(path, &st) == 0;
}

void file_write(const char *path, const char *text)
{
        FILE *f = fopen(path, "we");

        if (f == NULL || fputs(text, f) == EOF || fclose(f) == EOF)
                fail_msg("cannot write %s: %s", path, strerror(errno));
}

bool await_exists(bool exists, int ms, const char *path_fmt, ...)
{
        char path[PATH_BYTES];
        int64_t end = now_ms() + ms;

        FORMAT_PATH(path, path_fmt);
        while (kernel_exists("%s", path) != exists) {
                if (now_ms() > end)
                        return false;
                sleep_ms(20);
        }
        return true;
}

bool await_driver(const char *bdf, const char *driver, int ms)
{
        int64_t end = now_ms() + ms;

        while (!streq(driver_of(bdf), driver)) {
                if (now_ms() > end)
                        return false;
                sleep_ms(20);
        }
        return true;
}

/* ---- programs ---- */

/* What was started and not stopped. */
static pid_t children[CHILDREN_MAX];

static void remember(pid_t pid, pid_t instead_of)
{
        for (size_t i = 0; i < CHILDREN_MAX; i++)
                if (children[i] == instead_of) {
                        children[i] = pid;
                        return;
                }
        fail_msg("too many processes");
}

/* posix_spawn: the fake kubelet's threads live in this process. */
static pid_t spawn(const char *const *argv, int out)
{
        posix_spawn_file_actions_t actions;
        pid_t pid;

        (void)fflush(NULL);
        (void)posix_spawn_file_actions_init(&actions);
        if (out >= 0) {
                (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
                (void)posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
        }
        int error = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (error != 0)
                fail_msg("cannot run %s: %s", argv[0], strerror(error));
        return pid;
}

static int wait_for(pid_t pid)
{
        int status = 0;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        fail_msg("waitpid: %s", strerror(errno));
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_program(char *output, size_t size, const char *const *argv)
{
        int out[2] = { -1, -1 };
        size_t n = 0;

        if (output == NULL)
                return wait_for(spawn(argv, -1));
        if (pipe2(out, O_CLOEXEC) < 0)
                fail_msg("pipe: %s", strerror(errno));
        pid_t pid = spawn(argv, out[1]);
        (void)close(out[1]);
        for (ssize_t got; n + 1 < size && (got = read(out[0], output + n, size - 1 - n)) > 0;)
                n += (size_t)got;
        output[n] = '\0';
        (void)close(out[0]);
        return wait_for(pid);
}

struct process start_program(const char *ready, const char *const *argv)
{
        int out[2] = { -1, -1 };
        char text[OUTPUT_BYTES] = "";
        size_t n = 0;

        if (ready != NULL && pipe2(out, O_CLOEXEC) < 0)
                fail_msg("pipe: %s", strerror(errno));
        struct process p = { .pid = spawn(argv, out[1]), .out = out[0] };
        remember(p.pid, 0);
        if (ready == NULL)
                return p;
        (void)close(out[1]);
        while (strstr(text, ready) == NULL) {
                struct pollfd fd = { .fd = p.out, .events = POLLIN };
                ssize_t got = poll(&fd, 1, READY_TIMEOUT_MS) == 1 ? read(p.out, text + n, sizeof(text) - 1 - n) : 0;

                if (got <= 0) {
                        (void)stop_process(&p, SIGKILL);
                        fail_msg("%s did not say '%s' but: %s", argv[0], ready, text);
                }
                n += (size_t)got;
                text[n] = '\0';
        }
        return p;
}

int stop_process(struct process *p, int signal_number)
{
        int status = 0;

        if (p->pid > 0) {
                (void)kill(p->pid, signal_number);
                status = wait_for(p->pid);
                remember(0, p->pid);
                if (p->out >= 0)
                        (void)close(p->out);
        }
        *p = (struct process){ .out = -1 };
        return status;
}

/* All are killed before one is waited for: it may be in the kernel until another one lets go. */
void stop_all_processes(void)
{
        for (size_t i = 0; i < CHILDREN_MAX; i++)
                if (children[i] > 0)
                        (void)kill(children[i], SIGKILL);
        for (size_t i = 0; i < CHILDREN_MAX; i++)
                if (children[i] > 0) {
                        (void)wait_for(children[i]);
                        children[i] = 0;
                }
}

/* "insmod" + file + words of @text. */
static int run_words(const char *program, const char *first, const char *text)
{
        char words[VALUE_BYTES], *rest = NULL;
        const char *argv[WORDS_MAX] = { program, first };
        size_t n = first != NULL ? 2 : 1;

        str_format(words, sizeof(words), "%s", text);
        for (char *w = strtok_r(words, " ", &rest); w != NULL && n + 1 < WORDS_MAX; w = strtok_r(NULL, " ", &rest))
                argv[n++] = w;
        return run_program(NULL, 0, argv);
}

void load_modules(const char *names)
{
        if (run_words("modprobe", "-a", names) != 0)
                fail_msg("modprobe %s", names);
}

void unload_nvidia(void)
{
        if (kernel_exists("/sys/module/nvidia") && RUN_PROGRAM(NULL, "rmmod", "nvidia") != 0)
                fail_msg("rmmod nvidia");
}

void load_nvidia(const char *parameters)
{
        load_modules("mdev vfio-pci vfio_iommu_type1");
        unload_nvidia();
        if (run_words("insmod", "/share/nvidia.ko", parameters) != 0)
                fail_msg("insmod nvidia.ko %s", parameters);
}

void set_nvidia(const char *parameter, const char *value)
{
        int ret = kernel_write(value, "/sys/module/nvidia/parameters/%s", parameter);

        if (ret < 0)
                fail_msg("nvidia %s=%s: %s", parameter, value, strerror(-ret));
}

void host_do(const char *command_fmt, ...)
{
        char command[PATH_BYTES];

        FORMAT_PATH(command, command_fmt);
        (void)printf("HOST %s\n", command);
        (void)fflush(stdout);
}

/* ---- users ---- */

int use_device(const char *group, const char *device, char *output)
{
        char ignored[OUTPUT_BYTES];

        return RUN_PROGRAM(output != NULL ? output : ignored, "vfio_user", group, device);
}

struct process hold_device(const char *group, const char *device)
{
        return start_program("holding", (const char *const[]){ "vfio_user", group, device, "hold", NULL });
}

struct process hold_node(const char *path)
{
        return start_program("holding", (const char *const[]){ "holder", path, NULL });
}

void bind_vfio(const char *bdf)
{
        assert_int_equal(kernel_write("vfio-pci", PCI "%s/driver_override", bdf), 0);
        if (driver_of(bdf)[0] != '\0')
                assert_int_equal(kernel_write(bdf, PCI "%s/driver/unbind", bdf), 0);
        assert_int_equal(kernel_write(bdf, "/sys/bus/pci/drivers_probe"), 0);
        assert_string_equal(driver_of(bdf), "vfio-pci");
}

void restore_function(const char *bdf, const char *driver)
{
        assert_int_equal(kernel_write("\n", PCI "%s/driver_override", bdf), 0);
        if (streq(driver_of(bdf), driver))
                return;
        if (driver_of(bdf)[0] != '\0')
                assert_int_equal(kernel_write(bdf, PCI "%s/driver/unbind", bdf), 0);
        if (driver[0] != '\0')
                assert_int_equal(kernel_write(bdf, "/sys/bus/pci/drivers_probe"), 0);
        assert_string_equal(driver_of(bdf), driver);
}

void release_kernel(void)
{
        (void)kernel_write("-1", "/sys/module/nvidia/parameters/hold_remove");
        (void)kernel_write("0", "/sys/module/nvidia/parameters/slow_remove_ms");
        (void)kernel_write("0", "/sys/module/nvidia/parameters/fail_probe");
}

void restore_kernel(void)
{
        DIR *devices = opendir("/sys/bus/pci/devices");

        release_kernel();
        for (const struct dirent *e; devices != NULL && (e = readdir(devices)) != NULL;) {
                const char *bdf = e->d_name;

                if (bdf[0] == '.')
                        continue;
                if (!streq(kernel_read(PCI "%s/driver_override", bdf), "(null)"))
                        (void)kernel_write("\n", PCI "%s/driver_override", bdf);
                if (streq(driver_of(bdf), "vfio-pci")) {
                        (void)kernel_write(bdf, PCI "%s/driver/unbind", bdf);
                        (void)kernel_write(bdf, "/sys/bus/pci/drivers_probe");
                }
        }
        if (devices != NULL)
                (void)closedir(devices);
        unload_nvidia();
}
