/* LD_PRELOAD: a disk that fails. Calls that write below one folder are counted; from a chosen one on, or that one alone, they fail.
 *
 * Driven from within the process, by ctypes: shim_arm, shim_calls, shim_disarm. A full disk takes a part first, as real ones do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_size;
static long fail_at, calls;
static int fail_errno, forever;

void shim_arm(const char *folder, long at, int number, int always)
{
    calls = 0;
    fail_at = at;
    fail_errno = number;
    forever = always;
    root_size = strlen(folder) < sizeof root ? strlen(folder) : 0;
    memcpy(root, folder, root_size);
}

void shim_disarm(void) { root_size = 0; }

long shim_calls(void) { return calls; }

static int below(const char *path) { return strncmp(path, root, root_size) == 0; }

static int is_ours(int fd)
{
    char link[64], path[PATH_MAX];
    if (!root_size)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return below(path);
}

static int names_ours(int folder, const char *path)
{
    if (!root_size)
        return 0;
    return path[0] == '/' ? below(path) : folder != AT_FDCWD && is_ours(folder);
}

/* Whether this call is to fail. */
static int fails(void)
{
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (number != fail_at && !(forever && number > fail_at && fail_at > 0))
        return 0;
    errno = fail_errno;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(type, name, parameters, arguments, size)                                                          \
    type name parameters                                                                                         \
    {                                                                                                            \
        if (is_ours(fd) && fails()) {                                                                            \
            if (fail_errno == ENOSPC && (size) > 1 && calls == fail_at) {                                        \
                count = (size) / 2;                                                                              \
                return REAL(name) arguments;                                                                     \
            }                                                                                                    \
            return -1;                                                                                           \
        }                                                                                                        \
        return REAL(name) arguments;                                                                             \
    }
#define ON_FD(type, name, parameters, arguments)                                                                 \
    type name parameters                                                                                         \
    {                                                                                                            \
        return is_ours(fd) && fails() ? -1 : REAL(name) arguments;                                               \
    }
#define ON_PATH(name, parameters, folder, path, arguments)                                                       \
    int name parameters                                                                                          \
    {                                                                                                            \
        return names_ours(folder, path) && fails() ? -1 : REAL(name) arguments;                                  \
    }

WRITES(ssize_t, write, (int fd, const void *data, size_t count), (fd, data, count), count)
WRITES(ssize_t, pwrite, (int fd, const void *data, size_t count, off_t at), (fd, data, count, at), count)
WRITES(ssize_t, pwrite64, (int fd, const void *data, size_t count, off64_t at), (fd, data, count, at), count)
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
ON_PATH(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(mkdirat, (int folder, const char *path, mode_t mode), folder, path, (folder, path, mode))
ON_PATH(rename, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(renameat, (int a, const char *from, int b, const char *to), b, to, (a, from, b, to))
ON_PATH(link, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(linkat, (int a, const char *from, int b, const char *to, int flags), b, to, (a, from, b, to, flags))
ON_PATH(symlink, (const char *what, const char *path), AT_FDCWD, path, (what, path))
ON_PATH(chmod, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))

#define OPENS(name)                                                                                              \
    int name(const char *path, int flags, ...)                                                                   \
    {                                                                                                            \
        va_list more;                                                                                            \
        va_start(more, flags);                                                                                   \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                \
        va_end(more);                                                                                            \
        if (flags & (O_CREAT | O_TRUNC) && names_ours(AT_FDCWD, path) && fails())                                \
            return -1;                                                                                           \
        return REAL(name)(path, flags, mode);                                                                    \
    }
#define OPENS_AT(name)                                                                                           \
    int name(int folder, const char *path, int flags, ...)                                                       \
    {                                                                                                            \
        va_list more;                                                                                            \
        va_start(more, flags);                                                                                   \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                \
        va_end(more);                                                                                            \
        if (flags & (O_CREAT | O_TRUNC) && names_ours(folder, path) && fails())                                  \
            return -1;                                                                                           \
        return REAL(name)(folder, path, flags, mode);                                                            \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
