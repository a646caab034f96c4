/* From the tensors of a released checkpoint to weights:
 *
 * - X.weight F8_E4M3 and X.weight_scale_inv F32 (DeepSeek-V3; blocks of 128 x 128): one weight of level fp8.
 * - X.weight_packed I32 and X.weight_scale BF16 (and X.weight_shape, which must agree): one weight X.weight
 * of level int4 with groups of 32, 64 or 128, bit for bit (compressed-tensors "pack-quantized", symmetric, 4
 * bits: Kimi-K2-Thinking and later).
 * - mlp.experts.gate_up_proj and mlp.experts.down_proj (transformers 5): the experts one by one, under the
 * names that they have where each has its own tensors.
 * - Anything else: a weight of its dtype, or raw.
 *
 * A part may lie in another shard than the rest. Sources: headers of the released files; compressed-tensors'
 * pack_quantized format; transformers' fused expert modules. */
#ifndef MOEQ_RELEASE_H
#define MOEQ_RELEASE_H

#include "source.h"

/* Fills the weights of a source whose checkpoint and config are open; what it allocates is the source's, also
 * where it fails. Headers only. */
enum moeq_status moeq_release_list(struct moeq_source *source, struct moeq_error *err);

#endif
