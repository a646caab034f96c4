/* The progress line, as a terminal and as a log file receive it. */
#include "progress.h"

#include <CUnit/Basic.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int saved_stderr = -1, terminal = -1;
static char seen[8192]; /* what the terminal received */

/* Makes stderr a pseudo-terminal of `width` columns. */
static void begin_terminal(unsigned short width)
{
    struct winsize size = {.ws_row = 24, .ws_col = width};
    struct termios mode;
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    CU_ASSERT_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int far_end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    CU_ASSERT_FATAL(far_end >= 0);
    CU_ASSERT_EQUAL(ioctl(far_end, TIOCSWINSZ, &size), 0);
    CU_ASSERT_EQUAL(tcgetattr(far_end, &mode), 0);
    mode.c_oflag &= (tcflag_t)~OPOST;
    CU_ASSERT_EQUAL(tcsetattr(far_end, TCSANOW, &mode), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(far_end, STDERR_FILENO);
    close(far_end);
    setenv("TERM", "xterm", 1);
    unsetenv("CI");
}

/* What was written arrives a moment later: reads until the terminal, which nobody has open any more, is
 * empty. */
static void end_terminal(void)
{
    size_t n = 0;
    ssize_t got;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    struct pollfd ready = {.fd = terminal, .events = POLLIN};
    while (n < sizeof seen - 1 && poll(&ready, 1, 2000) == 1 &&
           (got = read(terminal, seen + n, sizeof seen - 1 - n)) > 0)
        n += (size_t)got;
    seen[n] = '\0';
    close(terminal);
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static size_t count_of(const char *part)
{
    size_t n = 0;
    for (const char *at = seen; (at = strstr(at, part)); at++)
        n++;
    return n;
}

static bool begins_with(const char *part)
{
    return strncmp(seen, part, strlen(part)) == 0;
}

static void test_line_on_a_terminal(void)
{
    begin_terminal(100);
    struct moeq_progress *progress = moeq_progress_start("quantize", "bytes", 2000000000, false);
    moeq_progress_add(progress, 1000000, NULL); /* too early to be shown */
    sleep_ms(520);
    moeq_progress_add(progress, 499000000, "layer 3");
    moeq_progress_add(progress, 1, "layer 4"); /* too soon after the first */
    moeq_progress_end(progress);
    end_terminal();
    CU_ASSERT_TRUE(begins_with("\rlayer 3  500.0 MB / 2000.0 MB  25%  "));
    CU_ASSERT_EQUAL(count_of(" MB/s  ETA 0:0"), 1);
    CU_ASSERT_EQUAL(count_of("layer 4"), 0);
    size_t n = strlen(seen);
    CU_ASSERT_TRUE(n > 4 && strcmp(seen + n - 4, "\r\033[K") == 0); /* nothing stays behind */
}

static void test_narrow_terminal(void)
{
    const unsigned short widths[] = {60, 40, 20, 2, 1};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        begin_terminal(widths[i]);
        struct moeq_progress *progress =
            moeq_progress_start("model.layers.3.mlp.experts.17.down_proj.weight", "experts", 256, false);
        sleep_ms(520);
        moeq_progress_add(progress, 3, NULL);
        moeq_progress_end(progress);
        end_terminal();
        CU_ASSERT_EQUAL(seen[0], '\r');
        CU_ASSERT_TRUE(strcspn(seen + 1, "\033") < widths[i]);
        if (widths[i] >= 40) /* the label gives way to the numbers */
            CU_ASSERT_EQUAL(count_of("3 / 256 experts  1%"), 1);
    }
}

static void test_hostile_labels(void)
{
    begin_terminal(100);
    struct moeq_progress *progress = moeq_progress_start("x", "tensors", 0, false);
    sleep_ms(520);
    moeq_progress_add(progress, 7, "a\033[2Jb\nc\302\233d \303\251");
    moeq_progress_end(progress);
    end_terminal();
    CU_ASSERT_TRUE(begins_with("\ra?[2Jb?c??d \303\251  7 tensors  "));
    begin_terminal(100);
    progress = moeq_progress_start("\377\303", "tensors", 0, false);
    sleep_ms(520);
    moeq_progress_add(progress, 7, NULL);
    moeq_progress_end(progress);
    end_terminal();
    CU_ASSERT_TRUE(begins_with("\r??  7 tensors"));
}

static void add_for_a_while(bool quiet)
{
    struct moeq_progress *progress = moeq_progress_start("check", "bytes", 10, quiet);
    sleep_ms(520);
    moeq_progress_add(progress, 5, NULL);
    moeq_progress_end(progress);
}

static void test_silence(void)
{
    begin_terminal(100);
    add_for_a_while(true);
    setenv("CI", "true", 1);
    add_for_a_while(false);
    unsetenv("CI");
    setenv("TERM", "dumb", 1);
    add_for_a_while(false);
    struct moeq_progress *progress;
    setenv("TERM", "xterm", 1);
    progress = moeq_progress_start("short", "bytes", 10, false); /* over before it is worth a line */
    moeq_progress_add(progress, 10, NULL);
    moeq_progress_end(progress);
    moeq_progress_add(NULL, 1, "x");
    moeq_progress_end(NULL);
    end_terminal();
    CU_ASSERT_STRING_EQUAL(seen, "");
}

static void *add_many(void *argument)
{
    for (int i = 0; i < 20000; i++)
        moeq_progress_add(argument, 1, i % 2 ? "odd" : "even");
    return NULL;
}

static void test_threads_lose_no_count(void)
{
    pthread_t threads[4];
    begin_terminal(100);
    struct moeq_progress *progress = moeq_progress_start("threads", "items", 80001, false);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, add_many, progress), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    sleep_ms(720);
    moeq_progress_add(progress, 1, "end");
    moeq_progress_end(progress);
    end_terminal();
    CU_ASSERT_EQUAL(count_of("end  80001 / 80001 items  100%"), 1);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("progress", NULL, NULL);
    CU_ADD_TEST(suite, test_line_on_a_terminal);
    CU_ADD_TEST(suite, test_narrow_terminal);
    CU_ADD_TEST(suite, test_hostile_labels);
    CU_ADD_TEST(suite, test_silence);
    CU_ADD_TEST(suite, test_threads_lose_no_count);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned n_failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return n_failures != 0;
}
