/* What `moeq plan` gives: the PLAN, what any budget would give, and what a person reads. */
#ifndef MOEQ_PLAN_REPORT_H
#define MOEQ_PLAN_REPORT_H

#include "planner.h"

struct moeq_plan_report {
    struct moeq_planner *planner;
    const uint32_t *chosen;       /* [items of the planner] */
    const char *budget;           /* as given; NULL: none, a uniform plan */
    const char *path, *csv, *svg; /* files to write; NULL: not */
    double seconds;               /* of measuring */
};

/* Writes the files, the PLAN last. */
enum moeq_status moeq_plan_report_write(const struct moeq_plan_report *report, struct moeq_error *err);

/* A table of layers and kinds, then a line on the whole. */
enum moeq_status moeq_plan_report_print(const struct moeq_plan_report *report, struct moeq_error *err);

/* The same as an object. NULL and *err set where memory is out. */
json_t *moeq_plan_report_json(const struct moeq_plan_report *report, struct moeq_error *err);

#endif
