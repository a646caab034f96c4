/* A document of gates of any bytes: what is accepted is read again from its own text as the same gates. */
#include "fuzz.h"
#include "gates.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_gates gates = {0}, again = {0};
    struct moeq_error err = {0};
    const enum moeq_status status = moeq_gates_parse(&gates, data, n, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || status == MOEQ_USAGE || status == MOEQ_DAMAGED || status == MOEQ_UNSUPPORTED);
    for (size_t i = 0; !status && i < gates.n; i++) {
        const struct moeq_gate *g = &gates.gates[i];
        fuzz_require(moeq_gates_add(&again, g->text, g->sigma, NULL) == MOEQ_OK);
        fuzz_require(again.gates[i].metric == g->metric && again.gates[i].or_same == g->or_same);
    }
    moeq_gates_free(&gates);
    moeq_gates_free(&again);
    return 0;
}
