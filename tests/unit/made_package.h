/* The bundled model, and packages of it, made in a folder of their own. */
#ifndef MOEQ_MADE_PACKAGE_H
#define MOEQ_MADE_PACKAGE_H

#include "repack.h"
#include "request.h"
#include "unit.h"

struct made {
    char folder[40], path[60];
    struct moeq_source source;
};

static inline void open_nano(struct moeq_source *source)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(source, path, NULL), MOEQ_OK);
}

/* A package of the source by the rules [n], opened. */
static inline void make_package(struct made *made, const struct moeq_source *source, struct moeq_pool *pool,
                                const char *const *rules, size_t n)
{
    struct moeq_list list = {.n_items = n, .items = (const char **)(uintptr_t)rules};
    struct moeq_rules parsed;
    struct moeq_plan plan;
    struct moeq_repack_result result;
    struct moeq_error err = {0};
    json_t *options = moeq_repack_options(NULL, NULL, false, json_array());
    strcpy(made->folder, "/tmp/moeq-package-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(made->folder));
    snprintf(made->path, sizeof made->path, "%s/made.moeq", made->folder);
    CU_ASSERT_EQUAL_FATAL(moeq_rules_parse(&parsed, &list, (struct moeq_format){.group = 64}, &err), MOEQ_OK);
    const struct moeq_plan_request request = {.rules = parsed.rules, .n_rules = parsed.n};
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, source, &request, &err), MOEQ_OK);
    const struct moeq_repack repack = {.plan = &plan, .out = made->path, .options = options, .pool = pool};
    CU_ASSERT_EQUAL_FATAL(moeq_repack_run(&repack, &result, &err), MOEQ_OK);
    moeq_plan_free(&plan);
    moeq_rules_free(&parsed);
    json_decref(options);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&made->source, made->path, &err), MOEQ_OK);
}

static inline void remove_package(struct made *made)
{
    char command[64];
    moeq_source_close(&made->source);
    snprintf(command, sizeof command, "rm -r %s", made->folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

#endif
