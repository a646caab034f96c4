#include "report_charts.h"

#include "baseline_match.h"
#include "escape.h"
#include "gates.h"
#include "verb.h"

#include <math.h>

/* Colours of both schemes: s0 … s6 from little to much. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--muted:#59636e;--line:#d5dae0;--card:#f6f8fa;"
    "--a:#2563a8;--b:#c2571a;--good:#1a7f37;--bad:#c62828;--s0:#d3e4f2;--s1:#b0d0e8;--s2:#86b7da;--s3:#"
    "579bc8;"
    "--s4:#2f78ad;--s5:#1a568a;--s6:#0c3561}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#0f1419;--fg:#e6e9ee;--muted:#9aa4af;--line:#313943;"
    "--card:#181f27;--a:#6cb0f0;--b:#f0a06a;--good:#57c878;--bad:#ff7b72;--s0:#2a3d4f;--s1:#274662;"
    "--s2:#2a5a83;--s3:#3675a8;--s4:#4c93cb;--s5:#7db8e8;--s6:#c4e1f9}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:16px;background:var(--bg);"
    "color:var(--fg);font:15px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;overflow-wrap:anywhere}"
    "h2{font-size:1.15rem;margin:2rem 0 .5rem}p.note{color:var(--muted);margin:.25rem 0 "
    ".75rem;max-width:75ch}"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;background:var(--card)}"
    ".scroll svg{display:block;width:100%;min-width:560px;height:auto;padding:8px}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:5px 10px;"
    "border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td.text{min-width:16em;overflow-wrap:anywhere}mark{background:var(--b);color:var(--bg);padding:0 2px;"
    "border-radius:2px}code{font-size:.92em}.pass{color:var(--good);font-weight:600}"
    "code{color:var(--muted)}.fail{color:var(--bad);font-weight:600}.key{display:inline-block;width:.8em;"
    "height:.8em;"
    "border-radius:2px;margin:0 .3em 0 .8em}svg text{fill:var(--fg);font:12px system-ui,sans-serif}"
    ".grid{stroke:var(--line);fill:none}.a{fill:var(--a)}.b{fill:var(--b)}.line{fill:none;stroke-width:2}"
    ".line.a{stroke:var(--a)}.line.b{stroke:var(--b)}.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)"
    "}"
    ".s3{fill:var(--s3)}.s4{fill:var(--s4)}.s5{fill:var(--s5)}.s6{fill:var(--s6)}\n";

static void cell(FILE *out, const char *class, const char *text)
{
    fprintf(out, "<td%s%s%s>", class ? " class=\"" : "", class ? class : "", class ? "\"" : "");
    moeq_escape_xml(out, text);
    fputs("</td>", out);
}

static void number_cell(FILE *out, double value)
{
    char text[MOEQ_METRIC_TEXT];
    cell(out, "n", moeq_metric_text(value, text));
}

static void section(FILE *out, const char *title, const char *note)
{
    fprintf(out, "<h2>%s</h2>\n", title);
    if (note)
        fprintf(out, "<p class=\"note\">%s</p>\n", note);
    fputs("<div class=\"scroll\">", out);
}

static void end_section(FILE *out)
{
    fputs("</div>\n", out);
}

/* ---- what it is of ---- */

static void write_head(FILE *out, const struct moeq_report *r)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
          "<link rel=\"icon\" href=\"data:,\"><title>moeq eval: ",
          out);
    moeq_escape_xml(out, r->model);
    fprintf(out, "</title>\n<style>%s</style></head>\n<body>\n<h1>", style);
    moeq_escape_xml(out, r->model);
    fputs("</h1>\n<p class=\"note\">", out);
    moeq_escape_xml(out, r->text);
    fprintf(out, ": %llu windows of %llu tokens, %llu scored; convention %s, arithmetic %s.",
            (unsigned long long)r->windows->n_windows, (unsigned long long)r->windows->context,
            (unsigned long long)r->evaluation->paired.n_scored, moeq_convention_name(r->convention),
            moeq_arithmetic_name(r->arithmetic));
    if (r->reference) {
        fprintf(out, " Compared with %s", r->baseline ? "the baseline " : "");
        moeq_escape_xml(out, r->reference);
        if (r->baseline) {
            fputs(" of ", out);
            moeq_escape_xml(out, r->baseline->source);
        }
        fputs(".", out);
    }
    fprintf(out, " moeq %s.</p>\n", MOEQ_VERSION);
}

static void write_gates(FILE *out, const struct moeq_report *r)
{
    char found[MOEQ_INTERVAL_TEXT];
    if (!r->gates->n)
        return;
    section(out, "Gates", NULL);
    fputs("<table><tr><th>gate</th><th>result</th><th class=\"n\">found</th><th>noise</th></tr>\n", out);
    for (size_t i = 0; i < r->gates->n; i++) {
        const struct moeq_gate *g = &r->gates->gates[i];
        fputs("<tr>", out);
        cell(out, NULL, g->text);
        cell(out, g->passed ? "pass" : "fail", g->passed ? "pass" : "fail");
        cell(out, "n", moeq_interval_text(&r->evaluation->paired, g->found, "±", found));
        cell(out, "text", g->note);
        fputs("</tr>\n", out);
    }
    fputs("</table>", out);
    end_section(out);
}

static void write_metrics(FILE *out, const struct moeq_report *r)
{
    section(out, "Numbers",
            "Ranges are 95% intervals. Tokens of a window depend on each other, so errors come from whole "
            "windows; what is compared is paired token by token.");
    fputs("<table><tr><th>metric</th><th class=\"n\">value</th><th class=\"n\">±</th></tr>\n", out);
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++)
        if (moeq_metric_is_known(m, r)) {
            const struct moeq_estimate e = m->get(r);
            fprintf(out, "<tr><td>%s <code>%s</code></td>", m->what, m->name);
            number_cell(out, e.value);
            number_cell(out, e.error > 0 ? moeq_paired_interval(&r->evaluation->paired, e) : (double)NAN);
            fputs("</tr>\n", out);
        }
    fputs("</table>", out);
    end_section(out);
}

static void write_budget(FILE *out, const struct moeq_report *r)
{
    const struct moeq_weight_budget *b = &r->weights;
    char size[MOEQ_SIZE_TEXT], format[MOEQ_FORMAT_BYTES];
    section(out, "Bytes by role and level", NULL);
    fputs("<table><tr><th>role</th><th>level</th><th class=\"n\">matrices</th><th class=\"n\">bits per "
          "weight</th><th class=\"n\">bytes</th><th class=\"n\">share</th></tr>\n",
          out);
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct moeq_budget_row *row = &b->rows[i];
        fputs("<tr>", out);
        cell(out, NULL, moeq_role_name(row->role));
        cell(out, NULL, moeq_format_text(row->format, format));
        fprintf(out, "<td class=\"n\">%llu</td><td class=\"n\">%.3f</td><td class=\"n\">%s</td>",
                (unsigned long long)row->n_matrices, moeq_bits_per_weight(row->n_bytes, row->n_weights),
                moeq_size_text((double)row->n_bytes, size));
        fprintf(out, "<td class=\"n\">%.1f%%</td></tr>\n", 100.0 * (double)row->n_bytes / (double)b->n_bytes);
    }
    fprintf(out,
            "<tr><th>all</th><th></th><th></th><th class=\"n\">%.3f</th><th class=\"n\">%s</th>"
            "<th></th></tr>\n</table>",
            moeq_bits_per_weight(b->n_bytes, b->n_weights), moeq_size_text((double)b->n_bytes, size));
    end_section(out);
}

/* ---- pictures ---- */

static void picture(FILE *out, const struct moeq_report *r, const char *title, const char *note,
                    moeq_report_write *draw)
{
    section(out, title, note);
    draw(r, out);
    end_section(out);
}

static void write_layers(FILE *out, const struct moeq_report *r)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    picture(out, r, "Error of each layer",
            "Relative, as root of squares, the first token of each window left out: "
            "<span class=\"key\" style=\"background:var(--a)\"></span>of the hidden states behind the layer, "
            "<span class=\"key\" style=\"background:var(--b)\"></span>of what the layer adds to them.",
            moeq_chart_layers);
    if (!d->n_experts)
        return;
    picture(out, r, "Routers", "Share of the reference's expert choices that are the model's, too.",
            moeq_chart_routers);
    picture(out, r, "Error by expert",
            "Of what the layer adds to the tokens that the reference sends to the expert.",
            moeq_chart_experts);
}

/* ---- windows ---- */

static void write_worst(FILE *out, const struct moeq_report *r)
{
    if (!r->worst.n)
        return;
    section(out, "Worst windows",
            "By mean KL divergence; shown is the token where it is largest, and what each model finds "
            "likeliest in its place.");
    fputs("<table><tr><th class=\"n\">window</th><th class=\"n\">mean KLD</th><th>text</th><th>reference</th>"
          "<th>model</th><th class=\"n\">probability of the token</th></tr>\n",
          out);
    for (size_t i = 0; i < r->worst.n; i++) {
        const struct moeq_worst *w = &r->worst.windows[i];
        fprintf(out, "<tr><td class=\"n\">%llu</td><td class=\"n\">%.5f</td><td class=\"text\">",
                (unsigned long long)w->window, w->kld);
        moeq_escape_xml(out, w->before);
        fputs("<mark>", out);
        moeq_escape_xml(out, w->target);
        fputs("</mark>", out);
        moeq_escape_xml(out, w->after);
        fputs("</td>", out);
        cell(out, NULL, w->reference_says);
        cell(out, NULL, w->model_says);
        fprintf(out, "<td class=\"n\">%.4f → %.4f</td></tr>\n", exp(-w->reference_nll), exp(-w->nll));
    }
    fputs("</table>", out);
    end_section(out);
}

void moeq_report_html(const struct moeq_report *r, FILE *out)
{
    write_head(out, r);
    write_gates(out, r);
    write_metrics(out, r);
    write_budget(out, r);
    if (r->source->config.n_experts)
        picture(out, r, "Level of every expert",
                "Bits per weight of gate, up and down together, scales included.", moeq_chart_levels);
    if (r->evaluation->compared)
        picture(out, r, "KL divergence of tokens", NULL, moeq_chart_kld);
    if (r->evaluation->has_drift)
        write_layers(out, r);
    write_worst(out, r);
    fputs("</body></html>\n", out);
}
