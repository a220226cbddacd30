// SPDX-License-Identifier: GPL-2.0
/*
 * How many pages of a file are read when some of a mapping of it are touched, and how many
 * faults had to wait for that. The same touches each time, of a file that is not cached.
 *
 *   read_bench [-d DIR] [-s MIB] [-j FILE]
 *
 * Readahead of the disk of DIR is 128 KiB meanwhile. DIR is the working directory, if no other
 * is given, and must not be on tmpfs.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

#define AROUND	32	/* pages of 4 KiB: readahead */

static size_t page;
static unsigned long pages;
static char name[PATH_MAX];

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

static unsigned long pages_cached(char *map)
{
	unsigned char *which = malloc(pages);
	unsigned long nr = 0;

	if (!which || mincore(map, pages * page, which))
		err(EXIT_FAILURE, "mincore");
	for (unsigned long i = 0; i < pages; i++)
		nr += which[i] & 1;
	free(which);
	return nr;
}

static unsigned long major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

static void remove_file(void)
{
	unlink(name);
}

static void make_file(void)
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
static char *map_uncached(int prot, int flags)
{
	int fd = open(name, O_RDONLY), tries = 10;
	char *map;

	if (fd < 0)
		err(EXIT_FAILURE, "%s", name);
	map = mmap(NULL, pages * page, prot, flags, fd, 0);
	if (map == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	do {
		if (!tries--)
			skip("%s: the file system keeps what it is told to drop\n", name);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	} while (pages_cached(map));
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
	const char *dir = ".";
	FILE *json = stdout;
	long mib = 64;
	char *end = "";
	int option;

	while ((option = getopt(argc, argv, "d:s:j:")) != -1) {
		switch (option) {
		case 'd':
			dir = optarg;
			break;
		case 's':
			mib = strtol(optarg, &end, 0);
			break;
		case 'j':
			json = create_json(optarg);
			break;
		default:
			usage();
		}
	}
	page = sysconf(_SC_PAGESIZE);
	if (*end || mib < 1 || mib > 4096 || optind != argc)
		usage();
	pages = (mib << 20) / page;
	/* khugepaged reads 2 MiB where it finds a few pages of ours */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		err(EXIT_FAILURE, "PR_SET_THP_DISABLE");
	snprintf(name, sizeof(name), "%s/read_bench-%d", dir, getpid());
	usual_readahead(dir);
	make_file();
	atexit(remove_file);
	fprintf(json, "{\"bench\": \"read\", \"patterns\": {");
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		char *map = map_uncached(patterns[i].prot, patterns[i].flags);
		unsigned long major = major_faults(), touched = 0, at;

		while ((at = patterns[i].nth(touched)) < pages) {
			FORCE_READ(map[at * page]);
			touched++;
		}
		fprintf(json, "%s\"%s\": {\"touched\": %lu, \"cached\": %lu, \"major\": %lu}",
			i ? ", " : "", patterns[i].name, touched, pages_cached(map),
			major_faults() - major);
		munmap(map, pages * page);
	}
	fprintf(json, "}}\n");
	if (fclose(json))
		err(EXIT_FAILURE, "writing what was measured");
	return EXIT_SUCCESS;
}
