/* Parts of a baseline of any bytes. The first byte chooses: the text of a header, or the excerpts of a chunk
 * of tokens; what is accepted must give finite divergences or be told apart from them. */
#include "baseline.h"
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>

static void fuzz_header(const uint8_t *data, size_t n)
{
    static struct moeq_baseline_header header;
    struct moeq_error err = {0};
    const enum moeq_status status = moeq_baseline_parse_header(&header, data, n, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || status == MOEQ_DAMAGED || status == MOEQ_UNSUPPORTED);
    if (status)
        return;
    fuzz_require(header.first + header.n_scored < header.context);
    fuzz_require(header.excerpt.top >= 1 && header.excerpt.top + header.excerpt.sample <= header.vocabulary);
    fuzz_require(header.trace.n_layers <= MOEQ_MAX_LAYERS && header.n_windows * header.context <= UINT32_MAX);
}

/* A vocabulary of 40, of which 5 are kept and 3 sampled. */
static void fuzz_excerpts(const uint8_t *data, size_t n)
{
    const struct moeq_baseline_header header = {.vocabulary = 40, .excerpt = {5, 3}};
    const size_t token = 6 * sizeof(float) + 8 * 5;
    struct moeq_excerpts excerpts;
    struct moeq_error err = {0};
    float logits[8];
    if (moeq_excerpts_init(&excerpts, header.excerpt, NULL))
        return;
    const enum moeq_status status =
        moeq_baseline_parse_excerpts(&header, data, n, &excerpts, n / token, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || status == MOEQ_DAMAGED);
    for (size_t i = 0; !status && i < n / token; i++) {
        for (int k = 0; k < 8; k++) {
            fuzz_require(excerpts.tokens[i].ids[k] < header.vocabulary);
            logits[k] = (float)excerpts.tokens[i].ids[k] / 8;
        }
        moeq_excerpt_compare(&excerpts.tokens[i], header.excerpt, logits, 6);
    }
    moeq_excerpts_free(&excerpts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n && data[0] == 'h')
        fuzz_header(data + 1, n - 1);
    else if (n)
        fuzz_excerpts(data + 1, n - 1);
    return 0;
}
