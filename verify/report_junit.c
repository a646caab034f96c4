#include "gates.h"

#include "escape.h"

#include <time.h>

/* One gate; the schema allows a case no text but that of a failure. */
static void write_case(FILE *out, const struct moeq_report *r, const struct moeq_gate *g)
{
    char value[MOEQ_METRIC_TEXT], found[MOEQ_INTERVAL_TEXT];
    fputs("    <testcase classname=\"moeq.eval\" name=\"", out);
    moeq_escape_xml(out, g->text);
    fputs("\" time=\"0\"", out);
    if (g->passed) {
        fputs("/>\n", out);
        return;
    }
    fprintf(out, ">\n      <failure type=\"gate\" message=\"%s is %s\">%s: %s, wanted ", g->metric->name,
            moeq_metric_text(g->found.value, value), g->metric->what,
            moeq_interval_text(&r->evaluation->paired, g->found, "+-", found));
    moeq_escape_xml(out, g->text);
    if (g->note[0]) {
        fputs("; ", out);
        moeq_escape_xml(out, g->note);
    }
    fputs("</failure>\n    </testcase>\n", out);
}

static void write_property(FILE *out, const char *name, const char *value)
{
    fprintf(out, "      <property name=\"%s\" value=\"", name);
    moeq_escape_xml(out, value && *value ? value : "-");
    fputs("\"/>\n", out);
}

static void write_properties(FILE *out, const struct moeq_report *r)
{
    char value[MOEQ_METRIC_TEXT];
    fputs("    <properties>\n", out);
    write_property(out, "model", r->model);
    write_property(out, "text", r->text);
    write_property(out, "reference", r->reference);
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++)
        if (moeq_metric_is_known(m, r))
            write_property(out, m->name, moeq_metric_text(m->get(r).value, value));
    fputs("    </properties>\n", out);
}

static void write_notes(FILE *out, const struct moeq_gates *gates)
{
    fputs("    <system-out>", out);
    for (size_t i = 0; i < gates->n; i++)
        if (gates->gates[i].note[0]) {
            moeq_escape_xml(out, gates->gates[i].text);
            fputs(": ", out);
            moeq_escape_xml(out, gates->gates[i].note);
            fputs("\n", out);
        }
    fputs("</system-out>\n    <system-err></system-err>\n", out);
}

void moeq_report_junit(const struct moeq_report *r, FILE *out)
{
    const struct moeq_gates *gates = r->gates;
    const size_t n = gates->n ? gates->n : 1;
    const time_t now = time(NULL);
    struct tm utc = {0};
    char stamp[32];
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
            "  <testsuite name=\"moeq eval\" package=\"moeq\" id=\"0\" hostname=\"localhost\" "
            "timestamp=\"%s\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" time=\"%.3f\">\n",
            stamp, n, gates->n_failed, r->seconds);
    write_properties(out, r);
    for (size_t i = 0; i < gates->n; i++)
        write_case(out, r, &gates->gates[i]);
    if (!gates->n)
        fputs("    <testcase classname=\"moeq.eval\" name=\"evaluated\" time=\"0\"/>\n", out);
    write_notes(out, gates);
    fputs("  </testsuite>\n</testsuites>\n", out);
}
