#include "walk.h"

#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAX_DEPTH 8 /* no release has more than two */

struct walk {
    const char *folder;
    moeq_walk_visit *visit;
    void *context;
};

static enum moeq_status walk_folder(const struct walk *w, const char *relative, unsigned depth,
                                    struct moeq_error *err);

static enum moeq_status walk_entry(const struct walk *w, const char *path, const char *name, unsigned depth,
                                   struct moeq_error *err)
{
    struct stat info, target;
    char *full = moeq_path_join(w->folder, path, err), buffer[128];
    enum moeq_status status = full ? MOEQ_OK : MOEQ_OVER_MEMORY;
    const int error_number = full && lstat(full, &info) != 0 ? errno : 0;
    if (error_number && error_number != ENOENT) { /* which is: gone since */
        status = w->visit(w->context, path, full, strerror_r(error_number, buffer, sizeof buffer), err);
    } else if (full && !error_number) {
        bool is_link_to_folder = S_ISLNK(info.st_mode) && stat(full, &target) == 0 && S_ISDIR(target.st_mode);
        if (!S_ISDIR(info.st_mode) && !is_link_to_folder)
            status = w->visit(w->context, path, full, "", err);
        else if (!is_link_to_folder && name[0] != '.' && depth < MAX_DEPTH)
            status = walk_folder(w, path, depth + 1, err);
    }
    free(full);
    return status;
}

static enum moeq_status no_folder(const struct walk *w, const char *relative, const char *full,
                                  int error_number, struct moeq_error *err)
{
    char buffer[128];
    if (error_number == ENOMEM)
        return moeq_fail_alloc(err, 0);
    if (*relative)
        return w->visit(w->context, relative, full, strerror_r(error_number, buffer, sizeof buffer), err);
    moeq_fail_errno(err, error_number, "cannot open the folder");
    moeq_error_in_file(err, full);
    return MOEQ_IO;
}

static enum moeq_status walk_folder(const struct walk *w, const char *relative, unsigned depth,
                                    struct moeq_error *err)
{
    char *full = *relative ? moeq_path_join(w->folder, relative, err) : moeq_strdup(w->folder, err);
    if (!full)
        return MOEQ_OVER_MEMORY;
    DIR *dir = opendir(full);
    enum moeq_status status = dir ? MOEQ_OK : no_folder(w, relative, full, errno, err);
    for (struct dirent *entry; !status && dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path =
            *relative ? moeq_path_join(relative, entry->d_name, err) : moeq_strdup(entry->d_name, err);
        status = path ? walk_entry(w, path, entry->d_name, depth, err) : MOEQ_OVER_MEMORY;
        free(path);
    }
    if (dir)
        closedir(dir);
    free(full);
    return status;
}

enum moeq_status moeq_walk(const char *folder, moeq_walk_visit *visit, void *context, struct moeq_error *err)
{
    const struct walk w = {folder, visit, context};
    return walk_folder(&w, "", 0, err);
}
