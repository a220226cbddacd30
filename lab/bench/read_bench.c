// SPDX-License-Identifier: GPL-2.0
/*
 * What is read from a file when pages of a mapping of it are touched, in KiB, and how many
 * faults had to wait for it. The same touches each time, of a file that is not cached.
 *
 *   read_bench [-d DIR] [-s MIB] [-j FILE]
 *
 * Readahead is what the file system's device has. DIR is the working directory, if no
 * other is given, and must not be on tmpfs.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

#define AROUND	32	/* pages: the default readahead, 128 KiB */

static size_t page;
static unsigned long pages = 16384;

/* The n-th page to touch, or pages at the end. A generator of the least that will do. */
static unsigned long at_random(unsigned long n)
{
	static unsigned long state;

	state = n ? state * 6364136223846793005 + 1442695040888963407 : 1;
	return n < 200 ? (state >> 33) % pages : pages;
}

static unsigned long one_in_window(unsigned long n)
{
	return n * AROUND < pages ? n * AROUND : pages;
}

static unsigned long in_order(unsigned long n)
{
	return n;
}

/* All of a window, its last page first */
static unsigned long backward(unsigned long n)
{
	return n < AROUND ? pages / 2 + AROUND - n : pages;
}

static const struct {
	const char *name;
	unsigned long (*nth)(unsigned long n);
	int prot, flags;
} patterns[] = {
	{ "random", at_random, PROT_READ, MAP_PRIVATE },
	{ "random_shared", at_random, PROT_READ, MAP_SHARED },
	{ "random_text", at_random, PROT_READ | PROT_EXEC, MAP_PRIVATE },
	{ "one_in_window", one_in_window, PROT_READ, MAP_PRIVATE },
	{ "backward", backward, PROT_READ, MAP_PRIVATE },
	{ "in_order", in_order, PROT_READ, MAP_PRIVATE },
	{ "in_order_text", in_order, PROT_READ | PROT_EXEC, MAP_PRIVATE },
};

static unsigned long kib_read(void)
{
	unsigned long bytes;
	FILE *io = fopen("/proc/self/io", "r");
	char line[64];

	while (io && fgets(line, sizeof(line), io)) {
		if (sscanf(line, "read_bytes: %lu", &bytes) == 1) {
			fclose(io);
			return bytes / 1024;
		}
	}
	skip("no read_bytes in /proc/self/io: CONFIG_TASK_IO_ACCOUNTING\n");
}

static unsigned long major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

static void make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	char *text = malloc(page);

	if (fd < 0)
		err(EXIT_FAILURE, "%s", name);
	memset(text, 1, page);
	for (unsigned long i = 0; i < pages; i++) {
		if (write(fd, text, page) != (ssize_t)page)
			err(EXIT_FAILURE, "%s", name);
	}
	if (fsync(fd))
		err(EXIT_FAILURE, "%s", name);
	free(text);
	close(fd);
}

/* Another open file has no history of reads. */
static char *map_uncached(const char *name, int prot, int flags)
{
	int fd = open(name, O_RDONLY);
	char *map;

	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		err(EXIT_FAILURE, "%s", name);
	map = mmap(NULL, pages * page, prot, flags, fd, 0);
	if (map == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	close(fd);
	return map;
}

static void usage(void)
{
	fprintf(stderr, "usage: read_bench [-d DIR] [-s MIB] [-j FILE]\n");
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	char name[PATH_MAX];
	const char *dir = ".";
	FILE *json = stdout;
	long mib = 64;
	int option;

	while ((option = getopt(argc, argv, "d:s:j:")) != -1) {
		switch (option) {
		case 'd':
			dir = optarg;
			break;
		case 's':
			mib = atol(optarg);
			break;
		case 'j':
			json = create_json(optarg);
			break;
		default:
			usage();
		}
	}
	page = sysconf(_SC_PAGESIZE);
	if (mib < 1 || mib > 4096 || optind != argc)
		usage();
	pages = (mib << 20) / page;
	snprintf(name, sizeof(name), "%s/read_bench-%d", dir, getpid());
	make_file(name);
	fprintf(json, "{\"bench\": \"read\", \"patterns\": {");
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		char *map = map_uncached(name, patterns[i].prot, patterns[i].flags);
		unsigned long kib = kib_read(), major = major_faults(), touched = 0, at;

		while ((at = patterns[i].nth(touched)) < pages) {
			FORCE_READ(map[at * page]);
			touched++;
		}
		fprintf(json, "%s\"%s\": {\"touched\": %lu, \"kib\": %lu, \"major\": %lu}",
			i ? ", " : "", patterns[i].name, touched, kib_read() - kib,
			major_faults() - major);
		munmap(map, pages * page);
	}
	fprintf(json, "}}\n");
	unlink(name);
	if (fclose(json))
		err(EXIT_FAILURE, "writing what was measured");
	return EXIT_SUCCESS;
}
