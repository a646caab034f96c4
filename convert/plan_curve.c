#include "plan_curve.h"

#include "bytes.h"
#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static void put_row(FILE *f, const char *kind, const char *level, const struct moeq_curve_point *p)
{
    fprintf(f, "%s,%s,%llu,%.6g,", kind, level, (unsigned long long)p->n_bytes, p->bits);
    if (isfinite(p->damage))
        fprintf(f, "%.6g", p->damage);
    fputc('\n', f);
}

char *moeq_curve_csv(const struct moeq_curve *curve, struct moeq_error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f) {
        fputs("kind,level,size_bytes,bits_per_planned_weight,predicted_kl_divergence_nats\n", f);
        for (size_t i = 0; i < curve->n_mixes; i++)
            put_row(f, "mix", "", &curve->mixes[i]);
        for (size_t i = 0; i < curve->n_others; i++)
            put_row(f, "mix", "without ec", &curve->others[i]);
        for (size_t i = 0; i < curve->n_uniform; i++)
            put_row(f, "uniform", curve->uniform[i].level, &curve->uniform[i].point);
        if (curve->chosen)
            put_row(f, "chosen", "", curve->chosen);
    }
    if (!f || fclose(f) != 0 || !text) {
        free(text);
        moeq_fail_alloc(err, n);
        return NULL;
    }
    return text;
}

/* ---- the picture: scales ---- */

#define WIDTH        720.0
#define HEIGHT       460.0
#define LEFT         64.0
#define TOP          48.0
#define RIGHT        (WIDTH - 20)
#define BOTTOM       (HEIGHT - 76)
#define MARKER       3.5 /* half its width */
#define LETTER_WIDTH 6.8 /* of a wide font of 11 units; narrower ones leave air */
#define LABEL_HEIGHT 12.0
#define NEAR         14.0 /* a label that needs no line to its marker */
#define FARTHEST     120.0

#define LINE_COLOUR    "#3b528b"
#define MIXES_STROKE   "stroke=\"" LINE_COLOUR "\" stroke-width=\"1.8\""
#define OTHERS_STROKE  "stroke=\"#808080\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\""
#define UNIFORM_COLOUR "#21918c"
#define CHOSEN_COLOUR  "#d62728"

enum { MAX_LINE_BOXES = 64 };

struct box {
    double left, top, right, bottom;
};

struct drawing {
    FILE *f;
    const struct moeq_curve *curve;
    double x_from, x_to; /* bits */
    double y_from, y_to; /* log10 of nats */
    struct box *taken;   /* by markers first, then by labels and lines to these */
    size_t n_markers, n_taken;
};

static bool is_drawn(const struct moeq_curve_point *p)
{
    return isfinite(p->bits) && isfinite(p->damage) && p->damage > 0;
}

/* A level of far more bits than any mix would squeeze all others together. */
static bool is_uniform_drawn(const struct moeq_curve *c, size_t i)
{
    const bool is_far =
        c->n_mixes > 1 && c->uniform[i].point.bits > MOEQ_CURVE_REACH * c->mixes[c->n_mixes - 1].bits;
    return is_drawn(&c->uniform[i].point) && !is_far;
}

static double x_of(const struct drawing *d, double bits)
{
    return LEFT + (bits - d->x_from) / (d->x_to - d->x_from) * (RIGHT - LEFT);
}

static double y_of(const struct drawing *d, double damage)
{
    return BOTTOM - (log10(damage) - d->y_from) / (d->y_to - d->y_from) * (BOTTOM - TOP);
}

static void include(struct drawing *d, const struct moeq_curve_point *p)
{
    if (!is_drawn(p))
        return;
    const double y = log10(p->damage);
    d->x_from = fmin(d->x_from, p->bits);
    d->x_to = fmax(d->x_to, p->bits);
    d->y_from = fmin(d->y_from, y);
    d->y_to = fmax(d->y_to, y);
}

/* Around all points, with some air. */
static void choose_scales(struct drawing *d)
{
    const struct moeq_curve *c = d->curve;
    d->x_from = d->y_from = (double)INFINITY;
    d->x_to = d->y_to = -(double)INFINITY;
    for (size_t i = 0; i < c->n_mixes; i++)
        include(d, &c->mixes[i]);
    for (size_t i = 0; i < c->n_others; i++)
        include(d, &c->others[i]);
    for (size_t i = 0; i < c->n_uniform; i++)
        if (is_uniform_drawn(c, i))
            include(d, &c->uniform[i].point);
    if (c->chosen)
        include(d, c->chosen);
    if (d->x_from > d->x_to) { /* no point at all */
        d->x_from = 2;
        d->x_to = 8;
        d->y_from = -4;
        d->y_to = 0;
    }
    const double x_air = fmax(0.04 * (d->x_to - d->x_from), 0.05),
                 y_air = fmax(0.06 * (d->y_to - d->y_from), 0.05);
    d->x_from -= x_air;
    d->x_to += x_air;
    d->y_from -= y_air;
    d->y_to += y_air;
}

static void put_line(FILE *f, double x1, double y1, double x2, double y2, const char *colour)
{
    fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2,
            colour);
}

/* Steps of 1, 2 or 5 times a power of ten, about eight of them. */
static void put_x_axis(const struct drawing *d)
{
    const double least = (d->x_to - d->x_from) / 8, power = pow(10, floor(log10(least)));
    const double step = power * (least <= power ? 1 : least <= 2 * power ? 2 : least <= 5 * power ? 5 : 10);
    for (double k = ceil(d->x_from / step); k * step <= d->x_to; k++) {
        char text[32];
        const double x = x_of(d, k * step);
        put_line(d->f, x, TOP, x, BOTTOM, "#e8e8e8");
        snprintf(text, sizeof text, "%.4g", k * step);
        moeq_svg_text(d->f, x, BOTTOM + 16, "middle", text);
    }
    moeq_svg_text(d->f, (LEFT + RIGHT) / 2, BOTTOM + 34, "middle", "bits per planned weight");
}

/* Powers of ten; between them 2 and 5 where there are few, all where there is hardly one; with many, some are
 * left out. */
static void put_y_axis(const struct drawing *d)
{
    const double span = d->y_to - d->y_from;
    const int every = span > 12 ? (int)ceil(span / 12) : 1;
    for (int power = (int)floor(d->y_from); power <= d->y_to; power++)
        for (int digit = 1; digit <= 9; digit++) {
            char text[32];
            const double value = digit * pow(10, power), y = y_of(d, value);
            const bool is_shown = digit == 1   ? power % every == 0
                                  : span < 0.8 ? true
                                  : span < 3   ? digit == 2 || digit == 5
                                               : false;
            if (!is_shown || y < TOP || y > BOTTOM)
                continue;
            put_line(d->f, LEFT, y, RIGHT, y, digit == 1 ? "#d0d0d0" : "#efefef");
            snprintf(text, sizeof text, "%g", value);
            moeq_svg_text(d->f, LEFT - 6, y + 4, "end", text);
        }
    moeq_svg_text(d->f, LEFT, TOP - 8, "start", "predicted damage (KL divergence, nats)");
}

/* ---- the picture: markers and labels ---- */

static void put_mixes(const struct drawing *d, const struct moeq_curve_point *mixes, size_t n,
                      const char *stroke)
{
    bool has_any = false;
    for (size_t i = 0; i < n; i++) {
        if (!is_drawn(&mixes[i]))
            continue;
        if (!has_any)
            fprintf(d->f, "<polyline fill=\"none\" %s points=\"", stroke);
        fprintf(d->f, "%s%.1f,%.1f", has_any ? " " : "", x_of(d, mixes[i].bits), y_of(d, mixes[i].damage));
        has_any = true;
    }
    if (has_any)
        fputs("\"/>\n", d->f);
}

static bool overlaps(const struct box *a, const struct box *b)
{
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

/* Whether a line of mixes goes through a box, point by point. */
static bool is_crossed(const struct drawing *d, const struct moeq_curve_point *mixes, size_t n_mixes,
                       const struct box *box)
{
    const struct moeq_curve_point *before = NULL;
    for (size_t i = 0; i < n_mixes; i++) {
        const struct moeq_curve_point *p = &mixes[i];
        if (!is_drawn(p))
            continue;
        before = before ? before : p;
        const double x = x_of(d, before->bits), y = y_of(d, before->damage);
        const double dx = x_of(d, p->bits) - x, dy = y_of(d, p->damage) - y;
        const int n = 1 + (int)(hypot(dx, dy) / 2);
        for (int k = 0; k <= n; k++) {
            const struct box point = {x + dx * k / n - 1, y + dy * k / n - 1, x + dx * k / n + 1,
                                      y + dy * k / n + 1};
            if (overlaps(&point, box))
                return true;
        }
        before = p;
    }
    return false;
}

static bool is_free(const struct drawing *d, const struct box *box)
{
    if (box->left < LEFT || box->right > RIGHT || box->top < TOP || box->bottom > BOTTOM)
        return false;
    for (size_t i = 0; i < d->n_taken; i++)
        if (overlaps(&d->taken[i], box))
            return false;
    return !is_crossed(d, d->curve->mixes, d->curve->n_mixes, box) &&
           !is_crossed(d, d->curve->others, d->curve->n_others, box);
}

/* Bytes of UTF-8 that begin a character. */
static double text_width(const char *text)
{
    double n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n * LETTER_WIDTH;
}

/* The boxes of a line, point by point. */
static size_t line_boxes(double x1, double y1, double x2, double y2, struct box boxes[MAX_LINE_BOXES])
{
    const size_t n = 1 + (size_t)(hypot(x2 - x1, y2 - y1) / 3);
    for (size_t k = 0; k < n; k++) {
        const double x = x1 + (x2 - x1) * (double)k / (double)n, y = y1 + (y2 - y1) * (double)k / (double)n;
        boxes[k] = (struct box){x - 1, y - 1, x + 1, y + 1};
    }
    return n;
}

/* Where a label may lie, as seen from its marker: an end of the text, or its middle above and below. */
struct position {
    double dx, dy; /* of the text's near end */
    const char *anchor;
};

/* Whether nothing lies between a marker and its label. Other markers may lie almost on its own: a line that
 * is drawn may begin in them, a label beside them would be taken for theirs. */
static bool is_in_sight(const struct drawing *d, double x, double y, const struct box *line, size_t n_line,
                        bool is_near)
{
    for (size_t i = 0; i < d->n_taken; i++) {
        const struct box *t = &d->taken[i];
        const bool is_marker = i < d->n_markers;
        const bool is_its_own =
            is_marker && fabs(t->left + t->right - 2 * x) < 0.01 && fabs(t->top + t->bottom - 2 * y) < 0.01;
        const bool is_around = is_marker && x >= t->left && x <= t->right && y >= t->top && y <= t->bottom;
        if (is_its_own || (is_around && !is_near))
            continue;
        for (size_t k = is_near ? 2 : 0; k < n_line; k++)
            if (overlaps(&line[k], t))
                return false;
    }
    return true;
}

/* Draws a label there, and a line to it where it is not beside its marker; false where something is in the
 * way. */
static bool try_label(struct drawing *d, double x, double y, const struct position *at, const char *text,
                      const char *colour)
{
    const double w = text_width(text), x_text = x + at->dx, middle = y + at->dy;
    const double left = x_text - (at->anchor[0] == 'e' ? w : at->anchor[0] == 'm' ? w / 2 : 0);
    const struct box box = {left, middle - LABEL_HEIGHT / 2, left + w, middle + LABEL_HEIGHT / 2};
    const bool is_near = hypot(at->dx, at->dy) <= NEAR;
    struct box line[MAX_LINE_BOXES];
    size_t n_line = line_boxes(x, y, x_text, middle, line);
    if (!is_free(d, &box) || !is_in_sight(d, x, y, line, n_line, is_near))
        return false;
    if (is_near)
        n_line = 0;
    else
        put_line(d->f, x, y, x_text, middle, "#a0a0a0");
    memcpy(d->taken + d->n_taken, line, n_line * sizeof *line);
    d->n_taken += n_line;
    d->taken[d->n_taken++] = box;
    fprintf(d->f, "<g fill=\"%s\">", colour);
    moeq_svg_text(d->f, x_text, box.bottom - 2.5, at->anchor, text);
    fputs("</g>\n", d->f);
    return true;
}

/* As near to its marker as there is room, to the right first. */
static void put_label(struct drawing *d, double x, double y, const char *text, const char *colour)
{
    static const double directions[][2] = {
        {1, 0},      {0.7, -0.7},  {0.7, 0.7}, {-1, 0}, {-0.7, 0.7}, {-0.7, -0.7}, {0.9, -0.4}, {0.9, 0.4},
        {-0.9, 0.4}, {-0.9, -0.4}, {0, -1},    {0, 1},  {0.4, -0.9}, {0.4, 0.9},   {-0.4, 0.9}, {-0.4, -0.9}};
    for (double far = 8; far <= FARTHEST; far *= 1.25)
        for (size_t k = 0; k < sizeof directions / sizeof *directions; k++) {
            const double dx = directions[k][0], dy = directions[k][1];
            const struct position at = {far * dx, (far + (dx == 0 ? LABEL_HEIGHT / 4 : 0)) * dy,
                                        dx > 0   ? "start"
                                        : dx < 0 ? "end"
                                                 : "middle"};
            if (try_label(d, x, y, &at, text, colour))
                return;
        }
}

static void take_marker(struct drawing *d, const struct moeq_curve_point *p, double half)
{
    const double x = x_of(d, p->bits), y = y_of(d, p->damage);
    d->n_markers++;
    d->taken[d->n_taken++] = (struct box){x - half, y - half, x + half, y + half};
}

/* A square standing on its corner. */
static void put_diamond(FILE *f, double x, double y)
{
    fprintf(f,
            "<path d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz\" fill=\"" CHOSEN_COLOUR
            "\" stroke=\"white\"/>\n",
            x, y - 2 * MARKER, 2 * MARKER, 2 * MARKER, -2 * MARKER, 2 * MARKER, -2 * MARKER, -2 * MARKER);
}

static void put_dot(FILE *f, double x, double y, const char *title, const struct moeq_curve_point *p)
{
    fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"" UNIFORM_COLOUR "\" stroke=\"white\"", x,
            y, MARKER);
    if (p) /* levels are plain words */
        fprintf(f, "><title>%s: %.4g bits, %.4g nats</title></circle>\n", title, p->bits, p->damage);
    else
        fputs("/>\n", f);
}

static void put_points(struct drawing *d)
{
    const struct moeq_curve *c = d->curve;
    const bool has_chosen = c->chosen && is_drawn(c->chosen);
    char text[64];
    for (size_t i = 0; i < c->n_uniform; i++)
        if (is_uniform_drawn(c, i)) {
            const struct moeq_curve_point *p = &c->uniform[i].point;
            put_dot(d->f, x_of(d, p->bits), y_of(d, p->damage), c->uniform[i].level, p);
            take_marker(d, p, MARKER + 1);
        }
    if (has_chosen) {
        put_diamond(d->f, x_of(d, c->chosen->bits), y_of(d, c->chosen->damage));
        take_marker(d, c->chosen, 2 * MARKER + 1);
        snprintf(text, sizeof text, "%.2f bits, %.3g nats", c->chosen->bits, c->chosen->damage);
        put_label(d, x_of(d, c->chosen->bits), y_of(d, c->chosen->damage), text, CHOSEN_COLOUR);
    }
    for (size_t i = 0; i < c->n_uniform; i++)
        if (is_uniform_drawn(c, i))
            put_label(d, x_of(d, c->uniform[i].point.bits), y_of(d, c->uniform[i].point.damage),
                      c->uniform[i].level, "black");
}

static void put_sample(const struct drawing *d, double x, double y, const char *stroke)
{
    fprintf(d->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x, y, x + 18, y, stroke);
}

static void put_legend(const struct drawing *d)
{
    const double y = HEIGHT - 16;
    double x = LEFT;
    if (d->curve->n_mixes) {
        put_sample(d, x, y, MIXES_STROKE);
        moeq_svg_text(d->f, x + 24, y + 4, "start", "planned, a level for each matrix");
        x += 230;
    }
    if (d->curve->n_others) {
        put_sample(d, x, y, OTHERS_STROKE);
        moeq_svg_text(d->f, x + 24, y + 4, "start", "without ec");
        x += 100;
    }
    if (d->curve->n_uniform) {
        put_dot(d->f, x, y, NULL, NULL);
        moeq_svg_text(d->f, x + 10, y + 4, "start", "one level for all matrices");
        x += 190;
    }
    if (d->curve->chosen) {
        put_diamond(d->f, x, y);
        moeq_svg_text(d->f, x + 13, y + 4, "start", "the plan");
    }
}

char *moeq_curve_svg(const struct moeq_curve *curve, struct moeq_error *err)
{
    struct moeq_svg svg;
    struct drawing d = {.curve = curve};
    if (!(d.taken = moeq_calloc((MAX_LINE_BOXES + 2) * (curve->n_uniform + 1), sizeof *d.taken, err)))
        return NULL;
    if (moeq_svg_begin(&svg, WIDTH, HEIGHT, err)) {
        free(d.taken);
        return NULL;
    }
    d.f = svg.file;
    choose_scales(&d);
    moeq_svg_text(d.f, LEFT, 18, "start", curve->title);
    put_x_axis(&d);
    put_y_axis(&d);
    fprintf(d.f,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#808080\"/>\n",
            LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP);
    put_mixes(&d, curve->others, curve->n_others, OTHERS_STROKE);
    put_mixes(&d, curve->mixes, curve->n_mixes, MIXES_STROKE);
    put_points(&d);
    put_legend(&d);
    free(d.taken);
    return moeq_svg_end(&svg, err);
}
