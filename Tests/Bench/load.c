// A load generator for HTTP/1.1 that keeps a rate, so that a slow answer does not slow the questions down (wrk cannot).
//   load ADDRESS PORT REQUEST_FILE CONNECTIONS RATE SECONDS
// Sends the bytes of REQUEST_FILE RATE times a second, evenly spaced, each on a connection that is free; latency counts from
// the moment the request was due. Prints: calls, answers that were not 200, and latency in microseconds (p50 p90 p99 max).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct { int fd, busy; size_t n; long due; char in[1 << 16]; } connection;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

// Whether the answer is complete; the stub and the gateway both say its length.
static int complete(connection *c) {
    c->in[c->n] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "\r\ncontent-length:");
    if (!end || !length || length > end) return 0;
    return c->n >= (size_t)(end - c->in) + 4 + strtoul(length + 17, 0, 10);
}

int main(int count, char **values) {
    if (count != 7) return fprintf(stderr, "usage: load ADDRESS PORT REQUEST_FILE CONNECTIONS RATE SECONDS\n"), 64;
    int connections = atoi(values[4]);
    double rate = atof(values[5]), seconds = atof(values[6]);
    static char request[1 << 16];
    FILE *file = fopen(values[3], "r");
    if (!file) return perror(values[3]), 1;
    size_t length = fread(request, 1, sizeof request, file);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(values[2]))};
    inet_pton(AF_INET, values[1], &to.sin_addr);
    int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), one = 1;
    connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (void *)&to, sizeof to)) return perror("connect"), 1;
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = -1};
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &e);
    long total = rate * seconds, sent = 0, done = 0, bad = 0, gap = 1e9 / rate, start = now() + 10000000;
    long *latency = calloc(total + 1, sizeof *latency);
    int next = 0;
    while (done < total) {
        // Everything that is due and finds a free connection; what finds none waits, and its latency counts all the same.
        while (sent < total && start + sent * gap <= now()) {
            int tries = 0;
            while (all[next].busy && tries++ < connections) next = (next + 1) % connections;
            if (all[next].busy) break;
            connection *c = &all[next];
            c->busy = 1, c->n = 0, c->due = start + sent++ * gap;
            if (write(c->fd, request, length) != (ssize_t)length) return perror("write"), 1;
            next = (next + 1) % connections;
        }
        if (sent < total) {
            long at = start + sent * gap, left = at - now();
            if (left < 1000) left = 1000;
            struct itimerspec t = {.it_value = {left / 1000000000L, left % 1000000000L}};
            timerfd_settime(timer, 0, &t, 0);
        }
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, 5000);
        if (n == 0) return fprintf(stderr, "load: no answer for five seconds\n"), 1;
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == (uint32_t)-1) {
                uint64_t ticks;
                (void)!read(timer, &ticks, sizeof ticks);
                continue;
            }
            connection *c = &all[events[i].data.u32];
            ssize_t r = read(c->fd, c->in + c->n, sizeof c->in - 1 - c->n);
            if (r <= 0) return fprintf(stderr, "load: a connection was closed\n"), 1;
            c->n += r;
            if (!complete(c)) continue;
            if (strncmp(c->in, "HTTP/1.1 200", 12) || strstr(c->in, "\"isError\":true")) bad++;
            latency[done++] = now() - c->due;
            c->busy = 0;
        }
    }
    qsort(latency, done, sizeof *latency, compare);
    printf("%ld %ld %ld %ld %ld %ld\n", done, bad, latency[done / 2] / 1000, latency[done * 9 / 10] / 1000,
           latency[done * 99 / 100] / 1000, latency[done - 1] / 1000);
}
