/* A safetensors header of any bytes. What is accepted tiles the file exactly, and the header that moeq would
 * write for the same tensors reads back the same. The file has the bytes given and, where the input ends in 8
 * bytes whose last is 0xEE, as many more as the 7 before it say: headers of large files without the data. */
#include "fuzz.h"
#include "safetensors.h"

#include <stdlib.h>

static uint64_t file_size(const uint8_t *data, size_t *n)
{
    if (*n < 8 || data[*n - 1] != 0xEE)
        return *n;
    *n -= 8;
    return *n + (moeq_load_u64le(data + *n) & 0x00FFFFFFFFFFFFFF);
}

static void check_tensors(const struct moeq_safetensors *st)
{
    uint64_t end = st->data_offset;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *t = &st->tensors[i];
        uint64_t n_bits;
        fuzz_require(t->offset == end && t->n_bytes <= st->n_bytes - end && (int)t->dtype < MOEQ_N_DTYPES);
        fuzz_require(moeq_shape_elements(t->shape, t->n_dims, &n_bits));
        fuzz_require(moeq_mul(n_bits, moeq_dtype_bits(t->dtype), &n_bits) && n_bits == t->n_bytes * 8);
        fuzz_require(moeq_utf8_valid((const uint8_t *)t->name, strlen(t->name), NULL));
        end += t->n_bytes;
    }
    fuzz_require(end == st->n_bytes);
}

static void check_rebuilt(const struct moeq_safetensors *st)
{
    struct moeq_safetensors again;
    struct moeq_bytes head = {0};
    struct moeq_tensor *copy = calloc(st->n_tensors + 1, sizeof *copy);
    if (!copy)
        return;
    memcpy(copy, st->tensors, st->n_tensors * sizeof *copy);
    json_t *metadata = moeq_safetensors_metadata_json(st);
    fuzz_require(metadata != NULL);
    fuzz_require(moeq_safetensors_build(copy, st->n_tensors, metadata, &head, NULL) == MOEQ_OK);
    json_decref(metadata);
    fuzz_require(head.n_bytes % 64 == 0);
    uint64_t n_file = head.n_bytes + (st->n_bytes - st->data_offset);
    fuzz_require(moeq_safetensors_parse(&again, head.data, head.n_bytes, n_file, MOEQ_STRICT, NULL) ==
                 MOEQ_OK);
    check_tensors(&again);
    fuzz_require(again.n_tensors == st->n_tensors);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *a = &st->tensors[i], *b = &again.tensors[i];
        fuzz_require(a->offset - st->data_offset == b->offset - again.data_offset &&
                     a->n_bytes == b->n_bytes);
        fuzz_require(strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->n_dims == b->n_dims);
        fuzz_require(memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0);
    }
    moeq_safetensors_free(&again);
    moeq_bytes_free(&head);
    free(copy);
}

/* What is read strictly is read leniently, and alike. */
static void check_lenient(const struct moeq_safetensors *st, const uint8_t *data, size_t n, uint64_t n_file)
{
    struct moeq_safetensors lenient;
    fuzz_require(moeq_safetensors_parse(&lenient, data, n, n_file, MOEQ_LENIENT, NULL) == MOEQ_OK);
    fuzz_require(lenient.n_tensors == st->n_tensors && lenient.n_metadata == st->n_metadata);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *a = &st->tensors[i], *b = &lenient.tensors[i];
        fuzz_require(strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->n_dims == b->n_dims);
        fuzz_require(a->offset == b->offset && a->n_bytes == b->n_bytes);
    }
    moeq_safetensors_free(&lenient);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    uint64_t n_file = file_size(data, &n);
    enum moeq_status status = moeq_safetensors_parse(&st, data, n, n_file, MOEQ_LENIENT, &err);
    fuzz_require_error(status, &err);
    if (!status) {
        check_tensors(&st);
        moeq_safetensors_free(&st);
    }
    err = (struct moeq_error){0};
    status = moeq_safetensors_parse(&st, data, n, n_file, MOEQ_STRICT, &err);
    fuzz_require_error(status, &err);
    if (status)
        return 0;
    check_tensors(&st);
    moeq_safetensors_metadata(&st, "format");
    check_lenient(&st, data, n, n_file);
    check_rebuilt(&st);
    moeq_safetensors_free(&st);
    return 0;
}
