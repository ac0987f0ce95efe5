/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int main(int argc, char **argv)
{
	struct terminal terminal = terminal_standard();
	enum exit_code code = command_run(&terminal, argc > 0 ? argc - 1 : 0, argv + 1);

	/* A full disk or a closed pipe must not look like success; what failed may have been an earlier flush. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_GOOD) {
		fputs("skr-pkcs11: the output could not be written\n", stderr);
		code = EXIT_BAD;
	}
	return code;
}
