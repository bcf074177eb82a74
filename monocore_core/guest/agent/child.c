/* A process's specification, and what its child does between fork and exec. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int add_word(char ***words, size_t *count, struct span value, struct fault *f)
{
    if (*count >= MAX_WORDS)
        return fail(f, F_LIMIT, 0, "more than %d words of command line or environment", MAX_WORDS);
    if (value.size && memchr(value.data, 0, value.size))
        return fail(f, F_INVALID, 0, "a word contains a NUL");
    if (!(*count & (*count + 1)) || !*words) { /* grow at 0, 1, 3, 7 … */
        char **grown = realloc(*words, (2 * (*count + 1) + 1) * sizeof **words);
        if (!grown)
            return fail(f, F_SYSTEM, ENOMEM, "the command line");
        *words = grown;
    }
    char *word = malloc(value.size + 1);
    if (!word)
        return fail(f, F_SYSTEM, ENOMEM, "the command line");
    memcpy(word, value.data, value.size);
    word[value.size] = 0;
    (*words)[(*count)++] = word;
    (*words)[*count] = NULL;
    return 0;
}

static int add_limit(struct spec *spec, struct span body, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int64_t numbers[3] = {-1, -1, -1};
    while (field_next(&body, &tag, &value) > 0)
        if (tag < 1 || tag > 3 || field_number(value, &numbers[tag - 1], f) < 0)
            return fail(f, F_INVALID, 0, "a limit is malformed");
    if (numbers[0] < 0 || numbers[0] > 15 || spec->limit_count == MAX_LIMITS)
        return fail(f, F_INVALID, 0, "limit %lld is unknown, or there are too many", (long long)numbers[0]);
    spec->limits[spec->limit_count++] = (struct limit){(int)numbers[0], (uint64_t)numbers[1], (uint64_t)numbers[2]};
    return 0;
}

static int spec_field(struct spec *spec, uint16_t tag, struct span value, struct fault *f)
{
    int64_t n = 0;
    switch (tag) {
    case 1:
        return add_word(&spec->argv, &spec->argc, value, f);
    case 2:
        return add_word(&spec->env, &spec->envc, value, f);
    case 3:
        return field_text(value, spec->cwd, sizeof spec->cwd, f);
    case 4:
        return field_text(value, spec->user, sizeof spec->user, f);
    case 5:
        if (value.size != 4)
            return fail(f, F_INVALID, 0, "a terminal's size is malformed");
        spec->terminal = true;
        spec->rows = get16(value.data);
        spec->columns = get16(value.data + 2);
        return 0;
    case 6:
        if (field_number(value, &n, f) < 0)
            return -1;
        spec->stdin_wanted = n != 0;
        return 0;
    case 7:
        return add_limit(spec, value, f);
    case 8:
        if (field_number(value, &n, f) < 0)
            return -1;
        spec->keep = n != 0;
        return 0;
    case 9:
        return field_text(value, spec->label, sizeof spec->label, f);
    default:
        return fail(f, F_INVALID, 0, "field %u of a process is unknown", tag);
    }
}

int spec_parse(struct span body, struct spec *spec, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (spec_field(spec, tag, value, f) < 0)
            return -1;
    if (more < 0)
        return fail(f, F_INVALID, 0, "a process's fields are malformed");
    if (!spec->argc || !spec->argv[0][0])
        return fail(f, F_INVALID, 0, "a process has no command");
    if (spec->cwd[0] && spec->cwd[0] != '/')
        return fail(f, F_INVALID, 0, "working directory '%.100s' is not absolute", spec->cwd);
    return 0;
}

void spec_free(struct spec *spec)
{
    for (size_t i = 0; i < spec->argc; i++)
        free(spec->argv[i]);
    for (size_t i = 0; i < spec->envc; i++)
        free(spec->env[i]);
    free(spec->argv);
    free(spec->env);
}

static int set_descriptors(const int fds[3], bool terminal)
{
    int high[3];
    for (int i = 0; i < 3; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10)) < 0)
            return -1;
    for (int i = 0; i < 3; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    return terminal ? ioctl(0, TIOCSCTTY, 0) : 0;
}

static void reset_signals(void)
{
    sigset_t none;
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void reset_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "0", 1);
        close(fd);
    }
}

static int enter_folder(const char *path, struct fault *f)
{
    char part[PATH_MAX];
    if (chdir(path) == 0)
        return 0;
    if (errno != ENOENT)
        return fail(f, F_SYSTEM, errno, "working directory '%.200s'", path);
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(part, 0755);
            *p = '/';
        }
    mkdir(part, 0755);
    return chdir(path) == 0 ? 0 : fail(f, F_SYSTEM, errno, "working directory '%.200s'", path);
}

static int become(const struct user *user, struct fault *f)
{
    if (test_mode && geteuid() != 0)
        return 0;
    /* what it is already is not asked for: the kernel's answer takes milliseconds where its code is still to be translated */
    bool grouped = user->group_count || getgroups(0, NULL) != 0;
    if ((grouped && setgroups(user->group_count, user->groups) < 0) || (user->gid != getegid() && setgid(user->gid) < 0) ||
        (user->uid != geteuid() && setuid(user->uid) < 0))
        return fail(f, F_SYSTEM, errno, "cannot become user %u, group %u", user->uid, user->gid);
    return 0;
}

static int set_limits(const struct spec *spec, struct fault *f)
{
    for (size_t i = 0; i < spec->limit_count; i++) {
        const struct limit *l = &spec->limits[i];
        struct rlimit value = {.rlim_cur = (rlim_t)l->soft, .rlim_max = (rlim_t)l->hard};
        if (syscall(SYS_prlimit64, 0, l->resource, &value, NULL) < 0)
            return fail(f, F_SYSTEM, errno, "resource limit %d", l->resource);
    }
    return 0;
}

static const char *lookup_env(char **env, const char *name)
{
    size_t size = strlen(name);
    for (; env && *env; env++)
        if (!strncmp(*env, name, size) && (*env)[size] == '=')
            return *env + size + 1;
    return NULL;
}

/* The environment with HOME. */
static char **with_home(const struct spec *spec, const struct user *user)
{
    static char home[sizeof user->home + 8];
    char **env = calloc(spec->envc + 2, sizeof *env);
    if (!env)
        _exit(126);
    if (spec->envc)
        memcpy(env, spec->env, spec->envc * sizeof *env);
    const char *given = lookup_env(env, "HOME");
    if (!given) {
        snprintf(home, sizeof home, "HOME=%s", user->home);
        env[spec->envc] = home;
    }
    return env;
}

const char *search_path(char **env)
{
    const char *path = lookup_env(env, "PATH");
    return path && *path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

bool search_next(const char **rest, const char *name, char *full, size_t size)
{
    while (*rest) {
        const char *folder = *rest;
        size_t length = strcspn(folder, ":");
        *rest = folder[length] ? folder + length + 1 : NULL;
        if (snprintf(full, size, "%.*s/%s", length ? (int)length : 1, length ? folder : ".", name) < (int)size)
            return true;
    }
    return false;
}

/* Run the command; on return nothing could be run, and errno says why. */
static void execute(char **argv, char **env)
{
    const char *name = argv[0];
    if (strchr(name, '/')) {
        execve(name, argv, env);
        return;
    }
    char full[PATH_MAX];
    int best = ENOENT;
    for (const char *rest = search_path(env); search_next(&rest, name, full, sizeof full);) {
        execve(full, argv, env);
        if (errno == EACCES) {
            struct stat st;
            if (stat(full, &st) == 0 && !S_ISDIR(st.st_mode))
                best = EACCES;
        } else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
            return;
        }
    }
    errno = best;
}

static void exec_fault(const char *name, struct fault *f)
{
    struct stat st;
    int err = errno;
    if (err != ENOENT && err != ENOTDIR) {
        bool folder = strchr(name, '/') && stat(name, &st) == 0 && S_ISDIR(st.st_mode);
        bool system = err == ENOMEM || err == E2BIG || err == EAGAIN || err == EIO;
        fail(f, system ? F_SYSTEM : F_NOT_EXECUTABLE, folder ? EISDIR : err, "cannot run '%.200s'", name);
    } else if (strchr(name, '/')) {
        bool there = lstat(name, &st) == 0;
        fail(f, F_NO_COMMAND, 0, there ? "the interpreter of command '%.200s' does not exist in the image"
                                       : "command '%.200s' does not exist in the image", name);
    } else {
        fail(f, F_NO_COMMAND, 0, "command '%.200s' was not found in PATH", name);
    }
}

int child_begin(const int fds[3], bool terminal, struct fault *f)
{
    setsid();
    if (set_descriptors(fds, terminal) < 0)
        return fail(f, F_SYSTEM, errno, "cannot set descriptors up");
    reset_oom();
    umask(022);
    reset_signals();
    return 0;
}

static int prepare(const struct spec *spec, struct user *user, struct fault *f)
{
    if (user_find(spec->user, user, f) < 0)
        return -1;
    if (spec->terminal)
        (void)!fchown(0, user->uid, (gid_t)-1);
    if (set_limits(spec, f) < 0 || enter_folder(spec->cwd[0] ? spec->cwd : "/", f) < 0)
        return -1;
    return become(user, f);
}

void child_become(const struct spec *spec, struct fault *f)
{
    struct user user;
    if (prepare(spec, &user, f) < 0)
        return;
    char **env = with_home(spec, &user);
    execute(spec->argv, env);
    exec_fault(spec->argv[0], f);
}

void child_failed(int report, const struct fault *f)
{
    signal(SIGPIPE, SIG_IGN);
    (void)!write(report, f, sizeof *f);
    _exit(127);
}

void child_run(const struct spec *spec, const int fds[3], int report)
{
    struct fault f = {.code = 0};
    int pipe = fcntl(report, F_DUPFD_CLOEXEC, 20);
    if (pipe < 0)
        _exit(126);
    if (child_begin(fds, spec->terminal, &f) == 0)
        child_become(spec, &f);
    child_failed(pipe, &f);
}
