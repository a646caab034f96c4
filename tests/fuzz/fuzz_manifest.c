/* manifest.json of any bytes. A seal keeps out accidents, not an attacker, who can compute it as well: an
 * object that is refused for its seal is sealed anew and must then be accepted. It is then opened as the
 * manifest of a package whose files are sound, and everything that comes out is read. */
#include "fuzz.h"
#include "package_fixture.h"
#include "source.h"

static char folder[FIXTURE_PATH];

static void remove_folder(void)
{
    fixture_remove(folder);
}

/* The package that the manifests are tried on; once a process. */
static void make_folder(void)
{
    if (folder[0])
        return;
    fixture_make(folder);
    atexit(remove_folder);
    json_decref(fixture_package(folder));
}

static void check_package(const struct moeq_package *p)
{
    uint8_t bytes[1024];
    struct moeq_error err = {0};
    for (size_t i = 0; i < p->n_segments; i++) {
        const struct moeq_segment *s = &p->segments[i];
        fuzz_require(s->file < p->n_files && s->offset <= p->files[s->file].file.n_bytes);
        fuzz_require(s->n_bytes <= p->files[s->file].file.n_bytes - s->offset && s->n_bytes <= sizeof bytes);
        moeq_package_read_segment(p, s, bytes, &err);
    }
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct moeq_packed *t = &p->tensors[i];
        fuzz_require(t->segment < p->n_segments && moeq_package_find(p, t->name) == t && t->n_dims <= 8);
        fuzz_require(strcmp(t->stored->name, t->name) == 0);
        fuzz_require(i == 0 || strcmp(p->tensors[i - 1].name, t->name) < 0);
    }
    for (size_t i = 0; i < p->n_files; i++)
        moeq_package_check_head(p, i, NULL);
    for (size_t i = 0; i < p->n_copies; i++)
        if (moeq_name_is_plain(p->copies[i].name))
            moeq_package_check_copy(p, i, NULL);
        else
            fuzz_require(false);
}

/* Loads every weight and decodes its first and last row. */
static void check_source(const struct moeq_source *s)
{
    struct moeq_bytes buffer = {0};
    for (size_t i = 0; i < s->n_weights; i++) {
        const struct moeq_weight *w = &s->weights[i];
        struct moeq_matrix matrix;
        float row[1024];
        if (moeq_source_load(s, &w, 1, &buffer, &matrix, NULL) || !w->format.level->decode || !w->rows)
            continue;
        fuzz_require(matrix.data >= buffer.data && matrix.n_bytes <= buffer.n_bytes);
        uint64_t n = w->cols < 1024 ? w->cols : 1024;
        moeq_decode(&matrix, 0, 0, n, row);
        moeq_decode(&matrix, w->rows - 1, 0, n, row);
    }
    moeq_bytes_free(&buffer);
}

static void open_with(const char *text, size_t n)
{
    struct moeq_package package;
    struct moeq_source source;
    struct moeq_error err = {0};
    char path[FIXTURE_PATH];
    make_folder();
    unlink(fixture_path(path, folder, MOEQ_MANIFEST_NAME)); /* file systems write a truncated file at once */
    fixture_write(folder, MOEQ_MANIFEST_NAME, text, n);
    enum moeq_status status = moeq_package_open(&package, folder, &err);
    fuzz_require_error(status, &err);
    if (status)
        return;
    check_package(&package);
    moeq_package_close(&package);
    status = moeq_source_open(&source, folder, &err);
    fuzz_require_error(status, &err);
    if (status)
        return;
    check_source(&source);
    moeq_source_close(&source);
}

static void seal_and_open(json_t *manifest, bool was_accepted)
{
    struct moeq_error err = {0};
    char *text = moeq_manifest_seal(manifest, NULL);
    if (!text)
        return;
    json_t *sealed = moeq_manifest_parse(text, strlen(text), &err);
    /* only the kind may be wrong now */
    fuzz_require(sealed || !strstr(err.message, "hash"));
    fuzz_require(sealed || !was_accepted);
    if (sealed)
        open_with(text, strlen(text));
    json_decref(sealed);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_error err = {0};
    json_t *accepted = moeq_manifest_parse(data, n, &err);
    fuzz_require((accepted == NULL) == (err.status != MOEQ_OK) && err.status != MOEQ_BUG);
    json_t *manifest = moeq_json_parse(data, n, NULL);
    if (json_is_object(manifest))
        seal_and_open(manifest, accepted != NULL);
    else
        fuzz_require(!accepted);
    json_decref(accepted);
    json_decref(manifest);
    return 0;
}
