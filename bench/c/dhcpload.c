/* PXE DISCOVERs of UEFI firmware from N MACs, WINDOW of them outstanding; an OFFER counts when its
   xid, MAC, message type and vendor class are right.

   dhcpload nodes=100 [interface=eth1] [window=100] [seconds=3] [patience=1]
   Prints JSON: offers within SECONDS, those lost (no answer in PATIENCE seconds), wrong ones. */
#include "frames.h"

#define DISCOVER 320

struct question {
    uint32_t xid;
    uint8_t mac[6];
    double asked;             /* 0: answered */
};

static struct wire w;
static struct question *asked;
static unsigned window, nodes;
static uint8_t template[DISCOVER];
static uint64_t offers, lost, wrong, stray, seed = 88172645463325252ull;
static uint32_t last_xid;
static double patience;
static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) % below;
}

static void make_template(void)
{
    static const uint8_t options[] =
        "\x63\x82\x53\x63\x35\x01\x01\x39\x02\x05\xc0\x37\x07\x01\x03\x06\x2b\x3c\x42\x43"
        "\x3c\x20PXEClient:Arch:00007:UNDI:003016\x5d\x02\x00\x07\x5e\x03\x01\x03\x10\x61\x11\x00";
    uint8_t *p = template;
    p[0] = 1, p[1] = 1, p[2] = 6, p[10] = 0x80;
    memcpy(p + 236, options, sizeof options - 1);
    p[236 + sizeof options - 1 + 16] = 255;  /* after the UUID, which ask() fills in */
    _Static_assert(236 + sizeof options + 16 <= DISCOVER, "the template is too short");
}

/* The MAC of node NUMBER: the same as bench/fleet.py's mac_of(). */
static void mac_of(uint32_t number, uint8_t *mac)
{
    mac[0] = 0x52, mac[1] = 0x54;
    for (int i = 0; i < 4; i++)
        mac[2 + i] = number >> (24 - 8 * i);
}

static void ask(unsigned slot, double now)
{
    struct question *q = asked + slot;
    /* the slot is part of the xid, so that an answer finds its question at once */
    q->xid = (++last_xid << 12) | slot;
    q->asked = now;
    mac_of(any(nodes), q->mac);
    uint8_t *p = wire_payload(&w);
    memcpy(p, template, DISCOVER);
    p[4] = q->xid >> 24, p[5] = q->xid >> 16, p[6] = q->xid >> 8, p[7] = q->xid;
    memcpy(p + 28, q->mac, 6);
    for (unsigned at = 240; p[at] != 255; at += 2 + p[at + 1])
        if (p[at] == 97) {
            memcpy(p + at + 3, q->mac, 6);
            break;
        }
    wire_send(&w, q->mac, everyone, 0, 68, 0xffffffff, 67, DISCOVER);
}

/* Whether P is a proxy's OFFER: an option 53 of 2, 54 there, 60 of PXEClient, no address given. */
static int is_offer(const uint8_t *p, unsigned length)
{
    int type = 0, server = 0, class = 0;
    if (length < 244 || p[0] != 2 || memcmp(p + 236, "\x63\x82\x53\x63", 4)
        || p[16] | p[17] | p[18] | p[19])
        return 0;
    for (unsigned at = 240; at + 1 < length && p[at] != 255;) {
        if (p[at] == 0) {
            at++;
            continue;
        }
        unsigned size = p[at + 1];
        if (at + 2 + size > length)
            return 0;
        const uint8_t *value = p + at + 2;
        type |= p[at] == 53 && size == 1 && value[0] == 2;
        server |= p[at] == 54 && size == 4;
        class |= p[at] == 60 && size >= 9 && !memcmp(value, "PXEClient", 9);
        at += 2 + size;
    }
    return type && server && class;
}

/* Return the slot that D answers, or -1. */
static int answered(const struct datagram *d)
{
    const uint8_t *p = d->data;
    if (d->to_port != 68 || d->length < 240)
        return -1;
    uint32_t xid = (uint32_t)p[4] << 24 | p[5] << 16 | p[6] << 8 | p[7];
    unsigned slot = xid & 4095;
    if (slot >= window || asked[slot].xid != xid || !asked[slot].asked) {
        stray++;
        return -1;
    }
    if (memcmp(p + 28, asked[slot].mac, 6) || !is_offer(p, d->length)) {
        wrong++;
        return -1;
    }
    return slot;
}

static void sweep(double now)
{
    for (unsigned slot = 0; slot < window; slot++)
        if (asked[slot].asked && now - asked[slot].asked > patience) {
            lost++;
            ask(slot, now);
        }
}

int main(int argc, char **argv)
{
    (void)argc;
    all_arguments = argv;
    nodes = number_arg("nodes", 0);
    window = number_arg("window", "100");
    patience = number_arg("patience", "1");
    if (window > 4096 || !window || !nodes)
        die("window is 1 to 4096, nodes at least 1");
    asked = need(calloc(window, sizeof *asked));
    make_template();
    wire_open(&w, 1024);
    double cpu = own_cpu(), start = now_seconds(), swept = start, seconds = number_arg("seconds", "3");
    last_xid = start * 1000;
    for (unsigned slot = 0; slot < window; slot++)
        ask(slot, start);
    wire_flush(&w);
    for (double now = start; now - start < seconds;) {
        struct datagram d;
        int some = 0;
        now = now_seconds();
        for (; some < BATCH && wire_receive(&w, &d); some++) {
            int slot = answered(&d);
            wire_release(&w);
            if (slot >= 0) {
                offers++;
                ask(slot, now);
            }
        }
        if (now - swept > 0.1) {
            sweep(now);
            swept = now;
        }
        wire_flush(&w);
        if (!some)
            wire_wait(&w, 20);
    }
    printf("{\"offers\": %lu, \"lost\": %lu, \"wrong\": %lu, \"stray\": %lu, \"seconds\": %.6f, "
           "\"drops\": %u, \"cpu\": %.4f}\n",
           offers, lost, wrong, stray, seconds, wire_drops(&w), own_cpu() - cpu);
    return 0;
}
