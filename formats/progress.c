#include "progress.h"

#include "bytes.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_LINE = 384,    /* bytes of a line, whatever the width of the terminal */
    MAX_LABEL = 160,   /* bytes */
    MAX_NUMBERS = 208, /* bytes of what stands behind the label */
    MAX_WIDTH = 120,   /* columns used of a wider terminal */
    USUAL_WIDTH = 80   /* of a terminal that does not say */
};

static const double terminal_first_s = 0.5, terminal_every_s = 0.2, plain_every_s = 30;
static const double rate_memory_s = 15; /* the rate shown forgets a change of speed in about this time */

struct moeq_progress {
    bool is_terminal;
    bool is_bytes;
    char label[MAX_LABEL];
    char unit[32];
    uint64_t total; /* 0 = unknown */

    pthread_mutex_t lock; /* for all that follows, and `label` */
    uint64_t done;
    uint64_t shown_done; /* `done` when the rate was last brought up to date, at shown_s */
    double shown_s, next_s;
    double rate; /* units a second, 0 while unknown */
    bool is_drawing;
    bool has_line; /* a line stands on the terminal */
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool has_environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0];
}

static bool stderr_is_terminal(void)
{
    return isatty(STDERR_FILENO) && has_environment("TERM") && strcmp(getenv("TERM"), "dumb") != 0 &&
           !has_environment("CI");
}

/* Labels hold names out of files: no control character (C1 included) and no broken UTF-8 goes to a terminal.
 */
static void set_label(struct moeq_progress *progress, const char *label)
{
    snprintf(progress->label, sizeof progress->label, "%s", label);
    unsigned char *text = (unsigned char *)progress->label;
    size_t n = strlen(progress->label);
    bool is_utf8 = moeq_utf8_valid(text, n, NULL); /* false, too, for one that was cut inside a character */
    for (size_t i = 0; i < n; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f || (!is_utf8 && text[i] >= 0x80))
            text[i] = '?';
        else if (text[i] == 0xc2 && text[i + 1] < 0xa0)
            text[i] = text[i + 1] = '?';
    }
}

struct moeq_progress *moeq_progress_start(const char *label, const char *unit, uint64_t total, bool quiet)
{
    if (quiet)
        return NULL;
    struct moeq_progress *progress = moeq_calloc(1, sizeof *progress, NULL);
    if (!progress)
        return NULL;
    pthread_mutex_init(&progress->lock, NULL);
    progress->is_terminal = stderr_is_terminal();
    progress->is_bytes = strcmp(unit, "bytes") == 0;
    progress->total = total;
    snprintf(progress->unit, sizeof progress->unit, "%s", unit);
    set_label(progress, label);
    progress->shown_s = now_s();
    progress->next_s = progress->shown_s + (progress->is_terminal ? terminal_first_s : plain_every_s);
    return progress;
}

/* --- the line --- */

/* A moving average: a run that resumes counts what is already there at once, which must not show in the rate
 * for long. The weight is a rational stand-in for 1 - exp(-t / memory). */
static void update_rate(struct moeq_progress *progress, double now)
{
    double elapsed = now - progress->shown_s;
    if (elapsed <= 0)
        return;
    double rate = (double)(progress->done - progress->shown_done) / elapsed;
    if (progress->rate > 0)
        rate = progress->rate + (rate - progress->rate) * elapsed / (elapsed + rate_memory_s);
    progress->rate = rate;
    progress->shown_s = now;
    progress->shown_done = progress->done;
}

/* Megabytes up to 10 GB, then gigabytes: three digits at least, and the unit does not flicker. */
static void format_bytes(char *dst, size_t capacity, double n_bytes)
{
    if (n_bytes < 10e9)
        snprintf(dst, capacity, "%.1f MB", n_bytes / 1e6);
    else
        snprintf(dst, capacity, "%.1f GB", n_bytes / 1e9);
}

static void format_duration(char *dst, size_t capacity, double seconds)
{
    unsigned long long s = seconds < 1e9 ? (unsigned long long)(seconds + 0.5) : 1000000000;
    if (s < 3600)
        snprintf(dst, capacity, "%llu:%02llu", s / 60, s % 60);
    else if (s < 48 * 3600)
        snprintf(dst, capacity, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(dst, capacity, "%llu d %llu h", s / 86400, s / 3600 % 24);
}

/* "12.5 GB / 688.6 GB  2%  812.0 MB/s  ETA 14:02", or "3 / 256 experts  1%  0.50 experts/s  ETA 8:26" */
static void format_numbers(const struct moeq_progress *progress, char dst[MAX_NUMBERS])
{
    char done[32], total[40] = "", percent[16] = "", rate[48], eta[40] = "", left[32];
    if (progress->is_bytes) {
        format_bytes(done, sizeof done, (double)progress->done);
        format_bytes(left, sizeof left, (double)progress->total);
        snprintf(rate, sizeof rate, "%.1f MB/s", progress->rate / 1e6);
    } else {
        snprintf(done, sizeof done, "%" PRIu64, progress->done);
        snprintf(left, sizeof left, "%" PRIu64, progress->total);
        snprintf(rate, sizeof rate, "%.*f %.24s/s", progress->rate < 10 ? 2 : 0, progress->rate,
                 progress->unit);
    }
    if (progress->total) {
        double part = (double)progress->done / (double)progress->total;
        snprintf(total, sizeof total, " / %s", left);
        snprintf(percent, sizeof percent, "%.0f%%  ", part < 1 ? 100 * part : 100.0);
    }
    if (progress->rate > 0 && progress->done < progress->total) {
        format_duration(left, sizeof left, (double)(progress->total - progress->done) / progress->rate);
        snprintf(eta, sizeof eta, "  ETA %s", left);
    }
    snprintf(dst, MAX_NUMBERS, "%s%s%s%.24s  %s%s%s", done, total, progress->is_bytes ? "" : " ",
             progress->is_bytes ? "" : progress->unit, percent, rate, eta);
}

/* Bytes of `text` that fit into `width` columns. Beyond Latin, Greek and the like a character may take two
 * columns; all from U+1100 on are counted so. `text` is valid UTF-8. */
static size_t fit(const char *text, size_t width)
{
    size_t column = 0, i = 0;
    while (text[i]) {
        unsigned char lead = (unsigned char)text[i];
        size_t n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        size_t width_of = lead < 0xe1 ? 1 : 2; /* 0xe1 leads U+1000 on */
        if (column + width_of > width)
            break;
        column += width_of;
        i += n;
    }
    return i;
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return USUAL_WIDTH;
    return size.ws_col;
}

/* The label gives way to the numbers where the line is too narrow. On a terminal the last column stays free:
 * a character there makes some of them wrap. */
static void format_line(const struct moeq_progress *progress, char dst[MAX_LINE])
{
    char numbers[MAX_NUMBERS];
    format_numbers(progress, numbers);
    if (!progress->is_terminal) {
        snprintf(dst, MAX_LINE, "%.*s: %s\n", (int)fit(progress->label, USUAL_WIDTH / 2), progress->label,
                 numbers);
        return;
    }
    size_t width = terminal_width() - 1, n_numbers = strlen(numbers); /* numbers are ASCII */
    if (width > MAX_WIDTH)
        width = MAX_WIDTH;
    size_t n_label = n_numbers + 2 < width ? fit(progress->label, width - n_numbers - 2) : 0;
    snprintf(dst, MAX_LINE, "\r%.*s%s%.*s\033[K", (int)n_label, progress->label, n_label ? "  " : "",
             (int)width, numbers);
}

/* --- counting --- */

void moeq_progress_add(struct moeq_progress *progress, uint64_t n, const char *label)
{
    if (!progress)
        return;
    char line[MAX_LINE];
    double now = now_s();
    pthread_mutex_lock(&progress->lock);
    progress->done += n;
    if (label)
        set_label(progress, label);
    bool is_due = now >= progress->next_s && !progress->is_drawing;
    if (is_due) {
        update_rate(progress, now);
        format_line(progress, line);
        progress->next_s = now + (progress->is_terminal ? terminal_every_s : plain_every_s);
        progress->is_drawing = true;
        progress->has_line = true;
    }
    pthread_mutex_unlock(&progress->lock);
    if (!is_due)
        return;
    fputs(line, stderr); /* without the lock: a terminal that is held (Ctrl-S) holds one worker, not all */
    pthread_mutex_lock(&progress->lock);
    progress->is_drawing = false;
    pthread_mutex_unlock(&progress->lock);
}

void moeq_progress_end(struct moeq_progress *progress)
{
    if (!progress)
        return;
    if (progress->is_terminal && progress->has_line)
        fputs("\r\033[K", stderr);
    pthread_mutex_destroy(&progress->lock);
    free(progress);
}
