#include "coded.h"

#include "ec.h"
#include "pieces.h"

static enum moeq_status find_pieces(struct moeq_format format, uint64_t rows, uint64_t cols,
                                    struct moeq_pieces *pieces, struct moeq_error *err)
{
    char text[MOEQ_FORMAT_BYTES];
    return moeq_pieces_of(format, rows, cols, pieces)
               ? MOEQ_OK
               : moeq_fail(err, MOEQ_UNSUPPORTED, "a matrix of level %s, %llu x %llu, is not coded",
                           moeq_format_text(format, text), (unsigned long long)rows,
                           (unsigned long long)cols);
}

enum moeq_status moeq_coded_most_bytes(struct moeq_format format, uint64_t rows, uint64_t cols,
                                       uint64_t *n_bytes, struct moeq_error *err)
{
    struct moeq_pieces pieces;
    if (format.level->is_coded) {
        *n_bytes = moeq_ec_most_bytes(rows, cols);
        return MOEQ_OK;
    }
    enum moeq_status status = find_pieces(format, rows, cols, &pieces, err);
    *n_bytes = status ? 0 : pieces.n_bytes + moeq_pieces_lead(&pieces, pieces.n_codes);
    return status;
}

uint64_t moeq_coded_scratch_bytes(struct moeq_format format, uint64_t rows, uint64_t cols)
{
    return format.level->is_coded ? moeq_round_up(rows * cols, MOEQ_PACKED_ALIGNMENT) : 0;
}

uint64_t moeq_coded_slack_bytes(struct moeq_format format, uint64_t rows, uint64_t cols)
{
    struct moeq_pieces pieces;
    return moeq_pieces_of(format, rows, cols, &pieces) ? moeq_pieces_slack(&pieces) : UINT64_MAX;
}

enum moeq_status moeq_coded_decode(struct moeq_format format, uint64_t rows, uint64_t cols,
                                   const uint8_t *coded, uint64_t n_coded, uint8_t *scratch, uint8_t *packed,
                                   struct moeq_error *err)
{
    struct moeq_pieces pieces;
    uint64_t n, n_padded;
    enum moeq_status status = moeq_packed_size(format, rows, cols, &n, &n_padded, err);
    if (!status && format.level->is_coded)
        status = moeq_ec_decode(coded, n_coded, rows, cols, (int8_t *)scratch, packed, err);
    else if (!status && !(status = find_pieces(format, rows, cols, &pieces, err)))
        status = moeq_pieces_decode(&pieces, coded, n_coded, packed, err);
    if (!status)
        memset(packed + n, 0, (size_t)(n_padded - n));
    return status;
}
