#include "collector.h"

#include "moments.h"
#include "statistics.h"

#include <stdlib.h>

/* Moments that are being summed. Attention's come interleaved, a chunk of tokens at a time. */
struct stream {
    bool is_open;
    enum moeq_part part;
    int expert;
    struct moeq_moments moments;
};

#define N_STREAMS 4

struct moeq_collector {
    const struct moeq_config *config;
    struct moeq_out out;
    struct stream streams[N_STREAMS];
    struct moeq_moments_work work;
    struct moeq_hessian all_down; /* sum over experts */
    bool has_down;
    int64_t *counts; /* [n_experts] */
    double *squares; /* [n_experts] */
    bool moe;
    char identity[MOEQ_HASH_HEX];
    struct moeq_tensor *tensors; /* [n_tensors], in file order */
    char (*names)[MOEQ_MAX_STATISTICS_NAME];
    uint64_t (*shapes)[1];
    size_t n_tensors, n_most;
    uint64_t n_head; /* bytes that were kept for the header */
};

/* ---- the file ---- */

/* Describes a tensor; its name lives as long as the collector. */
static enum moeq_status describe(struct moeq_collector *c, const char *name, enum moeq_dtype dtype,
                                 uint64_t n, struct moeq_error *err)
{
    if (c->n_tensors == c->n_most)
        return moeq_fail(err, MOEQ_BUG, "more statistics than a layer has");
    const size_t i = c->n_tensors++;
    snprintf(c->names[i], sizeof c->names[i], "%s", name);
    c->shapes[i][0] = n;
    c->tensors[i] = (struct moeq_tensor){.name = c->names[i],
                                         .dtype = dtype,
                                         .n_dims = 1,
                                         .shape = c->shapes[i],
                                         .n_bytes = n * moeq_dtype_bits(dtype) / 8};
    return MOEQ_OK;
}

static enum moeq_status build_head(struct moeq_collector *c, struct moeq_bytes *head, struct moeq_error *err)
{
    json_t *metadata = json_pack("{s:s}", MOEQ_STATISTICS_KEY, c->identity);
    enum moeq_status status = metadata ? moeq_safetensors_build(c->tensors, c->n_tensors, metadata, head, err)
                                       : moeq_fail_alloc(err, 0);
    json_decref(metadata);
    return status;
}

/* The header comes first in the file and is known last: room is left for the longest, and JSON may end in
 * spaces. The longest has every expert, and offsets of as many digits as there are. */
static enum moeq_status leave_room(struct moeq_collector *c, struct moeq_error *err)
{
    enum { BYTES_OF_A_TENSOR = MOEQ_MAX_STATISTICS_NAME + 120 };
    const uint8_t zeros[64] = {0};
    enum moeq_status status = MOEQ_OK;
    c->n_head = moeq_round_up(8 + 200 + (uint64_t)c->n_most * BYTES_OF_A_TENSOR, sizeof zeros);
    for (uint64_t i = 0; !status && i < c->n_head; i += sizeof zeros)
        status = moeq_out_write(&c->out, zeros, sizeof zeros, err);
    return status;
}

static enum moeq_status write_head(struct moeq_collector *c, struct moeq_error *err)
{
    struct moeq_bytes head = {0};
    enum moeq_status status = build_head(c, &head, err);
    if (!status && head.n_bytes > c->n_head)
        status = moeq_fail(err, MOEQ_BUG, "no room for the header");
    const uint64_t n_json = c->n_head - 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_json >> 8 * i);
    char *text = malloc(c->n_head);
    void *scratch = malloc(MOEQ_OUT_SCRATCH);
    if (!status && (!text || !scratch))
        status = moeq_fail_alloc(err, c->n_head);
    if (!status) {
        memset(text, ' ', c->n_head);
        memcpy(text, length, sizeof length);
        memcpy(text + sizeof length, head.data + 8, head.n_bytes - 8);
        status = moeq_out_write_at(&c->out, 0, text, c->n_head, scratch, err);
    }
    free(text);
    free(scratch);
    moeq_bytes_free(&head);
    return status;
}

/* The lower triangle, row by row, rounded to float32. */
static enum moeq_status write_moments(struct moeq_collector *c, const char *name,
                                      const struct moeq_hessian *h, struct moeq_error *err)
{
    float *row = malloc(h->n * sizeof *row);
    enum moeq_status status =
        row ? describe(c, name, MOEQ_F32, moeq_triangle(h->n), err) : moeq_fail_alloc(err, h->n);
    for (uint64_t i = 0; !status && i < h->n; i++) {
        for (uint64_t k = 0; k <= i; k++)
            row[k] = (float)h->sums[i * h->n + k];
        status = moeq_out_write(&c->out, row, (size_t)(i + 1) * sizeof *row, err);
    }
    free(row);
    return status;
}

/* ---- streams ---- */

static enum moeq_status sum_down(struct moeq_collector *c, const struct moeq_hessian *h,
                                 struct moeq_error *err)
{
    enum moeq_status status = c->has_down ? MOEQ_OK : moeq_hessian_init(&c->all_down, h->n, err);
    c->has_down = !status;
    for (uint64_t i = 0; !status && i < h->n; i++)
        for (uint64_t k = 0; k <= i; k++)
            c->all_down.sums[i * h->n + k] += h->sums[i * h->n + k];
    return status;
}

static enum moeq_status close_stream(struct moeq_collector *c, struct stream *s, struct moeq_error *err)
{
    char name[MOEQ_MAX_STATISTICS_NAME];
    if (!s->is_open)
        return MOEQ_OK;
    enum moeq_status status = moeq_moments_end(&s->moments, &c->work, err);
    if (!status)
        status = write_moments(c, moeq_statistics_name(s->part, s->expert, name), &s->moments.sums, err);
    if (!status && s->part == MOEQ_PART_EXPERT_DOWN)
        status = sum_down(c, &s->moments.sums, err);
    moeq_moments_free(&s->moments);
    s->is_open = false;
    return status;
}

/* What follows on a part: an observer sees attention's parts interleaved, the others one after the other, an
 * expert's gate and down interleaved. */
static bool may_stay_open(const struct stream *s, const struct moeq_inputs *in)
{
    const bool attention = moeq_part_role(s->part) == MOEQ_ROLE_ATTENTION;
    if (attention || moeq_part_role(in->part) == MOEQ_ROLE_ATTENTION)
        return attention && moeq_part_role(in->part) == MOEQ_ROLE_ATTENTION;
    return moeq_part_role(s->part) == moeq_part_role(in->part) && s->expert == in->expert;
}

/* The stream of these inputs, opened where it is not, after closing those that are over. */
static enum moeq_status find_stream(struct moeq_collector *c, const struct moeq_inputs *in,
                                    struct stream **found, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *found = NULL;
    for (int i = 0; !status && i < N_STREAMS; i++) {
        struct stream *s = &c->streams[i];
        if (s->is_open && s->part == in->part && s->expert == in->expert)
            *found = s;
        else if (s->is_open && !may_stay_open(s, in))
            status = close_stream(c, s, err);
    }
    for (int i = 0; !status && !*found && i < N_STREAMS; i++)
        if (!c->streams[i].is_open)
            *found = &c->streams[i];
    if (status || (*found && (*found)->is_open))
        return status;
    if (!*found)
        return moeq_fail(err, MOEQ_BUG, "too many inputs at once");
    struct stream *s = *found;
    *s = (struct stream){.part = in->part, .expert = in->expert};
    s->is_open = true;
    return moeq_moments_init(&s->moments, in->width, err);
}

static void count(struct moeq_collector *c, const struct moeq_inputs *in)
{
    for (uint64_t i = 0; in->part == MOEQ_PART_EXPERT_GATE && i < in->n; i++) {
        c->counts[in->expert]++;
        c->squares[in->expert] += (double)in->weights[i] * (double)in->weights[i];
    }
}

enum moeq_status moeq_collector_add(struct moeq_collector *collector, const struct moeq_inputs *inputs,
                                    struct moeq_error *err)
{
    struct moeq_collector *c = collector;
    const struct moeq_inputs *in = inputs;
    char name[MOEQ_MAX_STATISTICS_NAME];
    struct stream *s;
    if (!moeq_statistics_name(in->part, in->expert, name))
        return MOEQ_OK; /* another part has the same inputs */
    enum moeq_status status = find_stream(c, in, &s, err);
    c->moe = c->moe || in->part == MOEQ_PART_ROUTER;
    count(c, in);
    for (uint64_t i = 0; !status && i < in->n; i++) {
        const float weight = in->weights ? in->weights[i] * in->weights[i] : 1;
        memcpy(moeq_moments_next(&s->moments), in->x + i * in->width, in->width * sizeof *in->x);
        status = moeq_moments_add(&s->moments, weight, &c->work, err);
    }
    return status;
}

/* ---- beginning and end ---- */

struct moeq_collector *moeq_collector_create(const struct moeq_config *config, struct moeq_pool *pool,
                                             const struct moeq_out_dir *dir, const char *name,
                                             const char *identity, struct moeq_error *err)
{
    struct moeq_collector *c = moeq_calloc(1, sizeof *c, err);
    if (!c)
        return NULL;
    c->config = config;
    c->work.pool = pool;
    c->out.fd = -1;
    c->n_most = 16 + 2 * (size_t)config->n_experts;
    snprintf(c->identity, sizeof c->identity, "%s", identity);
    c->counts = moeq_calloc(config->n_experts, sizeof *c->counts, err);
    c->squares = moeq_calloc(config->n_experts, sizeof *c->squares, err);
    c->tensors = moeq_calloc(c->n_most, sizeof *c->tensors, err);
    c->names = moeq_calloc(c->n_most, sizeof *c->names, err);
    c->shapes = moeq_calloc(c->n_most, sizeof *c->shapes, err);
    if (!c->counts || !c->squares || !c->tensors || !c->names || !c->shapes ||
        moeq_out_create(&c->out, dir, name, 0, err) || leave_room(c, err)) {
        moeq_collector_free(c);
        return NULL;
    }
    return c;
}

enum moeq_status moeq_collector_flush(struct moeq_collector *collector, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (int i = 0; !status && i < N_STREAMS; i++)
        status = close_stream(collector, &collector->streams[i], err);
    return status;
}

enum moeq_status moeq_collector_finish(struct moeq_collector *collector, struct moeq_error *err)
{
    struct moeq_collector *c = collector;
    const uint64_t n = c->config->n_experts;
    enum moeq_status status = moeq_collector_flush(c, err);
    if (!status && c->has_down)
        status = write_moments(c, "experts_down", &c->all_down, err);
    if (!status && c->moe && !(status = describe(c, "counts", MOEQ_I64, n, err)))
        status = moeq_out_write(&c->out, c->counts, n * sizeof *c->counts, err);
    if (!status && c->moe && !(status = describe(c, "squares", MOEQ_F64, n, err)))
        status = moeq_out_write(&c->out, c->squares, n * sizeof *c->squares, err);
    if (!status)
        status = write_head(c, err);
    return status ? status : moeq_out_finish(&c->out, NULL, NULL, err);
}

void moeq_collector_free(struct moeq_collector *collector)
{
    struct moeq_collector *c = collector;
    if (!c)
        return;
    for (int i = 0; i < N_STREAMS; i++)
        if (c->streams[i].is_open)
            moeq_moments_free(&c->streams[i].moments);
    if (c->has_down)
        moeq_hessian_free(&c->all_down);
    moeq_bytes_free(&c->work.scratch);
    moeq_out_abandon(&c->out);
    free(c->counts);
    free(c->squares);
    free(c->tensors);
    free(c->names);
    free(c->shapes);
    free(c);
}

uint64_t moeq_collector_bytes(const struct moeq_config *config)
{
    const struct moeq_config *c = config;
    const uint64_t attention = moeq_moments_bytes(c->hidden) + moeq_moments_bytes(c->q_rank) +
                               moeq_moments_bytes(c->kv_rank) +
                               moeq_moments_bytes((uint64_t)c->n_heads * c->v_width);
    const uint64_t experts = moeq_moments_bytes(c->hidden) + 2 * moeq_moments_bytes(c->expert_width);
    const uint64_t mlp = moeq_moments_bytes(c->hidden) + moeq_moments_bytes(moeq_ffn_width(c)) +
                         moeq_moments_bytes(c->expert_width);
    return moeq_larger(attention, moeq_larger(experts, mlp));
}
