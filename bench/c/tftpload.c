/* N TFTP clients at once (RFC 1350, 2347, 2348, 7440), each with an address of its own, each
   fetching the same file again and again; every byte is compared with the file.

   tftpload server-mac=MAC name=NAME file=PATH [server=ADDRESS] [interface=eth1]
            [clients=1] [blksize=1428] [windowsize=1] [seconds=3] [address=10.98.0.1]
            [resend=1] [patience=10] [grace=45] [probe=0]
   The last packet is sent again after RESEND seconds without progress, then after twice that, and
   so on; after PATIENCE times, or GRACE seconds after SECONDS, the transfer has failed.
   With PROBE each asks for the file's size first and takes leave with an ERROR, as OVMF does.
   No transfer begins after SECONDS; those under way go on to their end. Prints JSON: "in_time" is
   the bytes that came within SECONDS, which makes the rate; "bytes" those of whole transfers. SIGTERM ends it
   early. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frames.h"

enum state { IDLE, PROBING, ASKED, READING };

struct client {
    enum state state;
    uint16_t port, server_port;
    unsigned blksize, windowsize, in_window;
    uint32_t block;               /* the last one that came in order */
    size_t got;
    int retries, gap;
    double began, heard, not_before;
};

static struct {
    unsigned long transfers, refused, timed_out, wrong, resent, stray;
    uint64_t bytes, in_time;
    char error[80];
} seen;

static struct wire w;
static struct client *clients;
static struct series took;
static const uint8_t *content;
static size_t content_size;
static uint32_t base;
static unsigned count, want_blksize, want_window, want_probe;
static const char *name;
static double deadline, resend_after, grace;
static int patience;
static uint16_t first_port;

static void transmit(struct client *c, unsigned length)
{
    uint16_t port = c->server_port ? c->server_port : 69;
    wire_send(&w, w.own_mac, w.server_mac, base + (c - clients), c->port, w.server, port, length);
}

static void ask(struct client *c)
{
    uint8_t *p = wire_payload(&w);
    int at = 2;
    p[0] = 0, p[1] = 1;
    at += sprintf((char *)p + at, "%s", name) + 1;
    at += sprintf((char *)p + at, "octet") + 1;
    at += sprintf((char *)p + at, "blksize") + 1;
    at += sprintf((char *)p + at, "%u", want_blksize) + 1;
    if (c->state == PROBING)
        at += sprintf((char *)p + at, "tsize") + 1, at += sprintf((char *)p + at, "0") + 1;
    if (want_window > 1) {
        at += sprintf((char *)p + at, "windowsize") + 1;
        at += sprintf((char *)p + at, "%u", want_window) + 1;
    }
    transmit(c, at);
}

static void acknowledge(struct client *c)
{
    uint8_t *p = wire_payload(&w);
    p[0] = 0, p[1] = 4, p[2] = c->block >> 8, p[3] = c->block;
    c->in_window = 0;
    transmit(c, 4);
}

static void begin_as(struct client *c, enum state state, double began, double now)
{
    uint16_t port = c->port >= 60000 ? 2048 : (c->port ? c->port : first_port) + 1;
    *c = (struct client){.state = state, .port = port, .blksize = 512, .windowsize = 1};
    c->began = began, c->heard = now;
    ask(c);
}

static void begin(struct client *c, double now)
{
    begin_as(c, want_probe ? PROBING : ASKED, now, now);
}

/* Take leave, and ask for the file from another port. */
static void know_the_size(struct client *c, double now)
{
    uint8_t *p = wire_payload(&w);
    memcpy(p, "\0\5\0\10User aborted the transfer", 30);
    transmit(c, 30);
    begin_as(c, ASKED, c->began, now);
}

static void failed(struct client *c, unsigned long *kind, const char *why, unsigned length)
{
    ++*kind;
    if (!seen.error[0])
        for (unsigned i = 0; i < length && i < sizeof seen.error - 1 && why[i]; i++)
            seen.error[i] = why[i] >= ' ' && why[i] < 127 && why[i] != '"' && why[i] != '\\'
                                ? why[i] : '?';
    c->state = IDLE;
    c->not_before = c->heard + resend_after;  /* as a firmware would not hammer either */
}

/* Read the options of an OACK: pairs of strings that end with NUL. */
static int options(struct client *c, const uint8_t *p, unsigned length)
{
    const char *at = (const char *)p, *end = at + length;
    while (at < end) {
        const char *value = memchr(at, 0, end - at);
        if (!value || ++value >= end || !memchr(value, 0, end - value))
            return 0;
        unsigned number = strtoul(value, 0, 10);
        if (!strcasecmp(at, "blksize"))
            c->blksize = number;
        else if (!strcasecmp(at, "windowsize"))
            c->windowsize = number;
        at = value + strlen(value) + 1;
    }
    return c->blksize >= 8 && c->blksize <= want_blksize && c->windowsize >= 1
           && c->windowsize <= want_window;
}

static void data(struct client *c, const uint8_t *p, unsigned length, double now)
{
    uint16_t block = p[2] << 8 | p[3];
    unsigned size = length - 4;
    if (block != (uint16_t)(c->block + 1)) {
        /* RFC 7440 section 4: a block out of order is answered once, with what is there */
        if (!c->gap) {
            c->gap = 1;
            acknowledge(c);
        }
        return;
    }
    if (size > c->blksize || c->got + size > content_size
        || memcmp(p + 4, content + c->got, size)) {
        failed(c, &seen.wrong, "a wrong byte, or too many", 40);
        return;
    }
    if (now < deadline)
        seen.in_time += size;
    c->block++, c->got += size, c->gap = 0, c->retries = 0, c->heard = now;
    if (size == c->blksize) {
        if (++c->in_window >= c->windowsize)
            acknowledge(c);
        return;
    }
    acknowledge(c);
    if (c->got != content_size) {
        failed(c, &seen.wrong, "the file ended too early", 40);
        return;
    }
    seen.transfers++;
    seen.bytes += c->got;
    series_add(&took, now - c->began);
    c->state = IDLE;
}

static void packet(struct client *c, const uint8_t *p, unsigned length, double now)
{
    if (length < 4)
        return;
    unsigned opcode = p[0] << 8 | p[1];
    if (opcode == 5) {
        failed(c, &seen.refused, (const char *)p + 4, length - 4);
    } else if (opcode == 6 && c->state == PROBING) {
        know_the_size(c, now);
    } else if (opcode == 6 && c->block == 0) {
        if (c->state == ASKED && !options(c, p + 2, length - 2)) {
            failed(c, &seen.wrong, "unusable options", 40);
            return;
        }
        c->state = READING, c->heard = now;
        acknowledge(c);
    } else if (opcode == 3 && c->state != PROBING) {
        if (c->state == ASKED && (p[2] || p[3] != 1)) {
            seen.stray++;  /* of a transfer that this port had before */
            return;
        }
        c->state = READING;
        data(c, p, length, now);
    }
}

static void receive(const struct datagram *d, double now)
{
    uint32_t number = d->to - base;
    if (number >= count)
        return;  /* not for any of these clients */
    struct client *c = clients + number;
    if (d->to_port != c->port || c->state == IDLE || d->from != w.server
        || (c->server_port && d->from_port != c->server_port)) {
        seen.stray++;
        return;
    }
    c->server_port = d->from_port;
    unsigned step = c->state == READING ? c->blksize + 4 : d->length;
    for (unsigned at = 0; at < d->length && c->state != IDLE; at += step)
        packet(c, d->data + at, d->length - at < step ? d->length - at : step, now);
}

static void resend(struct client *c, double now)
{
    if (c->state != IDLE && now > deadline + grace)
        failed(c, &seen.timed_out, "too slow", 40);
    if (c->state == IDLE || now < c->heard + resend_after * (c->retries + 1))
        return;
    if (++c->retries > patience) {
        failed(c, &seen.timed_out, "no answer", 40);
        return;
    }
    seen.resent++;
    if (c->state == ASKED || c->state == PROBING)
        ask(c);
    else
        acknowledge(c);
}

static int due(const struct client *c, double now)
{
    return c->state == IDLE && now < deadline && now >= c->not_before;
}

/* Begin at most LIMIT transfers that are due, and return how many clients are busy. A storm of
   power-ons is never sharper than this, and no server's socket buffer need hold it all. */
static unsigned sweep(double now, unsigned limit)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < count; i++) {
        resend(clients + i, now);
        if (due(clients + i, now) && limit) {
            begin(clients + i, now);
            limit--;
        }
        busy += clients[i].state != IDLE;
    }
    return busy;
}

static void load(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status))
        die_errno(path);
    content_size = status.st_size;
    content = mmap(0, content_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (content == MAP_FAILED)
        die_errno(path);
}

static void report(double asked, double elapsed, double cpu)
{
    unsigned long failures = seen.refused + seen.timed_out + seen.wrong;
    series_sort(&took);
    printf("{\"transfers\": %lu, \"failed\": %lu, \"refused\": %lu, \"timed_out\": %lu, "
           "\"wrong\": %lu, \"resent\": %lu, \"stray\": %lu, \"bytes\": %lu, "
           "\"in_time\": %lu, \"seconds\": %.6f, \"elapsed\": %.6f, "
           "\"transfer_p50\": %.6f, \"transfer_max\": %.6f, \"drops\": %u, \"cpu\": %.4f, "
           "\"windowsize\": %u, \"error\": \"%s\"}\n",
           seen.transfers, failures, seen.refused, seen.timed_out, seen.wrong, seen.resent,
           seen.stray, seen.bytes, seen.in_time, asked, elapsed, series_at(&took, 0.5),
           series_at(&took, 1), wire_drops(&w), cpu, clients[0].windowsize, seen.error);
}

int main(int argc, char **argv)
{
    (void)argc;
    all_arguments = argv;
    name = text_arg("name", 0);
    count = number_arg("clients", "1");
    want_blksize = number_arg("blksize", "1428");
    want_window = number_arg("windowsize", "1");
    want_probe = number_arg("probe", "0");
    /* not the ports of the last run, whose transfers the server may still be at */
    first_port = 2048 + (uint64_t)(now_seconds() * 997) % 50000;
    resend_after = number_arg("resend", "1");
    patience = number_arg("patience", "10");
    grace = number_arg("grace", "45");
    base = read_address(text_arg("address", "10.98.0.1"));
    load(text_arg("file", 0));
    if (strlen(name) > 200)
        die("the name is too long");
    clients = need(calloc(count, sizeof *clients));
    unsigned frames = 1024;  /* room for all that can be under way at once */
    while (frames < count * want_window && frames < 65536)
        frames *= 2;
    wire_open(&w, frames);
    double cpu = own_cpu(), start = now_seconds(), asked = number_arg("seconds", "3"), swept = 0;
    deadline = start + asked;
    end_when_told();
    for (unsigned busy = 1; busy && !told_to_end;) {
        double now = now_seconds();
        struct datagram d;
        int some = 0;
        for (; some < BATCH && wire_receive(&w, &d); some++) {
            uint32_t number = d.to - base;
            receive(&d, now);
            wire_release(&w);
            if (number < count && due(clients + number, now))
                begin(clients + number, now);
        }
        if (now - swept > 0.002) {
            busy = sweep(now, 20);
            if (now < deadline)
                busy = 1;
            swept = now;
        }
        wire_flush(&w);
        if (!some)
            wire_wait(&w, 2);
    }
    report(asked, now_seconds() - start, own_cpu() - cpu);
    return 0;
}
