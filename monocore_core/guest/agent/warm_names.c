/* Whoever starts a program by its name alone has it looked for in one folder after the other, and the kernel remembers what it found there and what it did not. Where
 * the code that looks is still to be translated, a first look costs as much as all that the program does then: so every name that a program
 * has in the image is looked for before anybody asks. The folders are anybody's: as many entries are looked at as an image of some size has. */
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FOLDERS = 16, MOST_NAMES = 1024, MOST_LOOKS = 4096 };

struct places {
    int folders[MOST_FOLDERS]; /* in the order in which they are gone through */
    size_t count;
};

/* A folder that is not among them yet: often one is a link to another. */
static bool is_new(const struct places *p, int folder)
{
    struct stat st, other;
    if (fstat(folder, &st) < 0)
        return false;
    for (size_t i = 0; i < p->count; i++)
        if (fstat(p->folders[i], &other) == 0 && st.st_dev == other.st_dev && st.st_ino == other.st_ino)
            return false;
    return true;
}

static void open_places(struct places *p, char **env)
{
    char path[PATH_MAX];
    for (const char *rest = search_path(env); p->count < MOST_FOLDERS && search_next(&rest, "", path, sizeof path);) {
        int fd = path[0] == '/' ? open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        if (is_new(p, fd))
            p->folders[p->count++] = fd;
        else
            close(fd);
    }
}

/* Where a program would be looked for, until it is found. */
static void look(const struct places *p, const char *name, int *looks)
{
    struct stat st;
    for (size_t i = 0; i < p->count && *looks > 0; i++, --*looks)
        if (fstatat(p->folders[i], name, &st, 0) == 0)
            return;
}

/* What makes no sense is passed over. */
void warm_names(char **env)
{
    struct places p = {.count = 0};
    int names = MOST_NAMES, looks = MOST_LOOKS;
    open_places(&p, env);
    for (size_t i = 0; i < p.count; i++) {
        int fd = dup(p.folders[i]);
        DIR *entries = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        if (!entries)
            break;
        while (names > 0 && looks > 0 && (entry = readdir(entries)))
            if (entry->d_name[0] != '.') {
                names--;
                look(&p, entry->d_name, &looks);
            }
        closedir(entries);
    }
}
