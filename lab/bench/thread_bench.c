// SPDX-License-Identifier: GPL-2.0
/*
 * What the second thread of a process costs it, in TSC, which under QEMU's -icount are
 * instructions.
 *
 *   thread_bench shared	a minor fault, while a second thread is alive (without one:
 *				fault_storm minor)
 *   thread_bench first		the first pthread_create() of a process
 *   thread_bench second	the second one
 *   thread_bench switch	a context switch between two processes that pass a byte to and
 *				fro, with what the pipe costs
 *   thread_bench switch_threads	the same between two threads of a process
 *
 * Each sample is of a new process.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SAMPLES		31
#define PAGES		4096
#define ROUNDS		500

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

static double create(void)
{
	unsigned long long begin = read_tsc();
	pthread_t thread;

	if (pthread_create(&thread, NULL, sleeper, NULL))
		errx(EXIT_FAILURE, "pthread_create");
	return read_tsc() - begin;
}

static double shared(void)
{
	size_t page = sysconf(_SC_PAGESIZE), len = PAGES * page;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long long begin;

	create();
	if (p == MAP_FAILED || madvise(p, len, MADV_NOHUGEPAGE))
		err(EXIT_FAILURE, "memory");
	/* page tables and lists are warm behind the first round */
	for (int round = 0; round < 2; round++) {
		madvise(p, len, MADV_DONTNEED);
		begin = read_tsc();
		for (size_t at = 0; at < len; at += page)
			p[at] = 1;
	}
	return (double)(read_tsc() - begin) / PAGES;
}

static double second(void)
{
	create();
	return create();
}

struct pipes {
	int there[2], back[2];
};

static void pass(int from, int to)
{
	char byte;

	if (read(from, &byte, 1) != 1 || write(to, &byte, 1) != 1)
		err(EXIT_FAILURE, "pipe");
}

static void *answer(void *arg)
{
	struct pipes *pipes = arg;

	for (int round = 0; round < 2 * ROUNDS; round++)
		pass(pipes->there[0], pipes->back[1]);
	return NULL;
}

static double switches(bool threads)
{
	unsigned long long begin;
	struct pipes pipes;
	pthread_t thread;
	pid_t child;

	if (pipe(pipes.there) || pipe(pipes.back))
		err(EXIT_FAILURE, "pipe");
	if (threads) {
		if (pthread_create(&thread, NULL, answer, &pipes))
			errx(EXIT_FAILURE, "pthread_create");
	} else {
		child = fork();
		if (child < 0)
			err(EXIT_FAILURE, "fork");
		if (!child) {
			answer(&pipes);
			_exit(EXIT_SUCCESS);
		}
	}
	if (write(pipes.there[1], "", 1) != 1)
		err(EXIT_FAILURE, "pipe");
	/* the first half warms */
	for (int half = 0; half < 2; half++) {
		begin = read_tsc();
		for (int round = 0; round < ROUNDS; round++)
			pass(pipes.back[0], pipes.there[1]);
	}
	return (double)(read_tsc() - begin) / (2 * ROUNDS);
}

static double switch_processes(void)
{
	return switches(false);
}

static double switch_threads(void)
{
	return switches(true);
}

static const struct {
	const char *name, *bench;
	double (*sample)(void);
} benches[] = {
	{ "shared", "minor_shared", shared },
	{ "first", "first_thread", create },
	{ "second", "second_thread", second },
	{ "switch", "switch", switch_processes },
	{ "switch_threads", "switch_threads", switch_threads },
};

int main(int argc, char **argv)
{
	FILE *json = argc == 4 && !strcmp(argv[2], "-j") ? create_json(argv[3]) : stdout;
	unsigned int which = 0;
	double sample;
	int out[2];

	while (which < ARRAY_SIZE(benches) && (argc < 2 || strcmp(argv[1], benches[which].name)))
		which++;
	if (which == ARRAY_SIZE(benches) || (argc != 2 && argc != 4)) {
		fprintf(stderr, "usage: thread_bench {shared | first | second | switch | switch_threads} [-j FILE]\n");
		return EXIT_FAILURE;
	}
	fprintf(json, "{\"bench\": \"%s\", \"unit\": \"tsc\", \"vmas\": 1, \"samples\": [",
		benches[which].bench);
	for (int i = 0; i < SAMPLES; i++) {
		if (pipe(out))
			err(EXIT_FAILURE, "pipe");
		fflush(json);
		if (!fork()) {
			sample = benches[which].sample();
			_exit(write(out[1], &sample, sizeof(sample)) != sizeof(sample));
		}
		close(out[1]);
		if (read(out[0], &sample, sizeof(sample)) != sizeof(sample))
			errx(EXIT_FAILURE, "a process that was to measure ended");
		close(out[0]);
		wait(NULL);
		fprintf(json, "%s%.3f", i ? ", " : "", sample);
	}
	fprintf(json, "]}\n");
	if (fclose(json))
		err(EXIT_FAILURE, "writing what was measured");
	return EXIT_SUCCESS;
}
