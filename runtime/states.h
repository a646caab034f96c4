/* The hidden states of all tokens of a sweep, and the normed ones that the experts of a layer share: in
 * memory, or, where they have no room there, in a temporary file of which a group of tokens at a time is in
 * memory. */
#ifndef MOEQ_STATES_H
#define MOEQ_STATES_H

#include "status.h"

struct moeq_states {
    uint64_t n_tokens, n_group; /* of all; of a group, but that the last may be smaller */
    uint64_t width;
    int fd;            /* -1: the only group is always in memory */
    uint64_t first, n; /* tokens of the group that is in memory */
    float *hidden;     /* [n, width]: the residual stream */
    float *normed;     /* [n, width]: input of the experts */
};

enum { MOEQ_HIDDEN = 1, MOEQ_NORMED = 2 };

/* All tokens in memory where n_group is n_tokens. Otherwise the file is made in $TMPDIR, or /var/tmp, without
 * a name, and its space reserved: MOEQ_IO where there is none. */
enum moeq_status moeq_states_init(struct moeq_states *states, uint64_t n_tokens, uint64_t n_group,
                                  uint64_t width, struct moeq_error *err);
void moeq_states_free(struct moeq_states *states);

/* What is done with one group, states->first and states->n. */
typedef enum moeq_status moeq_states_visit(void *context, struct moeq_error *err);

/* Calls `visit` for one group after the other, with what `reads` names in memory, and keeps what `writes`
 * names (MOEQ_HIDDEN | MOEQ_NORMED). */
enum moeq_status moeq_states_each(struct moeq_states *states, int reads, int writes, moeq_states_visit *visit,
                                  void *context, struct moeq_error *err);

/* Ends with the normed states and, where there is a file, with the memory of groups: only
 * moeq_states_gather may follow. */
void moeq_states_rest(struct moeq_states *states);

/* Copies the hidden or the normed states of n tokens to rows [n, width]. Outside of moeq_states_each. */
enum moeq_status moeq_states_gather(const struct moeq_states *states, int what, const uint64_t *tokens,
                                    uint64_t n, float *rows, struct moeq_error *err);

/* Puts rows [n, width] back as the hidden states of n tokens, likewise. */
enum moeq_status moeq_states_scatter(const struct moeq_states *states, const uint64_t *tokens, uint64_t n,
                                     float *rows, struct moeq_error *err);

/* Bytes in memory. */
static inline uint64_t moeq_states_bytes(uint64_t n_group, uint64_t width)
{
    return 2 * n_group * width * sizeof(float);
}

#endif
