/* Keeps a proxy busy: so many connections, on each of them one request behind the other, until all are answered.

   load PORT CONNECTIONS REQUESTS STATUSES

   REQUESTS is a file of whole requests, each ended by a NUL; STATUSES gets the status of each, in their order (uint16).
   Every answer must have a Content-Length. Prints the nanoseconds from the first connection to the last answer, and how
   many connections were opened. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 16 };

struct connection {
    int fd;
    long asked; /* which request it waits for; -1 for none */
    size_t got;
    char in[ROOM];
};

static int port, poll_fd;
static char **requests;
static long count, next, answered, opened;
static uint16_t *statuses;

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to))
        give_up("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event))
        give_up("epoll_ctl");
    opened++;
}

/* Sends the next request, if there is one. */
static void ask(struct connection *c)
{
    c->asked = next < count ? next++ : -1;
    c->got = 0;
    if (c->asked < 0)
        return;
    size_t size = strlen(requests[c->asked]);
    if (write(c->fd, requests[c->asked], size) != (ssize_t)size)
        give_up("write");
}

/* Returns whether the answer is there as a whole, and notes its status. */
static int is_whole(struct connection *c)
{
    c->in[c->got] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end)
        return 0;
    char *length = strcasestr(c->in, "\r\nContent-Length:");
    if (!length || length > end) {
        fprintf(stderr, "an answer without a length: %.200s\n", c->in);
        exit(1);
    }
    if (c->got < (size_t)(end + 4 - c->in) + strtoul(length + 17, NULL, 10))
        return 0;
    statuses[c->asked] = atoi(c->in + 9);
    answered++;
    return 1;
}

static void receive(struct connection *c)
{
    ssize_t n = read(c->fd, c->in + c->got, ROOM - 1 - c->got);
    if (n <= 0) {
        if (c->asked >= 0)
            give_up("the proxy has closed a connection");
        close(c->fd);
        return;
    }
    c->got += n;
    if (c->asked < 0 || !is_whole(c))
        return;
    char *closes = strcasestr(c->in, "\r\nConnection: close");
    if (closes && closes < strstr(c->in, "\r\n\r\n")) {
        close(c->fd);
        if (next < count)
            open_connection(c);
    }
    ask(c);
}

static void read_requests(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        give_up(path);
    long size = ftell(file);
    rewind(file);
    char *data = malloc(size + 1);
    if (!data || fread(data, 1, size, file) != (size_t)size)
        give_up(path);
    fclose(file);
    for (long i = 0; i < size; i++)
        count += data[i] == 0;
    requests = malloc((count + 1) * sizeof *requests);
    statuses = calloc(count + 1, sizeof *statuses);
    for (long i = 0; i < count; i++, data += strlen(data) + 1)
        requests[i] = data;
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];

    if (argc != 5)
        return 2;
    port = atoi(argv[1]);
    int connections = atoi(argv[2]);
    read_requests(argv[3]);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc(connections, sizeof *all);
    uint64_t begun = now();
    for (int i = 0; i < connections && next < count; i++) {
        open_connection(&all[i]);
        ask(&all[i]);
    }
    while (answered < count) {
        int n = epoll_wait(poll_fd, events, 64, 20000);
        if (n <= 0) {
            fprintf(stderr, "no answer for 20 seconds, %ld of %ld are there\n", answered, count);
            return 1;
        }
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    uint64_t took = now() - begun;
    FILE *out = fopen(argv[4], "wb");
    if (!out || fwrite(statuses, sizeof *statuses, count, out) != (size_t)count || fclose(out))
        give_up(argv[4]);
    printf("%llu %ld\n", (unsigned long long)took, opened);
    return 0;
}
