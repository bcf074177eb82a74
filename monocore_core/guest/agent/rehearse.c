/* A copy of a template that waits to be used has all of its code still to be translated, where the processor is emulated; and its kernel
 * all of its caches to be filled. So it does once, in a child with namespaces of its own, what every sandbox begins with: mount an image with a
 * writable layer in memory, enter it, write the files of /etc, run a program from there. Of that nothing remains. No socket is made: what the kernel
 * draws at random at first use is still to be drawn when SETUP has renewed its generator. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int mounts_and_files(struct fault *f)
{
    static const struct setup nobody = {.hostname = "rehearsal"};
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0)
        return fail(f, F_SYSTEM, errno, "cannot leave the namespaces for a rehearsal");
    if (root_rehearse(f) < 0)
        return -1;
    if (sethostname(nobody.hostname, strlen(nobody.hostname)) < 0)
        return fail(f, F_SYSTEM, errno, "cannot set a hostname");
    return files_write(&nobody, f);
}

/* The program says that it wants to be PID 1, to nobody. */
static void program(void)
{
    static char name[] = "/init";
    char *argv[] = {name, NULL};
    struct spec spec = {.argv = argv, .argc = 1};
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t child = fork();
    if (child == 0)
        child_run(&spec, (int[3]){fd, fd, fd}, fd);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
}

int rehearse(struct fault *f)
{
    struct fault said = {.code = 0};
    int report[2], status = 0;
    if (is_set_up || !renew_template())
        return fail(f, F_STATE, 0, "only a copy of a template that is not set up rehearses");
    if (test_mode)
        return 0;
    if (pipe(report) < 0)
        return fail(f, F_SYSTEM, errno, "cannot make a pipe");
    pid_t child = fork();
    if (child == 0) {
        renew_rehearse();
        if (mounts_and_files(&said) == 0)
            program();
        (void)!write(report[1], &said, sizeof said);
        _exit(0);
    }
    int err = errno;
    close(report[1]);
    if (child > 0) {
        (void)!read(report[0], &said, sizeof said);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    close(report[0]);
    if (child < 0)
        return fail(f, F_SYSTEM, err, "cannot fork");
    return said.code ? fail(f, said.code, 0, "%s", said.text) : 0;
}
