/* Packages with coded matrices: what is loaded is what was coded, however many are loaded together; other
 * levels are made of it, and mixed ones kept; what was written damaged is told with its place, and what
 * cannot be is refused. */
#include "../fuzz/package_fixture.h"
#include "coded.h"
#include "made_package.h"

#include <fcntl.h>
#include <unistd.h>

#define EXPERT(layer, expert) "model.layers." #layer ".mlp.experts." #expert

static struct moeq_pool *pool;

/* The matrix alone, decoded by coded.h from the bytes of its tensor. */
static struct moeq_matrix decode_alone(const struct moeq_source *s, const struct moeq_weight *w,
                                       struct moeq_bytes *packed)
{
    const struct moeq_packed *p = &s->package.tensors[w->place];
    const struct moeq_file *file = &s->package.files[s->package.segments[p->segment].file].file;
    struct moeq_bytes coded = {0}, scratch = {0};
    CU_ASSERT_TRUE_FATAL(w->is_coded && w->n_stored == p->stored->n_bytes);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&coded, w->n_stored, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(packed, w->n_padded, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(
        moeq_bytes_resize(&scratch, moeq_coded_scratch_bytes(w->format, w->rows, w->cols), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_file_read(file, p->stored->offset, coded.data, w->n_stored, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_coded_decode(w->format, w->rows, w->cols, coded.data, w->n_stored, scratch.data,
                                      packed->data, NULL),
                    MOEQ_OK);
    moeq_bytes_free(&coded);
    moeq_bytes_free(&scratch);
    return (struct moeq_matrix){w->format, w->rows, w->cols, packed->data, w->n_bytes};
}

static bool same_values(const struct moeq_matrix *a, const struct moeq_matrix *b)
{
    float x[2048], y[2048];
    bool is_same = a->rows == b->rows && a->cols == b->cols && a->cols <= 2048;
    for (uint64_t r = 0; is_same && r < a->rows; r++) {
        moeq_decode(a, r, 0, a->cols, x);
        moeq_decode(b, r, 0, b->cols, y);
        is_same = memcmp(x, y, a->cols * sizeof *x) == 0;
    }
    return is_same;
}

/* Any of the matrices of an expert, in one read, are those that they are alone. */
static void together_as_alone(void)
{
    static const char *const rules[] = {"experts=ec:3", "attn=ec:2.5", "head=ec:4"};
    static const char *const names[] = {EXPERT(2, 7) ".gate_proj.weight", EXPERT(2, 7) ".up_proj.weight",
                                        EXPERT(2, 7) ".down_proj.weight",
                                        "model.layers.1.self_attn.o_proj.weight", "lm_head.weight"};
    enum { N = sizeof names / sizeof *names };
    struct moeq_source nano;
    struct made made;
    open_nano(&nano);
    make_package(&made, &nano, pool, rules, 3);
    for (unsigned set = 1; set < 1u << N; set++) {
        const struct moeq_weight *weights[N];
        struct moeq_matrix matrices[N];
        struct moeq_bytes buffer = {0};
        size_t n = 0;
        for (unsigned i = 0; i < N; i++)
            if (set >> i & 1)
                CU_ASSERT_PTR_NOT_NULL_FATAL(weights[n++] = moeq_source_find(&made.source, names[i]));
        CU_ASSERT_EQUAL(moeq_source_load(&made.source, weights, n, &buffer, matrices, NULL), MOEQ_OK);
        for (size_t i = 0; i < n; i++) {
            struct moeq_bytes packed = {0};
            const struct moeq_matrix alone = decode_alone(&made.source, weights[i], &packed);
            CU_ASSERT_TRUE(matrices[i].n_bytes == alone.n_bytes &&
                           memcmp(matrices[i].data, alone.data, alone.n_bytes) == 0);
            moeq_bytes_free(&packed);
        }
        moeq_bytes_free(&buffer);
    }
    remove_package(&made);
    moeq_source_close(&nano);
}

/* Every coded matrix of one package against the same of another, which has it coded or in float32. */
static void compare_packages(const struct moeq_source *a, const struct moeq_source *b)
{
    size_t n_wrong = 0, n = 0;
    for (size_t i = 0; i < a->n_weights; i++) {
        const struct moeq_weight *w = &a->weights[i], *other = moeq_source_find(b, w->name);
        struct moeq_bytes packed = {0}, buffer = {0};
        struct moeq_matrix loaded;
        CU_ASSERT_PTR_NOT_NULL_FATAL(other);
        if (!w->is_coded)
            continue;
        const struct moeq_matrix alone = decode_alone(a, w, &packed);
        CU_ASSERT_EQUAL(moeq_source_load(b, &other, 1, &buffer, &loaded, NULL), MOEQ_OK);
        n_wrong += !same_values(&alone, &loaded);
        n++;
        moeq_bytes_free(&packed);
        moeq_bytes_free(&buffer);
    }
    CU_ASSERT_TRUE(n > 0);
    CU_ASSERT_EQUAL(n_wrong, 0);
}

/* Some matrices of an expert unpacked and others kept, in every order; float32 has exactly their values. */
static void packages_of_packages(void)
{
    static const char *const coded[] = {"experts=ec:3", "attn=ec:2.5"};
    static const char *const mixes[][3] = {
        {"experts=f32", "attn=f32", NULL},
        {"layers.*.mlp.experts.*.gate_proj.weight=f32", NULL, NULL},
        {"layers.*.mlp.experts.*.up_proj.weight=f32", "attn=f32", NULL},
        {"layers.*.mlp.experts.*.down_proj.weight=f32", NULL, NULL},
        {"layers.*.mlp.experts.*.gate_proj.weight=f32", "layers.*.mlp.experts.*.down_proj.weight=f32", NULL},
        {"norm=keep", NULL, NULL},
    };
    struct moeq_source nano;
    struct made first;
    open_nano(&nano);
    make_package(&first, &nano, pool, coded, 2);
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        struct made mixed, again;
        size_t n = 0;
        while (n < 3 && mixes[i][n])
            n++;
        make_package(&mixed, &first.source, pool, mixes[i], i + 1 < sizeof mixes / sizeof *mixes ? n : 0);
        compare_packages(&first.source, &mixed.source);
        make_package(&again, &mixed.source, pool, NULL, 0);
        compare_packages(&first.source, &again.source);
        remove_package(&again);
        remove_package(&mixed);
    }
    remove_package(&first);
    moeq_source_close(&nano);
}

/* ---- damage under right hashes ---- */

static void pwrite_all(const char *path, const void *bytes, size_t n, uint64_t offset)
{
    const int fd = open(path, O_WRONLY);
    CU_ASSERT_TRUE_FATAL(fd >= 0 && pwrite(fd, bytes, n, (off_t)offset) == (ssize_t)n);
    close(fd);
}

static json_t *member_of(json_t *list, const char *key, const char *value)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) if (strcmp(json_string_value(json_object_get(item, key)), value) ==
                                          0) return item;
    return NULL;
}

/* Flips a byte of a tensor, and makes all hashes right again. */
static void damage(const struct made *made, const struct moeq_weight *w, uint64_t at)
{
    const struct moeq_package *p = &made->source.package;
    const struct moeq_packed *tensor = &p->tensors[w->place];
    const struct moeq_segment *segment = &p->segments[tensor->segment];
    const struct moeq_package_file *file = &p->files[segment->file];
    const struct moeq_tensor *list = &file->st.tensors[file->st.n_tensors - 1];
    size_t k = tensor->segment;
    while (k && p->segments[k - 1].file == segment->file)
        k--;
    struct moeq_bytes bytes = {0}, hashes = {0};
    char path[FIXTURE_PATH];
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&bytes, segment->n_bytes, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&hashes, list->n_bytes, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_file_read(&file->file, segment->offset, bytes.data, bytes.n_bytes, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_file_read(&file->file, list->offset, hashes.data, hashes.n_bytes, NULL), MOEQ_OK);
    bytes.data[tensor->stored->offset - segment->offset + at] ^= 0x10;
    const struct moeq_hash hash = moeq_hash_bytes(bytes.data, bytes.n_bytes);
    memcpy(hashes.data + (tensor->segment - k) * MOEQ_HASH_BYTES, hash.bytes, MOEQ_HASH_BYTES);
    fixture_path(path, made->path, file->name);
    pwrite_all(path, bytes.data, bytes.n_bytes, segment->offset);
    pwrite_all(path, hashes.data, hashes.n_bytes, list->offset);
    json_t *manifest = json_load_file(fixture_path(path, made->path, MOEQ_MANIFEST_NAME), 0, NULL);
    json_t *in_file = member_of(json_object_get(manifest, "files"), "file", file->name);
    json_t *in_segment = member_of(json_object_get(in_file, "segments"), "name", segment->name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(in_segment);
    json_object_set_new(in_file, "hashes_xxh3_128", fixture_hash(hashes.data, hashes.n_bytes));
    json_object_set_new(in_segment, "xxh3_128", fixture_hash(bytes.data, bytes.n_bytes));
    fixture_seal(made->path, manifest);
    json_decref(manifest);
    moeq_bytes_free(&bytes);
    moeq_bytes_free(&hashes);
}

/* Byte 4 of coded bytes is 4 or 8 and nothing else; in the codes a state does not end where it began. */
static void damage_under_right_hashes(void)
{
    static const char *const rules[] = {"experts=ec:3"};
    static const uint64_t places[] = {4, 2000};
    const char *const name = EXPERT(3, 4) ".up_proj.weight";
    struct moeq_source nano;
    open_nano(&nano);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct made made;
        struct moeq_source damaged;
        struct moeq_error err = {0};
        struct moeq_bytes buffer = {0};
        struct moeq_matrix matrix;
        make_package(&made, &nano, pool, rules, 1);
        const struct moeq_weight *w = moeq_source_find(&made.source, name);
        const uint64_t begin = made.source.package.tensors[w->place].stored->offset;
        damage(&made, w, places[i]);
        CU_ASSERT_EQUAL_FATAL(moeq_source_open(&damaged, made.path, NULL), MOEQ_OK);
        w = moeq_source_find(&damaged, name);
        CU_ASSERT_EQUAL(moeq_source_load(&damaged, &w, 1, &buffer, &matrix, &err), MOEQ_DAMAGED);
        CU_ASSERT_STRING_EQUAL(err.tensor, name);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.file, "layer-003.safetensors"));
        CU_ASSERT_TRUE(err.has_offset && err.offset >= begin && err.offset <= begin + w->n_stored);
        w = moeq_source_find(&damaged, EXPERT(3, 4) ".down_proj.weight"); /* of the same segment */
        CU_ASSERT_EQUAL(moeq_source_load(&damaged, &w, 1, &buffer, &matrix, NULL), MOEQ_OK);
        moeq_bytes_free(&buffer);
        moeq_source_close(&damaged);
        remove_package(&made);
    }
    moeq_source_close(&nano);
}

/* ---- manifests ---- */

/* Of the matrix at bf16 [8, 3] in 64 bytes of the made package. */
static void what_cannot_be(void)
{
    static const struct {
        const char *level, *shape, *coded;
        enum moeq_status status;
        const char *says;
    } cases[] = {
        {"ec", "[8,3]", NULL, MOEQ_DAMAGED, "level ec is always coded"},
        {"ec", "[8,3]", "false", MOEQ_DAMAGED, "level ec is always coded"},
        {"bf16", "[8,3]", "true", MOEQ_OK, ""},
        {"int3-g64", "[8,3]", "true", MOEQ_UNSUPPORTED, "8 x 3, is not coded"},
        {"ec", "[8,3]", "true", MOEQ_OK, ""},
        {"ec:3", "[8,3]", "true", MOEQ_OK, ""},
        {"ec:2.75@0.001", "[8,3]", "true", MOEQ_OK, ""},
        {"ec:3x", "[8,3]", "true", MOEQ_UNSUPPORTED, "ec:3x"},
        {"ec", "[2000,2000]", "true", MOEQ_DAMAGED, "the file has 64"},
        {"ec", "[1,4294967296]", "true", MOEQ_DAMAGED, "too large"},
        {"ec", "[9223372036854775807,9223372036854775807]", "true", MOEQ_DAMAGED, ""},
        {"ec", "[4611686018427387904,4,3]", "true", MOEQ_DAMAGED, ""},
        {"ec", "[3074457345618258603,1]", "true", MOEQ_DAMAGED, "the file has 64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[FIXTURE_PATH];
        struct moeq_source s;
        struct moeq_error err = {0};
        fixture_make(folder);
        json_t *manifest = fixture_package(folder);
        json_t *file = member_of(json_object_get(manifest, "files"), "file", FIXTURE_LAYER);
        json_t *segment = member_of(json_object_get(file, "segments"), "name", FIXTURE_EXPERT);
        json_t *tensor = json_array_get(json_object_get(segment, "tensors"), 1);
        json_object_set_new(tensor, "level", json_string(cases[i].level));
        json_object_set_new(tensor, "shape", json_loads(cases[i].shape, 0, NULL));
        if (cases[i].coded)
            json_object_set_new(tensor, "coded", json_boolean(cases[i].coded[0] == 't'));
        fixture_seal(folder, manifest);
        const enum moeq_status status = moeq_source_open(&s, folder, &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].says))
            printf("[%zu: %s] ", i, err.message);
        CU_ASSERT_EQUAL(status, cases[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, cases[i].says));
        if (!status)
            moeq_source_close(&s);
        json_decref(manifest);
        fixture_remove(folder);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"together as alone", together_as_alone},
        {"packages of packages", packages_of_packages},
        {"damage under right hashes", damage_under_right_hashes},
        {"what cannot be", what_cannot_be},
        {NULL, NULL},
    };
    if (!(pool = moeq_pool_create(2, NULL)))
        return 2;
    const int failed = unit_main("coded", tests);
    moeq_pool_join(pool);
    return failed;
}
