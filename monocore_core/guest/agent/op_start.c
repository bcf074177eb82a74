/* How operations begin: pipes or a terminal, a process, or a helper for an archive or a file. */
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

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
        op_watch(op, op->out[0].fd, ROLE_OUT, op->terminal ? EPOLLIN | EPOLLOUT : EPOLLIN);
    if (op->out[1].fd >= 0)
        op_watch(op, op->out[1].fd, ROLE_ERR, EPOLLIN);
    if (op->in.fd >= 0 && !op->terminal)
        op_watch(op, op->in.fd, ROLE_IN, EPOLLOUT);
    op->in.ready = op->in.fd >= 0;
    if (op->error_fd >= 0)
        op_watch(op, op->error_fd, ROLE_FAULT, EPOLLIN);
}

static void close_all(const int fds[3])
{
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0 && (i == 0 || fds[i] != fds[0]))
            close(fds[i]);
}

/* Fork it, with pipes or a terminal. */
static void start(struct op *op, const struct spec *spec, struct fault *f)
{
    int fds[3] = {-1, -1, -1}, report = -1;
    int result = spec->terminal ? make_terminal(op, spec, fds) : make_pipes(op, spec, fds);
    if (result < 0 || !make_pipe(&op->error_fd, &report, true)) {
        fail(f, F_SYSTEM, errno, "cannot make %s for the process", spec->terminal ? "a terminal" : "pipes");
    } else if ((op->pid = fork()) == 0) {
        child_run(spec, fds, report);
    } else if (op->pid < 0) {
        fail(f, F_SYSTEM, errno, "cannot fork");
    }
    close_all(fds);
    if (report >= 0)
        close(report);
}

int op_spawn(uint32_t id, struct span body, struct fault *f)
{
    struct spec spec = {.rows = 24};
    if (spec_parse(body, &spec, f) < 0) {
        spec_free(&spec);
        return -1;
    }
    struct op *op = op_new(id, OP_PROCESS);
    if (!op) {
        spec_free(&spec);
        return fail(f, F_LIMIT, 0, "%d operations are under way in the guest", MAX_OPS);
    }
    op->keep = spec.keep;
    memcpy(op->label, spec.label, sizeof op->label);
    if (!standby_take(op, body, &spec))
        start(op, &spec, f);
    if (!op->terminal && op->in.fd < 0)
        op->in.ended = true;
    if (f->code)
        op_free(op);
    else
        watch_all(op);
    spec_free(&spec);
    return f->code ? -1 : 0;
}

/* What a helper does, with the pipe that is its output or its input. */
typedef int job(const void *argument, int fd, struct fault *f);

static _Noreturn void helper(job *run, const void *argument, int fd, int report, int kept)
{
    struct fault f = {.code = 0};
    int first = kept < 0 ? HELPER_KEPT : HELPER_KEPT + 1; /* that is not wanted */
    int high = kept < 0 ? -1 : fcntl(kept, F_DUPFD, 1000);
    fd = dup2(fcntl(fd, F_DUPFD, 1000), 3); /* other processes' pipes must not stay open here */
    report = dup2(fcntl(report, F_DUPFD, 1000), 4);
    if (high >= 0)
        dup2(high, HELPER_KEPT);
    close_from(first);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int result = run(argument, fd, &f);
    if (result < 0) {
        if (!f.code)
            fail(&f, F_SYSTEM, errno, "the helper failed");
        (void)!write(report, &f, sizeof f);
    }
    _exit(result < 0);
}

/* `kept`: a descriptor that it has as HELPER_KEPT, or -1. */
static int begin_helper(uint32_t id, enum op_kind kind, job *run, const void *argument, int kept, struct fault *f)
{
    struct op *op = op_new(id, kind);
    if (!op)
        return fail(f, F_LIMIT, 0, "%d operations are under way in the guest", MAX_OPS);
    int theirs = -1, report = -1;
    bool made = kind == OP_READ ? make_pipe(&op->out[0].fd, &theirs, true) : make_pipe(&op->in.fd, &theirs, false);
    if (!made || !make_pipe(&op->error_fd, &report, true))
        fail(f, F_SYSTEM, errno, "cannot make pipes");
    else if ((op->pid = fork()) == 0)
        helper(run, argument, theirs, report, kept);
    else if (op->pid < 0)
        fail(f, F_SYSTEM, errno, "cannot fork");
    if (theirs >= 0)
        close(theirs);
    if (report >= 0)
        close(report);
    op->started = true;
    op->out[1].ended = true;
    if (f->code)
        op_free(op);
    else
        watch_all(op);
    return f->code ? -1 : 0;
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
    return begin_helper(id, kind, kind == OP_READ ? archive_read : archive_write, path, -1, f);
}

int op_file(uint32_t id, struct span body, struct fault *f)
{
    static struct file_request request;
    if (file_parse(body, &request, f) < 0)
        return -1;
    return begin_helper(id, request.act == FILE_WRITE ? OP_WRITE : OP_READ, file_run, &request, -1, f);
}

int op_changes(uint32_t id, struct span body, struct fault *f)
{
    char path[4096] = "";
    uint16_t tag;
    struct span value;
    while (field_next(&body, &tag, &value) > 0)
        if (!test_mode || tag != 1 || field_text(value, path, sizeof path, f) < 0)
            return fail(f, F_INVALID, 0, "changes are asked for without further words");
    int folder = test_mode ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : root_changes();
    if (folder < 0)
        return fail(f, F_STATE, 0, "the sandbox has no writable layer over its image");
    int result = begin_helper(id, OP_READ, archive_changes, NULL, folder, f);
    if (test_mode)
        close(folder);
    return result;
}
