/* config.json: dimensions decide what is computed from which bytes. A wrong one is caught here, by its key,
 * or shows as garbage text. MOEQ_MODELS is the folder tests/models. */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "config.h"
#include "json.h"

/* DeepSeek-V2-Lite and DeepSeek-V2, as released (values of their config.json, without training-only keys). */
static const char v2_lite[] =
    "{'architectures':['DeepseekV2ForCausalLM'],'model_type':'deepseek_v2','num_hidden_layers':27,'hidden_"
    "size':2048,"
    "'num_attention_heads':16,'num_key_value_heads':16,'q_lora_rank':null,'kv_lora_rank':512,'qk_nope_head_"
    "dim':128,"
    "'qk_rope_head_dim':64,'v_head_dim':128,'n_routed_experts':64,'n_shared_experts':2,'num_experts_per_tok':"
    "6,"
    "'moe_intermediate_size':1408,'intermediate_size':10944,'first_k_dense_replace':1,'moe_layer_freq':1,'n_"
    "group':1,"
    "'topk_group':1,'vocab_size':102400,'scoring_func':'softmax','topk_method':'greedy','norm_topk_prob':"
    "false,"
    "'routed_scaling_factor':1.0,'rope_theta':10000,'rope_scaling':{'type':'yarn','factor':40,'beta_fast':32,"
    "'beta_slow':1,'mscale':0.707,'mscale_all_dim':0.707,'original_max_position_embeddings':4096},"
    "'max_position_embeddings':163840,'rms_norm_eps':1e-06,'bos_token_id':100000,'eos_token_id':100001,"
    "'hidden_act':'silu','attention_bias':false,'aux_loss_alpha':0.001,'seq_aux':true,'ep_size':1}";
static const char v2[] =
    "{'architectures':['DeepseekV2ForCausalLM'],'model_type':'deepseek_v2','num_hidden_layers':60,'hidden_"
    "size':5120,"
    "'num_attention_heads':128,'num_key_value_heads':128,'q_lora_rank':1536,'kv_lora_rank':512,'qk_nope_head_"
    "dim':128,"
    "'qk_rope_head_dim':64,'v_head_dim':128,'n_routed_experts':160,'n_shared_experts':2,'num_experts_per_tok'"
    ":6,"
    "'moe_intermediate_size':1536,'intermediate_size':12288,'first_k_dense_replace':1,'moe_layer_freq':1,'n_"
    "group':8,"
    "'topk_group':3,'vocab_size':102400,'scoring_func':'softmax','topk_method':'group_limited_greedy',"
    "'norm_topk_prob':false,'routed_scaling_factor':16.0,'rope_theta':10000,'rope_scaling':{'type':'yarn','"
    "factor':40,"
    "'beta_fast':32,'beta_slow':1,'mscale':0.707,'mscale_all_dim':0.707,'original_max_position_embeddings':"
    "4096},"
    "'max_position_embeddings':163840,'rms_norm_eps':1e-06,'bos_token_id':100000,'eos_token_id':100001}";

static json_t *nano; /* the V3 config of tests/models/nano-v3; the base of all changes below */

static json_t *quoted_json(const char *text)
{
    char quoted[FIXTURE_TEXT];
    fixture_quote(quoted, text);
    json_t *json = moeq_json_parse(quoted, strlen(quoted), NULL);
    fixture_need(json != NULL, text);
    return json;
}

static enum moeq_status parse_json(const json_t *json, struct moeq_config *config, struct moeq_error *err)
{
    char *text = moeq_json_text(json, true);
    fixture_need(text != NULL, "memory");
    enum moeq_status status = moeq_config_parse(config, text, strlen(text), err);
    free(text);
    return status;
}

/* Parses nano-v3's config with the members of `changes` put over it; a value "(none)" removes the key. */
static enum moeq_status parse_changed(const char *changes, struct moeq_config *config, struct moeq_error *err)
{
    const char *key;
    json_t *value, *json = json_deep_copy(nano), *over = quoted_json(changes);
    json_object_foreach(over, key, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), "(none)") == 0)
            json_object_del(json, key);
        else
            json_object_set(json, key, value);
    }
    enum moeq_status status = parse_json(json, config, err);
    json_decref(over);
    json_decref(json);
    return status;
}

static struct moeq_config accepted(const char *changes)
{
    struct moeq_config config;
    struct moeq_error err = {0};
    char line[1024];
    if (parse_changed(changes, &config, &err)) {
        printf("\n  %s: %s", changes, moeq_error_format(&err, line, sizeof line));
        CU_FAIL("rejected");
    }
    return config;
}

static void refused(const char *changes, enum moeq_status expected, const char *says)
{
    struct moeq_config config;
    struct moeq_error err = {0};
    enum moeq_status status = parse_changed(changes, &config, &err);
    if (status != expected || err.status != expected || !strstr(err.message, says)) {
        printf("\n  %s: status %d: %s", changes, status, err.message);
        CU_FAIL("not refused as it should be");
    }
    CU_ASSERT_EQUAL(parse_changed(changes, &config, NULL), expected);
}

/* --- released models --- */

static void test_v3(void)
{
    struct moeq_config c = accepted("{}");
    CU_ASSERT(strcmp(c.architecture, "DeepseekV3ForCausalLM") == 0 &&
              strcmp(c.model_type, "deepseek_v3") == 0);
    CU_ASSERT(c.n_layers == 4 && c.n_mtp_layers == 1 && c.hidden == 128 && c.vocabulary == 2048);
    CU_ASSERT(c.max_positions == 1024 && c.bos == 0 && c.norm_eps == 1e-6 && c.latent_norm_eps == 1e-6);
    CU_ASSERT(c.n_heads == 4 && c.q_rank == 64 && c.kv_rank == 48 && c.qk_nope == 24 && c.qk_rope == 16);
    CU_ASSERT(c.v_width == 24 && c.rope_theta == 10000 && c.yarn && c.yarn_factor == 4);
    CU_ASSERT(c.yarn_beta_fast == 32 && c.yarn_beta_slow == 1 && c.yarn_mscale == 1 &&
              c.yarn_mscale_all_dim == 1);
    CU_ASSERT(c.yarn_original_positions == 256 && c.dense_width == 336 && c.first_dense == 1 &&
              c.layer_freq == 1);
    CU_ASSERT(c.n_experts == 16 && c.n_shared == 1 && c.top_k == 4 && c.expert_width == 80);
    CU_ASSERT(c.n_groups == 4 && c.top_groups == 2 && c.scoring == MOEQ_SCORING_SIGMOID);
    CU_ASSERT(c.group_score == MOEQ_GROUP_TOP2 && c.correction_bias && c.norm_topk && c.routed_scale == 2.5);
}

static void test_v2_lite(void)
{
    struct moeq_config c;
    json_t *json = quoted_json(v2_lite);
    CU_ASSERT_EQUAL_FATAL(parse_json(json, &c, NULL), MOEQ_OK);
    CU_ASSERT(c.n_layers == 27 && c.n_mtp_layers == 0 && c.hidden == 2048 && c.vocabulary == 102400);
    CU_ASSERT(c.n_heads == 16 && c.q_rank == 0 && c.kv_rank == 512 && c.qk_nope == 128 && c.qk_rope == 64);
    CU_ASSERT(c.n_experts == 64 && c.n_shared == 2 && c.top_k == 6 && c.expert_width == 1408 &&
              c.dense_width == 10944);
    CU_ASSERT(c.scoring == MOEQ_SCORING_SOFTMAX && c.group_score == MOEQ_GROUP_NONE && !c.correction_bias);
    CU_ASSERT(!c.norm_topk && c.routed_scale == 1 && c.bos == 100000);
    CU_ASSERT(c.yarn && c.yarn_factor == 40 && c.yarn_mscale == 0.707 && c.yarn_mscale_all_dim == 0.707);
    CU_ASSERT(!moeq_config_layer_is_moe(&c, 0) && moeq_config_layer_is_moe(&c, 1) &&
              moeq_config_layer_is_moe(&c, 26));
    json_decref(json);
}

static void test_v2(void)
{
    struct moeq_config c;
    json_t *json = quoted_json(v2);
    CU_ASSERT_EQUAL_FATAL(parse_json(json, &c, NULL), MOEQ_OK);
    CU_ASSERT(c.q_rank == 1536 && c.n_experts == 160 && c.n_groups == 8 && c.top_groups == 3 && c.top_k == 6);
    CU_ASSERT(c.group_score == MOEQ_GROUP_MAX && !c.correction_bias && c.scoring == MOEQ_SCORING_SOFTMAX);
    CU_ASSERT(!c.norm_topk && c.routed_scale == 16);
    /* V2's code either normalizes or scales, never both */
    json_object_set_new(json, "norm_topk_prob", json_true());
    CU_ASSERT(parse_json(json, &c, NULL) == MOEQ_OK && c.norm_topk && c.routed_scale == 1);
    json_decref(json);
}

/* V3.2 is V3 with an indexer; its three numbers come together, and it reads the compressed q. */
static void test_v3_2(void)
{
    static const char indexer[] = "'architectures':['DeepseekV32ForCausalLM'],'model_type':'deepseek_v32',"
                                  "'index_n_heads':64,'index_head_dim':128,'index_topk':2048";
    static const char *const parts[] = {"index_n_heads", "index_head_dim", "index_topk"};
    char text[512];
    snprintf(text, sizeof text, "{%s}", indexer);
    struct moeq_config c = accepted(text);
    CU_ASSERT(c.index_heads == 64 && c.index_width == 128 && c.index_top_k == 2048);
    CU_ASSERT(c.scoring == MOEQ_SCORING_SIGMOID && c.group_score == MOEQ_GROUP_TOP2 && c.correction_bias);
    CU_ASSERT_EQUAL(accepted("{}").index_heads, 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "{'%s':4}", parts[i]);
        refused(text, MOEQ_DAMAGED, parts[i]);
        snprintf(text, sizeof text, "{%s}", indexer);
        char *value = strstr(text, parts[i]) + strlen(parts[i]) + 2; /* behind the quote and the colon */
        memset(value, ' ', strcspn(value, ",}"));
        *value = '0';
        refused(text, MOEQ_DAMAGED, parts[i]);
    }
    snprintf(text, sizeof text, "{%s,'q_lora_rank':null}", indexer);
    refused(text, MOEQ_DAMAGED, "\"q_lora_rank\"");
}

/* --- the same thing written in other ways --- */

static void test_synonyms(void)
{
    static const char yarn[] = "'factor':4,'beta_fast':32,'beta_slow':1,'mscale':1.0,'mscale_all_dim':1.0,"
                               "'original_max_position_embeddings':256";
    char text[512];
    struct moeq_config base = accepted("{}"), c;
    snprintf(text, sizeof text, "{'rope_scaling':{'rope_type':'yarn',%s}}", yarn);
    c = accepted(text);
    CU_ASSERT(memcmp(&c, &base, sizeof c) == 0);
    snprintf(text, sizeof text,
             "{'rope_scaling':'(none)','rope_theta':'(none)','rope_parameters':{'rope_type':'yarn','rope_"
             "theta':10000.0,%s}}",
             yarn);
    c = accepted(text);
    CU_ASSERT(memcmp(&c, &base, sizeof c) == 0);
    c = accepted(
        "{'hidden_size':128.0,'num_hidden_layers':4.0,'n_group':4.0,'rope_theta':10000,'bos_token_id':0.0}");
    CU_ASSERT(memcmp(&c, &base, sizeof c) == 0);
    c = accepted("{'eos_token_id':[1,2,3],'unknown_key':{'a':[null]},'quantization_config':'(none)'}");
    CU_ASSERT(base.says_fp8 && !c.says_fp8);
    c.says_fp8 = true;
    CU_ASSERT(memcmp(&c, &base, sizeof c) == 0);
    c = accepted("{'model_type':'kimi_k2'}"); /* K2 keeps V3's architecture */
    CU_ASSERT_STRING_EQUAL(c.model_type, "kimi_k2");
    c = accepted("{'quantization_config':{'quant_method':'fp8','weight_block_size':[128.0,128.0]}}");
    CU_ASSERT(memcmp(&c, &base, sizeof c) == 0);
}

static void test_rope_without_scaling(void)
{
    static const char *const texts[] = {
        "{'rope_scaling':null}",
        "{'rope_scaling':'(none)'}",
        "{'rope_scaling':{'type':'default'}}",
        "{'rope_scaling':{'rope_type':'default'}}",
        "{'rope_scaling':'(none)','rope_parameters':{'rope_theta':10000,'rope_type':'default'}}",
        "{'rope_scaling':'(none)','rope_parameters':null}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct moeq_config c = accepted(texts[i]);
        CU_ASSERT(!c.yarn && c.rope_theta == 10000);
    }
    CU_ASSERT_EQUAL(accepted("{'rope_theta':50000}").rope_theta, 50000);
    CU_ASSERT_EQUAL(accepted("{'rope_theta':1,'rope_parameters':{'rope_theta':1e6}}").rope_theta, 1e6);
}

static void test_no_compression_of_q(void)
{
    CU_ASSERT_EQUAL(accepted("{'q_lora_rank':null}").q_rank, 0);
    CU_ASSERT_EQUAL(accepted("{'q_lora_rank':0}").q_rank, 0);
    CU_ASSERT_EQUAL(accepted("{'q_lora_rank':0.0}").q_rank, 0);
    CU_ASSERT_EQUAL(accepted("{'q_lora_rank':'(none)'}").q_rank, 0);
}

static void test_defaults(void)
{
    struct moeq_config c = accepted("{'num_nextn_predict_layers':'(none)','first_k_dense_replace':'(none)','"
                                    "moe_layer_freq':'(none)','n_group':'(none)',"
                                    "'topk_group':'(none)','n_shared_experts':null,'bos_token_id':null,'"
                                    "scoring_func':'(none)','topk_method':'(none)',"
                                    "'rms_norm_eps':'(none)','norm_topk_prob':'(none)','routed_scaling_"
                                    "factor':'(none)','hidden_act':'(none)'}");
    CU_ASSERT(c.n_mtp_layers == 0 && c.first_dense == 0 && c.layer_freq == 1 && c.n_groups == 1 &&
              c.top_groups == 1);
    CU_ASSERT(c.n_shared == 0 && c.bos == -1 && c.norm_eps == 1e-6 && !c.norm_topk && c.routed_scale == 1);
    CU_ASSERT(c.scoring == MOEQ_SCORING_SIGMOID && c.correction_bias && c.group_score == MOEQ_GROUP_NONE);
    CU_ASSERT_EQUAL(accepted("{'architectures':'(none)'}").n_layers, 4); /* the model type alone */
    CU_ASSERT_EQUAL(accepted("{'architectures':[]}").scoring, MOEQ_SCORING_SIGMOID);
}

static void test_which_layers_have_experts(void)
{
    struct moeq_config c = accepted("{'num_hidden_layers':8,'first_k_dense_replace':3,'moe_layer_freq':2}");
    static const bool moe[] = {false, false, false, false, true, false, true, false, true, true};
    for (uint32_t i = 0; i < sizeof moe / sizeof *moe; i++)
        CU_ASSERT_EQUAL(moeq_config_layer_is_moe(&c, i), moe[i]);
}

/* --- bounds --- */

static void test_bounds_of_every_number(void)
{
    static const struct {
        const char *key;
        uint64_t min, max;
        bool required;
    } keys[] = {
        {"num_hidden_layers", 1, 4096, true},
        {"num_nextn_predict_layers", 0, 64, false},
        {"hidden_size", 1, 1 << 20, true},
        {"vocab_size", 1, 1 << 24, true},
        {"max_position_embeddings", 1, 1 << 30, false},
        {"num_attention_heads", 1, 4096, true},
        {"q_lora_rank", 0, 1 << 20, false},
        {"kv_lora_rank", 1, 1 << 20, true},
        {"qk_nope_head_dim", 1, 1 << 20, true},
        {"qk_rope_head_dim", 2, 1 << 20, true},
        {"v_head_dim", 1, 1 << 20, true},
        {"intermediate_size", 1, 1 << 20, true},
        {"first_k_dense_replace", 0, 4096, false},
        {"moe_layer_freq", 1, 4096, false},
        {"n_routed_experts", 1, 65536, true},
        {"n_shared_experts", 0, 1024, false},
        {"num_experts_per_tok", 1, 256, true},
        {"moe_intermediate_size", 1, 1 << 20, true},
        {"n_group", 1, 65536, false},
        {"topk_group", 1, 65536, false},
        {"index_n_heads", 0, 4096, false},
        {"index_head_dim", 0, 1 << 20, false},
        {"index_topk", 0, 1 << 30, false},
    };
    static const char *const wrong[] = {"-1", "1.5", "'4'", "true", "[4]", "{}", "4294967300", "1e30"};
    char text[256], key[64];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "\"%s\"", keys[i].key);
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            snprintf(text, sizeof text, "{'%s':%s}", keys[i].key, wrong[w]);
            refused(text, MOEQ_DAMAGED, key);
        }
        snprintf(text, sizeof text, "{'%s':%llu}", keys[i].key, (unsigned long long)keys[i].max + 1);
        refused(text, MOEQ_DAMAGED, key);
        if (keys[i].min) {
            snprintf(text, sizeof text, "{'%s':%llu}", keys[i].key, (unsigned long long)keys[i].min - 1);
            refused(text, MOEQ_DAMAGED, key);
        }
        if (keys[i].required) {
            snprintf(text, sizeof text, "{'%s':'(none)'}", keys[i].key);
            refused(text, MOEQ_DAMAGED, key);
            snprintf(text, sizeof text, "{'%s':null}", keys[i].key);
            refused(text, MOEQ_DAMAGED, key);
        }
    }
}

static void test_other_values_name_their_key(void)
{
    static const char *const cases[][2] = {
        {"{'rms_norm_eps':-1e-6}", "\"rms_norm_eps\""},
        {"{'rms_norm_eps':'1e-6'}", "\"rms_norm_eps\""},
        {"{'bos_token_id':-1}", "\"bos_token_id\""},
        {"{'bos_token_id':'0'}", "\"bos_token_id\""},
        {"{'rope_theta':1}", "\"rope_theta\""},
        {"{'rope_theta':0}", "\"rope_theta\""},
        {"{'rope_theta':-10000}", "\"rope_theta\""},
        {"{'rope_theta':'10000'}", "\"rope_theta\""},
        {"{'rope_scaling':'yarn'}", "\"rope_scaling\""},
        {"{'rope_scaling':[]}", "\"rope_scaling\""},
        {"{'rope_scaling':{'type':1}}", "\"type\""},
        {"{'rope_scaling':{'type':'yarn','factor':'4'}}", "\"factor\""},
        {"{'rope_scaling':{'type':'yarn','factor':0}}", "factor"},
        {"{'rope_scaling':{'type':'yarn','factor':-4}}", "factor"},
        {"{'rope_scaling':{'type':'yarn','factor':4,'beta_fast':0}}", "beta"},
        {"{'rope_scaling':{'type':'yarn','factor':4,'beta_slow':-1}}", "beta"},
        {"{'rope_scaling':{'type':'yarn','factor':4,'original_max_position_embeddings':0}}", "original"},
        {"{'norm_topk_prob':1}", "\"norm_topk_prob\""},
        {"{'routed_scaling_factor':'2.5'}", "\"routed_scaling_factor\""},
        {"{'scoring_func':1}", "\"scoring_func\""},
        {"{'topk_method':1}", "\"topk_method\""},
        {"{'hidden_act':1}", "\"hidden_act\""},
        {"{'attention_bias':'no'}", "\"attention_bias\""},
        {"{'model_type':1}", "\"model_type\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], MOEQ_DAMAGED, cases[i][1]);
}

static void test_values_that_contradict_each_other(void)
{
    static const char *const cases[][2] = {
        {"{'qk_rope_head_dim':17}", "\"qk_rope_head_dim\""},
        {"{'num_experts_per_tok':17}", "\"num_experts_per_tok\""},
        {"{'num_experts_per_tok':17,'n_group':1,'topk_group':1}", "\"num_experts_per_tok\""},
        {"{'n_group':5}", "\"n_group\""},
        {"{'n_group':32}", "\"n_group\""},
        {"{'topk_group':5}", "\"topk_group\""},
        {"{'n_group':16}", "groups of one expert"},
        {"{'topk_group':1,'num_experts_per_tok':5}", "\"num_experts_per_tok\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], MOEQ_DAMAGED, cases[i][1]);
    accepted("{'topk_group':1,'num_experts_per_tok':4}");
    accepted("{'num_experts_per_tok':16,'topk_group':4}");
}

/* --- well formed, but nothing that the runtime computes: never guessed --- */

static void test_unsupported(void)
{
    static const char *const cases[][2] = {
        {"{'architectures':['DeepseekV5ForCausalLM'],'model_type':'deepseek_v5'}", "DeepseekV5ForCausalLM"},
        {"{'architectures':['LlamaForCausalLM']}", "LlamaForCausalLM"}, /* whatever the model type says */
        {"{'architectures':'(none)','model_type':'glm4_moe'}", "glm4_moe"},
        {"{'architectures':'(none)','model_type':'(none)'}", "not supported"},
        {"{'architectures':['deepseekv3forcausallm']}", "deepseekv3forcausallm"},
        {"{'scoring_func':'sqrtsoftplus'}", "sqrtsoftplus"},
        {"{'topk_method':'group_limited'}", "group_limited"},
        {"{'hidden_act':'gelu'}", "gelu"},
        {"{'attention_bias':true}", "biases"},
        {"{'rope_interleave':false}", "rope_interleave"},
        {"{'rope_scaling':{'type':'linear','factor':4}}", "linear"},
        {"{'rope_scaling':{'rope_type':'longrope','type':'yarn'}}", "longrope"},
        {"{'quantization_config':{'quant_method':'fp8','weight_block_size':[64,128]}}", "128x128"},
        {"{'quantization_config':{'quant_method':'fp8','weight_block_size':[128]}}", "128x128"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], MOEQ_UNSUPPORTED, cases[i][1]);
}

static void test_packed_int4(void)
{
    /* Kimi-K2-Thinking: V3's architecture with INT4 experts packed into words. */
    struct moeq_config c =
        accepted("{'quantization_config':{'quant_method':'compressed-tensors','format':'pack-quantized',"
                 "'config_groups':{'group_0':{'targets':['Linear'],'weights':{'num_bits':4,'type':'int',"
                 "'symmetric':true,'strategy':'group','group_size':32,'actorder':null}}}}}");
    CU_ASSERT(c.int4_group == 32 && !c.says_fp8);
    static const char *const weights[] = {
        "'num_bits':8,'group_size':32", "'num_bits':4,'group_size':48", "'num_bits':4,'strategy':'channel'",
        "'num_bits':4,'group_size':32,'symmetric':false", "'num_bits':4,'group_size':32,'type':'float'"};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{'quantization_config':{'quant_method':'compressed-tensors','format':'pack-quantized',"
                 "'config_groups':{'group_0':{'weights':{%s}}}}}",
                 weights[i]);
        refused(text, MOEQ_UNSUPPORTED, "symmetric INT4");
    }
}

static void test_other_quantizations_are_refused(void)
{
    refused("{'quantization_config':{'quant_method':'compressed-tensors','format':'float-quantized'}}",
            MOEQ_UNSUPPORTED, "float-quantized");
    refused("{'quantization_config':{'quant_method':'gptq','bits':4}}", MOEQ_UNSUPPORTED, "gptq");
}

/* Kimi-K2.5 nests the language model; what lies around it does not count, but for the quantization. */
static void test_nested(void)
{
    struct moeq_config c;
    json_t *outer =
        quoted_json("{'architectures':['KimiK25ForConditionalGeneration'],'model_type':'kimi_k25',"
                    "'hidden_size':7,'vision_config':{'hidden_size':9},'quantization_config':{"
                    "'quant_method':'fp8','weight_block_size':[128,128]}}");
    json_object_set(outer, "text_config", nano);
    CU_ASSERT_EQUAL(parse_json(outer, &c, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(c.hidden, json_integer_value(json_object_get(nano, "hidden_size")));
    CU_ASSERT(c.says_fp8 && strcmp(c.model_type, "kimi_k25") == 0);
    json_object_del(outer, "text_config");
    CU_ASSERT_EQUAL(parse_json(outer, &c, NULL), MOEQ_DAMAGED);
    json_decref(outer);
}

#define GLM "'architectures':['GlmMoeDsaForCausalLM'],'model_type':'glm_moe_dsa','q_lora_rank':16,"

static void test_shared_indexers(void)
{
    struct moeq_config c = accepted("{" GLM "'index_n_heads':2,'index_head_dim':32,'index_topk':64}");
    CU_ASSERT(c.index_interleaved && !c.mtp_copies);
    for (uint32_t layer = 0; layer < c.n_layers + 1; layer++)
        CU_ASSERT(moeq_config_layer_has_indexer(&c, layer));
    /* GLM-5.2: layers 0, 1, 2, 6, 10, … have one. */
    c = accepted("{" GLM "'index_n_heads':2,'index_head_dim':32,'index_topk':64,'num_hidden_layers':78,"
                 "'index_topk_freq':4,'index_skip_topk_offset':3}");
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < c.n_layers; layer++) {
        CU_ASSERT_EQUAL(moeq_config_layer_has_indexer(&c, layer), layer < 3 || layer % 4 == 2);
        n += moeq_config_layer_has_indexer(&c, layer);
    }
    CU_ASSERT_EQUAL(n, 21);
    c = accepted("{" GLM "'index_n_heads':2,'index_head_dim':32,'index_topk':64,'num_hidden_layers':4,"
                 "'indexer_rope_interleave':false,'indexer_types':['full','shared','full','shared']}");
    CU_ASSERT(!c.index_interleaved && moeq_config_layer_has_indexer(&c, 2));
    CU_ASSERT(!moeq_config_layer_has_indexer(&c, 1) && !moeq_config_layer_has_indexer(&c, 3));
    c = accepted("{" GLM "'index_n_heads':2,'index_head_dim':32,'index_topk':64,'num_hidden_layers':4,"
                 "'index_topk_pattern':'FFSS'}");
    CU_ASSERT(moeq_config_layer_has_indexer(&c, 1) && !moeq_config_layer_has_indexer(&c, 2));
    refused("{" GLM "'index_n_heads':2,'index_head_dim':32,'index_topk':64,'index_topk_pattern':'SFFF'}",
            MOEQ_DAMAGED, "layer 0");
    refused("{" GLM "'index_n_heads':2,'index_head_dim':4,'index_topk':64}", MOEQ_DAMAGED, "index_head_dim");
}

static void test_layer_types(void)
{
    struct moeq_config c = accepted("{'num_hidden_layers':3,'first_k_dense_replace':'(none)',"
                                    "'mlp_layer_types':['dense','dense','sparse']}");
    CU_ASSERT_EQUAL(c.first_dense, 2);
    refused("{'num_hidden_layers':3,'first_k_dense_replace':1,'mlp_layer_types':['dense','dense','sparse']}",
            MOEQ_DAMAGED, "mlp_layer_types");
    refused("{'num_hidden_layers':3,'mlp_layer_types':['sparse','dense','sparse']}", MOEQ_UNSUPPORTED,
            "dense layers");
    refused("{'num_hidden_layers':3,'mlp_layer_types':['dense']}", MOEQ_DAMAGED, "mlp_layer_types");
    c = accepted("{'n_routed_experts':'(none)','num_experts':16}");
    CU_ASSERT_EQUAL(c.n_experts, 16);
}

#define V4                                                                                                   \
    "'architectures':['DeepseekV4ForCausalLM'],'model_type':'deepseek_v4','num_hidden_layers':3,"            \
    "'num_nextn_predict_layers':1,'q_lora_rank':64,'head_dim':32,'o_groups':2,'o_lora_rank':8,'hc_mult':4,"  \
    "'num_hash_layers':1,'scoring_func':'sqrtsoftplus',"

/* Known, described and checked; the runtime says that it cannot compute it. */
static void test_v4(void)
{
    struct moeq_config c = accepted("{" V4 "'compress_ratios':[0,4,128,0]}");
    CU_ASSERT(!moeq_config_is_computed(&c) && c.n_streams == 4 && c.compress_ratio[2] == 128);
    refused("{" V4 "'compress_ratios':[0,4]}", MOEQ_DAMAGED, "compress_ratios");
    refused("{" V4 "'compress_ratios':[0,4,-1,0]}", MOEQ_DAMAGED, "compress_ratios");
    refused("{" V4 "'compress_ratios':4}", MOEQ_DAMAGED, "compress_ratios");
    refused("{" V4 "'compress_ratios':[0,4,128,0],'moe_intermediate_size':'(none)'}", MOEQ_DAMAGED,
            "moe_intermediate_size");
}

/* --- files --- */

static void test_text_that_is_no_config(void)
{
    static const char *const texts[] = {"",    "[]", "null", "{", "{}x", "{'hidden_size':1,'hidden_size':2}",
                                        "\xff"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct moeq_config config;
        char quoted[FIXTURE_TEXT];
        fixture_quote(quoted, texts[i]);
        CU_ASSERT_EQUAL(moeq_config_parse(&config, quoted, strlen(quoted), NULL), MOEQ_DAMAGED);
    }
}

static void test_loading_names_the_file(void)
{
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    struct moeq_config config;
    struct moeq_error err = {0};
    fixture_make(dir);
    fixture_path(path, dir, "config.json");
    CU_ASSERT_EQUAL(moeq_config_load(&config, dir, &err), MOEQ_DAMAGED); /* missing */
    CU_ASSERT_STRING_EQUAL(err.file, path);
    err = (struct moeq_error){0};
    fixture_write_json(dir, "config.json", "{'architectures':['DeepseekV3ForCausalLM']}");
    CU_ASSERT_EQUAL(moeq_config_load(&config, dir, &err), MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(err.file, path);
    fixture_write_json(dir, "config.json", v2_lite);
    CU_ASSERT_EQUAL(moeq_config_load(&config, dir, NULL), MOEQ_OK);
    fixture_remove(dir);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"V3", test_v3},
        {"V2-Lite", test_v2_lite},
        {"V2", test_v2},
        {"V3.2", test_v3_2},
        {"synonyms", test_synonyms},
        {"RoPE without scaling", test_rope_without_scaling},
        {"no compression of q", test_no_compression_of_q},
        {"defaults", test_defaults},
        {"which layers have experts", test_which_layers_have_experts},
        {"bounds of every number", test_bounds_of_every_number},
        {"other values name their key", test_other_values_name_their_key},
        {"values that contradict each other", test_values_that_contradict_each_other},
        {"unsupported", test_unsupported},
        {"packed INT4", test_packed_int4},
        {"other quantizations are refused", test_other_quantizations_are_refused},
        {"a model inside another", test_nested},
        {"shared indexers", test_shared_indexers},
        {"kinds of layers", test_layer_types},
        {"DeepSeek-V4", test_v4},
        {"text that is no config", test_text_that_is_no_config},
        {"loading names the file", test_loading_names_the_file},
        {NULL, NULL},
    };
    const char *models = getenv("MOEQ_MODELS");
    char path[FIXTURE_PATH];
    nano = models ? moeq_json_load(fixture_path(path, models, "nano-v3/config.json"), 1 << 20, NULL) : NULL;
    if (!nano) {
        printf("skipped: no nano-v3/config.json in MOEQ_MODELS (%s)\n", models ? models : "not set");
        return UNIT_SKIPPED;
    }
    int result = unit_main("config", tests);
    json_decref(nano);
    return result;
}
