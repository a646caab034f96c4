#include "verb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <string.h>

enum moeq_strictness moeq_verb_strictness(const struct moeq_common *common)
{
    return common->lenient ? MOEQ_LENIENT : MOEQ_STRICT;
}

struct moeq_pool *moeq_verb_pool(const struct moeq_common *common, struct moeq_error *err)
{
    unsigned n_jobs = common->jobs ? (unsigned)common->jobs : moeq_cpus_available();
    return moeq_pool_create(n_jobs < MOEQ_POOL_MAX_JOBS ? n_jobs : MOEQ_POOL_MAX_JOBS, err);
}

enum moeq_status moeq_verb_print_json(json_t *object, struct moeq_error *err)
{
    char *text = object ? moeq_json_text(object, true) : NULL;
    enum moeq_status status = MOEQ_OK;
    if (!text)
        status = moeq_fail_alloc(err, 0);
    else if (fputs(text, stdout) < 0 || fflush(stdout) != 0)
        status = moeq_fail(err, MOEQ_IO, "cannot write the result: %s", strerror(errno));
    free(text);
    json_decref(object);
    return status;
}

const char *moeq_size_text(double n_bytes, char dst[MOEQ_SIZE_TEXT])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    if (n_bytes < 1000) {
        snprintf(dst, MOEQ_SIZE_TEXT, "%.0f bytes", n_bytes);
        return dst;
    }
    size_t unit = 0;
    for (n_bytes /= 1000; n_bytes >= 1000 && unit + 1 < sizeof units / sizeof *units; unit++)
        n_bytes /= 1000;
    snprintf(dst, MOEQ_SIZE_TEXT, "%.2f %s", n_bytes, units[unit]);
    return dst;
}

int moeq_text_width(const char *text)
{
    int width = 0;
    for (const char *p = text; *p;) {
        const size_t n = moeq_control_length(p);
        width += n ? (int)n : ((unsigned char)*p & 0xC0) != 0x80;
        p += n ? n : 1;
    }
    return width;
}

void moeq_print_text(FILE *out, const char *text, int width)
{
    for (const char *p = text; *p;) {
        const size_t n = moeq_control_length(p);
        for (size_t i = 0; i < n; i++)
            fputc('?', out);
        if (!n)
            fputc(*p, out);
        p += n ? n : 1;
    }
    const int missing = width - moeq_text_width(text);
    fprintf(out, "%*s", missing > 0 ? missing : 0, "");
}

#define SMALL_MEMORY (24u << 20) /* that no plan counts */

struct moeq_budget moeq_verb_budget(uint64_t wanted, uint64_t held)
{
    const uint64_t used = moeq_resident_memory() + SMALL_MEMORY + held;
    const uint64_t most = wanted ? wanted : moeq_available_memory() / 8 * 7;
    return (struct moeq_budget){.wanted = wanted, .used = used, .n_bytes = most > used ? most - used : 0};
}

enum moeq_status moeq_verb_check_budget(const struct moeq_budget *budget, uint64_t planned, uint64_t least,
                                        const char *path, struct moeq_error *err)
{
    char needed[MOEQ_SIZE_TEXT], given[MOEQ_SIZE_TEXT];
    if (!budget->wanted || planned <= budget->n_bytes)
        return MOEQ_OK;
    least += budget->used;
    moeq_fail(err, MOEQ_OVER_MEMORY, "--mem is %s, this needs at least %s",
              moeq_size_text((double)budget->wanted, given), moeq_size_text((double)least, needed));
    moeq_error_in_file(err, path);
    /* What the process uses by itself differs a little from run to run. */
    moeq_error_hint(err, "give --mem %lluM, or %s", (unsigned long long)(least / (1u << 20) + 2),
                    budget->instead ? budget->instead : "a smaller --ctx");
    return MOEQ_OVER_MEMORY;
}

double moeq_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
