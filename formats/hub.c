#include "hub.h"

#include "records.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define REPOSITORY_PREFIX "models--"
#define MAX_REF_BYTES     4096
#define COMMIT_CHARS      (MOEQ_SHA1_HEX - 1)
#define SHORTEST_COMMIT   7
#define MAX_NAME          200 /* of an organisation and a model; the Hub allows 96 */
#define MAX_SHOWN         4   /* snapshots that a message lists */

static bool is_commit(const char *text)
{
    char sha256[MOEQ_SHA256_HEX], commit[MOEQ_SHA1_HEX];
    return moeq_digest_parse(text, strlen(text), sha256, commit) && strcmp(text, commit) == 0;
}

static char *join3(const char *a, const char *b, const char *c, struct moeq_error *err)
{
    char *ab = moeq_path_join(a, b, err);
    char *abc = ab ? moeq_path_join(ab, c, err) : NULL;
    free(ab);
    return abc;
}

/* ---- snapshots ---- */

/* The snapshots of a repository whose commits begin with `prefix`: their number, the last one, a list. */
struct snapshots {
    size_t n;
    char commit[MOEQ_SHA1_HEX];
    char list[MAX_SHOWN * (MOEQ_SHA1_HEX + 2) + 8];
};

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_snapshots(const char *repository, const char *prefix, struct snapshots *out)
{
    char shown[MAX_SHOWN + 1][MOEQ_SHA1_HEX]; /* the first in their order, and a place for the next */
    char *path = moeq_path_join(repository, "snapshots", NULL);
    DIR *dir = path ? opendir(path) : NULL;
    *out = (struct snapshots){0};
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (is_commit(entry->d_name) && strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            memcpy(out->commit, entry->d_name, MOEQ_SHA1_HEX);
            const size_t place = out->n < MAX_SHOWN ? out->n : MAX_SHOWN;
            memcpy(shown[place], entry->d_name, MOEQ_SHA1_HEX);
            qsort(shown, place + 1, sizeof *shown, by_text);
            out->n++;
        }
    size_t n = out->n < MAX_SHOWN ? out->n : MAX_SHOWN, used = 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(out->list + used, sizeof out->list - used, "%s%s", i ? ", " : "", shown[i]);
    if (out->n > n)
        snprintf(out->list + used, sizeof out->list - used, ", …");
    if (dir)
        closedir(dir);
    free(path);
}

/* The commit in refs/NAME; "" where there is no such file or no commit in it. */
static void read_ref(const char *repository, const char *name, char commit[MOEQ_SHA1_HEX])
{
    struct moeq_bytes text = {0};
    char *path = moeq_path_stays_inside(name) ? join3(repository, "refs", name, NULL) : NULL;
    commit[0] = '\0';
    if (path && moeq_file_read_all(path, MAX_REF_BYTES, &text, NULL) == MOEQ_OK) {
        size_t n = text.n_bytes;
        char none[MOEQ_SHA256_HEX];
        while (n && (text.data[n - 1] == '\n' || text.data[n - 1] == '\r' || text.data[n - 1] == ' '))
            n--;
        if (n != COMMIT_CHARS || !moeq_digest_parse((const char *)text.data, n, none, commit))
            commit[0] = '\0';
    }
    moeq_bytes_free(&text);
    free(path);
}

static enum moeq_status no_snapshot(const char *repository, const char *revision, const char *commit,
                                    struct moeq_error *err)
{
    struct snapshots all;
    list_snapshots(repository, "", &all);
    if (all.n == 0)
        moeq_fail(err, MOEQ_IO, "the cache entry has no snapshot");
    else if (*commit)
        moeq_fail(err, MOEQ_IO, "refs/%s names the snapshot %s, which is not there; there: %s", revision,
                  commit, all.list);
    else if (!*revision)
        moeq_fail(err, MOEQ_IO, "no refs/main, and %zu snapshots to choose from: %s", all.n, all.list);
    else
        moeq_fail(err, MOEQ_IO, "no revision \"%.64s\" here; snapshots: %s", revision, all.list);
    moeq_error_in_file(err, repository);
    moeq_error_hint(err, all.n ? "give the folder of one, under snapshots/" : "download it again");
    return MOEQ_IO;
}

/* The folder of a revision ("": of the one that is meant when none is named). */
static enum moeq_status choose_snapshot(const char *repository, const char *revision, char **folder,
                                        struct moeq_error *err)
{
    char commit[MOEQ_SHA1_HEX];
    struct snapshots found = {0};
    read_ref(repository, *revision ? revision : "main", commit);
    if (*commit)
        list_snapshots(repository, commit, &found);
    else if (!*revision || strlen(revision) >= SHORTEST_COMMIT)
        list_snapshots(repository, revision, &found);
    if (found.n != 1)
        return no_snapshot(repository, *commit && !*revision ? "main" : revision, commit, err);
    *folder = join3(repository, "snapshots", found.commit, err);
    return *folder ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* ---- ORG/NAME ---- */

static bool is_name(const char *text, size_t n)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return n > 0 && n <= MAX_NAME && text[0] != '.' && text[0] != '-' && strspn(text, allowed) >= n;
}

/* "models--ORG--NAME" of "ORG/NAME" or "ORG/NAME@REVISION"; false where it is not of that form. */
static bool entry_name(const char *src, char dst[256], const char **revision)
{
    const char *slash = strchr(src, '/'), *at = strchr(src, '@');
    if (!slash || (at && at < slash))
        return false;
    const size_t n_org = (size_t)(slash - src), n_name = at ? (size_t)(at - slash - 1) : strlen(slash + 1);
    const bool is_package = n_name > 5 && strncmp(slash + 1 + n_name - 5, ".moeq", 5) == 0;
    if (!is_name(src, n_org) || !is_name(slash + 1, n_name) || (at && !at[1]) || is_package)
        return false;
    if (n_org + n_name > MAX_NAME)
        return false;
    snprintf(dst, 256, REPOSITORY_PREFIX "%.*s--%.*s", (int)n_org, src, (int)n_name, slash + 1);
    *revision = at ? at + 1 : "";
    return true;
}

/* The places where a cache may lie, the most specific first. */
static const struct place {
    const char *variable, *below;
} places[] = {
    {"HF_HUB_CACHE", ""},
    {"HF_HOME", "/hub"},
    {"XDG_CACHE_HOME", "/huggingface/hub"},
    {"HOME", "/.cache/huggingface/hub"},
};

static enum moeq_status find_entry(const char *entry, const char *revision, char **folder,
                                   struct moeq_error *err)
{
    char looked[400] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *base = getenv(places[i].variable);
        char cache[PATH_MAX];
        if (!base || !*base)
            continue;
        int n = snprintf(cache, sizeof cache, "%s%s", base, places[i].below);
        if (n < 0 || (size_t)n >= sizeof cache)
            continue;
        char *path = moeq_path_join(cache, entry, err);
        if (!path)
            return MOEQ_OVER_MEMORY;
        if (moeq_path_is_dir(path)) {
            enum moeq_status status = choose_snapshot(path, revision, folder, err);
            free(path);
            return status;
        }
        free(path);
        if (used < sizeof looked) /* a list that is cut is long enough */
            used += (size_t)snprintf(looked + used, sizeof looked - used, "%s%s", used ? ", " : "", cache);
    }
    moeq_fail(err, MOEQ_IO, "neither a folder nor a model in the Hugging Face cache: no %s in %s", entry,
              *looked ? looked : "any place, as HOME is not set");
    return MOEQ_IO;
}

/* ---- both ---- */

static bool is_repository(const char *path)
{
    char *snapshots = moeq_path_join(path, "snapshots", NULL);
    bool found = snapshots && moeq_path_is_dir(snapshots);
    free(snapshots);
    return found;
}

/* The last name of a path, without slashes behind it. */
static const char *last_name(const char *path, size_t *n)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    *n = end - begin;
    return path + begin;
}

enum moeq_status moeq_hub_locate(const char *src, char **folder, struct moeq_error *err)
{
    char entry[256];
    const char *revision;
    *folder = NULL;
    if (moeq_path_is_dir(src)) {
        size_t n;
        const char *name = last_name(src, &n);
        if (n <= strlen(REPOSITORY_PREFIX) ||
            strncmp(name, REPOSITORY_PREFIX, strlen(REPOSITORY_PREFIX)) != 0 || !is_repository(src))
            return MOEQ_OK;
        return choose_snapshot(src, "", folder, err);
    }
    if (moeq_path_exists(src) || !entry_name(src, entry, &revision))
        return MOEQ_OK;
    enum moeq_status status = find_entry(entry, revision, folder, err);
    moeq_error_in_file(err, src);
    moeq_error_hint(err, "give a folder, or download it with 'hf download'");
    return status;
}

/* "ORG/NAME" of "models--ORG--NAME"; a name without an organisation has no "--" behind the prefix. */
static bool repository_name(const char *path, char dst[256])
{
    size_t n;
    const char *name = last_name(path, &n);
    const size_t n_prefix = strlen(REPOSITORY_PREFIX);
    if (n <= n_prefix || n >= 256 || strncmp(name, REPOSITORY_PREFIX, n_prefix) != 0)
        return false;
    snprintf(dst, 256, "%.*s", (int)(n - n_prefix), name + n_prefix);
    char *dashes = strstr(dst, "--");
    if (!is_name(dst, strlen(dst)))
        return false; /* not written by any tool: the name goes into messages and commands */
    if (dashes) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return true;
}

enum moeq_status moeq_hub_repository_of(const char *folder, struct moeq_hub_repository *repository,
                                        struct moeq_error *err)
{
    *repository = (struct moeq_hub_repository){0};
    char *path = realpath(folder, NULL);
    if (!path) {
        if (errno == ENOMEM)
            return moeq_fail_alloc(err, 0);
        moeq_fail_errno(err, errno, "cannot find");
        moeq_error_in_file(err, folder);
        return MOEQ_IO;
    }
    /* PATH/models--ORG--NAME/snapshots/COMMIT, cut from behind */
    char *commit = strrchr(path, '/');
    bool found = commit && is_commit(commit + 1);
    if (found) {
        memcpy(repository->commit, commit + 1, MOEQ_SHA1_HEX);
        *commit = '\0';
        char *snapshots = strrchr(path, '/');
        found = snapshots && strcmp(snapshots + 1, "snapshots") == 0;
        if (found)
            *snapshots = '\0';
    }
    if (found && repository_name(path, repository->name)) {
        repository->path = path;
        return MOEQ_OK;
    }
    free(path);
    *repository = (struct moeq_hub_repository){0};
    return MOEQ_OK;
}

void moeq_hub_repository_free(struct moeq_hub_repository *repository)
{
    free(repository->path);
    *repository = (struct moeq_hub_repository){0};
}
