/* What download tools leave, of any bytes: SHA256SUMS, trees/COMMIT.json and FILE.metadata. Whatever comes
 * out has a path that stays in its folder and hashes of the right form. */
#include "file.h"
#include "fuzz.h"
#include "records.h"

static void check_hex(const char *hex, size_t n)
{
    fuzz_require(hex[0] == '\0' || strlen(hex) == n);
    fuzz_require(strspn(hex, "0123456789abcdef") == strlen(hex));
}

static void check_records(struct moeq_records *records)
{
    for (size_t i = 0; i < records->n_items; i++) {
        const struct moeq_record *r = &records->items[i];
        fuzz_require(moeq_path_stays_inside(r->path) && r->path[0] != '/' && !strstr(r->path, "//"));
        check_hex(r->sha256, MOEQ_SHA256_HEX - 1);
        check_hex(r->git_sha1, MOEQ_SHA1_HEX - 1);
        fuzz_require(r->sha256[0] || r->git_sha1[0]);
        fuzz_require(r->n_bytes <= INT64_MAX && (r->has_size || r->n_bytes == 0));
    }
    fuzz_require(!records->n_outside == !records->outside[0] || records->n_outside);
    moeq_records_free(records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_records records = {0};
    struct moeq_hf_metadata metadata;
    struct moeq_error err = {0};
    fuzz_require(moeq_sums_parse((const char *)data, n, n % 2 ? "model.safetensors" : NULL, &records, &err) ==
                 MOEQ_OK);
    check_records(&records);
    fuzz_require_error(moeq_tree_parse(data, n, &records, &err), &err);
    check_records(&records);
    err = (struct moeq_error){0};
    enum moeq_status status = moeq_hf_metadata_parse((const char *)data, n, &metadata, &err);
    fuzz_require_error(status, &err);
    if (!status) {
        check_hex(metadata.commit, MOEQ_SHA1_HEX - 1);
        check_hex(metadata.sha256, MOEQ_SHA256_HEX - 1);
        check_hex(metadata.git_sha1, MOEQ_SHA1_HEX - 1);
        fuzz_require(metadata.commit[0] && !metadata.sha256[0] != !metadata.git_sha1[0]);
    }
    return 0;
}
