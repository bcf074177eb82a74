/* Beginning, loop and end. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TAG_CHANNEL = 1, TAG_LISTENER = 2, TAG_SIGNAL = 3, TAG_TIMER = 5, TAG_AGAIN = 6, TAG_MEMORY = 7 };
enum { SETTLE_MS = 2000 }; /* after SIGKILL, and for the goodbye to leave */

bool test_mode, is_set_up, is_tied;
int64_t started_ns, listening_ns;

static enum { RUNNING, TERMINATING, KILLING, LEAVING } phase;
static int timer = -1;
static unsigned vsock; /* port of the host's that the channel calls, or 0 */
static int again = -1;  /* timer while there is no channel */
static bool calling;
static int tries;

int64_t now_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void power_off(void)
{
    if (test_mode)
        exit(0);
    if (phase != LEAVING)
        root_finish();
    reboot(RB_AUTOBOOT); /* ends the machine: monitors are told not to start it again */
    for (;;)
        pause();
}

void state_tied(void)
{
    if (is_tied || test_mode)
        power_off();
}

static void set_timer(int64_t ms)
{
    struct itimerspec t = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 + 1}};
    timerfd_settime(timer, 0, &t, NULL);
}

/* ---- shutting down: terminate, kill, sync, leave ---- */

void shutdown_begin(int64_t grace_ms)
{
    if (phase != RUNNING)
        return;
    phase = TERMINATING;
    if (freeze_held())
        freeze_release();
    ops_signal_all(SIGTERM);
    ops_signal_all(SIGCONT);
    set_timer(grace_ms < 0 ? 0 : grace_ms > 3600000 ? 3600000 : grace_ms);
}

static bool children_left(void)
{
    siginfo_t info = {.si_pid = 0};
    if (test_mode)
        return ops_alive();
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void shutdown_work(bool timed_out)
{
    if (phase == TERMINATING && timed_out) {
        phase = KILLING;
        ops_signal_all(SIGKILL);
        set_timer(SETTLE_MS);
        timed_out = false;
    }
    if ((phase == TERMINATING || phase == KILLING) && (timed_out || !children_left())) {
        phase = LEAVING;
        if (!test_mode)
            root_finish();
        out_frame(K_GOODBYE, 0, 0, NULL, 0);
        set_timer(SETTLE_MS);
        timed_out = false;
    }
    if (phase == LEAVING && (timed_out || channel_flushed()))
        power_off();
}

/* ---- requests ---- */

static bool setup_tried; /* once, whatever becomes of it */

static int do_setup(uint32_t id, struct span body, struct fault *f)
{
    static struct setup setup; /* zeroed as nobody else's is: it is large, and the pages of it that nothing is written to are never had */
    int64_t began = now_ns();
    if (setup_tried)
        return fail(f, F_STATE, 0, "the guest was set up already");
    setup_tried = true;
    if (setup_parse(body, &setup, f) < 0 || (!test_mode && setup_run(&setup, f) < 0))
        return -1;
    is_set_up = true;
    is_tied = setup.tied;
    struct body b = {.size = 0};
    body_number(&b, 1, now_ns() - began);
    send_done(id, &b);
    return 0;
}

static int64_t only_number(struct span body)
{
    uint16_t tag;
    struct span value;
    int64_t n = -1;
    struct fault f = {.code = 0};
    while (field_next(&body, &tag, &value) > 0)
        if (tag != 1 || field_number(value, &n, &f) < 0)
            return -1;
    return n;
}

static int do_time(uint32_t id, struct span body, struct fault *f)
{
    if (time_set(only_number(body), f) < 0)
        return -1;
    send_done(id, NULL);
    return 0;
}

static int do_stats(uint32_t id)
{
    struct body b = {.size = 0};
    stats_body(&b);
    send_done(id, &b);
    return 0;
}

static int do_hold(uint32_t id, struct fault *f)
{
    if (test_mode || !is_set_up)
        return fail(f, F_STATE, 0, "the guest is not set up");
    if (freeze_hold(f) < 0)
        return -1;
    send_done(id, NULL);
    return 0;
}

static int do_release(uint32_t id, struct span body, struct fault *f)
{
    if (test_mode || !is_set_up)
        return fail(f, F_STATE, 0, "the guest is not set up");
    if (renew_guest(body, f) < 0)
        return -1;
    send_done(id, NULL);
    return 0;
}

static int carry_out(uint8_t kind, uint32_t id, struct span body, struct fault *f)
{
    if (op_check_id(id, f) < 0)
        return -1;
    bool needs_root = kind == K_SPAWN || kind == K_READ_ARCHIVE || kind == K_WRITE_ARCHIVE || kind == K_DIAL ||
                      kind == K_FILE || kind == K_READ_CHANGES;
    /* of the boot disk, which has the agent alone; not where a SETUP has failed, whose root may be there */
    bool rehearses = kind == K_SPAWN && !setup_tried && renew_template();
    if (needs_root && !is_set_up && !rehearses)
        return fail(f, F_STATE, 0, "the guest is not set up");
    if (phase != RUNNING && needs_root)
        return fail(f, F_STATE, 0, "the guest is shutting down");
    switch (kind) {
    case K_SETUP:
        return do_setup(id, body, f);
    case K_SPAWN:
        return op_spawn(id, body, f);
    case K_READ_ARCHIVE:
        return op_archive(id, OP_READ, body, f);
    case K_WRITE_ARCHIVE:
        return op_archive(id, OP_WRITE, body, f);
    case K_FILE:
        return op_file(id, body, f);
    case K_HOLD:
        return do_hold(id, f);
    case K_RELEASE:
        return do_release(id, body, f);
    case K_READ_CHANGES:
        return op_changes(id, body, f);
    case K_DIAL:
        return op_dial(id, body, f);
    case K_STATS:
        return do_stats(id);
    case K_SET_TIME:
        return do_time(id, body, f);
    case K_REHEARSE:
        if ((!is_set_up ? rehearse(f) : body.size ? warm(body, f) : standby_make(f)) < 0)
            return -1;
        send_done(id, NULL);
        return 0;
    default:
        return fail(f, F_INVALID, 0, "request %u is unknown", kind);
    }
}

void request(uint8_t kind, uint32_t id, struct span body)
{
    struct fault f = {.code = 0};
    if (kind == K_SHUTDOWN) {
        shutdown_begin(only_number(body));
        return;
    }
    if (carry_out(kind, id, body, &f) < 0)
        send_fault(id, &f);
}

/* ---- the loop ---- */

static void watch(int epoll, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void call_again(void)
{
    uint64_t count;
    int fd;
    if (read(again, &count, sizeof count) <= 0 || !calling)
        return;
    if ((fd = vsock_call(vsock)) < 0) {
        vsock_again(again, ++tries);
        return;
    }
    calling = false;
    channel_connected(fd);
}

static bool handle(const struct epoll_event *event, int signals)
{
    uint64_t tag = event->data.u64, count;
    struct signalfd_siginfo info;
    switch (tag) {
    case TAG_CHANNEL:
        channel_event(event->events);
        return false;
    case TAG_LISTENER:
        channel_accept();
        return false;
    case TAG_SIGNAL:
        while (read(signals, &info, sizeof info) > 0) {
        }
        ops_reap();
        return false;
    case TAG_TIMER:
        return read(timer, &count, sizeof count) > 0;
    case TAG_AGAIN:
        call_again();
        return false;
    case TAG_MEMORY:
        memory_look();
        return false;
    default:
        ops_event(tag, event->events);
        return false;
    }
}

static _Noreturn void loop(int epoll, int signals)
{
    bool busy = true;
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, busy ? 0 : channel_patience());
        bool timed_out = false;
        for (int i = 0; i < count; i++)
            timed_out |= handle(&events[i], signals);
        busy = channel_work();
        busy |= ops_work();
        busy |= channel_work();
        freeze_work();
        if (vsock && !calling && channel_lost()) {
            calling = true;
            tries = 0;
            vsock_again(again, tries);
        }
        if (phase != RUNNING)
            shutdown_work(timed_out);
    }
}

static int block_signals(void)
{
    sigset_t all, child;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void die(const char *what)
{
    fprintf(stderr, "monocore-agent: %s: %s\n", what, strerror(errno));
    if (test_mode)
        exit(1);
    power_off();
}

int main(int argc, char **argv)
{
    started_ns = now_ns();
    int fd = -1, listening = 0;
    socklen_t size = sizeof listening;
    if (argc == 3 && !strcmp(argv[1], "--fd")) {
        test_mode = true;
        fd = atoi(argv[2]);
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    } else if (getpid() != 1) {
        fprintf(stderr, "monocore-agent runs as PID 1 of a virtual machine, or as --fd N in tests\n");
        return 2;
    }
    int signals = block_signals();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!test_mode) {
        char path[300];
        boot_mounts();
        root_prepare();
        net_prepare();
        renew_prepare();
        vsock = vsock_port();
        fd = vsock ? vsock_open(vsock) : port_open("monocore.agent", path, sizeof path);
        if (fd < 0)
            die(vsock ? "the host does not answer" : "no port named monocore.agent");
    } else {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    if (signals < 0 || epoll < 0 || timer < 0)
        die("cannot start");
    ops_start(epoll);
    watch(epoll, signals, TAG_SIGNAL);
    watch(epoll, timer, TAG_TIMER);
    memory_start(epoll, TAG_MEMORY);
    if (vsock) {
        again = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        watch(epoll, again, TAG_AGAIN);
    }
    channel_start(epoll, fd, listening ? CHANNEL_LISTENER : vsock || test_mode ? CHANNEL_SOCKET : CHANNEL_PORT);
    listening_ns = now_ns();
    loop(epoll, signals);
}
