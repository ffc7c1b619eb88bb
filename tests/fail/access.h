/* SPDX-License-Identifier: Apache-2.0 */
/* Included before pkg/base/fs.c in sluiced-failing: each system call that it makes passes access.c first, which counts it and can make
 * it fail. Nothing of the program's source is changed. */
#ifndef SLUICE_TESTS_FAIL_ACCESS_H
#define SLUICE_TESTS_FAIL_ACCESS_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int access_openat(int dir, const char *path, int flags, ...);
ssize_t access_readlinkat(int dir, const char *path, char *buf, size_t size);
int access_fstatat(int dir, const char *path, struct stat *ret, int flags);
int access_mkdirat(int dir, const char *path, mode_t mode);
int access_symlinkat(const char *target, int dir, const char *path);
int access_unlinkat(int dir, const char *path, int flags);
int access_renameat(int from_dir, const char *from, int to_dir, const char *to);
ssize_t access_read(int fd, void *buf, size_t n);
ssize_t access_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t access_write(int fd, const void *buf, size_t n);
ssize_t access_getdents64(int fd, void *buf, size_t n);
int access_fsync(int fd);

#ifndef ACCESS_REAL
#define openat     access_openat
#define readlinkat access_readlinkat
#define fstatat    access_fstatat
#define mkdirat    access_mkdirat
#define symlinkat  access_symlinkat
#define unlinkat   access_unlinkat
#define renameat   access_renameat
#define read       access_read
#define pread      access_pread
#define write      access_write
#define getdents64 access_getdents64
#define fsync      access_fsync
#endif

#endif
