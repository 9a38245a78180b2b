/* The least that a helper with channel-IDs can do: reads what there is, answers "ID ERR" to every line, writes once.

   What a contender is held against: less than this costs nobody. It knows no policy and no escaping. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1 << 18 };

static char in[SIZE], out[2 * SIZE];

static void write_all(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(1, data, size);
        if (n < 0 && errno != EINTR)
            _exit(1);
        if (n > 0)
            data += n, size -= n;
    }
}

/* Answers the whole lines of `in`, and returns how many bytes they were. */
static size_t answer(size_t size)
{
    char *line = in, *end = in + size, *to = out, *feed;

    while ((feed = memchr(line, '\n', end - line)) != NULL) {
        while (line < feed && *line >= '0' && *line <= '9')
            *to++ = *line++;
        memcpy(to, " ERR\n", 5);
        to += 5;
        line = feed + 1;
        if (to - out > SIZE)
            write_all(out, to - out), to = out;
    }
    write_all(out, to - out);
    return line - in;
}

int main(void)
{
    size_t kept = 0;

    for (;;) {
        ssize_t n = read(0, in + kept, SIZE - kept);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0;
        kept += n;
        size_t used = answer(kept);
        kept -= used;
        memmove(in, in + used, kept);
        if (kept == SIZE)
            return 1; /* a line that is longer than any of the benchmarks */
    }
}
