/* The channel to the host: sessions begin with a hello, then frames come in. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 16, HELLO = 40, IN_SIZE = 256 * 1024 };

/* How long a port must look closed within a session to be so, nanoseconds. */
static const int64_t END_LASTS = 250 * 1000000LL;

static const char hello_magic[] = "\xffMONOCORE-HELLO\n";
static const char guest_magic[] = "\xffMONOCORE-GUEST\n";

enum state { LOST, SESSION }; /* LOST: only a hello is looked for */

static struct {
    int epoll, fd, listener;
    enum channel_kind kind;
    bool readable, writable, was_open;
    bool open; /* of a port: the kernel knows that the host is connected */
    int64_t ended_ns; /* since when a port looks closed within a session, or 0 */
    enum state state;
    uint32_t token;
    uint8_t in[IN_SIZE];
    size_t at, end;
    uint8_t *body; /* of a request in several frames */
    size_t body_size;
    uint8_t body_kind;
    uint32_t body_id;
} ch;

bool channel_in_session(void) { return ch.state == SESSION; }

bool channel_flushed(void) { return ch.fd < 0 || out_pending() == 0; }

static void drop_body(void)
{
    free(ch.body);
    ch.body = NULL;
    ch.body_size = 0;
    ch.body_kind = 0;
}

void channel_broken(void)
{
    if (ch.state == LOST)
        return;
    ch.state = LOST;
    out_reset(0);
    drop_body();
    ops_detach();
}

/* The host's end closed. A port stays open and may be connected again; a socket does not. */
static void hung_up(void)
{
    bool had = ch.was_open;
    channel_broken();
    ch.was_open = ch.open = false;
    ch.ended_ns = 0;
    ch.at = ch.end = 0;
    if (ch.kind != CHANNEL_PORT) {
        if (ch.fd >= 0)
            close(ch.fd);
        ch.fd = -1;
    }
    if (test_mode ? ch.kind != CHANNEL_LISTENER : had)
        state_tied();
}

static void watch(int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = tag};
    epoll_ctl(ch.epoll, EPOLL_CTL_ADD, fd, &event);
}

void channel_start(int epoll, int fd, enum channel_kind kind)
{
    ch.epoll = epoll;
    ch.kind = kind;
    ch.fd = kind == CHANNEL_LISTENER ? -1 : fd;
    ch.listener = kind == CHANNEL_LISTENER ? fd : -1;
    ch.readable = ch.writable = true;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    watch(fd, kind == CHANNEL_LISTENER ? 2 : 1);
}

void channel_connected(int fd)
{
    channel_broken();
    if (ch.fd >= 0)
        close(ch.fd);
    ch.fd = fd;
    ch.at = ch.end = 0;
    ch.readable = ch.writable = true;
    ch.was_open = false;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    watch(fd, 1);
}

bool channel_lost(void) { return ch.fd < 0; }

void channel_accept(void)
{
    int fd;
    while ((fd = accept4(ch.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        channel_connected(fd);
}

void channel_event(uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        ch.readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        ch.writable = true;
}

/* A hello at `p`: begin a session. */
static void welcome(const uint8_t *p)
{
    uint16_t version = get16(p + 16);
    uint8_t answer[60];
    channel_broken();
    out_reset(get32(p + 20));
    ch.token = get32(p + 20);
    ch.was_open = true;
    ch.open = false; /* until a read says so: the last host's word is none of this one's */
    ch.ended_ns = 0;
    if (version == VERSION && ch.token)
        ch.state = SESSION;
    memcpy(answer, guest_magic, 16);
    memcpy(answer + 16, p + 24, 16);
    put16(answer + 32, VERSION);
    put16(answer + 34, (is_set_up ? 1 : 0) | (freeze_held() ? 2 : 0));
    put32(answer + 36, ops_next_id());
    put32(answer + 40, ops_count());
    put64(answer + 44, (uint64_t)started_ns);
    put64(answer + 52, (uint64_t)listening_ns);
    out_bytes(answer, sizeof answer);
    if (ch.state == SESSION)
        ops_adopt();
}

/* Look for a hello; true when one was found. */
static bool find_hello(void)
{
    size_t have = ch.end - ch.at;
    uint8_t *from = ch.in + ch.at;
    uint8_t *found = memmem(from, have, hello_magic, MAGIC);
    if (!found) {
        size_t keep = have < MAGIC - 1 ? have : MAGIC - 1;
        ch.at = ch.end - keep;
        return false;
    }
    ch.at = (size_t)(found - ch.in);
    if (ch.end - ch.at < HELLO)
        return false;
    ch.at += HELLO;
    welcome(found);
    return true;
}

/* Gather a request's frames; true when `body` is complete. */
static bool gather(uint8_t kind, bool more, uint32_t id, struct span *body)
{
    if (!more && !ch.body)
        return true;
    if (ch.body_kind && (ch.body_kind != kind || ch.body_id != id)) {
        channel_broken();
        return false;
    }
    if (ch.body_size + body->size > MAX_BODY) {
        channel_broken();
        return false;
    }
    uint8_t *grown = realloc(ch.body, ch.body_size + body->size + 1);
    if (!grown) {
        channel_broken();
        return false;
    }
    memcpy(grown + ch.body_size, body->data, body->size);
    ch.body = grown;
    ch.body_size += body->size;
    ch.body_kind = kind;
    ch.body_id = id;
    *body = (struct span){ch.body, ch.body_size};
    return !more;
}

static void frame(const uint8_t *p, size_t size)
{
    uint8_t kind = p[0], channel = p[1];
    uint32_t id = get32(p + 4);
    struct span body = {p + HEAD, size};
    int result = 0;
    if (ch.body && kind != ch.body_kind) {
        channel_broken();
        return;
    }
    switch (kind) {
    case K_DATA:
        result = channel == 0 ? op_data(id, body) : -1;
        break;
    case K_END:
        op_end(id);
        break;
    case K_CREDIT:
        result = size == 4 ? op_credit(id, channel, get32(body.data)) : -1;
        break;
    case K_CLOSE:
        op_close(id);
        break;
    case K_SIGNAL:
        if (size == 2)
            op_signal(id, body.data[0], body.data[1] != 0);
        break;
    case K_RESIZE:
        if (size == 4)
            op_resize(id, get16(body.data), get16(body.data + 2));
        break;
    default:
        if (kind < K_SETUP || kind > K_LAST_REQUEST) {
            result = -1;
        } else if (gather(kind, channel & 1, id, &body)) {
            request(kind, id, body);
            drop_body();
        }
    }
    if (result < 0)
        channel_broken();
}

/* Take what is complete from the buffer; true when something was. */
static bool parse(void)
{
    bool any = false;
    for (;;) {
        size_t have = ch.end - ch.at;
        if (ch.state == LOST) {
            if (!find_hello())
                return any;
            any = true;
            continue;
        }
        if (out_pending() > OUT_LIMIT)
            return any;
        uint8_t *p = ch.in + ch.at;
        if (have && !p[0]) { /* padding */
            ch.at++;
            continue;
        }
        if (have && p[0] == 0xff) {
            if (have >= MAGIC && memcmp(p, hello_magic, MAGIC)) {
                channel_broken();
                continue;
            }
            if (have < HELLO)
                return any;
            ch.at += HELLO;
            welcome(p);
            any = true;
            continue;
        }
        if (have < HEAD)
            return any;
        size_t size = get16(p + 2);
        if (have < HEAD + size + TRAILER)
            return any;
        if (get32(p + HEAD + size) != ch.token) {
            ch.at += HEAD + size + TRAILER;
            channel_broken();
            continue;
        }
        ch.at += HEAD + size + TRAILER;
        frame(p, size);
        any = true;
    }
}

static bool end_lasts(void)
{
    int64_t now = now_ns();
    if (!ch.ended_ns)
        ch.ended_ns = now;
    return now - ch.ended_ns >= END_LASTS;
}

int channel_patience(void) { return ch.ended_ns ? (int)(END_LASTS / 1000000) : -1; }

static bool receive(void)
{
    if (ch.at && ch.end - ch.at < IN_SIZE / 2 && ch.end > IN_SIZE / 2) {
        memmove(ch.in, ch.in + ch.at, ch.end - ch.at);
        ch.end -= ch.at;
        ch.at = 0;
    }
    if (ch.at == ch.end)
        ch.at = ch.end = 0;
    if (ch.end == IN_SIZE)
        return false;
    ssize_t n = read(ch.fd, ch.in + ch.end, IN_SIZE - ch.end);
    if (n != 0)
        ch.ended_ns = 0;
    if (n > 0) {
        ch.end += (size_t)n;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    ch.readable = false;
    if (n < 0 && errno == EAGAIN)
        ch.open = true;
    /* A port's data overtakes the word that the host has opened it. Until that comes, nothing to read looks like an end: a
     * session that such data began must not be ended by it. Nor by word that the host of before has gone, which a copy of a machine
     * that was in a session may hear late: the word that the next one has come is right behind it. */
    bool early = n == 0 && ch.kind == CHANNEL_PORT && ch.state == SESSION && (!ch.open || !end_lasts());
    if (!early && (n == 0 || (errno != EAGAIN && errno != EPIPE)))
        hung_up();
    return false;
}

bool channel_work(void)
{
    bool any = false;
    if (ch.fd < 0)
        return false;
    ch.readable = ch.readable || (ch.ended_ns && end_lasts());
    for (int round = 0; round < 64 && ch.fd >= 0 && ch.readable && out_pending() <= OUT_LIMIT; round++) {
        if (!receive())
            break;
        parse();
        any = true;
    }
    if (ch.at < ch.end && ch.fd >= 0)
        parse();
    if (ch.fd >= 0 && ch.writable && out_pending()) {
        int result = out_flush(ch.fd);
        if (result == 0)
            ch.writable = false;
        else if (result < 0)
            channel_broken();
        else
            any = true;
    }
    return any;
}
