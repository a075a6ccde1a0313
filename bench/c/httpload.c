/* HTTP/1.1 GETs over kept connections, in one thread, each connection from an address of its own.

   httpload mode=closed path=FORMAT [conns=32] [seconds=5]   as fast as the answers come
   httpload mode=turns path=FORMAT [conns=32] [seconds=5]    one at a time, by each connection in turn
   httpload mode=open path=FORMAT rate=200 [conns=64] ...    at fixed times, however long it takes
   httpload mode=fetch path=PATH bytes=N [conns=8] [count=1] whole files, thrown away; count=0
                                                             goes on until SECONDS are over
   and: [server=10.44.0.2] [port=8080] [address=10.99.0.1, or - for any] [nodes=10000] [expect=TEXT]
        [stride=1]

   FORMAT's %s is the MAC of a node, written as in bootserve's own URLs: all nodes in turn, each
   connection's one after another, or STRIDE apart (a prime: no neighbours in memory), and never one
   node from one address twice in a row, so that each script is a new boot. An answer counts when its status is 200, it is as long as it says and EXPECT
   is in it. Latencies of mode=open run from when a request was due, so that a server that stalls is not spared the requests that it held up.
   SIGTERM ends it early. Prints JSON; "bytes" are those of whole answers, "received" those of files,
   also of parts. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define ROOM 65536

struct connection {
    int fd, busy;
    unsigned number;
    uint64_t visits;
    double due;
    size_t have;              /* bytes in the buffer */
    size_t body, left;        /* the body's length, and what is still to come of it */
    int in_body;
    unsigned done;            /* fetches */
    char buffer[ROOM + 1];
};

static struct connection *all;
static struct series latency;
static unsigned count, nodes, fetches;
static uint64_t answers, failed, bytes, received, expected_bytes, stride;
static int epoll, server_port, fetching;
static uint32_t server, first_address;
static const char *path, *expect, *server_name;
static double stop, last_answer, longest_gap, gap_at, started;
static char error[120];

static void note(const char *why)
{
    failed++;
    if (!error[0])
        snprintf(error, sizeof error, "%s", why);
    for (char *c = error; *c; c++)
        if (*c == '"' || *c == '\\' || *c < ' ')
            *c = '?';
}

static void open_connection(struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die_errno("socket");
    if (first_address) {
        struct sockaddr_in own = {.sin_family = AF_INET};
        own.sin_addr.s_addr = htonl(first_address + c->number);
        if (bind(c->fd, (struct sockaddr *)&own, sizeof own))
            die_errno("bind");
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port)};
    to.sin_addr.s_addr = htonl(server);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to))
        die_errno("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        die_errno("epoll_ctl");
    c->busy = c->in_body = 0;
    c->have = c->left = 0;
}

static void open_again(struct connection *c)
{
    close(c->fd);
    open_connection(c);
}

static void ask(struct connection *c, double due)
{
    char request[600], mac[24], where[400];
    uint64_t at = (uint64_t)c->number * nodes / count + c->visits++;
    uint32_t node = at * stride % nodes;
    snprintf(mac, sizeof mac, "52-54-%02x-%02x-%02x-%02x", node >> 24, node >> 16 & 255,
             node >> 8 & 255, node & 255);
    const char *mark = strstr(path, "%s");
    if (mark)
        snprintf(where, sizeof where, "%.*s%s%s", (int)(mark - path), path, mac, mark + 2);
    else
        snprintf(where, sizeof where, "%s", path);
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nConnection: keep-alive\r\nUser-Agent: iPXE/1.21.1\r\n"
                          "Host: %s:%d\r\n\r\n", where, server_name, server_port);
    c->busy = 1, c->due = due;
    if (send(c->fd, request, length, MSG_NOSIGNAL) != length) {
        note("the request could not be sent");
        open_again(c);
    }
}

static void answered(struct connection *c, double now)
{
    answers++;
    if (now - last_answer > longest_gap) {
        longest_gap = now - last_answer;
        gap_at = last_answer - started;
    }
    last_answer = now;
    if (!fetching)
        series_add(&latency, now - c->due);
    bytes += c->body;
    c->busy = c->in_body = 0;
    c->have = 0;
    c->done++;
}

/* Read the head of an answer that has come whole; 0 when it is none that counts. */
static int head(struct connection *c, char *end)
{
    *end = 0;
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    if (strncmp(c->buffer, "HTTP/1.1 200", 12) || !length) {
        char why[60];
        snprintf(why, sizeof why, "%.40s", c->buffer);
        note(why);
        return 0;
    }
    c->body = strtoull(length + 17, 0, 10);
    if (fetching && c->body != expected_bytes) {
        note("not as long as it should be");
        return 0;
    }
    return 1;
}

static int lost(struct connection *c, ssize_t got)
{
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return 0;
    if (c->busy || got < 0)
        note(got ? strerror(errno) : "the server closed the connection");
    open_again(c);
    return 1;
}

/* What is left of a file's body: the kernel throws it away without a copy (tcp(7), MSG_TRUNC). */
static void discard(struct connection *c, double now)
{
    while (c->left) {
        size_t most = c->left < 1 << 20 ? c->left : 1 << 20;
        ssize_t got = recv(c->fd, c->buffer, most, MSG_TRUNC);
        if (got <= 0) {
            lost(c, got);
            return;
        }
        c->left -= got;
        received += got;
        if (!c->left)
            answered(c, now);
    }
}

static void readable(struct connection *c, double now)
{
    if (c->in_body) {
        discard(c, now);
        return;
    }
    /* of a file, no more than its head should be copied here */
    size_t most = fetching ? 512 : ROOM;
    if (c->have + 1 >= ROOM)
        die("an answer of more than %d bytes", ROOM);
    ssize_t got = recv(c->fd, c->buffer + c->have, most < ROOM - c->have ? most : ROOM - c->have, 0);
    if (got <= 0) {
        lost(c, got);
        return;
    }
    c->have += got;
    c->buffer[c->have] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end)
        return;
    size_t came = c->buffer + c->have - (end + 4);
    char kept = *end;
    if (!head(c, end)) {
        open_again(c);
        return;
    }
    *end = kept;
    if (fetching && came < c->body) {
        c->in_body = 1;
        c->left = c->body - came;
        received += came;
        discard(c, now);
    } else if (came > c->body) {
        note("more than was asked for");
        open_again(c);
    } else if (came == c->body) {
        if (*expect && !strstr(end + 4, expect)) {
            note("an answer of other content");
            c->busy = 0, c->have = 0;
        } else {
            answered(c, now);
        }
    }
}

static void wait_some(double seconds)
{
    struct epoll_event events[256];
    struct timespec limit = {.tv_sec = seconds, .tv_nsec = (seconds - (long)seconds) * 1e9};
    int ready = epoll_pwait2(epoll, events, 256, &limit, 0);
    double now = now_seconds();
    for (int i = 0; i < ready; i++)
        readable(events[i].data.ptr, now);
}

static unsigned busy(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += all[i].busy;
    return sum;
}

/* Ask as soon as the answer before is there, the next connection each time. */
static void run_turns(void)
{
    for (unsigned next = 0;; next++) {
        struct connection *c = all + next % count;
        double now = now_seconds();
        if (now > stop || told_to_end)
            break;
        ask(c, now);
        while (c->busy && !told_to_end && now_seconds() < now + 10)
            wait_some(0.1);
        if (c->busy) {
            note("no answer in ten seconds");
            break;
        }
    }
}

/* Ask again as soon as an answer is there, until it is time to stop or each file was fetched. */
static void run_closed(void)
{
    for (;;) {
        double now = now_seconds();
        int more = now < stop && !told_to_end;
        for (unsigned i = 0; i < count; i++)
            if (!all[i].busy && more && (!fetches || all[i].done < fetches))
                ask(all + i, now);
        if (!busy() || now > stop + 10 || (fetching && !more) || told_to_end)
            break;
        wait_some(0.1);
    }
    if (busy() && !told_to_end && !(fetching && !fetches))
        note("no answer in ten seconds");
}

/* Send a request at each of its times; when all connections are busy it waits, and its latency
   counts that. */
static void run_open(double rate)
{
    uint64_t sent = 0, total = (stop - started) * rate;
    unsigned next = 0;
    while ((sent < total || busy()) && !told_to_end) {
        double now = now_seconds(), due = started + sent / rate;
        if (now > stop + 10) {
            note("no answer in ten seconds");
            break;
        }
        unsigned tried = 0;
        while (sent < total && due <= now && tried++ < count) {
            struct connection *c = all + next++ % count;
            if (c->busy)
                continue;
            ask(c, due);
            due = started + ++sent / rate;
        }
        double rest = due - now_seconds();
        wait_some(sent < total && rest < 0.1 && tried < count ? (rest > 0 ? rest : 0) : 0.02);
    }
}

static void report(double cpu)
{
    double elapsed = now_seconds() - started, share[] = {0.5, 0.9, 0.99, 0.999, 1};
    static const char *name[] = {"p50", "p90", "p99", "p999", "max"};
    series_sort(&latency);
    printf("{\"answers\": %lu, \"failed\": %lu, \"bytes\": %lu, \"received\": %lu, \"seconds\": %.6f, "
           "\"cpu\": %.4f, \"longest_gap\": %.6f, \"gap_at\": %.6f, ",
           answers, failed, bytes, received, elapsed, cpu, longest_gap, gap_at);
    for (int i = 0; i < 5; i++)
        printf("\"%s\": %.6f, ", name[i], series_at(&latency, share[i]));
    printf("\"error\": \"%s\"}\n", error);
}

int main(int argc, char **argv)
{
    (void)argc;
    all_arguments = argv;
    const char *mode = text_arg("mode", 0), *own = text_arg("address", "10.99.0.1");
    fetching = !strcmp(mode, "fetch");
    path = text_arg("path", 0);
    expect = text_arg("expect", "");
    count = number_arg("conns", fetching ? "8" : "32");
    nodes = number_arg("nodes", "10000");
    stride = number_arg("stride", "1");
    server_port = number_arg("port", "8080");
    server_name = text_arg("server", "10.44.0.2");
    server = ntohl(inet_addr(server_name));
    first_address = strcmp(own, "-") ? ntohl(inet_addr(own)) : 0;
    fetches = number_arg("count", fetching ? "1" : "0");
    expected_bytes = fetching ? number_arg("bytes", 0) : 0;
    if (strlen(path) > 300 || !count || !nodes)
        die("path has at most 300 characters; conns and nodes are at least 1");
    epoll = epoll_create1(0);
    all = need(calloc(count, sizeof *all));
    for (unsigned i = 0; i < count; i++) {
        all[i].number = i;
        open_connection(all + i);
    }
    end_when_told();
    double cpu = own_cpu();
    started = last_answer = now_seconds();
    stop = started + number_arg("seconds", fetching ? "600" : "5");
    if (!strcmp(mode, "open"))
        run_open(number_arg("rate", "200"));
    else if (!strcmp(mode, "turns"))
        run_turns();
    else
        run_closed();
    report(own_cpu() - cpu);
    return 0;
}
