/* Holds every process of the sandbox but the agent, for the machine to be captured with nothing at work in it, and lets them go.
 *
 * The kernel's freezer (cgroup v2) does it: no process can tell, nor see a signal of it. Processes in the root group, which cannot be
 * frozen, are moved to a group of ours and back. A copy of the captured machine finds them held, and lets them go when it has
 * become an individual: nothing runs in two copies with the same randomness. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS "/sys/fs/cgroup"
#define OURS "monocore.frozen"

enum { MAX_GROUPS = 64, ROUNDS = 100 };

static const int64_t FREEZE_WAIT = 3LL * 1000000000;

static struct {
    bool held;
    bool leaving; /* they go on as soon as the host has our word */
    size_t count;
    char names[MAX_GROUPS][256]; /* of the groups that ran before */
} frozen;

bool freeze_held(void) { return frozen.held && !frozen.leaving; }

void freeze_leave(void) { frozen.leaving = frozen.held; }

void freeze_work(void)
{
    if (frozen.leaving && channel_flushed())
        freeze_release();
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int err = errno;
    close(fd);
    errno = err;
    return n < 0 ? -1 : 0;
}

/* A small file of the kernel's, terminated; "" when it cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

/* The kernel's own threads have no program. They cannot be held, and a group with one of them in it never stands still. */
static bool has_program(const char *pid)
{
    char path[64], program[8];
    snprintf(path, sizeof path, "/proc/%.20s/exe", pid);
    return readlink(path, program, sizeof program) >= 0;
}

/* Move the processes of one group to another; how many went. We stay. */
static int move_all(const char *from, const char *to)
{
    static char listed[256 * 1024];
    int moved = 0;
    read_text(from, listed, sizeof listed);
    for (char *line = listed; *line;) {
        char *end = strchr(line, '\n');
        if (!end)
            break; /* the next round reads on */
        *end = 0;
        if (strcmp(line, "1") && has_program(line) && write_text(to, line) == 0)
            moved++;
        line = end + 1;
    }
    return moved;
}

static void path_of(char *path, size_t size, const char *group, const char *file)
{
    snprintf(path, size, GROUPS "/%.255s/%.63s", group, file);
}

static int hold_group(const char *name, struct fault *f)
{
    char path[400], text[16];
    path_of(path, sizeof path, name, "cgroup.freeze");
    read_text(path, text, sizeof text);
    if (text[0] != '0')
        return 0;
    if (frozen.count == MAX_GROUPS)
        return fail(f, F_LIMIT, 0, "more than %d control groups", MAX_GROUPS);
    if (write_text(path, "1") < 0)
        return errno == ENOENT || errno == ENODEV ? 0 : fail(f, F_SYSTEM, errno, "cannot hold the processes of '%.100s'", name);
    snprintf(frozen.names[frozen.count++], sizeof frozen.names[0], "%.255s", name);
    return 0;
}

static int hold_groups(struct fault *f)
{
    DIR *folder = opendir(GROUPS);
    struct dirent *entry;
    int result = 0;
    if (!folder)
        return fail(f, F_SYSTEM, errno, "cannot read the control groups");
    while (result == 0 && (entry = readdir(folder)))
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            result = hold_group(entry->d_name, f);
    closedir(folder);
    return result;
}

static bool stands_still(int fd)
{
    char text[128];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return n <= 0 || strstr(text, "frozen 1");
}

static int await_group(const char *name, int64_t deadline, struct fault *f)
{
    char path[400];
    path_of(path, sizeof path, name, "cgroup.events");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* it is gone, and what was in it */
    bool still;
    while (!(still = stands_still(fd)) && now_ns() < deadline) {
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        poll(&p, 1, 20);
    }
    close(fd);
    return still ? 0 : fail(f, F_SYSTEM, 0, "the processes of '%.100s' do not stand still: one of them is busy in the kernel", name);
}

void freeze_release(void)
{
    char path[400];
    for (size_t i = 0; i < frozen.count; i++) {
        path_of(path, sizeof path, frozen.names[i], "cgroup.freeze");
        write_text(path, "0");
    }
    frozen.count = 0;
    for (int i = 0; i < ROUNDS && move_all(GROUPS "/" OURS "/cgroup.procs", GROUPS "/cgroup.procs"); i++) {
    }
    rmdir(GROUPS "/" OURS);
    frozen.held = frozen.leaving = false;
}

int freeze_hold(struct fault *f)
{
    int64_t deadline = now_ns() + FREEZE_WAIT;
    if (frozen.leaving)
        freeze_release();
    if (frozen.held)
        return 0;
    if (mkdir(GROUPS "/" OURS, 0755) < 0 && errno != EEXIST)
        return fail(f, F_SYSTEM, errno, "the guest has no control groups to hold its processes");
    frozen.held = true; /* from here on there is something to release */
    int result = -1;
    /* what starts others while it is moved is still in the root group, and moved in the next round */
    for (int i = 0; i < ROUNDS && move_all(GROUPS "/cgroup.procs", GROUPS "/" OURS "/cgroup.procs"); i++) {
    }
    result = hold_groups(f);
    for (size_t i = 0; result == 0 && i < frozen.count; i++)
        result = await_group(frozen.names[i], deadline, f);
    if (result < 0)
        freeze_release();
    return result;
}
