/* Fields of bodies, and the queue of bytes towards the host. */
#include "agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16; }

uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v & 0xff);
    p[1] = (uint8_t)(v >> 8);
}

void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v & 0xffff));
    put16(p + 2, (uint16_t)(v >> 16));
}

void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v & 0xffffffff));
    put32(p + 4, (uint32_t)(v >> 32));
}

int fail(struct fault *f, int code, int err, const char *format, ...)
{
    if (f->code)
        return -1;
    f->code = code;
    f->err = err;
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(f->text, sizeof f->text, format, arguments);
    va_end(arguments);
    if (err && used >= 0 && (size_t)used < sizeof f->text)
        snprintf(f->text + used, sizeof f->text - (size_t)used, ": %s", strerror(err));
    return -1;
}

int field_next(struct span *body, uint16_t *tag, struct span *value)
{
    if (!body->size)
        return 0;
    if (body->size < 6)
        return -1;
    *tag = get16(body->data);
    size_t size = get32(body->data + 2);
    if (size > body->size - 6)
        return -1;
    *value = (struct span){body->data + 6, size};
    body->data += 6 + size;
    body->size -= 6 + size;
    return 1;
}

int field_number(struct span value, int64_t *number, struct fault *f)
{
    if (value.size != 8)
        return fail(f, F_INVALID, 0, "a number has %zu bytes", value.size);
    *number = (int64_t)get64(value.data);
    return 0;
}

int field_text(struct span value, char *buffer, size_t size, struct fault *f)
{
    if (value.size >= size)
        return fail(f, F_INVALID, 0, "a text of %zu bytes is longer than %zu", value.size, size - 1);
    if (memchr(value.data, 0, value.size))
        return fail(f, F_INVALID, 0, "a text contains a NUL");
    memcpy(buffer, value.data, value.size);
    buffer[value.size] = 0;
    return 0;
}

void body_number(struct body *b, uint16_t tag, int64_t value)
{
    if (sizeof b->data - b->size < 14)
        return;
    put16(b->data + b->size, tag);
    put32(b->data + b->size + 2, 8);
    put64(b->data + b->size + 6, (uint64_t)value);
    b->size += 14;
}

void body_text(struct body *b, uint16_t tag, const char *text)
{
    size_t size = strlen(text);
    if (sizeof b->data - b->size < 6 + size)
        return;
    put16(b->data + b->size, tag);
    put32(b->data + b->size + 2, (uint32_t)size);
    memcpy(b->data + b->size + 6, text, size);
    b->size += 6 + size;
}

static struct {
    uint8_t *data;
    size_t at, end, room;
    uint32_t token;
} out;

void out_reset(uint32_t token)
{
    out.at = out.end = 0;
    out.token = token;
}

size_t out_pending(void) { return out.end - out.at; }

static uint8_t *reserve(size_t size)
{
    if (out.at == out.end)
        out.at = out.end = 0;
    if (out.room - out.end < size && out.at) {
        memmove(out.data, out.data + out.at, out.end - out.at);
        out.end -= out.at;
        out.at = 0;
    }
    if (out.room - out.end < size) {
        size_t room = out.room ? out.room : 64 * 1024;
        while (room - out.end < size)
            room *= 2;
        uint8_t *data = realloc(out.data, room);
        if (!data) {
            static const char words[] = "monocore-agent: out of memory\n";
            (void)!write(2, words, sizeof words - 1);
            _exit(1);
        }
        out.data = data;
        out.room = room;
    }
    return out.data + out.end;
}

void out_bytes(const void *data, size_t size)
{
    memcpy(reserve(size), data, size);
    out.end += size;
}

uint8_t *out_reserve(size_t size) { return reserve(HEAD + size + TRAILER) + HEAD; }

void out_commit(uint8_t kind, uint8_t channel, uint32_t id, size_t size)
{
    uint8_t *p = out.data + out.end;
    p[0] = kind;
    p[1] = channel;
    put16(p + 2, (uint16_t)size);
    put32(p + 4, id);
    put32(p + HEAD + size, out.token);
    out.end += HEAD + size + TRAILER;
}

void out_frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size)
{
    if (!channel_in_session())
        return;
    uint8_t *p = out_reserve(size);
    if (size)
        memcpy(p, payload, size);
    out_commit(kind, channel, id, size);
}

int out_flush(int fd)
{
    while (out.at < out.end) {
        ssize_t n = write(fd, out.data + out.at, out.end - out.at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        out.at += (size_t)n;
    }
    return 1;
}

void send_done(uint32_t id, const struct body *b) { out_frame(K_DONE, 0, id, b ? b->data : NULL, b ? b->size : 0); }

void send_fault(uint32_t id, const struct fault *f)
{
    struct body b = {.size = 0};
    body_number(&b, 1, f->code ? f->code : F_SYSTEM);
    body_text(&b, 2, f->text);
    body_number(&b, 3, f->err);
    out_frame(K_FAILED, 0, id, b.data, b.size);
}
