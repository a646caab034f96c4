#include "report.h"

#include "baseline_match.h"
#include "gates.h"
#include "verb.h"

#include <math.h>

static json_t *estimate_json(const struct moeq_paired *p, struct moeq_estimate e)
{
    const double half = moeq_paired_interval(p, e);
    json_t *json =
        json_pack("{s:o, s:o}", "value", moeq_json_real(e.value), "error", moeq_json_real(e.error));
    if (isfinite(half))
        moeq_json_set(&json, "interval95", json_pack("[f, f]", e.value - half, e.value + half));
    return json;
}

static json_t *comparison_json(const struct moeq_report *r)
{
    const struct moeq_paired *p = &r->evaluation->paired;
    json_t *json =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f}", "model",
                  r->baseline ? r->baseline->source : r->reference, "perplexity",
                  moeq_json_real(p->reference_perplexity.value), "kld_mean", moeq_json_real(p->kld.value),
                  "kld_error", moeq_json_real(p->kld.error), "kld_median", moeq_json_real(p->kld_median),
                  "kld_p95", moeq_json_real(p->kld_p95), "kld_p99", moeq_json_real(p->kld_p99), "kld_p999",
                  moeq_json_real(p->kld_p999), "kld_max", moeq_json_real(p->kld_max), "top1", p->top1.value);
    if (r->baseline)
        moeq_json_set(&json, "baseline",
                      json_pack("{s:s, s:o, s:o}", "file", r->reference, "kld_certain",
                                moeq_json_real(p->kld_lower), "kld_sampling_error",
                                moeq_json_real(p->kld_sampling_error)));
    return json;
}

/* Every number that a gate can be put on. */
static json_t *metrics_json(const struct moeq_report *r)
{
    json_t *json = json_object();
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++)
        if (moeq_metric_is_known(m, r))
            moeq_json_set(&json, m->name, estimate_json(&r->evaluation->paired, m->get(r)));
    return json;
}

static json_t *gates_json(const struct moeq_gates *gates)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gates->n; i++) {
        const struct moeq_gate *g = &gates->gates[i];
        json_t *gate =
            json_pack("{s:s, s:s, s:f, s:o, s:o, s:b, s:b}", "gate", g->text, "metric", g->metric->name,
                      "limit", g->limit, "value", moeq_json_real(g->found.value), "error",
                      moeq_json_real(g->found.error), "passed", g->passed, "is_close", g->is_close);
        if (g->sigma > 0)
            moeq_json_set(&gate, "sigma", json_real(g->sigma));
        if (g->note[0])
            moeq_json_set(&gate, "note", json_string(g->note));
        moeq_json_append(&list, gate);
    }
    return list;
}

static json_t *worst_json(const struct moeq_worst_list *worst)
{
    json_t *list = json_array();
    for (size_t i = 0; i < worst->n; i++) {
        const struct moeq_worst *w = &worst->windows[i];
        moeq_json_append(&list,
                         json_pack("{s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:s}", "window",
                                   (json_int_t)w->window, "kld", moeq_json_real(w->kld), "nll_difference",
                                   moeq_json_real(w->nll_difference), "token", (json_int_t)w->token,
                                   "token_kld", moeq_json_real(w->token_kld), "nll", moeq_json_real(w->nll),
                                   "reference_nll", moeq_json_real(w->reference_nll), "before", w->before,
                                   "target", w->target, "after", w->after, "model_says", w->model_says,
                                   "reference_says", w->reference_says));
    }
    return list;
}

static json_t *layers_json(const struct moeq_drift *d)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct moeq_layer_drift *l = &d->layers[i];
        json_t *layer = json_pack("{s:I, s:o, s:o}", "layer", (json_int_t)i, "error",
                                  moeq_json_real(l->error), "own_error", moeq_json_real(l->own_error));
        if (l->is_moe)
            moeq_json_set(&layer, "router_agreement", moeq_json_real(l->router));
        moeq_json_append(&list, layer);
    }
    return list;
}

static json_t *timing_json(const struct moeq_report *r) /* what depends on the machine and on --jobs */
{
    return json_pack("{s:f, s:f, s:I, s:I, s:I, s:I}", "seconds", r->seconds, "tokens_per_second",
                     moeq_report_tokens_per_second(r), "peak_memory_bytes", (json_int_t)moeq_peak_memory(),
                     "planned_memory_bytes", (json_int_t)r->plan->total, "hidden_states_bytes",
                     (json_int_t)r->plan->sweep.hidden, "temporary_file_bytes",
                     (json_int_t)r->plan->sweep.file);
}

json_t *moeq_report_json(const struct moeq_report *r)
{
    const struct moeq_paired *p = &r->evaluation->paired;
    const struct moeq_weight_budget *s = &r->weights;
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o}", "moeq",
                  "eval", "version", 2, "model", r->model, "text", r->text, "convention",
                  moeq_convention_name(r->convention), "context", (json_int_t)r->windows->context, "windows",
                  (json_int_t)r->windows->n_windows, "text_tokens", (json_int_t)r->windows->n_text_tokens,
                  "scored", (json_int_t)p->n_scored, "weight_bytes", (json_int_t)s->n_bytes,
                  "bits_per_weight", moeq_bits_per_weight(s->n_bytes, s->n_weights), "bits_per_expert_weight",
                  moeq_bits_per_weight(s->n_expert_bytes, s->n_expert_weights), "nll",
                  moeq_json_real(p->nll.value), "perplexity", moeq_json_real(p->perplexity.value),
                  "perplexity_error", moeq_json_real(p->perplexity.error));
    moeq_json_set(&json, "errors_by", json_string(p->by_window ? "windows" : "tokens"));
    if (r->evaluation->compared)
        moeq_json_set(&json, "reference", comparison_json(r));
    moeq_json_set(&json, "metrics", metrics_json(r));
    if (r->evaluation->has_drift)
        moeq_json_set(&json, "layers", layers_json(&r->evaluation->drift));
    if (r->evaluation->compared)
        moeq_json_set(&json, "worst_windows", worst_json(&r->worst));
    if (r->gates->n)
        moeq_json_set(&json, "gates", gates_json(r->gates));
    if (r->saved)
        moeq_json_set(&json, "saved_baseline", json_string(r->saved));
    moeq_json_set(&json, "arithmetic", json_string(moeq_arithmetic_name(r->arithmetic)));
    moeq_json_set(&json, "memory",
                  json_pack("{s:I}", "layer_float32_bytes", (json_int_t)r->plan->sweep.layer_float32));
    moeq_json_set(&json, "timing", timing_json(r));
    return json;
}
