/* Runs commands in rounds and prints a line for each run:
 *   COMMAND STATUS WALL_NS CPU_US MAXRSS_KB
 * A child's ru_maxrss never falls below the peak of whoever spawned it, and an
 * interpreter would add its own noise: so the spawning is done by this small
 * static program.
 * usage: launch ROUNDS PAUSE_US -- EVERY PROGRAM [ARG...] [-- EVERY PROGRAM [ARG...]]...
 * A command with EVERY n runs in each n-th round only. Each round has an order
 * of its own, because a command is slower after a big one, which leaves cold
 * caches: a fixed order would charge that to the same command each time. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 32 };

struct command {
    long every;
    char **argv;
};

extern char **environ;
static posix_spawn_file_actions_t quiet;

static void die(const char *what, int error)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(error));
    exit(1);
}

static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < 0)
        die(text, EINVAL);
    return value;
}

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long micros(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static void run(int index, const struct command *command)
{
    struct rusage usage;
    int status;
    pid_t pid;

    long long begin = now_ns();
    int error = posix_spawn(&pid, command->argv[0], &quiet, NULL, command->argv, environ);
    if (error != 0)
        die(command->argv[0], error);
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            die("wait4", errno);
    long long wall = now_ns() - begin;
    printf("%d %d %lld %lld %ld\n", index, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
           wall, micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss);
}

/* Splits the arguments at each "--"; every part is EVERY PROGRAM [ARG...]. */
static int parse(char **argument, struct command *commands)
{
    int count = 0;

    while (*argument) {
        *argument++ = NULL; /* the "--", which ends the argv before it */
        if (count == MOST || !argument[0] || !argument[1])
            die("arguments", EINVAL);
        commands[count].every = number(argument[0]);
        if (commands[count].every == 0)
            die("EVERY", EINVAL);
        commands[count++].argv = argument + 1;
        while (*argument && strcmp(*argument, "--") != 0)
            argument++;
    }
    return count;
}

/* Always the same sequence, so that two benches differ in nothing they chose. */
static unsigned random_below(unsigned limit)
{
    static unsigned long long state = 0x9e3779b97f4a7c15ULL;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 32) % limit);
}

static void shuffle(int *order, int count)
{
    for (int last = count - 1; last > 0; last--) {
        int other = (int)random_below((unsigned)last + 1);
        int kept = order[last];
        order[last] = order[other];
        order[other] = kept;
    }
}

int main(int argc, char **argv)
{
    static struct command commands[MOST];
    int order[MOST];

    if (argc < 6 || strcmp(argv[3], "--") != 0)
        die("arguments", EINVAL);
    long rounds = number(argv[1]);
    long pause_us = number(argv[2]);
    struct timespec pause = {pause_us / 1000000, pause_us % 1000000 * 1000};
    int count = parse(argv + 3, commands);
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (long round = 0; round < rounds; round++) {
        shuffle(order, count);
        for (int i = 0; i < count; i++)
            if (round % commands[order[i]].every == 0) {
                nanosleep(&pause, NULL);
                run(order[i], &commands[order[i]]);
            }
    }
    return 0;
}
