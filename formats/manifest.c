/* manifest.json as text: sealing and checking the seal. */
#include "package.h"

#include <stdlib.h>

#define SEAL_KEY "xxh3_128"

/* The seal covers the compact text of everything but the seal, in insertion order. */
static enum moeq_status hash_unsealed(json_t *manifest, struct moeq_hash *out, struct moeq_error *err)
{
    char *text = moeq_json_text(manifest, false);
    if (!text)
        return moeq_fail_alloc(err, 0);
    *out = moeq_hash_bytes(text, strlen(text));
    free(text);
    return MOEQ_OK;
}

char *moeq_manifest_seal(json_t *manifest, struct moeq_error *err)
{
    struct moeq_hash hash;
    char hex[MOEQ_HASH_HEX];
    json_object_del(manifest, SEAL_KEY);
    if (hash_unsealed(manifest, &hash, err))
        return NULL;
    moeq_hash_hex(hash, hex);
    char *text =
        json_object_set_new(manifest, SEAL_KEY, json_string(hex)) ? NULL : moeq_json_text(manifest, true);
    if (!text)
        moeq_fail_alloc(err, 0);
    return text;
}

static enum moeq_status check_seal(const struct moeq_manifest_kind *kind, json_t *manifest,
                                   struct moeq_error *err)
{
    const char *hex;
    struct moeq_hash promised, found;
    enum moeq_status status = moeq_json_string(manifest, SEAL_KEY, &hex, err);
    if (status)
        return status;
    if (!moeq_hash_parse(hex, &promised))
        return moeq_fail(err, MOEQ_DAMAGED, "the manifest's own hash is not a hash");
    json_object_del(manifest, SEAL_KEY);
    if ((status = hash_unsealed(manifest, &found, err)))
        return status;
    if (!moeq_hash_equal(promised, found)) {
        moeq_fail(err, MOEQ_DAMAGED,
                  "the manifest was changed after it was written: its hash of itself is wrong");
        moeq_error_hint(err, "copy the %s again, or %s", kind->what, kind->again);
        return MOEQ_DAMAGED;
    }
    return MOEQ_OK;
}

static enum moeq_status check_kind(const struct moeq_manifest_kind *kind, const json_t *manifest,
                                   struct moeq_error *err)
{
    const char *format;
    uint64_t version;
    enum moeq_status status = moeq_json_string(manifest, "format", &format, err);
    if (status || (status = moeq_json_uint(manifest, "version", UINT32_MAX, &version, err)))
        return status;
    if (strcmp(format, kind->format) != 0)
        return moeq_fail(err, MOEQ_DAMAGED, "not the manifest of a moeq %s", kind->what);
    if (version != kind->version) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "%s version %llu, this moeq reads version %u", kind->what,
                  (unsigned long long)version, kind->version);
        moeq_error_hint(err, "use the moeq that wrote it, or %s", kind->again);
        return MOEQ_UNSUPPORTED;
    }
    return MOEQ_OK;
}

json_t *moeq_manifest_parse_as(const struct moeq_manifest_kind *kind, const void *text, size_t n_bytes,
                               struct moeq_error *err)
{
    json_t *manifest = moeq_json_parse(text, n_bytes, err);
    if (!manifest)
        return NULL;
    bool good = json_is_object(manifest)
                    ? check_kind(kind, manifest, err) == MOEQ_OK && check_seal(kind, manifest, err) == MOEQ_OK
                    : moeq_fail(err, MOEQ_DAMAGED, "not the manifest of a moeq %s", kind->what) == MOEQ_OK;
    if (!good) {
        json_decref(manifest);
        return NULL;
    }
    return manifest;
}

json_t *moeq_manifest_parse(const void *text, size_t n_bytes, struct moeq_error *err)
{
    static const struct moeq_manifest_kind kind = {MOEQ_PACKAGE_FORMAT, MOEQ_PACKAGE_VERSION, "package",
                                                   "convert again with --force"};
    return moeq_manifest_parse_as(&kind, text, n_bytes, err);
}
