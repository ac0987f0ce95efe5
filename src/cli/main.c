/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int main(int argc, char **argv)
{
	struct terminal terminal = terminal_standard();
	enum exit_code code = command_run(&terminal, argc > 0 ? argc - 1 : 0, argv + 1);

	/* A full disk or a closed pipe must not look like success. */
	if (fflush(stdout) != 0 && code == EXIT_GOOD)
		code = EXIT_BAD;
	return code;
}
