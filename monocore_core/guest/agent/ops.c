/* Operations under way: their streams, credit, and ends. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { ROLE_OUT, ROLE_ERR, ROLE_IN, ROLE_FAULT };

static struct op *table[MAX_OPS];
static int high; /* slots below were used */
static uint32_t generations, last_id, first_slot;
static int epoll_fd;

void ops_start(int epoll) { epoll_fd = epoll; }

uint32_t ops_next_id(void) { return last_id + 1; }

uint32_t ops_count(void)
{
    uint32_t count = 0;
    for (int i = 0; i < high; i++)
        count += table[i] && table[i]->kind == OP_PROCESS && table[i]->started && !table[i]->released;
    return count;
}

bool ops_alive(void)
{
    for (int i = 0; i < high; i++)
        if (table[i] && !table[i]->exited)
            return true;
    return false;
}

static struct op *find(uint32_t id)
{
    for (int i = 0; i < high; i++)
        if (table[i] && table[i]->id == id && !table[i]->released)
            return table[i];
    return NULL;
}

static void watch(struct op *op, int fd, int role, uint32_t events)
{
    for (uint32_t slot = 0; slot < MAX_OPS; slot++)
        if (table[slot] == op) {
            uint64_t tag = (uint64_t)op->generation << 32 | (uint64_t)slot << 8 | (uint64_t)role << 4 | 4;
            struct epoll_event event = {.events = events | EPOLLET, .data.u64 = tag};
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
            return;
        }
}

static void close_stream(struct stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->ready = false;
}

static void end_output(struct op *op, int i)
{
    struct stream *s = &op->out[i];
    close_stream(s);
    if (s->ended)
        return;
    s->ended = true;
    if (!op->released)
        out_frame(K_END, (uint8_t)(i + 1), op->id, NULL, 0);
}

static void free_op(struct op *op)
{
    for (int i = 0; i < high; i++)
        if (table[i] == op)
            table[i] = NULL;
    while (high > 0 && !table[high - 1])
        high--;
    close_stream(&op->in);
    close_stream(&op->out[0]);
    close_stream(&op->out[1]);
    if (op->error_fd >= 0)
        close(op->error_fd);
    free(op->pending);
    free(op);
}

static struct op *new_op(uint32_t id, enum op_kind kind)
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
static void settle(struct op *op)
{
    if (op->error_fd >= 0)
        return;
    bool failed = op->fault_size == sizeof op->fault;
    if (op->kind == OP_PROCESS && !op->started) {
        if (failed) {
            if (!op->released)
                send_fault(op->id, &op->fault);
            op->released = true;
            close_stream(&op->in);
            close_stream(&op->out[0]);
            close_stream(&op->out[1]);
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
    if (op->kind != OP_PROCESS && !op->released) {
        if (!failed && op->out[0].fd >= 0)
            return; /* the archive's last bytes are still in the pipe */
        if (failed)
            send_fault(op->id, &op->fault);
        else if (!WIFEXITED(op->status) || WEXITSTATUS(op->status)) {
            struct fault f = {.code = 0};
            fail(&f, F_SYSTEM, 0, "the archive helper was ended");
            send_fault(op->id, &f);
        } else
            send_done(op->id, NULL);
        op->released = true;
    }
    if (op->released)
        free_op(op);
}

void ops_reap(void)
{
    static int64_t kills;
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
            settle(op);
            break;
        }
    }
}

/* ---- output ---- */

static bool pump_output(struct op *op, int i)
{
    struct stream *s = &op->out[i];
    if (s->fd < 0 || !s->ready || !s->credit || !op->started || !channel_in_session() || out_pending() > OUT_HIGH)
        return false;
    size_t want = s->credit < CHUNK ? s->credit : CHUNK;
    uint8_t *to = out_reserve(want);
    ssize_t n = read(s->fd, to, want);
    if (n > 0) {
        out_commit(K_DATA, (uint8_t)(i + 1), op->id, (size_t)n);
        s->credit -= (uint32_t)n;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN) {
        s->ready = false;
        return false;
    }
    end_output(op, i); /* the end; EIO is a terminal's way to say so */
    if (op->kind != OP_PROCESS)
        settle(op);
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
static void close_input(struct op *op, bool say)
{
    if (op->in.fd < 0)
        return;
    close_stream(&op->in);
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
    close_input(op, false);
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

static bool pump_input(struct op *op)
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
        close_input(op, true);
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
    struct op *op = find(id);
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
            close_input(op, true);
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
        close_input(op, true);
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
    struct op *op = find(id);
    if (op)
        op->in_done = true;
}

int op_credit(uint32_t id, uint8_t channel, uint32_t amount)
{
    if (channel < 1 || channel > 2)
        return -1;
    struct op *op = find(id);
    if (!op)
        return 0;
    struct stream *s = &op->out[channel - 1];
    if (amount > UINT32_MAX - s->credit)
        return -1;
    s->credit += amount;
    return 0;
}

/* ---- what the host asks of a running one ---- */

void op_close(uint32_t id)
{
    struct op *op = find(id);
    if (!op)
        return;
    op->released = true;
    close_input(op, false);
    for (int i = 0; i < 2; i++)
        close_stream(&op->out[i]);
    if (op->kind != OP_PROCESS && !op->exited)
        kill(op->pid, SIGKILL);
    read_fault(op);
    settle(op);
}

void op_signal(uint32_t id, int number, bool group)
{
    struct op *op = find(id);
    if (!op || op->kind != OP_PROCESS || op->exited || number < 1 || number > 64)
        return;
    kill(group ? -op->pid : op->pid, number);
}

void op_resize(uint32_t id, uint16_t rows, uint16_t columns)
{
    struct op *op = find(id);
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
            close_input(op, true);
        break;
    default:
        read_fault(op);
        settle(op);
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
            any |= pump_input(table[slot]);
        for (int j = 0; j < 2; j++)
            if (table[slot])
                any |= pump_output(table[slot], j);
    }
    return any;
}

void ops_detach(void)
{
    for (int i = high - 1; i >= 0; i--) {
        struct op *op = table[i];
        if (!op)
            continue;
        if (op->kind != OP_PROCESS || !op->started)
            op_close(op->id);
    }
}

void ops_adopt(void)
{
    for (int i = 0; i < high; i++) {
        struct op *op = table[i];
        if (!op || op->kind != OP_PROCESS || !op->started || op->released)
            continue;
        op->out[0].credit = op->out[1].credit = WINDOW;
        op->in_credit = (uint32_t)(WINDOW - op->pending_size);
        op->in_consumed = 0;
        struct body b = {.size = 0};
        body_number(&b, 1, op->pid);
        body_number(&b, 2, (int64_t)op->in_credit);
        body_number(&b, 3, (op->in.fd >= 0 && !op->in.ended && !op->in_done) | (op->out[0].fd >= 0) << 1 | (op->out[1].fd >= 0) << 2);
        out_frame(K_ADOPTED, 0, op->id, b.data, b.size);
        if (op->exited)
            report_exit(op);
    }
}

/* ---- beginnings ---- */

static bool make_pipe(int *ours, int *theirs, bool we_read)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    *ours = fds[we_read ? 0 : 1];
    *theirs = fds[we_read ? 1 : 0];
    fcntl(*ours, F_SETFL, fcntl(*ours, F_GETFL) | O_NONBLOCK);
    return true;
}

static int make_terminal(struct op *op, const struct spec *spec, int fds[3])
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return -1;
    op->out[0].fd = master;
    struct winsize size = {.ws_row = spec->rows, .ws_col = spec->columns};
    ioctl(master, TIOCSWINSZ, &size);
    fds[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fds[0] < 0)
        return -1;
    fds[1] = fds[2] = fds[0];
    op->in.fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
    op->terminal = true;
    op->out[1].ended = true;
    return op->in.fd < 0 ? -1 : 0;
}

static int make_pipes(struct op *op, const struct spec *spec, int fds[3])
{
    if (!make_pipe(&op->out[0].fd, &fds[1], true) || !make_pipe(&op->out[1].fd, &fds[2], true))
        return -1;
    if (spec->stdin_wanted)
        return make_pipe(&op->in.fd, &fds[0], false) ? 0 : -1;
    fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fds[0] < 0 ? -1 : 0;
}

static void watch_all(struct op *op)
{
    if (op->out[0].fd >= 0)
        watch(op, op->out[0].fd, ROLE_OUT, op->terminal ? EPOLLIN | EPOLLOUT : EPOLLIN);
    if (op->out[1].fd >= 0)
        watch(op, op->out[1].fd, ROLE_ERR, EPOLLIN);
    if (op->in.fd >= 0 && !op->terminal)
        watch(op, op->in.fd, ROLE_IN, EPOLLOUT);
    op->in.ready = op->in.fd >= 0;
    if (op->error_fd >= 0)
        watch(op, op->error_fd, ROLE_FAULT, EPOLLIN);
}

static void close_all(const int fds[3])
{
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0 && (i == 0 || fds[i] != fds[0]))
            close(fds[i]);
}

int op_spawn(uint32_t id, struct span body, struct fault *f)
{
    struct spec spec = {.rows = 24};
    if (spec_parse(body, &spec, f) < 0) {
        spec_free(&spec);
        return -1;
    }
    struct op *op = new_op(id, OP_PROCESS);
    if (!op) {
        spec_free(&spec);
        return fail(f, F_LIMIT, 0, "%d operations are under way in the guest", MAX_OPS);
    }
    int fds[3] = {-1, -1, -1}, report = -1;
    int result = spec.terminal ? make_terminal(op, &spec, fds) : make_pipes(op, &spec, fds);
    if (result < 0 || !make_pipe(&op->error_fd, &report, true)) {
        fail(f, F_SYSTEM, errno, "cannot make %s for the process", spec.terminal ? "a terminal" : "pipes");
    } else if ((op->pid = fork()) == 0) {
        child_run(&spec, fds, report);
    } else if (op->pid < 0) {
        fail(f, F_SYSTEM, errno, "cannot fork");
    }
    close_all(fds);
    if (report >= 0)
        close(report);
    if (!op->terminal && op->in.fd < 0)
        op->in.ended = true;
    if (f->code)
        free_op(op);
    else
        watch_all(op);
    spec_free(&spec);
    return f->code ? -1 : 0;
}

static _Noreturn void helper(enum op_kind kind, const char *path, int fd, int report)
{
    struct fault f = {.code = 0};
    fd = dup2(fcntl(fd, F_DUPFD, 1000), 3); /* other processes' pipes must not stay open here */
    report = dup2(fcntl(report, F_DUPFD, 1000), 4);
    for (int other = 5; other < 65536 && other < (int)sysconf(_SC_OPEN_MAX); other++)
        if (syscall(SYS_close_range, 5, ~0U, 0) == 0)
            break;
        else
            close(other);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int result = kind == OP_READ ? archive_read(path, fd, &f) : archive_write(path, fd, &f);
    if (result < 0) {
        if (!f.code)
            fail(&f, F_SYSTEM, errno, "the archive helper failed");
        (void)!write(report, &f, sizeof f);
    }
    _exit(result < 0);
}

int op_archive(uint32_t id, enum op_kind kind, struct span body, struct fault *f)
{
    char path[4096] = "";
    uint16_t tag;
    struct span value;
    while (field_next(&body, &tag, &value) > 0)
        if (tag != 1 || field_text(value, path, sizeof path, f) < 0)
            return fail(f, F_INVALID, 0, "an archive's path is malformed");
    if (path[0] != '/')
        return fail(f, F_INVALID, 0, "an archive's path is not absolute");
    struct op *op = new_op(id, kind);
    if (!op)
        return fail(f, F_LIMIT, 0, "%d operations are under way in the guest", MAX_OPS);
    int theirs = -1, report = -1;
    bool made = kind == OP_READ ? make_pipe(&op->out[0].fd, &theirs, true) : make_pipe(&op->in.fd, &theirs, false);
    if (!made || !make_pipe(&op->error_fd, &report, true))
        fail(f, F_SYSTEM, errno, "cannot make pipes");
    else if ((op->pid = fork()) == 0)
        helper(kind, path, theirs, report);
    else if (op->pid < 0)
        fail(f, F_SYSTEM, errno, "cannot fork");
    if (theirs >= 0)
        close(theirs);
    if (report >= 0)
        close(report);
    op->started = true;
    op->out[1].ended = true;
    if (f->code)
        free_op(op);
    else
        watch_all(op);
    return f->code ? -1 : 0;
}
