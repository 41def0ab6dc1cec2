/* The least a probe of one record, Redis and NATS can cost: the same bytes on
 * the wire (run.py compares them), blocking, one after another.
 * usage: floor_net RECORD REDIS_PORT NATS_PORT (both on 127.0.0.1) */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One connection, and what was read from it but not yet taken. */
struct peer {
    const char *name;
    int fd;
    size_t used;
    char data[16384];
};

static void fail(const char *name, const char *what)
{
    fprintf(stderr, "unhealthy: %s: %s\n", name, what);
    exit(1);
}

static void dial(struct peer *peer, const char *name, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    peer->name = name;
    peer->used = 0;
    address.sin_port = htons((unsigned short)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0)
        fail(name, "no socket");
    if (connect(peer->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail(name, "can't connect");
}

static void put(struct peer *peer, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t sent = send(peer->fd, text, left, MSG_NOSIGNAL);
        if (sent <= 0)
            fail(peer->name, "can't send");
        text += sent;
        left -= (size_t)sent;
    }
}

/* Moves the next line, without its end, into `line`. */
static void get_line(struct peer *peer, char *line, size_t size)
{
    char *end;

    while (!(end = memchr(peer->data, '\n', peer->used))) {
        if (peer->used == sizeof peer->data)
            fail(peer->name, "line too long");
        ssize_t got = recv(peer->fd, peer->data + peer->used, sizeof peer->data - peer->used, 0);
        if (got <= 0)
            fail(peer->name, "connection lost");
        peer->used += (size_t)got;
    }
    size_t taken = (size_t)(end - peer->data) + 1;
    size_t length = taken - 1;
    if (length > 0 && peer->data[length - 1] == '\r')
        length--;
    if (length >= size)
        length = size - 1;
    memcpy(line, peer->data, length);
    line[length] = '\0';
    peer->used -= taken;
    memmove(peer->data, peer->data + taken, peer->used);
}

static void ask_redis(struct peer *peer, const char *port)
{
    char line[64];

    dial(peer, "redis", port);
    put(peer, "*1\r\n$4\r\nPING\r\n");
    get_line(peer, line, sizeof line);
    if (strcmp(line, "+PONG") != 0)
        fail("redis", line);
    close(peer->fd);
}

static void ask_nats(struct peer *peer, const char *port)
{
    char line[64];

    dial(peer, "nats", port);
    get_line(peer, line, sizeof line);
    if (strncmp(line, "INFO ", 5) != 0)
        fail("nats", line);
    put(peer, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,"
              "\"name\":\"ready-probe\",\"lang\":\"rust\",\"version\":\"0.1.0\",\"protocol\":1}\r\n"
              "PING\r\n");
    do
        get_line(peer, line, sizeof line);
    while (strcmp(line, "+OK") == 0);
    if (strcmp(line, "PONG") != 0)
        fail("nats", line);
    close(peer->fd);
}

static ssize_t read_record(const char *path)
{
    static char record[4096];

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail(path, "can't open");
    ssize_t size = read(fd, record, sizeof record);
    if (size <= 0)
        fail(path, "empty or unreadable");
    close(fd);
    return size;
}

int main(int argc, char **argv)
{
    static struct peer peer;

    if (argc != 4) {
        fprintf(stderr, "usage: floor_net RECORD REDIS_PORT NATS_PORT\n");
        return 1;
    }
    ssize_t size = read_record(argv[1]);
    ask_redis(&peer, argv[2]);
    ask_nats(&peer, argv[3]);
    printf("healthy: 1 record of %zd bytes, redis, nats\n", size);
    return 0;
}
