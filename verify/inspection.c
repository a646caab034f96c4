#include "inspection.h"

#include "model.h"

static void add(struct moeq_share *share, const struct moeq_weight *w)
{
    share->n_tensors++;
    share->n_weights += w->rows * w->cols;
    share->n_bytes += w->n_bytes;
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
        if (w->format.level == &moeq_level_fp8)
            add(&inspection->fp8, w);
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
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(config->architecture, families[i].architecture) == 0 &&
            (!families[i].model_type || strcmp(config->model_type, families[i].model_type) == 0))
            return families[i].family;
    return *config->model_type ? config->model_type : "unnamed";
}

uint32_t moeq_count_moe_layers(const struct moeq_config *config)
{
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < config->n_layers; layer++)
        n += moeq_config_layer_is_moe(config, layer);
    return n;
}
