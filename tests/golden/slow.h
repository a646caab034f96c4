/* The slow forward pass: the formulas of the published models in double precision and plain loops, one token
 * and one number after the other, sharing no code with the runtime.
 *
 * Sources: DeepSeek-V2 (arXiv 2405.04434) and V3 (arXiv 2412.19437) reports and the modelling code released
 * with their checkpoints; YaRN (arXiv 2309.00071). */
#ifndef SLOW_H
#define SLOW_H

#include "miniature.h"

struct slow_result {
    size_t n_tokens;
    double *hidden;   /* [n_layers, n_tokens, hidden] after each layer, before the final norm */
    int32_t *experts; /* [n_layers, n_tokens, top_k], ascending; of dense layers -1 */
    double *weights;  /* [n_layers, n_tokens, top_k] */
    double *logits;   /* [n_tokens, vocabulary] */
    double least_gap; /* between the last expert or group chosen and the first not chosen */
};

/* Runs windows [n_windows, context] of tokens. `mistakes` (enum slow_mistake) are made on purpose, so that a
 * test can show that it would notice them; 0 gives the reference. */
void slow_run(struct slow_result *result, const struct miniature_model *model, const int32_t *tokens,
              size_t n_windows, size_t context, unsigned mistakes);
void slow_free(struct slow_result *result);

#endif
