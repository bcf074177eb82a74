/* Unpacks a tar stream into a folder: ustar, PAX, GNU long names. Runs in a child, never leaves the folder. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { BLOCK = 512, MAX_EXTRA = 1024 * 1024, MAX_PATH = 4096, BUFFER = 64 * 1024 };

struct entry {
    char name[MAX_PATH], link[MAX_PATH];
    char type;
    mode_t mode;
    int64_t uid, gid, size, mtime, mtime_ns;
    uint32_t major, minor;
    bool has_name, has_link, has_size, has_uid, has_gid, has_mtime;
};

struct reader {
    int fd, root;
    struct fault *f;
    uint8_t buffer[BUFFER];
};

/* Fill `size` bytes; 1, 0 at an end before the first byte, -1. */
static int take(struct reader *r, void *data, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(r->fd, (uint8_t *)data + have, size - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(r->f, F_SYSTEM, errno, "cannot read the archive");
        if (n == 0)
            return have ? fail(r->f, F_INVALID, 0, "the archive is truncated") : 0;
        have += (size_t)n;
    }
    return 1;
}

static int must_take(struct reader *r, void *data, size_t size)
{
    int result = take(r, data, size);
    return result == 0 ? fail(r->f, F_INVALID, 0, "the archive is truncated") : result;
}

static int skip(struct reader *r, int64_t size)
{
    while (size > 0) {
        size_t part = size < BUFFER ? (size_t)size : BUFFER;
        if (must_take(r, r->buffer, part) < 0)
            return -1;
        size -= (int64_t)part;
    }
    return 0;
}

static int64_t padding(int64_t size) { return (BLOCK - size % BLOCK) % BLOCK; }

/* An octal or base-256 field; -1 when malformed. */
static int64_t numeric(const uint8_t *field, size_t size)
{
    int64_t value = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80)
            return -1;
        for (size_t i = 1; i < size; i++) {
            if (value > INT64_MAX >> 8)
                return -1;
            value = value << 8 | field[i];
        }
        return value;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] && field[i] != ' '; i++) {
        if (field[i] < '0' || field[i] > '7' || value > INT64_MAX >> 3)
            return -1;
        value = value << 3 | (field[i] - '0');
    }
    return value;
}

static int set_text(struct reader *r, char *to, const char *text, size_t size)
{
    if (size >= MAX_PATH || memchr(text, 0, size))
        return fail(r->f, F_INVALID, 0, "the archive has a malformed or too long name");
    memcpy(to, text, size);
    to[size] = 0;
    return 0;
}

static int pax_field(struct reader *r, struct entry *e, const char *key, size_t key_size, const char *value, size_t size)
{
    char number[32];
    snprintf(number, sizeof number, "%.*s", size < 31 ? (int)size : 31, value);
#define IS(word) (key_size == sizeof word - 1 && !memcmp(key, word, sizeof word - 1))
    if (IS("path")) {
        e->has_name = true;
        return set_text(r, e->name, value, size);
    }
    if (IS("linkpath")) {
        e->has_link = true;
        return set_text(r, e->link, value, size);
    }
    if (IS("size")) {
        e->has_size = true;
        e->size = strtoll(number, NULL, 10);
    } else if (IS("uid")) {
        e->has_uid = true;
        e->uid = strtoll(number, NULL, 10);
    } else if (IS("gid")) {
        e->has_gid = true;
        e->gid = strtoll(number, NULL, 10);
    } else if (IS("mtime")) {
        char *end;
        e->has_mtime = true;
        e->mtime = strtoll(number, &end, 10);
        e->mtime_ns = 0;
        if (*end == '.') {
            int64_t unit = 100000000;
            for (end++; *end >= '0' && *end <= '9' && unit; end++, unit /= 10)
                e->mtime_ns += (*end - '0') * unit;
        }
    }
#undef IS
    return 0;
}

static int parse_pax(struct reader *r, struct entry *e, const char *data, size_t size)
{
    while (size) {
        char *end;
        char digits[24];
        snprintf(digits, sizeof digits, "%.*s", size < 23 ? (int)size : 23, data);
        unsigned long long length = strtoull(digits, &end, 10);
        size_t used = (size_t)(end - digits);
        if (!used || *end != ' ' || length > size || length < used + 3 || data[length - 1] != '\n')
            return fail(r->f, F_INVALID, 0, "the archive has a malformed PAX record");
        const char *key = data + used + 1, *stop = data + length - 1;
        const char *equals = memchr(key, '=', (size_t)(stop - key));
        if (!equals)
            return fail(r->f, F_INVALID, 0, "the archive has a malformed PAX record");
        if (pax_field(r, e, key, (size_t)(equals - key), equals + 1, (size_t)(stop - equals - 1)) < 0)
            return -1;
        data += length;
        size -= (size_t)length;
    }
    return 0;
}

/* The data of a PAX or long-name entry. */
static int take_extra(struct reader *r, struct entry *e, char type, int64_t size)
{
    if (size > MAX_EXTRA)
        return fail(r->f, F_LIMIT, 0, "the archive has %lld bytes of extended header", (long long)size);
    char *data = malloc((size_t)size + 1);
    if (!data)
        return fail(r->f, F_SYSTEM, ENOMEM, "the archive");
    int result = must_take(r, data, (size_t)size);
    if (result > 0 || size == 0)
        result = skip(r, padding(size));
    data[size] = 0;
    if (result == 0 && type == 'x')
        result = parse_pax(r, e, data, (size_t)size);
    else if (result == 0 && type == 'L') {
        e->has_name = true;
        result = set_text(r, e->name, data, strlen(data));
    } else if (result == 0 && type == 'K') {
        e->has_link = true;
        result = set_text(r, e->link, data, strlen(data));
    }
    free(data);
    return result;
}

static int check_sum(struct reader *r, const uint8_t *h)
{
    int64_t sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return numeric(h + 148, 8) == sum ? 0 : fail(r->f, F_INVALID, 0, "this is not a tar archive: a header's checksum is wrong");
}

static void take_names(struct entry *e, const uint8_t *h)
{
    const char *text = (const char *)h;
    if (!e->has_name) {
        bool prefixed = !memcmp(h + 257, "ustar\0", 6) && h[345];
        snprintf(e->name, sizeof e->name, "%.*s%s%.*s", prefixed ? 155 : 0, text + 345, prefixed ? "/" : "", 100, text);
    }
    if (!e->has_link)
        snprintf(e->link, sizeof e->link, "%.*s", 100, text + 157);
}

/* The next real entry; 1, 0 at the end, -1. */
static int next_entry(struct reader *r, struct entry *e)
{
    static const uint8_t zeros[BLOCK];
    uint8_t h[BLOCK];
    memset(e, 0, sizeof *e);
    for (;;) {
        int result = take(r, h, BLOCK);
        if (result <= 0)
            return result;
        if (!memcmp(h, zeros, BLOCK))
            return 0;
        if (check_sum(r, h) < 0)
            return -1;
        int64_t size = numeric(h + 124, 12);
        if (size < 0)
            return fail(r->f, F_INVALID, 0, "the archive has a malformed size");
        char type = (char)h[156];
        if (type == 'x' || type == 'L' || type == 'K' || type == 'g') {
            if (take_extra(r, e, type, size) < 0)
                return -1;
            continue;
        }
        take_names(e, h);
        e->type = type ? type : '0';
        e->mode = (mode_t)(numeric(h + 100, 8) & 07777);
        e->uid = e->has_uid ? e->uid : numeric(h + 108, 8);
        e->gid = e->has_gid ? e->gid : numeric(h + 116, 8);
        e->size = e->has_size ? e->size : size;
        e->mtime = e->has_mtime ? e->mtime : numeric(h + 136, 12);
        e->major = (uint32_t)numeric(h + 329, 8);
        e->minor = (uint32_t)numeric(h + 337, 8);
        return e->size < 0 ? fail(r->f, F_INVALID, 0, "the archive has a malformed size") : 1;
    }
}

/* ---- making entries ---- */

static int open_in(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Split off the last part; gives the parent's descriptor, making folders on the way. */
static int open_parent(struct reader *r, char *name, char **last)
{
    size_t size = strlen(name);
    while (size && name[size - 1] == '/')
        name[--size] = 0;
    char *slash = strrchr(name, '/');
    *last = slash ? slash + 1 : name;
    if (!**last || !strcmp(*last, ".") || !strcmp(*last, "..")) {
        *last = NULL;
        return open_in(r->root, "/", O_PATH | O_DIRECTORY);
    }
    if (!slash)
        return open_in(r->root, "/", O_PATH | O_DIRECTORY);
    *slash = 0;
    int fd = open_folder(r->root, name, 0755);
    *slash = '/';
    return fd;
}

static int make_file(struct reader *r, int parent, const char *name, const struct entry *e)
{
    unlinkat(parent, name, 0);
    int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(r->f, F_SYSTEM, errno, "cannot make '%.200s'", e->name);
    for (int64_t left = e->size; left > 0;) {
        size_t part = left < BUFFER ? (size_t)left : BUFFER;
        if (must_take(r, r->buffer, part) < 0) {
            close(fd);
            return -1;
        }
        for (size_t done = 0; done < part;) {
            ssize_t n = write(fd, r->buffer + done, part - done);
            if (n < 0) {
                fail(r->f, F_SYSTEM, errno, "cannot write '%.200s'", e->name);
                close(fd);
                return -1;
            }
            done += (size_t)n;
        }
        left -= (int64_t)part;
    }
    close(fd);
    return skip(r, padding(e->size));
}

static int make_folder(struct reader *r, int parent, const char *name, const struct entry *e)
{
    struct stat st;
    if (mkdirat(parent, name, 0700) == 0)
        return 0;
    if (errno == EEXIST && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        if (unlinkat(parent, name, 0) == 0 && mkdirat(parent, name, 0700) == 0)
            return 0;
    }
    return fail(r->f, F_SYSTEM, errno, "cannot make the folder '%.200s'", e->name);
}

static int make_link(struct reader *r, int parent, const char *name, const struct entry *e)
{
    char copy[MAX_PATH], *last;
    memcpy(copy, e->link, sizeof copy);
    int from = open_parent(r, copy, &last);
    unlinkat(parent, name, 0);
    int result = from < 0 || !last ? -1 : linkat(from, last, parent, name, 0);
    int err = errno;
    if (from >= 0)
        close(from);
    return result < 0 ? fail(r->f, F_SYSTEM, err, "cannot link '%.200s'", e->name) : 0;
}

static int make_special(struct reader *r, int parent, const char *name, const struct entry *e)
{
    int result;
    unlinkat(parent, name, 0);
    if (e->type == '2')
        result = symlinkat(e->link, parent, name);
    else
        result = mknodat(parent, name, (e->type == '3' ? S_IFCHR : e->type == '4' ? S_IFBLK : S_IFIFO) | 0600,
                         makedev(e->major, e->minor));
    return result < 0 ? fail(r->f, F_SYSTEM, errno, "cannot make '%.200s'", e->name) : 0;
}

static void set_attributes(int parent, const char *name, const struct entry *e)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)e->mtime, .tv_nsec = (long)e->mtime_ns}};
    if (!test_mode || geteuid() == 0)
        (void)!fchownat(parent, name, (uid_t)e->uid, (gid_t)e->gid, AT_SYMLINK_NOFOLLOW);
    if (e->type != '2')
        (void)!fchmodat(parent, name, e->mode, 0);
    utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
}

static int unpack(struct reader *r, struct entry *e)
{
    char *last;
    int parent = open_parent(r, e->name, &last), result;
    if (parent < 0)
        return fail(r->f, F_SYSTEM, errno, "cannot make a folder for '%.200s'", e->name);
    if (!last) { /* the folder itself */
        close(parent);
        return skip(r, e->size + padding(e->size));
    }
    switch (e->type) {
    case '0':
    case '7':
        result = make_file(r, parent, last, e);
        break;
    case '1':
        result = make_link(r, parent, last, e);
        break;
    case '5':
        result = make_folder(r, parent, last, e);
        break;
    case '2':
    case '3':
    case '4':
    case '6':
        result = make_special(r, parent, last, e);
        break;
    default:
        result = fail(r->f, F_INVALID, 0, "the archive has an entry of unknown type, '%.200s'", e->name);
    }
    if (result == 0 && e->type != '1')
        set_attributes(parent, last, e);
    close(parent);
    if (result == 0 && e->type != '0' && e->type != '7')
        result = skip(r, e->type == '1' ? 0 : e->size + padding(e->size));
    return result;
}

int archive_write(const void *given, int fd, struct fault *f)
{
    const char *path = given;
    static struct reader r;
    static struct entry e;
    int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), result;
    umask(0);
    r.fd = fd;
    r.f = f;
    r.root = top < 0 ? -1 : open_folder(top, path, 0755);
    if (r.root < 0)
        return fail(f, F_SYSTEM, errno, "cannot open the folder '%.200s'", path);
    while ((result = next_entry(&r, &e)) > 0)
        if (unpack(&r, &e) < 0)
            return -1;
    if (result < 0)
        return -1;
    while (read(fd, r.buffer, BUFFER) > 0) { /* what follows the end is of no interest */
    }
    return 0;
}
