/* Writes the tar of a layer: what the sandbox's writable layer has, as the OCI image specification wants it (layer.md). Runs in a child.
 *
 * What overlayfs says by devices 0:0 and by attributes of its own becomes whiteouts and opaque markers; names of one file become hard
 * links. What the agent itself writes for every sandbox is left out, as the image's next sandbox has its own. */
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OVERLAY "trusted.overlay."
#define WHITEOUT ".wh."

enum { MAX_ATTRIBUTES = 64 * 1024, LEAST_LINKS = 256, MAX_LINKS = 1 << 20 };

/* The first name of a file that has several. */
struct linked {
    ino_t inode;
    char *name; /* NULL: the place is free */
};

static struct {
    struct linked *places;
    size_t room, count; /* room is a power of two, and more than count */
} links;

static struct linked *place_of(struct linked *places, size_t room, ino_t inode)
{
    size_t at = (size_t)((uint64_t)inode * 0x9E3779B97F4A7C15u >> 20) & (room - 1);
    while (places[at].name && places[at].inode != inode)
        at = (at + 1) & (room - 1);
    return &places[at];
}

static bool links_grow(void)
{
    size_t room = links.room ? links.room * 2 : LEAST_LINKS;
    struct linked *places = room > MAX_LINKS ? NULL : calloc(room, sizeof *places);
    if (!places)
        return false;
    for (size_t i = 0; i < links.room; i++)
        if (links.places[i].name)
            *place_of(places, room, links.places[i].inode) = links.places[i];
    free(links.places);
    links.places = places;
    links.room = room;
    return true;
}

/* The name under which a file has been written already, or NULL, and then it is remembered. */
static int first_name(struct tar *w, const struct stat *st, const char **found)
{
    *found = NULL;
    if (st->st_nlink < 2)
        return 0;
    if (links.count * 2 >= links.room && !links_grow())
        return fail(w->f, F_LIMIT, 0, "there are too many files with several names");
    struct linked *place = place_of(links.places, links.room, st->st_ino);
    if (place->name) {
        *found = place->name;
        return 0;
    }
    place->inode = st->st_ino;
    place->name = strdup(w->name);
    links.count++;
    return place->name ? 0 : fail(w->f, F_LIMIT, ENOMEM, "cannot remember a name");
}

/* Of the host's security modules, and overlayfs's own: nothing of the image. */
static bool is_ours(const char *name)
{
    return !strncmp(name, OVERLAY, sizeof OVERLAY - 1) || !strcmp(name, "security.selinux") ||
           !strcmp(name, "security.ima") || !strcmp(name, "security.evm");
}

static int one_attribute(struct tar *w, const char *path, const char *name, struct tar_pax *p)
{
    static char value[MAX_ATTRIBUTES], key[300];
    if (!strcmp(name, OVERLAY "redirect") || !strcmp(name, OVERLAY "metacopy"))
        return fail(w->f, F_SYSTEM, 0, "'%.200s' is what a layer cannot hold: the guest's overlay refers to the image for its content", w->name);
    if (is_ours(name))
        return 0;
    ssize_t size = lgetxattr(path, name, value, sizeof value);
    if (size < 0)
        return errno == ENODATA ? 0 : fail(w->f, F_SYSTEM, errno, "cannot read the attribute %.100s of '%.200s'", name, w->name);
    snprintf(key, sizeof key, "SCHILY.xattr.%.255s", name);
    tar_pax_add(p, key, value, (size_t)size);
    return p->failed ? fail(w->f, F_LIMIT, ENOMEM, "the attributes of '%.200s' are too large", w->name) : 0;
}

static int attributes(struct tar *w, const char *path, struct tar_pax *p)
{
    static char names[MAX_ATTRIBUTES];
    ssize_t size = llistxattr(path, names, sizeof names);
    if (size < 0)
        return errno == ENOTSUP || errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "cannot read the attributes of '%.200s'", w->name);
    for (char *name = names; name < names + size; name += strlen(name) + 1)
        if (one_attribute(w, path, name, p) < 0)
            return -1;
    return 0;
}

static int put_header(struct tar *w, int parent, const char *name, const struct stat *st, char type, const char *link, size_t link_size)
{
    struct tar_pax p = {.data = NULL};
    char path[300];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%.255s", parent, name);
    int result = type == '1' ? 0 : attributes(w, path, &p);
    if (result == 0)
        result = tar_header(w, st, type, link, link_size, &p);
    free(p.data);
    return result;
}

/* An empty file beside what it is about. */
static int put_marker(struct tar *w, const char *name)
{
    struct stat st = {.st_mode = S_IFREG};
    struct tar_pax p = {.data = NULL};
    size_t before = w->name_size;
    int result = tar_enter(w, name);
    if (result == 0)
        result = tar_header(w, &st, '0', "", 0, &p);
    free(p.data);
    tar_leave(w, before);
    return result;
}

static int put_entry(struct tar *w, int parent, const char *name, int depth);

static int put_children(struct tar *w, int fd, int depth)
{
    DIR *folder = fdopendir(fd);
    struct dirent *entry;
    int result = 0;
    if (!folder) {
        close(fd);
        return fail(w->f, F_SYSTEM, errno, "cannot read the folder '%.200s'", w->name);
    }
    while (result == 0 && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            result = put_entry(w, dirfd(folder), entry->d_name, depth + 1);
    closedir(folder);
    return result;
}

static int put_folder(struct tar *w, int parent, const char *name, const struct stat *st, int depth)
{
    char value[4];
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(w->f, F_SYSTEM, errno, "cannot open '%.200s'", w->name);
    bool opaque = fgetxattr(fd, OVERLAY "opaque", value, sizeof value) == 1 && value[0] == 'y';
    if (put_header(w, parent, name, st, '5', "", 0) < 0 || (opaque && put_marker(w, WHITEOUT WHITEOUT ".opq") < 0)) {
        close(fd);
        return -1;
    }
    return put_children(w, fd, depth);
}

static int put_file(struct tar *w, int parent, const char *name)
{
    struct stat st;
    const char *first;
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "cannot open '%.200s'", w->name);
    int result = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (result = first_name(w, &st, &first)) == 0) {
        if (first)
            result = put_header(w, parent, name, &st, '1', first, strlen(first));
        else if ((result = put_header(w, parent, name, &st, '0', "", 0)) == 0)
            result = tar_data(w, fd, (uint64_t)st.st_size);
    }
    close(fd);
    return result;
}

static int put_other(struct tar *w, int parent, const char *name, const struct stat *st)
{
    char link[4096];
    const char *first;
    ssize_t size = 0;
    if (S_ISLNK(st->st_mode) && (size = readlinkat(parent, name, link, sizeof link)) < 0)
        return errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "cannot read the link '%.200s'", w->name);
    if (first_name(w, st, &first) < 0)
        return -1;
    if (first)
        return put_header(w, parent, name, st, '1', first, strlen(first));
    return put_header(w, parent, name, st, tar_type(st->st_mode), link, (size_t)size);
}

/* What the agent writes for each sandbox anew. */
static bool is_every_sandboxes(const char *name)
{
    return !strcmp(name, "./etc/hostname") || !strcmp(name, "./etc/hosts") || !strcmp(name, "./etc/resolv.conf");
}

/* In place of what has the name. */
static int put_whiteout(struct tar *w, const char *name)
{
    char marker[sizeof WHITEOUT + 256];
    snprintf(marker, sizeof marker, WHITEOUT "%.255s", name);
    tar_leave(w, w->name_size - strlen(name) - 1);
    return put_marker(w, marker);
}

static int put_named(struct tar *w, int parent, const char *name, const struct stat *st, int depth)
{
    if (is_every_sandboxes(w->name))
        return 0;
    if (S_ISCHR(st->st_mode) && st->st_rdev == 0)
        return put_whiteout(w, name);
    if (S_ISSOCK(st->st_mode)) /* tar has no sockets */
        return 0;
    if (!strncmp(name, WHITEOUT, sizeof WHITEOUT - 1))
        return fail(w->f, F_SYSTEM, 0, "'%.200s' cannot be in a layer, where names that begin with .wh. are removals", w->name);
    if (S_ISDIR(st->st_mode))
        return put_folder(w, parent, name, st, depth);
    return S_ISREG(st->st_mode) ? put_file(w, parent, name) : put_other(w, parent, name, st);
}

static int put_entry(struct tar *w, int parent, const char *name, int depth)
{
    struct stat st;
    size_t before = w->name_size;
    if (depth > TAR_DEPTH)
        return fail(w->f, F_LIMIT, 0, "folders below '%.200s' are nested too deeply", w->name);
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail(w->f, F_SYSTEM, errno, "'%.200s' below '%.200s'", name, w->name);
    int result = tar_enter(w, name);
    if (result == 0)
        result = put_named(w, parent, name, &st, depth);
    tar_leave(w, before);
    return result;
}

int archive_changes(const void *unused, int fd, struct fault *f)
{
    static struct tar w;
    struct stat st;
    (void)unused;
    w.fd = fd;
    w.f = f;
    w.name_size = (size_t)snprintf(w.name, sizeof w.name, ".");
    int top = openat(HELPER_KEPT, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || fstat(top, &st) < 0)
        return fail(f, F_SYSTEM, errno, "cannot open the writable layer");
    if (put_header(&w, top, ".", &st, '5', "", 0) < 0 || put_children(&w, top, 0) < 0)
        return -1;
    return tar_end(&w);
}
