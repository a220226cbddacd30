/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of this folder share. */
#ifndef BENCH_H
#define BENCH_H

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Neither EXIT_SUCCESS nor EXIT_FAILURE: this machine lacks what it takes. */
#define EXIT_SKIP		4

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define FORCE_READ(x)		(*(const volatile typeof(x) *)&(x))
#define __noreturn		__attribute__((noreturn))
#define __printf(text, first)	__attribute__((format(printf, text, first)))
#define __always_unused		__attribute__((unused))

#define skip(...)				\
	do {					\
		fprintf(stderr, "skipped: ");	\
		fprintf(stderr, __VA_ARGS__);	\
		exit(EXIT_SKIP);		\
	} while (0)

/* The file that -j names. */
static inline FILE *create_json(const char *path)
{
	FILE *json = fopen(path, "w");

	if (!json)
		err(EXIT_FAILURE, "%s", path);
	return json;
}

static char __always_unused readahead_path[64], __always_unused readahead_before[16];

static inline void restore_readahead(void)
{
	FILE *file = fopen(readahead_path, "w");

	if (!file || fputs(readahead_before, file) < 0 || fclose(file))
		warn("%s: was %s", readahead_path, readahead_before);
}

/*
 * 128 KiB for a disk, or that of a folder, until the program ends. Some have much more, and a
 * small file is read as a whole.
 */
static inline void usual_readahead(const char *path)
{
	struct stat st;
	dev_t disk;
	FILE *file;

	if (stat(path, &st))
		err(EXIT_FAILURE, "%s", path);
	disk = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	snprintf(readahead_path, sizeof(readahead_path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		 major(disk), minor(disk));
	file = fopen(readahead_path, "r+");
	if (!file || !fgets(readahead_before, sizeof(readahead_before), file))
		skip("%s: %s\n", readahead_path, strerror(errno));
	rewind(file);
	if (fputs("128", file) < 0 || fclose(file))
		skip("%s: %s\n", readahead_path, strerror(errno));
	atexit(restore_readahead);
}

static inline unsigned long long read_tsc(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	skip("no TSC on this architecture\n");
#endif
}

/* The CPUs that it may run on, or NULL with errno. */
static inline int *allowed_cpus(int *nr)
{
	for (int max = 1024; max <= 1 << 20; max *= 2) {
		cpu_set_t *set = CPU_ALLOC(max);
		size_t size = CPU_ALLOC_SIZE(max);
		int *cpus = calloc(max, sizeof(*cpus));

		if (!set || !cpus)
			return NULL;
		if (!sched_getaffinity(0, size, set)) {
			*nr = 0;
			for (int cpu = 0; cpu < max; cpu++) {
				if (CPU_ISSET_S(cpu, size, set))
					cpus[(*nr)++] = cpu;
			}
			CPU_FREE(set);
			return cpus;
		}
		CPU_FREE(set);
		free(cpus);
		if (errno != EINVAL)
			return NULL;
	}
	return NULL;
}

static inline bool run_on(int cpu)
{
	cpu_set_t *set = CPU_ALLOC(cpu + 1);
	size_t size = CPU_ALLOC_SIZE(cpu + 1);
	bool done;

	if (!set)
		return false;
	CPU_ZERO_S(size, set);
	CPU_SET_S(cpu, size, set);
	done = !sched_setaffinity(0, size, set);
	CPU_FREE(set);
	return done;
}

#endif /* BENCH_H */
