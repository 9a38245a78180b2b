/* Asks a helper one question at a time over a socket pair, as Squid does with a single client, and times each answer.

   pingpong CORE WARM LINES TIMES ANSWERS COMMAND...

   LINES is a file of questions, each of which begins with a channel-ID or not; TIMES gets the round trips in
   nanoseconds (uint32, as the machine has them), ANSWERS what came back. The first WARM questions are asked before
   anything is measured, and their answers are kept as well. Both ends run on CORE; -1 leaves that to the kernel. Prints
   the nanoseconds for which the helper was on the processor, and from its start to the first answer. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

/* The time that a process was on the processor: the first number of its schedstat. */
static uint64_t on_cpu(pid_t pid)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%llu", &ns) != 1)
        give_up(path);
    fclose(file);
    return ns;
}

static pid_t start(char **command, int *end)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        give_up("socketpair");
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork");
    if (pid == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execvp(command[0], command);
        give_up(command[0]);
    }
    close(pair[1]);
    *end = pair[0];
    return pid;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        give_up(path);
    *size = ftell(file);
    rewind(file);
    char *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, file) != *size)
        give_up(path);
    fclose(file);
    return data;
}

/* Sends one line and waits for one; returns the length of the answer. */
static size_t ask(int fd, const char *line, size_t size, char *answer, size_t room)
{
    size_t got = 0;
    if (write(fd, line, size) != (ssize_t)size)
        give_up("write");
    do {
        ssize_t n = read(fd, answer + got, room - got);
        if (n <= 0)
            give_up("the helper has ended, or its answer is too long");
        got += n;
    } while (answer[got - 1] != '\n');
    return got;
}

int main(int argc, char **argv)
{
    static char answer[1 << 16];
    size_t size;
    int fd;

    if (argc < 7)
        return 2;
    int core = atoi(argv[1]);
    long warm = atol(argv[2]), count = 0;
    char *lines = read_file(argv[3], &size), *line = lines, *feed;
    FILE *answers = fopen(argv[5], "wb");
    uint32_t *times = calloc(size / 2 + 1, sizeof *times);
    if (!answers || !times)
        give_up(argv[5]);
    if (core >= 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        if (sched_setaffinity(0, sizeof one, &one))
            give_up("sched_setaffinity");
    }
    uint64_t begun = now(), first = 0, cpu = 0;
    pid_t pid = start(argv + 6, &fd);
    for (; (feed = memchr(line, '\n', lines + size - line)) != NULL; line = feed + 1, count++) {
        if (count == warm)
            cpu = on_cpu(pid);
        uint64_t sent = now();
        size_t got = ask(fd, line, feed + 1 - line, answer, sizeof answer);
        uint64_t took = now() - sent;
        times[count] = took < UINT32_MAX ? took : UINT32_MAX;
        if (count == 0)
            first = now() - begun;
        fwrite(answer, 1, got, answers);
    }
    if (count > warm)
        cpu = on_cpu(pid) - cpu;
    close(fd);
    int status = 0;
    waitpid(pid, &status, 0);
    FILE *out = fopen(argv[4], "wb");
    if (!out || fclose(answers) || fwrite(times + warm, sizeof *times, count > warm ? count - warm : 0, out) == 0 || fclose(out))
        give_up(argv[4]);
    printf("%llu %llu\n", (unsigned long long)cpu, (unsigned long long)first);
    return 0;
}
