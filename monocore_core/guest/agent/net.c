/* Interfaces, addresses and routes, by netlink. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const int64_t LINK_WAIT = 5LL * 1000000000;
/* Of a template's interface; every copy gives it its own. */
static const uint8_t TEMPLATE_MAC[6] = {0x02, 0x4d, 0x43, 0xff, 0xff, 0xff};

static int loopback_error;
static int template_link; /* of a template, and its copies */
/* What the interface has been given, to be taken from a copy of this guest. */
static struct {
    uint8_t mac[6];
    struct address addresses[MAX_ADDRESSES];
    size_t count;
} given;
static bool is_given;

struct message {
    _Alignas(8) uint8_t data[512];
    uint32_t size;
};

static void begin(struct message *m, uint16_t type, uint16_t flags, const void *head, uint32_t size)
{
    struct nlmsghdr h = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags), .nlmsg_seq = 1};
    memset(m, 0, sizeof *m);
    memcpy(m->data, &h, sizeof h);
    memcpy(m->data + NLMSG_HDRLEN, head, size);
    m->size = (uint32_t)NLMSG_HDRLEN + (uint32_t)NLMSG_ALIGN(size);
}

static void attribute(struct message *m, uint16_t type, const void *value, uint16_t size)
{
    struct rtattr a = {.rta_len = (uint16_t)(sizeof a + size), .rta_type = type};
    memcpy(m->data + m->size, &a, sizeof a);
    memcpy(m->data + m->size + sizeof a, value, size);
    m->size += (uint32_t)NLMSG_ALIGN(sizeof a + size);
}

/* Send and take the acknowledgement; 0 or -errno. */
static int talk(int fd, struct message *m)
{
    uint8_t answer[1024];
    memcpy(m->data, &m->size, sizeof m->size);
    if (send(fd, m->data, m->size, 0) < 0)
        return -errno;
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    if (n < (ssize_t)(NLMSG_HDRLEN + sizeof(int)))
        return n < 0 ? -errno : -EPROTO;
    int error;
    memcpy(&error, answer + NLMSG_HDRLEN, sizeof error);
    return error;
}

static int set_mac(int fd, int index, const uint8_t mac[6])
{
    struct ifinfomsg head = {.ifi_index = index};
    struct message m;
    begin(&m, RTM_NEWLINK, 0, &head, sizeof head);
    attribute(&m, IFLA_ADDRESS, mac, 6);
    return talk(fd, &m);
}

static int set_down(int fd, int index)
{
    struct ifinfomsg head = {.ifi_index = index, .ifi_flags = 0, .ifi_change = IFF_UP};
    struct message m;
    begin(&m, RTM_NEWLINK, 0, &head, sizeof head);
    return talk(fd, &m);
}

static int set_up(int fd, int index, uint32_t mtu)
{
    struct ifinfomsg head = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct message m;
    begin(&m, RTM_NEWLINK, 0, &head, sizeof head);
    if (mtu)
        attribute(&m, IFLA_MTU, &mtu, sizeof mtu);
    return talk(fd, &m);
}

static int change_address(int fd, int index, const struct address *a, bool add)
{
    struct ifaddrmsg head = {
        .ifa_family = a->size == 4 ? AF_INET : AF_INET6,
        .ifa_prefixlen = a->prefix,
        .ifa_flags = a->size == 4 ? 0 : IFA_F_NODAD,
        .ifa_index = (uint32_t)index,
    };
    struct message m;
    begin(&m, add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, &head, sizeof head);
    attribute(&m, IFA_LOCAL, a->bytes, a->size);
    attribute(&m, IFA_ADDRESS, a->bytes, a->size);
    return talk(fd, &m);
}

static int add_route(int fd, int index, const char *gateway)
{
    uint8_t bytes[16];
    bool six = strchr(gateway, ':') != NULL;
    struct rtmsg head = {
        .rtm_family = six ? AF_INET6 : AF_INET,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = RT_SCOPE_UNIVERSE,
        .rtm_type = RTN_UNICAST,
        .rtm_flags = RTNH_F_ONLINK,
    };
    struct message m;
    uint32_t out = (uint32_t)index;
    if (inet_pton(head.rtm_family, gateway, bytes) != 1)
        return -EINVAL;
    begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
    attribute(&m, RTA_GATEWAY, bytes, six ? 16 : 4);
    attribute(&m, RTA_OIF, &out, sizeof out);
    return talk(fd, &m);
}

/* The interface with a MAC; 0 when there is none. */
static int find_link(const uint8_t mac[6])
{
    char wanted[18];
    snprintf(wanted, sizeof wanted, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    DIR *folder = opendir("/sys/class/net");
    struct dirent *entry;
    int found = 0;
    while (folder && !found && (entry = readdir(folder))) {
        char path[300], text[32] = "";
        snprintf(path, sizeof path, "/sys/class/net/%s/address", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        (void)!read(fd, text, sizeof text - 1);
        close(fd);
        if (!strncmp(text, wanted, 17))
            found = (int)if_nametoindex(entry->d_name);
    }
    if (folder)
        closedir(folder);
    return found;
}

static int await_link(const uint8_t mac[6])
{
    int64_t deadline = now_ns() + LINK_WAIT;
    int index = find_link(mac);
    if (index)
        return index;
    int events = uevent_open();
    while (!(index = find_link(mac)) && uevent_wait(events, deadline)) {
    }
    if (events >= 0)
        close(events);
    return index;
}

/* `other`: it has another MAC so far. */
static int give(int fd, int index, const struct setup *s, bool other, struct fault *f)
{
    int error;
    if (other && (error = set_mac(fd, index, s->mac)) < 0)
        return fail(f, F_SYSTEM, -error, "cannot give the network interface its MAC");
    if ((error = set_up(fd, index, s->mtu > 0 && s->mtu <= 65535 ? (uint32_t)s->mtu : 0)) < 0)
        return fail(f, F_SYSTEM, -error, "cannot bring the network interface up");
    for (size_t i = 0; i < s->address_count; i++)
        if ((error = change_address(fd, index, &s->addresses[i], true)) < 0)
            return fail(f, F_SYSTEM, -error, "cannot add an address");
    for (size_t i = 0; i < s->gateway_count; i++)
        if ((error = add_route(fd, index, s->gateways[i])) < 0)
            return fail(f, F_SYSTEM, -error, "cannot add the route by %s", s->gateways[i]);
    memcpy(given.mac, s->mac, sizeof given.mac);
    memcpy(given.addresses, s->addresses, sizeof given.addresses);
    given.count = s->address_count;
    is_given = true;
    return 0;
}

static int configure(int fd, const struct setup *s, struct fault *f)
{
    int index = template_link ? template_link : await_link(renew_template() ? TEMPLATE_MAC : s->mac);
    if (!index)
        return fail(f, F_SYSTEM, 0, "the guest has no network interface with the given MAC");
    return give(fd, index, s, renew_template(), f);
}

/* Down, it loses its routes. Addresses that it never had, or has lost, are no error: only processes of the sandbox can have taken them. */
static int take(int fd, int index, struct fault *f)
{
    for (size_t i = 0; i < given.count; i++)
        change_address(fd, index, &given.addresses[i], false);
    int error = set_down(fd, index);
    return error < 0 ? fail(f, F_SYSTEM, -error, "cannot take the network interface down") : 0;
}

static int netlink(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd;
}

/* What a template looks for, its copies need not. */
void net_prepare(void)
{
    int fd = netlink();
    if (fd < 0)
        return; /* a kernel without networks */
    int loopback = (int)if_nametoindex("lo");
    loopback_error = loopback ? set_up(fd, loopback, 0) : 0;
    if (renew_template())
        template_link = find_link(TEMPLATE_MAC);
}

int net_configure(const struct setup *s, struct fault *f)
{
    if (loopback_error < 0)
        return fail(f, F_SYSTEM, -loopback_error, "cannot bring the loopback up");
    if (!s->network)
        return 0;
    int fd = netlink();
    return fd < 0 ? fail(f, F_SYSTEM, errno, "cannot open netlink") : configure(fd, s, f);
}

static int give_again(int fd, const struct setup *s, struct fault *f)
{
    int index = find_link(given.mac);
    if (!index)
        return fail(f, F_SYSTEM, 0, "the guest's network interface has another MAC than it was given");
    return take(fd, index, f) < 0 ? -1 : give(fd, index, s, memcmp(given.mac, s->mac, sizeof given.mac) != 0, f);
}

/* A guest that was set up for nobody has an interface, and was given nothing yet. */
int net_reconfigure(const struct setup *s, struct fault *f)
{
    if (!s->network)
        return 0;
    int fd = netlink();
    if (fd < 0)
        return fail(f, F_SYSTEM, errno, "cannot open netlink");
    return is_given ? give_again(fd, s, f) : configure(fd, s, f);
}
