#include "kernels_table.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && !defined(MOEQ_SCALAR)
#define HAS_X86_SETS 1
#else
#define HAS_X86_SETS 0
#endif

/* __builtin_cpu_supports reads cpuid and, for the sets with wider registers, XGETBV. */
static bool runs_always(void)
{
    return true;
}

#if HAS_X86_SETS
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool runs_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
}

static bool runs_avx512bf16(void)
{
    return runs_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
}
#endif

/* Best first. */
static const struct {
    const char *cpu; /* name in MOEQ_CPU */
    const struct moeq_kernels *kernels;
    bool (*runs)(void);
} sets[] = {
#if HAS_X86_SETS
    {"avx512bf16", &moeq_kernels_avx512bf16, runs_avx512bf16},
    {"avx512", &moeq_kernels_avx512, runs_avx512},
    {"avx2", &moeq_kernels_avx2, runs_avx2},
#endif
    {"scalar", &moeq_kernels_baseline, runs_always},
};

#define N_SETS (sizeof sets / sizeof *sets)

static const struct moeq_kernels *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

enum moeq_status moeq_kernels_check(struct moeq_error *err)
{
    const char *wanted = getenv("MOEQ_CPU");
    char names[80];
    size_t used = 0;
    for (size_t i = 0; wanted && i < N_SETS; i++)
        if (sets[i].runs()) {
            if (strcmp(wanted, sets[i].cpu) == 0)
                return MOEQ_OK;
            used +=
                (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", sets[i].cpu);
        }
    return wanted ? moeq_fail(err, MOEQ_USAGE, "MOEQ_CPU is \"%.40s\"; this machine has %s", wanted, names)
                  : MOEQ_OK;
}

static void choose(void)
{
    const char *wanted = getenv("MOEQ_CPU");
    for (size_t i = 0; i < N_SETS; i++) {
        if (!sets[i].runs())
            continue;
        if (!chosen)
            chosen = sets[i].kernels;
        if (wanted && strcmp(wanted, sets[i].cpu) == 0)
            chosen = sets[i].kernels;
    }
}

const struct moeq_kernels *moeq_kernels(void)
{
    pthread_once(&once, choose);
    return chosen;
}

const struct moeq_kernels *moeq_kernels_at(size_t index)
{
    for (size_t i = 0; i < N_SETS; i++)
        if (sets[i].runs() && index-- == 0)
            return sets[i].kernels;
    return NULL;
}
