/* A download as it lies on the disk: its files, and what the tool that fetched them left to tell what they
 * should be. */
#ifndef MOEQ_DOWNLOAD_H
#define MOEQ_DOWNLOAD_H

#include "findings.h"
#include "hub.h"
#include "records.h"
#include "safetensors.h"

/* How the files came here, as far as the folder tells. */
enum moeq_layout {
    MOEQ_LAYOUT_HUB_CACHE, /* a snapshot in the Hugging Face cache */
    MOEQ_LAYOUT_HUB_LOCAL, /* hf download --local-dir */
    MOEQ_LAYOUT_MODELSCOPE,
    MOEQ_LAYOUT_GIT,     /* a clone */
    MOEQ_LAYOUT_ARCHIVE, /* a tar or zip */
    MOEQ_LAYOUT_PLAIN,   /* none of these */
    MOEQ_LAYOUT_FILE,    /* one .safetensors file */
    MOEQ_N_LAYOUTS
};

#define MOEQ_ZERO_BLOCK (1u << 20)

struct moeq_zeros {
    uint64_t n_bytes;         /* of blocks of MOEQ_ZERO_BLOCK bytes that are all zero */
    uint64_t first;           /* offset of the first of them */
    uint64_t tail;            /* bytes of zeros that the file ends with */
    uint64_t n_tensors;       /* matrices that are all zero */
    const char *first_tensor; /* borrowed from the header */
};

struct moeq_download_file {
    char *path; /* in the folder */
    uint64_t n_bytes;
    double modified; /* seconds since 1970 */
    bool is_link, is_dangling;
    bool leads_outside; /* of the folder or the cache: it is followed, but no message quotes what is there */
    char blob[MOEQ_SHA256_HEX]; /* the name of the blob that it is a link to, "" for others */
    bool is_shard;              /* a .safetensors file that belongs to the model */

    /* What the records say; "" and false: nothing. */
    char sha256[MOEQ_SHA256_HEX], git_sha1[MOEQ_SHA1_HEX];
    const char *sha256_from, *git_sha1_from; /* "SHA256SUMS"; static or owned by the download */
    bool has_size;
    uint64_t n_expected;
    bool was_changed; /* after the record was made */

    /* What was found. */
    bool is_pointer, has_header;
    bool begins_with_zeros;         /* instead of a header */
    bool was_parsed;                /* a JSON file, and it is one */
    struct moeq_safetensors header; /* where has_header */
    struct moeq_error problem;      /* of opening or of the header */
    struct moeq_error read_problem; /* of reading all of it */
    bool was_read;                  /* to its end */
    struct moeq_digests digests;
    struct moeq_zeros zeros;
    bool is_wrong; /* some finding says so */
};

struct moeq_download {
    char *folder;                    /* owned; or the path of an archive that is mounted */
    enum moeq_strictness strictness; /* of headers; strict unless set before the check runs */
    enum moeq_layout layout;
    struct moeq_hub_repository repository; /* of the cache; path NULL otherwise */
    char commit[MOEQ_SHA1_HEX];            /* "" where not known */
    struct moeq_download_file *files;      /* by path */
    size_t n_files, capacity;
    struct moeq_records tree; /* all files of the commit, where a listing is there; by path */
    char tree_name[64];       /* "trees/COMMIT.json", "" where there is none */
    char **names;             /* of the lists of hashes that were read, for sha256_from */
    size_t n_names;
    struct moeq_findings findings;
};

/* Lists the folder and reads the records; findings about either are added. Fails only where the folder cannot
 * be listed or memory is out. Closing is always allowed. */
enum moeq_status moeq_download_open(struct moeq_download *download, const char *folder,
                                    struct moeq_error *err);
/* The same for one .safetensors file. */
enum moeq_status moeq_download_open_file(struct moeq_download *download, const char *path,
                                         struct moeq_error *err);
void moeq_download_close(struct moeq_download *download);

/* NULL where there is no such file. */
struct moeq_download_file *moeq_download_find(const struct moeq_download *download, const char *path);

/* The full path of a file, on the heap. */
char *moeq_download_path(const struct moeq_download *download, const char *path, struct moeq_error *err);

/* How to get a file (again): a command where the tool is known. `again`: a bad one is there and must go
 * first. Returns dst. */
#define MOEQ_ADVICE_BYTES 1024
const char *moeq_download_advice(const struct moeq_download *download, const char *path, bool again,
                                 char dst[MOEQ_ADVICE_BYTES]);

const char *moeq_layout_name(enum moeq_layout layout); /* "hf-cache", for JSON */

#endif
