/* The Hugging Face cache on disk: which folder an entry stands for, and which repository a folder belongs to.
 * Nothing is fetched, and nothing written.
 *
 * Layout (huggingface_hub, "Manage the cache"): CACHE/models--ORG--NAME with refs/BRANCH (a commit),
 * snapshots/COMMIT/ (links to blobs/HASH) and trees/COMMIT.json. CACHE is HF_HUB_CACHE, HF_HOME/hub,
 * XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub. */
#ifndef MOEQ_HUB_H
#define MOEQ_HUB_H

#include "status.h"

/* Turns a repository's folder (models--ORG--NAME) or, where no such path exists, the text ORG/NAME or
 * ORG/NAME@REVISION into the path of a snapshot's folder, on the heap in *folder. REVISION is a branch, a tag
 * or a commit (at least 7 digits of it). Without one, the snapshot of refs/main is taken, or the only one.
 *
 * *folder is NULL and the status MOEQ_OK where `src` is neither. An entry that is not there, or whose
 * snapshots leave a choice, is MOEQ_IO: the message lists where was looked, or what there is. */
enum moeq_status moeq_hub_locate(const char *src, char **folder, struct moeq_error *err);

struct moeq_hub_repository {
    char *path;     /* .../models--ORG--NAME; owned */
    char name[256]; /* "ORG/NAME" */
    char commit[41];
};

/* The repository of a snapshot's folder. repository->path is NULL where `folder` is none. */
enum moeq_status moeq_hub_repository_of(const char *folder, struct moeq_hub_repository *repository,
                                        struct moeq_error *err);
void moeq_hub_repository_free(struct moeq_hub_repository *repository);

#endif
