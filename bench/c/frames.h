/* Ethernet frames in and out without the IP stack: one packet socket speaks for any number of
   machines, at a fraction of what a UDP socket for each would cost, so that the generator is not
   what is measured. */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common.h"

#define HEADERS (14 + 20 + 8)
#define BATCH 64
#define MAX_SENT 700
#define LARGE 65536

struct wire {
    int in, out;
    unsigned frames, frame_size, next;
    uint8_t *ring, *large;
    uint8_t own_mac[6], server_mac[6];
    uint32_t server;              /* host order */
    unsigned waiting;             /* frames not yet sent */
    uint8_t buffers[BATCH][MAX_SENT];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    uint64_t cut;                 /* frames that had no room: lost here, by this program */
};

struct datagram {
    uint32_t from, to;            /* host order */
    uint16_t from_port, to_port;
    const uint8_t *data;
    unsigned length;              /* of several segments when the sender uses UDP_SEGMENT */
};

static void read_mac(const char *text, uint8_t *mac)
{
    unsigned v[6];
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", v, v + 1, v + 2, v + 3, v + 4, v + 5) != 6)
        die("%s is not a MAC address", text);
    for (int i = 0; i < 6; i++)
        mac[i] = v[i];
}

static uint32_t read_address(const char *text)
{
    struct in_addr address;
    if (!inet_aton(text, &address))
        die("%s is not an IPv4 address", text);
    return ntohl(address.s_addr);
}

static int packet_socket(const char *interface, int protocol)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(protocol));
    if (fd < 0)
        die_errno("packet socket");
    struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
    where.sll_ifindex = if_nametoindex(interface);
    if (!where.sll_ifindex || bind(fd, (struct sockaddr *)&where, sizeof where))
        die_errno(interface);
    return fd;
}

/* Open INTERFACE with a ring of FRAMES frames of 2 KiB; a small one stays in the cache. What a
   sender's UDP_SEGMENT made larger than the MTU comes by the socket's queue (packet(7),
   PACKET_COPY_THRESH). */
static void wire_open(struct wire *w, unsigned frames)
{
    const char *interface = text_arg("interface", "eth1");
    memset(w, 0, sizeof *w);
    w->frames = frames;
    w->frame_size = 2048;
    w->large = need(malloc(LARGE));
    w->in = packet_socket(interface, ETH_P_IP);
    w->out = packet_socket(interface, 0);
    int version = TPACKET_V2;
    if (setsockopt(w->in, SOL_PACKET, PACKET_VERSION, &version, sizeof version))
        die_errno("PACKET_VERSION");
    struct tpacket_req request = {.tp_frame_size = w->frame_size, .tp_frame_nr = frames};
    request.tp_block_size = LARGE;
    request.tp_block_nr = frames * w->frame_size / LARGE;
    int room = 32 << 20, threshold = 1;
    if (setsockopt(w->in, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room)
        || setsockopt(w->in, SOL_PACKET, PACKET_COPY_THRESH, &threshold, sizeof threshold))
        die_errno("PACKET_COPY_THRESH");
    if (setsockopt(w->in, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
        die_errno("PACKET_RX_RING");
    size_t size = (size_t)frames * w->frame_size;
    w->ring = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, w->in, 0);
    if (w->ring == MAP_FAILED)
        die_errno("mmap of the ring");
    struct ifreq about = {0};
    snprintf(about.ifr_name, IFNAMSIZ, "%s", interface);
    if (ioctl(w->in, SIOCGIFHWADDR, &about))
        die_errno(interface);
    memcpy(w->own_mac, about.ifr_hwaddr.sa_data, 6);
    read_mac(text_arg("server-mac", "ff:ff:ff:ff:ff:ff"), w->server_mac);
    w->server = read_address(text_arg("server", "10.44.0.2"));
    for (int i = 0; i < BATCH; i++) {
        w->parts[i].iov_base = w->buffers[i];
        w->messages[i].msg_hdr.msg_iov = &w->parts[i];
        w->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static void wire_flush(struct wire *w)
{
    unsigned done = 0;
    while (done < w->waiting) {
        int sent = sendmmsg(w->out, w->messages + done, w->waiting - done, 0);
        if (sent > 0)
            done += sent;
        else if (errno == ENOBUFS || errno == EAGAIN)
            done++, w->cut++;  /* lost, as on any network: who waits for it asks again */
        else if (errno != EINTR)
            die_errno("sendmmsg");
    }
    w->waiting = 0;
}

static uint16_t ip_checksum(const uint8_t *header)
{
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += header[i] << 8 | header[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* Return where the payload of the next frame goes; it is at most MAX_SENT - HEADERS bytes, and
   wire_send() says how many. */
static uint8_t *wire_payload(struct wire *w)
{
    if (w->waiting == BATCH)
        wire_flush(w);
    return w->buffers[w->waiting] + HEADERS;
}

static void wire_send(struct wire *w, const uint8_t *from_mac, const uint8_t *to_mac, uint32_t from,
                      uint16_t from_port, uint32_t to, uint16_t to_port, unsigned length)
{
    uint8_t *f = w->buffers[w->waiting], *ip = f + 14;
    memcpy(f, to_mac, 6);
    memcpy(f + 6, from_mac, 6);
    f[12] = 8, f[13] = 0;
    struct iphdr head = {.ihl = 5, .version = 4, .ttl = 64, .protocol = IPPROTO_UDP};
    head.tot_len = htons(28 + length);
    head.frag_off = htons(0x4000);
    head.saddr = htonl(from);
    head.daddr = htonl(to);
    memcpy(ip, &head, 20);
    uint16_t sum = htons(ip_checksum(ip));
    memcpy(ip + 10, &sum, 2);
    /* no UDP checksum: RFC 768 allows that, and the veth would not compute one either */
    struct udphdr udp = {.uh_sport = htons(from_port), .uh_dport = htons(to_port)};
    udp.uh_ulen = htons(8 + length);
    memcpy(ip + 20, &udp, 8);
    w->parts[w->waiting++].iov_len = HEADERS + length;
}

/* Read the UDP datagram in the CAUGHT bytes at IP; 0 when they are none. */
static int wire_parse(const uint8_t *ip, unsigned caught, struct datagram *d)
{
    if (caught < 28)
        return 0;
    unsigned total = ip[2] << 8 | ip[3], skip = (ip[0] & 15) * 4;
    int fragment = (ip[6] << 8 | ip[7]) & 0x3fff;
    if (ip[9] != IPPROTO_UDP || fragment || total > caught || skip < 20 || total < skip + 8)
        return 0;
    const uint8_t *udp = ip + skip;
    d->from = (uint32_t)ip[12] << 24 | ip[13] << 16 | ip[14] << 8 | ip[15];
    d->to = (uint32_t)ip[16] << 24 | ip[17] << 16 | ip[18] << 8 | ip[19];
    d->from_port = udp[0] << 8 | udp[1];
    d->to_port = udp[2] << 8 | udp[3];
    d->data = udp + 8;
    d->length = total - skip - 8;
    return 1;
}

static int wire_parse_large(struct wire *w, struct datagram *d)
{
    ssize_t got = recv(w->in, w->large, LARGE, MSG_DONTWAIT);
    return got > 14 && wire_parse(w->large + 14, got - 14, d);
}

static struct tpacket2_hdr *wire_next(struct wire *w)
{
    return (void *)(w->ring + (size_t)w->next * w->frame_size);
}

static void wire_release(struct wire *w)
{
    __atomic_store_n(&wire_next(w)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    w->next = (w->next + 1) % w->frames;
}

/* Take one UDP datagram from the ring: 1 when there is one, 0 when the ring is empty. Its bytes
   are good until wire_release(). */
static int wire_receive(struct wire *w, struct datagram *d)
{
    for (;;) {
        struct tpacket2_hdr *head = wire_next(w);
        unsigned status = __atomic_load_n(&head->tp_status, __ATOMIC_ACQUIRE);
        if (!(status & TP_STATUS_USER))
            return 0;
        unsigned caught = head->tp_snaplen - (head->tp_net - head->tp_mac);
        if (status & TP_STATUS_COPY ? wire_parse_large(w, d)
                                    : wire_parse((uint8_t *)head + head->tp_net, caught, d))
            return 1;
        w->cut += head->tp_snaplen < head->tp_len && !(status & TP_STATUS_COPY);
        wire_release(w);
    }
}

static void wire_wait(struct wire *w, int milliseconds)
{
    struct pollfd one = {.fd = w->in, .events = POLLIN};
    if (poll(&one, 1, milliseconds) < 0 && errno != EINTR)
        die_errno("poll");
}

/* Frames that the kernel had no room for in the ring: the generator's own losses. */
static unsigned wire_drops(struct wire *w)
{
    struct tpacket_stats stats = {0};
    socklen_t size = sizeof stats;
    getsockopt(w->in, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    return stats.tp_drops + w->cut;
}

#endif
