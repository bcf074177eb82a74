/* From SETUP's body to a sandbox; the mounts PID 1 itself needs; uevents. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const int64_t PORT_WAIT = 20LL * 1000000000;
static const int64_t OWN_SIZE = 16LL * 1024 * 1024; /* of what we write ourselves over a root that nobody may write */

void boot_mounts(void)
{
    mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755"); /* the kernel may have done so */
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=700,size=1m");
}

int uevent_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool uevent_wait(int fd, int64_t deadline)
{
    int64_t left = (deadline - now_ns()) / 1000000;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char skipped[4096];
    if (left <= 0)
        return false;
    if (fd < 0) /* no netlink in this kernel: look again soon */
        return poll(NULL, 0, 5), true;
    poll(&p, 1, left > 500 ? 500 : (int)left);
    while (recv(fd, skipped, sizeof skipped, MSG_DONTWAIT) > 0) {
    }
    return true;
}

static int try_port(const char *name, char *path, size_t size)
{
    DIR *folder = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int found = -1;
    while (folder && found < 0 && (entry = readdir(folder))) {
        char file[300], text[64] = "";
        snprintf(file, sizeof file, "/sys/class/virtio-ports/%s/name", entry->d_name);
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\n")] = 0;
        if (strcmp(text, name))
            continue;
        snprintf(path, size, "/dev/%s", entry->d_name);
        found = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (folder)
        closedir(folder);
    return found;
}

int port_open(const char *name, char *path, size_t size)
{
    int events = uevent_open(), fd;
    int64_t deadline = now_ns() + PORT_WAIT;
    while ((fd = try_port(name, path, size)) < 0 && uevent_wait(events, deadline)) {
    }
    if (events >= 0)
        close(events);
    return fd;
}

int time_set(int64_t ns, struct fault *f)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    if (ns < 0)
        return fail(f, F_INVALID, 0, "the time is malformed");
    if (!test_mode && clock_settime(CLOCK_REALTIME, &t) < 0)
        return fail(f, F_SYSTEM, errno, "cannot set the time");
    return 0;
}

/* ---- SETUP's body ---- */

struct part {
    char *text[5];
    size_t size[5];
    int64_t number[5];
};

/* A nested body of texts and numbers, by tag 1 to 4. */
static int parse_part(struct span body, struct part *part, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    while ((more = field_next(&body, &tag, &value)) > 0) {
        if (tag < 1 || tag > 4)
            return fail(f, F_INVALID, 0, "field %u within a setup's field is unknown", tag);
        if (part->text[tag] ? field_text(value, part->text[tag], part->size[tag], f) < 0
                            : field_number(value, &part->number[tag], f) < 0)
            return -1;
    }
    return more < 0 ? fail(f, F_INVALID, 0, "a setup's field is malformed") : 0;
}

static int parse_mount(struct setup *s, bool share, struct span value, struct fault *f)
{
    if (s->mount_count == MAX_MOUNTS)
        return fail(f, F_LIMIT, 0, "more than %d mounts", MAX_MOUNTS);
    struct mount_entry *m = &s->mounts[s->mount_count++];
    struct part part = {.number = {0}};
    m->share = share;
    if (share) {
        part.text[1] = m->tag;
        part.size[1] = sizeof m->tag;
    }
    part.text[share ? 2 : 1] = m->target;
    part.size[share ? 2 : 1] = sizeof m->target;
    if (parse_part(value, &part, f) < 0)
        return -1;
    m->readonly = share && part.number[3];
    m->file = share && part.number[4];
    m->size = part.number[2];
    return m->target[0] == '/' ? 0 : fail(f, F_INVALID, 0, "mount target '%.100s' is not absolute", m->target);
}

static int parse_host(struct setup *s, struct span value, struct fault *f)
{
    if (s->host_count == MAX_HOSTS)
        return fail(f, F_LIMIT, 0, "more than %d hosts", MAX_HOSTS);
    struct part part = {.number = {0}};
    part.text[1] = s->hosts[s->host_count].address;
    part.size[1] = sizeof s->hosts[0].address;
    part.text[2] = s->hosts[s->host_count].name;
    part.size[2] = sizeof s->hosts[0].name;
    *part.text[1] = *part.text[2] = 0;
    s->host_count++;
    return parse_part(value, &part, f);
}

static int parse_address(struct setup *s, struct span value, struct fault *f)
{
    if (s->address_count == MAX_ADDRESSES || (value.size != 5 && value.size != 17))
        return fail(f, F_INVALID, 0, "an address is malformed, or there are too many");
    struct address *a = &s->addresses[s->address_count++];
    a->prefix = value.data[0];
    a->size = (uint8_t)(value.size - 1);
    memcpy(a->bytes, value.data + 1, a->size);
    return a->prefix <= a->size * 8 ? 0 : fail(f, F_INVALID, 0, "a prefix length is malformed");
}

static int network_field(struct setup *s, uint16_t tag, struct span value, struct fault *f)
{
    switch (tag) {
    case 1:
        if (value.size != 6)
            return fail(f, F_INVALID, 0, "a MAC has %zu bytes", value.size);
        memcpy(s->mac, value.data, 6);
        return 0;
    case 2:
        return field_number(value, &s->mtu, f);
    case 3:
        return parse_address(s, value, f);
    case 4:
        if (s->gateway_count == 2)
            return fail(f, F_LIMIT, 0, "too many gateways");
        return field_text(value, s->gateways[s->gateway_count++], sizeof s->gateways[0], f);
    case 5:
        if (s->server_count == MAX_SERVERS)
            return fail(f, F_LIMIT, 0, "too many name servers");
        return field_text(value, s->servers[s->server_count++], sizeof s->servers[0], f);
    case 6:
        if (s->search_count == MAX_SERVERS)
            return fail(f, F_LIMIT, 0, "too many search domains");
        return field_text(value, s->search[s->search_count++], sizeof s->search[0], f);
    case 7:
        return parse_host(s, value, f);
    default:
        return fail(f, F_INVALID, 0, "field %u of the network is unknown", tag);
    }
}

static int parse_network(struct setup *s, struct span body, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    s->network = true;
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (network_field(s, tag, value, f) < 0)
            return -1;
    return more < 0 ? fail(f, F_INVALID, 0, "the network is malformed") : 0;
}

static int parse_root(struct setup *s, bool share, struct span value, struct fault *f)
{
    struct part part = {.number = {0}};
    s->share_root = share;
    part.text[1] = s->root_name;
    part.size[1] = sizeof s->root_name;
    if (!share) {
        part.text[2] = s->root_filesystem;
        part.size[2] = sizeof s->root_filesystem;
    }
    if (parse_part(value, &part, f) < 0)
        return -1;
    s->share_writable = part.number[2] != 0;
    return 0;
}

static int parse_upper(struct setup *s, bool disk, struct span value, struct fault *f)
{
    struct part part = {.number = {0}};
    s->upper = disk ? 2 : 1;
    if (disk) {
        part.text[1] = s->upper_name;
        part.size[1] = sizeof s->upper_name;
    }
    if (parse_part(value, &part, f) < 0)
        return -1;
    s->upper_size = part.number[1];
    return 0;
}

static int setup_field(struct setup *s, uint16_t tag, struct span value, struct fault *f)
{
    int64_t n = 0;
    switch (tag) {
    case 1:
        return renew_random(value, f);
    case 2:
        return field_number(value, &n, f) < 0 ? -1 : time_set(n, f);
    case 3:
        return field_text(value, s->hostname, sizeof s->hostname, f);
    case 4:
        if (field_number(value, &n, f) < 0)
            return -1;
        s->tied = n != 0;
        return 0;
    case 5:
    case 6:
        return parse_root(s, tag == 6, value, f);
    case 7:
    case 8:
        return parse_upper(s, tag == 8, value, f);
    case 9:
    case 10:
        return parse_mount(s, tag == 9, value, f);
    case 11:
        return parse_network(s, value, f);
    default:
        return fail(f, F_INVALID, 0, "field %u of the setup is unknown", tag);
    }
}

int setup_parse(struct span body, struct setup *s, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (setup_field(s, tag, value, f) < 0)
            return -1;
    if (more < 0 || !s->root_name[0])
        return fail(f, F_INVALID, 0, "the setup is malformed");
    s->readonly = !s->upper && !(s->share_root && s->share_writable);
    if (s->readonly) { /* mount points and /etc/hosts must be made all the same */
        s->upper = 1;
        s->upper_size = OWN_SIZE;
    }
    return 0;
}

static int renewal_field(struct renewal *r, uint16_t tag, struct span value, struct fault *f)
{
    int64_t n = 0;
    switch (tag) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 11:
        return setup_field(&r->setup, tag, value, f);
    case 12:
    case 13:
        if (field_number(value, &n, f) < 0)
            return -1;
        *(tag == 12 ? &r->other : &r->held) = n != 0;
        return 0;
    default:
        return fail(f, F_INVALID, 0, "field %u of the renewal is unknown", tag);
    }
}

int setup_parse_renewal(struct span body, struct renewal *r, struct fault *f)
{
    uint16_t tag;
    struct span value;
    int more;
    while ((more = field_next(&body, &tag, &value)) > 0)
        if (renewal_field(r, tag, value, f) < 0)
            return -1;
    return more < 0 ? fail(f, F_INVALID, 0, "the renewal is malformed") : 0;
}

static bool is_readonly;

bool setup_readonly(void) { return is_readonly; }

int setup_run(const struct setup *s, struct fault *f)
{
    if (renew_check(f) < 0 || root_mount(s, f) < 0)
        return -1;
    if (s->hostname[0] && sethostname(s->hostname, strlen(s->hostname)) < 0)
        return fail(f, F_SYSTEM, errno, "cannot set the hostname '%s'", s->hostname);
    if (files_write(s, f) < 0 || net_configure(s, f) < 0)
        return -1;
    is_readonly = s->readonly;
    if (s->readonly && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return fail(f, F_SYSTEM, errno, "cannot make the root read-only");
    return 0;
}
