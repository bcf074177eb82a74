/* Memory that has run out although the kernel does not say so.
 *
 * There is no swap. Once programs' own memory fills the guest, what the kernel can still take is the pages of the files that the same
 * programs run from: it drops them, they are read again at once, and since it found pages to drop it sees no want of memory. A guest
 * can spend minutes so. We look now and then, and do what the kernel would have done in the end. */
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    CALM_MS = 2000,   /* between looks while an eighth is free */
    WATCH_MS = 1000,  /* and while it is not */
    CALM_SHARE = 8,
    FILES_SHARE = 32, /* of the memory: with more pages of files than this, reading them again is work, not want */
    TURNS = 8,        /* times a second that all of them are read again */
    LOOKS = 2,        /* in a row that find it so */
};

static int timer = -1, folder = -1, vmstat = -1;
static int64_t kills;

static void again(int ms)
{
    struct itimerspec t = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L}};
    timerfd_settime(timer, 0, &t, NULL);
}

/* Whether all pages of files that are left were read again many times since the last look. */
static bool going_round(int64_t total)
{
    static int64_t last_read, last_time;
    static char text[16 * 1024];
    size_t have = 0;
    ssize_t n;
    while (have < sizeof text - 1 && (n = pread(vmstat, text + have, sizeof text - 1 - have, (off_t)have)) > 0)
        have += (size_t)n;
    text[have] = 0;
    int64_t pages = stat_value(text, "nr_active_file ") + stat_value(text, "nr_inactive_file ");
    int64_t count = stat_value(text, "workingset_refault_file "), now = now_ns();
    int64_t fresh = count - last_read, ms = (now - last_time) / 1000000;
    last_read = count;
    last_time = now;
    return pages < total / FILES_SHARE && ms > 0 && fresh * 1000 / ms > TURNS * (pages + 1);
}

static int64_t score(const char *pid)
{
    char path[300], text[32] = "";
    snprintf(path, sizeof path, "%s/oom_score", pid);
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtoll(text, NULL, 10) : 0;
}

/* End the process that the kernel would: the one with the most memory, as far as its oom_score_adj does not say otherwise. */
static void kill_greatest(void)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    int64_t most = 0;
    pid_t chosen = 0;
    while (list && (entry = readdir(list))) {
        long pid = strtol(entry->d_name, NULL, 10);
        int64_t points = pid > 1 ? score(entry->d_name) : 0;
        if (points > most) {
            most = points;
            chosen = (pid_t)pid;
        }
    }
    if (list)
        closedir(list);
    if (!chosen || kill(chosen, SIGKILL) < 0)
        return;
    kills++;
    fprintf(stderr, "monocore-agent: killed process %d: memory has run out, programs are read from disk over and over\n", chosen);
}

void memory_start(int epoll, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    if (test_mode)
        return;
    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); /* what we have used stays, so that we can act when it matters */
    folder = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* of the boot disk: no program of the guest can change it */
    vmstat = openat(folder, "vmstat", O_RDONLY | O_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    again(CALM_MS);
}

void memory_look(void)
{
    static int found;
    uint64_t count;
    struct sysinfo info;
    if (read(timer, &count, sizeof count) < 0 || sysinfo(&info) < 0)
        return;
    bool calm = info.freeram >= info.totalram / CALM_SHARE;
    int64_t pages = (int64_t)((uint64_t)info.totalram * info.mem_unit / (uint64_t)sysconf(_SC_PAGESIZE));
    found = !calm && going_round(pages) ? found + 1 : 0;
    if (found == LOOKS) {
        found = 0;
        kill_greatest();
    }
    again(calm ? CALM_MS : WATCH_MS);
}

int64_t memory_kills(void) { return kills; }
