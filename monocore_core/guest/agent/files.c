/* /etc/hostname, /etc/hosts, /etc/resolv.conf: whatever the image has there, links included, gives way. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct text {
    char data[128 * 1024];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list arguments;
    __builtin_va_start(arguments, format);
    int n = vsnprintf(t->data + t->size, sizeof t->data - t->size, format, arguments);
    __builtin_va_end(arguments);
    if (n > 0 && (size_t)n < sizeof t->data - t->size)
        t->size += (size_t)n;
}

static int write_text(int fd, const struct text *t)
{
    size_t done = 0;
    while (done < t->size) {
        ssize_t n = write(fd, t->data + done, t->size - done);
        if (n < 0) {
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    return close(fd);
}

static int write_new(int folder, const char *name, const struct text *t)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    fchmod(fd, 0644);
    return write_text(fd, t);
}

/* A file like those that we make; false: there is none, or it could not be written. */
static bool write_again(int folder, const char *name, const struct text *t)
{
    struct stat st;
    int fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
    if (ours && ((size_t)st.st_size <= t->size || ftruncate(fd, (off_t)t->size) == 0))
        return write_text(fd, t) == 0;
    close(fd);
    return false;
}

/* `again`: it was written before, and nobody reads it now: it need not be another file, which takes three times as long. */
static int put_file(int etc, const char *name, const struct text *t, bool again, struct fault *f)
{
    char temporary[64];
    if (again && write_again(etc, name, t))
        return 0;
    snprintf(temporary, sizeof temporary, ".monocore-%s", name);
    unlinkat(etc, temporary, 0);
    if (write_new(etc, temporary, t) == 0 && renameat(etc, temporary, etc, name) == 0)
        return 0;
    int err = errno;
    unlinkat(etc, temporary, 0);
    return fail(f, F_SYSTEM, err, "cannot write /etc/%s", name);
}

static void hosts_text(const struct setup *s, struct text *t)
{
    char address[INET6_ADDRSTRLEN];
    t->size = 0;
    add(t, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (size_t i = 0; s->hostname[0] && i < s->address_count; i++) {
        const struct address *a = &s->addresses[i];
        if (inet_ntop(a->size == 4 ? AF_INET : AF_INET6, a->bytes, address, sizeof address))
            add(t, "%s\t%s\n", address, s->hostname);
    }
    if (s->hostname[0] && !s->address_count)
        add(t, "127.0.1.1\t%s\n", s->hostname);
    for (size_t i = 0; i < s->host_count; i++)
        add(t, "%s\t%s\n", s->hosts[i].address, s->hosts[i].name);
}

static void resolver_text(const struct setup *s, struct text *t)
{
    t->size = 0;
    for (size_t i = 0; i < s->server_count; i++)
        add(t, "nameserver %s\n", s->servers[i]);
    for (size_t i = 0; i < s->search_count; i++)
        add(t, "%s%s%s", i ? " " : "search ", s->search[i], i + 1 == s->search_count ? "\n" : "");
}

static int open_etc(struct fault *f)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int etc = root < 0 ? -1 : open_folder(root, "/etc", 0755);
    if (root >= 0)
        close(root);
    return etc < 0 ? fail(f, F_SYSTEM, errno, "cannot open /etc") : etc;
}

static int renew_machine_id(int etc, struct text *t, struct fault *f)
{
    struct stat st;
    uint8_t random[16];
    if (fstatat(etc, "machine-id", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_size < 32)
        return 0;
    t->size = 0;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fail(f, F_SYSTEM, errno, "cannot draw a machine id");
    for (size_t i = 0; i < sizeof random; i++)
        add(t, "%02x", random[i]);
    add(t, "\n");
    return put_file(etc, "machine-id", t, true, f);
}

static int name_files(int etc, const struct setup *s, struct text *t, bool again, struct fault *f)
{
    int result = 0;
    if (s->hostname[0]) {
        t->size = 0;
        add(t, "%s\n", s->hostname);
        result = put_file(etc, "hostname", t, again, f);
    }
    if (result == 0) {
        hosts_text(s, t);
        result = put_file(etc, "hosts", t, again, f);
    }
    if (result == 0 && s->server_count) {
        static bool ours; /* else it is the image's, with whatever mode */
        resolver_text(s, t);
        result = put_file(etc, "resolv.conf", t, again && ours, f);
        ours = ours || result == 0;
    }
    return result;
}

static struct text text;

int files_write(const struct setup *s, struct fault *f)
{
    int etc = open_etc(f);
    if (etc < 0)
        return -1;
    int result = name_files(etc, s, &text, false, f);
    close(etc);
    return result;
}

int files_renew(const struct setup *s, bool other, struct fault *f)
{
    if (!s->hostname[0] && !other)
        return 0;
    int etc = open_etc(f);
    if (etc < 0)
        return -1;
    int result = s->hostname[0] ? name_files(etc, s, &text, true, f) : 0;
    if (result == 0 && other)
        result = renew_machine_id(etc, &text, f);
    close(etc);
    return result;
}
