#include "coded.h"

#include "ec.h"

enum moeq_status moeq_coded_most_bytes(struct moeq_format format, uint64_t rows, uint64_t cols,
                                       uint64_t *n_bytes, struct moeq_error *err)
{
    if (!format.level->is_coded)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "level %s is not coded", format.level->name);
    *n_bytes = moeq_ec_most_bytes(rows, cols);
    return MOEQ_OK;
}

uint64_t moeq_coded_scratch_bytes(struct moeq_format format, uint64_t rows, uint64_t cols)
{
    (void)format;
    return moeq_round_up(rows * cols, MOEQ_PACKED_ALIGNMENT);
}

enum moeq_status moeq_coded_decode(struct moeq_format format, uint64_t rows, uint64_t cols,
                                   const uint8_t *coded, uint64_t n_coded, uint8_t *scratch, uint8_t *packed,
                                   struct moeq_error *err)
{
    uint64_t n, n_padded;
    enum moeq_status status = moeq_packed_size(format, rows, cols, &n, &n_padded, err);
    if (!status)
        status = moeq_ec_decode(coded, n_coded, rows, cols, (int8_t *)scratch, packed, err);
    if (!status)
        memset(packed + n, 0, (size_t)(n_padded - n));
    return status;
}
