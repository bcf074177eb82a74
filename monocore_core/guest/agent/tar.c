/* Tar entries: POSIX ustar, with PAX records where a value does not fit. Used in a child. */
#include "tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { BLOCK = TAR_BLOCK, BUFFER = TAR_BUFFER };

int tar_put(struct tar *w, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size) {
        ssize_t n = write(w->fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(w->f, F_SYSTEM, errno, "cannot send the archive");
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static int pad(struct tar *w, uint64_t size)
{
    static const uint8_t zeros[BLOCK];
    size_t rest = (size_t)(size % BLOCK);
    return rest ? tar_put(w, zeros, BLOCK - rest) : 0;
}

/* An octal field of `size` bytes with its terminator; false when the value does not fit. */
static bool octal(char *field, size_t size, uint64_t value)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%0*llo", (int)size - 1, (unsigned long long)value);
    bool fits = n == (int)size - 1;
    memcpy(field, fits ? digits : "00000000000", size - 1);
    field[size - 1] = 0;
    return fits;
}

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[8], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};

_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static void seal(struct header *h)
{
    unsigned sum = 0;
    memcpy(h->magic, "ustar\00000", 8);
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < BLOCK; i++)
        sum += ((const uint8_t *)h)[i];
    snprintf(h->checksum, sizeof h->checksum, "%06o", sum);
    h->checksum[7] = ' ';
}

/* "length key=value\n", where the length counts itself. */
void tar_pax_add(struct tar_pax *p, const char *key, const char *value, size_t value_size)
{
    size_t body = strlen(key) + value_size + 3, total = body + 1;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof digits, "%zu", total) + body != total)
        total = body + strlen(digits);
    if (p->size + total + 1 > p->room) {
        char *grown = realloc(p->data, p->size + total + 1024);
        if (!grown) {
            p->failed = true;
            return;
        }
        p->data = grown;
        p->room = p->size + total + 1024;
    }
    int n = snprintf(p->data + p->size, p->room - p->size, "%s %s=", digits, key);
    memcpy(p->data + p->size + n, value, value_size);
    p->data[p->size + total - 1] = '\n';
    p->size += total;
}

static void pax_number(struct tar_pax *p, const char *key, long long value)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", value);
    tar_pax_add(p, key, text, (size_t)n);
}

static int put_pax(struct tar *w, const struct tar_pax *p)
{
    struct header h;
    if (!p->size)
        return 0;
    memset(&h, 0, sizeof h);
    memcpy(h.name, "PaxHeaders/entry", 16);
    octal(h.mode, 8, 0644);
    octal(h.uid, 8, 0);
    octal(h.gid, 8, 0);
    octal(h.size, 12, p->size);
    octal(h.mtime, 12, 0);
    h.type = 'x';
    seal(&h);
    if (tar_put(w, &h, sizeof h) < 0 || tar_put(w, p->data, p->size) < 0)
        return -1;
    return pad(w, p->size);
}

static void put_text(struct tar_pax *p, char *field, size_t room, const char *key, const char *text, size_t size)
{
    if (size > room)
        tar_pax_add(p, key, text, size);
    memcpy(field, text, size < room ? size : room);
}

char tar_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return '5';
    case S_IFLNK:
        return '2';
    case S_IFCHR:
        return '3';
    case S_IFBLK:
        return '4';
    case S_IFIFO:
        return '6';
    default:
        return '0';
    }
}

int tar_header(struct tar *w, const struct stat *st, char type, const char *link, size_t link_size, struct tar_pax *p)
{
    struct header h;
    uint64_t size = type == '0' ? (uint64_t)st->st_size : 0;
    memset(&h, 0, sizeof h);
    if (type == '5')
        w->name[w->name_size++] = '/';
    put_text(p, h.name, sizeof h.name, "path", w->name, w->name_size);
    if (type == '5')
        w->name_size--;
    put_text(p, h.link, sizeof h.link, "linkpath", link, link_size);
    octal(h.mode, 8, st->st_mode & 07777);
    if (!octal(h.uid, 8, st->st_uid))
        pax_number(p, "uid", st->st_uid);
    if (!octal(h.gid, 8, st->st_gid))
        pax_number(p, "gid", st->st_gid);
    if (!octal(h.size, 12, size))
        pax_number(p, "size", (long long)size);
    if (st->st_mtim.tv_sec < 0 || st->st_mtim.tv_nsec || !octal(h.mtime, 12, (uint64_t)st->st_mtim.tv_sec)) {
        char text[48];
        if (st->st_mtim.tv_sec < 0)
            octal(h.mtime, 12, 0);
        else
            octal(h.mtime, 12, (uint64_t)st->st_mtim.tv_sec);
        int n = snprintf(text, sizeof text, "%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
        if (st->st_mtim.tv_sec >= 0)
            tar_pax_add(p, "mtime", text, (size_t)n);
    }
    octal(h.major, 8, type == '3' || type == '4' ? major(st->st_rdev) : 0);
    octal(h.minor, 8, type == '3' || type == '4' ? minor(st->st_rdev) : 0);
    h.type = type;
    seal(&h);
    int result = put_pax(w, p) < 0 ? -1 : tar_put(w, &h, sizeof h);
    return result;
}

/* Exactly the announced size, whatever the file does meanwhile. */
int tar_data(struct tar *w, int fd, uint64_t size)
{
    for (uint64_t left = size; left;) {
        size_t part = left < BUFFER ? (size_t)left : BUFFER;
        ssize_t n = read(fd, w->buffer, part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(w->f, F_SYSTEM, errno, "cannot read '%.200s'", w->name);
        if (n == 0) {
            memset(w->buffer, 0, part);
            n = (ssize_t)part;
        }
        if (tar_put(w, w->buffer, (size_t)n) < 0)
            return -1;
        left -= (uint64_t)n;
    }
    return pad(w, size);
}

int tar_end(struct tar *w)
{
    static const uint8_t end[2 * BLOCK];
    return tar_put(w, end, sizeof end);
}

int tar_enter(struct tar *w, const char *name)
{
    size_t size = strlen(name);
    if (w->name_size + size + 3 > TAR_NAME)
        return fail(w->f, F_LIMIT, 0, "a path below '%.200s' is too long", w->name);
    w->name[w->name_size++] = '/';
    memcpy(w->name + w->name_size, name, size + 1);
    w->name_size += size;
    return 0;
}

void tar_leave(struct tar *w, size_t before)
{
    w->name_size = before;
    w->name[before] = 0;
}
