/* Writes a miniature to a folder, for the cases of the command line and for a look by hand.
 *
 *   make_miniature                  lists the names
 *   make_miniature NAME DIR         the first miniature whose name begins with NAME
 *   make_miniature NAME DIR TOKENS  and the slow pass over one window of so many tokens, as DIR/tokens.i32
 *                                   [TOKENS] and DIR/logits.f64 [TOKENS, vocabulary] */
#include "slow.h"

#include <stdio.h>
#include <sys/stat.h>

#define V4_NAME "DeepSeek-V4: known by its tensors, not computed"

static enum moeq_status write_array(const char *dir, const char *name, const void *data, size_t n_bytes,
                                    struct moeq_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(data, 1, n_bytes, file) == n_bytes;
    written = (!file || fclose(file) == 0) && written;
    return written ? MOEQ_OK : moeq_fail(err, MOEQ_IO, "cannot write %s", path);
}

static enum moeq_status write_pass(const struct miniature_model *model, const char *dir, size_t n,
                                   struct moeq_error *err)
{
    int32_t *tokens = miniature_calloc(n, sizeof *tokens);
    struct slow_result result;
    miniature_tokens(model->spec, tokens, n);
    slow_run(&result, model, tokens, 1, n, 0);
    enum moeq_status status = write_array(dir, "tokens.i32", tokens, n * sizeof *tokens, err);
    if (!status)
        status = write_array(dir, "logits.f64", result.logits,
                             n * model->spec->vocabulary * sizeof *result.logits, err);
    slow_free(&result);
    free(tokens);
    return status;
}

static enum moeq_status write_one(const char *name, const char *dir, size_t n_tokens, struct moeq_error *err)
{
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++)
        if (strncmp(miniature_specs[i].name, name, strlen(name)) == 0) {
            struct miniature_model model;
            miniature_make(&model, &miniature_specs[i]);
            if (!miniature_write(&model, dir, err) && n_tokens)
                write_pass(&model, dir, n_tokens, err);
            miniature_free(&model);
            return err->status;
        }
    if (strncmp(V4_NAME, name, strlen(name)) == 0)
        return miniature_write_v4(dir, err);
    return moeq_fail(err, MOEQ_USAGE, "there is no miniature %s", name);
}

int main(int argc, char **argv)
{
    struct moeq_error err = {0};
    char line[1024];
    for (size_t i = 0; argc < 3 && i < MINIATURE_N_SPECS; i++)
        puts(miniature_specs[i].name);
    if (argc < 3) {
        puts(V4_NAME);
        return 0;
    }
    if (mkdir(argv[2], 0777) != 0)
        moeq_fail(&err, MOEQ_IO, "cannot make the folder %s", argv[2]);
    else
        write_one(argv[1], argv[2], argc > 3 ? (size_t)atoi(argv[3]) : 0, &err);
    if (err.status)
        fprintf(stderr, "%s\n", moeq_error_format(&err, line, sizeof line));
    return err.status != MOEQ_OK;
}
