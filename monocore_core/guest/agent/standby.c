/* A child that is forked before anybody asks, and waits for what it is to run. Where a processor is emulated and all of its code is still to be
 * translated, as in a copy of a guest that was set up, a fork is a good part of what the first command's start costs. Until it is told, it has been the agent's
 * alone, and what it becomes is made by exec, as ever: nothing of it is a sandbox's. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
    MOST_OF_ORDER = 32 * 1024, /* bytes; fits into an empty pipe */
    PATIENCE_MS = 10 * 1000,
    ORDER = 3, /* its descriptors */
    REPORT,
    INPUT, /* until it is known whether that is wanted */
    OTHERS,
};

static struct standby {
    pid_t pid; /* 0: there is none */
    int order; /* SPAWN's body, behind its length; it ends when nothing comes */
    int in, out[2];
    int report;
} standby;

static uint8_t told[MOST_OF_ORDER]; /* the child's */

/* Of a page that both sides have had since the fork, each would make its own when it first writes to it: it does now, while nobody waits. */
static void part_memory(void)
{
    char line[512], modes[5];
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from, to;
    FILE *maps = test_mode ? NULL : fopen("/proc/self/maps", "re"); /* a sanitizer has all of the address space */
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, modes) != 3 || strcmp(modes, "rw-p"))
            continue;
        for (unsigned char there; from < to; from += size)
            if (mincore((void *)from, size, &there) == 0 && there & 1)
                madvise((void *)from, size, MADV_POPULATE_WRITE);
    }
    if (maps)
        fclose(maps);
}

static bool read_whole(void *data, size_t size)
{
    uint8_t *at = data;
    while (size) {
        ssize_t n = read(ORDER, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* `fds`: its streams. */
static void settle(int order, const int fds[3], int report, struct fault *f)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    order = fcntl(order, F_DUPFD, 1000);
    report = fcntl(report, F_DUPFD, 1000);
    int input = fcntl(fds[0], F_DUPFD, 1000);
    if (child_begin((int[]){null, fds[1], fds[2]}, false, f) < 0 || dup3(order, ORDER, O_CLOEXEC) < 0 ||
        dup3(report, REPORT, O_CLOEXEC) < 0 || dup3(input, INPUT, O_CLOEXEC) < 0)
        _exit(126);
    close_from(OTHERS);
    told[0] = 0;
    part_memory();
}

static _Noreturn void await_order(int order, const int fds[3], int report)
{
    struct fault f = {.code = 0};
    struct spec spec = {.rows = 24};
    uint32_t size;
    settle(order, fds, report, &f);
    if (write(REPORT, "", 1) != 1 || !read_whole(&size, sizeof size) || size > sizeof told || !read_whole(told, size))
        _exit(0);
    if (spec_parse((struct span){told, size}, &spec, &f) < 0)
        child_failed(REPORT, &f);
    if (spec.stdin_wanted && dup2(INPUT, 0) < 0)
        fail(&f, F_SYSTEM, errno, "cannot set descriptors up");
    else
        child_become(&spec, &f);
    child_failed(REPORT, &f);
}

static void close_ends(const struct standby *of)
{
    const int ends[] = {of->order, of->in, of->out[0], of->out[1], of->report};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] >= 0)
            close(ends[i]);
}

/* That it has come to where it waits. */
static bool it_waits(int report)
{
    struct pollfd p = {.fd = report, .events = POLLIN};
    char word;
    return poll(&p, 1, PATIENCE_MS) == 1 && read(report, &word, 1) == 1;
}

int standby_make(struct fault *f)
{
    struct standby made = {.order = -1, .in = -1, .out = {-1, -1}, .report = -1};
    int theirs[5] = {-1, -1, -1, -1, -1};
    if (standby.pid)
        return 0;
    if (!make_pipe(&made.in, &theirs[0], false) || !make_pipe(&made.out[0], &theirs[1], true) ||
        !make_pipe(&made.out[1], &theirs[2], true) || !make_pipe(&made.order, &theirs[3], false) ||
        !make_pipe(&made.report, &theirs[4], true))
        fail(f, F_SYSTEM, errno, "cannot make pipes");
    else if ((made.pid = fork()) == 0)
        await_order(theirs[3], theirs, theirs[4]);
    else if (made.pid < 0)
        fail(f, F_SYSTEM, errno, "cannot fork");
    for (int i = 0; i < 5; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    if (!f->code && !it_waits(made.report))
        fail(f, F_SYSTEM, 0, "a process that is to wait does not");
    if (f->code)
        close_ends(&made); /* which ends it */
    else
        standby = made;
    renew_clear();
    part_memory();
    return f->code ? -1 : 0;
}

bool standby_take(struct op *op, struct span body, const struct spec *spec)
{
    struct standby taken = standby;
    uint32_t size = (uint32_t)body.size;
    struct iovec parts[] = {{&size, sizeof size}, {(void *)body.data, body.size}};
    if (!taken.pid)
        return false;
    standby.pid = 0;
    if (spec->terminal || body.size > MOST_OF_ORDER || writev(taken.order, parts, 2) != (ssize_t)(sizeof size + body.size)) {
        close_ends(&taken);
        return false;
    }
    close(taken.order);
    if (!spec->stdin_wanted) {
        close(taken.in);
        taken.in = -1;
    }
    op->pid = taken.pid;
    op->in.fd = taken.in;
    op->out[0].fd = taken.out[0];
    op->out[1].fd = taken.out[1];
    op->error_fd = taken.report;
    return true;
}
