#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
    if (interrupted && signal_number == SIGINT) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    interrupted = 1;
}

void moeq_interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

enum moeq_status moeq_interrupt_check(struct moeq_error *err)
{
    if (!interrupted)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_INTERRUPTED, "interrupted");
    moeq_error_hint(err, "run the same command again");
    return MOEQ_INTERRUPTED;
}
