#include "slow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LATENT_EPS 1e-6 /* the released classes' default, whatever rms_norm_eps says */

struct pass {
    const struct miniature_model *model;
    const struct miniature *spec;
    unsigned mistakes;
    size_t n_tokens, context;
    double *hidden; /* [n_tokens, hidden] */
    double least_gap;
};

static double *numbers(size_t n)
{
    return miniature_calloc(n, sizeof(double));
}

static bool makes(const struct pass *pass, enum slow_mistake mistake)
{
    return (pass->mistakes & mistake) != 0;
}

/* out[r] = sum over c of w[r][c] * x[c] */
static void multiply(const double *w, size_t rows, size_t cols, const double *x, double *out)
{
    for (size_t r = 0; r < rows; r++) {
        out[r] = 0;
        for (size_t c = 0; c < cols; c++)
            out[r] += w[r * cols + c] * x[c];
    }
}

static void rms_norm(const double *x, const double *gain, size_t n, double eps, double *out)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    for (size_t i = 0; i < n; i++)
        out[i] = gain[i] * (x[i] / sqrt(squares / (double)n + eps));
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* out [hidden] += weight * down(silu(gate(x)) * up(x)) */
static void add_mlp(const struct pass *pass, const char *prefix, size_t width, double weight, const double *x,
                    double *out)
{
    const size_t hidden = pass->spec->hidden;
    double *gate = numbers(width), *up = numbers(width), *down = numbers(hidden);
    multiply(miniature_values(pass->model, "%s.gate_proj.weight", prefix), width, hidden, x, gate);
    multiply(miniature_values(pass->model, "%s.up_proj.weight", prefix), width, hidden, x, up);
    for (size_t i = 0; i < width; i++)
        gate[i] = silu(gate[i]) * up[i];
    multiply(miniature_values(pass->model, "%s.down_proj.weight", prefix), hidden, width, gate, down);
    for (size_t i = 0; i < hidden; i++)
        out[i] += weight * down[i];
    free(gate);
    free(up);
    free(down);
}

/* ---- RoPE and YaRN ---- */

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* The pair that turns `rotations` times over the original context, as a real number. */
static double yarn_pair(const struct miniature *spec, double rotations)
{
    return (double)spec->qk_rope * log(spec->yarn.original_positions / (rotations * 2 * acos(-1.0))) /
           (2 * log(spec->rope_theta));
}

static double frequency(const struct pass *pass, size_t pair)
{
    const struct miniature *spec = pass->spec;
    double plain = pow(spec->rope_theta, -2.0 * (double)pair / (double)spec->qk_rope);
    if (spec->yarn.factor == 0 || makes(pass, SLOW_PLAIN_FREQUENCIES))
        return plain;
    double low = fmax(floor(yarn_pair(spec, spec->yarn.beta_fast)), 0);
    double high = fmin(ceil(yarn_pair(spec, spec->yarn.beta_slow)), (double)spec->qk_rope - 1);
    if (low == high)
        high += 0.001;
    double ramp = fmin(fmax(((double)pair - low) / (high - low), 0), 1);
    return plain * (1 - ramp) + plain / spec->yarn.factor * ramp;
}

/* Turns the pairs (2i, 2i+1) of x [qk_rope], or the pairs (i, i + qk_rope/2), in place. */
static void rotate_pairs(const struct pass *pass, double *x, size_t position, bool halves)
{
    const struct miniature_yarn *yarn = &pass->spec->yarn;
    const size_t half = pass->spec->qk_rope / 2;
    const double mscale = yarn->mscale != 0 ? yarn->mscale : 1; /* 1 where config.json does not say */
    double length = 1;
    if (yarn->factor != 0 && !makes(pass, SLOW_NO_ROTARY_FACTOR))
        length = yarn_mscale(yarn->factor, mscale) / yarn_mscale(yarn->factor, yarn->mscale_all_dim);
    for (size_t i = 0; i < half; i++) {
        double *first = halves ? &x[i] : &x[2 * i];
        double *second = halves ? &x[i + half] : &x[2 * i + 1];
        double angle = (double)position * frequency(pass, i);
        double a = *first, b = *second;
        *first = length * (a * cos(angle) - b * sin(angle));
        *second = length * (a * sin(angle) + b * cos(angle));
    }
}

static void rotate(const struct pass *pass, double *x, size_t position)
{
    rotate_pairs(pass, x, position, makes(pass, SLOW_HALF_SPLIT));
}

/* ---- multi-head latent attention, expanded ---- */

struct window {
    double *q;  /* [context, n_heads, qk] nope then rope */
    double *k;  /* [context, n_heads, qk] */
    double *v;  /* [context, n_heads, v_width] */
    bool *kept; /* [context, context]: whether a query (row) attends to a key */
};

/* The normed query latent [q_rank]. */
static void query_latent(const struct pass *pass, size_t layer, const double *x, double *latent)
{
    const struct miniature *s = pass->spec;
    const double eps = makes(pass, SLOW_LATENT_EPS) ? s->norm_eps : LATENT_EPS;
    multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.q_a_proj.weight", layer), s->q_rank,
             s->hidden, x, latent);
    rms_norm(latent, miniature_values(pass->model, "model.layers.%zu.self_attn.q_a_layernorm.weight", layer),
             s->q_rank, eps, latent);
}

static void project_q(const struct pass *pass, size_t layer, const double *x, size_t position, double *q)
{
    const struct miniature *s = pass->spec;
    const size_t qk = s->qk_nope + s->qk_rope;
    if (s->q_rank == 0) {
        multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.q_proj.weight", layer),
                 s->n_heads * qk, s->hidden, x, q);
    } else {
        double *latent = numbers(s->q_rank);
        query_latent(pass, layer, x, latent);
        multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.q_b_proj.weight", layer),
                 s->n_heads * qk, s->q_rank, latent, q);
        free(latent);
    }
    for (size_t h = 0; h < s->n_heads; h++)
        rotate(pass, q + h * qk + s->qk_nope, position);
}

static void project_kv(const struct pass *pass, size_t layer, const double *x, size_t position, double *k,
                       double *v)
{
    const struct miniature *s = pass->spec;
    const size_t qk = s->qk_nope + s->qk_rope, kv = s->qk_nope + s->v_width;
    const double eps = makes(pass, SLOW_LATENT_EPS) ? s->norm_eps : LATENT_EPS;
    double *latent = numbers(s->kv_rank + s->qk_rope), *both = numbers(s->n_heads * kv);
    multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.kv_a_proj_with_mqa.weight", layer),
             s->kv_rank + s->qk_rope, s->hidden, x, latent);
    rms_norm(latent, miniature_values(pass->model, "model.layers.%zu.self_attn.kv_a_layernorm.weight", layer),
             s->kv_rank, eps, latent);
    rotate(pass, latent + s->kv_rank, position);
    multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.kv_b_proj.weight", layer),
             s->n_heads * kv, s->kv_rank, latent, both);
    for (size_t h = 0; h < s->n_heads; h++) {
        for (size_t i = 0; i < s->qk_nope; i++)
            k[h * qk + i] = both[h * kv + i];
        for (size_t i = 0; i < s->qk_rope; i++)
            k[h * qk + s->qk_nope + i] = latent[s->kv_rank + i];
        for (size_t i = 0; i < s->v_width; i++)
            v[h * s->v_width + i] = both[h * kv + s->qk_nope + i];
    }
    free(latent);
    free(both);
}

static double softmax_scale(const struct pass *pass)
{
    const struct miniature *s = pass->spec;
    double m = 1;
    if (s->yarn.factor != 0 && s->yarn.mscale_all_dim != 0 && !makes(pass, SLOW_NO_SOFTMAX_SCALE))
        m = yarn_mscale(s->yarn.factor, s->yarn.mscale_all_dim);
    return m * m / sqrt((double)(s->qk_nope + s->qk_rope));
}

/* Marks the n largest of scores in chosen; the lower index wins a tie. Returns how much the last chosen is
 * above the first not chosen. */
static double choose(const double *scores, size_t n_scores, size_t n, bool *chosen)
{
    double last = INFINITY, next = -INFINITY;
    for (size_t i = 0; i < n_scores; i++)
        chosen[i] = false;
    for (size_t k = 0; k < n; k++) {
        size_t best = n_scores;
        for (size_t i = 0; i < n_scores; i++)
            if (!chosen[i] && (best == n_scores || scores[i] > scores[best]))
                best = i;
        chosen[best] = true;
        last = scores[best];
    }
    for (size_t i = 0; i < n_scores; i++)
        if (!chosen[i])
            next = fmax(next, scores[i]);
    return last - next;
}

/* ---- the indexer ---- */

static void layer_norm(double *x, size_t n, const double *gain, const double *bias)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) / sqrt(variance + 1e-6) * gain[i] + bias[i];
}

static void rotate_index(const struct pass *pass, double *vector, size_t position)
{
    const struct miniature *s = pass->spec;
    double *from = makes(pass, SLOW_INDEX_LAST) ? vector + s->index_width - s->qk_rope : vector;
    rotate_pairs(pass, from, position, s->index_interleaved == makes(pass, SLOW_INDEX_PAIRS));
}

struct index_vectors {
    double *q;       /* [context, index_heads, index_width] */
    double *k;       /* [context, index_width] */
    double *weights; /* [context, index_heads] */
};

static void project_index(const struct pass *pass, size_t layer, const double *x, size_t position,
                          const struct index_vectors *v)
{
    const struct miniature *s = pass->spec;
    const char *prefix = "model.layers.%zu.self_attn.indexer";
    double *latent = numbers(s->q_rank), *k = v->k + position * s->index_width;
    double *q = v->q + position * s->index_heads * s->index_width,
           *w = v->weights + position * s->index_heads;
    char at[96], name[128];
    snprintf(at, sizeof at, prefix, layer);
#define INDEX_VALUES(part)                                                                                   \
    (snprintf(name, sizeof name, "%s." part, at), miniature_values(pass->model, "%s", name))
    query_latent(pass, layer, x, latent);
    multiply(INDEX_VALUES("wq_b.weight"), s->index_heads * s->index_width, s->q_rank, latent, q);
    multiply(INDEX_VALUES("wk.weight"), s->index_width, s->hidden, x, k);
    multiply(INDEX_VALUES("weights_proj.weight"), s->index_heads, s->hidden, x, w);
    const double *gain = INDEX_VALUES("k_norm.weight");
    layer_norm(k, s->index_width, gain, INDEX_VALUES("k_norm.bias"));
#undef INDEX_VALUES
    rotate_index(pass, k, position);
    for (size_t h = 0; h < s->index_heads; h++) {
        rotate_index(pass, q + h * s->index_width, position);
        w[h] /= sqrt((double)s->index_heads) * sqrt((double)s->index_width);
    }
    free(latent);
}

static double index_score(const struct miniature *s, const struct index_vectors *v, size_t query, size_t key)
{
    double score = 0;
    for (size_t h = 0; h < s->index_heads; h++) {
        double dot = 0;
        for (size_t i = 0; i < s->index_width; i++)
            dot += v->q[(query * s->index_heads + h) * s->index_width + i] * v->k[key * s->index_width + i];
        score += v->weights[query * s->index_heads + h] * fmax(dot, 0);
    }
    return score;
}

/* Sets window->kept. `x` is [context, hidden]. A layer without an indexer leaves it as the layer before did.
 */
static void choose_keys(struct pass *pass, size_t layer, const double *x, struct window *window)
{
    const struct miniature *s = pass->spec;
    const size_t n = pass->context;
    const struct index_vectors v = {numbers(n * s->index_heads * s->index_width), numbers(n * s->index_width),
                                    numbers(n * s->index_heads)};
    double *scores = numbers(n);
    bool *chosen = miniature_calloc(n, sizeof *chosen);
    for (size_t t = 0; t < n; t++)
        project_index(pass, layer, x + t * s->hidden, t, &v);
    for (size_t t = s->index_top_k; t < n; t++) {
        for (size_t key = 0; key <= t; key++)
            scores[key] = index_score(s, &v, t, key);
        double gap = choose(scores, t + 1, s->index_top_k, chosen);
        if (gap != 0) /* of no positive product at all: exactly 0 in every arithmetic */
            pass->least_gap = fmin(pass->least_gap, gap);
        memcpy(window->kept + t * n, chosen, (t + 1) * sizeof *chosen);
    }
    free(v.q);
    free(v.k);
    free(v.weights);
    free(scores);
    free(chosen);
}

static void keep_all(bool *kept, size_t context)
{
    for (size_t i = 0; i < context * context; i++)
        kept[i] = true;
}

/* out [v_width] of one head and one query. */
static void attend(const struct pass *pass, const struct window *window, size_t head, size_t query,
                   double *out)
{
    const struct miniature *s = pass->spec;
    const size_t qk = s->qk_nope + s->qk_rope;
    double *p = numbers(query + 1), largest = -INFINITY, sum = 0;
    for (size_t t = 0; t <= query; t++) {
        for (size_t i = 0; i < qk; i++)
            p[t] +=
                window->q[(query * s->n_heads + head) * qk + i] * window->k[(t * s->n_heads + head) * qk + i];
        p[t] = window->kept[query * pass->context + t] ? p[t] * softmax_scale(pass) : -INFINITY;
        largest = fmax(largest, p[t]);
    }
    for (size_t t = 0; t <= query; t++)
        sum += p[t] = exp(p[t] - largest);
    for (size_t i = 0; i < s->v_width; i++) {
        out[i] = 0;
        for (size_t t = 0; t <= query; t++)
            out[i] += p[t] / sum * window->v[(t * s->n_heads + head) * s->v_width + i];
    }
    free(p);
}

/* hidden [context, hidden] of one window += attention; kept [context, context] comes from the layer before
 * and goes to the next. */
static void attention(struct pass *pass, size_t layer, double *hidden, bool *kept)
{
    const struct miniature *s = pass->spec;
    const size_t n = pass->context, qk = s->n_heads * (s->qk_nope + s->qk_rope), v = s->n_heads * s->v_width;
    struct window window = {numbers(n * qk), numbers(n * qk), numbers(n * v), kept};
    double *x = numbers(n * s->hidden), *heads = numbers(v), *out = numbers(s->hidden);
    const bool own = miniature_has_indexer(s, layer);
    for (size_t t = 0; t < n; t++) {
        rms_norm(hidden + t * s->hidden,
                 miniature_values(pass->model, "model.layers.%zu.input_layernorm.weight", layer), s->hidden,
                 s->norm_eps, x + t * s->hidden);
        project_q(pass, layer, x + t * s->hidden, t, window.q + t * qk);
        project_kv(pass, layer, x + t * s->hidden, t, window.k + t * qk, window.v + t * v);
    }
    if (own || makes(pass, SLOW_INDEX_OWN))
        keep_all(kept, n);
    if (own && !makes(pass, SLOW_DENSE))
        choose_keys(pass, layer, x, &window);
    for (size_t t = 0; t < n; t++) {
        for (size_t h = 0; h < s->n_heads; h++)
            attend(pass, &window, h, t, heads + h * s->v_width);
        multiply(miniature_values(pass->model, "model.layers.%zu.self_attn.o_proj.weight", layer), s->hidden,
                 v, heads, out);
        for (size_t i = 0; i < s->hidden; i++)
            hidden[t * s->hidden + i] += out[i];
    }
    free(window.q);
    free(window.k);
    free(window.v);
    free(x);
    free(heads);
    free(out);
}

/* ---- router and experts ---- */

/* Masks the experts of the groups that are not kept. */
static void keep_groups(struct pass *pass, double *scores)
{
    const struct miniature *s = pass->spec;
    const size_t size = s->n_experts / s->n_groups;
    double *group_scores = numbers(s->n_groups);
    bool *kept = miniature_calloc(s->n_groups, sizeof *kept);
    for (size_t g = 0; g < s->n_groups; g++) {
        double first = -INFINITY, second = -INFINITY;
        for (size_t i = 0; i < size; i++) {
            double score = scores[g * size + i];
            second = fmax(second, fmin(first, score));
            first = fmax(first, score);
        }
        group_scores[g] = s->v3 != makes(pass, SLOW_OTHER_GROUP_SCORE) ? first + second : first;
    }
    pass->least_gap = fmin(pass->least_gap, choose(group_scores, s->n_groups, s->top_groups, kept));
    for (size_t e = 0; e < s->n_experts; e++)
        if (!kept[e / size])
            scores[e] = makes(pass, SLOW_MASKED_ZERO) ? 0 : -INFINITY;
    free(group_scores);
    free(kept);
}

/* The probabilities of all experts. */
static void score_experts(const struct pass *pass, size_t layer, const double *x, double *scores)
{
    const struct miniature *s = pass->spec;
    double sum = 0;
    multiply(miniature_values(pass->model, "model.layers.%zu.mlp.gate.weight", layer), s->n_experts,
             s->hidden, x, scores);
    for (size_t e = 0; e < s->n_experts; e++)
        sum += exp(scores[e]);
    for (size_t e = 0; e < s->n_experts; e++)
        scores[e] = s->v3 ? 1 / (1 + exp(-scores[e])) : exp(scores[e]) / sum;
}

/* Normalises and scales the weights [top_k]. */
static void finish_weights(const struct pass *pass, double *weights)
{
    const struct miniature *s = pass->spec;
    const bool normalise = s->norm_topk && s->top_k > 1;
    bool scale = s->v3 || !normalise;
    if (normalise && makes(pass, SLOW_OTHER_SCALING))
        scale = !scale;
    double sum = 0;
    for (size_t k = 0; k < s->top_k; k++)
        sum += weights[k];
    for (size_t k = 0; k < s->top_k; k++) {
        if (normalise)
            weights[k] /= sum + 1e-20;
        if (scale)
            weights[k] *= s->routed_scale;
    }
}

static void route(struct pass *pass, size_t layer, const double *x, int32_t *experts, double *weights)
{
    const struct miniature *s = pass->spec;
    double *scores = numbers(s->n_experts), *biased = numbers(s->n_experts);
    bool *chosen = miniature_calloc(s->n_experts, sizeof *chosen);
    score_experts(pass, layer, x, scores);
    for (size_t e = 0; e < s->n_experts; e++) {
        biased[e] = scores[e];
        if (s->v3)
            biased[e] +=
                miniature_values(pass->model, "model.layers.%zu.mlp.gate.e_score_correction_bias", layer)[e];
        if (makes(pass, SLOW_BIASED_WEIGHTS))
            scores[e] = biased[e];
    }
    if (s->n_groups > 1)
        keep_groups(pass, biased);
    pass->least_gap = fmin(pass->least_gap, choose(biased, s->n_experts, s->top_k, chosen));
    size_t k = 0;
    for (size_t e = 0; e < s->n_experts; e++)
        if (chosen[e]) {
            experts[k] = (int32_t)e;
            weights[k++] = scores[e];
        }
    finish_weights(pass, weights);
    free(scores);
    free(biased);
    free(chosen);
}

/* hidden [hidden] of one token += experts */
static void feed_forward(struct pass *pass, size_t layer, double *hidden, int32_t *experts, double *weights)
{
    const struct miniature *s = pass->spec;
    double *x = numbers(s->hidden);
    char prefix[96];
    rms_norm(hidden, miniature_values(pass->model, "model.layers.%zu.post_attention_layernorm.weight", layer),
             s->hidden, s->norm_eps, x);
    if (layer < s->first_dense || layer % s->layer_freq != 0) {
        snprintf(prefix, sizeof prefix, "model.layers.%zu.mlp", layer);
        add_mlp(pass, prefix, s->dense_width, 1, x, hidden);
        for (size_t k = 0; k < s->top_k; k++)
            experts[k] = -1;
    } else {
        route(pass, layer, x, experts, weights);
        for (size_t k = 0; k < s->top_k; k++) {
            snprintf(prefix, sizeof prefix, "model.layers.%zu.mlp.experts.%d", layer, (int)experts[k]);
            add_mlp(pass, prefix, s->expert_width, weights[k], x, hidden);
        }
        snprintf(prefix, sizeof prefix, "model.layers.%zu.mlp.shared_experts", layer);
        if (s->n_shared)
            add_mlp(pass, prefix, s->n_shared * s->expert_width,
                    makes(pass, SLOW_SHARED_SCALED) ? s->routed_scale : 1, x, hidden);
    }
    free(x);
}

/* ---- the whole pass ---- */

static void embed(const struct pass *pass, const int32_t *tokens)
{
    const size_t hidden = pass->spec->hidden;
    const double *table = miniature_values(pass->model, "model.embed_tokens.weight");
    for (size_t t = 0; t < pass->n_tokens; t++)
        memcpy(pass->hidden + t * hidden, table + (size_t)tokens[t] * hidden, hidden * sizeof *table);
}

static void head(const struct pass *pass, double *logits)
{
    const struct miniature *s = pass->spec;
    double *x = numbers(s->hidden);
    for (size_t t = 0; t < pass->n_tokens; t++) {
        rms_norm(pass->hidden + t * s->hidden, miniature_values(pass->model, "model.norm.weight"), s->hidden,
                 s->norm_eps, x);
        multiply(miniature_values(pass->model, "lm_head.weight"), s->vocabulary, s->hidden, x,
                 logits + t * s->vocabulary);
    }
    free(x);
}

void slow_run(struct slow_result *result, const struct miniature_model *model, const int32_t *tokens,
              size_t n_windows, size_t context, unsigned mistakes)
{
    const struct miniature *s = model->spec;
    const size_t n = n_windows * context;
    struct pass pass = {model, s, mistakes, n, context, numbers(n * s->hidden), INFINITY};
    *result = (struct slow_result){.n_tokens = n,
                                   .hidden = numbers(s->n_layers * n * s->hidden),
                                   .experts = miniature_calloc(s->n_layers * n * s->top_k, sizeof(int32_t)),
                                   .weights = numbers(s->n_layers * n * s->top_k),
                                   .logits = numbers(n * s->vocabulary)};
    bool *kept = miniature_calloc(n_windows * context * context, sizeof *kept);
    for (size_t w = 0; w < n_windows; w++)
        keep_all(kept + w * context * context, context);
    embed(&pass, tokens);
    for (size_t layer = 0; layer < s->n_layers; layer++) {
        for (size_t w = 0; w < n_windows; w++)
            attention(&pass, layer, pass.hidden + w * context * s->hidden, kept + w * context * context);
        for (size_t t = 0; t < n; t++)
            feed_forward(&pass, layer, pass.hidden + t * s->hidden,
                         result->experts + (layer * n + t) * s->top_k,
                         result->weights + (layer * n + t) * s->top_k);
        memcpy(result->hidden + layer * n * s->hidden, pass.hidden, n * s->hidden * sizeof(double));
    }
    head(&pass, result->logits);
    free(kept);
    result->least_gap = pass.least_gap;
    free(pass.hidden);
}

void slow_free(struct slow_result *result)
{
    free(result->hidden);
    free(result->experts);
    free(result->weights);
    free(result->logits);
    *result = (struct slow_result){0};
}
