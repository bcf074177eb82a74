/* Figures from /proc. */
#include "agent.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int64_t stat_value(const char *text, const char *name)
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
    return stat_value(text, "oom_kill ") + memory_kills();
}

/* The n-th number (from 1) of a line's rest. */
static int64_t column(const char *line, int n)
{
    char *end = (char *)(uintptr_t)line;
    int64_t value = 0;
    while (n--)
        value = strtoll(end, &end, 10);
    return value;
}

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : NULL;
}

/* Whole virtio disks, the boot disk and the image included: "254 0 vda 120 3 5208 …" in sectors of 512 bytes. */
static void disks(struct body *b)
{
    static char text[32 * 1024];
    int64_t sectors[2] = {0, 0};
    read_small("/proc/diskstats", text, sizeof text);
    for (const char *line = text; line; line = next_line(line)) {
        char name[32];
        int used = 0;
        if (sscanf(line, "%*d %*d %31s%n", name, &used) != 1 || !used || strncmp(name, "vd", 2))
            continue;
        if (isdigit((unsigned char)name[strlen(name) - 1])) /* a partition */
            continue;
        sectors[0] += column(line + used, 3);
        sectors[1] += column(line + used, 7);
    }
    body_number(b, 8, sectors[0] * 512);
    body_number(b, 9, sectors[1] * 512);
}

/* Interfaces that the VMM gave, not those which the sandbox made on top: "  eth0: bytes packets …", sending from column 9. */
static void network(struct body *b)
{
    static char text[32 * 1024];
    static const int columns[4] = {1, 2, 9, 10};
    int64_t sums[4] = {0, 0, 0, 0};
    read_small("/proc/net/dev", text, sizeof text);
    for (const char *line = text; line; line = next_line(line)) {
        const char *name = line + strspn(line, " "), *colon = strchr(name, ':');
        if (!colon || strncmp(name, "eth", 3))
            continue;
        for (int i = 0; i < 4; i++)
            sums[i] += column(colon + 1, columns[i]);
    }
    for (int i = 0; i < 4; i++)
        body_number(b, (uint16_t)(10 + i), sums[i]);
}

static int64_t processes(void)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    int64_t count = 0;
    while (folder && count < 100000 && (entry = readdir(folder)))
        count += isdigit((unsigned char)entry->d_name[0]) != 0;
    if (folder)
        closedir(folder);
    return count;
}

static void memory(struct body *b)
{
    char text[4096];
    read_small("/proc/meminfo", text, sizeof text);
    body_number(b, 1, stat_value(text, "MemTotal:") * 1024);
    body_number(b, 2, stat_value(text, "MemAvailable:") * 1024);
    body_number(b, 15, stat_value(text, "MemFree:") * 1024);
    body_number(b, 16, (stat_value(text, "Cached:") + stat_value(text, "Buffers:")) * 1024);
    body_number(b, 17, stat_value(text, "AnonPages:") * 1024);
    body_number(b, 18, stat_value(text, "Shmem:") * 1024);
}

void stats_body(struct body *b)
{
    char text[4096];
    memory(b);
    disks(b);
    network(b);
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
    body_number(b, 5, processes());
    const char *slash = strchr(text, '/'); /* "0.00 0.01 0.05 1/87 1234" */
    body_number(b, 14, slash ? strtoll(slash + 1, NULL, 10) : 0);
    struct timespec t = {0};
    clock_gettime(CLOCK_BOOTTIME, &t);
    body_number(b, 6, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
    body_number(b, 7, oom_kills());
}
