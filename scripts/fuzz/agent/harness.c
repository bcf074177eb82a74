/* The agent's parsers under a fuzzer: a malicious host's bytes go in over a socket, as in a guest, and through the loop that runs there.
 *
 * The agent is the real one, linked whole. What would reach beyond the process is wrapped by the linker (--wrap): no process begins, none
 * is signalled, no connection leaves. A child that "begins" is a number, and ends when the host's bytes are over.
 *
 * An input is a byte that says how it is read, then
 *   0  bytes as they come after the hello
 *   1  frames: kind, channel, id (one byte), length (two, little-endian), payload; head and trailer are made right. A channel with
 *      bit 6 has the frame come 70 times
 *   2  the body of a SETUP        3  of a SPAWN        4  of a FILE request        5  of a DIAL
 *   6  bytes without a hello before them
 */
#include "main.c" /* as agent_main: see native.py */
#include "ops.c"

#include "file.h"

#include <netinet/in.h>

enum { TOKEN = 0x01020304, HELLO_SIZE = 40, MOST = 96 * 1024 };
enum { RAW, FRAMES, SETUP_BODY, SPAWN_BODY, FILE_BODY, DIAL_BODY, NO_HELLO, WAYS };

/* ---- what the linker puts in the place of calls ---- */

static pid_t next_pid = 1 << 20, reaped = 1 << 20; /* numbers that Linux does not give */
static unsigned pipes;
static bool chatty; /* processes write, and do not read what is sent to them, which does not end it */
static int held[64];
static unsigned held_count;

pid_t __wrap_fork(void);
int __wrap_kill(pid_t pid, int number);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_socket(int family, int type, int protocol);
int __real_pipe2(int fds[2], int flags);
int __wrap_pipe2(int fds[2], int flags);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

pid_t __wrap_fork(void)
{
    if (next_pid % 13 == 0) { /* now and then there is no memory for one */
        next_pid++;
        reaped++;
        errno = EAGAIN;
        return -1;
    }
    return next_pid++;
}

int __wrap_kill(pid_t pid, int number)
{
    (void)pid;
    (void)number;
    return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
    (void)pid;
    (void)options;
    if (reaped >= next_pid)
        return 0;
    *status = reaped % 3 == 0 ? SIGKILL : reaped % 3 == 1 ? 0 : 7 << 8;
    return reaped++;
}

/* Output of the process that would have been, so that there is something to send, keep and acknowledge. */
int __wrap_pipe2(int fds[2], int flags)
{
    static const uint8_t words[3000];
    int result = __real_pipe2(fds, flags);
    if (result < 0 || !chatty)
        return result;
    if (pipes++ % 3 == 0)
        (void)!write(fds[1], words, sizeof words);
    if (held_count < sizeof held / sizeof *held) {
        fcntl(fds[1], F_SETPIPE_SZ, 4096);
        held[held_count++] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
    }
    return result;
}

static int far_end = -1;

int __wrap_socket(int family, int type, int protocol)
{
    int ends[2];
    (void)family;
    (void)protocol;
    if (socketpair(AF_UNIX, type, 0, ends) < 0)
        return -1;
    if (far_end >= 0)
        close(far_end);
    far_end = ends[1];
    (void)!write(far_end, "hello from nowhere", 18);
    return ends[0];
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    const struct sockaddr_in *four = (const void *)address;
    (void)fd;
    (void)size;
    if (address->sa_family == AF_INET && ntohs(four->sin_port) % 4 == 3) {
        errno = ECONNREFUSED;
        return -1;
    }
    return 0;
}

/* ---- a session ---- */

static int loop_fd;

static void turn(void)
{
    struct epoll_event events[64];
    int count = epoll_wait(loop_fd, events, 64, 0);
    for (int i = 0; i < count; i++)
        if (events[i].data.u64 != TAG_TIMER)
            handle(&events[i], -1);
    channel_work();
    ops_work();
    channel_work();
}

static void drain(int fd)
{
    static uint8_t sink[65536];
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
    }
}

static void feed(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
        turn();
        drain(fd);
        if (n < 0 && errno != EAGAIN)
            return;
    }
}

static void hello(int fd)
{
    uint8_t words[HELLO_SIZE] = "\xffMONOCORE-HELLO\n";
    put16(words + 16, VERSION);
    put32(words + 20, TOKEN);
    feed(fd, words, sizeof words);
}

static void frames(int fd, const uint8_t *data, size_t size)
{
    static uint8_t out[HEAD + 65535 + TRAILER];
    while (size >= 5) {
        size_t length = get16(data + 3), have = size - 5;
        if (length > have)
            length = have;
        out[0] = data[0];
        out[1] = data[1] & ~0x40;
        put16(out + 2, (uint16_t)length);
        put32(out + 4, data[2] == 0xff ? last_id + 1 : data[2]);
        memcpy(out + HEAD, data + 5, length);
        put32(out + HEAD + length, TOKEN);
        for (int i = data[1] & 0x40 ? 70 : 1; i; i--)
            feed(fd, out, HEAD + length + TRAILER);
        data += 5 + length;
        size -= 5 + length;
    }
}

static void bodies(int way, const uint8_t *data, size_t size)
{
    static struct setup setup;
    static struct file_request request;
    struct spec spec = {.rows = 24};
    struct fault f = {.code = 0};
    uint8_t *copy = malloc(size + 1); /* of its own, so that reading beyond it is seen */
    struct span body = {memcpy(copy, data, size), size};
    if (way == SETUP_BODY) {
        memset(&setup, 0, sizeof setup);
        setup_parse(body, &setup, &f);
    } else if (way == FILE_BODY) {
        file_parse(body, &request, &f);
    } else if (way == DIAL_BODY) {
        op_dial(last_id + 1, body, &f);
    } else {
        spec_parse(body, &spec, &f);
        spec_free(&spec);
    }
    free(copy);
}

/* As a fresh agent has it. */
static void renew(void)
{
    ops_reap();
    for (int i = 0; i < MAX_OPS; i++)
        if (table[i])
            op_free(table[i]);
    while (held_count)
        close(held[--held_count]);
    last_id = first_slot = 0;
    phase = RUNNING;
    reaped = next_pid = 1 << 20;
    pipes = 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    test_mode = is_set_up = true;
    signal(SIGPIPE, SIG_IGN);
    loop_fd = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    int listener = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    ops_start(loop_fd);
    channel_start(loop_fd, listener, CHANNEL_LISTENER);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];
    if (!size || size > MOST || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return 0;
    int way = data[0] % WAYS;
    chatty = data[0] & 0x80;
    data++;
    size--;
    channel_connected(ends[0]);
    if (way != NO_HELLO)
        hello(ends[1]);
    if (way == RAW || way == NO_HELLO)
        feed(ends[1], data, size);
    else if (way == FRAMES)
        frames(ends[1], data, size);
    else
        bodies(way, data, size);
    turn();
    ops_reap(); /* the processes end */
    for (int i = 0; i < 4; i++)
        turn();
    drain(ends[1]);
    hello(ends[1]); /* the next host finds what is kept */
    turn();
    drain(ends[1]);
    close(ends[1]);
    turn();
    channel_broken();
    renew();
    return 0;
}
