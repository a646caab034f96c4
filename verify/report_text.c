#include "report.h"

#include "baseline_match.h"
#include "gates.h"
#include "verb.h"

#include <math.h>

double moeq_report_tokens_per_second(const struct moeq_report *r)
{
    return r->seconds > 0 ? (double)r->n_swept / r->seconds : 0;
}

/* Of a file or a model: whoever made a baseline chose some of them. */
static void print_name(const char *before, const char *name)
{
    fputs(before, stdout);
    moeq_print_text(stdout, name, 0);
}

static void print_head(const struct moeq_report *r)
{
    char a[MOEQ_SIZE_TEXT];
    const struct moeq_weight_budget *s = &r->weights;
    const struct moeq_windows *w = r->windows;
    print_name("model          ", r->model);
    printf(": %s of weights, %.3f bits per weight (experts %.3f)\n", moeq_size_text((double)s->n_bytes, a),
           moeq_bits_per_weight(s->n_bytes, s->n_weights),
           moeq_bits_per_weight(s->n_expert_bytes, s->n_expert_weights));
    print_name("text           ", r->text);
    printf(": %llu window%s of %llu tokens, %llu scored (convention %s)\n", (unsigned long long)w->n_windows,
           w->n_windows == 1 ? "" : "s", (unsigned long long)w->context,
           (unsigned long long)r->evaluation->paired.n_scored, moeq_convention_name(r->convention));
    printf("arithmetic     %s\n", r->arithmetic == MOEQ_FAST
                                      ? "products of BF16, sums of float32 (--exact: float32 throughout)"
                                      : "float32");
    if (r->evaluation->paired.by_window)
        printf("ranges         95%% intervals, errors of %llu windows\n", (unsigned long long)w->n_windows);
    else
        printf("ranges         95%% intervals, as if tokens were independent: there is one window\n");
}

/* Half of an interval; of a single token there is none. */
static const char *half_text(const struct moeq_paired *p, struct moeq_estimate e, double times, int digits,
                             char dst[MOEQ_METRIC_TEXT])
{
    const double half = moeq_paired_interval(p, e) * times;
    if (isnan(half))
        return "-";
    snprintf(dst, MOEQ_METRIC_TEXT, "%.*f", digits, half);
    return dst;
}

static void print_comparison(const struct moeq_report *r)
{
    const struct moeq_paired *p = &r->evaluation->paired;
    char a[MOEQ_METRIC_TEXT], b[MOEQ_METRIC_TEXT];
    if (r->baseline) {
        print_name("baseline       ", r->reference);
        print_name(", of ", r->baseline->source);
        putchar('\n');
    }
    print_name("reference      ", r->baseline ? r->baseline->source : r->reference);
    printf(": perplexity %.4f, ratio %.5f +- %s\n", p->reference_perplexity.value, p->ppl_ratio.value,
           half_text(p, p->ppl_ratio, 1, 5, a));
    printf("KL divergence  mean %.6f +- %s, 95%% %.5f, 99%% %.5f, 99.9%% %.5f, max %.5f\n", p->kld.value,
           half_text(p, p->kld, 1, 6, a), p->kld_p95, p->kld_p99, p->kld_p999, p->kld_max);
    if (r->baseline)
        printf("               of the mean %.6f is certain; the rest is estimated, standard error %.6f\n",
               p->kld_lower, p->kld_sampling_error);
    printf("top-1          %.3f%% +- %s agree; of the 5 likeliest %.3f%%\n", 100 * p->top1.value,
           half_text(p, p->top1, 100, 3, a), 100 * p->top5.value);
    printf("flips          %.3f%% +- %s right to wrong, %.3f%% +- %s wrong to right\n",
           100 * p->flips_worse.value, half_text(p, p->flips_worse, 100, 3, a), 100 * p->flips_better.value,
           half_text(p, p->flips_better, 100, 3, b));
}

static void print_layers(const struct moeq_report *r)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    printf("layers         error of the states behind it, of what it adds, experts that stay the same\n");
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct moeq_layer_drift *l = &d->layers[i];
        printf("  %4u       %9.5f %9.5f", i, l->error, l->own_error);
        if (l->is_moe)
            printf(" %9.3f%%", 100 * l->router);
        printf("\n");
    }
}

static void print_worst(const struct moeq_report *r)
{
    for (size_t i = 0; i < r->worst.n; i++) {
        const struct moeq_worst *w = &r->worst.windows[i];
        printf("%s window %llu: mean KL divergence %.5f; most, %.4f, at token %llu:\n",
               i ? "              " : "worst         ", (unsigned long long)w->window, w->kld, w->token_kld,
               (unsigned long long)w->token);
        printf("                 %s[%s]%s\n", w->before, w->target, w->after);
        printf("                 likeliest: reference \"%s\", model \"%s\"; probability of [%s] %.4f, %.4f\n",
               w->reference_says, w->model_says, w->target, exp(-w->reference_nll), exp(-w->nll));
    }
}

static void print_gates(const struct moeq_report *r)
{
    char found[MOEQ_INTERVAL_TEXT];
    for (size_t i = 0; i < r->gates->n; i++) {
        const struct moeq_gate *g = &r->gates->gates[i];
        printf("%s %s  %-24s %s\n", i ? "              " : "gates         ", g->passed ? "pass" : "FAIL",
               g->text, moeq_interval_text(&r->evaluation->paired, g->found, "+-", found));
        if (g->note[0])
            printf("                     %s\n", g->note);
    }
    if (r->gates->n)
        printf("               %zu of %zu gates failed\n", r->gates->n_failed, r->gates->n);
}

static void print_foot(const struct moeq_report *r)
{
    const struct moeq_evaluation_plan *plan = r->plan;
    char a[MOEQ_SIZE_TEXT], b[MOEQ_SIZE_TEXT], c[MOEQ_SIZE_TEXT];
    if (r->saved) {
        print_name("saved          ", r->saved);
        putchar('\n');
    }
    printf("speed          %.0f tokens/s, %.1f s\n", moeq_report_tokens_per_second(r), r->seconds);
    printf("memory         peak %s, with program, text and tokenizer\n",
           moeq_size_text((double)moeq_peak_memory(), a));
    printf("planned        at most %s: hidden states %s, weights, work; a layer as float32 has %s\n",
           moeq_size_text((double)plan->total, a), moeq_size_text((double)plan->sweep.hidden, b),
           moeq_size_text((double)plan->sweep.layer_float32, c));
    if (plan->sweep.file)
        printf("               the other hidden states in a temporary file of %s\n",
               moeq_size_text((double)plan->sweep.file, a));
}

void moeq_report_print(const struct moeq_report *r)
{
    const struct moeq_paired *p = &r->evaluation->paired;
    char half[MOEQ_METRIC_TEXT];
    print_head(r);
    printf("perplexity     %.4f +- %s   (nll %.6f)\n", p->perplexity.value,
           half_text(p, p->perplexity, 1, 4, half), p->nll.value);
    if (r->evaluation->compared)
        print_comparison(r);
    if (r->evaluation->has_drift)
        print_layers(r);
    print_worst(r);
    print_foot(r);
    print_gates(r);
}
