/* One view of weights from a checkpoint or a package: the same bytes of the same weight from either, and
 * nothing that does not fit. */
#include "unit.h"

#include "../fuzz/package_fixture.h"
#include "source.h"

#define W1   "model.layers.0.self_attn.o_proj.weight"
#define W2   "model.layers.0.input_layernorm.weight"
#define ONE  "m-1.safetensors"
#define TWO  "m-2.safetensors"
#define PATH "model.safetensors.index.json"

static char folder[FIXTURE_PATH];

/* An FP8 weight [131, 3] in the first shard; its scale [2, 1] lies in the second, beside a norm. */
static void begin(void)
{
    fixture_make(folder);
    fixture_write_json(folder, "config.json", FIXTURE_CONFIG);
    fixture_write_safetensors(folder, ONE,
                              "{'" W1 "':{'dtype':'F8_E4M3','shape':[131,3],'data_offsets':[0,393]}}", 393);
    fixture_write_safetensors(folder, TWO,
                              "{'" W1 "_scale_inv':{'dtype':'F32','shape':[2,1],'data_offsets':[0,8]},"
                              "'" W2 "':{'dtype':'BF16','shape':[3],'data_offsets':[8,14]}}",
                              14);
    fixture_write_json(folder, PATH,
                       "{'weight_map':{'" W1 "':'" ONE "','" W1 "_scale_inv':'" TWO "','" W2 "':'" TWO "'}}");
}

static void end(void)
{
    fixture_remove(folder);
}

static void refused(enum moeq_status expected, const char *says)
{
    struct moeq_source source;
    struct moeq_error err = {0};
    char line[2048];
    enum moeq_status status = moeq_source_open(&source, folder, &err);
    moeq_error_format(&err, line, sizeof line);
    if (status != expected || err.status != expected || !strstr(line, says)) {
        printf("\n  expected \"%s\": status %d, error's %d: %s", says, status, err.status, line);
        CU_FAIL("not refused as it should be");
    }
    if (status == MOEQ_OK)
        moeq_source_close(&source);
    status = moeq_source_open(&source, folder, NULL);
    CU_ASSERT_EQUAL(status, expected);
    if (status == MOEQ_OK)
        moeq_source_close(&source);
}

/* --- checkpoints --- */

static void test_scale_in_another_shard(void)
{
    struct moeq_source s;
    struct moeq_bytes buffer = {0};
    struct moeq_matrix matrices[2];
    begin();
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(s.n_weights, 2); /* the scale is none of its own */
    CU_ASSERT_PTR_NULL(moeq_source_find(&s, W1 "_scale_inv"));
    const struct moeq_weight *weights[] = {moeq_source_find(&s, W1), moeq_source_find(&s, W2)};
    CU_ASSERT(weights[0] && weights[1]);
    CU_ASSERT(weights[0]->format.level == &moeq_level_fp8 && weights[1]->format.level == &moeq_level_bf16);
    CU_ASSERT(weights[0]->rows == 131 && weights[0]->cols == 3 && weights[0]->n_bytes == 404);
    CU_ASSERT(weights[1]->rows == 1 && weights[1]->cols == 3 && weights[1]->n_bytes == 6);
    CU_ASSERT_EQUAL(moeq_source_load_bytes(&s, weights, 2), 448 + 64);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&buffer, 4096, NULL), MOEQ_OK);
    memset(buffer.data, 0xFF, 4096); /* what the last layer left there */
    CU_ASSERT_EQUAL_FATAL(moeq_source_load(&s, weights, 2, &buffer, matrices, NULL), MOEQ_OK);
    size_t n_wrong = 0;
    for (size_t i = 0; i < 393; i++)
        n_wrong += matrices[0].data[i] != (uint8_t)(i + 1);
    for (size_t i = 0; i < 8; i++)
        n_wrong += matrices[0].data[396 + i] != i + 1;
    for (size_t i = 393; i < 396; i++)
        n_wrong += matrices[0].data[i] != 0;
    for (size_t i = 404; i < 448; i++)
        n_wrong += matrices[0].data[i] != 0; /* the padding is part of what is hashed */
    for (size_t i = 0; i < 64; i++)
        n_wrong += matrices[1].data[i] != (i < 6 ? i + 9 : 0);
    CU_ASSERT_EQUAL(n_wrong, 0);
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end();
}

/* Codes without their scales are off by factors of thousands. */
static void test_scales_that_do_not_fit(void)
{
    static const struct {
        const char *scale;
        size_t n_data;
        enum moeq_status status;
        const char *says;
    } cases[] = {
        {"'x':{'dtype':'F32','shape':[2,1],'data_offsets':[0,8]}", 8, MOEQ_DAMAGED, "without its _scale_inv"},
        {"'" W1 "_scale_inv':{'dtype':'F32','shape':[1,1],'data_offsets':[0,4]}", 4, MOEQ_DAMAGED,
         "needs 2 x 1"},
        {"'" W1 "_scale_inv':{'dtype':'F32','shape':[1,2],'data_offsets':[0,8]}", 8, MOEQ_DAMAGED,
         "needs 2 x 1"},
        {"'" W1 "_scale_inv':{'dtype':'F32','shape':[3,1],'data_offsets':[0,12]}", 12, MOEQ_DAMAGED,
         "needs 2 x 1"},
        {"'" W1 "_scale_inv':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}", 8, MOEQ_UNSUPPORTED,
         "matrices"},
        {"'" W1 "_scale_inv':{'dtype':'BF16','shape':[2,1],'data_offsets':[0,4]}", 4, MOEQ_UNSUPPORTED,
         "BF16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[512], path[FIXTURE_PATH];
        begin();
        unlink(fixture_path(path, folder, PATH));
        unlink(fixture_path(path, folder, TWO));
        snprintf(header, sizeof header,
                 "{'" W1 "':{'dtype':'F8_E4M3','shape':[130,2],'data_offsets':[%zu,%zu]},%s}",
                 cases[i].n_data, cases[i].n_data + 260, cases[i].scale);
        fixture_write_safetensors(folder, ONE, header, cases[i].n_data + 260);
        refused(cases[i].status, cases[i].says);
        refused(cases[i].status, "tensor " W1);
        end();
    }
}

/* --- packed INT4 and fused experts --- */

#define Q "model.layers.0.self_attn.o_proj.weight"

/* One file with these tensors instead of begin()'s. */
static void begin_with(const char *header, size_t n_data)
{
    char path[FIXTURE_PATH];
    begin();
    unlink(fixture_path(path, folder, PATH));
    unlink(fixture_path(path, folder, TWO));
    fixture_write_safetensors(folder, ONE, header, n_data);
}

/* Codes as in the file, then the scales: what level int4 packs. The numbers of the fixture count up from 1.
 */
static void test_packed_int4(void)
{
    struct moeq_source s;
    struct moeq_bytes buffer = {0};
    struct moeq_matrix m;
    float row[40];
    begin_with("{'" Q "_packed':{'dtype':'I32','shape':[2,5],'data_offsets':[0,40]},"
               "'" Q "_scale':{'dtype':'BF16','shape':[2,2],'data_offsets':[40,48]}}",
               48);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(s.n_weights, 1);
    const struct moeq_weight *w = moeq_source_part(&s, MOEQ_PART_O, 0, -1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    CU_ASSERT(w == moeq_source_find(&s, Q) && w->format.level == &moeq_level_int4 && w->format.group == 32);
    CU_ASSERT(w->rows == 2 && w->cols == 40 && w->n_bytes == 48 && !w->format.asymmetric);
    CU_ASSERT_EQUAL_FATAL(moeq_source_load(&s, &w, 1, &buffer, &m, NULL), MOEQ_OK);
    moeq_decode(&m, 1, 0, 40, row);
    /* Row 1: bytes 21 … 40; its scales are bytes 45, 46 and 47, 48. The low half of a byte comes first. */
    size_t n_wrong = 0;
    for (int i = 0; i < 40; i++) {
        int byte = 21 + i / 2, code = (i % 2 ? byte >> 4 : byte & 15) - 8;
        uint32_t bits = i < 32 ? 46u << 24 | 45u << 16 : 48u << 24 | 47u << 16;
        float scale;
        memcpy(&scale, &bits, sizeof scale);
        n_wrong += row[i] != (float)code * scale;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end();
}

static void test_packed_int4_that_does_not_fit(void)
{
    static const struct {
        const char *beside;
        enum moeq_status status;
        const char *says;
    } cases[] = {
        {"'x':{'dtype':'U8','shape':[8],'data_offsets':[40,48]}", MOEQ_DAMAGED, "without its"},
        {"'" Q "_scale':{'dtype':'BF16','shape':[2,3],'data_offsets':[40,52]}", MOEQ_DAMAGED, "needs 2 x 2"},
        {"'" Q "_scale':{'dtype':'BF16','shape':[1,2],'data_offsets':[40,44]}", MOEQ_DAMAGED, "needs 2 x 2"},
        {"'" Q "_scale':{'dtype':'F32','shape':[2,2],'data_offsets':[40,56]}", MOEQ_UNSUPPORTED, "symmetric"},
        {"'" Q "_scale':{'dtype':'BF16','shape':[2,2],'data_offsets':[40,48]},'" Q
         "_zero_point':{'dtype':'I32','shape':[1,2],'data_offsets':[48,56]}",
         MOEQ_UNSUPPORTED, "symmetric"},
        {"'" Q "_scale':{'dtype':'BF16','shape':[2,2],'data_offsets':[40,48]},'" Q
         "_shape':{'dtype':'I32','shape':[3],'data_offsets':[48,60]}",
         MOEQ_DAMAGED, "two whole numbers"},
        {"'" Q "_scale':{'dtype':'BF16','shape':[2,2],'data_offsets':[40,48]},'" Q
         "':{'dtype':'BF16','shape':[1,1],'data_offsets':[48,50]}",
         MOEQ_DAMAGED, "twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[1024];
        size_t n_data = 0;
        snprintf(header, sizeof header,
                 "{'" Q "_packed':{'dtype':'I32','shape':[2,5],'data_offsets':[0,40]},%s}", cases[i].beside);
        const char *last = strrchr(cases[i].beside, ',');
        n_data = (size_t)atoi(last + 1);
        begin_with(header, n_data);
        refused(cases[i].status, cases[i].says);
        end();
    }
}

#define FUSED "model.layers.0.mlp.experts."

/* FIXTURE_CONFIG: 2 experts of width 8, hidden 8. */
static void test_fused_experts(void)
{
    struct moeq_source s;
    struct moeq_bytes buffer = {0};
    struct moeq_matrix m[3];
    begin_with("{'" FUSED "gate_up_proj':{'dtype':'BF16','shape':[2,16,8],'data_offsets':[0,512]},"
               "'" FUSED "down_proj':{'dtype':'BF16','shape':[2,8,8],'data_offsets':[512,768]}}",
               768);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(s.n_weights, 6);
    const struct moeq_weight *w[3];
    for (int i = 0; i < 3; i++)
        w[i] = moeq_source_part(&s, (enum moeq_part)((int)MOEQ_PART_EXPERT_GATE + i), 0, 1);
    CU_ASSERT_FATAL(w[0] && w[1] && w[2]);
    CU_ASSERT_STRING_EQUAL(w[1]->name, FUSED "1.up_proj.weight");
    CU_ASSERT_EQUAL_FATAL(moeq_source_load(&s, w, 3, &buffer, m, NULL), MOEQ_OK);
    const size_t begins[] = {256, 384, 640};
    size_t n_wrong = 0;
    for (size_t i = 0; i < 3; i++)
        for (size_t b = 0; b < 128; b++)
            n_wrong += m[i].data[b] != (uint8_t)(begins[i] + b + 1);
    CU_ASSERT_EQUAL(n_wrong, 0);
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end();
    begin_with("{'" FUSED "gate_up_proj':{'dtype':'BF16','shape':[3,16,8],'data_offsets':[0,768]}}", 768);
    refused(MOEQ_DAMAGED, "2 x 16 x 8");
    end();
    begin_with("{'" FUSED "down_proj':{'dtype':'U8','shape':[2,8,8],'data_offsets':[0,128]}}", 128);
    refused(MOEQ_UNSUPPORTED, "U8");
    end();
    begin_with("{'" FUSED "down_proj':{'dtype':'BF16','shape':[2,8,8],'data_offsets':[0,256]},"
               "'" FUSED "1.down_proj.weight':{'dtype':'BF16','shape':[8,8],'data_offsets':[256,384]}}",
               384);
    refused(MOEQ_DAMAGED, "twice");
    end();
}

/* A tensor of a kind that has no level is carried as it is, whatever its rank. */
static void test_other_tensors_are_raw(void)
{
    static const char header[] = "{'a':{'dtype':'I32','shape':[2,2,2],'data_offsets':[0,32]},"
                                 "'b':{'dtype':'F16','shape':[],'data_offsets':[32,34]},"
                                 "'c':{'dtype':'BF16','shape':[0,4],'data_offsets':[34,34]},"
                                 "'d':{'dtype':'F4','shape':[3,2],'data_offsets':[34,37]},"
                                 "'e_scale_inv':{'dtype':'F32','shape':[1],'data_offsets':[37,41]}}";
    static const struct {
        const char *name;
        uint64_t rows, cols, n_bytes;
        const struct moeq_level *level;
    } expected[] = {
        {"a", 4, 2, 32, &moeq_level_raw},          {"b", 1, 1, 2, &moeq_level_f16},
        {"c", 0, 4, 0, &moeq_level_bf16},          {"d", 3, 2, 3, &moeq_level_raw},
        {"e_scale_inv", 1, 1, 4, &moeq_level_f32},
    };
    struct moeq_source s;
    struct moeq_bytes buffer = {0};
    fixture_make(folder);
    fixture_write_json(folder, "config.json", FIXTURE_CONFIG);
    fixture_write_safetensors(folder, "model.safetensors", header, 41);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(s.n_weights, 5);
    for (size_t i = 0; i < 5; i++) {
        const struct moeq_weight *w = moeq_source_find(&s, expected[i].name);
        struct moeq_matrix matrix;
        CU_ASSERT_PTR_NOT_NULL_FATAL(w);
        CU_ASSERT(w->rows == expected[i].rows && w->cols == expected[i].cols &&
                  w->n_bytes == expected[i].n_bytes);
        CU_ASSERT_PTR_EQUAL(w->format.level, expected[i].level);
        CU_ASSERT_EQUAL(moeq_source_load(&s, &w, 1, &buffer, &matrix, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(matrix.n_bytes, w->n_bytes);
    }
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end();
}

static void test_unknown_models_and_folders(void)
{
    char path[FIXTURE_PATH];
    begin();
    /* a bad answer would be about the shards that such a model has */
    fixture_write(folder, ONE, "", 0);
    fixture_write_json(folder, "config.json", "{'architectures':['LlamaForCausalLM'],'model_type':'llama'}");
    refused(MOEQ_UNSUPPORTED, "LlamaForCausalLM");
    unlink(fixture_path(path, folder, "config.json"));
    refused(MOEQ_DAMAGED, "config.json");
    end();
    refused(MOEQ_IO, "no such folder");
    strcat(folder, ".txt");
    FILE *file = fopen(folder, "w");
    fixture_need(file && fclose(file) == 0, folder);
    refused(MOEQ_IO, "neither a folder");
    unlink(folder);
}

/* --- packages --- */

static json_t *begin_package(void)
{
    fixture_make(folder);
    return fixture_package(folder);
}

static void end_package(json_t *manifest)
{
    json_decref(manifest);
    fixture_remove(folder);
}

static json_t *expert_tensor(json_t *manifest, size_t i)
{
    json_t *file = json_array_get(json_object_get(manifest, "files"), 1);
    json_t *segment = json_array_get(json_object_get(file, "segments"), 0);
    return json_array_get(json_object_get(segment, "tensors"), i);
}

static void test_weights_of_a_package(void)
{
    struct moeq_source s;
    struct moeq_bytes buffer = {0};
    struct moeq_matrix matrices[FIXTURE_N_LAYER];
    const struct moeq_weight *weights[FIXTURE_N_LAYER];
    json_t *manifest = begin_package();
    fixture_seal(folder, manifest);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT(s.is_package && s.n_weights == FIXTURE_N_LAYER + FIXTURE_N_EMBED);
    for (size_t i = 0; i < FIXTURE_N_LAYER; i++) {
        weights[i] = moeq_source_find(&s, fixture_layer[i].name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(weights[i]);
    }
    CU_ASSERT_EQUAL(moeq_source_load_bytes(&s, weights, FIXTURE_N_LAYER),
                    256 + 64); /* the expert is read once */
    CU_ASSERT_EQUAL_FATAL(moeq_source_load(&s, weights, FIXTURE_N_LAYER, &buffer, matrices, NULL), MOEQ_OK);
    for (size_t i = 0, offset = 0; i < FIXTURE_N_LAYER; offset += fixture_layer[i++].n_bytes) {
        char text[MOEQ_FORMAT_BYTES];
        float row[32];
        CU_ASSERT_STRING_EQUAL(moeq_format_text(matrices[i].format, text), fixture_layer[i].level);
        CU_ASSERT(matrices[i].data[0] == offset * 7 % 64 && matrices[i].cols == fixture_layer[i].cols);
        for (uint64_t r = 0; r < matrices[i].rows; r++)
            moeq_decode(&matrices[i], r, 0, matrices[i].cols, row);
    }
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end_package(manifest);
}

/* Opening checks every hash but the segments'; loading checks those. */
static void test_damaged_packages(void)
{
    struct moeq_source s;
    struct moeq_error err = {0};
    struct moeq_bytes buffer = {0};
    struct moeq_matrix matrix;
    json_t *manifest = begin_package();
    fixture_seal(folder, manifest);
    fixture_flip(folder, FIXTURE_LAYER, 200); /* in the header: a name */
    refused(MOEQ_DAMAGED, FIXTURE_LAYER);
    fixture_flip(folder, FIXTURE_LAYER, 200);
    fixture_flip(folder, "config.json", 20);
    refused(MOEQ_DAMAGED, "config.json");
    fixture_flip(folder, "config.json", 20);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&s, folder, NULL), MOEQ_OK);
    const struct moeq_weight *w = moeq_source_find(&s, fixture_layer[2].name);
    fixture_flip(folder, FIXTURE_LAYER,
                 (long)s.package.files[1].st.data_offset); /* another matrix of the expert */
    CU_ASSERT_EQUAL(moeq_source_load(&s, &w, 1, &buffer, &matrix, &err), MOEQ_DAMAGED);
    CU_ASSERT(strstr(err.message, FIXTURE_EXPERT) && strstr(err.file, FIXTURE_LAYER));
    moeq_bytes_free(&buffer);
    moeq_source_close(&s);
    end_package(manifest);
}

/* A level or shape that needs more bytes than there are would read beyond the buffer. */
static void test_levels_whose_bytes_do_not_fit(void)
{
    static const struct {
        const char *key, *value; /* of the tensor at bf16 [8, 3], 64 bytes */
        enum moeq_status status;
        const char *says;
    } cases[] = {
        {"level", "'f32'", MOEQ_DAMAGED, "level f32 needs 128 bytes, the file has 64"},
        {"level", "'fp8'", MOEQ_OK, ""}, /* 24 codes and a scale: 64 bytes as well */
        {"level", "'int4-g32-asym'", MOEQ_OK, ""},
        {"shape", "[8,32]", MOEQ_DAMAGED, "needs 512 bytes, the file has 64"},
        {"shape", "[4096,4096]", MOEQ_DAMAGED, "needs"},
        {"shape", "[9223372036854775807,9223372036854775807]", MOEQ_DAMAGED, ""},
        {"shape", "[4611686018427387904,4,3]", MOEQ_DAMAGED, ""},
        {"shape", "[0,3]", MOEQ_DAMAGED, "needs 0 bytes"},
        {"level", "'int3-g64'", MOEQ_OK, ""},
        {"level", "'int2-g32-asym'", MOEQ_OK, ""},
        {"level", "'int7-g64'", MOEQ_UNSUPPORTED, "int7-g64"}, /* of a newer moeq */
        {"level", "'int3-g16'", MOEQ_UNSUPPORTED, "int3-g16"},
        {"level", "'int8-g64-asym'", MOEQ_UNSUPPORTED, "int8-g64-asym"},
        {"level", "''", MOEQ_UNSUPPORTED, "level"},
        {"level", "'int4'", MOEQ_UNSUPPORTED, "int4"}, /* integers need a group */
        {"level", "'int4-g32-g64-with-a-name-longer-than-any-level'", MOEQ_UNSUPPORTED, "level"},
        {"level", "'raw'", MOEQ_DAMAGED, "needs 24 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char quoted[FIXTURE_TEXT];
        json_t *manifest = begin_package();
        fixture_quote(quoted, cases[i].value);
        json_object_set_new(expert_tensor(manifest, 1), cases[i].key,
                            moeq_json_parse(quoted, strlen(quoted), NULL));
        fixture_seal(folder, manifest);
        refused(cases[i].status, cases[i].says);
        end_package(manifest);
    }
}

/* A hostile package may put any tensor anywhere; decoding must not need an alignment that it does not have.
 */
static void test_matrices_at_odd_offsets(void)
{
    static const struct fixture_weight odd[] = {
        {"s", "a", "raw", MOEQ_U8, 0, 1, 1},
        {"s", FIXTURE_EXPERT ".gate_proj.weight", "f32", MOEQ_U8, 2, 8, 64},
        {"s", FIXTURE_EXPERT ".up_proj.weight", "bf16", MOEQ_U8, 8, 3, 64},
        {"s", FIXTURE_EXPERT ".down_proj.weight", "int4-g32", MOEQ_U8, 4, 32, 128},
        {"s", "model.embed_tokens.weight", "fp8", MOEQ_U8, 16, 8, 192},
    };
    enum { N = sizeof odd / sizeof *odd };
    struct moeq_source s;
    struct moeq_error err = {0};
    struct moeq_bytes buffer = {0};
    struct moeq_matrix matrices[N];
    json_t *manifest = begin_package(), *files = json_object_get(manifest, "files");
    json_array_clear(files);
    fixture_layer_file(folder, FIXTURE_LAYER, odd, N, files);
    fixture_seal(folder, manifest);
    enum moeq_status status = moeq_source_open(&s, folder, &err);
    CU_ASSERT(status == MOEQ_OK || status == MOEQ_DAMAGED); /* either answer is safe */
    if (status == MOEQ_OK) {
        const struct moeq_weight *weights[N];
        float row[32];
        for (size_t i = 0; i < N; i++)
            weights[i] = moeq_source_find(&s, odd[i].name);
        CU_ASSERT_EQUAL_FATAL(moeq_source_load(&s, weights, N, &buffer, matrices, NULL), MOEQ_OK);
        for (size_t i = 1; i < N; i++)
            for (uint64_t r = 0; r < matrices[i].rows; r++)
                moeq_decode(&matrices[i], r, 0, matrices[i].cols, row);
        moeq_source_close(&s);
    }
    moeq_bytes_free(&buffer);
    end_package(manifest);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"scale in another shard", test_scale_in_another_shard},
        {"scales that do not fit", test_scales_that_do_not_fit},
        {"packed INT4", test_packed_int4},
        {"packed INT4 that does not fit", test_packed_int4_that_does_not_fit},
        {"experts in one tensor", test_fused_experts},
        {"other tensors are raw", test_other_tensors_are_raw},
        {"unknown models and folders", test_unknown_models_and_folders},
        {"weights of a package", test_weights_of_a_package},
        {"damaged packages", test_damaged_packages},
        {"levels whose bytes do not fit", test_levels_whose_bytes_do_not_fit},
        {"matrices at odd offsets", test_matrices_at_odd_offsets},
        {NULL, NULL},
    };
    return unit_main("source", tests);
}
