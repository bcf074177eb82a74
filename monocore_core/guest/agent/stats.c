/* Figures from /proc. */
#include "agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static size_t read_small(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t n;
    while (fd >= 0 && have < size - 1 && (n = read(fd, buffer + have, size - 1 - have)) > 0)
        have += (size_t)n;
    if (fd >= 0)
        close(fd);
    buffer[have] = 0;
    return have;
}

/* The number after `name` at the beginning of a line. */
static int64_t value_of(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (!strncmp(p, name, size))
            return strtoll(p + size, NULL, 10);
    return 0;
}

int64_t oom_kills(void)
{
    static char text[16 * 1024];
    read_small("/proc/vmstat", text, sizeof text);
    return value_of(text, "oom_kill ");
}

void stats_body(struct body *b)
{
    char text[4096];
    read_small("/proc/meminfo", text, sizeof text);
    body_number(b, 1, value_of(text, "MemTotal:") * 1024);
    body_number(b, 2, value_of(text, "MemAvailable:") * 1024);
    read_small("/proc/stat", text, sizeof text);
    int64_t ticks = 0, hertz = sysconf(_SC_CLK_TCK);
    char *p = strncmp(text, "cpu ", 4) ? text + strlen(text) : text + 4;
    for (int i = 0; i < 8; i++) {
        int64_t n = strtoll(p, &p, 10);
        if (i != 3 && i != 4) /* idle, iowait */
            ticks += n;
    }
    body_number(b, 3, hertz > 0 ? ticks * (1000000000 / hertz) : 0);
    read_small("/proc/loadavg", text, sizeof text);
    char *end;
    int64_t whole = strtoll(text, &end, 10);
    int64_t part = *end == '.' ? strtoll(end + 1, NULL, 10) : 0;
    body_number(b, 4, whole * 100 + part);
    struct sysinfo info = {.procs = 0};
    sysinfo(&info);
    body_number(b, 5, info.procs);
    struct timespec t = {0};
    clock_gettime(CLOCK_BOOTTIME, &t);
    body_number(b, 6, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
    body_number(b, 7, oom_kills());
}
