/* The verb `moeq pack`. */
#ifndef MOEQ_CMD_PACK_H
#define MOEQ_CMD_PACK_H

#include "options.h"

extern const struct moeq_verb moeq_verb_pack;

#endif
