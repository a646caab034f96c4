#include "gates.h"

#include "baseline_match.h"
#include "escape.h"

#include <math.h>

static void write_interval(FILE *out, const struct moeq_report *r, struct moeq_estimate e)
{
    char text[MOEQ_INTERVAL_TEXT];
    fputs(moeq_interval_text(&r->evaluation->paired, e, "±", text), out);
}

static void write_gates(FILE *out, const struct moeq_report *r)
{
    if (!r->gates->n)
        return;
    fprintf(out, "**%zu of %zu gates failed**\n\n| gate | result | found | |\n|---|---|---:|---|\n",
            r->gates->n_failed, r->gates->n);
    for (size_t i = 0; i < r->gates->n; i++) {
        const struct moeq_gate *g = &r->gates->gates[i];
        fputs("| ", out);
        moeq_escape_markdown(out, g->text);
        fprintf(out, " | %s | ", g->passed ? "pass" : "**FAIL**");
        write_interval(out, r, g->found);
        fputs(" | ", out);
        moeq_escape_markdown(out, g->note);
        fputs(" |\n", out);
    }
    fputs("\n", out);
}

static void write_metrics(FILE *out, const struct moeq_report *r)
{
    fputs("| | value (95% interval) |\n|---|---:|\n", out);
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++)
        if (moeq_metric_is_known(m, r)) {
            fprintf(out, "| %s (`%s`) | ", m->what, m->name);
            write_interval(out, r, m->get(r));
            fputs(" |\n", out);
        }
    fputs("\n", out);
}

static void write_layers(FILE *out, const struct moeq_report *r)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    if (!r->evaluation->has_drift)
        return;
    fputs("<details><summary>Layers</summary>\n\n"
          "| layer | error of the states behind it | of what it adds | experts that stay the same |\n"
          "|---:|---:|---:|---:|\n",
          out);
    for (uint32_t i = 0; i < d->n_layers; i++) {
        fprintf(out, "| %u | %.5f | %.5f | ", i, d->layers[i].error, d->layers[i].own_error);
        if (d->layers[i].is_moe)
            fprintf(out, "%.3f%%", 100 * d->layers[i].router);
        fputs(" |\n", out);
    }
    fputs("\n</details>\n\n", out);
}

static void write_worst(FILE *out, const struct moeq_report *r)
{
    if (!r->worst.n)
        return;
    fputs("<details><summary>Worst windows</summary>\n\n"
          "| window | mean KL divergence | at the token where it is largest | reference | model |\n"
          "|---:|---:|---|---|---|\n",
          out);
    for (size_t i = 0; i < r->worst.n; i++) {
        const struct moeq_worst *w = &r->worst.windows[i];
        fprintf(out, "| %llu | %.5f | ", (unsigned long long)w->window, w->kld);
        moeq_escape_markdown(out, w->before);
        fputs(" **⟦", out);
        moeq_escape_markdown(out, w->target);
        fputs("⟧** ", out);
        moeq_escape_markdown(out, w->after);
        fputs(" | ", out);
        moeq_escape_markdown(out, w->reference_says);
        fputs(" | ", out);
        moeq_escape_markdown(out, w->model_says);
        fputs(" |\n", out);
    }
    fputs("\n</details>\n", out);
}

void moeq_report_markdown(const struct moeq_report *r, FILE *out)
{
    fputs("### moeq eval: ", out);
    moeq_escape_markdown(out, r->model);
    fputs("\n\nText ", out);
    moeq_escape_markdown(out, r->text);
    fprintf(out, ", %llu windows of %llu tokens, arithmetic %s", (unsigned long long)r->windows->n_windows,
            (unsigned long long)r->windows->context, moeq_arithmetic_name(r->arithmetic));
    if (r->reference) {
        fprintf(out, ", compared with %s", r->baseline ? "the baseline " : "");
        moeq_escape_markdown(out, r->reference);
    }
    fputs(".\n\n", out);
    write_gates(out, r);
    write_metrics(out, r);
    write_layers(out, r);
    write_worst(out, r);
}
