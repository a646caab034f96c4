/* The cases of MOEQ_SHARED/conformance/safetensors against the verdicts of the reference reader: what it
 * rejects we reject, and what it accepts we read alike, leniently always and strictly but for the exceptions
 * below. Exits with 77 where there are no cases. */
#include "unit.h"

#include "safetensors.h"

#include <dirent.h>

#define MAX_PATH 1024
#define MAX_LINE 4096
#define N_CASES  62

/* Files that the reference reads although the format text forbids them; see formats/safetensors.h. */
static const struct {
    const char *file, *reason;
} stricter[] = {
    {"020-leading-ws.safetensors", "the format text: the header MUST begin with '{'"},
    {"068-unknown-field-in-tensor.safetensors", "a field that we ignore might change what the data mean"},
    {"070-tensor-value-array-form.safetensors",
     "the format text knows objects only; serde's array form is an accident"},
    {"072-dup-tensor-same-offsets-diff-dtype.safetensors",
     "duplicate keys are disallowed: readers choose differently"},
    {"074-dup-via-escape-u0077.safetensors", "the same key, once written with an escape"},
    {"076-dup-key-in-metadata.safetensors", "duplicate keys are disallowed, in __metadata__ too"},
};

static char folder[MAX_PATH];

static const char *exception_for(const char *file)
{
    for (size_t i = 0; i < sizeof stricter / sizeof *stricter; i++)
        if (strcmp(stricter[i].file, file) == 0)
            return stricter[i].reason;
    return NULL;
}

static enum moeq_status read_case(const char *name, enum moeq_strictness strictness,
                                  struct moeq_safetensors *st, struct moeq_error *err)
{
    char path[2 * MAX_PATH];
    struct moeq_file file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (!status)
        status = moeq_safetensors_read(st, &file, strictness, err);
    moeq_file_close(&file);
    return status;
}

/* The reference's summary of what it read: 1 "t":F32[2, 3]. */
static void summarize(const struct moeq_safetensors *st, char *text, size_t capacity)
{
    size_t n = (size_t)snprintf(text, capacity, "%zu", st->n_tensors);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *t = &st->tensors[i];
        n += (size_t)snprintf(text + n, capacity - n, " \"%s\":%s[", t->name, moeq_dtype_name(t->dtype));
        for (size_t d = 0; d < t->n_dims; d++)
            n += (size_t)snprintf(text + n, capacity - n, "%s%llu", d ? ", " : "",
                                  (unsigned long long)t->shape[d]);
        n += (size_t)snprintf(text + n, capacity - n, "]");
    }
}

struct expected {
    const char *file, *what, *details;
    bool accepted;
};

static void check_verdict(const struct expected *e, enum moeq_strictness strictness, bool accepted)
{
    static const char *const modes[] = {[MOEQ_STRICT] = "strict", [MOEQ_LENIENT] = "lenient"};
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    char line[1024], summary[MAX_LINE] = "";
    enum moeq_status expected = accepted ? MOEQ_OK : MOEQ_DAMAGED;
    enum moeq_status status = read_case(e->file, strictness, &st, &err);
    if (status != expected)
        printf("\n  %s (%s), %s: status %d, expected %d: %s", e->file, e->what, modes[strictness], status,
               expected, moeq_error_format(&err, line, sizeof line));
    CU_ASSERT_EQUAL(status, expected);
    if (status)
        return;
    summarize(&st, summary, sizeof summary);
    CU_ASSERT_STRING_EQUAL(summary, e->details);
    moeq_safetensors_free(&st);
}

static void check_case(const struct expected *e)
{
    const char *exception = exception_for(e->file);
    if (exception)
        printf("\n  stricter than the reference: %s: %s", e->what, exception);
    CU_ASSERT(!exception || e->accepted);
    check_verdict(e, MOEQ_STRICT, e->accepted && !exception);
    check_verdict(e, MOEQ_LENIENT, e->accepted);
}

static FILE *open_expected(void)
{
    char path[2 * MAX_PATH];
    snprintf(path, sizeof path, "%s/expected.tsv", folder);
    return fopen(path, "r");
}

static void test_verdicts(void)
{
    char line[MAX_LINE];
    size_t n_cases = 0, n_exceptions = 0;
    FILE *expected = open_expected();
    CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
    while (fgets(line, sizeof line, expected)) {
        char *rest = line;
        line[strcspn(line, "\n")] = '\0';
        const char *name = strsep(&rest, "\t"), *verdict = strsep(&rest, "\t"), *what = strsep(&rest, "\t");
        const char *details = strsep(&rest, "\t");
        CU_ASSERT_PTR_NOT_NULL_FATAL(details);
        if (strcmp(name, "file") == 0)
            continue;
        CU_ASSERT(strcmp(verdict, "accept") == 0 || strcmp(verdict, "reject") == 0);
        check_case(&(struct expected){name, what, details, strcmp(verdict, "accept") == 0});
        n_cases++;
        n_exceptions += exception_for(name) != NULL;
    }
    fclose(expected);
    CU_ASSERT_EQUAL(n_cases, N_CASES);
    CU_ASSERT_EQUAL(n_exceptions, sizeof stricter / sizeof *stricter);
}

/* Every file is listed: a case without a verdict would pass unseen. */
static void test_no_file_without_a_verdict(void)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strstr(entry->d_name, ".safetensors") != NULL;
    closedir(dir);
    CU_ASSERT_EQUAL(n, N_CASES);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"verdicts of the reference reader", test_verdicts},
        {"no file without a verdict", test_no_file_without_a_verdict},
        {NULL, NULL},
    };
    const char *shared = getenv("MOEQ_SHARED");
    snprintf(folder, sizeof folder, "%s/conformance/safetensors", shared ? shared : ".");
    FILE *expected = open_expected();
    if (!expected) {
        printf("skipped: no conformance/safetensors in MOEQ_SHARED (%s)\n", shared ? shared : "not set");
        return UNIT_SKIPPED;
    }
    fclose(expected);
    return unit_main("conformance.safetensors", tests);
}
