/* The tokens after which a model has said everything: eos_token_id, one or a list, of generation_config.json
 * and of config.json (there also within text_config), all of them, since releases name some in one file and
 * some in the other. */
#ifndef MOEQ_END_TOKENS_H
#define MOEQ_END_TOKENS_H

#include "status.h"

#define MOEQ_MAX_END_TOKENS 32

struct moeq_end_tokens {
    int32_t ids[MOEQ_MAX_END_TOKENS]; /* none twice */
    size_t n;
};

/* From the files of a folder; a missing generation_config.json is fine. */
enum moeq_status moeq_end_tokens_load(struct moeq_end_tokens *ends, const char *dir, struct moeq_error *err);

bool moeq_is_end_token(const struct moeq_end_tokens *ends, int32_t id);

#endif
