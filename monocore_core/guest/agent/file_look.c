/* Looking at files: one entry, or a page of a folder's. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRY_ROOM = 6 + 6 + 256 + 9 * 14 + 6 + MAX_PATH };

/* An entry as a field 1: {1 name, 2 mode, 3 size, 4 uid, 5 gid, 6 mtime ns, 7 links, 8 inode, 9 device, 10 link's target}. */
static size_t put_entry(uint8_t *to, const char *name, const struct stat *st, const char *link, size_t link_size)
{
    const int64_t numbers[] = {st->st_mode, st->st_size, st->st_uid, st->st_gid,
                               (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
                               (int64_t)st->st_nlink, (int64_t)st->st_ino, (int64_t)st->st_rdev};
    size_t at = 6;
    at += put_field(to + at, ENTRY_ROOM - at, 1, name, strlen(name));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        at += put_number(to + at, ENTRY_ROOM - at, (uint16_t)(2 + i), numbers[i]);
    if (S_ISLNK(st->st_mode))
        at += put_field(to + at, ENTRY_ROOM - at, 10, link, link_size);
    put16(to, 1);
    put32(to + 2, (uint32_t)(at - 6));
    return at;
}

/* Look at `name` in a folder; 0 with errno when it is not there. */
static size_t look(int folder, const char *name, const char *shown, bool follow, uint8_t *to)
{
    struct stat st;
    char link[MAX_PATH];
    ssize_t size = 0;
    if (fstatat(folder, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (S_ISLNK(st.st_mode) && (size = readlinkat(folder, name, link, sizeof link)) < 0)
        return 0;
    return put_entry(to, shown, &st, link, (size_t)size);
}

int file_stat(const struct file_request *r, int fd, struct fault *f)
{
    static uint8_t entry[ENTRY_ROOM];
    const char *end = r->path + strlen(r->path);
    char name[256] = "/";
    while (end > r->path && end[-1] == '/')
        end--;
    const char *begin = end;
    while (begin > r->path && begin[-1] != '/')
        begin--;
    size_t length = (size_t)(end - begin);
    if (length && length < sizeof name) {
        memcpy(name, begin, length);
        name[length] = 0;
    }
    size_t size = look(AT_FDCWD, r->path, name, r->flags & FLAG_FOLLOW, entry);
    if (!size)
        return file_fault(f, errno, "look at", r->path);
    return write_all(fd, entry, size) < 0 ? fail(f, F_SYSTEM, errno, "cannot answer") : 0;
}

/* ---- a page: the smallest names after one, kept in a heap whose root is the largest ---- */

struct page {
    char **names;
    size_t count, limit;
    bool more;
};

static void swap(char **a, char **b)
{
    char *kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(struct page *p)
{
    for (size_t at = 0;;) {
        size_t largest = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < p->count; child++)
            if (strcmp(p->names[child], p->names[largest]) > 0)
                largest = child;
        if (largest == at)
            return;
        swap(&p->names[at], &p->names[largest]);
        at = largest;
    }
}

static bool page_add(struct page *p, const char *name)
{
    if (p->count == p->limit) {
        p->more = true;
        if (strcmp(name, p->names[0]) >= 0)
            return true;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    if (p->count == p->limit) {
        free(p->names[0]);
        p->names[0] = copy;
        sift_down(p);
        return true;
    }
    p->names[p->count] = copy;
    for (size_t at = p->count++; at && strcmp(p->names[at], p->names[(at - 1) / 2]) > 0; at = (at - 1) / 2)
        swap(&p->names[at], &p->names[(at - 1) / 2]);
    return true;
}

static int compare(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static int page_send(struct page *p, int folder, int fd, struct fault *f)
{
    static uint8_t entry[ENTRY_ROOM];
    size_t sent = 0;
    qsort(p->names, p->count, sizeof *p->names, compare);
    for (size_t i = 0; i < p->count; i++) {
        size_t size = look(folder, p->names[i], p->names[i], false, entry);
        if (!size) /* removed meanwhile */
            continue;
        if (sent + size > PAGE_BYTES) {
            p->more = true;
            p->count = i;
            break;
        }
        if (write_all(fd, entry, size) < 0)
            return fail(f, F_SYSTEM, errno, "cannot answer");
        sent += size;
    }
    if (!p->more || !p->count)
        return 0;
    /* Where the next page begins: after the last name looked at, whether it was there still or not. */
    size_t size = put_field(entry, sizeof entry, 2, p->names[p->count - 1], strlen(p->names[p->count - 1]));
    return write_all(fd, entry, size) < 0 ? fail(f, F_SYSTEM, errno, "cannot answer") : 0;
}

int file_list(const struct file_request *r, int fd, struct fault *f)
{
    struct page page = {.limit = (size_t)r->limit, .names = calloc((size_t)r->limit, sizeof *page.names)};
    int handle = open(r->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    DIR *folder = handle < 0 ? NULL : fdopendir(handle);
    struct dirent *entry;
    if (!folder)
        return file_fault(f, errno, "list the folder", r->path);
    errno = 0;
    while ((entry = readdir(folder))) {
        const char *name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || strcmp(name, r->after) <= 0)
            continue;
        if (!page.names || !page_add(&page, name))
            return fail(f, F_SYSTEM, ENOMEM, "cannot list the folder '%.300s'", r->path);
        errno = 0;
    }
    if (errno)
        return file_fault(f, errno, "list the folder", r->path);
    return page_send(&page, dirfd(folder), fd, f);
}
