/* Making, moving, removing, reading and writing. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

enum { BUFFER = 64 * 1024 };

static uint8_t buffer[BUFFER];

/* Folders of a path but its last part, as mkdir -p makes them. */
static int make_parents(const char *path, struct fault *f)
{
    char part[MAX_PATH];
    snprintf(part, sizeof part, "%s", path);
    size_t size = strlen(part);
    while (size > 1 && part[size - 1] == '/')
        part[--size] = 0;
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return file_fault(f, errno, "make the folder", part);
        *p = '/';
    }
    return 0;
}

/* The owner first: changing it clears bits of the mode. */
static int set_attributes(const struct file_request *r, int fd, struct fault *f)
{
    if ((r->uid >= 0 || r->gid >= 0) && fchown(fd, (uid_t)r->uid, (gid_t)r->gid) < 0)
        return file_fault(f, errno, "set the owner of", r->path);
    if (r->mode >= 0 && fchmod(fd, (mode_t)r->mode) < 0)
        return file_fault(f, errno, "set the mode of", r->path);
    return 0;
}

int file_make_folder(const struct file_request *r, struct fault *f)
{
    bool parents = r->flags & FLAG_PARENTS;
    if (parents && make_parents(r->path, f) < 0)
        return -1;
    if (mkdir(r->path, r->mode < 0 ? 0755 : (mode_t)r->mode & 0777) < 0) {
        struct stat st;
        int err = errno;
        bool there = parents && err == EEXIST && stat(r->path, &st) == 0 && S_ISDIR(st.st_mode);
        return there ? 0 : file_fault(f, err, "make the folder", r->path);
    }
    int fd = open(r->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return file_fault(f, errno, "open the folder", r->path);
    int result = set_attributes(r, fd, f);
    close(fd);
    return result;
}

int file_move(const struct file_request *r, struct fault *f)
{
    unsigned flags = r->flags & FLAG_REPLACE ? 0 : RENAME_NOREPLACE;
    if (syscall(SYS_renameat2, AT_FDCWD, r->path, AT_FDCWD, r->target, flags) == 0)
        return 0;
    int err = errno;
    struct stat st;
    if (err == EXDEV) /* the kernel's words would not help */
        return fail(f, F_SYSTEM, 0, "cannot move '%.150s' to '%.150s': it is on another file system, or a folder of the image; "
                    "copy it and remove it instead", r->path, r->target);
    if (lstat(r->path, &st) == 0)
        return file_fault(f, err, err == ENOENT || err == ENOTDIR ? "find the folder of" : "make", r->target);
    return file_fault(f, err, "move", r->path);
}

/* ---- removing ---- */

static int remove_in(int parent, const char *name, dev_t device, int depth, struct fault *f);

static int empty(DIR *folder, dev_t device, int depth, struct fault *f)
{
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
            remove_in(dirfd(folder), entry->d_name, device, depth, f) < 0)
            return -1;
    return 0;
}

/* What is gone already is no error below the first. Nothing of a file system that is mounted below is touched. */
static int remove_in(int parent, const char *name, dev_t device, int depth, struct fault *f)
{
    struct stat st;
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    int err = errno;
    if (err != EISDIR && err != EPERM)
        return file_fault(f, err, "remove", name);
    if (depth > MAX_DEPTH)
        return fail(f, F_LIMIT, 0, "cannot remove '%.300s': folders are nested too deeply", name);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : file_fault(f, errno == ENOTDIR ? err : errno, "remove", name);
    DIR *folder = fstat(fd, &st) == 0 && st.st_dev == device ? fdopendir(fd) : NULL;
    if (!folder) {
        close(fd);
        return fail(f, F_SYSTEM, 0, "cannot remove '%.300s': another file system is mounted there", name);
    }
    int result = empty(folder, device, depth + 1, f);
    closedir(folder);
    if (result == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return file_fault(f, errno, "remove", name);
    return result;
}

int file_remove(const struct file_request *r, struct fault *f)
{
    struct stat st;
    char path[MAX_PATH];
    snprintf(path, sizeof path, "%s", r->path);
    for (size_t size = strlen(path); size > 1 && path[size - 1] == '/'; size--)
        path[size - 1] = 0; /* a link with a slash behind is still the link */
    if (lstat(path, &st) < 0)
        return file_fault(f, errno, "remove", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) < 0 ? file_fault(f, errno, "remove", path) : 0;
    if (!(r->flags & FLAG_RECURSIVE))
        return rmdir(path) < 0 ? file_fault(f, errno, "remove the folder", path) : 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder)
        return file_fault(f, errno, "open the folder", path);
    if (!strcmp(path, "/"))
        return fail(f, F_INVALID, 0, "cannot remove '/'");
    int result = empty(folder, st.st_dev, 1, f);
    closedir(folder);
    return result == 0 && rmdir(path) < 0 ? file_fault(f, errno, "remove the folder", path) : result;
}

/* ---- contents ---- */

/* Regular files only: a device or a pipe would answer without end, or never. */
static int open_regular(const char *path, int flags, mode_t mode, struct fault *f)
{
    struct stat st;
    int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);
    if (fd < 0)
        return file_fault(f, errno, "open", path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return fail(f, F_SYSTEM, 0, "'%.300s' is not a regular file", path);
}

int file_read(const struct file_request *r, int fd, struct fault *f)
{
    int file = open_regular(r->path, O_RDONLY, 0, f);
    if (file < 0)
        return -1;
    if (r->offset && lseek(file, r->offset, SEEK_SET) < 0)
        return file_fault(f, errno, "read", r->path);
    for (int64_t left = r->length < 0 ? INT64_MAX : r->length; left;) {
        ssize_t n = read(file, buffer, left < BUFFER ? (size_t)left : BUFFER);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_fault(f, errno, "read", r->path);
        if (n == 0)
            break;
        if (write_all(fd, buffer, (size_t)n) < 0)
            return fail(f, F_SYSTEM, errno, "cannot send '%.300s'", r->path);
        left -= n;
    }
    close(file);
    return 0;
}

static int write_flags(int64_t wanted)
{
    return O_WRONLY | (wanted & FLAG_NEW ? O_CREAT | O_EXCL : wanted & FLAG_CREATE ? O_CREAT : 0) |
           (wanted & FLAG_TRUNCATE ? O_TRUNC : 0) | (wanted & FLAG_APPEND ? O_APPEND : 0);
}

int file_write(const struct file_request *r, int fd, struct fault *f)
{
    if (r->flags & FLAG_PARENTS && make_parents(r->path, f) < 0)
        return -1;
    int file = open_regular(r->path, write_flags(r->flags), r->mode < 0 ? 0644 : (mode_t)r->mode & 0777, f);
    if (file < 0)
        return -1;
    if (set_attributes(r, file, f) < 0)
        return -1;
    if (r->offset && lseek(file, r->offset, SEEK_SET) < 0)
        return file_fault(f, errno, "write", r->path);
    for (;;) {
        ssize_t n = read(fd, buffer, BUFFER);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (write_all(file, buffer, (size_t)n) < 0)
            return file_fault(f, errno, "write", r->path);
    }
    return close(file) < 0 ? file_fault(f, errno, "write", r->path) : 0;
}
