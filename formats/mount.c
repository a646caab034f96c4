#include "mount.h"

#include <pthread.h>
#include <stdlib.h>

struct mount {
    char *path;
    struct moeq_archive *archive;
    unsigned count;
    struct mount *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mount *mounts;

static struct mount **find(const char *path)
{
    struct mount **m = &mounts;
    while (*m && strcmp((*m)->path, path) != 0)
        m = &(*m)->next;
    return m;
}

static enum moeq_status add(const char *path, struct moeq_error *err)
{
    struct mount *m = moeq_calloc(1, sizeof *m, err);
    enum moeq_status status = m && (m->path = moeq_strdup(path, err)) ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_archive_open(&m->archive, path, err);
    if (status) {
        if (m)
            free(m->path);
        free(m);
        return status;
    }
    m->count = 1;
    pthread_mutex_lock(&lock);
    m->next = mounts;
    mounts = m;
    pthread_mutex_unlock(&lock);
    return MOEQ_OK;
}

enum moeq_status moeq_mount(const char *path, struct moeq_error *err)
{
    pthread_mutex_lock(&lock);
    struct mount *m = *find(path);
    if (m)
        m->count++;
    pthread_mutex_unlock(&lock);
    return m ? MOEQ_OK : add(path, err); /* places are opened by one thread */
}

void moeq_unmount(const char *path)
{
    pthread_mutex_lock(&lock);
    struct mount **at = find(path), *m = *at;
    bool is_last = m && --m->count == 0;
    if (is_last)
        *at = m->next;
    pthread_mutex_unlock(&lock);
    if (!is_last)
        return;
    moeq_archive_close(m->archive);
    free(m->path);
    free(m);
}

struct moeq_archive *moeq_mounted(const char *path, const char **name)
{
    struct moeq_archive *found = NULL;
    pthread_mutex_lock(&lock);
    for (const struct mount *m = mounts; !found && m; m = m->next) {
        size_t n = strlen(m->path);
        if (strncmp(path, m->path, n) == 0 && (path[n] == '\0' || path[n] == '/')) {
            found = m->archive;
            *name = path + n + strspn(path + n, "/");
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

uint64_t moeq_mounted_place(const char *path)
{
    const char *name;
    const struct moeq_archive *archive = moeq_mounted(path, &name);
    const struct moeq_member *member = archive ? moeq_archive_find(archive, name) : NULL;
    return member && moeq_member_is_streamed(member) ? moeq_member_place(member) + 1 : 0;
}
