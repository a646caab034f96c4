/* Runs a fuzz target over stored inputs, without libFuzzer: every file of the folders given, each as it is
 * and under N_MUTATIONS seeded changes of a byte or of the length. The same inputs every time, so that a
 * plain test run and a sanitizer see what fuzzing found. An input that stops the program is named.
 *
 * usage: fuzz_NAME FOLDER|FILE... */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PATH 4096

enum { N_MUTATIONS = 2000 };

static char current[MAX_PATH + 64]; /* what runs now, for report() */
static size_t n_files;

static void report(int number)
{
    static const char text[] = "stopped at ";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    ignored = write(STDERR_FILENO, current, strlen(current));
    (void)ignored;
    signal(number, SIG_DFL);
    raise(number);
}

/* xorshift64* of Vigna 2016: any generator will do, but the same one on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717u;
}

/* Runs the target on a block of exactly n bytes, so that a sanitizer sees the first one read beyond. */
static void run_once(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        exit(2);
    memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

/* One change: a byte replaced, mostly by one that means something in JSON; or the rest cut off. */
static void run_mutated(uint8_t *data, size_t n, uint64_t *state)
{
    static const uint8_t telling[] = "\"{}[]:,-0123456789.eE\\ \x00\x7f\x80\xc0\xff";
    size_t at = next_random(state) % n;
    uint64_t choice = next_random(state);
    if (choice % 8 == 0) {
        run_once(data, at);
        return;
    }
    uint8_t old = data[at];
    if (choice % 8 < 4)
        data[at] = (uint8_t)(choice >> 32);
    else if (choice % 8 < 7)
        data[at] = telling[(choice >> 32) % (sizeof telling - 1)];
    else
        data[at] ^= (uint8_t)(1u << (choice >> 32) % 8);
    run_once(data, n);
    data[at] = old;
}

static void run_file(const char *path)
{
    struct stat info;
    FILE *in = fopen(path, "rb");
    if (!in || fstat(fileno(in), &info) != 0) {
        perror(path);
        exit(2);
    }
    size_t n = (size_t)info.st_size;
    uint8_t *data = malloc(n ? n : 1);
    if (!data || fread(data, 1, n, in) != n) {
        perror(path);
        exit(2);
    }
    fclose(in);
    uint64_t state = 0x9E3779B97F4A7C15u + n;
    for (int i = 0; i <= N_MUTATIONS; i++) {
        snprintf(current, sizeof current, "mutation %d of %s\n", i, path);
        if (i == 0)
            run_once(data, n);
        else if (n)
            run_mutated(data, n, &state);
    }
    free(data);
    n_files++;
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_path(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, not_hidden, alphasort);
    if (n < 0) {
        run_file(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        char inside[MAX_PATH];
        snprintf(inside, sizeof inside, "%s/%s", path, entries[i]->d_name);
        run_file(inside);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    signal(SIGILL, report);
    signal(SIGTRAP, report);
    signal(SIGABRT, report);
    signal(SIGSEGV, report);
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    if (!n_files) {
        fprintf(stderr, "%s: no input\n", argv[0]);
        return 2;
    }
    printf("%zu inputs and %d changes of each\n", n_files, N_MUTATIONS);
    return 0;
}
