/* Attacks that the path of a file or an archive, or the number of a port, asks for. */
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STAT = 1, LIST = 2, READ = 6, WRITE = 7, WATCH = 8, BLOCK = 512 };

bool pour(uint32_t id, const void *bytes, size_t size)
{
    unsigned session = sessions;
    const uint8_t *at = bytes;
    struct frame request;
    while (size && session == sessions && window_id == id) {
        if (next_frame(&request, window > 0 ? 0 : 100)) {
            answer(&request);
            continue;
        }
        size_t part = size < MOST ? size : MOST;
        if (window < (int64_t)part)
            part = window > 0 ? (size_t)window : 0;
        if (part)
            frame(DATA, 1, id, at, part);
        window -= (int64_t)part;
        at += part;
        size -= part;
    }
    return session == sessions && window_id == id;
}

static void finish(uint32_t id)
{
    frame(END, 1, id, "", 0);
    done(id);
}

/* ---- files ---- */

static struct body page;

static void entry(const void *name, size_t size, int64_t bytes)
{
    static struct body one;
    one.size = 0;
    field(&one, 1, name, size);
    field_number(&one, 2, 0100644);
    field_number(&one, 3, bytes);
    field(&page, 1, one.data, one.size);
}

static void named(const char *name) { entry(name, strlen(name), 1); }

static void change(int64_t kind, const char *path)
{
    static struct body one;
    one.size = 0;
    field_number(&one, 1, kind);
    field_text(&one, 2, path);
    field(&page, 1, one.data, one.size);
}

/* Entries without end, each a name of its own. */
static void endless(uint32_t id)
{
    char name[32];
    for (unsigned n = 0;; n++) {
        snprintf(name, sizeof name, "%08x", n);
        named(name);
        if (page.size < 30000)
            continue;
        if (!pour(id, page.data, page.size))
            return;
        page.size = 0;
    }
}

static void crumbs(uint32_t id)
{
    static uint8_t empty[60000];
    for (size_t at = 0; at < sizeof empty; at += 6)
        empty[at] = 9; /* a field that says nothing */
    for (int n = 0; n < 80; n++)
        if (!pour(id, empty, sizeof empty))
            return;
    finish(id);
}

static bool lists(uint32_t id, const char *path)
{
    char digits[5001] = "";
    if (is(path, "/climbs"))
        named("../../x");
    else if (is(path, "/dots"))
        named("..");
    else if (is(path, "/nul"))
        entry("a\0b", 3, 1);
    else if (is(path, "/unnamed"))
        named("");
    else if (is(path, "/digits")) {
        memset(digits, '7', sizeof digits - 1);
        named(digits);
    } else if (is(path, "/negative"))
        entry("x", 1, -1);
    else if (is(path, "/megabyte"))
        memcpy(page.data, "\1\0\0\0\x10\0", page.size = 6);
    else if (is(path, "/cut"))
        memcpy(page.data, "\1\0\100\0\0\0abc", page.size = 9);
    else if (is(path, "/many"))
        for (int n = 0; n < 11; n++)
            named((const char[]){(char)('a' + n), 0});
    else if (is(path, "/circle"))
        field_text(&page, 2, "a");
    else if (is(path, "/onwards"))
        field_text(&page, 2, "a/../../b");
    else if (is(path, "/proc"))
        for (int n = 1; n < 6; n++)
            named((const char[]){(char)('0' + n), 0});
    else if (is(path, "/two"))
        named("one"), named("two");
    else if (is(path, "/endless"))
        return endless(id), false;
    else if (is(path, "/crumbs"))
        return crumbs(id), false;
    return true;
}

static void reads(uint32_t id, const char *path)
{
    static char digits[4000], text[8192];
    static const char stat[] = "1 (x) S 1 1 1 0 -1 0 0 0 0 0 %.*s 1 0 0 20 0 1 0 5 %s 100";
    memset(digits, '9', sizeof digits);
    while (is(path, "/endless"))
        if (!pour(id, digits, sizeof digits))
            return;
    *text = 0;
    if (is(path, "/proc/1/stat")) /* more than anybody asks for */
        for (int n = 0; n < 3; n++)
            frame(DATA, 1, id, digits, sizeof digits);
    else if (is(path, "/proc/2/stat"))
        snprintf(text, sizeof text, stat, 1000, digits, "4096");
    else if (is(path, "/proc/3/stat"))
        snprintf(text, sizeof text, stat, 1, digits, "junk");
    else if (is(path, "/proc/4/stat"))
        snprintf(text, sizeof text, stat, 1, "1", "4096");
    else if (is(path, "/proc/4/cmdline"))
        strcpy(text, "honest");
    frame(DATA, 1, id, text, strlen(text));
    finish(id);
}

static bool watches(uint32_t id, const char *path)
{
    if (is(path, "/early"))
        change(1, "x");
    else
        change(0, "");
    if (is(path, "/strange"))
        change(77, "x");
    else if (is(path, "/absolute"))
        change(1, "/etc/passwd");
    else if (is(path, "/again"))
        change(0, "");
    pour(id, page.data, page.size);
    page.size = 0;
    for (int n = 0; n < 1000; n++)
        change(3, "x");
    while (is(path, "/storm") && pour(id, page.data, page.size)) {
    }
    return false;
}

void files(const struct frame *request)
{
    uint32_t id = request->id;
    int64_t act = number_of(request, 1);
    char path[256];
    strcpy(path, text_of(request, 2));
    page.size = 0;
    window_id = id;
    window = WINDOW;
    if (is(path, "/silent"))
        return;
    if (is(path, "/refused"))
        return refused(id, 999, "");
    if (is(path, "/done")) /* without an end */
        return done(id);
    if (act == READ)
        return reads(id, path);
    if (act == WRITE)
        return; /* takes no more than it must */
    if (act == WATCH ? watches(id, path) : lists(id, path))
        if (pour(id, page.data, page.size))
            finish(id);
}

/* ---- archives ---- */

static void header(uint32_t id, const char *name, char type, const char *size, const char *link)
{
    static uint8_t tar[BLOCK];
    unsigned sum = 0;
    memset(tar, 0, sizeof tar);
    snprintf((char *)tar, 100, "%s", name);
    memcpy(tar + 100, "0000644\0000000000\0000000000", 24);
    memcpy(tar + 124, size, 12);
    memcpy(tar + 136, "00000000000", 12);
    memset(tar + 148, ' ', 8);
    tar[156] = (uint8_t)type;
    snprintf((char *)tar + 157, 100, "%s", link);
    memcpy(tar + 257, type == 'S' ? "ustar  " : "ustar\00000", 8);
    if (type == 'S') /* its map goes on, always */
        tar[482] = 1;
    for (int i = 0; i < BLOCK; i++)
        sum += tar[i];
    snprintf((char *)tar + 148, 8, "%06o", sum & 0777777);
    pour(id, tar, sizeof tar);
}

static void text(uint32_t id, const char *words, size_t size)
{
    static char padded[BLOCK];
    memset(padded, 0, sizeof padded);
    memcpy(padded, words, size);
    pour(id, padded, sizeof padded);
}

static void small(uint32_t id, const char *name)
{
    header(id, name, '0', "00000000005", "");
    text(id, "outer", 5);
}

static void extended(uint32_t id, const char *words, size_t size)
{
    char octal[12];
    snprintf(octal, sizeof octal, "%011zo", size);
    header(id, "pax", 'x', octal, "");
    text(id, words, size);
}

/* What makes a reader go on for ever, or grow. */
static bool drags_on(uint32_t id, const char *what)
{
    static const char zero[] = "00000000000", huge[] = "77777777777";
    static uint8_t noise[MOST];
    char name[32];
    junk(noise, sizeof noise);
    if (is(what, "/endless"))
        for (unsigned n = 0; window_id == id; n++) {
            snprintf(name, sizeof name, "endless/%u", n);
            header(id, n ? name : "endless", '5', zero, "");
        }
    else if (is(what, "/chain"))
        while (window_id == id) {
            header(id, "././@LongLink", 'L', "00000000004", "");
            text(id, "abc", 4);
        }
    else if (is(what, "/noise") || is(what, "/big") || is(what, "/name") || is(what, "/pax") || is(what, "/map")) {
        if (!is(what, "/noise"))
            header(id, "big", is(what, "/big") ? '0' : is(what, "/name") ? 'L' : is(what, "/pax") ? 'x' : 'S', huge, "");
        if (is(what, "/map")) /* which goes on in each block */
            memset(noise, '1', sizeof noise);
        while (pour(id, noise, sizeof noise)) {
        }
    } else
        return false;
    return true;
}

void archive(uint32_t id, const char *what)
{
    static const char zero[] = "00000000000";
    char how[256];
    strcpy(how, what);
    window_id = id;
    window = WINDOW;
    if (is(how, "/silent") || drags_on(id, how))
        return;
    header(id, "top", '5', zero, "");
    if (is(how, "/climbs"))
        small(id, "top/../../escaped");
    else if (is(how, "/absolute"))
        small(id, "/top/absolute");
    else if (is(how, "/beside"))
        small(id, "/escaped");
    else if (is(how, "/link")) {
        header(id, "top/out", '2', zero, "..");
        small(id, "top/out/escaped");
    } else if (is(how, "/hard"))
        header(id, "top/hard", '1', zero, "../../secret");
    else if (is(how, "/time")) {
        extended(id, "13 mtime=inf\n", 13);
        small(id, "top/f");
    } else if (is(how, "/nul")) {
        extended(id, "16 linkpath=a\0b\n", 16);
        header(id, "top/l", '2', zero, "x");
    } else if (is(how, "/device"))
        header(id, "top/device", '3', zero, "");
    if (is(how, "/cut"))
        header(id, "top/f", '0', "00000177777", "");
    else if (is(how, "/refused"))
        return refused(id, 4, "the disk is on fire");
    else
        text(id, "", 0), text(id, "", 0);
    finish(id);
}

/* ---- figures and connections ---- */

void stats(uint32_t id)
{
    struct body body = {.size = 0};
    if (is(next_stats, "never"))
        return;
    for (unsigned tag = 1; tag < 19; tag++)
        if (!is(next_stats, "empty"))
            field_number(&body, tag, is(next_stats, "negative") ? INT64_MIN : INT64_MAX);
    if (is(next_stats, "garbage"))
        field(&body, 1, "abc", 3);
    frame(DONE, 0, id, body.data, body.size);
}

void dial(const struct frame *request)
{
    uint32_t id = request->id;
    int64_t to = number_of(request, 1);
    if (to == 1) /* never */
        return;
    if (to == 2)
        return refused(id, INT32_MAX, "\033[31mno");
    started(id);
    if (to == 3)
        frame(DATA, 2, id, "x", 1);
    else if (to == 4)
        frame(DATA, 1, id + 1, "x", 1);
    else if (to == 5)
        for (int n = 0; n < 10; n++)
            frame(DATA, 1, id, page.data, 30000);
    else if (to == 6) { /* more than anybody reads */
        window_id = id;
        window = WINDOW;
        while (pour(id, page.data, 30000)) {
        }
    }
}
