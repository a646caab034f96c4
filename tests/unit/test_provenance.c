/* The hash of a source file's contents, against its definition: computed here tensor by tensor from the file.
 */
#include "unit.h"

#include "../fuzz/package_fixture.h"
#include "provenance.h"

#define W1   "model.layers.0.self_attn.o_proj.weight"
#define W2   "model.layers.0.input_layernorm.weight"
#define ONE  "m-1.safetensors"
#define TWO  "m-2.safetensors"
#define PATH "model.safetensors.index.json"

static char folder[FIXTURE_PATH];

/* An FP8 weight in the first shard; its scale lies in the second, before a norm and a tensor of no bytes. */
static void begin(void)
{
    fixture_make(folder);
    fixture_write_json(folder, "config.json", FIXTURE_CONFIG);
    fixture_write_safetensors(folder, ONE,
                              "{'" W1 "':{'dtype':'F8_E4M3','shape':[131,3],'data_offsets':[0,393]}}", 393);
    fixture_write_safetensors(folder, TWO,
                              "{'" W1 "_scale_inv':{'dtype':'F32','shape':[2,1],'data_offsets':[0,8]},"
                              "'" W2 "':{'dtype':'BF16','shape':[3],'data_offsets':[8,14]},"
                              "'none':{'dtype':'U8','shape':[0],'data_offsets':[14,14]}}",
                              14);
    fixture_write_json(folder, PATH,
                       "{'weight_map':{'" W1 "':'" ONE "','" W1 "_scale_inv':'" TWO "','" W2 "':'" TWO
                       "','none':'" TWO "'}}");
}

/* Header, then the pieces of these sizes. */
static struct moeq_hash by_definition(const char *name, const size_t *sizes)
{
    size_t n_bytes, n = 1;
    char *file = fixture_read(folder, name, &n_bytes);
    const size_t n_head = 8 + (size_t)moeq_load_u64le((const uint8_t *)file);
    struct moeq_hash hashes[4] = {moeq_hash_bytes(file, n_head)};
    for (const char *next = file + n_head; *sizes; next += *sizes++)
        hashes[n++] = moeq_hash_bytes(next, *sizes);
    free(file);
    return moeq_hash_bytes(hashes, n * sizeof *hashes);
}

static void test_contents(void)
{
    struct moeq_source source;
    struct moeq_plan plan;
    struct moeq_plan_request request = {0};
    struct moeq_provenance p;
    begin();
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_provenance_list(&p, &plan, false, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_provenance_begin(&p, NULL), MOEQ_OK);
    for (size_t i = 0; i < plan.n_files; i++)
        CU_ASSERT_EQUAL(moeq_provenance_read(&p, &plan.files[i], NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_provenance_end(&p, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(p.n_sources, 2);
    CU_ASSERT(moeq_hash_equal(p.sources[0].contents, by_definition(ONE, (const size_t[]){393, 0})));
    CU_ASSERT(moeq_hash_equal(p.sources[1].contents, by_definition(TWO, (const size_t[]){8, 6, 0})));
    moeq_provenance_free(&p);
    moeq_plan_free(&plan);
    moeq_source_close(&source);
    fixture_remove(folder);
}

/* Pieces of any size give the same slices, wherever they are cut. */
static void test_pieces(void)
{
    struct moeq_source source;
    struct moeq_plan plan;
    struct moeq_plan_request request = {0};
    struct moeq_provenance p;
    struct moeq_slices expected = {0};
    uint8_t packed[512];
    size_t item = 0;
    begin();
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_provenance_list(&p, &plan, false, NULL), MOEQ_OK);
    while (strcmp(plan.items[item].weight->name, W1) != 0)
        item++;
    const uint64_t n = plan.items[item].weight->n_padded;
    CU_ASSERT_FATAL(n <= sizeof packed);
    struct moeq_hasher *hasher = moeq_hasher_create(NULL);
    for (uint64_t step = n; step > 0; step = step > 9 ? step / 2 : step - 1) {
        memset(&p.slices[item], 0, sizeof p.slices[item]);
        for (uint64_t from = 0; from < n; from += step) {
            const uint64_t size = n - from < step ? n - from : step;
            CU_ASSERT_EQUAL(moeq_provenance_load(&p, item, from, size, packed, hasher, NULL), MOEQ_OK);
        }
        if (step == n)
            expected = p.slices[item];
        CU_ASSERT_EQUAL(memcmp(&expected, &p.slices[item], sizeof expected), 0);
    }
    moeq_hasher_free(hasher);
    moeq_provenance_free(&p);
    moeq_plan_free(&plan);
    moeq_source_close(&source);
    fixture_remove(folder);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"contents", test_contents}, {"pieces", test_pieces}, {NULL, NULL}};
    return unit_main("provenance", tests);
}
