/* The list of findings: the order of a report, and no text that a terminal would obey. */
#include "unit.h"

#include "findings.h"

static void test_order(void)
{
    struct moeq_findings f = {0};
    moeq_found(&f, MOEQ_FOUND_NO_HASHES, 1, NULL, NULL, "note");
    moeq_found(&f, MOEQ_FOUND_HASH, 1, "b", "get it", "hash %d", 7);
    moeq_found(&f, MOEQ_FOUND_LEFTOVER, 1, "a", NULL, "left");
    moeq_found(&f, MOEQ_FOUND_HASH, 1, "a", NULL, "hash");
    moeq_found(&f, MOEQ_FOUND_MISSING_FILE, 1, "c", NULL, "gone");
    moeq_found(&f, MOEQ_FOUND_MISSING_FILE, 9, "c", NULL, "the shard with 9 tensors");
    moeq_findings_sort(&f);
    CU_ASSERT_EQUAL_FATAL(f.n_items, 5); /* a file is missed once */
    CU_ASSERT_STRING_EQUAL(f.items[0].message, "the shard with 9 tensors");
    CU_ASSERT_STRING_EQUAL(f.items[1].file, "a");
    CU_ASSERT_STRING_EQUAL(f.items[2].message, "hash 7");
    CU_ASSERT_STRING_EQUAL(f.items[2].advice, "get it");
    CU_ASSERT_EQUAL(f.items[3].kind, MOEQ_FOUND_LEFTOVER);
    CU_ASSERT_EQUAL(moeq_findings_count(&f, MOEQ_FAILED), 3);
    CU_ASSERT_EQUAL(moeq_findings_count(&f, MOEQ_WARNING), 1);
    CU_ASSERT_EQUAL(moeq_findings_count(&f, MOEQ_NOTE), 1);
    CU_ASSERT_FALSE(f.stopped.status);
    moeq_findings_free(&f);
}

static void test_hostile_text(void)
{
    struct moeq_findings f = {0};
    moeq_found(&f, MOEQ_FOUND_HASH, 1, "a\x1b[2Jb\xff\xc2\x9b", "x\ny", "\xe4\xb8 \xe5\xae\x89 \x7f");
    CU_ASSERT_STRING_EQUAL(f.items[0].file, "a?[2Jb???");
    CU_ASSERT_STRING_EQUAL(f.items[0].advice, "x?y");
    CU_ASSERT_STRING_EQUAL(f.items[0].message, "?? \xe5\xae\x89 ?");
    json_t *json = moeq_findings_json(&f);
    CU_ASSERT_EQUAL(json_array_size(json), 1);
    json_decref(json);
    moeq_findings_free(&f);
}

/* A million problems of one kind are told in bounded memory. */
static void test_flood(void)
{
    struct moeq_findings f = {0};
    for (int i = 0; i < MOEQ_MAX_OF_KIND + 7; i++)
        moeq_found(&f, MOEQ_FOUND_SIZE, 1, "x", NULL, "%05d", i);
    moeq_found(&f, MOEQ_FOUND_LEFTOVER, 1, "y", NULL, "left");
    moeq_findings_sort(&f);
    CU_ASSERT_EQUAL(f.n_items, MOEQ_MAX_OF_KIND + 2);
    CU_ASSERT_STRING_EQUAL(f.items[0].message, "7 more like those of the kind size");
    CU_ASSERT_EQUAL(f.items[0].n, 7);
    moeq_findings_free(&f);
}

/* Kinds are ordered by severity, and each has a name of its own: --json promises them. */
static void test_kinds(void)
{
    for (int i = 0; i < MOEQ_N_FINDING_KINDS; i++) {
        const char *name = moeq_finding_name((enum moeq_finding_kind)i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(name);
        for (int j = 0; j < i; j++) {
            CU_ASSERT_STRING_NOT_EQUAL(name, moeq_finding_name((enum moeq_finding_kind)j));
            CU_ASSERT(moeq_finding_severity((enum moeq_finding_kind)j) <=
                      moeq_finding_severity((enum moeq_finding_kind)i));
        }
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"the most important first", test_order},
        {"hostile text is shown, not obeyed", test_hostile_text},
        {"a flood", test_flood},
        {"kinds", test_kinds},
        {NULL, NULL},
    };
    return unit_main("findings", tests);
}
