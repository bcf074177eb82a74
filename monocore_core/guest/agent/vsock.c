/* The channel over vsock, where the VMM has no named ports: we call the host, and call again when it has hung up. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const int64_t HOST_WAIT = 20LL * 1000000000;
enum { PAUSE_MS = 50, MOST_PAUSE_MS = 1000 };

bool kernel_word(const char *name, char *value, size_t size)
{
    char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = 0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        word += *word == '"'; /* libkrun quotes what it takes for an environment */
        if (strncmp(word, name, strlen(name)) == 0 && word[strlen(name)] == '=') {
            snprintf(value, size, "%s", word + strlen(name) + 1);
            value[strcspn(value, "\"")] = 0;
            return true;
        }
    }
    return false;
}

unsigned vsock_port(void)
{
    char value[16];
    return kernel_word("monocore.vsock", value, sizeof value) ? (unsigned)strtoul(value, NULL, 10) : 0;
}

int vsock_call(unsigned port)
{
    struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&host, sizeof host) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

int vsock_open(unsigned port)
{
    int64_t deadline = now_ns() + HOST_WAIT;
    int fd;
    while ((fd = vsock_call(port)) < 0 && now_ns() < deadline)
        poll(NULL, 0, PAUSE_MS); /* nothing tells when the host listens */
    return fd;
}

void vsock_again(int timer, int tries)
{
    int64_t ms = tries < 5 ? PAUSE_MS << tries : MOST_PAUSE_MS;
    struct itimerspec t = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};
    timerfd_settime(timer, 0, &t, NULL);
}
