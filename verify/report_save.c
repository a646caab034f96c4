#include "report.h"

#include "out.h"

#include <stdlib.h>

enum moeq_status moeq_report_save(const struct moeq_report *report, moeq_report_write *write,
                                  const char *path, struct moeq_error *err)
{
    char *text = NULL;
    size_t n = 0;
    if (strcmp(path, "-") == 0) {
        write(report, stdout);
        return MOEQ_OK; /* whether it arrived is seen at the end of the program */
    }
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return moeq_fail_alloc(err, 0);
    write(report, out);
    const bool whole = !ferror(out);
    if (fclose(out) != 0 || !whole || !text) {
        free(text);
        return moeq_fail_alloc(err, 0);
    }
    enum moeq_status status = moeq_out_write_text(path, text, err);
    free(text);
    return status;
}
