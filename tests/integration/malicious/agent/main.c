/* The boot, and what a request is answered with: what an honest agent would say, unless the mode or the request asks for harm. */
#include "agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

char mode[64];
bool deaf, held;

bool is(const char *word, const char *name) { return !strcmp(word, name); }

void junk(uint8_t *into, size_t size)
{
    static uint32_t state = 0x2545f491;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        into[i] = (uint8_t)state;
    }
}

void done(uint32_t id) { frame(DONE, 0, id, "", 0); }

void started(uint32_t id)
{
    struct body body = {.size = 0};
    field_number(&body, 1, 2);
    frame(STARTED, 0, id, body.data, body.size);
}

void exited(uint32_t id, int64_t code, int64_t signal)
{
    struct body body = {.size = 0};
    field_number(&body, 1, code);
    field_number(&body, 2, signal);
    frame(EXITED, 0, id, body.data, body.size);
    frame(END, 1, id, "", 0);
    frame(END, 2, id, "", 0);
}

void refused(uint32_t id, int code, const char *text)
{
    struct body body = {.size = 0};
    field_number(&body, 1, code);
    field_text(&body, 2, text);
    frame(FAILED, 0, id, body.data, body.size);
}

/* ---- the handshake ---- */

static void adopted(uint32_t id, const void *more, size_t size)
{
    struct body body = {.size = 0};
    field_number(&body, 1, 2);
    field_number(&body, 2, WINDOW);
    field_number(&body, 3, 7);
    memcpy(body.data + body.size, more, size);
    frame(ADOPTED, 0, id, body.data, body.size + size);
}

static void adopted_with(uint32_t id, unsigned tag, int64_t value)
{
    struct body body = {.size = 0};
    field_number(&body, tag, value);
    adopted(id, body.data, body.size);
}

static void reports_wrongly(const char *how, const uint8_t *nonce)
{
    struct body body = {.size = 0};
    uint8_t bytes[200];
    junk(bytes, sizeof bytes);
    welcome(nonce, 2, 100, is(how, "adopted uncounted") ? 0 : 2);
    if (is(how, "adopted id 0"))
        adopted(0, "", 0);
    else if (is(how, "adopted id of the future"))
        adopted(4000000000u, "", 0);
    else if (is(how, "adopted garbage"))
        frame(ADOPTED, 0, 1, bytes, sizeof bytes);
    else if (is(how, "adopted cut off"))
        frame(ADOPTED, 0, 1, "\1\0\xff\xff\xff\xff", 6);
    else if (is(how, "adopted credit"))
        adopted_with(1, 2, INT64_MAX);
    else if (is(how, "adopted offset")) {
        field_number(&body, 5, INT64_MIN);
        field_number(&body, 6, 0);
        adopted(1, body.data, body.size);
    } else if (is(how, "adopted label")) {
        field(&body, 4, bytes, sizeof bytes);
        adopted(1, body.data, body.size);
    } else if (is(how, "adopted uncounted"))
        adopted(1, "", 0);
    else if (is(how, "adopted and refused")) {
        adopted(1, "", 0);
        adopted(2, "", 0);
        refused(1, 7, "it was never there");
        refused(2, 2, "nor was this");
    } else if (is(how, "adopted twice")) {
        adopted(1, "", 0);
        adopted(1, "", 0);
    }
}

/* A daemon that comes back looks for the command. */
static void returns(const char *how, const uint8_t *nonce)
{
    struct body body = {.size = 0};
    int64_t offset = is(how, "far") ? INT64_MAX : 0;
    if (is(how, "silent"))
        return;
    welcome(nonce, 2, kept_id + 1, !is(how, "alone"));
    if (is(how, "alone"))
        return;
    field_text(&body, 4, kept_label);
    field_number(&body, 5, offset);
    field_number(&body, 6, offset);
    adopted(kept_id, body.data, body.size);
    frame(DATA, 1, kept_id, "from far away\n", 14);
}

void greet(const uint8_t *nonce)
{
    char how[64];
    uint8_t noise[4096];
    strcpy(how, *next_hello ? next_hello : mode);
    *next_hello = 0;
    if (is(how, "silent"))
        return;
    if (is(how, "noise")) {
        for (int n = 0; n < 6000; n++) { /* more than 16 MiB, and welcomes of other sessions in it; then we are ourselves again */
            junk(noise, sizeof noise);
            say(noise, sizeof noise);
            welcome(noise, 2, 1, 0);
        }
        return;
    }
    if (is(how, "other version"))
        welcome(nonce, 77, 1, 0);
    else if (is(how, "countless"))
        welcome(nonce, 2, 1, UINT32_MAX);
    else if (is(how, "three and none"))
        welcome(nonce, 2, 10, 3);
    else if (is(how, "last id"))
        welcome(nonce, 2, UINT32_MAX, 0);
    else if (kept_id && !strncmp(mode, "returns ", 8))
        returns(mode + 8, nonce);
    else if (!strncmp(how, "adopted", 7))
        reports_wrongly(how, nonce);
    else
        welcome(nonce, 2, sessions == 1 ? 1 : 100000 * sessions, 0);
    if (is(how, "goodbye"))
        frame(GOODBYE, 0, 0, "", 0);
}

/* ---- requests ---- */

static void refuse_colourfully(uint32_t id)
{
    static struct body body;
    char text[60000];
    static const char *parts[] = {"\033]0;owned\007", "\033[2J\033[1;1H", "\r", "\xc2\x9b" "31m", "\xe2\x80\xae", "\n", "\xff\xfe", "a"};
    size_t size = 0;
    for (unsigned n = 0; size + 16 < sizeof text; n++) {
        strcpy(text + size, parts[n % 8]);
        size += strlen(parts[n % 8]);
    }
    body.size = 0;
    field_number(&body, 1, 4);
    field(&body, 2, text, size);
    frame(FAILED, 0, id, body.data, body.size);
}

static void setup(uint32_t id)
{
    if (is(mode, "setup never"))
        return;
    if (is(mode, "setup refused"))
        refuse_colourfully(id);
    else
        done(id);
    if (is(mode, "setup twice"))
        done(id);
}

void answer(const struct frame *request)
{
    uint32_t id = request->id;
    switch (request->kind) {
    case SETUP:
        setup(id);
        break;
    case SPAWN:
        spawn(request);
        break;
    case SIGNAL:
        if (!deaf)
            exited(id, 137, 9);
        break;
    case STATS:
        stats(id);
        break;
    case SET_TIME:
        if (!is(mode, "returns late"))
            done(id);
        break;
    case HOLD:
        if (is(mode, "hold never"))
            break;
        held = true;
        done(id);
        break;
    case RELEASE:
        if (!is(mode, "returns held")) {
            held = false;
            done(id);
        }
        break;
    case SHUTDOWN:
        if (deaf)
            break;
        frame(GOODBYE, 0, 0, "", 0);
        usleep(100000);
        reboot(RB_AUTOBOOT);
        break;
    case DIAL:
        dial(request);
        break;
    case FILES:
        files(request);
        break;
    case READ_ARCHIVE:
        archive(id, text_of(request, 1));
        break;
    case READ_CHANGES:
        archive(id, next_changes);
        break;
    case CLOSE:
        if (id == window_id)
            window_id = 0;
        break;
    default: /* data and credit */
        break;
    }
}

bool look(unsigned session)
{
    struct frame request;
    while (session == sessions && next_frame(&request, 0))
        answer(&request);
    return session == sessions;
}

void serve(void)
{
    struct frame request;
    for (;;)
        if (next_frame(&request, 1000))
            answer(&request);
}

int main(void)
{
    mount("dev", "/dev", "devtmpfs", 0, 0);
    mount("sys", "/sys", "sysfs", 0, 0);
    mount("proc", "/proc", "proc", 0, 0);
    int file = open("/mode", O_RDONLY);
    if (file < 0 || read(file, mode, sizeof mode - 1) < 0)
        return 1;
    close(file);
    while (port < 0) {
        port_open();
        usleep(1000);
    }
    if (is(mode, "flickers"))
        for (;;) {
            close(port);
            port_open();
        }
    serve();
}
