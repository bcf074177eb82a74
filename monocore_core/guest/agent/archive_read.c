/* Writes a tar stream of a path. Runs in a child. */
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int put_entry(struct tar *w, int parent, const char *name, int depth);

static int put_folder(struct tar *w, int fd, int depth)
{
    DIR *folder = fdopendir(fd);
    struct dirent *entry;
    int result = 0;
    if (!folder) {
        close(fd);
        return fail(w->f, F_SYSTEM, errno, "cannot read the folder '%.200s'", w->name);
    }
    while (result == 0 && (entry = readdir(folder))) {
        size_t before = w->name_size;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if ((result = tar_enter(w, entry->d_name)) == 0)
            result = put_entry(w, dirfd(folder), entry->d_name, depth + 1);
        tar_leave(w, before);
    }
    closedir(folder);
    return result;
}

static int put_header(struct tar *w, const struct stat *st, const char *link, size_t link_size)
{
    struct tar_pax p = {.data = NULL};
    int result = tar_header(w, st, tar_type(st->st_mode), link, link_size, &p);
    free(p.data);
    return result;
}

static int put_file(struct tar *w, int parent, const char *name, int depth)
{
    struct stat st;
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "cannot open '%.200s'", w->name);
    if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) { /* replaced meanwhile */
        close(fd);
        return 0;
    }
    if (put_header(w, &st, "", 0) < 0) {
        close(fd);
        return -1;
    }
    if (S_ISDIR(st.st_mode))
        return put_folder(w, fd, depth);
    int result = tar_data(w, fd, (uint64_t)st.st_size);
    close(fd);
    return result;
}

static int put_entry(struct tar *w, int parent, const char *name, int depth)
{
    struct stat st;
    char link[4096];
    if (depth > TAR_DEPTH)
        return fail(w->f, F_LIMIT, 0, "folders below '%.200s' are nested too deeply", w->name);
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT && depth ? 0 : fail(w->f, errno == ENOENT || errno == ENOTDIR ? F_NO_PATH : F_SYSTEM, errno, "'%.200s'", name);
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return put_file(w, parent, name, depth);
    if (S_ISSOCK(st.st_mode)) /* tar has no sockets */
        return 0;
    ssize_t n = 0;
    if (S_ISLNK(st.st_mode) && (n = readlinkat(parent, name, link, sizeof link)) < 0)
        return errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "cannot read the link '%.200s'", w->name);
    return put_header(w, &st, link, (size_t)n);
}

int archive_read(const void *given, int fd, struct fault *f)
{
    const char *path = given;
    static struct tar w;
    char copy[4096];
    w.fd = fd;
    w.f = f;
    snprintf(copy, sizeof copy, "%s", path);
    size_t size = strlen(copy);
    while (size > 1 && copy[size - 1] == '/')
        copy[--size] = 0;
    const char *base = strrchr(copy, '/') ? strrchr(copy, '/') + 1 : copy;
    if (!*base || !strcmp(base, "..") || !strcmp(base, "."))
        base = ".";
    w.name_size = (size_t)snprintf(w.name, sizeof w.name, "%s", base);
    if (put_entry(&w, AT_FDCWD, copy, 0) < 0)
        return -1;
    return tar_end(&w);
}
