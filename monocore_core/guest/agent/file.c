/* FILE requests: their fields, and who carries them out. */
#include "file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int request_field(struct file_request *r, uint16_t tag, struct span value, struct fault *f)
{
    int64_t *const numbers[] = {[1] = &r->act, [4] = &r->flags, [5] = &r->mode, [6] = &r->uid, [7] = &r->gid,
                                [8] = &r->offset, [9] = &r->length, [11] = &r->limit};
    switch (tag) {
    case 2:
        return field_text(value, r->path, sizeof r->path, f);
    case 3:
        return field_text(value, r->target, sizeof r->target, f);
    case 10:
        return field_text(value, r->after, sizeof r->after, f);
    default:
        if (tag >= sizeof numbers / sizeof *numbers || !numbers[tag])
            return fail(f, F_INVALID, 0, "field %u of a file request is unknown", tag);
        return field_number(value, numbers[tag], f);
    }
}

int file_parse(struct span body, struct file_request *r, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    *r = (struct file_request){.mode = -1, .uid = -1, .gid = -1, .length = -1, .limit = 1000};
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (request_field(r, tag, value, f) < 0)
            return -1;
    if (more < 0)
        return fail(f, F_INVALID, 0, "a file request's fields are malformed");
    if (r->act < FILE_STAT || r->act > FILE_WATCH)
        return fail(f, F_INVALID, 0, "file request %lld is unknown", (long long)r->act);
    if (r->path[0] != '/' || (r->act == FILE_MOVE && r->target[0] != '/'))
        return fail(f, F_INVALID, 0, "path '%.200s' is not absolute", r->path[0] == '/' ? r->target : r->path);
    if (r->mode < -1 || r->mode > 07777 || r->uid < -1 || r->uid >= UINT32_MAX || r->gid < -1 || r->gid >= UINT32_MAX)
        return fail(f, F_INVALID, 0, "mode or owner for '%.200s' is out of range", r->path);
    if (r->offset < 0 || r->length < -1 || r->limit < 1 || r->limit > MAX_PAGE)
        return fail(f, F_INVALID, 0, "offset, length or page for '%.200s' is out of range", r->path);
    return 0;
}

int file_run(const void *request, int fd, struct fault *f)
{
    const struct file_request *r = request;
    umask(0);
    switch (r->act) {
    case FILE_STAT:
        return file_stat(r, fd, f);
    case FILE_LIST:
        return file_list(r, fd, f);
    case FILE_MAKE_FOLDER:
        return file_make_folder(r, f);
    case FILE_MOVE:
        return file_move(r, f);
    case FILE_REMOVE:
        return file_remove(r, f);
    case FILE_READ:
        return file_read(r, fd, f);
    case FILE_WRITE:
        return file_write(r, fd, f);
    default:
        return file_watch(r, fd, f);
    }
}

int file_fault(struct fault *f, int err, const char *what, const char *path)
{
    int code = err == ENOENT || err == ENOTDIR ? F_NO_PATH : err == EEXIST || err == ENOTEMPTY ? F_EXISTS : F_SYSTEM;
    return fail(f, code, err, "cannot %s '%.300s'", what, path);
}

int write_all(int fd, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

size_t put_field(uint8_t *to, size_t room, uint16_t tag, const void *value, size_t size)
{
    if (room < 6 || room - 6 < size)
        return 0;
    put16(to, tag);
    put32(to + 2, (uint32_t)size);
    memcpy(to + 6, value, size);
    return 6 + size;
}

size_t put_number(uint8_t *to, size_t room, uint16_t tag, int64_t value)
{
    uint8_t bytes[8];
    put64(bytes, (uint64_t)value);
    return put_field(to, room, tag, bytes, sizeof bytes);
}
