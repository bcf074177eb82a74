/* The port, the handshake and frames. */
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char HELLO[] = "\xffMONOCORE-HELLO\n", GUEST[] = "\xffMONOCORE-GUEST\n";
enum { MAGIC = 16, HELLO_SIZE = 40, HEAD = 8, TRAILER = 4 };

int port = -1;
uint32_t token;
unsigned sessions;
uint32_t window_id;
int64_t window;

static bool talking;
static uint8_t input[4 * MOST], taken[MOST + 1];
static size_t have;

static void put(uint8_t *into, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        into[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *from, int size)
{
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--)
        value = value << 8 | from[i];
    return value;
}

void port_open(void)
{
    char path[400], name[64] = "";
    struct dirent *entry;
    DIR *folder = opendir("/sys/class/virtio-ports");
    while (folder && (entry = readdir(folder))) {
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        int file = open(path, O_RDONLY);
        if (file < 0 || read(file, name, sizeof name - 1) <= 0 || strncmp(name, "monocore.agent", 14)) {
            close(file);
            continue;
        }
        close(file);
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        port = open(path, O_RDWR);
    }
    if (folder)
        closedir(folder);
}

void say(const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size;) {
        ssize_t sent = write(port, at, size);
        if (sent <= 0) { /* nobody listens */
            usleep(1000);
            return;
        }
        at += sent;
        size -= (size_t)sent;
    }
}

void raw_frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size, uint32_t trailer)
{
    static uint8_t whole[HEAD + MOST + TRAILER];
    put(whole, kind, 1);
    put(whole + 1, channel, 1);
    put(whole + 2, size, 2);
    put(whole + 4, id, 4);
    memcpy(whole + HEAD, payload, size);
    put(whole + HEAD + size, trailer, 4);
    say(whole, HEAD + size + TRAILER);
}

void frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size)
{
    raw_frame(kind, channel, id, payload, size, token);
}

void welcome(const uint8_t *nonce, unsigned version, uint32_t next_id, uint32_t processes)
{
    uint8_t bytes[60] = {0};
    memcpy(bytes, GUEST, MAGIC);
    memcpy(bytes + 16, nonce, 16);
    put(bytes + 32, version, 2);
    put(bytes + 34, held ? 3 : 1, 2); /* it has been set up, it says: a daemon that comes back must believe that */
    put(bytes + 36, next_id, 4);
    put(bytes + 40, processes, 4);
    put(bytes + 44, 1, 8);
    put(bytes + 52, 2, 8);
    say(bytes, sizeof bytes);
}

static void drop(size_t size)
{
    memmove(input, input + size, have -= size);
}

static bool fill(int ms)
{
    struct pollfd wait = {port, POLLIN, 0};
    if (poll(&wait, 1, ms) <= 0)
        return false;
    ssize_t got = read(port, input + have, sizeof input - have);
    if (got <= 0) { /* no host */
        usleep(2000);
        return false;
    }
    have += (size_t)got;
    return true;
}

static void find_hello(void)
{
    uint8_t *at = memmem(input, have, HELLO, MAGIC), nonce[16];
    if (!at) {
        if (have > MAGIC)
            drop(have - MAGIC + 1);
        return;
    }
    drop((size_t)(at - input));
    if (have < HELLO_SIZE)
        return;
    token = (uint32_t)get(input + 20, 4);
    memcpy(nonce, input + 24, 16);
    drop(HELLO_SIZE);
    talking = true;
    sessions++;
    greet(nonce);
}

/* A frame of the session, if one is there whole. */
static bool take(struct frame *into)
{
    size_t zeros = 0;
    while (zeros < have && !input[zeros])
        zeros++;
    drop(zeros);
    if (have && input[0] == 0xff)
        talking = false;
    if (!talking || have < HEAD)
        return false;
    size_t length = get(input + 2, 2), size = HEAD + length + TRAILER;
    if (have < size)
        return false;
    memcpy(taken, input + HEAD, length);
    taken[length] = 0;
    *into = (struct frame){input[0], input[1], (uint16_t)length, (uint32_t)get(input + 4, 4), taken};
    talking = get(input + HEAD + length, 4) == token;
    drop(size);
    if (talking && into->kind == CREDIT && into->id == window_id && into->channel == 1)
        window += (int64_t)get(taken, 4);
    return talking;
}

bool next_frame(struct frame *into, int ms)
{
    for (;;) {
        if (talking && take(into))
            return true;
        unsigned before = sessions;
        if (!talking)
            find_hello();
        if (before == sessions && !fill(ms))
            return false;
    }
}

void field(struct body *body, unsigned tag, const void *value, size_t size)
{
    put(body->data + body->size, tag, 2);
    put(body->data + body->size + 2, size, 4);
    memcpy(body->data + body->size + 6, value, size);
    body->size += 6 + size;
}

void field_number(struct body *body, unsigned tag, int64_t value)
{
    uint8_t bytes[8];
    put(bytes, (uint64_t)value, 8);
    field(body, tag, bytes, sizeof bytes);
}

void field_text(struct body *body, unsigned tag, const char *value) { field(body, tag, value, strlen(value)); }

static const uint8_t *find(const struct frame *request, unsigned tag, size_t *size)
{
    for (size_t at = 0; at + 6 <= request->length; at += 6 + *size) {
        *size = get(request->payload + at + 2, 4);
        if (get(request->payload + at, 2) == tag && *size <= request->length - at - 6)
            return request->payload + at + 6;
    }
    return NULL;
}

const char *text_of(const struct frame *request, unsigned tag)
{
    static char text[2][256];
    static int turn;
    size_t size = 0;
    const uint8_t *value = find(request, tag, &size);
    char *into = text[turn ^= 1];
    if (!value || size > sizeof text[0] - 1)
        size = 0;
    memcpy(into, value ? value : (const uint8_t *)"", size);
    into[size] = 0;
    return into;
}

int64_t number_of(const struct frame *request, unsigned tag)
{
    size_t size = 0;
    const uint8_t *value = find(request, tag, &size);
    return value && size == 8 ? (int64_t)get(value, 8) : 0;
}
