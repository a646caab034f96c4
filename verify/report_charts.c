#include "report_charts.h"

#include "svg.h"

#include <math.h>

#define WIDTH  720.0
#define HEIGHT 220.0
#define LEFT   56.0
#define RIGHT  12.0
#define TOP    12.0
#define BOTTOM 34.0

static void begin(FILE *out, double height, const char *title)
{
    fprintf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", WIDTH, height, title);
}

static void end(FILE *out)
{
    fputs("</svg>\n", out);
}

static void text(FILE *out, double x, double y, const char *anchor, const char *format, double value)
{
    char label[64];
    snprintf(label, sizeof label, format, value);
    moeq_svg_text(out, x, y, anchor, label);
}

/* ---- axes ---- */

struct axis {
    double min, max; /* at the bottom and the top */
};

static double y_of(const struct axis *a, double value)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - a->min) / (a->max - a->min);
}

static void grid(FILE *out, const struct axis *a, const char *format, double scale)
{
    for (int i = 0; i <= 4; i++) {
        const double value = a->min + (a->max - a->min) * i / 4, y = y_of(a, value);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", LEFT, y, WIDTH - RIGHT);
        text(out, LEFT - 6, y + 4, "end", format, value * scale);
    }
}

static double x_of_layer(uint32_t layer, uint32_t n)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (layer + 0.5) / n;
}

static void label_layers(FILE *out, uint32_t n)
{
    const uint32_t step = n <= 16 ? 1 : n <= 40 ? 4 : 8;
    for (uint32_t i = 0; i < n; i += step)
        text(out, x_of_layer(i, n), HEIGHT - BOTTOM + 16, "middle", "%.0f", i);
    moeq_svg_text(out, WIDTH / 2, HEIGHT - 3, "middle", "layer");
}

/* ---- histogram ---- */

#define DECADES  9 /* from 1e-8 to 10 */
#define BINS     (4 * DECADES)
#define SMALLEST (-8.0)

static unsigned bin_of(double kld)
{
    const double at = kld > 0 ? (log10(kld) - SMALLEST) * 4 : 0;
    return at < 0 ? 0 : at >= BINS ? BINS - 1 : (unsigned)at;
}

void moeq_chart_kld(const struct moeq_report *r, FILE *out)
{
    uint64_t counts[BINS] = {0}, most = 1;
    const uint64_t n = r->evaluation->paired.n_scored;
    for (uint64_t i = 0; i < n; i++)
        counts[bin_of(r->evaluation->scores[i].kld)]++;
    for (unsigned i = 0; i < BINS; i++)
        most = counts[i] > most ? counts[i] : most;
    const struct axis axis = {0, (double)most};
    const double width = (WIDTH - LEFT - RIGHT) / BINS;
    begin(out, HEIGHT, "Histogram of the KL divergence of tokens");
    grid(out, &axis, "%.0f", 1);
    for (unsigned i = 0; i < BINS; i++) {
        const double y = y_of(&axis, (double)counts[i]);
        if (counts[i])
            fprintf(out, "<rect class=\"a\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                    LEFT + i * width + 0.5, y, width - 1, HEIGHT - BOTTOM - y);
    }
    for (int i = 0; i <= DECADES; i++)
        text(out, LEFT + 4 * i * width, HEIGHT - BOTTOM + 16, "middle", "1e%.0f", SMALLEST + i);
    moeq_svg_text(out, WIDTH / 2, HEIGHT - 3, "middle", "KL divergence of a token, nats");
    end(out);
}

/* ---- layers ---- */

typedef double layer_value(const struct moeq_layer_drift *layer);

static double error_of(const struct moeq_layer_drift *layer)
{
    return layer->error;
}

static double own_error_of(const struct moeq_layer_drift *layer)
{
    return layer->own_error;
}

static double router_of(const struct moeq_layer_drift *layer)
{
    return layer->router;
}

static void draw_line(FILE *out, const struct moeq_drift *d, const struct axis *axis, layer_value *value,
                      const char *class)
{
    fprintf(out, "<path class=\"line %s\" d=\"", class);
    for (uint32_t i = 0; i < d->n_layers; i++)
        fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of_layer(i, d->n_layers),
                y_of(axis, value(&d->layers[i])));
    fputs("\"/>\n", out);
    for (uint32_t i = 0; i < d->n_layers; i++)
        fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", class,
                x_of_layer(i, d->n_layers), y_of(axis, value(&d->layers[i])));
}

void moeq_chart_layers(const struct moeq_report *r, FILE *out)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    struct axis axis = {0, 1e-6};
    for (uint32_t i = 0; i < d->n_layers; i++)
        axis.max = fmax(axis.max, fmax(d->layers[i].error, d->layers[i].own_error));
    begin(out, HEIGHT, "Relative error of each layer");
    grid(out, &axis, "%.3g", 1);
    draw_line(out, d, &axis, error_of, "a");
    draw_line(out, d, &axis, own_error_of, "b");
    label_layers(out, d->n_layers);
    end(out);
}

void moeq_chart_routers(const struct moeq_report *r, FILE *out)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    struct axis axis = {1, 1};
    for (uint32_t i = 0; i < d->n_layers; i++)
        axis.min = fmin(axis.min, d->layers[i].router);
    axis.min = fmax(0, axis.min - 0.1 * (1 - axis.min) - 1e-4); /* the lowest point is above it */
    begin(out, HEIGHT, "Share of experts that stay the same in each layer");
    grid(out, &axis, "%.4g%%", 100);
    draw_line(out, d, &axis, router_of, "a");
    label_layers(out, d->n_layers);
    end(out);
}

/* ---- maps ---- */

/* What an expert is coloured by; below 0: nothing is known of it. */
typedef double expert_value(const struct moeq_report *r, uint32_t layer, uint32_t expert);

static double bits_of(const struct moeq_report *r, uint32_t layer, uint32_t expert)
{
    static const enum moeq_part parts[] = {MOEQ_PART_EXPERT_GATE, MOEQ_PART_EXPERT_UP, MOEQ_PART_EXPERT_DOWN};
    uint64_t n_bytes = 0, n_weights = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct moeq_weight *w = moeq_source_part(r->source, parts[i], (int)layer, (int)expert);
        n_bytes += w ? w->n_bytes : 0;
        n_weights += w ? w->rows * w->cols : 0;
    }
    return n_weights ? moeq_bits_per_weight(n_bytes, n_weights) : -1;
}

static double own_error_at(const struct moeq_report *r, uint32_t layer, uint32_t expert)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    const struct moeq_expert_drift *e = &d->experts[(size_t)layer * d->n_experts + expert];
    return e->n_tokens ? e->own_error : -1;
}

/* A map: the last colour is of what is above the last step but one. */
struct map {
    const char *title, *unit;
    expert_value *value;
    double steps[MOEQ_CHART_STEPS - 1]; /* the most that each colour stands for */
};

static int step_of(const struct map *map, double value)
{
    int step = 0;
    while (step < MOEQ_CHART_STEPS - 1 && value > map->steps[step])
        step++;
    return value < 0 ? -1 : step;
}

static void draw_legend(FILE *out, const struct map *map, double y)
{
    for (int i = 0; i < MOEQ_CHART_STEPS; i++) {
        const double x = LEFT + i * 92.0;
        const bool last = i == MOEQ_CHART_STEPS - 1;
        char label[64];
        snprintf(label, sizeof label, "%s %.3g%s", last ? ">" : "to", map->steps[last ? i - 1 : i],
                 map->unit);
        fprintf(out, "<rect class=\"s%d\" x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\"/>\n", i, x, y);
        moeq_svg_text(out, x + 16, y + 10, "start", label);
    }
}

/* The cells of one layer that have one colour, as parts of a path; cells that follow each other are one
 * rectangle. */
static void draw_row(FILE *out, const struct moeq_report *r, const struct map *map, uint32_t layer, int step,
                     double y, double height)
{
    const uint32_t n = r->source->config.n_experts;
    const double width = (WIDTH - LEFT - RIGHT) / n;
    for (uint32_t e = 0, run; e < n; e += run) {
        const bool here = step_of(map, map->value(r, layer, e)) == step;
        for (run = 1; e + run < n && (step_of(map, map->value(r, layer, e + run)) == step) == here; run++)
            ;
        if (here)
            fprintf(out, "M%.1f %.1fh%.1fv%.1fh%.1fz", LEFT + e * width, y, run * width, height,
                    -(run * width));
    }
}

static void draw_map(FILE *out, const struct moeq_report *r, const struct map *map)
{
    const struct moeq_config *c = &r->source->config;
    uint32_t layers[MOEQ_MAX_LAYERS], n = 0;
    for (uint32_t i = 0; i < c->n_layers; i++)
        if (moeq_config_layer_is_moe(c, i))
            layers[n++] = i;
    const double height = n <= 12 ? 18 : n <= 30 ? 12 : 8, bottom = TOP + n * height;
    begin(out, bottom + 44, map->title);
    for (int step = 0; step < MOEQ_CHART_STEPS; step++) {
        fprintf(out, "<path class=\"s%d\" d=\"", step);
        for (uint32_t row = 0; row < n; row++)
            draw_row(out, r, map, layers[row], step, TOP + row * height, height - 1);
        fputs("\"/>\n", out);
    }
    for (uint32_t row = 0; row < n; row += height >= 12 ? 1 : 4)
        text(out, LEFT - 6, TOP + row * height + 0.5 * height + 4, "end", "layer %.0f", layers[row]);
    text(out, WIDTH - RIGHT, bottom + 13, "end", "experts 0 to %.0f", c->n_experts - 1);
    draw_legend(out, map, bottom + 24);
    end(out);
}

void moeq_chart_levels(const struct moeq_report *r, FILE *out)
{
    const struct map map = {
        "Bits per weight of every expert", " bits", bits_of, {2.6, 3.6, 4.6, 5.6, 6.6, 9}};
    draw_map(out, r, &map);
}

/* Colours are spread over the values that there are. */
void moeq_chart_experts(const struct moeq_report *r, FILE *out)
{
    struct map map = {.title = "Error at the tokens of every expert", .unit = "", .value = own_error_at};
    const struct moeq_drift *d = &r->evaluation->drift;
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < (size_t)d->n_layers * d->n_experts; i++)
        if (d->experts[i].n_tokens) {
            least = fmin(least, d->experts[i].own_error);
            most = fmax(most, d->experts[i].own_error);
        }
    for (int i = 0; i < MOEQ_CHART_STEPS - 1; i++)
        map.steps[i] = isfinite(least) ? least + (most - least) * (i + 1) / MOEQ_CHART_STEPS : 0;
    draw_map(out, r, &map);
}
