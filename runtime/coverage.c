#include "coverage.h"

#include "svg.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_SEEN 8 /* experts that are named */

static void judge(struct moeq_coverage_layer *l, uint64_t n_experts, uint64_t width)
{
    uint64_t picks = 0;
    for (uint64_t e = 0; e < n_experts; e++)
        picks += l->counts[e];
    for (uint64_t e = 0; e < n_experts; e++) {
        const uint64_t n = l->counts[e];
        const double share = picks ? (double)n / (double)picks : 0;
        l->none += n == 0;
        l->few += 4 * n < width;
        l->below += n < width;
        l->scarce += n < 4 * width;
        l->entropy -= share > 0 ? share * log2(share) : 0;
    }
}

static enum moeq_status read_layer(struct moeq_coverage *c, const struct moeq_statistics *s, int layer,
                                   struct moeq_error *err)
{
    struct moeq_coverage_layer *l = &c->layers[c->n_layers++];
    double *counts = moeq_calloc(c->n_experts, sizeof *counts, err);
    l->layer = layer;
    l->n_tokens = c->n_tokens;
    l->counts = moeq_calloc(c->n_experts, sizeof *l->counts, err);
    enum moeq_status status = counts && l->counts
                                  ? moeq_statistics_add(s, layer, "counts", c->n_experts, counts, err)
                                  : MOEQ_OVER_MEMORY;
    for (uint64_t e = 0; !status && e < c->n_experts; e++)
        l->counts[e] = (uint64_t)counts[e];
    if (!status)
        judge(l, c->n_experts, c->width);
    free(counts);
    return status;
}

enum moeq_status moeq_coverage_read(struct moeq_coverage *coverage, const struct moeq_statistics *statistics,
                                    const struct moeq_config *config, struct moeq_error *err)
{
    *coverage = (struct moeq_coverage){.n_experts = config->n_experts, .width = config->hidden};
    if (statistics->n_layers != config->n_layers || statistics->n_experts != config->n_experts) {
        moeq_fail(err, MOEQ_USAGE, "statistics of another model");
        moeq_error_in_file(err, statistics->path);
        return MOEQ_USAGE;
    }
    coverage->n_tokens = moeq_statistics_tokens(statistics);
    coverage->layers = moeq_calloc(config->n_layers, sizeof *coverage->layers, err);
    enum moeq_status status = coverage->layers ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (uint32_t layer = 0; !status && layer < config->n_layers; layer++)
        if (moeq_config_layer_is_moe(config, layer))
            status = read_layer(coverage, statistics, (int)layer, err);
    if (status)
        moeq_coverage_free(coverage);
    return status;
}

void moeq_coverage_free(struct moeq_coverage *coverage)
{
    for (size_t i = 0; i < coverage->n_layers; i++)
        free(coverage->layers[i].counts);
    free(coverage->layers);
    *coverage = (struct moeq_coverage){0};
}

/* ---- least seen ---- */

struct seen {
    int layer;
    uint64_t expert, n;
};

static int by_tokens(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->expert < y->expert ? -1 : x->expert > y->expert;
}

/* All experts, the least seen first; NULL where memory is out. */
static struct seen *sort_experts(const struct moeq_coverage *c)
{
    const size_t n = c->n_layers * (size_t)c->n_experts;
    struct seen *all = moeq_calloc(n, sizeof *all, NULL);
    for (size_t i = 0; all && i < n; i++) {
        const struct moeq_coverage_layer *l = &c->layers[i / c->n_experts];
        all[i] = (struct seen){l->layer, i % c->n_experts, l->counts[i % c->n_experts]};
    }
    if (all)
        qsort(all, n, sizeof *all, by_tokens);
    return all;
}

static size_t n_named(const struct moeq_coverage *c)
{
    const size_t n = c->n_layers * (size_t)c->n_experts;
    return n < LEAST_SEEN ? n : LEAST_SEEN;
}

/* ---- text and JSON ---- */

void moeq_coverage_print(const struct moeq_coverage *coverage, FILE *out)
{
    const struct moeq_coverage *c = coverage;
    fprintf(out, "%llu tokens; %llu experts a layer, d = %llu\n", (unsigned long long)c->n_tokens,
            (unsigned long long)c->n_experts, (unsigned long long)c->width);
    fprintf(out,
            "layer   experts with 0   < d/4     < d    < 4d     least      most   entropy of %.2f bits\n",
            log2((double)c->n_experts));
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct moeq_coverage_layer *l = &c->layers[i];
        uint64_t least = UINT64_MAX, most = 0;
        for (uint64_t e = 0; e < c->n_experts; e++) {
            least = l->counts[e] < least ? l->counts[e] : least;
            most = l->counts[e] > most ? l->counts[e] : most;
        }
        fprintf(out, "%5d %16llu %7llu %7llu %7llu %9llu %9llu   %.2f\n", l->layer,
                (unsigned long long)l->none, (unsigned long long)l->few, (unsigned long long)l->below,
                (unsigned long long)l->scarce, (unsigned long long)least, (unsigned long long)most,
                l->entropy);
    }
    struct seen *all = sort_experts(c);
    if (all && c->n_layers)
        fprintf(out, "least seen:");
    for (size_t i = 0; all && i < n_named(c); i++)
        fprintf(out, "%s layer %d expert %llu (%llu)", i ? "," : "", all[i].layer,
                (unsigned long long)all[i].expert, (unsigned long long)all[i].n);
    if (all && c->n_layers)
        fprintf(out, "\n");
    free(all);
}

#define MAX_PRINTED 40

void moeq_coverage_print_unseen(const struct moeq_coverage *coverage, FILE *out)
{
    const struct moeq_coverage *c = coverage;
    uint64_t n = 0, n_printed = 0;
    for (size_t i = 0; i < c->n_layers; i++)
        n += c->layers[i].none;
    if (n)
        fprintf(out, "%llu experts without a token, on the moments of their layer:", (unsigned long long)n);
    for (size_t i = 0; i < c->n_layers; i++) {
        bool is_first = true;
        for (uint64_t e = 0; e < c->n_experts && n_printed < MAX_PRINTED; e++)
            if (!c->layers[i].counts[e]) {
                if (is_first)
                    fprintf(out, "%s layer %d: %llu", n_printed ? ";" : "", c->layers[i].layer,
                            (unsigned long long)e);
                else
                    fprintf(out, ", %llu", (unsigned long long)e);
                is_first = false;
                n_printed++;
            }
    }
    if (n > n_printed)
        fprintf(out, " and %llu more, see --json", (unsigned long long)(n - n_printed));
    if (n)
        fputc('\n', out);
}

json_t *moeq_coverage_unseen_json(const struct moeq_coverage *coverage)
{
    json_t *list = json_array();
    for (size_t i = 0; i < coverage->n_layers; i++)
        for (uint64_t e = 0; e < coverage->n_experts; e++)
            if (!coverage->layers[i].counts[e])
                moeq_json_append(&list, json_pack("{s:i, s:I}", "layer", coverage->layers[i].layer, "expert",
                                                  (json_int_t)e));
    return list;
}

json_t *moeq_coverage_json(const struct moeq_coverage *coverage)
{
    const struct moeq_coverage *c = coverage;
    json_t *layers = json_array();
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct moeq_coverage_layer *l = &c->layers[i];
        json_t *counts = json_array();
        for (uint64_t e = 0; e < c->n_experts; e++)
            moeq_json_append(&counts, json_integer((json_int_t)l->counts[e]));
        moeq_json_append(&layers,
                         json_pack("{s:i, s:I, s:I, s:I, s:I, s:f, s:o}", "layer", l->layer, "without_tokens",
                                   (json_int_t)l->none, "below_quarter_d", (json_int_t)l->few, "below_d",
                                   (json_int_t)l->below, "below_4d", (json_int_t)l->scarce, "entropy_bits",
                                   l->entropy, "tokens", counts));
    }
    struct seen *all = sort_experts(c);
    json_t *least = all ? json_array() : NULL;
    for (size_t i = 0; all && i < n_named(c); i++)
        moeq_json_append(&least, json_pack("{s:i, s:I, s:I}", "layer", all[i].layer, "expert",
                                           (json_int_t)all[i].expert, "tokens", (json_int_t)all[i].n));
    free(all);
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "tokens", (json_int_t)c->n_tokens, "experts",
                     (json_int_t)c->n_experts, "d", (json_int_t)c->width, "layers", layers, "least_seen",
                     least);
}

/* ---- the picture ---- */

#define LEFT   56
#define TOP    44
#define BOTTOM 56

/* From dark blue over teal to yellow, as perceived evenly. */
static void colour(double x, int rgb[3])
{
    static const int stops[][3] = {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};
    const double at = (x < 0 ? 0 : x > 1 ? 1 : x) * 4;
    const int i = at >= 4 ? 3 : (int)at;
    for (int k = 0; k < 3; k++)
        rgb[k] = (int)lround(stops[i][k] + (at - i) * (stops[i + 1][k] - stops[i][k]));
}

/* Tokens as a share of the scale, which runs from 1 to the most. */
static double on_scale(uint64_t n, uint64_t most)
{
    return most > 1 ? log((double)n) / log((double)most) : 1;
}

static void put_cells(FILE *f, const struct moeq_coverage *c, double w, double h, uint64_t most)
{
    for (size_t i = 0; i < c->n_layers; i++)
        for (uint64_t e = 0; e < c->n_experts; e++) {
            const uint64_t n = c->layers[i].counts[e];
            const double x = LEFT + (double)e * w, y = TOP + (double)i * h;
            int rgb[3] = {255, 255, 255};
            if (n)
                colour(on_scale(n, most), rgb);
            fprintf(f,
                    "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
                    "fill=\"#%02x%02x%02x\"%s><title>layer "
                    "%d, expert %llu: %llu tokens</title></rect>\n",
                    x, y, w - 0.5, h - 0.5, (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2],
                    n < c->width ? " stroke=\"#d62728\" stroke-width=\"1\"" : "", c->layers[i].layer,
                    (unsigned long long)e, (unsigned long long)n);
        }
}

static void put_scale(FILE *f, double y, uint64_t most)
{
    char text[64];
    for (int i = 0; i < 100; i++) {
        int rgb[3];
        colour(i / 99.0, rgb);
        fprintf(f, "<rect x=\"%d\" y=\"%.1f\" width=\"2.1\" height=\"10\" fill=\"#%02x%02x%02x\"/>\n",
                LEFT + 2 * i, y, (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2]);
    }
    moeq_svg_text(f, LEFT, y + 22, "start", "1 token");
    snprintf(text, sizeof text, "%llu", (unsigned long long)most);
    moeq_svg_text(f, LEFT + 200, y + 22, "end", text);
    fprintf(f, "<rect x=\"%d\" y=\"%.1f\" width=\"9\" height=\"9\" fill=\"none\" stroke=\"#d62728\"/>\n",
            LEFT + 230, y);
    moeq_svg_text(f, LEFT + 245, y + 9, "start", "fewer than d tokens; white: none");
}

char *moeq_coverage_svg(const struct moeq_coverage *coverage, const char *title, struct moeq_error *err)
{
    const struct moeq_coverage *c = coverage;
    const double w = c->n_experts > 128 ? 6 : c->n_experts > 40 ? 11 : 20, h = c->n_layers > 30 ? 11 : 18;
    const double cells = (double)c->n_experts * w, width = LEFT + (cells > 480 ? cells : 480) + 16;
    const double bottom = TOP + (double)c->n_layers * h, height = bottom + BOTTOM;
    uint64_t most = 1;
    struct moeq_svg svg;
    if (moeq_svg_begin(&svg, width, height, err))
        return NULL;
    FILE *f = svg.file;
    for (size_t i = 0; i < c->n_layers; i++)
        for (uint64_t e = 0; e < c->n_experts; e++)
            most = c->layers[i].counts[e] > most ? c->layers[i].counts[e] : most;
    moeq_svg_text(f, LEFT, 18, "start", title);
    moeq_svg_text(f, LEFT, TOP - 8, "start", "experts");
    for (size_t i = 0; i < c->n_layers; i++) {
        char label[32];
        snprintf(label, sizeof label, "layer %d", c->layers[i].layer);
        moeq_svg_text(f, LEFT - 6, TOP + ((double)i + 0.7) * h, "end", label);
    }
    put_cells(f, c, w, h, most);
    put_scale(f, bottom + 14, most);
    return moeq_svg_end(&svg, err);
}
