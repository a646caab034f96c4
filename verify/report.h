/* An evaluation as people and programs read it. All forms are made of one struct, so that their numbers
 * agree.
 */
#ifndef MOEQ_REPORT_H
#define MOEQ_REPORT_H

#include "worst.h"

#include <stdio.h>

/* Bytes and weights of the matrices of one role at one level. */
struct moeq_budget_row {
    enum moeq_role role;
    struct moeq_format format;
    uint64_t n_matrices, n_weights, n_bytes;
};

struct moeq_weight_budget {
    struct moeq_budget_row *rows; /* [n_rows], by role, then by bytes */
    size_t n_rows;
    uint64_t n_weights, n_bytes, n_expert_weights, n_expert_bytes;
};

enum moeq_status moeq_weight_budget_of(struct moeq_weight_budget *budget, const struct moeq_source *source,
                                       struct moeq_error *err);
void moeq_weight_budget_free(struct moeq_weight_budget *budget);

double moeq_bits_per_weight(uint64_t n_bytes, uint64_t n_weights); /* 0 of none */

struct moeq_gates;

/* All but what the report owns is borrowed. */
struct moeq_report {
    const struct moeq_source *source;
    const char *model;     /* as it was named */
    const char *text;      /* likewise, or as a baseline names it */
    const char *reference; /* path of the model or baseline that it was compared with; NULL */
    const struct moeq_baseline_header *baseline; /* of that baseline, or NULL */
    const char *saved;                           /* path of the baseline that was saved, or NULL */
    enum moeq_convention convention;
    enum moeq_arithmetic arithmetic;
    const struct moeq_windows *windows;
    const struct moeq_evaluation *evaluation;
    const struct moeq_evaluation_plan *plan;
    struct moeq_weight_budget weights;
    struct moeq_worst_list worst;   /* of a comparison */
    const struct moeq_gates *gates; /* judged */
    double seconds;
    uint64_t n_swept; /* tokens */
};

void moeq_report_print(const struct moeq_report *report); /* to stdout */
json_t *moeq_report_json(const struct moeq_report *report);

/* What other programs read, and people: whole documents. */
typedef void moeq_report_write(const struct moeq_report *report, FILE *out);

/* JUnit XML as GitHub, GitLab and Jenkins read it (the schema of Apache Ant's JUnit task): a test case for
 * each gate, or one that the evaluation went to its end. What noise means for a gate is in system-out. */
moeq_report_write moeq_report_junit;

/* A section of Markdown: gates, numbers, layers, worst windows. */
moeq_report_write moeq_report_markdown;

/* One HTML page that needs nothing else: no scripts, pictures inside. */
moeq_report_write moeq_report_html;

/* Writes one to a file (out.h), or to standard output for "-". */
enum moeq_status moeq_report_save(const struct moeq_report *report, moeq_report_write *write,
                                  const char *path, struct moeq_error *err);

double moeq_report_tokens_per_second(const struct moeq_report *report);

#endif
