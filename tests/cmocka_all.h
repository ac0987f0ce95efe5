/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka with what it needs to be included first. */
#ifndef SKR_TESTS_CMOCKA_ALL_H
#define SKR_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif
