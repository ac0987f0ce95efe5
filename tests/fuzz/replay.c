/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over its corpus without a fuzzer, then over every truncation and some bit flips of each file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const uint8_t *data, size_t size)
{
	/* An exact allocation, so that a sanitizer sees one byte too many. */
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *path)
{
	static uint8_t data[256 * 1024];
	FILE *file = fopen(path, "rb");
	if (!file)
		return 0;
	size_t size = fread(data, 1, sizeof(data), file);
	fclose(file);

	run(data, size);
	size_t step = size / 256 + 1;
	for (size_t cut = 0; cut < size; cut += step)
		run(data, cut);
	for (size_t at = 0; at < size; at += step) {
		uint8_t before = data[at];
		data[at] ^= (uint8_t)(1U << (at % 8));
		run(data, size);
		data[at] = before;
	}
	return 1;
}

int main(int argc, char **argv)
{
	int files = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		if (!dir) {
			files += run_file(argv[i]);
			continue;
		}
		for (struct dirent *entry; (entry = readdir(dir));) {
			char path[4096];
			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
			files += run_file(path);
		}
		closedir(dir);
	}
	printf("%d corpus files replayed\n", files);
	return files ? 0 : 1; /* an empty corpus tests nothing */
}
