/* Parameter counts from config.json alone against the published and stored figures of the releases. */
#include "unit.h"

#include "census.h"

#define COMMON                                                                                               \
    "\"hidden_act\":\"silu\",\"rope_theta\":10000,\"moe_layer_freq\":1,\"kv_lora_rank\":512,\"qk_nope_head_" \
    "dim\":128,"                                                                                             \
    "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"max_position_embeddings\":163840,\"bos_token_id\":0,"
#define FP8                                                                                                  \
    "\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"weight_block_size\":[128,128]},"
#define INT4                                                                                                 \
    "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","        \
    "\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,"       \
    "\"strategy\":\"group\",\"group_size\":32}}}},"
#define V3_SIZES                                                                                             \
    "\"num_hidden_layers\":61,\"hidden_size\":7168,\"intermediate_size\":18432,\"moe_intermediate_size\":"   \
    "2048,"                                                                                                  \
    "\"q_lora_rank\":1536,\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"norm_topk_prob\":true,"         \
    "\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\","
#define V3                                                                                                   \
    COMMON FP8 V3_SIZES                                                                                      \
        "\"num_attention_heads\":128,\"n_routed_experts\":256,\"first_k_dense_replace\":3,"                  \
        "\"n_group\":8,\"topk_group\":4,\"vocab_size\":129280,\"num_nextn_predict_layers\":1,"               \
        "\"routed_scaling_factor\":2.5,"
#define LITE                                                                                                 \
    "\"num_hidden_layers\":27,\"hidden_size\":2048,\"moe_intermediate_size\":1408,\"q_lora_rank\":null,"     \
    "\"n_shared_experts\":2,\"num_experts_per_tok\":6,\"num_attention_heads\":16,\"n_routed_experts\":64,"   \
    "\"first_k_dense_replace\":1,\"n_group\":1,\"topk_group\":1,"

/* Sizes from the releases' config.json; counts as published with them and as stored in their index files. */
static const struct release {
    const char *name, *config;
    uint64_t total, active, mtp, n_tensors, kv_bytes;
} releases[] = {
    {"V2",
     "{" COMMON
     "\"architectures\":[\"DeepseekV2ForCausalLM\"],\"model_type\":\"deepseek_v2\",\"num_hidden_layers\":60,"
     "\"hidden_size\":5120,\"intermediate_size\":12288,\"moe_intermediate_size\":1536,\"q_lora_rank\":1536,"
     "\"n_shared_experts\":2,\"num_experts_per_tok\":6,\"num_attention_heads\":128,\"n_routed_experts\":160,"
     "\"first_k_dense_replace\":1,\"n_group\":8,\"topk_group\":3,\"topk_method\":\"group_limited_greedy\","
     "\"scoring_func\":\"softmax\",\"routed_scaling_factor\":16.0,\"vocab_size\":102400}",
     235741434880, 21375800320, 0, 0, 69120},
    {"V2-Lite",
     "{" COMMON LITE "\"architectures\":[\"DeepseekV2ForCausalLM\"],\"model_type\":\"deepseek_v2\","
     "\"intermediate_size\":10944,\"topk_method\":\"greedy\",\"scoring_func\":\"softmax\",\"vocab_size\":"
     "102400}",
     15706484224, 2661150208, 0, 5291, 31104},
    {"Moonlight",
     "{" COMMON LITE "\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\","
     "\"intermediate_size\":11264,\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\",\"norm_topk_"
     "prob\":true,"
     "\"routed_scaling_factor\":2.446,\"rms_norm_eps\":1e-5,\"vocab_size\":163840}",
     15960110208, 2914776192, 0, 0, 31104},
    {"V3", "{" V3 "\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\"}",
     671026419200, 37552297472, 11610068224, 91991, 70272},
    {"V3.2",
     "{" V3
     "\"architectures\":[\"DeepseekV32ForCausalLM\"],\"model_type\":\"deepseek_v32\",\"index_n_heads\":64,"
     "\"index_head_dim\":128,\"index_topk\":2048}",
     671877944064, 38403822336, 0, 92425, 70272},
    {"Kimi-K2",
     "{" COMMON FP8 V3_SIZES "\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"kimi_k2\","
     "\"num_attention_heads\":64,\"n_routed_experts\":384,\"first_k_dense_replace\":1,\"n_group\":1,\"topk_"
     "group\":1,"
     "\"vocab_size\":163840,\"num_nextn_predict_layers\":0,\"routed_scaling_factor\":2.827}",
     1026408232448, 32861500928, 0, 139644, 70272},
    {"Kimi-K2.5",
     "{\"architectures\":[\"KimiK25ForConditionalGeneration\"],\"model_type\":\"kimi_k25\",\"text_config\":"
     "{" COMMON V3_SIZES INT4 "\"model_type\":\"kimi_k2\","
     "\"num_attention_heads\":64,\"n_routed_experts\":384,\"first_k_dense_replace\":1,\"n_group\":1,\"topk_"
     "group\":1,"
     "\"vocab_size\":163840,\"num_nextn_predict_layers\":0,\"routed_scaling_factor\":2.827}}",
     1026408232448, 32861500928, 0, 0, 70272},
    {"GLM-4.7-Flash",
     "{\"architectures\":[\"Glm4MoeLiteForCausalLM\"],\"model_type\":\"glm4_moe_lite\",\"hidden_act\":"
     "\"silu\","
     "\"num_hidden_layers\":47,\"hidden_size\":2048,\"num_attention_heads\":20,\"q_lora_rank\":768,"
     "\"kv_lora_rank\":512,\"qk_nope_head_dim\":192,\"qk_rope_head_dim\":64,\"v_head_dim\":256,"
     "\"n_routed_experts\":64,\"n_shared_experts\":1,\"num_experts_per_tok\":4,\"moe_intermediate_size\":"
     "1536,"
     "\"intermediate_size\":10240,\"first_k_dense_replace\":1,\"n_group\":1,\"topk_group\":1,"
     "\"vocab_size\":154880,\"num_nextn_predict_layers\":1,\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":"
     "true,"
     "\"routed_scaling_factor\":1.8,\"rope_theta\":1000000,\"rope_scaling\":null,\"rms_norm_eps\":1e-5,"
     "\"max_position_embeddings\":202752,\"eos_token_id\":[154820,154827,154829]}",
     29943393920, 3896766080, 643706176, 0, 54144},
    {"GLM-5.1",
     "{\"architectures\":[\"GlmMoeDsaForCausalLM\"],\"model_type\":\"glm_moe_dsa\",\"hidden_act\":\"silu\","
     "\"num_hidden_layers\":78,\"hidden_size\":6144,\"num_attention_heads\":64,\"q_lora_rank\":2048,"
     "\"kv_lora_rank\":512,\"qk_nope_head_dim\":192,\"qk_rope_head_dim\":64,\"v_head_dim\":256,"
     "\"n_routed_experts\":256,\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"moe_intermediate_size\":"
     "2048,"
     "\"intermediate_size\":12288,\"first_k_dense_replace\":3,\"n_group\":1,\"topk_group\":1,"
     "\"vocab_size\":154880,\"num_nextn_predict_layers\":1,\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":"
     "true,"
     "\"routed_scaling_factor\":2.5,\"rope_parameters\":{\"rope_theta\":1000000,\"rope_type\":\"default\"},"
     "\"index_n_heads\":32,\"index_head_dim\":128,\"index_topk\":2048,\"rms_norm_eps\":1e-5,"
     "\"max_position_embeddings\":202752}",
     743911218432, 41784728832, 9952920576, 0, 89856},
};

static void test_published_figures(void)
{
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++) {
        const struct release *r = &releases[i];
        struct moeq_config config;
        struct moeq_error err = {0};
        CU_ASSERT_EQUAL_FATAL(moeq_config_parse(&config, r->config, strlen(r->config), &err), MOEQ_OK);
        struct moeq_census census = moeq_census_take(&config);
        printf("\n    %-10s %llu, %llu active, %llu tensors, %llu bytes of cache", r->name,
               (unsigned long long)census.total, (unsigned long long)census.active,
               (unsigned long long)census.n_tensors, (unsigned long long)census.kv_mla);
        CU_ASSERT_EQUAL(census.total, r->total);
        CU_ASSERT_EQUAL(census.active, r->active);
        CU_ASSERT_EQUAL(census.kv_mla, r->kv_bytes);
        if (r->mtp)
            CU_ASSERT_EQUAL(census.mtp, r->mtp);
        if (r->n_tensors)
            CU_ASSERT_EQUAL(census.n_tensors, r->n_tensors);
    }
}

/* Half of V4's layers compress 4 tokens, the others 128; the first two differ. */
static void v4_config(char *text, size_t capacity, const char *sizes, unsigned n_layers, unsigned first)
{
    int n = snprintf(text, capacity,
                     "{\"architectures\":[\"DeepseekV4ForCausalLM\"],\"model_type\":\"deepseek_v4\",%s,"
                     "\"num_hidden_layers\":%u,\"num_nextn_predict_layers\":1,\"num_experts_per_tok\":6,"
                     "\"n_shared_experts\":1,\"num_hash_layers\":3,\"head_dim\":512,\"qk_rope_head_dim\":64,"
                     "\"o_lora_rank\":1024,\"hc_mult\":4,\"index_n_heads\":64,\"index_head_dim\":128,"
                     "\"index_topk\":512,\"vocab_size\":129280,\"max_position_embeddings\":1048576,"
                     "\"rope_theta\":10000,\"compress_ratios\":[%u,%u",
                     sizes, n_layers, first, first);
    for (unsigned i = 2; i < n_layers; i++)
        n += snprintf(text + n, capacity - (size_t)n, ",%u", i % 2 ? 128 : 4);
    snprintf(text + n, capacity - (size_t)n, ",0]}");
}

/* The tensors of V4-Pro as stored; parameters as its authors round them. */
static void test_v4(void)
{
    static const struct {
        const char *sizes;
        unsigned n_layers, first;
        uint64_t n_tensors;
        double total, active; /* in 10^9 */
    } models[] = {{"\"hidden_size\":4096,\"num_attention_heads\":64,\"q_lora_rank\":1024,\"o_groups\":8,"
                   "\"n_routed_experts\":256,\"moe_intermediate_size\":2048",
                   43, 0, 0, 284, 13},
                  {"\"hidden_size\":7168,\"num_attention_heads\":128,\"q_lora_rank\":1536,\"o_groups\":16,"
                   "\"n_routed_experts\":384,\"moe_intermediate_size\":3072",
                   61, 128, 145116, 1600, 49}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char text[2048];
        struct moeq_config config;
        v4_config(text, sizeof text, models[i].sizes, models[i].n_layers, models[i].first);
        CU_ASSERT_EQUAL_FATAL(moeq_config_parse(&config, text, strlen(text), NULL), MOEQ_OK);
        struct moeq_census census = moeq_census_take(&config);
        printf("\n    %llu, %llu active, %llu tensors, %llu bytes of cache", (unsigned long long)census.total,
               (unsigned long long)census.active, (unsigned long long)census.n_tensors,
               (unsigned long long)census.kv_mla);
        if (models[i].n_tensors)
            CU_ASSERT_EQUAL(census.n_tensors, models[i].n_tensors);
        /* Authors count the head as active, not the embedding. */
        const double active = (double)(census.active - census.embeddings / 2) / 1e9;
        CU_ASSERT_DOUBLE_EQUAL((double)census.total / 1e9, models[i].total, 0.02 * models[i].total);
        CU_ASSERT_DOUBLE_EQUAL(active, models[i].active, 0.03 * models[i].active);
    }
}

int main(void)
{
    const struct unit_test tests[] = {{"parameters, tensors and cache of releases", test_published_figures},
                                      {"DeepSeek-V4", test_v4},
                                      {NULL, NULL}};
    return unit_main("census", tests);
}
