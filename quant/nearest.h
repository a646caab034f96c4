/* A whole matrix at another level, by the level's own encoder: the nearest codes. */
#ifndef MOEQ_NEAREST_H
#define MOEQ_NEAREST_H

#include "level.h"
#include "pool.h"

/* `packed` has the bytes of the format, padded; it is set to zero first. `scratch` holds the matrix in
 * float32.
 */
enum moeq_status moeq_encode_nearest(struct moeq_pool *pool, const struct moeq_matrix *matrix,
                                     const struct moeq_format *format, struct moeq_bytes *scratch,
                                     uint8_t *packed, struct moeq_error *err);

#endif
