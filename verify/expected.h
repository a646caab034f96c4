/* The tensors that files of a model should hold according to config.json: formats/anatomy, in every form in
 * which releases store a weight. A new form of storage is a new row of the table in expected.c. */
#ifndef MOEQ_EXPECTED_H
#define MOEQ_EXPECTED_H

#include "anatomy.h"
#include "safetensors.h"

#define MOEQ_EXPECTED_NAME (MOEQ_NAME_BYTES + 64)

struct moeq_expected_tensor {
    char name[MOEQ_EXPECTED_NAME];
    size_t n_dims;
    uint64_t shape[3];
    uint32_t dtypes; /* a bit 1 << dtype for each that is right */
};

#define MOEQ_MAX_FORM_TENSORS 3

/* One weight: the tensors in which it is stored here; none, where another weight's tensor holds it too. */
struct moeq_expected_weight {
    struct moeq_name id;
    bool optional; /* its absence as a whole is no fault: copies that some releases leave out */
    size_t n_tensors;
    struct moeq_expected_tensor tensors[MOEQ_MAX_FORM_TENSORS];
};

/* How to look into the files; `tensor` returns NULL where there is none of that name. */
struct moeq_expected_files {
    const struct moeq_tensor *(*tensor)(const void *context, const char *name);
    const void *context;
    const char *prefix; /* of the names of the text part: MOEQ_TEXT_PREFIX or "" */
    bool have_fp8;  /* some tensor is F8_E4M3: a missing weight of a release in FP8 is missed in that form */
    uint32_t n_mtp; /* MTP layers to expect */
};

typedef enum moeq_status moeq_expected_visit(void *context, const struct moeq_expected_weight *weight,
                                             struct moeq_error *err);

/* Visits every weight, outside the layers first, then by layer. */
enum moeq_status moeq_expected_all(const struct moeq_config *config, const struct moeq_expected_files *files,
                                   moeq_expected_visit *visit, void *context, struct moeq_error *err);

/* How many weights that are: to refuse a config.json that asks for more than any model has. */
uint64_t moeq_expected_count(const struct moeq_config *config, uint32_t n_mtp);

#endif
