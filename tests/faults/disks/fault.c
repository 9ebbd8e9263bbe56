/* Loaded into a process (LD_PRELOAD), makes one of its writes fail, or all from one on, as a disk does that is full or broken.

   DISK_FAULT="NUMBER ERRNO LASTING FOLDER": what changes something in FOLDER/state or FOLDER/evalx-runs is counted from 1, and noted in
   FOLDER/writes; the one of that NUMBER fails with ERRNO, with LASTING 1 all that follow as well. Without the variable nothing happens. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int count;

static int strikes(const char *call, const char *path) {
    const char *plan = getenv("DISK_FAULT");
    char folder[PATH_MAX], line[PATH_MAX + 64];
    int number, error, lasting;
    if (!plan || !path || sscanf(plan, "%d %d %d %4095[^\n]", &number, &error, &lasting, folder) != 4) return 0;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length)) return 0;
    if (strncmp(path + length, "/state", 6) && strncmp(path + length, "/evalx-runs", 11)) return 0;
    int mine = atomic_fetch_add(&count, 1) + 1;
    snprintf(line, sizeof line, "%s/writes", folder);
    int notes = syscall(SYS_openat, AT_FDCWD, line, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int size = snprintf(line, sizeof line, "%d %s %s\n", mine, call, path + length);
    syscall(SYS_write, notes, line, size);
    syscall(SYS_close, notes);
    if (lasting ? mine < number : mine != number) return 0;
    errno = error;
    return 1;
}

static int strikes_file(const char *call, int file) {
    char link[64], path[PATH_MAX];
    if (!getenv("DISK_FAULT")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return strikes(call, path);
}

static int strikes_path(const char *call, const char *path) {
    char absolute[2 * PATH_MAX];
    if (!getenv("DISK_FAULT") || !path) return 0;
    if (*path == '/') return strikes(call, path);
    if (!getcwd(absolute, PATH_MAX)) return 0;
    strcat(absolute, "/");
    strncat(absolute, path, PATH_MAX - 2);
    return strikes(call, absolute);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FILE(result, name, signature, arguments, file) \
    result name signature { \
        REAL(name); \
        return strikes_file(#name, file) ? -1 : real arguments; \
    }
ON_FILE(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd)
ON_FILE(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), fd)
ON_FILE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fd)
ON_FILE(int, fsync, (int fd), (fd), fd)
ON_FILE(int, fdatasync, (int fd), (fd), fd)
ON_FILE(int, ftruncate, (int fd, off_t size), (fd, size), fd)
ON_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size), fd)

#define ON_PATH(name, signature, arguments, path) \
    int name signature { \
        REAL(name); \
        return strikes_path(#name, path) ? -1 : real arguments; \
    }
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), path)
ON_PATH(rmdir, (const char *path), (path), path)
ON_PATH(unlink, (const char *path), (path), path)
ON_PATH(link, (const char *from, const char *to), (from, to), to)
ON_PATH(rename, (const char *from, const char *to), (from, to), to)
ON_PATH(chmod, (const char *path, mode_t mode), (path, mode), path)

#define ON_OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        REAL(name); \
        return flags & (O_WRONLY | O_RDWR) && strikes_path(#name, path) ? -1 : real(path, flags, mode); \
    }
ON_OPEN(open)
ON_OPEN(open64)
