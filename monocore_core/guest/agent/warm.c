/* What a program reads before its first instruction of its own: read before anybody asks for it, so that the kernel has it in memory. Nothing of it
 * is run. The image's files are anybody's: they are read by a child, each to a bound, and what makes no sense ends the looking. */
#include "agent.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_OF_FILE = 4 * 1024 * 1024, MOST_FILES = 24, MOST_SEGMENTS = 64, MOST_ENTRIES = 256 };

static int files_left = MOST_FILES;

/* A regular file, whose beginning the kernel reads meanwhile; or -1. */
static int open_warm(const char *path)
{
    struct stat st;
    if (files_left <= 0 || stat(path, &st) < 0 || !S_ISREG(st.st_mode)) /* a device may do something when it is opened */
        return -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    files_left--;
    readahead(fd, 0, MOST_OF_FILE);
    return fd;
}

static bool warm_file(const char *path)
{
    int fd = open_warm(path);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool read_at(int fd, void *data, size_t size, uint64_t offset)
{
    return offset < INT64_MAX && pread(fd, data, size, (off_t)offset) == (ssize_t)size;
}

struct segments {
    Elf64_Phdr all[MOST_SEGMENTS];
    size_t count;
};

static bool read_segments(int fd, struct segments *s)
{
    Elf64_Ehdr head;
    if (!read_at(fd, &head, sizeof head, 0) || memcmp(head.e_ident, ELFMAG, SELFMAG) ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof s->all[0] || head.e_phnum > MOST_SEGMENTS)
        return false;
    s->count = head.e_phnum;
    return read_at(fd, s->all, s->count * sizeof s->all[0], head.e_phoff);
}

static const Elf64_Phdr *segment_of(const struct segments *s, uint32_t type)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->all[i].p_type == type)
            return &s->all[i];
    return NULL;
}

/* Where in the file an address is, or 0. */
static uint64_t place_of(const struct segments *s, uint64_t address)
{
    for (size_t i = 0; i < s->count; i++) {
        const Elf64_Phdr *p = &s->all[i];
        if (p->p_type == PT_LOAD && address >= p->p_vaddr && address - p->p_vaddr < p->p_filesz)
            return address - p->p_vaddr + p->p_offset;
    }
    return 0;
}

/* A text within the file, terminated. */
static bool read_name(int fd, uint64_t offset, char *name, size_t size)
{
    ssize_t n = offset < INT64_MAX ? pread(fd, name, size - 1, (off_t)offset) : -1;
    name[n > 0 ? n : 0] = 0;
    return n > 0 && name[0];
}

/* The libraries that a program is linked to: beside its interpreter, or where people install their own. */
static void warm_libraries(int fd, const struct segments *s, const char *folder)
{
    Elf64_Dyn entries[MOST_ENTRIES];
    const Elf64_Phdr *dynamic = segment_of(s, PT_DYNAMIC);
    size_t count = dynamic ? dynamic->p_filesz / sizeof entries[0] : 0;
    uint64_t strings = 0;
    if (count > MOST_ENTRIES)
        count = MOST_ENTRIES;
    if (!count || !read_at(fd, entries, count * sizeof entries[0], dynamic->p_offset))
        return;
    for (size_t i = 0; i < count; i++)
        if (entries[i].d_tag == DT_STRTAB)
            strings = place_of(s, entries[i].d_un.d_ptr);
    for (size_t i = 0; strings && i < count; i++) {
        char name[256], path[PATH_MAX + sizeof name];
        if (entries[i].d_tag != DT_NEEDED || !read_name(fd, strings + entries[i].d_un.d_val, name, sizeof name) ||
            strchr(name, '/'))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (warm_file(path))
            continue;
        snprintf(path, sizeof path, "/usr/local/lib/%s", name);
        warm_file(path);
    }
}

/* What the kernel loads beside a program, and what that loads. */
static void warm_linked(int fd)
{
    static struct segments segments;
    char interpreter[PATH_MAX], real[PATH_MAX];
    if (!read_segments(fd, &segments))
        return;
    const Elf64_Phdr *named = segment_of(&segments, PT_INTERP);
    if (!named || !read_name(fd, named->p_offset, interpreter, sizeof interpreter) || !warm_file(interpreter))
        return;
    warm_file("/etc/ld.so.cache");
    if (!realpath(interpreter, real))
        return;
    *strrchr(real, '/') = 0;
    warm_libraries(fd, &segments, real);
}

/* A script's program stands in its first line. */
static void warm_script(int fd)
{
    char line[256];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);
    line[n > 0 ? n : 0] = 0;
    if (strncmp(line, "#!", 2))
        return;
    char *path = line + 2 + strspn(line + 2, " \t");
    path[strcspn(path, " \t\r\n")] = 0;
    int program = *path == '/' ? open_warm(path) : -1;
    if (program >= 0)
        warm_linked(program);
}

static void warm_program(const struct spec *spec)
{
    struct fault unread = {.code = 0};
    struct user user;
    char path[PATH_MAX];
    user_find(spec->user, &user, &unread);
    for (const char *rest = search_path(spec->env); search_next(&rest, spec->argv[0], path, sizeof path);) {
        int fd = open_warm(path);
        if (fd < 0)
            continue;
        warm_script(fd);
        warm_linked(fd);
        return;
    }
}

int warm(struct span body, struct fault *f)
{
    struct spec spec = {.rows = 24};
    pid_t child = -1;
    int result = spec_parse(body, &spec, f);
    if (result == 0 && (child = fork()) == 0) {
        warm_program(&spec);
        warm_names(spec.env);
        _exit(0);
    }
    if (result == 0 && child < 0)
        result = fail(f, F_SYSTEM, errno, "cannot fork");
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    spec_free(&spec);
    return result;
}
