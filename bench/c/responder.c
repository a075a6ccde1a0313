/* The least that a server can do, to see how far the generators and the system calls reach: it
   makes no decision and keeps nothing.

   responder mode=tftp file=PATH [batch=1] [segment=1] [address=10.44.0.2]
       blksize 1428; batch: datagrams in one system call (1: recvfrom and sendto);
       segment=1: a window leaves in one sendmsg with UDP_SEGMENT
   responder mode=dhcp [batch=1] [interface=eth1]   every DISCOVER is answered with one OFFER
   responder mode=http file=PATH [port=8080]        every request is answered with the file's bytes
   It runs until it is ended, in one thread. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define BATCH 64
#define BLOCK 1428

static uint8_t *content;
static size_t size;
static int batch, segment;

static void load(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status))
        die_errno(path);
    size = status.st_size;
    content = need(malloc(size));
    if (read(fd, content, size) != (ssize_t)size)
        die_errno(path);
    close(fd);
}

static int udp_socket(uint32_t address, int port, const char *interface)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1, room = 4 << 20;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    own.sin_addr.s_addr = address;
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, strlen(interface));
    if (bind(fd, (struct sockaddr *)&own, sizeof own))
        die_errno("bind");
    return fd;
}

/* The blocks as DATA packets, one behind the other: what a window needs is one slice of it. */
static uint8_t *packets;
static unsigned blocks;

static void lay_out(void)
{
    blocks = size / BLOCK + 1;
    packets = need(calloc(blocks, BLOCK + 4));
    for (unsigned i = 0; i < blocks; i++) {
        uint8_t *p = packets + (size_t)i * (BLOCK + 4);
        size_t left = size - (size_t)i * BLOCK;
        p[1] = 3, p[2] = (i + 1) >> 8, p[3] = i + 1;
        memcpy(p + 4, content + (size_t)i * BLOCK, left < BLOCK ? left : BLOCK);
    }
}

/* Each client's window is in its port's row: clients here use one address each, so the low bits
   of the address tell them apart. */
static uint8_t windows[65536];

static unsigned tftp_answer(const uint8_t *p, ssize_t length, struct sockaddr_in *who,
                            struct iovec *out, uint8_t *scratch)
{
    uint8_t *window = windows + (ntohl(who->sin_addr.s_addr) & 65535);
    if (length >= 4 && p[1] == 1) {
        const char *found = memmem(p, length, "windowsize", 11);
        *window = found ? atoi(found + 11) : 1;
        int at = 2 + sprintf((char *)scratch + 2, "blksize") + 1;
        at += sprintf((char *)scratch + at, "%d", BLOCK) + 1;
        if (found) {
            at += sprintf((char *)scratch + at, "windowsize") + 1;
            at += sprintf((char *)scratch + at, "%d", *window) + 1;
        }
        scratch[0] = 0, scratch[1] = 6;
        *out = (struct iovec){scratch, at};
        return 1;
    }
    unsigned block = p[2] << 8 | p[3], count = *window ? *window : 1;
    if (length < 4 || p[1] != 4 || block >= blocks)
        return 0;
    if (block + count > blocks)
        count = blocks - block;
    size_t bytes = (size_t)count * (BLOCK + 4);
    if (block + count == blocks)
        bytes -= BLOCK - size % BLOCK;
    *out = (struct iovec){packets + (size_t)block * (BLOCK + 4), bytes};
    return count;
}

static void send_segmented(int fd, struct msghdr *m)
{
    char room[CMSG_SPACE(sizeof(uint16_t))] = {0};
    m->msg_control = room, m->msg_controllen = sizeof room;
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_UDP, c->cmsg_type = UDP_SEGMENT, c->cmsg_len = CMSG_LEN(2);
    *(uint16_t *)CMSG_DATA(c) = BLOCK + 4;
    sendmsg(fd, m, 0);
    m->msg_control = 0, m->msg_controllen = 0;
}

static void send_blocks(int fd, struct msghdr *m, unsigned count)
{
    uint8_t *p = m->msg_iov->iov_base;
    size_t left = m->msg_iov->iov_len;
    if (segment && count > 1) {
        send_segmented(fd, m);
        return;
    }
    for (; left; p += BLOCK + 4) {
        size_t one = left < BLOCK + 4 ? left : BLOCK + 4;
        sendto(fd, p, one, 0, m->msg_name, m->msg_namelen);
        left -= one;
    }
}

/* Read up to BATCH datagrams, and let ANSWER make a reply of each, one system call each way. */
static void serve_udp(int fd, unsigned (*answer)(const uint8_t *, ssize_t, struct sockaddr_in *,
                                                 struct iovec *, uint8_t *))
{
    static uint8_t in[BATCH][2048], scratch[BATCH][1024];
    static struct sockaddr_in from[BATCH];
    static struct iovec into[BATCH], out[BATCH];
    static struct mmsghdr ask[BATCH], tell[BATCH];
    for (;;) {
        for (int i = 0; i < batch; i++) {
            into[i] = (struct iovec){in[i], sizeof in[i]};
            ask[i].msg_hdr = (struct msghdr){from + i, sizeof from[i], into + i, 1, 0, 0, 0};
        }
        int got, ready = 0;
        if (batch == 1) {
            socklen_t length = sizeof from[0];
            ssize_t bytes = recvfrom(fd, in[0], 2048, 0, (struct sockaddr *)from, &length);
            ask[0].msg_len = bytes;
            got = bytes > 0;
        } else {
            got = recvmmsg(fd, ask, batch, MSG_WAITFORONE, 0);
        }
        for (int i = 0; i < got; i++) {
            unsigned count = answer(in[i], ask[i].msg_len, from + i, out + ready, scratch[i]);
            if (!count)
                continue;
            struct msghdr *m = &tell[ready].msg_hdr;
            *m = (struct msghdr){from + i, sizeof from[i], out + ready, 1, 0, 0, 0};
            if (batch == 1 || count > 1)
                send_blocks(fd, m, count);
            else
                ready++;
        }
        for (int done = 0; done < ready;) {
            int sent = sendmmsg(fd, tell + done, ready - done, 0);
            done += sent > 0 ? sent : 1;
        }
    }
}

static unsigned dhcp_answer(const uint8_t *p, ssize_t length, struct sockaddr_in *who,
                            struct iovec *out, uint8_t *scratch)
{
    static const uint8_t options[] = "\x63\x82\x53\x63\x35\x01\x02\x36\x04\x0a\x2c\x00\x02"
                                     "\x3c\x09PXEClient\x2b\x04\x06\x01\x08\xff"
                                     "\x43\x09ipxe.efi\0\xff";
    if (length < 240)
        return 0;
    memcpy(scratch, p, 44);
    memset(scratch + 44, 0, 192);
    scratch[0] = 2;
    memcpy(scratch + 236, options, sizeof options);
    who->sin_addr.s_addr = INADDR_BROADCAST;
    who->sin_port = htons(68);
    *out = (struct iovec){scratch, 300};
    return 1;
}

static void serve_http(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, poll = epoll_create1(0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(number_arg("port", "8080"))};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) || listen(fd, 1024))
        die_errno("port");
    char *answer = need(malloc(size + 200)), request[4096];
    size_t length = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
    memcpy(answer + length, content, size);
    length += size;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd}, events[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int from = events[i].data.fd;
            if (from == fd) {
                event.data.fd = accept(fd, 0, 0);
                setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event);
            } else if (recv(from, request, sizeof request, 0) <= 0
                       || send(from, answer, length, MSG_NOSIGNAL) < 0) {
                close(from);
            }
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    all_arguments = argv;
    const char *mode = text_arg("mode", 0);
    batch = number_arg("batch", "1");
    segment = number_arg("segment", "1");
    if (batch < 1 || batch > BATCH)
        die("batch is 1 to %d", BATCH);
    if (!strcmp(mode, "dhcp"))
        serve_udp(udp_socket(INADDR_ANY, 67, text_arg("interface", "eth1")), dhcp_answer);
    load(text_arg("file", 0));
    if (!strcmp(mode, "tftp")) {
        lay_out();
        in_addr_t own = inet_addr(text_arg("address", "10.44.0.2"));
        serve_udp(udp_socket(own, 69, ""), tftp_answer);
    } else if (!strcmp(mode, "http")) {
        serve_http();
    }
    die("mode is tftp, dhcp or http");
}
