#include "names.h"

#include <stdio.h>
#include <string.h>

#define LAYER_PREFIX "model.layers."
#define EXPERT_MARK  "mlp.experts."

/* `tail` follows "model.layers.L." where in_layer, and "mlp.experts.E." where the part is an expert's. */
static const struct {
    const char *tail;
    bool in_layer;
    bool of_expert;
    enum moeq_role role;
    bool quantizable;
} parts[MOEQ_N_PARTS] = {
    [MOEQ_PART_EMBED] = {"model.embed_tokens.weight", false, false, MOEQ_ROLE_EMBED, true},
    [MOEQ_PART_FINAL_NORM] = {"model.norm.weight", false, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_HEAD] = {"lm_head.weight", false, false, MOEQ_ROLE_HEAD, true},
    [MOEQ_PART_ATTENTION_NORM] = {"input_layernorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_Q] = {"self_attn.q_proj.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_Q_A] = {"self_attn.q_a_proj.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_Q_A_NORM] = {"self_attn.q_a_layernorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_Q_B] = {"self_attn.q_b_proj.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_KV_A] = {"self_attn.kv_a_proj_with_mqa.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_KV_A_NORM] = {"self_attn.kv_a_layernorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_KV_B] = {"self_attn.kv_b_proj.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_O] = {"self_attn.o_proj.weight", true, false, MOEQ_ROLE_ATTENTION, true},
    [MOEQ_PART_INDEXER_Q] = {"self_attn.indexer.wq_b.weight", true, false, MOEQ_ROLE_INDEXER, false},
    [MOEQ_PART_INDEXER_K] = {"self_attn.indexer.wk.weight", true, false, MOEQ_ROLE_INDEXER, false},
    [MOEQ_PART_INDEXER_K_NORM] = {"self_attn.indexer.k_norm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_INDEXER_K_BIAS] = {"self_attn.indexer.k_norm.bias", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_INDEXER_WEIGHTS] = {"self_attn.indexer.weights_proj.weight", true, false, MOEQ_ROLE_INDEXER,
                                   false},
    [MOEQ_PART_FFN_NORM] = {"post_attention_layernorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_DENSE_GATE] = {"mlp.gate_proj.weight", true, false, MOEQ_ROLE_DENSE, true},
    [MOEQ_PART_DENSE_UP] = {"mlp.up_proj.weight", true, false, MOEQ_ROLE_DENSE, true},
    [MOEQ_PART_DENSE_DOWN] = {"mlp.down_proj.weight", true, false, MOEQ_ROLE_DENSE, true},
    [MOEQ_PART_ROUTER] = {"mlp.gate.weight", true, false, MOEQ_ROLE_ROUTER, false},
    [MOEQ_PART_ROUTER_BIAS] = {"mlp.gate.e_score_correction_bias", true, false, MOEQ_ROLE_ROUTER, false},
    [MOEQ_PART_SHARED_GATE] = {"mlp.shared_experts.gate_proj.weight", true, false, MOEQ_ROLE_SHARED, true},
    [MOEQ_PART_SHARED_UP] = {"mlp.shared_experts.up_proj.weight", true, false, MOEQ_ROLE_SHARED, true},
    [MOEQ_PART_SHARED_DOWN] = {"mlp.shared_experts.down_proj.weight", true, false, MOEQ_ROLE_SHARED, true},
    [MOEQ_PART_EXPERT_GATE] = {"gate_proj.weight", true, true, MOEQ_ROLE_EXPERTS, true},
    [MOEQ_PART_EXPERT_UP] = {"up_proj.weight", true, true, MOEQ_ROLE_EXPERTS, true},
    [MOEQ_PART_EXPERT_DOWN] = {"down_proj.weight", true, true, MOEQ_ROLE_EXPERTS, true},
    [MOEQ_PART_MTP_EMBED_NORM] = {"enorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_MTP_HIDDEN_NORM] = {"hnorm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_MTP_PROJECTION] = {"eh_proj.weight", true, false, MOEQ_ROLE_MTP, true},
    [MOEQ_PART_MTP_HEAD_NORM] = {"shared_head.norm.weight", true, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_MTP_HEAD] = {"shared_head.head.weight", true, false, MOEQ_ROLE_HEAD, true},
    [MOEQ_PART_MTP_EMBED] = {"embed_tokens.weight", true, false, MOEQ_ROLE_EMBED, true},
    [MOEQ_PART_FUSED_GATE_UP] = {"mlp.experts.gate_up_proj", true, false, MOEQ_ROLE_EXPERTS, true},
    [MOEQ_PART_FUSED_DOWN] = {"mlp.experts.down_proj", true, false, MOEQ_ROLE_EXPERTS, true},
    [MOEQ_PART_INV_FREQ] = {"self_attn.rotary_emb.inv_freq", true, false, MOEQ_ROLE_OTHER, false},
    [MOEQ_PART_VISION] = {"vision_tower.", false, false, MOEQ_ROLE_VISION, false},
    /* The names of DeepSeek-V4 are in v4_names. */
    [MOEQ_PART_V4_EMBED] = {"", false, false, MOEQ_ROLE_EMBED, false},
    [MOEQ_PART_V4_HEAD] = {"", false, false, MOEQ_ROLE_HEAD, false},
    [MOEQ_PART_V4_NORM] = {"", false, false, MOEQ_ROLE_NORM, false},
    [MOEQ_PART_V4_ATTENTION] = {"", false, false, MOEQ_ROLE_ATTENTION, false},
    [MOEQ_PART_V4_INDEXER] = {"", false, false, MOEQ_ROLE_INDEXER, false},
    [MOEQ_PART_V4_ROUTER] = {"", false, false, MOEQ_ROLE_ROUTER, false},
    [MOEQ_PART_V4_SHARED] = {"", false, false, MOEQ_ROLE_SHARED, false},
    [MOEQ_PART_V4_EXPERT] = {"", false, false, MOEQ_ROLE_EXPERTS, false},
    [MOEQ_PART_V4_STREAMS] = {"", false, false, MOEQ_ROLE_STREAMS, false},
    [MOEQ_PART_V4_MTP] = {"", false, false, MOEQ_ROLE_MTP, false},
    [MOEQ_PART_OTHER] = {"", false, false, MOEQ_ROLE_OTHER, false},
};

static const char *const role_names[MOEQ_N_ROLES] = {
    [MOEQ_ROLE_EXPERTS] = "experts", [MOEQ_ROLE_SHARED] = "shared", [MOEQ_ROLE_DENSE] = "dense",
    [MOEQ_ROLE_ATTENTION] = "attn",  [MOEQ_ROLE_EMBED] = "embed",   [MOEQ_ROLE_HEAD] = "head",
    [MOEQ_ROLE_MTP] = "mtp",         [MOEQ_ROLE_ROUTER] = "router", [MOEQ_ROLE_NORM] = "norm",
    [MOEQ_ROLE_INDEXER] = "indexer", [MOEQ_ROLE_VISION] = "vision", [MOEQ_ROLE_STREAMS] = "streams",
    [MOEQ_ROLE_OTHER] = "other",
};

/* Reads "123." at *p, as these files write it: no sign, no leading zero, below 10^6. Returns -1 otherwise. */
static int take_index(const char **p)
{
    const char *s = *p;
    int value = 0, digits = 0;
    while (s[digits] >= '0' && s[digits] <= '9' && digits < 7)
        value = value * 10 + (s[digits++] - '0');
    if (digits == 0 || digits == 7 || s[digits] != '.' || (digits > 1 && s[0] == '0'))
        return -1;
    *p = s + digits + 1;
    return value;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

const char *moeq_name_in_text(const char *tensor)
{
    return starts_with(tensor, MOEQ_TEXT_PREFIX) ? tensor + strlen(MOEQ_TEXT_PREFIX) : tensor;
}

static bool is_vision(const char *tensor)
{
    static const char *const prefixes[] = {"vision_tower.", "mm_projector.", "multi_modal_projector."};
    bool found = false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        found = found || starts_with(tensor, prefixes[i]);
    return found;
}

/* Beginnings of names, the first that fits counts; in a layer what follows "layers.N." or "mtp.N.". */
static const struct {
    const char *prefix;
    bool in_layer;
    enum moeq_part part;
} v4_names[] = {
    {"embed.weight", false, MOEQ_PART_V4_EMBED},
    {"head.weight", false, MOEQ_PART_V4_HEAD},
    {"norm.weight", false, MOEQ_PART_V4_NORM},
    {"hc_head_", false, MOEQ_PART_V4_STREAMS},
    {"ffn.experts.", true, MOEQ_PART_V4_EXPERT},
    {"ffn.shared_experts.", true, MOEQ_PART_V4_SHARED},
    {"ffn.gate.", true, MOEQ_PART_V4_ROUTER},
    {"attn.indexer.", true, MOEQ_PART_V4_INDEXER},
    {"attn.q_norm.", true, MOEQ_PART_V4_NORM},
    {"attn.kv_norm.", true, MOEQ_PART_V4_NORM},
    {"attn.compressor.norm.", true, MOEQ_PART_V4_NORM},
    {"attn.", true, MOEQ_PART_V4_ATTENTION},
    {"attn_norm.", true, MOEQ_PART_V4_NORM},
    {"ffn_norm.", true, MOEQ_PART_V4_NORM},
    {"enorm.", true, MOEQ_PART_V4_NORM},
    {"hnorm.", true, MOEQ_PART_V4_NORM},
    {"norm.", true, MOEQ_PART_V4_NORM},
    {"hc_", true, MOEQ_PART_V4_STREAMS},
    {"e_proj.", true, MOEQ_PART_V4_MTP},
    {"h_proj.", true, MOEQ_PART_V4_MTP},
};

static struct moeq_name parse_v4(const char *tensor)
{
    struct moeq_name name = {MOEQ_PART_OTHER, -1, -1};
    const char *tail = tensor;
    const bool main_layer = starts_with(tensor, "layers."),
               in_layer = main_layer || starts_with(tensor, "mtp.");
    if (in_layer) {
        tail = strchr(tensor, '.') + 1;
        int layer = take_index(&tail);
        if (layer < 0)
            return name;
        name.layer = main_layer ? layer : -1; /* which number an MTP layer has, only config.json says */
    }
    for (size_t i = 0; i < sizeof v4_names / sizeof *v4_names; i++)
        if (v4_names[i].in_layer == in_layer && starts_with(tail, v4_names[i].prefix)) {
            name.part = v4_names[i].part;
            break;
        }
    return name;
}

struct moeq_name moeq_name_parse(const char *tensor)
{
    struct moeq_name name = {MOEQ_PART_OTHER, -1, -1};
    int expert = -1;
    if (is_vision(tensor)) {
        name.part = MOEQ_PART_VISION;
        return name;
    }
    tensor = moeq_name_in_text(tensor);
    const char *tail = tensor;
    if (starts_with(tensor, LAYER_PREFIX)) {
        tail = tensor + strlen(LAYER_PREFIX);
        name.layer = take_index(&tail);
        if (name.layer < 0)
            return name;
        if (starts_with(tail, EXPERT_MARK)) {
            const char *after = tail + strlen(EXPERT_MARK);
            expert = take_index(&after);
            tail = expert >= 0 ? after : tail;
        }
    }
    for (int i = 0; i < MOEQ_PART_VISION; i++)
        if (parts[i].in_layer == (name.layer >= 0) && parts[i].of_expert == (expert >= 0) &&
            strcmp(tail, parts[i].tail) == 0) {
            name.part = (enum moeq_part)i;
            name.expert = expert;
            return name;
        }
    return name.layer >= 0 ? name : parse_v4(tensor);
}

const char *moeq_name_format(enum moeq_part part, int layer, int expert, char *dst, size_t capacity)
{
    if (parts[part].of_expert)
        snprintf(dst, capacity, LAYER_PREFIX "%d." EXPERT_MARK "%d.%s", layer, expert, parts[part].tail);
    else if (parts[part].in_layer)
        snprintf(dst, capacity, LAYER_PREFIX "%d.%s", layer, parts[part].tail);
    else
        snprintf(dst, capacity, "%s", parts[part].tail);
    return dst;
}

enum moeq_role moeq_part_role(enum moeq_part part)
{
    return parts[part].role;
}

bool moeq_part_quantizable(enum moeq_part part)
{
    return parts[part].quantizable;
}

bool moeq_part_fp8_in_releases(enum moeq_part part)
{
    static const bool by_role[MOEQ_N_ROLES] = {[MOEQ_ROLE_EXPERTS] = true,
                                               [MOEQ_ROLE_SHARED] = true,
                                               [MOEQ_ROLE_DENSE] = true,
                                               [MOEQ_ROLE_ATTENTION] = true};
    return by_role[parts[part].role] || part == MOEQ_PART_INDEXER_Q || part == MOEQ_PART_INDEXER_K;
}

const char *moeq_role_name(enum moeq_role role)
{
    return role_names[role];
}

bool moeq_role_find(const char *name, enum moeq_role *out)
{
    for (int i = 0; i < MOEQ_N_ROLES; i++)
        if (strcmp(name, role_names[i]) == 0) {
            *out = (enum moeq_role)i;
            return true;
        }
    return false;
}

bool moeq_glob_match(const char *glob, const char *name)
{
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (*glob == '*') {
            star = glob++;
            resume = name;
        } else if (*glob == '?' || *glob == *name) {
            glob++;
            name++;
        } else if (star) {
            glob = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}
