/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tdx.h"

#include "evidence/td_quote.h"
#include "evidence/tsm.h"

skr_status tdx_from_tsm(const struct snp_question *question, struct snp_answer *ret)
{
	static const struct tsm_provider tdx_guest = {
	    .name = "tdx_guest",
	    .report_limit = TD_QUOTE_LIMIT,
	    .no_report = 140, /* the host's quoting service is at the other side, not the processor */
	    .no_answer = 240,
	};

	return tsm_report(&tdx_guest, question, ret);
}
