/* SPDX-License-Identifier: Apache-2.0 */
/* Files below a directory descriptor, through one seam.
 *
 * Everything that pkg/host, pkg/hands and pkg/sim do to a file system passes here, so that a captured tree can replace
 * the machine (paths are relative to @dir) and so that a test can make the n-th call fail (fs_fail_at). All functions
 * return 0 (or a count) or -errno; those that take an err also say which path. Absence is ENOENT or ENODEV: sysfs files
 * of a vanishing device answer either. */
#ifndef SLUICE_BASE_FS_H
#define SLUICE_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Opens @path below @dir; O_CLOEXEC is always added. Returns the descriptor or -errno. */
int fs_open(int dir, const char *path, int flags, mode_t mode);

/* Reads a whole small file and terminates it. Longer than @size - 1 bytes: EFBIG, never a shorter answer.
 * @ret_n (may be NULL) is the length. */
int fs_read(int dir, const char *path, char *buf, size_t size, size_t *ret_n, struct err *err);

/* @n bytes from @offset on, or all when there are fewer, of a file that may hold any bytes; returns the count or -errno. */
ssize_t fs_read_at(int dir, const char *path, uint32_t offset, void *buf, size_t n, struct err *err);

/* As fs_read, then removes trailing white space and replaces control bytes and ill-formed UTF-8 by '?'. */
int fs_read_value(int dir, const char *path, char *buf, size_t size, struct err *err);

/* One write() of the whole @value to an existing file (sysfs attributes want exactly one). */
int fs_write(int dir, const char *path, const char *value, struct err *err);

int fs_write_all(int fd, const char *data, size_t n); /* in as many write()s as it takes: 0 or -errno */

/* Target of a link. Too long: ENAMETOOLONG, never cut. */
int fs_readlink(int dir, const char *path, char *buf, size_t size, struct err *err);

/* Last component of a link's target: how sysfs says "driver", "iommu_group", "physfn". */
int fs_readlink_last(int dir, const char *path, char *buf, size_t size, struct err *err);

/* 1 there (of any type), 0 not there, -errno unknown. Does not follow a last link. */
int fs_exists(int dir, const char *path);

int fs_stat(int dir, const char *path, struct stat *ret); /* follows links; 0 or -errno */

/* Names in a directory, sorted bytewise, without "." and "..". More than FS_LIST_MAX: E2BIG. */
enum { FS_LIST_MAX = 65536 };
struct fs_list {
        char **names;
        size_t n;
};
int fs_list(int dir, const char *path, struct fs_list *ret, struct err *err);
void fs_list_done(struct fs_list *list);
#define _cleanup_fs_list_ _cleanup_(fs_list_done)

int fs_mkdir(int dir, const char *path, mode_t mode); /* 0, or -errno; EEXIST is 0 when it is a directory */
int fs_symlink(const char *target, int dir, const char *path);
int fs_unlink(int dir, const char *path, int flags /* AT_REMOVEDIR or 0 */);
int fs_rename(int dir, const char *from, const char *to);

/* Replaces @path durably: temporary file in the same directory, fsync, rename, fsync of the directory. */
int fs_replace(int dir, const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* Removes the file @path durably: unlink, fsync of the directory. None there: 0. */
int fs_remove(int dir, const char *path, struct err *err);

/* True for the errors that mean "it is not there (any more)". */
bool fs_gone(int error /* positive or negative errno */);

/* Tests only: the @n-th seam call from now (1 = the next) fails with @error, once. 0 switches it off.
 * With FS_FAIL_ON or-ed into @error every call from the n-th on fails: what a crash at that point leaves behind.
 * fs_calls() counts seam calls since the last fs_fail_at. Process-wide, not thread-safe. */
enum { FS_FAIL_ON = 1 << 16 };
void fs_fail_at(unsigned n, int error);
unsigned fs_calls(void);

/* For what is one access to its caller and many to the file system (a write to the simulated kernel): takes one turn at the
 * seam without any access (0 or -errno), and keeps the accesses between pause(true) and pause(false) out of it. */
int fs_seam(void);
void fs_seam_pause(bool pause);

#endif
