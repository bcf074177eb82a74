/* The monocore guest agent: PID 1 of a microVM. One thread, one epoll loop; docs/guest-protocol.md is what it speaks. */
#ifndef MONOCORE_AGENT_H
#define MONOCORE_AGENT_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { VERSION = 2 };

/* Kinds of frames. */
enum {
    K_SETUP = 0x10, K_SPAWN, K_SIGNAL, K_RESIZE, K_READ_ARCHIVE, K_WRITE_ARCHIVE, K_STATS, K_SET_TIME, K_SHUTDOWN, K_CLOSE, K_DIAL, K_FILE, K_READ_CHANGES, K_HOLD, K_RELEASE,
    K_REHEARSE,
    K_LAST_REQUEST = K_REHEARSE,
    K_DATA = 0x20, K_END, K_CREDIT,
    K_DONE = 0x40, K_FAILED, K_STARTED, K_EXITED, K_ADOPTED, K_GOODBYE,
};

/* Codes of FAILED. */
enum { F_INVALID = 1, F_NO_COMMAND, F_NOT_EXECUTABLE, F_SYSTEM, F_STATE, F_LIMIT, F_NO_PATH, F_UNREACHABLE, F_DEADLINE, F_EXISTS };

enum {
    MAX_PAYLOAD = 0xffff,
    HEAD = 8,
    TRAILER = 4,
    CHUNK = 32 * 1024,
    WINDOW = 256 * 1024,
    MAX_BODY = 4 * 1024 * 1024,
    MAX_OPS = 1024,
    MAX_WORDS = 64 * 1024,
    MAX_TEXT = 480,
    MAX_LABEL = 64,
    OUT_HIGH = 256 * 1024,   /* no more output is read above */
    OUT_LIMIT = 1024 * 1024, /* no more requests are read above */
};

/* A sentence for the host about why something failed. */
struct fault {
    int code;
    int err;
    char text[MAX_TEXT];
};

/* Set a fault (the first one stays) and give -1. `err` is an errno whose words are appended, or 0. */
int fail(struct fault *f, int code, int err, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- wire.c: fields of bodies, and the queue towards the host ---- */

struct span {
    const uint8_t *data;
    size_t size;
};

/* Take the next field; 1, 0 at the end, -1 when malformed. */
int field_next(struct span *body, uint16_t *tag, struct span *value);
/* A field's number. */
int field_number(struct span value, int64_t *number, struct fault *f);
/* A field's text into `buffer`, terminated; refuses NUL and more than `size` - 1 bytes. */
int field_text(struct span value, char *buffer, size_t size, struct fault *f);

uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
uint64_t get64(const uint8_t *p);
void put16(uint8_t *p, uint16_t v);
void put32(uint8_t *p, uint32_t v);
void put64(uint8_t *p, uint64_t v);

/* A body of number fields, made in place. */
struct body {
    uint8_t data[MAX_TEXT + 128];
    size_t size;
};
void body_number(struct body *b, uint16_t tag, int64_t value);
void body_text(struct body *b, uint16_t tag, const char *text);

void out_reset(uint32_t token);
size_t out_pending(void);
void out_bytes(const void *data, size_t size);
void out_frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size);
/* Room for one data frame's payload of `size` bytes; commit what was put there. */
uint8_t *out_reserve(size_t size);
void out_commit(uint8_t kind, uint8_t channel, uint32_t id, size_t size);
/* Write what the descriptor takes: 1 all, 0 it is full, -1 it is gone. */
int out_flush(int fd);

void send_done(uint32_t id, const struct body *b);
void send_fault(uint32_t id, const struct fault *f);

/* ---- channel.c: the host's end: sessions, frames in ---- */

enum channel_kind { CHANNEL_PORT, CHANNEL_SOCKET, CHANNEL_LISTENER };
void channel_start(int epoll, int fd, enum channel_kind kind);
void channel_connected(int fd); /* in place of the last one */
bool channel_lost(void);        /* there is no connection */
void channel_event(uint32_t events);
void channel_accept(void);
/* Read, write and carry out what is possible; true when something was done. */
bool channel_work(void);
int channel_patience(void); /* milliseconds after which there is work though nothing happened, or -1 */
bool channel_flushed(void);
/* End the session: the host broke the protocol or is gone. */
void channel_broken(void);
bool channel_in_session(void);
void request(uint8_t kind, uint32_t id, struct span body);

/* ---- ops.c: operations: processes, archives, connections ---- */

/* Output of a kept process that the host has not acknowledged: a ring that exists only while it holds something. */
struct kept {
    uint8_t *data;
    size_t room, at, size;
    size_t sent;     /* of `size`, in this session */
    uint64_t offset; /* of the first byte held, counted from the process's start */
};

struct stream {
    int fd; /* -1 closed */
    bool ready;
    bool ended; /* END was sent, or nothing is to be sent */
    uint32_t credit;
    struct kept kept;
};

enum op_kind { OP_PROCESS, OP_READ, OP_WRITE, OP_DIAL };

struct op {
    uint32_t id;
    uint32_t generation;
    enum op_kind kind;
    pid_t pid;
    bool started; /* the program runs */
    bool exited;
    bool released; /* the host wants nothing more */
    bool terminal;
    bool keep; /* output is held until the host acknowledges it */
    char label[MAX_LABEL + 1];
    bool in_done; /* the host sent END */
    int status;
    bool oom;
    int error_fd; /* where the child says what failed; of a connection, the timer until it is made */
    struct fault fault; /* of a connection, its text is where to */
    size_t fault_size;
    struct stream out[2];
    struct stream in;
    uint8_t *pending; /* ring of WINDOW bytes for stdin */
    size_t pending_at, pending_size;
    uint32_t in_credit; /* what the host may send */
    uint32_t in_consumed;
};

void ops_start(int epoll);
void ops_event(uint64_t tag, uint32_t events);
bool ops_work(void);
void ops_reap(void);
void ops_detach(void); /* a session ended */
void ops_adopt(void);  /* a session began: report */
uint32_t ops_next_id(void);
uint32_t ops_count(void);
bool ops_alive(void);
void ops_signal_all(int number);
int op_data(uint32_t id, struct span data); /* -1: the host broke the protocol */
void op_end(uint32_t id);
int op_credit(uint32_t id, uint8_t channel, uint32_t amount);
void op_close(uint32_t id);
void op_signal(uint32_t id, int number, bool group);
void op_resize(uint32_t id, uint16_t rows, uint16_t columns);
int op_spawn(uint32_t id, struct span body, struct fault *f);
int op_archive(uint32_t id, enum op_kind kind, struct span body, struct fault *f);
int op_file(uint32_t id, struct span body, struct fault *f);
int op_changes(uint32_t id, struct span body, struct fault *f);
int op_dial(uint32_t id, struct span body, struct fault *f);
int op_check_id(uint32_t id, struct fault *f);

/* ---- child.c, user.c: what happens between fork and exec ---- */

struct limit {
    int resource;
    uint64_t soft, hard;
};

enum { MAX_LIMITS = 16 };

struct spec {
    char **argv;
    char **env;
    size_t argc, envc;
    char cwd[4096];
    char user[512];
    bool terminal;
    uint16_t rows, columns;
    bool stdin_wanted;
    bool keep;
    char label[MAX_LABEL + 1];
    struct limit limits[MAX_LIMITS];
    size_t limit_count;
};

int spec_parse(struct span body, struct spec *spec, struct fault *f);
void spec_free(struct spec *spec);
/* Becomes the program, or writes a fault to `report` and exits. Descriptors: what becomes 0, 1, 2. */
_Noreturn void child_run(const struct spec *spec, const int fds[3], int report);
/* Its steps: what is the same for every program; the rest, which returns when nothing could be run; the end of that. */
int child_begin(const int fds[3], bool terminal, struct fault *f);
void child_become(const struct spec *spec, struct fault *f);
_Noreturn void child_failed(int report, const struct fault *f);
/* The folders in which a command is looked up that has no slash, and the next path of one in them; false: there is none. */
const char *search_path(char **env);
bool search_next(const char **rest, const char *name, char *full, size_t size);

struct user {
    uid_t uid;
    gid_t gid;
    gid_t groups[64];
    size_t group_count;
    char home[1024];
};
int user_find(const char *text, struct user *user, struct fault *f);

/* ---- setup.c, root.c, files.c, net.c: from a booted kernel to a sandbox ---- */

struct mount_entry {
    bool share;
    bool file; /* the share holds one file, called "file", which is what is mounted */
    bool readonly;
    char tag[64];
    char target[1024];
    int64_t size;
};

enum { MAX_MOUNTS = 64, MAX_ADDRESSES = 16, MAX_SERVERS = 8, MAX_HOSTS = 256 };

struct address {
    uint8_t prefix;
    uint8_t size; /* 4 or 16 */
    uint8_t bytes[16];
};

struct setup {
    char hostname[65];
    bool tied;
    bool share_root, share_writable;
    char root_name[64];
    char root_filesystem[32];
    int upper; /* 0 none, 1 memory, 2 disk */
    int64_t upper_size;
    bool readonly; /* nothing may be written once the sandbox is ready */
    char upper_name[64];
    size_t mount_count;
    bool network;
    uint8_t mac[6];
    int64_t mtu;
    struct address addresses[MAX_ADDRESSES];
    size_t address_count;
    char gateways[2][64];
    size_t gateway_count;
    char servers[MAX_SERVERS][64];
    size_t server_count;
    char search[MAX_SERVERS][256];
    size_t search_count;
    size_t host_count;
    /* Nearly all of it, and last: as much is touched as is used. */
    struct mount_entry mounts[MAX_MOUNTS];
    struct {
        char address[64];
        char name[256];
    } hosts[MAX_HOSTS];
};

/* Entropy and time are applied while parsing: they come first. */
int setup_parse(struct span body, struct setup *setup, struct fault *f);
struct renewal {
    bool other;         /* it is another machine from now on */
    bool held;          /* the processes still stand still when it is that */
    struct setup setup; /* its fields 1, 2, 3 and 11 */
};

int setup_parse_renewal(struct span body, struct renewal *renewal, struct fault *f);
int setup_run(const struct setup *setup, struct fault *f);
bool setup_readonly(void); /* nothing may be written to the root */
void root_prepare(void); /* whatever root it will be */
int root_mount(const struct setup *setup, struct fault *f);
int root_changes(void); /* the folder of the overlay's writable layer, or -1 */
int root_rehearse(struct fault *f); /* mounts what the boot disk has as a sandbox's root, in the caller's own mount namespace */
void root_finish(void); /* leaves the disks clean; nothing can be written afterwards */
int files_write(const struct setup *setup, struct fault *f);
/* As another one: with another name, if it has one, and a machine id of its own, where the `other` sandbox had one. */
int files_renew(const struct setup *setup, bool other, struct fault *f);
void net_prepare(void); /* the loopback */
int net_configure(const struct setup *setup, struct fault *f);
/* As another one: in place of the addresses that it had. */
int net_reconfigure(const struct setup *setup, struct fault *f);
int time_set(int64_t ns, struct fault *f);
/* Mounts that PID 1 needs before anything; opens the port. */
void boot_mounts(void);
int port_open(const char *name, char *path, size_t size);

/* ---- renew.c: templates ---- */

bool renew_template(void); /* this guest is one, or a copy of one */
void renew_prepare(void);  /* for copies, which then need not */
/* Nothing that the kernel's random generator gives from here on follows from what it held before. */
int renew_random(struct span seed, struct fault *f);
int renew_check(struct fault *f); /* a copy must have been renewed */
void renew_rehearse(void);        /* for nothing; it counts for no renewal */

/* What this guest is from here on, from RELEASE's body, and then its processes go on, or wait for the next one. */
int renew_guest(struct span body, struct fault *f);
void renew_clear(void); /* before it, so that its memory is there */

/* ---- rehearse.c: spares ---- */

/* Do once, in a child and for nothing, what SETUP and SPAWN will do: an emulated processor then has translated the code for it. */
int rehearse(struct fault *f);

/* ---- warm.c: what a process, as of SPAWN, reads to begin, in a guest that is set up and waits ---- */

int warm(struct span body, struct fault *f);

/* ---- warm_names.c ---- */

void warm_names(char **env);

/* ---- standby.c: a child that waits in a guest that is set up for the first SPAWN ---- */

int standby_make(struct fault *f); /* a repeat does nothing */

/* ---- freeze.c ---- */

int freeze_hold(struct fault *f); /* every process but the agent; a repeat does nothing */
void freeze_release(void);
/* The same, once what was queued for the host is on its way: it waits for the answer, and they would be quicker. */
void freeze_leave(void);
void freeze_work(void);
bool freeze_held(void);

/* ---- vsock.c ---- */

bool kernel_word(const char *name, char *value, size_t size); /* of the kernel's command line */
unsigned vsock_port(void);           /* that the kernel's command line names, or 0 */
int vsock_open(unsigned port);       /* the first call: waits for the host */
int vsock_call(unsigned port);       /* a further one: does not */
void vsock_again(int timer, int tries); /* wakes the loop once, the later the more tries there were: an idle guest costs little */
/* Wait for a uevent, at most `ms`; false when time is up. */
int uevent_open(void);
bool uevent_wait(int fd, int64_t deadline);
/* Make folders (mkdir -p) below `root`, never leaving it, and open the last one (O_PATH). */
int open_folder(int root, const char *path, mode_t mode);

/* ---- archive_read.c, archive_write.c: helpers in a child ---- */

int archive_read(const void *path, int fd, struct fault *f);
int archive_write(const void *path, int fd, struct fault *f);

/* ---- archive_changes.c: a helper that has the writable layer's folder open ---- */

enum { HELPER_KEPT = 5 };
int archive_changes(const void *unused, int fd, struct fault *f);

/* ---- stats.c ---- */

void stats_body(struct body *b);
int64_t oom_kills(void); /* the kernel's and ours */
int64_t stat_value(const char *text, const char *name); /* the number after `name` at the beginning of a line, or 0 */

/* ---- memory.c ---- */

void memory_start(int epoll, uint64_t tag); /* keeps our own pages; from then on its timer says when to look */
void memory_look(void);
int64_t memory_kills(void);

/* ---- main.c ---- */

extern bool test_mode; /* not PID 1 of a machine: leaves the host alone */
int64_t now_ns(void);
void shutdown_begin(int64_t grace_ms);
void power_off(void) __attribute__((noreturn));
void state_tied(void); /* the channel closed */
extern int64_t started_ns, listening_ns;
extern bool is_set_up, is_tied;

#endif
