/* Watching a path, or all folders below it, by inotify. Runs until it is ended, or what it watches is gone. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { MAX_WATCHED = 8192, ROOM = 128 * 1024, RECORD = 6 + 6 + MAX_PATH + 3 * 14 };

enum what { READY, CREATED, DELETED, MODIFIED, ATTRIBUTES, MOVED_FROM, MOVED_TO, OVERFLOWED, ENDED, WRITTEN };

static const struct {
    uint32_t mask;
    enum what what;
} kinds[] = {
    {IN_CREATE, CREATED},       {IN_DELETE, DELETED},     {IN_MODIFY, MODIFIED},      {IN_ATTRIB, ATTRIBUTES},
    {IN_MOVED_FROM, MOVED_FROM}, {IN_MOVED_TO, MOVED_TO}, {IN_CLOSE_WRITE, WRITTEN},
};

enum {
    WANTED = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_EXCL_UNLINK,
};

struct watched {
    int wd;
    char *path; /* below the root of it all, "" for that itself */
};

static struct {
    const char *root;
    int inotify, fd;
    bool recursive;
    dev_t device;
    struct watched *list; /* by wd, which the kernel counts up */
    size_t count;
    uint8_t out[ROOM];
    size_t size;
    struct fault *f;
} w;

static int flush(void)
{
    int result = write_all(w.fd, w.out, w.size);
    w.size = 0;
    return result < 0 ? fail(w.f, F_SYSTEM, errno, "cannot tell what changed") : 0;
}

/* A change as a field 1: {1 what, 2 path, 3 cookie of a move, 4 whether it is a folder}. */
static int tell(enum what what, const char *path, uint32_t cookie, bool folder)
{
    if (ROOM - w.size < RECORD && flush() < 0)
        return -1;
    uint8_t *to = w.out + w.size;
    size_t at = 6;
    at += put_number(to + at, RECORD - at, 1, what);
    at += put_field(to + at, RECORD - at, 2, path, strlen(path));
    at += put_number(to + at, RECORD - at, 3, cookie);
    at += put_number(to + at, RECORD - at, 4, folder);
    put16(to, 1);
    put32(to + 2, (uint32_t)(at - 6));
    w.size += at;
    return 0;
}

/* ---- what is watched ---- */

/* Where a wd is in the list, or belongs. */
static size_t place(int wd)
{
    size_t low = 0, high = w.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w.list[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void forget(size_t at)
{
    free(w.list[at].path);
    memmove(w.list + at, w.list + at + 1, (--w.count - at) * sizeof *w.list);
}

static int remember(int wd, const char *path)
{
    size_t at = place(wd);
    char *copy = strdup(path);
    if (!copy)
        return fail(w.f, F_SYSTEM, ENOMEM, "cannot watch '%.300s'", w.root);
    if (at < w.count && w.list[at].wd == wd) {
        free(w.list[at].path);
    } else if (w.count == MAX_WATCHED) {
        free(copy);
        return fail(w.f, F_LIMIT, 0, "cannot watch '%.300s': there are more than %d folders below it", w.root, MAX_WATCHED);
    } else {
        memmove(w.list + at + 1, w.list + at, (w.count++ - at) * sizeof *w.list);
    }
    w.list[at] = (struct watched){wd, copy};
    return 0;
}

static void forget_below(const char *path)
{
    size_t size = strlen(path);
    for (size_t i = w.count; i-- > 0;)
        if (!strncmp(w.list[i].path, path, size) && (!w.list[i].path[size] || w.list[i].path[size] == '/')) {
            inotify_rm_watch(w.inotify, w.list[i].wd);
            forget(i);
        }
}

static bool join(char *to, const char *folder, const char *name)
{
    return snprintf(to, MAX_PATH, "%s%s%s", folder, *folder && *name ? "/" : "", name) < MAX_PATH;
}

static int watch_folders(const char *path, bool report, int depth);

static int watch_children(DIR *folder, const char *path, bool report, int depth)
{
    struct dirent *entry;
    while ((entry = readdir(folder))) {
        char below[MAX_PATH];
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !join(below, path, entry->d_name))
            continue;
        if (fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        bool is_folder = S_ISDIR(st.st_mode);
        if (report && tell(CREATED, below, 0, is_folder) < 0)
            return -1;
        if (is_folder && st.st_dev == w.device && watch_folders(below, report, depth + 1) < 0)
            return -1;
    }
    return 0;
}

/* Watch a folder and those below it; what is gone meanwhile is none of ours. */
static int watch_folders(const char *path, bool report, int depth)
{
    char full[MAX_PATH + 2];
    if (snprintf(full, sizeof full, "%s/%s", w.root, path) >= (int)sizeof full)
        return 0;
    if (depth > MAX_DEPTH)
        return fail(w.f, F_LIMIT, 0, "cannot watch '%.300s': folders are nested too deeply", w.root);
    int wd = inotify_add_watch(w.inotify, full, WANTED | IN_ONLYDIR | IN_DONT_FOLLOW);
    if (wd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : file_fault(w.f, errno, "watch", full);
    if (remember(wd, path) < 0)
        return -1;
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder)
        return 0;
    int result = watch_children(folder, path, report, depth);
    closedir(folder);
    return result;
}

static int watch_all(void)
{
    int fd = open(w.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder)
        return 0;
    int result = watch_children(folder, "", false, 0);
    closedir(folder);
    return result;
}

/* ---- what happens ---- */

/* 1: go on, 0: what is watched is gone, -1: it failed. */
static int happened(const struct inotify_event *e)
{
    char path[MAX_PATH];
    bool folder = e->mask & IN_ISDIR;
    if (e->mask & IN_Q_OVERFLOW) /* new folders may have been missed */
        return tell(OVERFLOWED, "", 0, false) < 0 || (w.recursive && watch_all() < 0) ? -1 : 1;
    size_t at = place(e->wd);
    if (at == w.count || w.list[at].wd != e->wd)
        return 1;
    bool top = !w.list[at].path[0];
    if (top && e->mask & (IN_IGNORED | IN_MOVE_SELF | IN_UNMOUNT))
        return tell(ENDED, "", 0, false) < 0 ? -1 : 0;
    if (e->mask & IN_IGNORED) {
        forget(at);
        return 1;
    }
    if (!join(path, w.list[at].path, e->len ? e->name : ""))
        return 1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (e->mask & kinds[i].mask && tell(kinds[i].what, path, e->cookie, folder) < 0)
            return -1;
    if (!w.recursive || !folder || !e->len)
        return 1;
    if (e->mask & IN_MOVED_FROM)
        forget_below(path);
    if (e->mask & (IN_CREATE | IN_MOVED_TO) && watch_folders(path, true, 0) < 0)
        return -1;
    return 1;
}

static int follow(void)
{
    static char events[64 * 1024] __attribute__((aligned(8)));
    for (;;) {
        ssize_t n = read(w.inotify, events, sizeof events);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(w.f, F_SYSTEM, errno, "cannot watch '%.300s'", w.root);
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(events + at);
            int result = happened(e);
            if (result <= 0)
                return result < 0 ? -1 : flush();
            at += (ssize_t)(sizeof *e + e->len);
        }
        if (flush() < 0)
            return -1;
    }
}

int file_watch(const struct file_request *r, int fd, struct fault *f)
{
    struct stat st;
    w.root = r->path;
    w.fd = fd;
    w.f = f;
    w.recursive = r->flags & FLAG_RECURSIVE;
    w.list = calloc(MAX_WATCHED, sizeof *w.list);
    w.inotify = inotify_init1(IN_CLOEXEC);
    if (!w.list || w.inotify < 0)
        return fail(f, F_SYSTEM, errno, "cannot watch '%.300s'", r->path);
    int wd = inotify_add_watch(w.inotify, r->path, WANTED | IN_MOVE_SELF);
    if (wd < 0 || stat(r->path, &st) < 0)
        return file_fault(f, errno, "watch", r->path);
    w.device = st.st_dev;
    if (remember(wd, "") < 0 || (w.recursive && watch_all() < 0))
        return -1;
    if (tell(READY, "", 0, false) < 0 || flush() < 0)
        return -1;
    return follow();
}
