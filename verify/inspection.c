#include "inspection.h"

#include "model.h"

static void add(struct moeq_share *share, const struct moeq_weight *w)
{
    share->n_tensors++;
    share->n_weights += w->rows * w->cols;
    share->n_bytes += moeq_weight_stored_bytes(w);
}

static void add_format(struct moeq_inspection *in, const struct moeq_weight *w)
{
    size_t f = 0;
    while (f < in->n_formats && !moeq_format_equal(in->format_keys[f], w->format))
        f++;
    if (f == MOEQ_MAX_FORMATS) /* more levels than any package has: the rest counts with the last */
        f--;
    else if (f == in->n_formats)
        in->format_keys[in->n_formats++] = w->format;
    add(&in->formats[f], w);
}

static void count_files(struct moeq_inspection *in, const struct moeq_source *s)
{
    in->n_files = s->is_package ? s->package.n_files : s->checkpoint.n_shards;
    for (size_t i = 0; i < in->n_files; i++)
        in->n_file_bytes +=
            s->is_package ? s->package.files[i].file.n_bytes : s->checkpoint.shards[i].file.n_bytes;
}

struct moeq_dtype_shares moeq_dtype_shares_of(const struct moeq_checkpoint *checkpoint)
{
    struct moeq_dtype_shares shares = {0};
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct moeq_tensor *t = checkpoint->tensors[i].tensor;
        shares.dtypes[t->dtype].n_tensors++;
        shares.dtypes[t->dtype].n_bytes += t->n_bytes;
        shares.all.n_tensors++;
        shares.all.n_bytes += t->n_bytes;
    }
    return shares;
}

enum moeq_status moeq_inspection_take(struct moeq_inspection *inspection, const struct moeq_config *config,
                                      const struct moeq_source *source, unsigned n_jobs,
                                      struct moeq_error *err)
{
    *inspection = (struct moeq_inspection){.config = config, .source = source};
    inspection->census = moeq_census_take(config);
    if (!source) {
        moeq_outlook_of_config(&inspection->outlook, config, n_jobs);
        return MOEQ_OK;
    }
    count_files(inspection, source);
    for (size_t i = 0; i < source->n_weights; i++) {
        const struct moeq_weight *w = &source->weights[i];
        add(&inspection->all, w);
        add(&inspection->roles[moeq_part_role(w->id.part)], w);
        add_format(inspection, w);
    }
    const bool runs = moeq_model_check(source, &inspection->cannot_run) == MOEQ_OK;
    if (source->is_package)
        return MOEQ_OK;
    inspection->stored = moeq_dtype_shares_of(&source->checkpoint);
    return moeq_outlook_of_source(&inspection->outlook, source, runs, n_jobs, err);
}

const char *moeq_number_text(uint64_t number, char dst[32])
{
    char plain[24];
    int length = snprintf(plain, sizeof plain, "%llu", (unsigned long long)number);
    char *to = dst;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = plain[i];
    }
    *to = '\0';
    return dst;
}

const char *moeq_family_name(const struct moeq_config *config)
{
    static const struct {
        const char *architecture, *model_type; /* the latter NULL: any */
        const char *family;
    } families[] = {
        {"DeepseekV3ForCausalLM", "kimi_k2", "Kimi-K2"},
        {"DeepseekV2ForCausalLM", NULL, "DeepSeek-V2"},
        {"DeepseekV3ForCausalLM", NULL, "DeepSeek-V3"},
        {"DeepseekV32ForCausalLM", NULL, "DeepSeek-V3.2"},
        {"DeepseekV4ForCausalLM", NULL, "DeepSeek-V4"},
        {"KimiK25ForConditionalGeneration", NULL, "Kimi-K2.5"},
        {"Glm4MoeLiteForCausalLM", NULL, "GLM-4.7-Flash"},
        {"GlmMoeDsaForCausalLM", NULL, "GLM-5"},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(config->architecture, families[i].architecture) == 0 &&
            (!families[i].model_type || strcmp(config->model_type, families[i].model_type) == 0))
            return families[i].family;
    return *config->model_type ? config->model_type : "unnamed";
}

bool moeq_is_quantized(struct moeq_format format)
{
    return format.level == &moeq_level_fp8 || format.level->grouped;
}

bool moeq_config_agrees(const struct moeq_inspection *in)
{
    bool int4 = false;
    for (size_t i = 0; i < in->n_formats; i++)
        int4 = int4 || in->format_keys[i].level == &moeq_level_int4;
    return in->config->says_fp8 == (in->stored.dtypes[MOEQ_F8_E4M3].n_tensors > 0) &&
           (in->config->int4_group > 0) == int4;
}

const char *moeq_router_name(const struct moeq_config *config)
{
    if (config->design == MOEQ_DESIGN_V4)
        return "sqrt(softplus)";
    return config->scoring == MOEQ_SCORING_SIGMOID ? "sigmoid" : "softmax";
}

const char *moeq_format_name(struct moeq_format format, char text[MOEQ_FORMAT_BYTES])
{
    moeq_format_text(format, text);
    if (format.level == &moeq_level_raw)
        snprintf(text, MOEQ_FORMAT_BYTES, "raw-%s", moeq_dtype_name(format.dtype));
    return text;
}

uint32_t moeq_count_moe_layers(const struct moeq_config *config)
{
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < config->n_layers; layer++)
        n += moeq_config_layer_is_moe(config, layer);
    return n;
}
