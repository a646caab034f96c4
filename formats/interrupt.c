#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* Set by a signal handler, read by every thread: lock-free atomics may do both. */
static atomic_bool interrupted;

static void on_signal(int signal_number)
{
    if (atomic_load(&interrupted) && signal_number == SIGINT) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    atomic_store(&interrupted, true);
}

void moeq_interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* these two become errors of the write, which are reported */
    signal(SIGXFSZ, SIG_IGN);
}

enum moeq_status moeq_interrupt_check(struct moeq_error *err)
{
    if (!atomic_load_explicit(&interrupted, memory_order_relaxed))
        return MOEQ_OK;
    moeq_fail(err, MOEQ_INTERRUPTED, "interrupted");
    moeq_error_hint(err, "run the same command again");
    return MOEQ_INTERRUPTED;
}
