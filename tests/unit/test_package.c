/* Packages and their manifest: a package that was cut short, mixed with another or changed by hand is found
 * out before it is used. */
#include "unit.h"

#include "../fuzz/package_fixture.h"

#define ONES "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"

static char folder[FIXTURE_PATH];

static json_t *begin(void)
{
    fixture_make(folder);
    return fixture_package(folder);
}

static void end(json_t *manifest)
{
    json_decref(manifest);
    fixture_remove(folder);
}

static void refused(enum moeq_status expected, const char *says)
{
    struct moeq_package package;
    struct moeq_error err = {0};
    char line[2048];
    enum moeq_status status = moeq_package_open(&package, folder, &err);
    moeq_error_format(&err, line, sizeof line);
    if (status != expected || err.status != expected || !strstr(line, says)) {
        printf("\n  expected \"%s\": status %d: %s", says, status, line);
        CU_FAIL("not refused as it should be");
    }
    moeq_package_close(&package); /* allowed, and does nothing */
    CU_ASSERT_EQUAL(moeq_package_open(&package, folder, NULL), expected);
}

static json_t *file_at(json_t *manifest, size_t i)
{
    return json_array_get(json_object_get(manifest, "files"), i);
}

static json_t *segment_at(json_t *manifest, size_t file, size_t i)
{
    return json_array_get(json_object_get(file_at(manifest, file), "segments"), i);
}

static json_t *tensor_at(json_t *manifest, size_t file, size_t segment, size_t i)
{
    return json_array_get(json_object_get(segment_at(manifest, file, segment), "tensors"), i);
}

/* Replaces members of one object of the manifest ("(none)" removes), seals, and expects a refusal. */
static void change_refused(json_t *(*find)(json_t *manifest), const char *changes, const char *says)
{
    const char *key;
    json_t *value, *manifest = begin();
    char quoted[FIXTURE_TEXT];
    json_t *over = moeq_json_parse(fixture_quote(quoted, changes), strlen(changes), NULL);
    fixture_need(over != NULL, changes);
    json_object_foreach(over, key, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), "(none)") == 0)
            json_object_del(find(manifest), key);
        else
            json_object_set(find(manifest), key, value);
    }
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, says);
    json_decref(over);
    end(manifest);
}

static json_t *the_manifest(json_t *manifest)
{
    return manifest;
}

static json_t *the_layer(json_t *manifest)
{
    return file_at(manifest, 1);
}

static json_t *the_expert(json_t *manifest)
{
    return segment_at(manifest, 1, 0);
}

static json_t *the_up_matrix(json_t *manifest)
{
    return tensor_at(manifest, 1, 0, 1);
}

static json_t *the_copy(json_t *manifest)
{
    return json_array_get(json_object_get(manifest, "copies"), 0);
}

/* --- what is read --- */

static void test_a_whole_package(void)
{
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    struct moeq_package p;
    CU_ASSERT(moeq_package_is_at(folder));
    CU_ASSERT_EQUAL_FATAL(moeq_package_open(&p, folder, NULL), MOEQ_OK);
    CU_ASSERT(p.n_files == 2 && p.n_segments == 3 && p.n_tensors == 5 && p.n_copies == 1);
    CU_ASSERT_STRING_EQUAL(p.architecture, "DeepseekV3ForCausalLM");
    for (size_t i = 0; i < FIXTURE_N_LAYER; i++) {
        const struct fixture_weight *w = &fixture_layer[i];
        const struct moeq_packed *t = moeq_package_find(&p, w->name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(t);
        CU_ASSERT(strcmp(t->level, w->level) == 0 && strcmp(t->reason, "test") == 0);
        CU_ASSERT(t->n_dims == (w->rows ? 2 : 1) && t->shape[t->n_dims - 1] == w->cols);
        CU_ASSERT(t->stored->n_bytes == w->n_bytes && strcmp(t->stored->name, w->name) == 0);
        CU_ASSERT_STRING_EQUAL(p.segments[t->segment].name, w->segment);
    }
    CU_ASSERT_PTR_NULL(moeq_package_find(&p, MOEQ_HASHES_TENSOR));
    CU_ASSERT_PTR_NULL(moeq_package_find(&p, ""));
    for (size_t i = 0; i < p.n_segments; i++) {
        uint8_t *bytes = malloc(p.segments[i].n_bytes);
        CU_ASSERT_EQUAL(moeq_package_read_segment(&p, &p.segments[i], bytes, NULL), MOEQ_OK);
        CU_ASSERT(bytes[1] ==
                  (p.segments[i].offset - p.files[p.segments[i].file].st.data_offset + 1) * 7 % 64);
        free(bytes);
    }
    for (size_t i = 0; i < p.n_files; i++)
        CU_ASSERT_EQUAL(moeq_package_check_head(&p, i, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_package_check_copy(&p, 0, NULL), MOEQ_OK);
    moeq_package_close(&p);
    end(manifest);
}

/* --- files that are missing, short, long or changed --- */

static void test_without_a_manifest(void)
{
    json_t *manifest = begin();
    refused(MOEQ_DAMAGED, "incomplete");
    refused(MOEQ_DAMAGED, "run the same 'moeq convert' again");
    CU_ASSERT(moeq_package_is_at(folder));
    end(manifest);
}

static void test_layer_files(void)
{
    char path[FIXTURE_PATH];
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    fixture_resize(folder, FIXTURE_LAYER, -1);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER ": ");
    fixture_resize(folder, FIXTURE_LAYER, 2);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER ": ");
    fixture_resize(folder, FIXTURE_LAYER, -1);
    fixture_flip(folder, FIXTURE_LAYER, 8); /* the header's '{' */
    refused(MOEQ_DAMAGED, FIXTURE_LAYER ": the header");
    unlink(fixture_path(path, folder, FIXTURE_LAYER));
    refused(MOEQ_DAMAGED, FIXTURE_LAYER ": the file is missing");
    /* the file of another layer under this name: only the sizes agree */
    fixture_write(folder, FIXTURE_LAYER, "", 0);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER ": 0 bytes, the manifest says");
    end(manifest);
}

/* One wrong bit in an expert: the message says which one. */
static void test_a_flipped_byte_names_its_segment(void)
{
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    struct moeq_package p;
    CU_ASSERT_EQUAL_FATAL(moeq_package_open(&p, folder, NULL), MOEQ_OK);
    for (size_t i = 0; i < p.n_segments; i++) {
        const struct moeq_segment *s = &p.segments[i];
        uint8_t *bytes = malloc(s->n_bytes);
        const uint64_t places[] = {s->offset, s->offset + s->n_bytes - 1};
        for (size_t k = 0; k < 2; k++) {
            struct moeq_error err = {0};
            fixture_flip(folder, p.files[s->file].name, (long)places[k]);
            CU_ASSERT_EQUAL(moeq_package_read_segment(&p, s, bytes, &err), MOEQ_DAMAGED);
            CU_ASSERT(strstr(err.message, s->name) && strstr(err.file, p.files[s->file].name));
            CU_ASSERT(err.has_offset && err.offset == s->offset);
            fixture_flip(folder, p.files[s->file].name, (long)places[k]);
            CU_ASSERT_EQUAL(moeq_package_read_segment(&p, s, bytes, NULL), MOEQ_OK);
        }
        free(bytes);
    }
    moeq_package_close(&p);
    end(manifest);
}

/* The header and the list of hashes are no segments, but damage there misleads a resuming conversion. */
static void test_the_rest_of_a_file_is_covered_too(void)
{
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    struct moeq_package p;
    CU_ASSERT_EQUAL_FATAL(moeq_package_open(&p, folder, NULL), MOEQ_OK);
    const long places[] = {0, 9, (long)p.files[1].st.data_offset - 1, (long)p.files[1].st.n_bytes - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct moeq_error err = {0};
        fixture_flip(folder, FIXTURE_LAYER, places[i]);
        CU_ASSERT_EQUAL(moeq_package_check_head(&p, 1, &err), MOEQ_DAMAGED);
        CU_ASSERT(strstr(err.file, FIXTURE_LAYER) &&
                  strstr(err.message, i < 3 ? "header" : "list of hashes"));
        fixture_flip(folder, FIXTURE_LAYER, places[i]);
    }
    CU_ASSERT_EQUAL(moeq_package_check_head(&p, 1, NULL), MOEQ_OK);
    moeq_package_close(&p);
    end(manifest);
}

static void test_copied_files(void)
{
    char path[FIXTURE_PATH];
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    struct moeq_package p;
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_package_open(&p, folder, NULL), MOEQ_OK);
    fixture_flip(folder, "config.json", 5);
    CU_ASSERT_EQUAL(moeq_package_check_copy(&p, 0, &err), MOEQ_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.file, "config.json"));
    fixture_flip(folder, "config.json", 5);
    fixture_resize(folder, "config.json", 1);
    CU_ASSERT_EQUAL(moeq_package_check_copy(&p, 0, NULL), MOEQ_DAMAGED);
    fixture_resize(folder, "config.json", -2);
    CU_ASSERT_EQUAL(moeq_package_check_copy(&p, 0, NULL), MOEQ_DAMAGED);
    unlink(fixture_path(path, folder, "config.json"));
    CU_ASSERT_EQUAL(moeq_package_check_copy(&p, 0, NULL), MOEQ_DAMAGED);
    moeq_package_close(&p);
    end(manifest);
}

/* --- manifests that do not fit the files --- */

static void test_members_of_the_manifest(void)
{
    static const struct {
        json_t *(*find)(json_t *);
        const char *changes, *says;
    } cases[] = {
        {the_manifest, "{'files':'(none)'}", "\"files\""},
        {the_manifest, "{'files':{}}", "\"files\""},
        {the_manifest, "{'files':[1]}", "\"segments\""},
        {the_manifest, "{'copies':'(none)'}", "\"copies\""},
        {the_manifest, "{'copies':[1]}", "\"file\""},
        {the_manifest, "{'architecture':'(none)'}", "\"architecture\""},
        {the_layer, "{'file':'(none)'}", "\"file\""},
        {the_layer, "{'file':'../" FIXTURE_LAYER "'}", "leaves the folder"},
        {the_layer, "{'file':'/etc/passwd'}", "leaves the folder"},
        {the_layer, "{'file':''}", "leaves the folder"},
        {the_layer, "{'file':'none.safetensors'}", "none.safetensors: the file is missing"},
        {the_layer, "{'file':'config.json'}", "config.json"},
        {the_layer, "{'n_bytes':1}", "the manifest says 1"},
        {the_layer, "{'n_bytes':-1}", "\"n_bytes\""},
        {the_layer, "{'n_bytes':'(none)'}", "\"n_bytes\""},
        {the_layer, "{'head_xxh3_128':'0'}", "\"head_xxh3_128\""},
        {the_layer, "{'hashes_xxh3_128':'(none)'}", "\"hashes_xxh3_128\""},
        {the_layer, "{'segments':'(none)'}", "\"segments\""},
        {the_layer, "{'segments':[]}", "no tensor that the manifest lacks"},
        {the_layer, "{'segments':[7]}", "\"tensors\""},
        {the_expert, "{'name':'(none)'}", "\"name\""},
        {the_expert, "{'n_bytes':255}", "the manifest says 255 bytes, the file 256"},
        {the_expert, "{'n_bytes':9223372036854775807}", "the manifest says"},
        {the_expert, "{'n_bytes':-256}", "\"n_bytes\""},
        {the_expert, "{'xxh3_128':'xx'}", "\"xxh3_128\""},
        {the_expert, "{'tensors':[]}", ""},
        {the_expert, "{'tensors':{}}", "\"tensors\""},
        {the_expert, "{'tensors':[1,2,3]}", "\"name\""},
        {the_up_matrix, "{'name':'x'}",
         "the manifest has x where the file has " FIXTURE_EXPERT ".up_proj.weight"},
        {the_up_matrix, "{'level':'(none)'}", "\"level\""},
        {the_up_matrix, "{'level':8}", "\"level\""},
        {the_up_matrix, "{'reason':8}", "\"reason\""},
        {the_up_matrix, "{'shape':'(none)'}", "shape"},
        {the_up_matrix, "{'shape':[8,-3]}", "shape"},
        {the_up_matrix, "{'shape':[8,'3']}", "shape"},
        {the_up_matrix, "{'shape':[" ONES ONES ONES ONES "1]}", "dimensions"}, /* 65 */
        {the_copy, "{'file':'../config.json'}", "leaves the folder"},
        {the_copy, "{'n_bytes':'x'}", "\"n_bytes\""},
        {the_copy, "{'xxh3_128':1}", "\"xxh3_128\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        change_refused(cases[i].find, cases[i].changes, cases[i].says);
}

/* A tensor that the file has and the manifest does not would be neither hashed nor seen. */
static void test_a_segment_less(void)
{
    json_t *manifest = begin();
    json_array_remove(json_object_get(file_at(manifest, 1), "segments"), 1);
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER);
    end(manifest);
}

static void test_a_segment_more(void)
{
    json_t *manifest = begin(), *segments = json_object_get(file_at(manifest, 1), "segments");
    json_array_append_new(segments, json_deep_copy(json_array_get(segments, 1)));
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER);
    for (int i = 0; i < 3; i++) /* more tensors than the file has */
        json_array_append_new(segments, json_deep_copy(json_array_get(segments, 1)));
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, FIXTURE_LAYER);
    end(manifest);
}

/* The list of hashes closes a file; what stands in its place or behind it is covered by nothing. */
static void test_ends_of_a_file(void)
{
    static const char *const headers[] = {
        "{'a':{'dtype':'U8','shape':[16],'data_offsets':[0,16]},"
        "'b':{'dtype':'U8','shape':[1,16],'data_offsets':[16,32]}}",
        "{'a':{'dtype':'U8','shape':[16],'data_offsets':[0,16]},"
        "'moeq.hashes':{'dtype':'U8','shape':[2,16],'data_offsets':[16,48]}}",
        "{'a':{'dtype':'U8','shape':[16],'data_offsets':[0,16]},"
        "'moeq.hashes':{'dtype':'U8','shape':[1,16],'data_offsets':[16,32]},"
        "'c':{'dtype':'U8','shape':[1,16],'data_offsets':[32,48]}}",
        "{'a':{'dtype':'U8','shape':[16],'data_offsets':[0,16]}}",
    };
    static const size_t n_data[] = {32, 48, 48, 16};
    static const char empty_hash[] = "99aa06d3014798d86001c324468d497f";
    for (size_t i = 0; i < 5; i++) {
        size_t k = i < 4 ? i : 1; /* at last: a segment of nothing makes up the number of hashes */
        json_t *manifest = begin(), *file = file_at(manifest, 1);
        fixture_write_safetensors(folder, FIXTURE_LAYER, headers[k], n_data[k]);
        json_object_set_new(file, "n_bytes", json_integer((json_int_t)(8 + strlen(headers[k]) + n_data[k])));
        json_t *segments =
            json_pack("[{s:s, s:i, s:s, s:[{s:s, s:s, s:[i]}]}]", "name", "a", "n_bytes", 16, "xxh3_128",
                      empty_hash, "tensors", "name", "a", "level", "raw", "shape", 16);
        if (i == 4)
            json_array_append_new(segments, json_pack("{s:s, s:i, s:s, s:[]}", "name", "n", "n_bytes", 0,
                                                      "xxh3_128", empty_hash, "tensors"));
        json_object_set_new(file, "segments", segments);
        fixture_seal(folder, manifest);
        refused(MOEQ_DAMAGED, FIXTURE_LAYER);
        end(manifest);
    }
}

/* A manifest that takes the list of hashes for a tensor and goes on behind the end of the file's. */
static void test_more_tensors_than_the_file_has(void)
{
    json_t *manifest = begin(), *segments = json_object_get(file_at(manifest, 1), "segments");
    for (int i = 0; i < 2; i++) {
        json_t *more = json_deep_copy(json_array_get(segments, 1));
        json_object_set_new(more, "n_bytes", json_integer(i ? 0 : 32));
        json_object_set_new(json_array_get(json_object_get(more, "tensors"), 0), "name",
                            json_string(i ? "x" : MOEQ_HASHES_TENSOR));
        json_array_append_new(segments, more);
        fixture_seal(folder, manifest);
        refused(MOEQ_DAMAGED, i ? "more tensors than the file has" : "must end with");
    }
    end(manifest);
}

static void test_segments_in_another_order(void)
{
    json_t *manifest = begin(), *segments = json_object_get(file_at(manifest, 1), "segments");
    json_array_append(segments, json_array_get(segments, 0));
    json_array_remove(segments, 0);
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, "the manifest has model.layers.0.input_layernorm.weight");
    end(manifest);
}

static void test_a_file_listed_twice(void)
{
    json_t *manifest = begin();
    json_array_append_new(json_object_get(manifest, "files"), json_deep_copy(file_at(manifest, 1)));
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, "listed twice");
    end(manifest);
}

/* --- the seal --- */

static void test_the_seal(void)
{
    json_t *manifest = json_pack("{s:s, s:i, s:[f, i], s:s}", "format", MOEQ_PACKAGE_FORMAT, "version",
                                 MOEQ_PACKAGE_VERSION, "x", 0.1, 3, "name", "\xe4\xb8\x93 \"\\\n");
    char *text = moeq_manifest_seal(manifest, NULL), *again;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    json_t *parsed = moeq_manifest_parse(text, strlen(text), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    again = moeq_manifest_seal(parsed, NULL); /* the same bytes every time */
    CU_ASSERT_STRING_EQUAL(text, again);
    free(again);
    again = moeq_manifest_seal(parsed, NULL); /* replaces the seal that is there */
    CU_ASSERT_STRING_EQUAL(text, again);
    free(again);
    json_decref(parsed);
    json_decref(manifest);
    size_t n = strlen(text), n_accepted = 0;
    for (size_t i = 0; i < n; i++) {
        char old = text[i];
        text[i] = old == '1' ? '2' : '1';
        parsed = moeq_manifest_parse(text, n, NULL);
        n_accepted += parsed != NULL;
        json_decref(parsed);
        text[i] = old;
        if (i + 1 < n) /* cut short by more than the newline */
            CU_ASSERT_PTR_NULL(moeq_manifest_parse(text, i, NULL));
    }
    CU_ASSERT_EQUAL(n_accepted, 0);
    free(text);
}

static void test_what_is_no_manifest(void)
{
    static const struct {
        const char *text;
        enum moeq_status status;
    } cases[] = {
        {"", MOEQ_DAMAGED},
        {"[]", MOEQ_DAMAGED},
        {"1", MOEQ_DAMAGED},
        {"{}", MOEQ_DAMAGED},
        {"{'format':'moeq-package'}", MOEQ_DAMAGED},
        {"{'format':'other','version':1}", MOEQ_DAMAGED},
        {"{'format':'moeq-package','version':1}", MOEQ_DAMAGED}, /* no seal */
        {"{'format':'moeq-package','version':1,'xxh3_128':''}", MOEQ_DAMAGED},
        {"{'format':'moeq-package','version':1,'xxh3_128':0}", MOEQ_DAMAGED},
        {"{'format':'moeq-package','version':1,'xxh3_128':'00000000000000000000000000000000'}", MOEQ_DAMAGED},
        {"{'format':'moeq-package','version':'1'}", MOEQ_DAMAGED},
        {"{'format':'moeq-package','version':2}", MOEQ_UNSUPPORTED}, /* of a newer moeq */
        {"{'format':'moeq-package','version':0}", MOEQ_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char quoted[FIXTURE_TEXT];
        struct moeq_error err = {0};
        fixture_quote(quoted, cases[i].text);
        CU_ASSERT_PTR_NULL(moeq_manifest_parse(quoted, strlen(quoted), &err));
        CU_ASSERT_EQUAL(err.status, cases[i].status);
        CU_ASSERT_PTR_NULL(moeq_manifest_parse(quoted, strlen(quoted), NULL));
    }
}

/* A good seal of something else. */
static void test_another_format(void)
{
    json_t *manifest = begin();
    json_object_set_new(manifest, "format", json_string("moeq-imatrix"));
    fixture_seal(folder, manifest);
    refused(MOEQ_DAMAGED, "not the manifest of a moeq package");
    end(manifest);
}

static void test_a_manifest_changed_by_hand(void)
{
    json_t *manifest = begin();
    fixture_seal(folder, manifest);
    size_t n;
    char *text = fixture_read(folder, MOEQ_MANIFEST_NAME, &n), *level = strstr(text, "int4-g32");
    CU_ASSERT_PTR_NOT_NULL_FATAL(level);
    memcpy(level, "int4-g64", 8);
    fixture_write(folder, MOEQ_MANIFEST_NAME, text, n);
    refused(MOEQ_DAMAGED, "changed after it was written");
    free(text);
    end(manifest);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"a whole package", test_a_whole_package},
        {"without a manifest", test_without_a_manifest},
        {"layer files missing, short, long, damaged", test_layer_files},
        {"a flipped byte names its segment", test_a_flipped_byte_names_its_segment},
        {"the rest of a file is covered too", test_the_rest_of_a_file_is_covered_too},
        {"copied files", test_copied_files},
        {"members of the manifest", test_members_of_the_manifest},
        {"a segment less", test_a_segment_less},
        {"a segment more", test_a_segment_more},
        {"ends of a file", test_ends_of_a_file},
        {"more tensors than the file has", test_more_tensors_than_the_file_has},
        {"segments in another order", test_segments_in_another_order},
        {"a file listed twice", test_a_file_listed_twice},
        {"the seal", test_the_seal},
        {"what is no manifest", test_what_is_no_manifest},
        {"another format", test_another_format},
        {"a manifest changed by hand", test_a_manifest_changed_by_hand},
        {NULL, NULL},
    };
    return unit_main("package", tests);
}
