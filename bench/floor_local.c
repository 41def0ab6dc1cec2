/* The least a local probe can cost: read one record, print one line.
 * usage: floor_local RECORD */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char record[4096];

    if (argc != 2) {
        fprintf(stderr, "usage: floor_local RECORD\n");
        return 1;
    }
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    ssize_t size = read(fd, record, sizeof record);
    if (size <= 0) {
        fprintf(stderr, "%s: empty or unreadable\n", argv[1]);
        return 1;
    }
    close(fd);
    printf("healthy: 1 record, %zd bytes\n", size);
    return 0;
}
