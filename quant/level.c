#include "level.h"
#include "scalar.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const struct moeq_level *const moeq_levels[] = {
    &moeq_level_f32,
    &moeq_level_f16,
    &moeq_level_bf16,
    &moeq_level_fp8,
    &moeq_level_int8,
    &moeq_level_int6,
    &moeq_level_int5,
    &moeq_level_int4,
    &moeq_level_int3,
    &moeq_level_int2,
    &moeq_level_ec,
    &moeq_level_raw,
    NULL,
};

const char *const moeq_scales_names[] = {[MOEQ_SCALES_SEARCH] = "search", [MOEQ_SCALES_ABSMAX] = "absmax"};

static const uint32_t groups[] = {32, 64, 128};

static bool size_raw(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes)
{
    uint64_t n;
    if (!moeq_mul(rows, cols, &n) || !moeq_mul(n, moeq_dtype_bits(format->dtype), &n))
        return false;
    *n_bytes = n / 8;
    return true;
}

const struct moeq_level moeq_level_raw = {.name = "raw", .dtype = MOEQ_U8, .size = size_raw};

static enum moeq_status unknown_format(const char *text, struct moeq_error *err)
{
    char names[128] = "";
    size_t used = 0;
    for (size_t i = 0; moeq_levels[i]; i++)
        if (moeq_levels[i]->encode)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                     moeq_levels[i]->name);
    moeq_fail(err, MOEQ_USAGE, "\"%s\" is not a level", text);
    moeq_error_hint(err,
                    "levels: %s; integers with -g32, -g64 or -g128, below 8 bits also -asym; "
                    "ec:BITS with %g to %g bits a weight",
                    names, (double)MOEQ_LEAST_EC_BITS, (double)MOEQ_MOST_EC_BITS);
    return MOEQ_USAGE;
}

static bool take_suffix(const char *suffix, struct moeq_format *format)
{
    if (strcmp(suffix, "asym") == 0)
        return format->asymmetric = format->level->may_be_asymmetric;
    if (strcmp(suffix, "sym") == 0) {
        format->asymmetric = false;
        return true;
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%u", groups[i]);
        if (strcmp(suffix, name) == 0) {
            format->group = groups[i];
            return format->level->grouped;
        }
    }
    return false;
}

/* ":3.25", "@0.0021" or both behind the name of level ec; nothing where it says what is stored. */
static bool parse_goal(const char *text, struct moeq_format *format)
{
    char *end = NULL;
    if (!*text)
        return true;
    const bool is_bits = *text == ':';
    const size_t n_digits = strspn(text + 1, "0123456789.");
    if ((!is_bits && *text != '@') || !n_digits || tolower((unsigned char)text[1 + n_digits]) == 'x')
        return false;
    float *to = is_bits ? &format->bits : &format->step;
    *to = strtof(text + 1, &end);
    if (!is_bits)
        return !*end && *to >= MOEQ_LEAST_EC_STEP && *to <= MOEQ_MOST_EC_STEP;
    return *to >= MOEQ_LEAST_EC_BITS && *to <= MOEQ_MOST_EC_BITS &&
           (!*end || (*end == '@' && parse_goal(end, format)));
}

enum moeq_status moeq_format_parse(const char *text, struct moeq_format defaults, struct moeq_format *out,
                                   struct moeq_error *err)
{
    char copy[MOEQ_FORMAT_BYTES];
    const size_t n_coded = strlen(moeq_level_ec.name);
    if (strncmp(text, moeq_level_ec.name, n_coded) == 0 && (!text[n_coded] || strchr(":@", text[n_coded]))) {
        *out = (struct moeq_format){.level = &moeq_level_ec, .dtype = moeq_level_ec.dtype};
        return parse_goal(text + n_coded, out) ? MOEQ_OK : unknown_format(text, err);
    }
    if (strlen(text) >= sizeof copy || text[0] == '-' || strstr(text, "--") ||
        text[strlen(text) - !!*text] == '-')
        return unknown_format(text, err);
    strcpy(copy, text);
    char *rest = NULL;
    const char *name = strtok_r(copy, "-", &rest);
    *out = (struct moeq_format){0};
    for (size_t i = 0; name && moeq_levels[i]; i++)
        if (strcmp(name, moeq_levels[i]->name) == 0 && moeq_levels[i]->decode)
            out->level = moeq_levels[i];
    if (!out->level)
        return unknown_format(text, err);
    out->dtype = out->level->dtype;
    out->group = out->level->grouped ? defaults.group : 0;
    out->asymmetric = out->level->may_be_asymmetric && defaults.asymmetric;
    out->scales = out->level->grouped ? defaults.scales : MOEQ_SCALES_SEARCH;
    bool has_group = false, has_kind = false; /* each part may be given once */
    for (const char *suffix; (suffix = strtok_r(NULL, "-", &rest));) {
        bool *given = suffix[0] == 'g' ? &has_group : &has_kind;
        if (*given || !take_suffix(suffix, out))
            return unknown_format(text, err);
        *given = true;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_format_check_made(struct moeq_format format, struct moeq_error *err)
{
    if (format.level->encode || format.bits > 0 || format.step > 0)
        return MOEQ_OK;
    if (!format.level->is_coded)
        return moeq_fail(err, MOEQ_USAGE, "level %s can be kept, not made", format.level->name);
    moeq_fail(err, MOEQ_USAGE, "level %s needs its bits or step", format.level->name);
    moeq_error_hint(err, "write ec:3.25 for bits a weight");
    return MOEQ_USAGE;
}

/* With as few digits as give the same number again; 0 is not there. */
static void add_number(char text[MOEQ_FORMAT_BYTES], char before, float x)
{
    const size_t used = strlen(text);
    for (int digits = 6; x > 0 && digits <= 9; digits++) {
        snprintf(text + used, MOEQ_FORMAT_BYTES - used, "%c%.*g", before, digits, (double)x);
        if (strtof(text + used + 1, NULL) == x)
            return;
    }
}

const char *moeq_format_text(struct moeq_format format, char text[MOEQ_FORMAT_BYTES])
{
    if (format.level->grouped)
        snprintf(text, MOEQ_FORMAT_BYTES, "%s-g%u%s", format.level->name, format.group,
                 format.asymmetric ? "-asym" : "");
    else
        snprintf(text, MOEQ_FORMAT_BYTES, "%s", format.level->name);
    add_number(text, ':', format.bits);
    add_number(text, '@', format.step);
    return text;
}

bool moeq_format_equal(struct moeq_format a, struct moeq_format b)
{
    return a.level == b.level && a.group == b.group && a.asymmetric == b.asymmetric && a.dtype == b.dtype;
}

bool moeq_format_keeps(struct moeq_format asked, struct moeq_format stored)
{
    return moeq_format_equal(asked, stored) && !(asked.bits > 0) && !(asked.step > 0);
}

struct moeq_format moeq_format_of_dtype(enum moeq_dtype dtype)
{
    const struct moeq_level *level = dtype == MOEQ_F32    ? &moeq_level_f32
                                     : dtype == MOEQ_F16  ? &moeq_level_f16
                                     : dtype == MOEQ_BF16 ? &moeq_level_bf16
                                                          : &moeq_level_raw;
    return (struct moeq_format){.level = level, .dtype = dtype};
}

enum moeq_status moeq_packed_size(struct moeq_format format, uint64_t rows, uint64_t cols, uint64_t *n_bytes,
                                  uint64_t *n_padded, struct moeq_error *err)
{
    if (!format.level->size(&format, rows, cols, n_bytes) || *n_bytes > INT64_MAX - MOEQ_PACKED_ALIGNMENT)
        return moeq_fail(err, MOEQ_DAMAGED, "a matrix of %llu x %llu is too large", (unsigned long long)rows,
                         (unsigned long long)cols);
    *n_padded = moeq_round_up(*n_bytes, MOEQ_PACKED_ALIGNMENT);
    return MOEQ_OK;
}

/* The bits of magnitudes are in their order, infinity and NaN behind all numbers. */
static bool row_is_finite(const float *w, uint64_t cols)
{
    uint32_t most = 0;
    for (uint64_t c = 0; c < cols; c++) {
        const uint32_t magnitude = moeq_float_bits(w[c]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return most < 0x7f800000u;
}

enum moeq_status moeq_check_finite(const float *w, uint64_t n_rows, uint64_t cols, uint64_t row,
                                   struct moeq_error *err)
{
    for (uint64_t r = 0; r < n_rows; r++) {
        if (row_is_finite(w + r * cols, cols))
            continue;
        uint64_t c = 0;
        while (isfinite(w[r * cols + c]))
            c++;
        moeq_fail(err, MOEQ_DAMAGED, "the weight at row %llu, column %llu is not a finite number",
                  (unsigned long long)(row + r), (unsigned long long)c);
        moeq_error_hint(err,
                        "the download is damaged; or keep this tensor with a rule NAME=keep, and --force");
        return MOEQ_DAMAGED;
    }
    return MOEQ_OK;
}
