/* What the test programs share: one CUnit suite a program, in basic mode (CUnit's JUnit mode aborts at the
 * first failed assertion), one ctest test a program. */
#ifndef MOEQ_UNIT_H
#define MOEQ_UNIT_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit_test {
    const char *name;
    void (*run)(void);
};

#define UNIT_SKIPPED 77 /* exit code that ctest counts as skipped */

/* Runs the tests (ending with a NULL name) as one suite; the value for main to return. */
static inline int unit_main(const char *suite_name, const struct unit_test *tests)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (; suite && tests->name; tests++)
        if (!CU_add_test(suite, tests->name, tests->run))
            suite = NULL;
    if (!suite)
        return 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures ? 1 : 0;
}

#endif
