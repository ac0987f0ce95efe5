/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TDX_H
#define SKR_EVIDENCE_TDX_H

#include "evidence/snp.h"

/*
 * A TD quote of a guest that chooses its own report data, through configfs-tsm with provider tdx_guest (Linux 6.7 and
 * later). The entry's life, and the failures, are those of tsm.h; SKR-122 if the provider is another, SKR-140 if the
 * host gives no quote, SKR-240 if it does not answer. `ret->report` is the quote, not parsed; there is never a table.
 */
skr_status tdx_from_tsm(const struct snp_question *question, struct snp_answer *ret) MUST_CHECK;

#endif
