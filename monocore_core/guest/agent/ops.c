/* Operations under way: the table of them, how they end, what the host asks of them. */
#include "ops.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct op *table[MAX_OPS];
static int high; /* slots below were used */
static uint32_t generations, last_id, first_slot;
static int epoll_fd;

static int64_t kills; /* for lack of memory, counted so far */

void ops_start(int epoll)
{
    epoll_fd = epoll;
    kills = oom_kills();
}

uint32_t ops_next_id(void) { return last_id + 1; }

/* Whether the next host is told of it. */
static bool is_adoptable(const struct op *op)
{
    return op->kind == OP_PROCESS && (op->started || op->keep) && !op->released;
}

bool op_is_helper(const struct op *op) { return op->kind == OP_READ || op->kind == OP_WRITE; }

static void drop_kept(struct op *op)
{
    for (int i = 0; i < 2; i++)
        kept_drop(&op->out[i].kept, op->out[i].kept.size);
}

uint32_t ops_count(void)
{
    uint32_t count = 0;
    for (int i = 0; i < high; i++)
        count += table[i] && is_adoptable(table[i]);
    return count;
}

bool ops_alive(void)
{
    for (int i = 0; i < high; i++)
        if (table[i] && !table[i]->exited)
            return true;
    return false;
}

struct op *op_find(uint32_t id)
{
    for (int i = 0; i < high; i++)
        if (table[i] && table[i]->id == id && !table[i]->released)
            return table[i];
    return NULL;
}

void op_watch(struct op *op, int fd, int role, uint32_t events)
{
    for (uint32_t slot = 0; slot < MAX_OPS; slot++)
        if (table[slot] == op) {
            uint64_t tag = (uint64_t)op->generation << 32 | (uint64_t)slot << 8 | (uint64_t)role << 4 | 4;
            struct epoll_event event = {.events = events | EPOLLET, .data.u64 = tag};
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
            return;
        }
}

void op_free(struct op *op)
{
    for (int i = 0; i < high; i++)
        if (table[i] == op)
            table[i] = NULL;
    while (high > 0 && !table[high - 1])
        high--;
    stream_close(&op->in);
    stream_close(&op->out[0]);
    stream_close(&op->out[1]);
    if (op->error_fd >= 0)
        close(op->error_fd);
    drop_kept(op);
    free(op->pending);
    free(op);
}

struct op *op_new(uint32_t id, enum op_kind kind)
{
    struct op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    op->id = id;
    op->kind = kind;
    op->generation = ++generations;
    op->error_fd = op->in.fd = op->out[0].fd = op->out[1].fd = -1;
    op->in_credit = op->out[0].credit = op->out[1].credit = WINDOW;
    for (int i = 0; i < MAX_OPS; i++)
        if (!table[i]) {
            table[i] = op;
            if (i >= high)
                high = i + 1;
            return op;
        }
    free(op);
    return NULL;
}

int op_check_id(uint32_t id, struct fault *f)
{
    if (id == 0 || id <= last_id)
        return fail(f, F_INVALID, 0, "operation %u is not new", id);
    last_id = id;
    return 0;
}

/* ---- ends ---- */

static void report_exit(const struct op *op)
{
    struct body b = {.size = 0};
    int number = WIFSIGNALED(op->status) ? WTERMSIG(op->status) : 0;
    body_number(&b, 1, number ? 128 + number : WEXITSTATUS(op->status));
    body_number(&b, 2, number);
    body_number(&b, 3, op->oom);
    out_frame(K_EXITED, 0, op->id, b.data, b.size);
}

/* What the child said of its failure; the pipe closes when the program runs, or when a helper is done. */
static void read_fault(struct op *op)
{
    while (op->error_fd >= 0) {
        size_t room = sizeof op->fault - op->fault_size;
        ssize_t n = room ? read(op->error_fd, (uint8_t *)&op->fault + op->fault_size, room) : 0;
        if (n > 0) {
            op->fault_size += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        close(op->error_fd);
        op->error_fd = -1;
    }
    op->fault.text[MAX_TEXT - 1] = 0;
}

/* Once nothing more can come of an operation, say so and free it. */
void op_settle(struct op *op)
{
    if (op->error_fd >= 0)
        return;
    bool failed = op->fault_size == sizeof op->fault;
    if (op->kind == OP_PROCESS && !op->started) {
        if (failed) {
            if (!op->released)
                send_fault(op->id, &op->fault);
            op->released = true;
            stream_close(&op->in);
            stream_close(&op->out[0]);
            stream_close(&op->out[1]);
        } else {
            struct body b = {.size = 0};
            body_number(&b, 1, op->pid);
            op->started = true;
            if (!op->released) {
                out_frame(K_STARTED, 0, op->id, b.data, b.size);
                if (op->exited)
                    report_exit(op);
            }
        }
    }
    if (!op->exited)
        return;
    if (op_is_helper(op) && !op->released) {
        if (!failed && op->out[0].fd >= 0)
            return; /* the archive's last bytes are still in the pipe */
        if (failed)
            send_fault(op->id, &op->fault);
        else if (!WIFEXITED(op->status) || WEXITSTATUS(op->status)) {
            struct fault f = {.code = 0};
            fail(&f, F_SYSTEM, 0, "the helper was ended");
            send_fault(op->id, &f);
        } else
            send_done(op->id, NULL);
        op->released = true;
    }
    if (op->released)
        op_free(op);
}

void ops_reap(void)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        for (int i = 0; i < high; i++) {
            struct op *op = table[i];
            if (!op || op->pid != pid || op->exited)
                continue;
            op->exited = true;
            op->status = status;
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
                int64_t now = oom_kills();
                op->oom = now > kills;
                kills = now;
            }
            read_fault(op);
            if (op->started && !op->released)
                report_exit(op);
            op_settle(op);
            break;
        }
    }
}

/* ---- what the host asks of a running one ---- */

void op_close(uint32_t id)
{
    struct op *op = op_find(id);
    if (!op)
        return;
    op->released = true;
    op_close_input(op, false);
    for (int i = 0; i < 2; i++)
        stream_close(&op->out[i]);
    drop_kept(op);
    if (op_is_helper(op) && !op->exited)
        kill(op->pid, SIGKILL);
    if (op->kind == OP_DIAL)
        op_free(op);
    else {
        read_fault(op);
        op_settle(op);
    }
}

void op_signal(uint32_t id, int number, bool group)
{
    struct op *op = op_find(id);
    if (!op || op->kind != OP_PROCESS || op->exited || number < 1 || number > 64)
        return;
    kill(group ? -op->pid : op->pid, number);
}

void op_resize(uint32_t id, uint16_t rows, uint16_t columns)
{
    struct op *op = op_find(id);
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    if (op && op->terminal && op->out[0].fd >= 0)
        ioctl(op->out[0].fd, TIOCSWINSZ, &size);
}

void ops_signal_all(int number)
{
    if (!test_mode) {
        kill(-1, number);
        return;
    }
    for (int i = 0; i < high; i++)
        if (table[i] && !table[i]->exited)
            kill(table[i]->pid, number);
}

/* ---- the loop's side ---- */

void ops_event(uint64_t tag, uint32_t events)
{
    (void)events;
    struct op *op = table[(tag >> 8) & 0xffffff & (MAX_OPS - 1)];
    if (!op || op->generation != (uint32_t)(tag >> 32))
        return;
    if (op->kind == OP_DIAL && !op->started) {
        dial_event(op, ((tag >> 4) & 0xf) == ROLE_FAULT);
        return;
    }
    switch ((tag >> 4) & 0xf) {
    case ROLE_OUT:
        op->out[0].ready = true;
        if (op->terminal)
            op->in.ready = true;
        break;
    case ROLE_ERR:
        op->out[1].ready = true;
        break;
    case ROLE_IN:
        op->in.ready = true;
        if (op->in.fd >= 0 && (events & EPOLLERR) && !op->terminal)
            op_close_input(op, true);
        break;
    default:
        read_fault(op);
        op_settle(op);
    }
}

bool ops_work(void)
{
    bool any = false;
    first_slot = high ? (first_slot + 1) % (uint32_t)high : 0;
    uint32_t count = (uint32_t)high;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = (first_slot + i) % count;
        if (table[slot])
            any |= op_pump_input(table[slot]);
        for (int j = 0; j < 2; j++)
            if (table[slot])
                any |= op_pump_output(table[slot], j);
    }
    return any;
}

void ops_detach(void)
{
    for (int i = high - 1; i >= 0; i--) {
        struct op *op = table[i];
        if (!op)
            continue;
        if (!is_adoptable(op))
            op_close(op->id);
    }
}

static void adopt(struct op *op)
{
    bool open[2];
    for (int i = 0; i < 2; i++) {
        struct stream *s = &op->out[i];
        s->credit = WINDOW;
        s->kept.sent = 0;
        if (op->keep)
            s->ended = op->terminal && i == 1;
        open[i] = op->keep ? !s->ended : s->fd >= 0;
    }
    op->in_credit = (uint32_t)(WINDOW - op->pending_size);
    op->in_consumed = 0;
    struct body b = {.size = 0};
    body_number(&b, 1, op->pid);
    body_number(&b, 2, (int64_t)op->in_credit);
    body_number(&b, 3, (op->in.fd >= 0 && !op->in.ended && !op->in_done) | open[0] << 1 | open[1] << 2);
    if (op->label[0])
        body_text(&b, 4, op->label);
    body_number(&b, 7, op->terminal);
    for (int i = 0; i < 2 && op->keep; i++)
        body_number(&b, (uint16_t)(5 + i), (int64_t)op->out[i].kept.offset);
    out_frame(K_ADOPTED, 0, op->id, b.data, b.size);
    if (op->exited && op->started)
        report_exit(op);
}

void ops_adopt(void)
{
    for (int i = 0; i < high; i++) {
        if (table[i] && is_adoptable(table[i]))
            adopt(table[i]);
    }
}
