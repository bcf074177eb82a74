/* Users and groups of the image, from its own /etc/passwd and /etc/group. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 4 * 1024 * 1024 };

/* A whole regular file, terminated; NULL when there is none or it is absurd. */
static char *slurp(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE) {
        close(fd);
        return NULL;
    }
    size_t room = (size_t)st.st_size, size = 0;
    char *text = malloc(room + 1);
    while (text && size < room) {
        ssize_t n = read(fd, text + size, room - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    close(fd);
    if (text)
        text[size] = 0;
    return text;
}

/* Split a line at colons into at most `most` parts; gives their number. */
static size_t split(char *line, char **parts, size_t most)
{
    size_t count = 0;
    while (count < most) {
        parts[count++] = line;
        char *colon = strchr(line, ':');
        if (!colon)
            break;
        *colon = 0;
        line = colon + 1;
    }
    return count;
}

/* A decimal number below 2^32 - 1. */
static bool number(const char *text, uint32_t *value)
{
    uint64_t n = 0;
    if (!*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        n = n * 10 + (uint64_t)(*p - '0');
        if (n >= UINT32_MAX)
            return false;
    }
    *value = (uint32_t)n;
    return true;
}

static bool listed(char *members, const char *name)
{
    size_t size = strlen(name);
    for (char *p = members; p && *p;) {
        char *comma = strchr(p, ',');
        size_t length = comma ? (size_t)(comma - p) : strlen(p);
        if (length == size && !memcmp(p, name, size))
            return true;
        p = comma ? comma + 1 : NULL;
    }
    return false;
}

static bool find_passwd(const char *who, bool by_number, uint32_t uid, struct user *user, char *name, size_t size)
{
    char *text = slurp("/etc/passwd"), *rest = text, *line;
    bool found = false;
    while (!found && rest && (line = strsep(&rest, "\n"))) {
        char *part[7];
        uint32_t u, g;
        if (split(line, part, 7) < 6 || !number(part[2], &u) || !number(part[3], &g))
            continue;
        if (strcmp(part[0], who) && !(by_number && u == uid))
            continue;
        user->uid = u;
        user->gid = g;
        snprintf(user->home, sizeof user->home, "%s", part[5][0] ? part[5] : "/");
        snprintf(name, size, "%s", part[0]);
        found = true;
    }
    free(text);
    return found;
}

static int find_group(const char *group, struct user *user, struct fault *f)
{
    uint32_t gid = 0;
    bool by_number = number(group, &gid), found = by_number;
    char *text = slurp("/etc/group"), *rest = text, *line;
    user->gid = gid;
    while (rest && (line = strsep(&rest, "\n"))) {
        char *part[4];
        uint32_t g;
        if (split(line, part, 4) < 3 || !number(part[2], &g) || strcmp(part[0], group))
            continue;
        user->gid = g;
        found = true;
        break;
    }
    free(text);
    return found ? 0 : fail(f, F_INVALID, 0, "group '%.100s' is not in the image's /etc/group", group);
}

static void find_supplementary(const char *name, struct user *user)
{
    char *text = slurp("/etc/group"), *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n"))) {
        char *part[4];
        uint32_t g;
        if (split(line, part, 4) < 4 || !number(part[2], &g) || !listed(part[3], name))
            continue;
        if (g != user->gid && user->group_count < sizeof user->groups / sizeof user->groups[0])
            user->groups[user->group_count++] = g;
    }
    free(text);
}

int user_find(const char *text, struct user *user, struct fault *f)
{
    char copy[512], name[256] = "";
    snprintf(copy, sizeof copy, "%s", *text ? text : "0");
    char *group = strchr(copy, ':');
    if (group)
        *group++ = 0;
    const char *who = copy[0] ? copy : "0";
    *user = (struct user){.home = "/"};
    uint32_t uid = 0;
    bool by_number = number(who, &uid);
    if (!find_passwd(who, by_number, uid, user, name, sizeof name)) {
        if (!by_number)
            return fail(f, F_INVALID, 0, "user '%.100s' is not in the image's /etc/passwd", who);
        user->uid = uid;
        if (uid == 0)
            snprintf(user->home, sizeof user->home, "/root");
    }
    if (group && *group)
        return find_group(group, user, f);
    if (name[0])
        find_supplementary(name, user);
    return 0;
}
