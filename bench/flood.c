/* A server that sends without end: accepts, sends PREFIX once, then PATTERN as
 * fast as the client takes it. Prints its port on 127.0.0.1 when it listens.
 * It ends when its standard input does, so it can't outlive who started it.
 * usage: flood PREFIX PATTERN */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *prefix;
static size_t flood_size;
static char flood[1 << 18];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Whole patterns only, so that one send joins the next. */
static void fill(const char *pattern)
{
    size_t length = strlen(pattern);

    if (length == 0 || length > sizeof flood) {
        fprintf(stderr, "flood: the pattern has a bad length\n");
        exit(1);
    }
    while (flood_size + length <= sizeof flood) {
        memcpy(flood + flood_size, pattern, length);
        flood_size += length;
    }
}

static int send_all(int fd, const char *data, size_t left)
{
    while (left > 0) {
        ssize_t sent = send(fd, data, left, MSG_NOSIGNAL);
        if (sent <= 0)
            return 0;
        data += sent;
        left -= (size_t)sent;
    }
    return 1;
}

static void *serve(void *argument)
{
    int fd = (int)(long)argument;

    if (send_all(fd, prefix, strlen(prefix)))
        while (send_all(fd, flood, flood_size))
            ;
    close(fd);
    return NULL;
}

static void *end_with_stdin(void *unused)
{
    char byte;

    (void)unused;
    while (read(0, &byte, 1) > 0)
        ;
    exit(0);
}

static void start(void *(*body)(void *), void *argument)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, body, argument) != 0)
        die("thread");
    pthread_detach(thread);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    if (argc != 3) {
        fprintf(stderr, "usage: flood PREFIX PATTERN\n");
        return 1;
    }
    prefix = argv[1];
    fill(argv[2]);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    start(end_with_stdin, NULL);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        start(serve, (void *)(long)fd);
    }
}
