/* model.safetensors.index.json of any bytes. Shard names that come out are sorted, each once, and stay in the
 * folder; tensor names are split and formatted back. */
#include "checkpoint.h"
#include "fuzz.h"
#include "names.h"

#include <stdlib.h>

static void check_name(const char *tensor)
{
    char text[MOEQ_NAME_BYTES];
    struct moeq_name name = moeq_name_parse(tensor);
    fuzz_require(name.layer >= -1 && name.layer < 1000000 && name.expert >= -1 && name.expert < 1000000);
    fuzz_require((int)moeq_part_role(name.part) < MOEQ_N_ROLES && moeq_glob_match("*", tensor));
    if (name.part < MOEQ_PART_VISION)
        fuzz_require(strcmp(moeq_name_format(name.part, name.layer, name.expert, text, sizeof text),
                            moeq_name_in_text(tensor)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *json = NULL, *value;
    const char **shards = NULL, *tensor;
    size_t n_shards = 0;
    struct moeq_error err = {0};
    enum moeq_status status = moeq_index_parse(data, n, &json, &shards, &n_shards, &err);
    fuzz_require_error(status, &err);
    if (status)
        return 0;
    json_t *weight_map = json_object_get(json, "weight_map");
    fuzz_require(n_shards > 0 && n_shards <= json_object_size(weight_map));
    for (size_t i = 0; i < n_shards; i++) {
        fuzz_require(moeq_name_is_plain(shards[i]) && !strchr(shards[i], '/'));
        fuzz_require(i == 0 || strcmp(shards[i - 1], shards[i]) < 0);
    }
    json_object_foreach(weight_map, tensor, value)
    {
        check_name(tensor);
        const char *shard = json_string_value(value);
        bool found = false;
        for (size_t i = 0; i < n_shards; i++)
            found |= shards[i] && strcmp(shards[i], shard) == 0;
        fuzz_require(found);
    }
    free(shards);
    json_decref(json);
    return 0;
}
