/* The streams of an operation: output to the host as far as its credit goes, input through a ring of our own. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

/* ---- descriptors ---- */

bool make_pipe(int *ours, int *theirs, bool we_read)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    *ours = fds[we_read ? 0 : 1];
    *theirs = fds[we_read ? 1 : 0];
    fcntl(*ours, F_SETFL, fcntl(*ours, F_GETFL) | O_NONBLOCK);
    return true;
}

void close_from(int first)
{
    for (int other = first; other < 65536 && other < (int)sysconf(_SC_OPEN_MAX); other++)
        if (syscall(SYS_close_range, first, ~0U, 0) == 0)
            break;
        else
            close(other);
}

/* ---- output ---- */

void stream_close(struct stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->ready = false;
}

void op_end_output(struct op *op, int i)
{
    struct stream *s = &op->out[i];
    stream_close(s);
    if (s->ended)
        return;
    s->ended = true;
    if (!op->released)
        out_frame(K_END, (uint8_t)(i + 1), op->id, NULL, 0);
}

/* What an earlier session did not acknowledge goes first, and the end once more. */
static bool send_again(struct op *op, int i)
{
    struct stream *s = &op->out[i];
    size_t left = s->kept.size - s->kept.sent;
    if (left) {
        size_t size = left < CHUNK ? left : CHUNK;
        kept_copy(&s->kept, s->kept.sent, out_reserve(size), size);
        out_commit(K_DATA, (uint8_t)(i + 1), op->id, size);
        s->kept.sent += size;
        s->credit -= (uint32_t)size; /* never more than was given: no more than a window is kept */
        return true;
    }
    if (s->fd >= 0 || s->ended)
        return false;
    op_end_output(op, i);
    return true;
}

bool op_pump_output(struct op *op, int i)
{
    struct stream *s = &op->out[i];
    if (!op->started || op->released || !channel_in_session() || out_pending() > OUT_HIGH)
        return false;
    if (op->keep && send_again(op, i))
        return true;
    if (s->fd < 0 || !s->ready || !s->credit)
        return false;
    size_t want = s->credit < CHUNK ? s->credit : CHUNK;
    if (op->keep && !kept_room(&s->kept, want))
        return false;
    uint8_t *to = out_reserve(want);
    ssize_t n = read(s->fd, to, want);
    int err = errno;
    if (op->keep && n <= 0 && !s->kept.size)
        kept_drop(&s->kept, 0); /* the room was for nothing */
    if (n > 0) {
        if (op->keep) {
            kept_add(&s->kept, to, (size_t)n);
            s->kept.sent += (size_t)n;
        }
        out_commit(K_DATA, (uint8_t)(i + 1), op->id, (size_t)n);
        s->credit -= (uint32_t)n;
        return true;
    }
    if (n < 0 && err == EINTR)
        return true;
    if (n < 0 && err == EAGAIN) {
        s->ready = false;
        return false;
    }
    op_end_output(op, i); /* the end; EIO is a terminal's way to say so */
    if (op_is_helper(op))
        op_settle(op);
    return true;
}

/* ---- input ---- */

static void give_credit(struct op *op, size_t consumed)
{
    op->in_consumed += (uint32_t)consumed;
    if (op->in_consumed < WINDOW / 4)
        return;
    uint8_t amount[4];
    put32(amount, op->in_consumed);
    if (channel_in_session() && !op->released) {
        op->in_credit += op->in_consumed;
        out_frame(K_CREDIT, 0, op->id, amount, sizeof amount);
        op->in_consumed = 0;
    }
}

/* The reader is gone: what comes is discarded. */
void op_close_input(struct op *op, bool say)
{
    if (op->in.fd < 0)
        return;
    stream_close(&op->in);
    op->in.ended = true;
    size_t lost = op->pending_size;
    op->pending_size = 0;
    free(op->pending);
    op->pending = NULL;
    if (say && !op->released) {
        give_credit(op, lost);
        out_frame(K_END, 0, op->id, NULL, 0);
    }
}

static void finish_input(struct op *op)
{
    if (op->terminal) { /* the end of input is a key there */
        struct termios t;
        if (tcgetattr(op->in.fd, &t) == 0 && (t.c_lflag & ICANON))
            (void)!write(op->in.fd, &t.c_cc[VEOF], 1);
        op->in.ended = true;
        return;
    }
    if (op->kind == OP_DIAL)
        shutdown(op->in.fd, SHUT_WR);
    op_close_input(op, false);
}

static ssize_t write_input(struct op *op, const uint8_t *data, size_t size)
{
    for (;;) {
        ssize_t n = write(op->in.fd, data, size);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN) {
            op->in.ready = false;
            return 0;
        }
        return -1;
    }
}

bool op_pump_input(struct op *op)
{
    if (op->in.fd < 0 || !op->in.ready)
        return false;
    if (!op->pending_size) {
        if (op->in_done && !op->in.ended && op->started)
            finish_input(op);
        return false;
    }
    size_t size = op->pending_size;
    if (size > WINDOW - op->pending_at)
        size = WINDOW - op->pending_at;
    ssize_t n = write_input(op, op->pending + op->pending_at, size);
    if (n < 0) {
        op_close_input(op, true);
        return true;
    }
    op->pending_at = (op->pending_at + (size_t)n) % WINDOW;
    op->pending_size -= (size_t)n;
    if (n)
        give_credit(op, (size_t)n);
    return n > 0;
}

int op_data(uint32_t id, struct span data)
{
    struct op *op = op_find(id);
    if (!op)
        return 0;
    if (data.size > op->in_credit || op->in_done)
        return -1;
    op->in_credit -= (uint32_t)data.size;
    if (op->in.fd < 0 || op->in.ended) {
        give_credit(op, data.size);
        return 0;
    }
    if (!op->pending_size && op->in.ready && data.size) {
        ssize_t n = write_input(op, data.data, data.size);
        if (n < 0) {
            op_close_input(op, true);
            give_credit(op, data.size);
            return 0;
        }
        data.data += n;
        data.size -= (size_t)n;
        give_credit(op, (size_t)n);
    }
    if (!data.size)
        return 0;
    if (!op->pending && !(op->pending = malloc(WINDOW))) {
        op_close_input(op, true);
        return 0;
    }
    while (data.size) {
        size_t at = (op->pending_at + op->pending_size) % WINDOW;
        size_t room = WINDOW - op->pending_size, straight = WINDOW - at;
        size_t part = data.size < straight ? data.size : straight;
        if (part > room)
            return -1;
        memcpy(op->pending + at, data.data, part);
        op->pending_size += part;
        data.data += part;
        data.size -= part;
    }
    return 0;
}

void op_end(uint32_t id)
{
    struct op *op = op_find(id);
    if (op)
        op->in_done = true;
}

int op_credit(uint32_t id, uint8_t channel, uint32_t amount)
{
    if (channel < 1 || channel > 2)
        return -1;
    struct op *op = op_find(id);
    if (!op)
        return 0;
    struct stream *s = &op->out[channel - 1];
    if (op->keep) { /* an acknowledgement: of what was sent, at most */
        if (amount > s->kept.sent)
            return -1;
        kept_drop(&s->kept, amount);
    }
    if (amount > UINT32_MAX - s->credit)
        return -1;
    s->credit += amount;
    return 0;
}
