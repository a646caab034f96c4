/* Releases and their tensors as stated for the published checkpoints: config.json, the tensor tables of the
 * downloads, counts and byte sums of their index files. A further family is a row of `releases`, and a table
 * of tensors where its names differ. */
#include "release.h"

/* Hugging Face naming: V2, V3, R1, V3.2, Moonlight, Kimi-K2, GLM-4.7-Flash, GLM-5. */
static const struct tensor_row deepseek[] = {
    {IN_MODEL, "model.embed_tokens.weight", PLAIN, D_VOCABULARY, D_HIDDEN, 0, 0},
    {IN_MODEL, "model.norm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_MODEL, "lm_head.weight", PLAIN, D_VOCABULARY, D_HIDDEN, 0, 0},
    {IN_LAYER, "input_layernorm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_LAYER, "post_attention_layernorm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_LAYER, "self_attn.q_proj.weight", MATRIX, D_Q_ROWS, D_HIDDEN, 0, D_Q_RANK},
    {IN_LAYER, "self_attn.q_a_proj.weight", MATRIX, D_Q_RANK, D_HIDDEN, D_Q_RANK, 0},
    {IN_LAYER, "self_attn.q_a_layernorm.weight", NORM, D_Q_RANK, 0, D_Q_RANK, 0},
    {IN_LAYER, "self_attn.q_b_proj.weight", MATRIX, D_Q_ROWS, D_Q_RANK, D_Q_RANK, 0},
    {IN_LAYER, "self_attn.kv_a_proj_with_mqa.weight", MATRIX, D_KV_A_ROWS, D_HIDDEN, 0, 0},
    {IN_LAYER, "self_attn.kv_a_layernorm.weight", NORM, D_KV_RANK, 0, 0, 0},
    {IN_LAYER, "self_attn.kv_b_proj.weight", MATRIX, D_KV_B_ROWS, D_KV_RANK, 0, 0},
    {IN_LAYER, "self_attn.o_proj.weight", MATRIX, D_HIDDEN, D_VALUES, 0, 0},
    {IN_LAYER, "self_attn.rotary_emb.inv_freq", PLAIN, D_STRAY, 0, D_STRAY, 0},
    {IN_LAYER, "self_attn.indexer.wq_b.weight", MATRIX, D_INDEX_ROWS, D_Q_RANK, D_INDEX_HEADS, 0},
    {IN_LAYER, "self_attn.indexer.wk.weight", MATRIX, D_INDEX_WIDTH, D_HIDDEN, D_INDEX_HEADS, 0},
    {IN_LAYER, "self_attn.indexer.k_norm.weight", NORM, D_INDEX_WIDTH, 0, D_INDEX_HEADS, 0},
    {IN_LAYER, "self_attn.indexer.k_norm.bias", NORM, D_INDEX_WIDTH, 0, D_INDEX_HEADS, 0},
    {IN_LAYER, "self_attn.indexer.weights_proj.weight", PLAIN, D_INDEX_HEADS, D_HIDDEN, D_INDEX_HEADS, 0},
    {IN_DENSE, "mlp.gate_proj.weight", MATRIX, D_DENSE, D_HIDDEN, 0, 0},
    {IN_DENSE, "mlp.up_proj.weight", MATRIX, D_DENSE, D_HIDDEN, 0, 0},
    {IN_DENSE, "mlp.down_proj.weight", MATRIX, D_HIDDEN, D_DENSE, 0, 0},
    {IN_MOE, "mlp.gate.weight", PLAIN, D_EXPERTS, D_HIDDEN, 0, 0},
    {IN_MOE, "mlp.gate.e_score_correction_bias", FLOAT32, D_EXPERTS, 0, D_BIAS, 0},
    {IN_MOE, "mlp.shared_experts.gate_proj.weight", MATRIX, D_SHARED, D_HIDDEN, 0, 0},
    {IN_MOE, "mlp.shared_experts.up_proj.weight", MATRIX, D_SHARED, D_HIDDEN, 0, 0},
    {IN_MOE, "mlp.shared_experts.down_proj.weight", MATRIX, D_HIDDEN, D_SHARED, 0, 0},
    {IN_EXPERT, "gate_proj.weight", EXPERT_MATRIX, D_EXPERT, D_HIDDEN, 0, 0},
    {IN_EXPERT, "up_proj.weight", EXPERT_MATRIX, D_EXPERT, D_HIDDEN, 0, 0},
    {IN_EXPERT, "down_proj.weight", EXPERT_MATRIX, D_HIDDEN, D_EXPERT, 0, 0},
    {IN_MTP, "enorm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_MTP, "hnorm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_MTP, "eh_proj.weight", PLAIN, D_HIDDEN, D_TWICE_HIDDEN, 0, 0},
    {IN_MTP, "shared_head.norm.weight", NORM, D_HIDDEN, 0, 0, 0},
    {IN_MTP, "shared_head.head.weight", PLAIN, D_VOCABULARY, D_HIDDEN, D_COPIES, 0},
    {IN_MTP, "embed_tokens.weight", PLAIN, D_VOCABULARY, D_HIDDEN, D_COPIES, 0},
    {IN_MODEL, NULL, PLAIN, 0, 0, 0, 0},
};

#define YARN(factor, fast, scale, all)                                                                       \
    "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":" #factor ",\"beta_fast\":" #fast                        \
    ",\"beta_slow\":1,\"mscale\":" #scale ",\"mscale_all_dim\":" #all                                        \
    ",\"original_max_position_embeddings\":4096}"
#define NOAUX(scale)                                                                                         \
    "\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":true,"                     \
    "\"routed_scaling_factor\":" #scale ","
#define FP8_BLOCKS(more)                                                                                     \
    ",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":"             \
    "\"dynamic\"," more "\"weight_block_size\":[128,128]}"
#define V3_RULES(more)                                                                                       \
    NOAUX(2.5)                                                                                               \
    "\"rope_theta\":10000,\"rms_norm_eps\":1e-6,\"max_position_embeddings\":163840,\"bos_token_id\":0,"      \
    "\"eos_token_id\":1," YARN(40, 32, 1.0, 1.0) FP8_BLOCKS(more)

#define INT4_EXPERTS                                                                                         \
    ",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","       \
    "\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,\"config_groups\":{\"group_0\":{"       \
    "\"targets\":[\"Linear\"],\"input_activations\":null,\"output_activations\":null,\"weights\":{"          \
    "\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"group\",\"group_size\":32,"           \
    "\"dynamic\":false,\"actorder\":null,\"observer\":\"minmax\"}}},\"ignore\":[\"lm_head\","                \
    "\"re:.*self_attn.*\",\"re:.*shared_experts.*\",\"re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*\"]}"

#define GLM_RULES(scale)                                                                                     \
    "\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":true,\"routed_scaling_factor\":" #scale                 \
    ",\"rope_parameters\":{\"rope_theta\":1000000,\"rope_type\":\"default\"},\"rms_norm_eps\":1e-5,"         \
    "\"max_position_embeddings\":202752,\"eos_token_id\":[154820,154827,154829],\"pad_token_id\":154820"

#define ALL_BF16                                                                                             \
    {                                                                                                        \
        [FLOAT32] = F32                                                                                      \
    }
#define FP8_BF16                                                                                             \
    {                                                                                                        \
        [MATRIX] = FP8, [EXPERT_MATRIX] = FP8, [FLOAT32] = F32                                               \
    }
#define FP8_NORMS                                                                                            \
    {                                                                                                        \
        [MATRIX] = FP8, [EXPERT_MATRIX] = FP8, [NORM] = F32, [FLOAT32] = F32                                 \
    }

const struct release releases[] = {
    {.name = "DeepSeek-V2",
     .architecture = "DeepseekV2ForCausalLM",
     .model_type = "deepseek_v2",
     .tensors = deepseek,
     .layers = 60,
     .hidden = 5120,
     .heads = 128,
     .q_rank = 1536,
     .experts = 160,
     .shared = 2,
     .top_k = 6,
     .expert_width = 1536,
     .dense_width = 12288,
     .first_dense = 1,
     .groups = 8,
     .top_groups = 3,
     .vocabulary = 102400,
     .stored = ALL_BF16,
     .rules =
         "\"scoring_func\":\"softmax\",\"topk_method\":\"group_limited_greedy\",\"norm_topk_prob\":false,"
         "\"routed_scaling_factor\":16.0,\"rope_theta\":10000,\"rms_norm_eps\":1e-6,"
         "\"max_position_embeddings\":163840,\"bos_token_id\":100000,\"eos_token_id\":100001," YARN(
             40, 32, 0.707, 0.707),
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 55,
     .total = 235741434880,
     .active = 21375800320,
     .tensors_in_files = 29102, /* 3 + 60 * 9 + 3 + 59 * (1 + 161 * 3) */
     .tensor_bytes = 471482869760,
     .cache_bytes = 69120},
    {.name = "DeepSeek-V2-Lite",
     .architecture = "DeepseekV2ForCausalLM",
     .model_type = "deepseek_v2",
     .tensors = deepseek,
     .layers = 27,
     .hidden = 2048,
     .heads = 16,
     .experts = 64,
     .shared = 2,
     .top_k = 6,
     .expert_width = 1408,
     .dense_width = 10944,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .vocabulary = 102400,
     .stored = ALL_BF16,
     .rules = "\"scoring_func\":\"softmax\",\"topk_method\":\"greedy\",\"norm_topk_prob\":false,"
              "\"routed_scaling_factor\":1.0,\"rope_theta\":10000,\"rms_norm_eps\":1e-6,"
              "\"max_position_embeddings\":163840,\"bos_token_id\":100000,\"eos_token_id\":100001," YARN(
                  40, 32, 0.707, 0.707),
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 4,
     .total = 15706484224,
     .active = 2661150208,
     .tensors_in_files = 5291,
     .tensor_bytes = 31412968448,
     .cache_bytes = 31104},
    {.name = "DeepSeek-R1", /* and V3, whose files have the same headers */
     .architecture = "DeepseekV3ForCausalLM",
     .model_type = "deepseek_v3",
     .tensors = deepseek,
     .layers = 61,
     .mtp_layers = 1,
     .hidden = 7168,
     .heads = 128,
     .q_rank = 1536,
     .experts = 256,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 18432,
     .first_dense = 3,
     .groups = 8,
     .top_groups = 4,
     .router_bias = true,
     .vocabulary = 129280,
     .stored = FP8_BF16,
     .rules = V3_RULES(""),
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 163,
     .total = 671026419200,
     .active = 37552297472,
     .mtp = 11610068224,
     .tensors_in_files = 91991,
     .tensor_bytes = 688574839360,
     .cache_bytes = 70272},
    {.name = "DeepSeek-V3.2",
     .architecture = "DeepseekV32ForCausalLM",
     .model_type = "deepseek_v32",
     .tensors = deepseek,
     .layers = 61,
     .mtp_layers = 1,
     .hidden = 7168,
     .heads = 128,
     .q_rank = 1536,
     .experts = 256,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 18432,
     .first_dense = 3,
     .groups = 8,
     .top_groups = 4,
     .router_bias = true,
     .vocabulary = 129280,
     .index_heads = 64,
     .stored = FP8_NORMS,
     .rules = V3_RULES(
         "\"scale_fmt\":\"ue8m0\",") ",\"index_n_heads\":64,\"index_head_dim\":128,\"index_topk\":2048",
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 163,
     .total = 671877944064,
     .active = 38403822336,
     .mtp = 11624027648, /* as V3, and an indexer: (671877944064 - 671026419200) / 61 */
     .tensors_in_files = 92425,
     .tensor_bytes = 689471107200,
     .cache_bytes = 70272},
    {.name = "Moonlight-16B-A3B",
     .architecture = "DeepseekV3ForCausalLM",
     .model_type = "deepseek_v3",
     .tensors = deepseek,
     .layers = 27,
     .hidden = 2048,
     .heads = 16,
     .experts = 64,
     .shared = 2,
     .top_k = 6,
     .expert_width = 1408,
     .dense_width = 11264,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .router_bias = true,
     .vocabulary = 163840,
     .stored = {BF16}, /* the router's bias, too: the byte sum is twice the parameters */
     .rules = NOAUX(2.446) "\"rope_theta\":50000,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":8192,"
                           "\"bos_token_id\":163584,\"eos_token_id\":163586,\"rope_scaling\":null",
     .shard = "model-%u-of-%u.safetensors",
     .shards = 27,
     .total = 15960110208,
     .active = 2914776192,
     .tensors_in_files = 5317, /* 3 + 27 * 7 + 3 + 26 * (2 + 65 * 3) */
     .tensor_bytes = 31920220416,
     .cache_bytes = 31104},
    {.name = "Kimi-K2-Instruct",
     .architecture = "DeepseekV3ForCausalLM",
     .model_type = "kimi_k2",
     .tensors = deepseek,
     .layers = 61,
     .hidden = 7168,
     .heads = 64,
     .q_rank = 1536,
     .experts = 384,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 18432,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .router_bias = true,
     .vocabulary = 163840,
     .stray = 56,
     .stored = FP8_BF16,
     .rules =
         NOAUX(2.827) "\"rope_theta\":50000,\"rms_norm_eps\":1e-6,\"max_position_embeddings\":131072,"
                      "\"bos_token_id\":163584,\"eos_token_id\":163585," YARN(32, 1, 1.0, 1.0) FP8_BLOCKS(""),
     .shard = "model-%u-of-%u.safetensors",
     .shards = 61,
     .total = 1026408232448,
     .active = 32861500928,
     .tensors_in_files = 139644,
     .tensor_bytes = 1029173256720,
     .cache_bytes = 70272},
    {.name = "Kimi-K2-Thinking",
     .architecture = "DeepseekV3ForCausalLM",
     .model_type = "kimi_k2",
     .tensors = deepseek,
     .layers = 61,
     .hidden = 7168,
     .heads = 64,
     .q_rank = 1536,
     .experts = 384,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 18432,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .vocabulary = 163840,
     .router_bias = true,
     .stored = {[EXPERT_MATRIX] = PACKED_4, [FLOAT32] = F32},
     .rules =
         NOAUX(2.827) "\"rope_theta\":50000,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":262144,"
                      "\"bos_token_id\":163584,\"eos_token_id\":163586," YARN(64, 1, 1.0, 1.0) INT4_EXPERTS,
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 62,
     .total = 1026408232448,
     .active = 32861500928,
     .tensors_in_files = 208215, /* 3 + 61 * 9 + 3 + 60 * (2 + 3 + 384 * 3 * 3) */
     /* 594 GB: of an expert's 44040192 weights w, w / 2 + w / 16 + 24; of the rest 2 bytes, of biases 4 */
     .tensor_bytes = 594205904896,
     .cache_bytes = 70272},
    {.name = "Kimi-K2.5, without vision",
     .architecture = "KimiK25ForConditionalGeneration",
     .model_type = "kimi_k25",
     .tensors = deepseek,
     .prefix = "language_model.",
     .nested = true,
     .layers = 61,
     .hidden = 7168,
     .heads = 64,
     .q_rank = 1536,
     .experts = 384,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 18432,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .vocabulary = 163840,
     .router_bias = true,
     .stored = {[EXPERT_MATRIX] = PACKED_4, [FLOAT32] = F32},
     .rules =
         NOAUX(2.827) "\"rope_theta\":50000,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":262144,"
                      "\"bos_token_id\":163584,\"eos_token_id\":163586," YARN(64, 32, 1.0, 1.0) INT4_EXPERTS,
     .shard = "model-%05u-of-%06u.safetensors",
     .shards = 64,
     .total = 1026408232448,
     .active = 32861500928,
     .tensors_in_files = 208215, /* 3 + 61 * 9 + 3 + 60 * (2 + 3 + 384 * 3 * 3) */
     /* 594 GB: of an expert's 44040192 weights w, w / 2 + w / 16 + 24; of the rest 2 bytes, of biases 4 */
     .tensor_bytes = 594205904896,
     .cache_bytes = 70272},
    {.name = "GLM-4.7-Flash",
     .architecture = "Glm4MoeLiteForCausalLM",
     .model_type = "glm4_moe_lite",
     .tensors = deepseek,
     .layers = 47,
     .mtp_layers = 1,
     .hidden = 2048,
     .heads = 20,
     .q_rank = 768,
     .nope = 192,
     .value = 256,
     .experts = 64,
     .shared = 1,
     .top_k = 4,
     .expert_width = 1536,
     .dense_width = 10240,
     .first_dense = 1,
     .groups = 1,
     .top_groups = 1,
     .vocabulary = 154880,
     .router_bias = true,
     .stored = ALL_BF16,
     .rules = GLM_RULES(1.8),
     .shard = "model-%05u-of-%05u.safetensors",
     .shards = 48,
     .total = 29943393920,
     .active = 3896766080,
     .mtp = 643706176,
     .tensors_in_files = 9703,    /* 3 + 48 * 9 + 3 + 47 * (2 + 65 * 3) + 6 */
     .tensor_bytes = 62442983168, /* 2 * 31221488576, and 2 more for each of 47 * 64 biases */
     .cache_bytes = 54144},
    {.name = "GLM-5.1",
     .architecture = "GlmMoeDsaForCausalLM",
     .model_type = "glm_moe_dsa",
     .tensors = deepseek,
     .layers = 78,
     .mtp_layers = 1,
     .mtp_shares = true,
     .hidden = 6144,
     .heads = 64,
     .q_rank = 2048,
     .nope = 192,
     .value = 256,
     .experts = 256,
     .shared = 1,
     .top_k = 8,
     .expert_width = 2048,
     .dense_width = 12288,
     .first_dense = 3,
     .groups = 1,
     .top_groups = 1,
     .vocabulary = 154880,
     .router_bias = true,
     .index_heads = 32,
     .stored = ALL_BF16,
     .rules = GLM_RULES(2.5) ",\"scoring_func\":\"sigmoid\",\"index_n_heads\":32,\"index_head_dim\":128,"
                             "\"index_topk\":2048,\"indexer_rope_interleave\":true",
     .shard = "model-%05u-of-%05u.safetensors",
     .shards = 282,
     .total = 743911218432,
     .active = 41784728832,
     .mtp = 9952920576,
     .tensors_in_files = 59870, /* 3 + 79 * (9 + 5) + 3 * 3 + 76 * (2 + 257 * 3) + 4 */
     .tensor_bytes = 1507728316928,
     .cache_bytes = 89856},
    {.name = NULL},
};
