/* Connections that the host makes from inside the guest: to a TCP port or a Unix socket. Then the streams are those of a process. */
#include "ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

enum { MOST_MS = 600000 };

struct target {
    int64_t port, deadline_ms;
    char address[INET6_ADDRSTRLEN];
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        struct sockaddr_un local;
    } where;
    socklen_t size;
};

static int target_field(struct target *t, uint16_t tag, struct span value, struct fault *f)
{
    switch (tag) {
    case 1:
        return field_number(value, &t->port, f);
    case 2:
        return field_text(value, t->address, sizeof t->address, f);
    case 3:
        return field_text(value, t->path, sizeof t->path, f);
    case 4:
        return field_number(value, &t->deadline_ms, f);
    default:
        return fail(f, F_INVALID, 0, "field %u of a connection is unknown", tag);
    }
}

static int target_resolve(struct target *t, struct fault *f)
{
    if (t->deadline_ms < 1 || t->deadline_ms > MOST_MS)
        return fail(f, F_INVALID, 0, "a connection's deadline is not between 1 ms and %d ms", MOST_MS);
    if (t->path[0]) {
        t->where.local.sun_family = AF_UNIX;
        memcpy(t->where.local.sun_path, t->path, sizeof t->path);
        t->size = sizeof t->where.local;
        return t->path[0] == '/' ? 0 : fail(f, F_INVALID, 0, "socket '%.100s' is not absolute", t->path);
    }
    if (t->port < 1 || t->port > 65535)
        return fail(f, F_INVALID, 0, "port %lld does not exist", (long long)t->port);
    if (inet_pton(AF_INET, t->address, &t->where.four.sin_addr) == 1) {
        t->where.four.sin_family = AF_INET;
        t->where.four.sin_port = htons((uint16_t)t->port);
        t->size = sizeof t->where.four;
    } else if (inet_pton(AF_INET6, t->address, &t->where.six.sin6_addr) == 1) {
        t->where.six.sin6_family = AF_INET6;
        t->where.six.sin6_port = htons((uint16_t)t->port);
        t->size = sizeof t->where.six;
    } else {
        return fail(f, F_INVALID, 0, "'%s' is not an address", t->address);
    }
    return 0;
}

static void connect_fault(struct fault *f, const struct op *op, int err)
{
    int code = err == ENOENT || err == ENOTDIR ? F_NO_PATH : err == EACCES || err == EINVAL || err == ENOMEM || err == EMFILE ? F_SYSTEM : F_UNREACHABLE;
    fail(f, code, err, "cannot connect to %s", op->fault.text);
}

static void connected(struct op *op)
{
    int on = 1;
    setsockopt(op->in.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a Unix socket has no such thing */
    close(op->error_fd);
    op->error_fd = -1;
    op->started = true;
    op->in.ready = op->out[0].ready = true;
    out_frame(K_STARTED, 0, op->id, NULL, 0);
}

static void refuse(struct op *op, const struct fault *f)
{
    send_fault(op->id, f);
    op_free(op);
}

/* A connection to a port that nobody listens at can meet itself, when the kernel picks that very port for this end. */
static bool is_own(int fd, const struct sockaddr_storage *peer, socklen_t size)
{
    struct sockaddr_storage own;
    socklen_t own_size = sizeof own;
    return (peer->ss_family == AF_INET || peer->ss_family == AF_INET6) && getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
           own_size == size && memcmp(&own, peer, size) == 0;
}

void dial_event(struct op *op, bool timed_out)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    struct fault f = {.code = 0};
    int err = 0;
    socklen_t err_size = sizeof err;
    if (op->started)
        return;
    if (getsockopt(op->in.fd, SOL_SOCKET, SO_ERROR, &err, &err_size) < 0)
        err = errno;
    if (err) {
        connect_fault(&f, op, err);
        refuse(op, &f);
    } else if (getpeername(op->in.fd, (struct sockaddr *)&peer, &size) == 0) {
        if (is_own(op->in.fd, &peer, size)) {
            connect_fault(&f, op, ECONNREFUSED);
            refuse(op, &f);
        } else
            connected(op);
    } else if (timed_out) {
        fail(&f, F_DEADLINE, 0, "cannot connect to %s: there was no answer in time", op->fault.text);
        refuse(op, &f);
    }
}

static int begin(struct op *op, const struct target *t, struct fault *f)
{
    struct itimerspec when = {.it_value = {.tv_sec = t->deadline_ms / 1000, .tv_nsec = t->deadline_ms % 1000 * 1000000}};
    op->in.fd = socket(t->where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (op->in.fd < 0 || (op->out[0].fd = fcntl(op->in.fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return fail(f, F_SYSTEM, errno, "cannot make a socket");
    op->error_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (op->error_fd < 0 || timerfd_settime(op->error_fd, 0, &when, NULL) < 0)
        return fail(f, F_SYSTEM, errno, "cannot make a timer");
    if (connect(op->in.fd, &t->where.any, t->size) < 0 && errno != EINPROGRESS) {
        connect_fault(f, op, errno);
        return -1;
    }
    return 0;
}

int op_dial(uint32_t id, struct span body, struct fault *f)
{
    struct target target = {.port = 0, .deadline_ms = 10000, .address = "127.0.0.1"};
    uint16_t tag;
    struct span value;
    int more;
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (target_field(&target, tag, value, f) < 0)
            return -1;
    if (more < 0)
        return fail(f, F_INVALID, 0, "a connection's fields are malformed");
    if (target_resolve(&target, f) < 0)
        return -1;
    struct op *op = op_new(id, OP_DIAL);
    if (!op)
        return fail(f, F_LIMIT, 0, "%d operations are under way in the guest", MAX_OPS);
    op->exited = true; /* there is no process */
    op->out[1].ended = true;
    if (target.path[0])
        snprintf(op->fault.text, sizeof op->fault.text, "'%s'", target.path);
    else
        snprintf(op->fault.text, sizeof op->fault.text, "port %lld of %s", (long long)target.port, target.address);
    if (begin(op, &target, f) < 0) {
        op_free(op);
        return -1;
    }
    op_watch(op, op->in.fd, ROLE_IN, EPOLLOUT);
    op_watch(op, op->out[0].fd, ROLE_OUT, EPOLLIN | EPOLLRDHUP);
    op_watch(op, op->error_fd, ROLE_FAULT, EPOLLIN);
    dial_event(op, false); /* a Unix socket is connected by now */
    return 0;
}
