/* Tensor names: what part of the model a tensor is decides which level it may get and where the runtime looks
 * for it. A name taken for another part quantizes a router or computes with the wrong expert. */
#include "unit.h"

#include "names.h"

#include <time.h>

#define MAX_INDEX 999999 /* the largest layer or expert that a name may say */

static bool is_part(const char *text, enum moeq_part part, int layer, int expert)
{
    struct moeq_name name = moeq_name_parse(text);
    bool good = name.part == part && name.layer == layer && name.expert == expert;
    if (!good)
        printf("\n  %s: part %d layer %d expert %d", text, name.part, name.layer, name.expert);
    return good;
}

/* Names of Kimi-K2.5's files. */
static void test_names_of_a_model_that_sees(void)
{
    CU_ASSERT(is_part("language_model.model.layers.60.mlp.experts.383.up_proj.weight", MOEQ_PART_EXPERT_UP,
                      60, 383));
    CU_ASSERT(is_part("language_model.lm_head.weight", MOEQ_PART_HEAD, -1, -1));
    CU_ASSERT(is_part("language_model.model.embed_tokens.weight", MOEQ_PART_EMBED, -1, -1));
    CU_ASSERT(is_part("mm_projector.proj.0.weight", MOEQ_PART_VISION, -1, -1));
    CU_ASSERT(is_part("vision_tower.model.layers.3.mlp.gate.weight", MOEQ_PART_VISION, -1, -1));
    CU_ASSERT(is_part("language_model.language_model.lm_head.weight", MOEQ_PART_OTHER, -1, -1));
    CU_ASSERT(is_part("language_model.vision_tower.x", MOEQ_PART_OTHER, -1, -1));
    CU_ASSERT(is_part("vision_tower", MOEQ_PART_OTHER, -1, -1));
    CU_ASSERT_STRING_EQUAL(moeq_name_in_text("language_model.lm_head.weight"), "lm_head.weight");
    CU_ASSERT_STRING_EQUAL(moeq_name_in_text("lm_head.weight"), "lm_head.weight");
}

/* Names of released files (headers of DeepSeek-V3, V3.2 and V2-Lite), written out. */
static void test_released_names(void)
{
    static const struct {
        const char *text;
        struct moeq_name name;
    } cases[] = {
        {"model.embed_tokens.weight", {MOEQ_PART_EMBED, -1, -1}},
        {"model.norm.weight", {MOEQ_PART_FINAL_NORM, -1, -1}},
        {"lm_head.weight", {MOEQ_PART_HEAD, -1, -1}},
        {"model.layers.0.input_layernorm.weight", {MOEQ_PART_ATTENTION_NORM, 0, -1}},
        {"model.layers.0.self_attn.q_proj.weight", {MOEQ_PART_Q, 0, -1}},
        {"model.layers.60.self_attn.q_a_proj.weight", {MOEQ_PART_Q_A, 60, -1}},
        {"model.layers.60.self_attn.q_a_layernorm.weight", {MOEQ_PART_Q_A_NORM, 60, -1}},
        {"model.layers.60.self_attn.q_b_proj.weight", {MOEQ_PART_Q_B, 60, -1}},
        {"model.layers.3.self_attn.kv_a_proj_with_mqa.weight", {MOEQ_PART_KV_A, 3, -1}},
        {"model.layers.3.self_attn.kv_a_layernorm.weight", {MOEQ_PART_KV_A_NORM, 3, -1}},
        {"model.layers.3.self_attn.kv_b_proj.weight", {MOEQ_PART_KV_B, 3, -1}},
        {"model.layers.3.self_attn.o_proj.weight", {MOEQ_PART_O, 3, -1}},
        {"model.layers.3.self_attn.indexer.wq_b.weight", {MOEQ_PART_INDEXER_Q, 3, -1}},
        {"model.layers.3.self_attn.indexer.wk.weight", {MOEQ_PART_INDEXER_K, 3, -1}},
        {"model.layers.3.self_attn.indexer.k_norm.weight", {MOEQ_PART_INDEXER_K_NORM, 3, -1}},
        {"model.layers.3.self_attn.indexer.k_norm.bias", {MOEQ_PART_INDEXER_K_BIAS, 3, -1}},
        {"model.layers.3.self_attn.indexer.weights_proj.weight", {MOEQ_PART_INDEXER_WEIGHTS, 3, -1}},
        {"model.layers.3.post_attention_layernorm.weight", {MOEQ_PART_FFN_NORM, 3, -1}},
        {"model.layers.2.mlp.gate_proj.weight", {MOEQ_PART_DENSE_GATE, 2, -1}},
        {"model.layers.2.mlp.up_proj.weight", {MOEQ_PART_DENSE_UP, 2, -1}},
        {"model.layers.2.mlp.down_proj.weight", {MOEQ_PART_DENSE_DOWN, 2, -1}},
        {"model.layers.3.mlp.gate.weight", {MOEQ_PART_ROUTER, 3, -1}},
        {"model.layers.3.mlp.gate.e_score_correction_bias", {MOEQ_PART_ROUTER_BIAS, 3, -1}},
        {"model.layers.3.mlp.shared_experts.gate_proj.weight", {MOEQ_PART_SHARED_GATE, 3, -1}},
        {"model.layers.3.mlp.shared_experts.up_proj.weight", {MOEQ_PART_SHARED_UP, 3, -1}},
        {"model.layers.3.mlp.shared_experts.down_proj.weight", {MOEQ_PART_SHARED_DOWN, 3, -1}},
        {"model.layers.3.mlp.experts.0.gate_proj.weight", {MOEQ_PART_EXPERT_GATE, 3, 0}},
        {"model.layers.3.mlp.experts.255.up_proj.weight", {MOEQ_PART_EXPERT_UP, 3, 255}},
        {"model.layers.61.mlp.experts.10.down_proj.weight", {MOEQ_PART_EXPERT_DOWN, 61, 10}},
        {"model.layers.61.enorm.weight", {MOEQ_PART_MTP_EMBED_NORM, 61, -1}},
        {"model.layers.61.hnorm.weight", {MOEQ_PART_MTP_HIDDEN_NORM, 61, -1}},
        {"model.layers.61.eh_proj.weight", {MOEQ_PART_MTP_PROJECTION, 61, -1}},
        {"model.layers.61.shared_head.norm.weight", {MOEQ_PART_MTP_HEAD_NORM, 61, -1}},
        {"model.layers.61.shared_head.head.weight", {MOEQ_PART_MTP_HEAD, 61, -1}},
        {"model.layers.61.embed_tokens.weight", {MOEQ_PART_MTP_EMBED, 61, -1}},
        {"model.layers.5.mlp.experts.gate_up_proj", {MOEQ_PART_FUSED_GATE_UP, 5, -1}},
        {"model.layers.5.mlp.experts.down_proj", {MOEQ_PART_FUSED_DOWN, 5, -1}},
        {"model.layers.5.self_attn.rotary_emb.inv_freq", {MOEQ_PART_INV_FREQ, 5, -1}},
        {"vision_tower.encoder.blocks.0.mlp.fc0.weight", {MOEQ_PART_VISION, -1, -1}},
        {"embed.weight", {MOEQ_PART_V4_EMBED, -1, -1}},
        {"head.weight", {MOEQ_PART_V4_HEAD, -1, -1}},
        {"layers.7.attn.q_norm.weight", {MOEQ_PART_V4_NORM, 7, -1}},
        {"layers.7.attn.wq_a.scale", {MOEQ_PART_V4_ATTENTION, 7, -1}},
        {"layers.7.attn.indexer.compressor.ape", {MOEQ_PART_V4_INDEXER, 7, -1}},
        {"layers.2.ffn.gate.tid2eid", {MOEQ_PART_V4_ROUTER, 2, -1}},
        {"layers.2.ffn.shared_experts.w2.weight", {MOEQ_PART_V4_SHARED, 2, -1}},
        {"layers.42.ffn.experts.255.w3.scale", {MOEQ_PART_V4_EXPERT, 42, -1}},
        {"layers.42.hc_ffn_base", {MOEQ_PART_V4_STREAMS, 42, -1}},
        {"mtp.0.e_proj.weight", {MOEQ_PART_V4_MTP, -1, -1}},
    };
    CU_ASSERT_EQUAL(sizeof cases / sizeof *cases, MOEQ_PART_OTHER);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT(is_part(cases[i].text, cases[i].name.part, cases[i].name.layer, cases[i].name.expert));
}

static void test_every_part_formats_and_parses_back(void)
{
    static const int indices[] = {0, 1, 9, 10, 60, 255, 99999, MAX_INDEX};
    for (int part = 0; part < MOEQ_PART_VISION; part++)
        for (size_t i = 0; i < sizeof indices / sizeof *indices; i++)
            for (size_t j = 0; j < sizeof indices / sizeof *indices; j++) {
                char text[MOEQ_NAME_BYTES];
                CU_ASSERT_PTR_EQUAL(
                    moeq_name_format((enum moeq_part)part, indices[i], indices[j], text, sizeof text), text);
                struct moeq_name name = moeq_name_parse(text);
                CU_ASSERT(strlen(text) < sizeof text - 1 && (int)name.part == part);
                CU_ASSERT(name.layer == -1 || name.layer == indices[i]);
                CU_ASSERT(name.expert == -1 || name.expert == indices[j]);
            }
}

/* Indices that are not written as the files write them would give one expert two names. */
static void test_hostile_indices(void)
{
    static const char *const indices[] = {"",
                                          "-1",
                                          "+1",
                                          " 1",
                                          "1 ",
                                          "007",
                                          "00",
                                          "1000000",
                                          "4294967296",
                                          "18446744073709551616",
                                          "1x",
                                          "x1",
                                          "0x1",
                                          "1e3",
                                          "99999999999999999999999",
                                          "\xef\xbc\x91",
                                          "1\xef\xbc\x91",
                                          "%d",
                                          "*"};
    char text[256];
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        snprintf(text, sizeof text, "model.layers.%s.mlp.gate.weight", indices[i]);
        CU_ASSERT(is_part(text, MOEQ_PART_OTHER, -1, -1));
        snprintf(text, sizeof text, "model.layers.%s.mlp.experts.1.up_proj.weight", indices[i]);
        CU_ASSERT(is_part(text, MOEQ_PART_OTHER, -1, -1));
        snprintf(text, sizeof text, "model.layers.7.mlp.experts.%s.up_proj.weight", indices[i]);
        CU_ASSERT(is_part(text, MOEQ_PART_OTHER, 7, -1));
    }
}

static void test_names_that_only_look_alike(void)
{
    static const struct {
        const char *text;
        int layer;
    } cases[] = {
        {"", -1},
        {"model", -1},
        {"model.layers.", -1},
        {"model.layers.3", -1},
        {"model.layers.3.", 3},
        {"model.layers.3.mlp.experts.", 3},
        {"model.layers.3.mlp.experts.1", 3},
        {"model.layers.3.mlp.experts.1.", 3},
        {"model.layers.3.mlp.experts.1.gate.weight", 3},
        {"model.layers.3.mlp.experts.1.gate_proj.weight.", 3},
        {"model.layers.3.mlp.experts.1.gate_proj.weight_scale_inv", 3},
        {"model.layers.3.mlp.experts.1.mlp.experts.1.gate_proj.weight", 3},
        {"model.layers.3.gate_proj.weight", 3},
        {"model.layers.3.model.norm.weight", 3},
        {"model.layers.3.lm_head.weight", 3},
        {"model.layers.3.mlp.gate.weight ", 3},
        {"model.layers.3.MLP.gate.weight", 3},
        {"model.layers..3.mlp.gate.weight", -1},
        {" model.norm.weight", -1},
        {"model.norm.weight\n", -1},
        {"xmodel.norm.weight", -1},
        {"input_layernorm.weight", -1},
        {"embed_tokens.weight", -1},
        {"mlp.experts.1.gate_proj.weight", -1},
        {"model.layers.3.mlp.experts.gate_proj.weight", 3},
        {"model.layers.3.mlp.experts.gate_up_proj.weight", 3},
        {"model.layers.3.mlp.experts.0.gate_up_proj", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT(is_part(cases[i].text, MOEQ_PART_OTHER, cases[i].layer, -1));
}

/* --- roles --- */

static void test_roles(void)
{
    enum moeq_role role;
    for (int i = 0; i < MOEQ_N_ROLES; i++) {
        CU_ASSERT(moeq_role_find(moeq_role_name((enum moeq_role)i), &role));
        CU_ASSERT_EQUAL((int)role, i);
    }
    CU_ASSERT_FALSE(moeq_role_find("", &role));
    CU_ASSERT_FALSE(moeq_role_find("Experts", &role));
    CU_ASSERT_FALSE(moeq_role_find("expert", &role));
    CU_ASSERT_FALSE(moeq_role_find("experts ", &role));
}

/* A rounded router chooses other experts; rounded norms scale a whole layer. */
static void test_routers_and_norms_keep_their_precision(void)
{
    for (int i = 0; i < MOEQ_N_PARTS; i++) {
        enum moeq_part part = (enum moeq_part)i;
        enum moeq_role role = moeq_part_role(part);
        bool keeps = role == MOEQ_ROLE_ROUTER || role == MOEQ_ROLE_NORM || role == MOEQ_ROLE_INDEXER ||
                     role == MOEQ_ROLE_OTHER || role == MOEQ_ROLE_VISION ||
                     (part >= MOEQ_PART_V4_EMBED && part <= MOEQ_PART_V4_MTP);
        CU_ASSERT_EQUAL(moeq_part_quantizable(part), !keeps);
    }
    CU_ASSERT_EQUAL(moeq_part_role(MOEQ_PART_ROUTER_BIAS), MOEQ_ROLE_ROUTER);
    CU_ASSERT_EQUAL(moeq_part_role(MOEQ_PART_KV_A_NORM), MOEQ_ROLE_NORM);
    CU_ASSERT_EQUAL(moeq_part_role(MOEQ_PART_MTP_EMBED), MOEQ_ROLE_EMBED);
    CU_ASSERT_EQUAL(moeq_part_role(MOEQ_PART_EXPERT_DOWN), MOEQ_ROLE_EXPERTS);
}

/* --- globs --- */

static void test_globs(void)
{
    static const struct {
        const char *glob, *name;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", true},
        {"***", "", true},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"*", "model.layers.3.mlp", true},
        {"a", "A", false},
        {"a*", "a", true},
        {"*a", "bca", true},
        {"*a", "bcab", false},
        {"a*c", "abcabc", true},
        {"a*c", "abcabd", false},
        {"*ab", "aab", true},
        {"*aab*", "aaaab", true},
        {"a?c*", "abc", true},
        {"a*?", "a", false},
        {"a*?", "ab", true},
        {"*.*.*", "a.b", false},
        {"model.layers.3.*", "model.layers.3.mlp.gate.weight", true},
        {"model.layers.3.*", "model.layers.30.mlp.gate.weight", false},
        {"*.experts.*.down_proj.*", "model.layers.3.mlp.experts.255.down_proj.weight", true},
        {"*.experts.?.down_proj.*", "model.layers.3.mlp.experts.255.down_proj.weight", false},
        {"*down_proj", "model.layers.3.mlp.experts.255.down_proj.weight", false},
        {"[ab]", "a", false},
        {"[ab]", "[ab]", true},
        {"*", "*", true},
        {"\\*", "\\x", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (moeq_glob_match(cases[i].glob, cases[i].name) != cases[i].matches)
            CU_FAIL(cases[i].glob);
}

/* A rule must not take an hour on a hostile name: backtracking to every star would be exponential. */
static void test_a_glob_of_many_stars_ends(void)
{
    enum { N = 5000 };
    char name[N + 1], glob[2 * 200 + 2];
    memset(name, 'a', N);
    name[N] = '\0';
    for (size_t i = 0; i < 200; i++)
        memcpy(glob + 2 * i, "*a", 2);
    strcpy(glob + 400, "b");
    clock_t begin = clock();
    CU_ASSERT_FALSE(moeq_glob_match(glob, name));
    CU_ASSERT((clock() - begin) / CLOCKS_PER_SEC < 5);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"names of released files", test_released_names},
        {"names of a model that sees", test_names_of_a_model_that_sees},
        {"every part formats and parses back", test_every_part_formats_and_parses_back},
        {"hostile indices", test_hostile_indices},
        {"names that only look alike", test_names_that_only_look_alike},
        {"roles", test_roles},
        {"routers and norms keep their precision", test_routers_and_norms_keep_their_precision},
        {"globs", test_globs},
        {"a glob of many stars ends", test_a_glob_of_many_stars_ends},
        {NULL, NULL},
    };
    return unit_main("names", tests);
}
