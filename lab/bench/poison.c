// SPDX-License-Identifier: GPL-2.0
/*
 * How long it takes to handle a page of a file that has gone bad, when processes
 * have asked to be told early: memory_failure() looks for each of them in the
 * reverse mapping of the file.
 *
 *   poison [-p PROCESSES] [-m MAPPING] [-r ROUNDS] [-d DIR] [-j FILE]
 *
 * Of the processes, MAPPING map the page. It is a new one in each round, and is
 * lost until the next boot: run it in a guest.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static unsigned int processes = 1000, mapping = 1000, rounds = 10;

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void told(int sig)
{
}

static void read_all(char *map, size_t len, size_t page)
{
	for (size_t at = 0; at < len; at += page)
		FORCE_READ(map[at]);
}

static void be_told(bool maps, char *map, size_t len, size_t page, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0))
		err(EXIT_FAILURE, "PR_MCE_KILL_EARLY");
	if (maps)
		read_all(map, len, page);
	else
		munmap(map, len);
	if (write(ready, "", 1) != 1)
		_exit(EXIT_FAILURE);
	for (;;)
		pause();
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || n < 1 || n > 100000)
		errx(EXIT_FAILURE, "%s: not a number from 1 to 100000", text);
	return n;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = told };
	size_t page = sysconf(_SC_PAGESIZE), len;
	const char *comma = "", *dir = "/tmp";
	char name[PATH_MAX], c, *map;
	FILE *json = stdout;
	int fd, option, ready[2];

	while ((option = getopt(argc, argv, "p:m:r:d:j:")) != -1) {
		switch (option) {
		case 'p':
			processes = number(optarg);
			break;
		case 'm':
			mapping = number(optarg);
			break;
		case 'r':
			rounds = number(optarg);
			break;
		case 'd':
			dir = optarg;
			break;
		case 'j':
			json = create_json(optarg);
			break;
		default:
			errx(EXIT_FAILURE,
			     "usage: poison [-p PROCESSES] [-m MAPPING] [-r ROUNDS] [-d DIR] [-j FILE]");
		}
	}
	len = rounds * page;
	sigaction(SIGBUS, &act, NULL);
	snprintf(name, sizeof(name), "%s/poison.XXXXXX", dir);
	fd = mkstemp(name);
	if (fd < 0)
		skip("%s: %s\n", name, strerror(errno));
	unlink(name);
	for (size_t at = 0; at < len; at += page)
		if (pwrite(fd, name, 1, at) != 1 || ftruncate(fd, at + page))
			err(EXIT_FAILURE, "%s", name);
	/* Or it is dirty, which is another thing. */
	if (fsync(fd))
		err(EXIT_FAILURE, "%s", name);
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || pipe(ready))
		err(EXIT_FAILURE, "mmap");
	for (unsigned int i = 0; i < processes; i++) {
		pid_t child = fork();

		if (child < 0)
			err(EXIT_FAILURE, "fork");
		if (!child)
			be_told(i < mapping, map, len, page, ready[1]);
	}
	for (unsigned int i = 0; i < processes; i++)
		if (read(ready[0], &c, 1) != 1)
			err(EXIT_FAILURE, "a process");
	read_all(map, len, page);

	fprintf(json, "{\"bench\": \"poison\", \"vmas\": %u, \"unit\": \"us\", \"samples\": [", mapping);
	for (unsigned int round = 0; round < rounds; round++) {
		double begin = now_us();

		if (madvise(map + round * page, page, MADV_HWPOISON)) {
			if (errno == EINVAL || errno == EPERM)
				skip("MADV_HWPOISON: %s\n", strerror(errno));
			err(EXIT_FAILURE, "MADV_HWPOISON");
		}
		fprintf(json, "%s%.1f", comma, now_us() - begin);
		comma = ", ";
		/* Those who were told are to be back at their rest. */
		usleep(100000);
	}
	fprintf(json, "]}\n");

	return fclose(json) ? EXIT_FAILURE : EXIT_SUCCESS;
}
