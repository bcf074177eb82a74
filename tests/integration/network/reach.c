/* What a guest does to get out: probes, raw frames, a listener, a sniffer, bulk transfers. Linked statically into the tests' image.
 *
 *   reach probe SECONDS KIND/ADDRESS/PORT...   KIND: tcp, udp, ping; a line for each: the word, and ok, refused or silent
 *   reach dns ADDRESS NAME                     asks a server for an IPv4 address by TCP; prints the answer in hexadecimal
 *   reach echo PORT                            answers what it is sent, by TCP and UDP, forever
 *   reach frame INTERFACE HEX...               sends raw frames
 *   reach watch INTERFACE SECONDS MARKER       prints incoming frames that contain the marker, in hexadecimal
 *   reach pull ADDRESS PORT SECONDS            receives; prints bytes and milliseconds
 *   reach push ADDRESS PORT SECONDS            sends; prints bytes and milliseconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 256

enum kind { TCP, UDP, PING };

struct probe {
    const char *word;
    enum kind kind;
    struct sockaddr_storage to;
    socklen_t size;
    int fd;
    int connected;
    const char *found;
};

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static socklen_t resolve(const char *host, const char *port, struct sockaddr_storage *to)
{
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((unsigned short)atoi(port));
        return sizeof *four;
    }
    char plain[64];
    snprintf(plain, sizeof plain, "%s", host);
    char *zone = strchr(plain, '%');
    if (zone)
        *zone++ = 0;
    if (inet_pton(AF_INET6, plain, &six->sin6_addr) != 1) {
        fprintf(stderr, "%s is no address\n", host);
        exit(2);
    }
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((unsigned short)atoi(port));
    six->sin6_scope_id = zone ? if_nametoindex(zone) : 0;
    return sizeof *six;
}

static void ping(struct probe *p)
{
    unsigned char packet[16] = {0};
    if (p->to.ss_family == AF_INET) {
        packet[0] = ICMP_ECHO;
        packet[5] = 1;
        unsigned sum = ICMP_ECHO << 8 | 0;
        sum += 1; /* the identity, in network order */
        unsigned short check = (unsigned short)~sum;
        packet[2] = (unsigned char)(check >> 8);
        packet[3] = (unsigned char)check;
    } else {
        packet[0] = ICMP6_ECHO_REQUEST;
        packet[5] = 1;
    }
    if (sendto(p->fd, packet, sizeof packet, 0, (struct sockaddr *)&p->to, p->size) < 0)
        p->found = "refused";
}

static void start(struct probe *p)
{
    int family = p->to.ss_family;
    int on = 1;
    if (p->kind == PING)
        p->fd = socket(family, SOCK_RAW, family == AF_INET ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
    else
        p->fd = socket(family, p->kind == TCP ? SOCK_STREAM : SOCK_DGRAM, 0);
    if (p->fd < 0)
        die("socket");
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    setsockopt(p->fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    if (p->kind == PING) {
        struct sockaddr_storage plain = p->to;
        if (family == AF_INET6)
            ((struct sockaddr_in6 *)&plain)->sin6_port = 0;
        p->to = plain;
        ping(p);
        return;
    }
    if (p->kind == TCP && connect(p->fd, (struct sockaddr *)&p->to, p->size) < 0 && errno != EINPROGRESS)
        p->found = "refused";
    if (p->kind == UDP && sendto(p->fd, "hello\n", 6, 0, (struct sockaddr *)&p->to, p->size) < 0)
        p->found = "refused";
}

static void again(struct probe *p)
{
    if (p->found)
        return;
    if (p->kind == UDP)
        sendto(p->fd, "hello\n", 6, 0, (struct sockaddr *)&p->to, p->size);
    if (p->kind == PING)
        ping(p);
}

static void ready(struct probe *p)
{
    char data[2048];
    if (p->kind == TCP && !p->connected) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            p->found = "refused";
            return;
        }
        p->connected = 1;
        if (send(p->fd, "hello\n", 6, MSG_NOSIGNAL) < 0)
            p->found = "refused";
        return;
    }
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    ssize_t got = recvfrom(p->fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        p->found = "refused";
        return;
    }
    if (p->kind == PING) {
        int four = p->to.ss_family == AF_INET;
        unsigned char type = four ? (unsigned char)data[(data[0] & 15) * 4] : (unsigned char)data[0];
        const void *a = four ? (const void *)&((struct sockaddr_in *)&from)->sin_addr : (const void *)&((struct sockaddr_in6 *)&from)->sin6_addr;
        const void *b = four ? (const void *)&((struct sockaddr_in *)&p->to)->sin_addr : (const void *)&((struct sockaddr_in6 *)&p->to)->sin6_addr;
        if (type != (four ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) || memcmp(a, b, four ? 4 : 16))
            return;
    }
    p->found = "ok";
}

static int probes(int count, char **words)
{
    static struct probe all[MOST];
    long end = now() + atol(words[0]) * 1000;
    long repeat = now() + 700;
    words++;
    count--;
    if (count > MOST)
        return 2;
    for (int i = 0; i < count; i++) {
        struct probe *p = &all[i];
        char copy[128];
        snprintf(copy, sizeof copy, "%s", words[i]);
        char *kind = strtok(copy, "/"), *host = strtok(NULL, "/"), *port = strtok(NULL, "/");
        if (!kind || !host || !port)
            return 2;
        p->word = words[i];
        p->kind = !strcmp(kind, "tcp") ? TCP : !strcmp(kind, "udp") ? UDP : PING;
        p->size = resolve(host, port, &p->to);
        start(p);
    }
    for (;;) {
        struct pollfd waits[MOST];
        int open = 0;
        for (int i = 0; i < count; i++) {
            waits[i].fd = all[i].found ? -1 : all[i].fd;
            waits[i].events = all[i].kind == TCP && !all[i].connected ? POLLOUT : POLLIN;
            waits[i].revents = 0;
            open += !all[i].found;
        }
        if (!open || now() >= end)
            break;
        poll(waits, (nfds_t)count, 50);
        for (int i = 0; i < count; i++)
            if (waits[i].revents)
                ready(&all[i]);
        if (now() > repeat) {
            repeat = now() + 700;
            for (int i = 0; i < count; i++)
                again(&all[i]);
        }
    }
    for (int i = 0; i < count; i++)
        printf("%s %s\n", all[i].word, all[i].found ? all[i].found : "silent");
    return 0;
}

static _Noreturn void echo(const char *port)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(port))};
    int off = 0, on = 1;
    int tcp = socket(AF_INET6, SOCK_STREAM, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0);
    int both[] = {tcp, udp};
    for (int i = 0; i < 2; i++) {
        setsockopt(both[i], IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        setsockopt(both[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(both[i], (struct sockaddr *)&any, sizeof any) < 0)
            die("bind");
    }
    if (listen(tcp, 64) < 0)
        die("listen");
    struct pollfd waits[2] = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}};
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        char data[2048];
        poll(waits, 2, -1);
        if (waits[1].revents) {
            struct sockaddr_storage from;
            socklen_t size = sizeof from;
            ssize_t got = recvfrom(udp, data, sizeof data, 0, (struct sockaddr *)&from, &size);
            if (got > 0)
                sendto(udp, data, (size_t)got, 0, (struct sockaddr *)&from, size);
        }
        if (waits[0].revents) {
            int one = accept(tcp, NULL, NULL);
            struct timeval patience = {.tv_sec = 2};
            setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            ssize_t got = recv(one, data, sizeof data, 0);
            if (got > 0)
                send(one, data, (size_t)got, MSG_NOSIGNAL);
            close(one);
        }
    }
}

/* RFC 1035, section 4: a header, one question; by TCP behind its length. */
static int dns(const char *server, char *name)
{
    unsigned char query[300] = {0, 0, 0x12, 0x34, 1, 0, 0, 1}, reply[2048];
    size_t size = 14;
    for (char *part = strtok(name, "."); part; part = strtok(NULL, ".")) {
        size_t length = strlen(part);
        if (length > 63 || size + length + 6 > sizeof query)
            return 2;
        query[size++] = (unsigned char)length;
        memcpy(query + size, part, length);
        size += length;
    }
    query[size] = 0;
    query[size + 2] = query[size + 4] = 1; /* an address of version 4, of the internet */
    size += 5;
    query[1] = (unsigned char)(size - 2);
    struct sockaddr_storage to;
    socklen_t place = resolve(server, "53", &to);
    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 4};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, place) < 0 || send(fd, query, size, MSG_NOSIGNAL) < 0)
        die("connect");
    if (recv(fd, reply, 2, MSG_WAITALL) != 2)
        return 0;
    ssize_t got = recv(fd, reply + 2, (size_t)(reply[0] << 8 | reply[1]) % (sizeof reply - 2), MSG_WAITALL);
    for (ssize_t i = 0; i < got; i++)
        printf("%02x", reply[i + 2]);
    return 0;
}

static int packet_socket(const char *interface, struct sockaddr_ll *at)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    if (fd < 0)
        die("socket");
    memset(at, 0, sizeof *at);
    at->sll_family = AF_PACKET;
    at->sll_protocol = htons(ETH_P_ALL);
    at->sll_ifindex = (int)if_nametoindex(interface);
    if (bind(fd, (struct sockaddr *)at, sizeof *at) < 0)
        die("bind");
    return fd;
}

static int frames(int count, char **words)
{
    struct sockaddr_ll at;
    int fd = packet_socket(words[0], &at);
    for (int i = 1; i < count; i++) {
        unsigned char frame[2048];
        size_t size = 0;
        for (const char *p = words[i]; p[0] && p[1] && size < sizeof frame; p += 2) {
            unsigned byte;
            sscanf(p, "%2x", &byte);
            frame[size++] = (unsigned char)byte;
        }
        if (send(fd, frame, size, 0) < 0)
            die("send");
    }
    return 0;
}

static int watch(const char *interface, const char *seconds, const char *marker)
{
    struct sockaddr_ll at;
    int fd = packet_socket(interface, &at);
    long end = now() + atol(seconds) * 1000;
    printf("ready\n");
    fflush(stdout);
    while (now() < end) {
        unsigned char frame[4096];
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        struct pollfd wait = {fd, POLLIN, 0};
        if (poll(&wait, 1, 100) < 1)
            continue;
        ssize_t got = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        if (got < 1 || from.sll_pkttype == PACKET_OUTGOING || !memmem(frame, (size_t)got, marker, strlen(marker)))
            continue;
        for (ssize_t i = 0; i < got; i++)
            printf("%02x", frame[i]);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}

static int bulk(int pull, const char *host, const char *port, const char *seconds)
{
    static char data[65536];
    struct sockaddr_storage to;
    socklen_t size = resolve(host, port, &to);
    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, size) < 0)
        die("connect");
    long begin = now(), end = begin + atol(seconds) * 1000;
    long long total = 0;
    while (now() < end) {
        ssize_t got = pull ? recv(fd, data, sizeof data, 0) : send(fd, data, sizeof data, MSG_NOSIGNAL);
        if (got <= 0)
            die("transfer");
        total += got;
    }
    int waiting = 0; /* what is in our own queue has not been sent */
    if (!pull && ioctl(fd, SIOCOUTQ, &waiting) < 0)
        die("ioctl");
    printf("%lld %ld\n", total - waiting, now() - begin);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 3 && !strcmp(argv[1], "probe"))
        return probes(argc - 2, argv + 2);
    if (argc == 3 && !strcmp(argv[1], "echo"))
        echo(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "dns"))
        return dns(argv[2], argv[3]);
    if (argc > 3 && !strcmp(argv[1], "frame"))
        return frames(argc - 2, argv + 2);
    if (argc == 5 && !strcmp(argv[1], "watch"))
        return watch(argv[2], argv[3], argv[4]);
    if (argc == 5 && (!strcmp(argv[1], "pull") || !strcmp(argv[1], "push")))
        return bulk(argv[1][2] == 'l', argv[2], argv[3], argv[4]);
    fprintf(stderr, "usage: reach probe|echo|dns|frame|watch|pull|push ...\n");
    return 2;
}
