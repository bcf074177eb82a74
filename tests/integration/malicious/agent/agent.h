/* An agent of the guest protocol (docs/guest-protocol.md) that means harm. It is PID 1 of the tests' own boot disk.
 *
 * wire.c   the port, the handshake, frames: right where an attack does not want them wrong
 * main.c   the boot, and what a request is answered with
 * spawn.c  attacks that a command's name asks for
 * serve.c  attacks that the path of a file or an archive, or the number of a port, asks for */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SETUP = 0x10, SPAWN, SIGNAL, RESIZE, READ_ARCHIVE, WRITE_ARCHIVE, STATS, SET_TIME, SHUTDOWN, CLOSE, DIAL, FILES,
    READ_CHANGES, HOLD, RELEASE, DATA = 0x20, END, CREDIT, DONE = 0x40, FAILED, STARTED, EXITED, ADOPTED, GOODBYE
};
enum { WINDOW = 262144, MOST = 65535 };

struct frame {
    uint8_t kind, channel;
    uint16_t length;
    uint32_t id;
    const uint8_t *payload;
};

/* A body of fields that is being written. */
struct body {
    uint8_t data[MOST];
    size_t size;
};

/* ---- wire.c ---- */

extern int port;
extern uint32_t token;     /* of the session */
extern unsigned sessions;  /* how many there were; another number: the one that was is over */
extern uint32_t window_id; /* of the operation whose credit is counted */
extern int64_t window;     /* what may be sent of it on channel 1 */

void port_open(void);
void say(const void *bytes, size_t size);
void frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size);
void raw_frame(uint8_t kind, uint8_t channel, uint32_t id, const void *payload, size_t size, uint32_t trailer);
/* The next frame within so many milliseconds; a hello on the way is answered by greet(). */
bool next_frame(struct frame *into, int ms);
void welcome(const uint8_t *nonce, unsigned version, uint32_t next_id, uint32_t processes);

void field(struct body *body, unsigned tag, const void *value, size_t size);
void field_number(struct body *body, unsigned tag, int64_t value);
void field_text(struct body *body, unsigned tag, const char *value);
/* The value of the first field of that tag as text, "" where there is none. */
const char *text_of(const struct frame *request, unsigned tag);
int64_t number_of(const struct frame *request, unsigned tag);

/* ---- main.c ---- */

extern char mode[64];
bool is(const char *word, const char *name);
void greet(const uint8_t *nonce);
void answer(const struct frame *request);
/* Answer what comes, for as long as the session lasts. */
void serve(void);
/* Answer what has come; false when the session is over. */
bool look(unsigned session);
void started(uint32_t id);
void exited(uint32_t id, int64_t code, int64_t signal);
void done(uint32_t id);
void refused(uint32_t id, int code, const char *text);
void junk(uint8_t *into, size_t size);

/* ---- spawn.c, serve.c ---- */

extern char next_hello[64], next_changes[64], next_stats[64]; /* what a command has said of requests without words */
extern bool deaf;                                             /* to signals */
extern bool held;                                             /* as it says */
extern uint32_t kept_id;                                      /* of the command, and its label */
extern char kept_label[64];
void spawn(const struct frame *request);
void files(const struct frame *request);
void archive(uint32_t id, const char *what);
void dial(const struct frame *request);
void stats(uint32_t id);
/* Send bytes as credit allows; false when nobody wants them any more. */
bool pour(uint32_t id, const void *bytes, size_t size);
