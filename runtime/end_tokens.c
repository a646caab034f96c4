#include "end_tokens.h"

#include "json.h"

#define MAX_CONFIG_BYTES (16u << 20)

bool moeq_is_end_token(const struct moeq_end_tokens *ends, int32_t id)
{
    for (size_t i = 0; i < ends->n; i++)
        if (ends->ids[i] == id)
            return true;
    return false;
}

static enum moeq_status add(struct moeq_end_tokens *ends, const json_t *value, struct moeq_error *err)
{
    uint64_t id;
    enum moeq_status status = moeq_json_value_uint(value, "eos_token_id", INT32_MAX, &id, err);
    if (status || moeq_is_end_token(ends, (int32_t)id))
        return status;
    if (ends->n == MOEQ_MAX_END_TOKENS)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "more than %d tokens in \"eos_token_id\"",
                         MOEQ_MAX_END_TOKENS);
    ends->ids[ends->n++] = (int32_t)id;
    return MOEQ_OK;
}

static enum moeq_status add_all(struct moeq_end_tokens *ends, const json_t *object, struct moeq_error *err)
{
    const json_t *value = json_object_get(object, "eos_token_id");
    enum moeq_status status = MOEQ_OK;
    if (!value || json_is_null(value))
        return status;
    if (!json_is_array(value))
        return add(ends, value, err);
    for (size_t i = 0; !status && i < json_array_size(value); i++)
        status = add(ends, json_array_get(value, i), err);
    return status;
}

enum moeq_status moeq_end_tokens_load(struct moeq_end_tokens *ends, const char *dir, struct moeq_error *err)
{
    static const char *const names[] = {"generation_config.json", "config.json"};
    struct moeq_error local = {0}, *e = err ? err : &local;
    *ends = (struct moeq_end_tokens){0};
    for (size_t i = 0; !e->status && i < sizeof names / sizeof *names; i++) {
        json_t *json = moeq_json_load_if_there(dir, names[i], MAX_CONFIG_BYTES, e);
        if (json && !add_all(ends, json, e))
            add_all(ends, json_object_get(json, "text_config"), e);
        moeq_error_in_file(e, names[i]);
        json_decref(json);
    }
    return e->status;
}
