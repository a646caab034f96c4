/* Where packed bytes come from that the writing of a package does not make itself: those of matrices whose
 * codes depend on more than the matrix, made a layer at a time. */
#ifndef MOEQ_SUPPLY_H
#define MOEQ_SUPPLY_H

#include "status.h"

/* Who is supplied. */
struct moeq_supplied {
    void *context;
    const bool *is_kept; /* [files of the plan] that are complete already */
    /* Writes a file of the plan, whose calibrated items can be read now. */
    enum moeq_status (*write)(void *context, size_t file, struct moeq_error *err);
};

struct moeq_supply {
    void *context;
    /* Goes through the layers in their order, and has each written that is not kept. */
    enum moeq_status (*run)(void *context, const struct moeq_supplied *to, struct moeq_error *err);
    /* The packed bytes of a calibrated item of the plan, of its n_bytes. */
    enum moeq_status (*read)(void *context, size_t item, uint8_t *packed, struct moeq_error *err);
};

#endif
