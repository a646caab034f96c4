/* What a token of an evaluation costs in arithmetic, two operations for each multiplication and addition.
 *
 *   model_flops MODEL CONTEXT      MODEL: a folder with config.json; CONTEXT: tokens of a window
 *
 * Prints a JSON object:
 *   matrices    products with matrices: attention's projections, routers, the experts that are chosen, shared
 *               and dense ones, of every layer
 *   attention   scores of the keys up to the token itself and their values' sums, on average over a window
 *   head        of the tokens that are scored, all but one of a window
 *   total       the sum: what a program has to compute at least that forms keys and values of each token once
 * What is computed beyond that (keys behind a token in its block) is not counted, nor what is no product.
 */
#include "anatomy.h"
#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>

static double layer_weights(const struct moeq_config *c, uint32_t layer)
{
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    const size_t n = moeq_anatomy_layer(c, layer, kinds);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (kinds[i].rows > 1)
            sum += (double)kinds[i].rows * (double)kinds[i].cols * (kinds[i].each_expert ? c->top_k : 1);
    return sum;
}

int main(int argc, char **argv)
{
    struct moeq_config c;
    struct moeq_error error = {0};
    char line[1024];
    const double context = argc == 3 ? atof(argv[2]) : 0;
    if (context < 2)
        return 2;
    if (moeq_config_load(&c, argv[1], &error)) {
        fprintf(stderr, "model_flops: %s\n", moeq_error_format(&error, line, sizeof line));
        return 1;
    }
    double weights = 0;
    for (uint32_t layer = 0; layer < c.n_layers; layer++)
        weights += layer_weights(&c, layer);
    const double of_head = (double)c.vocabulary * c.hidden, mean_keys = (context + 1) / 2;
    const double matrices = 2 * weights, head = 2 * of_head * (context - 1) / context;
    const double attention =
        2.0 * c.n_layers * c.n_heads * ((double)c.qk_nope + c.qk_rope + c.v_width) * mean_keys;
    printf("{\"matrices\": %.0f, \"attention\": %.0f, \"head\": %.0f, \"total\": %.0f}\n", matrices,
           attention, head, matrices + attention + head);
    return 0;
}
