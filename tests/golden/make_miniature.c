/* Writes a miniature to a folder, for the cases of the command line and for a look by hand.
 *
 *   make_miniature              lists the names
 *   make_miniature NAME DIR     the first miniature whose name begins with NAME */
#include "miniature.h"

#include <stdio.h>
#include <sys/stat.h>

#define V4_NAME "DeepSeek-V4: known by its tensors, not computed"

static enum moeq_status write_one(const char *name, const char *dir, struct moeq_error *err)
{
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++)
        if (strncmp(miniature_specs[i].name, name, strlen(name)) == 0) {
            struct miniature_model model;
            miniature_make(&model, &miniature_specs[i]);
            miniature_write(&model, dir, err);
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
        write_one(argv[1], argv[2], &err);
    if (err.status)
        fprintf(stderr, "%s\n", moeq_error_format(&err, line, sizeof line));
    return err.status != MOEQ_OK;
}
