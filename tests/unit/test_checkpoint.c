/* Checkpoint folders: index and shards must agree both ways, and no name of a file leads out of the folder.
 * What a broken download looks like must be said, not computed with. */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "checkpoint.h"

#define INDEX "model.safetensors.index.json"
#define ONE   "m-1.safetensors"
#define TWO   "m-2.safetensors"

static char folder[FIXTURE_PATH];

/* Two shards: a (2 bytes) and c (4 bytes) in the first, b (3 bytes) in the second. */
static void begin(void)
{
    fixture_make(folder);
    fixture_write_safetensors(folder, ONE,
                              "{'c':{'dtype':'U8','shape':[4],'data_offsets':[2,6]},"
                              "'a':{'dtype':'U8','shape':[2],'data_offsets':[0,2]}}",
                              6);
    fixture_write_safetensors(folder, TWO, "{'b':{'dtype':'U8','shape':[3],'data_offsets':[0,3]}}", 3);
    fixture_write_json(folder, INDEX,
                       "{'metadata':{'total_size':9},'weight_map':{'a':'" ONE "','b':'" TWO "','c':'" ONE
                       "'}}");
}

static void end(void)
{
    fixture_remove(folder);
}

static void refused(const char *says)
{
    struct moeq_checkpoint checkpoint;
    struct moeq_error err = {0};
    char line[2048];
    enum moeq_status status = moeq_checkpoint_open(&checkpoint, folder, &err);
    moeq_error_format(&err, line, sizeof line);
    if (status != MOEQ_DAMAGED || err.status != MOEQ_DAMAGED || !strstr(line, says)) {
        printf("\n  expected \"%s\": status %d: %s", says, status, line);
        CU_FAIL("not refused as it should be");
    }
    CU_ASSERT(checkpoint.n_shards == 0 && checkpoint.n_tensors == 0);
    moeq_checkpoint_close(&checkpoint); /* allowed, and does nothing */
    CU_ASSERT_EQUAL(moeq_checkpoint_open(&checkpoint, folder, NULL), MOEQ_DAMAGED);
}

static void index_refused(const char *index, const char *says)
{
    begin();
    fixture_write_json(folder, INDEX, index);
    refused(says);
    end();
}

/* --- what is read --- */

static void test_two_shards(void)
{
    static const char *const names[] = {"a", "b", "c"};
    static const uint8_t bytes[][4] = {{1, 2}, {1, 2, 3}, {3, 4, 5, 6}};
    struct moeq_checkpoint checkpoint;
    begin();
    CU_ASSERT_EQUAL_FATAL(moeq_checkpoint_open(&checkpoint, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(checkpoint.n_shards, 2);
    CU_ASSERT_EQUAL_FATAL(checkpoint.n_tensors, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct moeq_located *located = moeq_checkpoint_find(&checkpoint, names[i]);
        CU_ASSERT_PTR_EQUAL_FATAL(located, &checkpoint.tensors[i]);
        uint8_t *read = malloc(located->tensor->n_bytes); /* exactly so many are written */
        CU_ASSERT_EQUAL(moeq_checkpoint_read(&checkpoint, located, read, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(memcmp(read, bytes[i], located->tensor->n_bytes), 0);
        free(read);
    }
    CU_ASSERT_PTR_NULL(moeq_checkpoint_find(&checkpoint, ""));
    CU_ASSERT_PTR_NULL(moeq_checkpoint_find(&checkpoint, "bb"));
    moeq_checkpoint_close(&checkpoint);
    end();
}

/* A shard that shrinks after it was opened is reported, not read as zeros. */
static void test_a_shard_that_shrinks(void)
{
    struct moeq_checkpoint checkpoint;
    struct moeq_error err = {0};
    uint8_t read[4];
    begin();
    CU_ASSERT_EQUAL_FATAL(moeq_checkpoint_open(&checkpoint, folder, NULL), MOEQ_OK);
    fixture_resize(folder, ONE, -1);
    CU_ASSERT_EQUAL(moeq_checkpoint_read(&checkpoint, moeq_checkpoint_find(&checkpoint, "c"), read, &err),
                    MOEQ_DAMAGED);
    CU_ASSERT(strstr(err.file, ONE) && strcmp(err.tensor, "c") == 0);
    moeq_checkpoint_close(&checkpoint);
    end();
}

static void test_one_file_without_an_index(void)
{
    struct moeq_checkpoint checkpoint;
    char path[FIXTURE_PATH];
    begin();
    unlink(fixture_path(path, folder, INDEX));
    refused("2 .safetensors files but no " INDEX);
    unlink(fixture_path(path, folder, TWO));
    CU_ASSERT_EQUAL_FATAL(moeq_checkpoint_open(&checkpoint, folder, NULL), MOEQ_OK);
    CU_ASSERT(checkpoint.n_tensors == 2 && moeq_checkpoint_find(&checkpoint, "c"));
    moeq_checkpoint_close(&checkpoint);
    unlink(fixture_path(path, folder, ONE));
    refused("no model here");
    end();
}

/* --- what is refused --- */

static void test_index_and_shards_agree_both_ways(void)
{
    index_refused("{'weight_map':{'a':'" ONE "','b':'" TWO "','c':'" ONE "','d':'" ONE "'}}",
                  "the tensor d, which is not");
    index_refused("{'weight_map':{'a':'" ONE "','b':'" TWO "','c':'" TWO "'}}", "the tensor c, which is not");
    index_refused("{'weight_map':{'a':'" ONE "','b':'" TWO "'}}", "the tensor c is not in the index");
    index_refused("{'weight_map':{'b':'" TWO "','x':'" TWO "'}}", "the tensor x, which is not");
}

static void test_an_index_that_is_none(void)
{
    static const char *const cases[][2] = {
        {"", INDEX ": not valid JSON"},
        {"[]", "\"weight_map\" is missing"},
        {"{}", "\"weight_map\" is missing"},
        {"{'weight_map':[]}", "\"weight_map\" must be an object"},
        {"{'weight_map':null}", "\"weight_map\" must be an object"},
        {"{'weight_map':{}}", "lists no tensor"},
        {"{'weight_map':{'a':1}}", "names no shard"},
        {"{'weight_map':{'a':null}}", "names no shard"},
        {"{'weight_map':{'a':'" ONE "','a':'" TWO "'}}", "duplicate"},
        {"{'weight_map':{'a':'" ONE "','\\u0061':'" TWO "'}}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        index_refused(cases[i][0], cases[i][1]);
}

/* A model from the net must not make us read, or report on, files elsewhere. */
static void test_shards_outside_the_folder(void)
{
    /* as JSON writes them: \\ is one backslash */
    static const char *const names[] = {
        "../x.safetensors", "/etc/passwd",      "a/b.safetensors", "..",     ".",        "",
        "..\\\\x",          "x\\n.safetensors", "\\u007f.x",       "./" ONE, "x/../" ONE};
    char index[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(index, sizeof index, "{'weight_map':{'a':'%s'}}", names[i]);
        index_refused(index, "tensor a: the index names the shard");
    }
}

static void test_a_tensor_in_two_shards(void)
{
    begin();
    fixture_write_safetensors(folder, TWO,
                              "{'a':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
                              "'b':{'dtype':'U8','shape':[3],'data_offsets':[2,5]}}",
                              5);
    refused("tensor a: the tensor is in two shards, " ONE " and " TWO);
    end();
}

static void test_shards_missing_or_damaged(void)
{
    char path[FIXTURE_PATH];
    begin();
    fixture_resize(folder, TWO, -1);
    refused(TWO ": tensor b: truncated");
    fixture_resize(folder, TWO, 2);
    refused(TWO ": 1 bytes behind the last tensor");
    fixture_write(folder, TWO, "version https://git-lfs.github.com/spec/v1\n", 43);
    refused("git lfs pull");
    fixture_write(folder, TWO, "\0\0\0\0\0\0\0\0\0\0\0\0", 12); /* blocks that a crash left unwritten */
    refused(TWO ": the header is empty");
    unlink(fixture_path(path, folder, TWO));
    refused(TWO ": the shard is missing; download it");
    end();
}

/* The cache of huggingface_hub links to blobs; an interrupted download leaves links to nothing. */
static void test_links(void)
{
    struct moeq_checkpoint checkpoint;
    char path[FIXTURE_PATH], blob[FIXTURE_PATH];
    begin();
    fixture_need(rename(fixture_path(path, folder, TWO), fixture_path(blob, folder, "blob")) == 0, "rename");
    fixture_need(symlink("blob", path) == 0, "symlink");
    CU_ASSERT_EQUAL(moeq_checkpoint_open(&checkpoint, folder, NULL), MOEQ_OK);
    moeq_checkpoint_close(&checkpoint);
    unlink(blob);
    refused(TWO);
    end();
}

static void test_folders_that_are_none(void)
{
    struct moeq_checkpoint checkpoint;
    struct moeq_error err = {0};
    char path[FIXTURE_PATH];
    begin();
    CU_ASSERT_EQUAL(moeq_checkpoint_open(&checkpoint, fixture_path(path, folder, "none"), &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(err.file, path);
    CU_ASSERT_EQUAL(moeq_checkpoint_open(&checkpoint, fixture_path(path, folder, ONE), NULL), MOEQ_IO);
    end();
}

/* --- the index alone --- */

static void test_shard_names_of_an_index(void)
{
    char text[FIXTURE_TEXT];
    json_t *json = NULL;
    const char **shards = NULL;
    size_t n = 0;
    fixture_quote(text, "{'weight_map':{'x':'b','y':'a','z':'b','w':'c','v':'a'}}");
    CU_ASSERT_EQUAL_FATAL(moeq_index_parse(text, strlen(text), &json, &shards, &n, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(n, 3);
    CU_ASSERT(strcmp(shards[0], "a") == 0 && strcmp(shards[1], "b") == 0 && strcmp(shards[2], "c") == 0);
    free(shards);
    json_decref(json);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"two shards", test_two_shards},
        {"a shard that shrinks", test_a_shard_that_shrinks},
        {"one file without an index", test_one_file_without_an_index},
        {"index and shards agree both ways", test_index_and_shards_agree_both_ways},
        {"an index that is none", test_an_index_that_is_none},
        {"shards outside the folder", test_shards_outside_the_folder},
        {"a tensor in two shards", test_a_tensor_in_two_shards},
        {"shards missing or damaged", test_shards_missing_or_damaged},
        {"links", test_links},
        {"folders that are none", test_folders_that_are_none},
        {"shard names of an index", test_shard_names_of_an_index},
        {NULL, NULL},
    };
    return unit_main("checkpoint", tests);
}
