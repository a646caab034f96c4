/* A process chooses its instruction set once, so each is tested in a child, before the program itself has
 * chosen one. */
#ifndef MOEQ_SETS_H
#define MOEQ_SETS_H

#include "kernels.h"
#include "unit.h"

#include <sys/wait.h>
#include <unistd.h>

/* Runs `check`, which counts what is wrong, once in each set that this machine has. */
static inline void in_every_set(int (*check)(void))
{
    const struct moeq_kernels *k;
    for (size_t set = 0; (k = moeq_kernels_at(set)); set++) {
        const char *name = moeq_kernels_at(set + 1) ? k->name : "scalar"; /* MOEQ_CPU's word for the last */
        int status = -1;
        printf("%s ", name);
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            const bool set_it = setenv("MOEQ_CPU", name, 1) == 0 && moeq_kernels() == k;
            const int n_wrong = set_it ? check() : 1;
            fflush(stdout);
            _exit(n_wrong != 0);
        }
        CU_ASSERT_FATAL(child > 0);
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

#endif
