/* Attacks that a command's name asks for. */
#include "agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

char next_hello[64], next_changes[64], next_stats[64], kept_label[64];
uint32_t kept_id;

enum { STORM = 2 }; /* seconds */
static uint8_t block[32768];

/* ---- what ends a session ---- */

static void overdraw(uint32_t id, uint8_t channel)
{
    for (int sent = 0; sent <= WINDOW; sent += (int)sizeof block)
        frame(DATA, channel, id, block, sizeof block);
}

static bool breaks(const char *how, uint32_t id)
{
    uint8_t bytes[100];
    junk(bytes, sizeof bytes);
    if (is(how, "started twice"))
        started(id);
    else if (is(how, "stranger"))
        done(id + 1000);
    else if (is(how, "id 0"))
        done(0);
    else if (is(how, "overdraft"))
        overdraw(id, 1);
    else if (is(how, "overdraft of errors"))
        overdraw(id, 2);
    else if (is(how, "no such channel"))
        frame(DATA, 7, id, "x", 1);
    else if (is(how, "input as output"))
        frame(DATA, 0, id, "x", 1);
    else if (is(how, "after the end")) {
        frame(END, 1, id, "", 0);
        frame(DATA, 1, id, "x", 1);
    } else if (is(how, "exit huge"))
        exited(id, INT64_MAX, 0);
    else if (is(how, "exit negative"))
        exited(id, -1, 0);
    else if (is(how, "exit signal"))
        exited(id, 0, INT64_MIN);
    else if (is(how, "exit garbage"))
        frame(EXITED, 0, id, bytes, sizeof bytes);
    else if (is(how, "exit empty"))
        frame(EXITED, 0, id, "", 0);
    else if (is(how, "credit"))
        for (int n = 0; n < 100; n++)
            frame(CREDIT, 0, id, "\xff\xff\xff\xff", 4);
    else if (is(how, "credit short"))
        frame(CREDIT, 0, id, "\1\0\0", 3);
    else if (is(how, "trailer"))
        raw_frame(DATA, 1, id, "x", 1, token ^ 1);
    else if (is(how, "kind"))
        frame(99, 0, id, "", 0);
    else if (is(how, "kind of the host"))
        frame(SPAWN, 0, id, bytes, sizeof bytes);
    else if (is(how, "adopted late"))
        frame(ADOPTED, 0, 1, "", 0);
    else if (is(how, "refused after"))
        refused(id, 7, "never mind");
    else
        return false;
    return true;
}

/* ---- what has no end ---- */

static bool passed(const struct timespec *since, int seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - since->tv_sec >= seconds;
}

/* Many frames of a few bytes at once, without reading a word of the host's for as long as it lasts. */
static void storm(uint8_t kind, uint32_t id, size_t size)
{
    static uint8_t many[65536];
    size_t at = 0, whole = 12 + size;
    for (; at + whole <= sizeof many; at += whole) {
        uint8_t head[] = {kind, 1, (uint8_t)size, 0, (uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16), (uint8_t)(id >> 24)};
        memcpy(many + at, head, 8);
        memset(many + at + 8, 'x', size);
        memcpy(many + at + 8 + size, &token, 4);
    }
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    while (!passed(&began, STORM))
        say(many, at);
}

static void flood(uint32_t id)
{
    window_id = id;
    window = WINDOW;
    while (pour(id, block, sizeof block)) {
    }
}

static bool lasts(const char *how, uint32_t id)
{
    deaf = true;
    if (is(how, "flood"))
        flood(id);
    else if (is(how, "crumbs"))
        storm(DATA, id, 1);
    else if (is(how, "nothing"))
        storm(DATA, id, 0);
    else if (is(how, "of the past"))
        storm(DATA, id - 1, 8);
    else if (is(how, "goodbyes"))
        storm(GOODBYE, 0, 0);
    else if (is(how, "never exits"))
        return true;
    else if (is(how, "console")) {
        int console = open("/dev/console", O_WRONLY);
        while (write(console, block, sizeof block)) {
        }
    } else
        return deaf = false;
    return true;
}

/* ---- the end of the agent ---- */

/* Another process has the port from now on: it knows the protocol, and not the session. */
static void stolen(uint32_t id)
{
    if (fork()) {
        close(port);
        for (;;)
            pause();
    }
    close(port);
    for (port = -1; port < 0; usleep(1000))
        port_open();
    token = 0x12345678;
    frame(DATA, 1, id, "it is me\n", 9);
    exited(id, 0, 0);
    serve();
}

static bool dies(const char *how, uint32_t id)
{
    if (is(how, "panic"))
        exit(1);
    if (is(how, "stolen"))
        stolen(id);
    else if (is(how, "closed")) {
        close(port);
        for (;;)
            pause();
    } else
        return false;
    return true;
}

/* ---- */

static bool prepares(const char *how, const char *what, char *where)
{
    if (strncmp(how, what, strlen(what)))
        return false;
    strcpy(where, how + strlen(what));
    return true;
}

void spawn(const struct frame *request)
{
    char how[64];
    uint32_t id = request->id;
    strncpy(how, text_of(request, 1), sizeof how - 1);
    how[sizeof how - 1] = 0;
    if (*text_of(request, 9)) {
        kept_id = id;
        strncpy(kept_label, text_of(request, 9), sizeof kept_label - 1);
    }
    junk(block, sizeof block);
    if (is(how, "never started"))
        return;
    if (is(how, "started as garbage"))
        frame(STARTED, 0, id, block, 1000);
    else
        started(id);
    if (prepares(how, "hello:", next_hello) || prepares(how, "changes:", next_changes) ||
        prepares(how, "stats:", next_stats) || is(how, "honest") || is(how, "started as garbage")) {
        frame(DATA, 1, id, "well\n", 5);
        exited(id, 0, 0);
    } else if (!breaks(how, id) && !lasts(how, id))
        dies(how, id);
}
