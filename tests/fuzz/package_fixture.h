/* A package of two files, written from the description in formats/package.h and not by 'moeq convert': one
 * expert of three matrices at three levels, a matrix of its own, a norm, and a copy of config.json.
 *
 * fixture_package writes the files and gives the manifest without its seal, for tests to change; fixture_seal
 * writes it. */
#ifndef MOEQ_PACKAGE_FIXTURE_H
#define MOEQ_PACKAGE_FIXTURE_H

#include "fixture.h"
#include "package.h"

#define FIXTURE_CONFIG                                                                                       \
    "{'architectures':['DeepseekV3ForCausalLM'],'num_hidden_layers':1,'hidden_size':8,'vocab_size':16,"      \
    "'num_attention_heads':1,'kv_lora_rank':8,'qk_nope_head_dim':8,'qk_rope_head_dim':8,'v_head_dim':8,"     \
    "'intermediate_size':8,'n_routed_experts':2,'num_experts_per_tok':1,'moe_intermediate_size':8}"

struct fixture_weight {
    const char *segment, *name, *level;
    enum moeq_dtype dtype; /* as stored */
    uint64_t rows, cols;   /* 0 rows: a vector */
    uint64_t n_bytes;      /* as stored */
};

#define FIXTURE_EXPERT "model.layers.0.mlp.experts.0"

static const struct fixture_weight fixture_layer[] = {
    {FIXTURE_EXPERT, FIXTURE_EXPERT ".gate_proj.weight", "f32", MOEQ_U8, 2, 8, 64},
    {FIXTURE_EXPERT, FIXTURE_EXPERT ".up_proj.weight", "bf16", MOEQ_U8, 8, 3, 64}, /* 48, padded */
    {FIXTURE_EXPERT, FIXTURE_EXPERT ".down_proj.weight", "int4-g32", MOEQ_U8, 4, 32,
     128}, /* 4*16 + 4*2, padded */
    {"model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.weight", "f32", MOEQ_F32, 0, 5,
     20},
};
static const struct fixture_weight fixture_embed[] = {
    {"model.embed_tokens.weight", "model.embed_tokens.weight", "fp8", MOEQ_U8, 16, 8,
     192}, /* 128 + 4, padded */
};
#define FIXTURE_N_LAYER (sizeof fixture_layer / sizeof *fixture_layer)
#define FIXTURE_N_EMBED (sizeof fixture_embed / sizeof *fixture_embed)
#define FIXTURE_LAYER   "layer-000.safetensors"
#define FIXTURE_EMBED   "embed.safetensors"

static inline json_t *fixture_hash(const void *bytes, size_t n)
{
    char hex[MOEQ_HASH_HEX];
    moeq_hash_hex(moeq_hash_bytes(bytes, n), hex);
    return json_string(hex);
}

static inline json_t *fixture_segment(const struct fixture_weight *w, size_t n, const uint8_t *bytes,
                                      uint64_t n_bytes)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *shape = w[i].rows ? json_pack("[I, I]", (json_int_t)w[i].rows, (json_int_t)w[i].cols)
                                  : json_pack("[I]", (json_int_t)w[i].cols);
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o, s:s}", "name", w[i].name, "level",
                                                 w[i].level, "shape", shape, "reason", "test"));
    }
    return json_pack("{s:s, s:I, s:o, s:o}", "name", w->segment, "n_bytes", (json_int_t)n_bytes, "xxh3_128",
                     fixture_hash(bytes, n_bytes), "tensors", tensors);
}

/* Segments of the manifest; their hashes go to `hashes` [n][16]. Returns the number of segments. */
static inline size_t fixture_segments(const struct fixture_weight *w, size_t n, const uint8_t *data,
                                      json_t *segments, uint8_t (*hashes)[16])
{
    size_t n_segments = 0;
    uint64_t begin = 0;
    for (size_t i = 0, next; i < n; i = next) {
        uint64_t n_bytes = 0;
        for (next = i; next < n && strcmp(w[next].segment, w[i].segment) == 0; next++)
            n_bytes += w[next].n_bytes;
        json_array_append_new(segments, fixture_segment(w + i, next - i, data + begin, n_bytes));
        memcpy(hashes[n_segments++], moeq_hash_bytes(data + begin, n_bytes).bytes, 16);
        begin += n_bytes;
    }
    return n_segments;
}

/* Writes a layer file and adds it to the manifest's files. Byte i of the data is 7 i, modulo 64, so that no
 * float is infinite; bf16 and f32 values are positive. */
static inline void fixture_layer_file(const char *dir, const char *name, const struct fixture_weight *w,
                                      size_t n, json_t *files)
{
    char header[FIXTURE_TEXT] = "{";
    uint64_t end = 0, n_header;
    json_t *segments = json_array();
    uint8_t bytes[8 + 2 * FIXTURE_TEXT] = {0}, data[1024], hashes[8][16];
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(header);
        char shape[64];
        snprintf(shape, sizeof shape, "%llu",
                 (unsigned long long)(w[i].dtype == MOEQ_U8 ? w[i].n_bytes : w[i].cols));
        snprintf(header + used, sizeof header - used,
                 "'%s':{'dtype':'%s','shape':[%s],'data_offsets':[%llu,%llu]},", w[i].name,
                 moeq_dtype_name(w[i].dtype), shape, (unsigned long long)end,
                 (unsigned long long)(end + w[i].n_bytes));
        end += w[i].n_bytes;
    }
    for (size_t i = 0; i < end; i++)
        data[i] = (uint8_t)(7 * i % 64);
    size_t n_segments = fixture_segments(w, n, data, segments, hashes), used = strlen(header);
    snprintf(header + used, sizeof header - used,
             "'moeq.hashes':{'dtype':'U8','shape':[%zu,16],'data_offsets':[%llu,%llu]}}", n_segments,
             (unsigned long long)end, (unsigned long long)(end + 16 * n_segments));
    fixture_quote((char *)bytes + 8, header);
    n_header = strlen(header);
    moeq_store_u64le(bytes, n_header);
    memcpy(bytes + 8 + n_header, data, end);
    memcpy(bytes + 8 + n_header + end, hashes, 16 * n_segments);
    uint64_t total = 8 + n_header + end + 16 * n_segments;
    fixture_write(dir, name, bytes, total);
    json_array_append_new(files,
                          json_pack("{s:s, s:I, s:o, s:o, s:o}", "file", name, "n_bytes", (json_int_t)total,
                                    "head_xxh3_128", fixture_hash(bytes, 8 + n_header), "hashes_xxh3_128",
                                    fixture_hash(hashes, 16 * n_segments), "segments", segments));
}

static inline json_t *fixture_package(const char *dir)
{
    char config[FIXTURE_TEXT];
    fixture_write_json(dir, "config.json", FIXTURE_CONFIG);
    fixture_quote(config, FIXTURE_CONFIG);
    json_t *files = json_array();
    fixture_layer_file(dir, FIXTURE_EMBED, fixture_embed, FIXTURE_N_EMBED, files);
    fixture_layer_file(dir, FIXTURE_LAYER, fixture_layer, FIXTURE_N_LAYER, files);
    json_t *manifest = json_pack("{s:s, s:i, s:s, s:[{s:s, s:I, s:o}], s:o}", "format", MOEQ_PACKAGE_FORMAT,
                                 "version", MOEQ_PACKAGE_VERSION, "architecture", "DeepseekV3ForCausalLM",
                                 "copies", "file", "config.json", "n_bytes", (json_int_t)strlen(config),
                                 "xxh3_128", fixture_hash(config, strlen(config)), "files", files);
    fixture_need(manifest != NULL, "manifest");
    return manifest;
}

/* Seals the manifest and writes it. */
static inline void fixture_seal(const char *dir, json_t *manifest)
{
    char *text = moeq_manifest_seal(manifest, NULL);
    fixture_need(text != NULL, "seal");
    fixture_write(dir, MOEQ_MANIFEST_NAME, text, strlen(text));
    free(text);
}

#endif
