/* The channel over vsock, where the VMM has no named ports: we call the host, and call again when it has hung up. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const int64_t HOST_WAIT = 20LL * 1000000000;
enum { PAUSE_MS = 50 };

unsigned vsock_port(void)
{
    static const char word[] = "monocore.vsock=";
    char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = 0;
    char *found = strstr(line, word);
    return found ? (unsigned)strtoul(found + sizeof word - 1, NULL, 10) : 0;
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

void vsock_again(int timer, bool on)
{
    struct itimerspec t = {.it_value.tv_nsec = on ? PAUSE_MS * 1000000L : 0, .it_interval.tv_nsec = on ? PAUSE_MS * 1000000L : 0};
    timerfd_settime(timer, 0, &t, NULL);
}
