// SPDX-License-Identifier: GPL-2.0
/*
 * What the file rmap costs those who walk it, and what its promotion takes.
 *
 *   file_rmap_bench truncate	truncate a page that many VMAs in many
 *				processes, started on all CPUs, map
 *   file_rmap_bench promote	let the processes of all CPUs contend for a file
 *				that one of them maps many times, and say how
 *				long the kernel took to shard it (needs tracefs)
 *
 *   file_rmap_bench reclaim	have such a page reclaimed; its file has to be on
 *				a disk (-d), as what is in memory only needs swap
 *   file_rmap_bench migrate	two processes move a page each of a file that
 *				many VMAs map to and fro between two nodes
 *   file_rmap_bench punch	punch holes where there is nothing, into a file
 *				that is mapped once
 *   file_rmap_bench fork	fork a process that maps 60 files as the dynamic
 *				linker does
 *   file_rmap_bench extend FILE
 *				extend and truncate FILE for ever
 *
 * Prints microseconds, one sample a line; with -j FILE as JSON, too. The samples
 * of punch and fork are readings of the TSC, which under QEMU's -icount says how
 * many instructions were executed.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* Of its own, not to disturb what else is traced or accounted. */
#define TRACING		"/sys/kernel/tracing/instances/file_rmap_bench/"
#define PROMOTE_EVENT	TRACING "events/i_mmap/i_mmap_promote/enable"
#define CGROUPS		"/sys/fs/cgroup/"
#define GROUP		CGROUPS "file_rmap_bench/"
#define PATIENCE	60	/* seconds; a guest may be slow */

static size_t page;
static unsigned int *cpus, nr_cpus;	/* that it may run on */
static bool tracing, grouped;
static unsigned int nr_vmas = 6000, rounds = 20;
static double *samples;
static unsigned int nr_samples;
static const char *unit = "us";

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void find_cpus(void)
{
	unsigned int max = 1024;
	cpu_set_t *set;
	size_t size;

	for (;;) {
		set = CPU_ALLOC(max);
		size = CPU_ALLOC_SIZE(max);
		if (!set)
			err(EXIT_FAILURE, "malloc");
		if (!sched_getaffinity(0, size, set))
			break;
		if (errno != EINVAL || max > 1 << 20)
			err(EXIT_FAILURE, "sched_getaffinity");
		CPU_FREE(set);
		max *= 2;
	}
	cpus = calloc(CPU_COUNT_S(size, set), sizeof(*cpus));
	if (!cpus)
		err(EXIT_FAILURE, "calloc");
	for (unsigned int cpu = 0; cpu < max; cpu++) {
		if (CPU_ISSET_S(cpu, size, set))
			cpus[nr_cpus++] = cpu;
	}
	CPU_FREE(set);
}

static void pin_to(unsigned int cpu)
{
	cpu_set_t *set = CPU_ALLOC(cpu + 1);
	size_t size = CPU_ALLOC_SIZE(cpu + 1);

	if (!set)
		err(EXIT_FAILURE, "malloc");
	CPU_ZERO_S(size, set);
	CPU_SET_S(cpu, size, set);
	if (sched_setaffinity(0, size, set))
		err(EXIT_FAILURE, "sched_setaffinity");
	CPU_FREE(set);
}

/* There are two pipes for each CPU, and that may be more than usual. */
static void raise_nofile(void)
{
	const rlim_t needed = 2 * nr_cpus + 64;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= needed)
		return;
	limit.rlim_cur = needed;
	if (limit.rlim_max < needed)
		limit.rlim_max = needed;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		err(EXIT_FAILURE, "%u CPUs take %ju files: setrlimit", nr_cpus,
		    (uintmax_t)needed);
}

/* However it ends. */
static void clean_up(void)
{
	int fd;

	if (tracing && rmdir(TRACING))
		warn(TRACING " is left");
	if (!grouped)
		return;
	fd = open(CGROUPS "cgroup.procs", O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1 || rmdir(GROUP))
		warn(GROUP " is left");
}

static int make_file(const char *dir)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s/file_rmap_bench.XXXXXX", dir);
	fd = mkstemp(name);
	if (fd < 0)
		err(EXIT_FAILURE, "%s", name);
	unlink(name);
	if (ftruncate(fd, page))
		err(EXIT_FAILURE, "ftruncate");
	return fd;
}

static char *map(int fd, unsigned int pages)
{
	char *p = mmap(NULL, pages * page, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	return p;
}

/*
 * A process on a CPU of its own. It execs this program again, as what decides
 * about its place in the rmap is where an exec takes place, and does one thing
 * for each byte that it is sent.
 */
struct worker {
	pid_t pid;
	int order;	/* the parent writes what to do */
	int done;	/* ... and reads that it is done */
};

/* One for each CPU, not started yet. */
static struct worker *alloc_workers(void)
{
	struct worker *w;

	find_cpus();
	raise_nofile();
	w = calloc(nr_cpus, sizeof(*w));
	if (!w)
		err(EXIT_FAILURE, "calloc");
	return w;
}

static void start_worker(struct worker *w, unsigned int cpu, int fd,
			 const char *what, unsigned int vmas)
{
	int order[2], done[2];
	char args[4][16];

	if (pipe2(order, O_CLOEXEC) || pipe2(done, O_CLOEXEC))
		err(EXIT_FAILURE, "pipe");
	w->pid = fork();
	if (w->pid < 0)
		err(EXIT_FAILURE, "fork");
	if (w->pid) {
		close(order[0]);
		close(done[1]);
		w->order = order[1];
		w->done = done[0];
		return;
	}

	/* Not this one's to clean up. */
	tracing = false;
	grouped = false;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to(cpu);
	snprintf(args[0], sizeof(args[0]), "%d", dup(fd));
	snprintf(args[1], sizeof(args[1]), "%d", dup(order[0]));
	snprintf(args[2], sizeof(args[2]), "%d", dup(done[1]));
	snprintf(args[3], sizeof(args[3]), "%u", vmas);
	execl("/proc/self/exe", "file_rmap_bench", what, args[0], args[1],
	      args[2], args[3], NULL);
	err(EXIT_FAILURE, "exec");
}

static void tell(struct worker *w, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (write(w[i].order, "x", 1) != 1)
			err(EXIT_FAILURE, "a worker is gone");
	}
}

static void wait_for(struct worker *w, unsigned int nr)
{
	char c;

	for (unsigned int i = 0; i < nr; i++) {
		if (read(w[i].done, &c, 1) != 1)
			errx(EXIT_FAILURE, "a worker ended early");
	}
}

static void stop(struct worker *w, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		kill(w[i].pid, SIGKILL);
		waitpid(w[i].pid, NULL, 0);
	}
}

/* Map the file, then touch all of it each time that somebody says so. */
static int worker_touch(int fd, int order, int done, unsigned int vmas)
{
	char **maps = calloc(vmas, sizeof(*maps));
	unsigned int pages;
	struct stat st;
	char c;

	if (!maps || fstat(fd, &st))
		err(EXIT_FAILURE, "calloc or fstat");
	pages = st.st_size / page;
	for (unsigned int i = 0; i < vmas; i++)
		maps[i] = map(fd, pages);
	while (read(order, &c, 1) == 1) {
		for (unsigned int i = 0; i < vmas * pages; i++)
			FORCE_READ(maps[i / pages][i % pages * page]);
		if (write(done, "x", 1) != 1)
			break;
	}
	return 0;
}

/* Map and unmap the file for ever, once somebody says so. */
static int worker_contend(int fd, int order, int done, unsigned int vmas)
{
	char c;

	if (write(done, "x", 1) != 1 || read(order, &c, 1) != 1)
		return EXIT_FAILURE;
	for (;;)
		munmap(map(fd, 1), page);
}

/* Move the page of that number to the other node each time that somebody says so. */
static int worker_migrate(int fd, int order, int done, unsigned int nr)
{
	char *maps = map(fd, 2);
	char c;

	for (int to = 1; read(order, &c, 1) == 1; to = !to) {
		void *at = maps + nr * page;
		int status = -1;

		FORCE_READ(*(char *)at);
		if (syscall(__NR_move_pages, 0, 1, &at, &to, &status, MPOL_MF_MOVE_ALL) < 0)
			err(EXIT_FAILURE, "move_pages");
		if (status != to)
			errx(EXIT_FAILURE, "the page is not moved to node %d: %d", to, status);
		if (write(done, "x", 1) != 1)
			break;
	}
	return 0;
}

/* The movers move a page each, which all workers have touched since the last time. */
static void bench_migrate(int fd)
{
	struct worker *w = alloc_workers(), movers[2];
	unsigned int nr = nr_cpus, i, round;

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("there is a single node\n");
	if (syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, MPOL_MF_MOVE_ALL))
		skip("move_pages: %s\n", strerror(errno));
	if (ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "ftruncate");
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, "worker_touch",
			     nr_vmas / nr + (i < nr_vmas % nr));
	for (i = 0; i < 2; i++)
		start_worker(&movers[i], cpus[i * (nr - 1)], fd, "worker_migrate", i);
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start;

		tell(w, nr);
		wait_for(w, nr);
		start = now_us();
		tell(movers, 2);
		wait_for(movers, 2);
		if (round)
			samples[nr_samples++] = now_us() - start;
	}
	stop(movers, 2);
	stop(w, nr);
}

#define PUNCHES	100

static void bench_punch(void)
{
	int fd = memfd_create("file_rmap_bench", 0);

	if (fd < 0 || ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "memfd");
	FORCE_READ(*map(fd, 1));
	/* The first round is not counted: it warms up. */
	for (unsigned int round = 0; round <= rounds; round++) {
		unsigned long long start = read_tsc();

		for (int i = 0; i < PUNCHES; i++) {
			if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page, page))
				err(EXIT_FAILURE, "fallocate");
		}
		if (round)
			samples[nr_samples++] = (double)(read_tsc() - start) / PUNCHES;
	}
	unit = "tsc";
}

#define FILES	60
#define FORKS	20

/* One shared object: headers, code, constants, relocated constants, variables. */
static void map_object(int fd)
{
	static const int prot[] = { PROT_READ, PROT_READ | PROT_EXEC, PROT_READ,
				    PROT_READ, PROT_READ | PROT_WRITE };
	const int nr = ARRAY_SIZE(prot);
	char *base = mmap(NULL, nr * page, PROT_READ, MAP_PRIVATE, fd, 0);

	if (base == MAP_FAILED || ftruncate(fd, nr * page))
		err(EXIT_FAILURE, "mmap");
	for (int i = 1; i < nr; i++) {
		bool relocated = i >= nr - 2;

		if (mmap(base + i * page, page,
			 relocated ? PROT_READ | PROT_WRITE : prot[i],
			 MAP_PRIVATE | MAP_FIXED, fd, i * page) == MAP_FAILED)
			err(EXIT_FAILURE, "mmap");
		if (relocated)
			base[i * page] = 1;
		else
			FORCE_READ(base[i * page]);
		if (relocated && mprotect(base + i * page, page, prot[i]))
			err(EXIT_FAILURE, "mprotect");
	}
}

static void bench_fork(const char *dir)
{
	for (int i = 0; i < FILES; i++)
		map_object(make_file(dir));
	/* The first round is not counted: it warms up. */
	for (unsigned int round = 0; round <= rounds; round++) {
		unsigned long long start = read_tsc();

		for (int i = 0; i < FORKS; i++) {
			pid_t pid = fork();

			if (pid < 0)
				err(EXIT_FAILURE, "fork");
			if (!pid)
				_exit(0);
			if (waitpid(pid, NULL, 0) != pid)
				err(EXIT_FAILURE, "waitpid");
		}
		if (round)
			samples[nr_samples++] = (double)(read_tsc() - start) / FORKS;
	}
	unit = "tsc";
}

/* For another program to be measured meanwhile. Ends when it is killed. */
static void extend(const char *name)
{
	int fd = open(name, O_WRONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		err(EXIT_FAILURE, "%s", name);
	for (;;) {
		if (ftruncate(fd, st.st_size + page) || ftruncate(fd, st.st_size))
			err(EXIT_FAILURE, "%s", name);
	}
}

static void bench_truncate(int fd)
{
	struct worker *w = alloc_workers();
	unsigned int nr = nr_cpus, i, round;
	char *content = calloc(1, page);

	if (!content)
		err(EXIT_FAILURE, "calloc");
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, "worker_touch",
			     nr_vmas / nr + (i < nr_vmas % nr));
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start, end;

		if (pwrite(fd, content, page, 0) != (ssize_t)page)
			err(EXIT_FAILURE, "pwrite");
		tell(w, nr);
		wait_for(w, nr);
		start = now_us();
		if (ftruncate(fd, 0))
			err(EXIT_FAILURE, "ftruncate");
		end = now_us();
		if (round)
			samples[nr_samples++] = end - start;
	}
	stop(w, nr);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		skip("%s: %s\n", path, strerror(errno));
	close(fd);
}

/* For clean_up() to remove. */
static bool make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		skip("%s: %s\n", path, strerror(errno));
	return true;
}

static bool cached(int fd)
{
	unsigned char vec;
	char *p = map(fd, 1);

	if (mincore(p, page, &vec))
		err(EXIT_FAILURE, "mincore");
	munmap(p, page);
	return vec & 1;
}

/* A page that nothing else is charged together with, and that need not be written. */
static void write_page_in_group(int fd, const char *content)
{
	write_to(GROUP "cgroup.procs", "0");
	if (pwrite(fd, content, page, 0) != (ssize_t)page || fsync(fd))
		err(EXIT_FAILURE, "pwrite");
	write_to(CGROUPS "cgroup.procs", "0");
}

/* It takes more than one try while those who map the page have just used it. */
static void reclaim_page(int fd)
{
	double deadline = now_us() + PATIENCE * 1e6;
	int reclaim = open(GROUP "memory.reclaim", O_WRONLY);
	char size[32];
	int len = snprintf(size, sizeof(size), "%zu", page);

	if (reclaim < 0)
		skip(GROUP "memory.reclaim: %s\n", strerror(errno));
	while (write(reclaim, size, len) != len) {
		if (errno != EAGAIN)
			err(EXIT_FAILURE, "memory.reclaim");
		if (now_us() > deadline)
			errx(EXIT_FAILURE, "the page is not reclaimed in %d s",
			     PATIENCE);
	}
	close(reclaim);
}

static void bench_reclaim(int fd)
{
	struct worker *w = alloc_workers();
	unsigned int nr = nr_cpus, i, round;
	char *content = calloc(1, page);

	if (!content)
		err(EXIT_FAILURE, "calloc");
	write_to(CGROUPS "cgroup.subtree_control", "+memory");
	grouped = make_dir(GROUP);
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, "worker_touch",
			     nr_vmas / nr + (i < nr_vmas % nr));
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start, end;

		write_page_in_group(fd, content);
		tell(w, nr);
		wait_for(w, nr);
		start = now_us();
		reclaim_page(fd);
		end = now_us();
		if (cached(fd))
			errx(EXIT_FAILURE, "another page was reclaimed");
		if (round)
			samples[nr_samples++] = end - start;
	}
	stop(w, nr);
}

/* Has this file been promoted, how long did it take, how many VMAs were moved? */
static bool promoted(const struct stat *st, double *us, unsigned int *vmas)
{
	FILE *trace = fopen(TRACING "trace", "r");
	char line[1024], ino[64];
	unsigned long long ns;
	bool found = false;

	if (!trace)
		skip(TRACING "trace: %s\n", strerror(errno));
	snprintf(ino, sizeof(ino), " ino=%ju ", (uintmax_t)st->st_ino);
	while (!found && fgets(line, sizeof(line), trace)) {
		char *at = strstr(line, "i_mmap_promote: ");

		if (at && strstr(at, ino) &&
		    sscanf(strstr(at, " vmas="),
			   " vmas=%u shards=%*u duration_ns=%llu", vmas, &ns) == 2) {
			*us = ns / 1e3;
			found = true;
		}
	}
	fclose(trace);
	return found;
}

static void bench_promote(const char *dir)
{
	struct worker *w = alloc_workers();
	unsigned int nr = nr_cpus, i, round, vmas;

	tracing = make_dir(TRACING);
	write_to(PROMOTE_EVENT, "1");
	for (round = 0; round < rounds; round++) {
		double deadline = now_us() + PATIENCE * 1e6, us;
		bool found = false;
		int fd = make_file(dir);
		char **maps = calloc(nr_vmas, sizeof(*maps));
		struct stat st;

		if (!maps || fstat(fd, &st))
			err(EXIT_FAILURE, "calloc or fstat");
		write_to(TRACING "trace", "");
		/* First, or each would have a copy of all VMAs until it execs. */
		for (i = 0; i < nr; i++)
			start_worker(&w[i], cpus[i], fd, "worker_contend", 0);
		wait_for(w, nr);
		for (i = 0; i < nr_vmas; i++)
			maps[i] = map(fd, 1);
		tell(w, nr);
		while (!found && now_us() < deadline) {
			usleep(20000);
			found = promoted(&st, &us, &vmas);
		}
		stop(w, nr);
		if (!found)
			skip("no promotion in %d s: is sharding off?\n",
				       PATIENCE);
		if (vmas < nr_vmas)
			errx(EXIT_FAILURE, "%u VMAs promoted, of at least %u", vmas, nr_vmas);
		samples[nr_samples++] = us;
		for (i = 0; i < nr_vmas; i++)
			munmap(maps[i], page);
		free(maps);
		close(fd);
	}
}

static void usage(void)
{
	const char *name = program_invocation_short_name;

	fprintf(stderr, "%s BENCH [-n VMAS] [-r ROUNDS] [-d DIR] [-j FILE]\n"
		"%s extend FILE\n"
		"BENCH is truncate, reclaim, promote, migrate, punch or fork.\n",
		name, name);
	exit(EXIT_FAILURE);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || n < 1 || n > 60000)
		usage();
	return n;
}

static void write_json(const char *path, const char *what)
{
	FILE *out = fopen(path, "w");

	if (!out)
		err(EXIT_FAILURE, "%s", path);
	fprintf(out, "{\"bench\": \"%s\", \"vmas\": %u, \"unit\": \"%s\", ",
		what, nr_vmas, unit);
	fprintf(out, "\"samples\": [");
	for (unsigned int i = 0; i < nr_samples; i++)
		fprintf(out, "%s%.3f", i ? ", " : "", samples[i]);
	fprintf(out, "]}\n");
	if (fclose(out))
		err(EXIT_FAILURE, "%s", path);
}

int main(int argc, char **argv)
{
	const char *dir = "/tmp", *json = NULL, *what = argv[1];
	int c;

	page = sysconf(_SC_PAGESIZE);
	if (argc == 6 && !strcmp(what, "worker_touch"))
		return worker_touch(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]),
				    atoi(argv[5]));
	if (argc == 6 && !strcmp(what, "worker_contend"))
		return worker_contend(atoi(argv[2]), atoi(argv[3]),
				      atoi(argv[4]), atoi(argv[5]));
	if (argc == 6 && !strcmp(what, "worker_migrate"))
		return worker_migrate(atoi(argv[2]), atoi(argv[3]),
				      atoi(argv[4]), atoi(argv[5]));
	if (argc < 2)
		usage();
	if (argc == 3 && !strcmp(what, "extend"))
		extend(argv[2]);
	if (!strcmp(what, "promote"))
		nr_vmas = 10000;
	argv++;
	argc--;
	while ((c = getopt(argc, argv, "n:r:d:j:")) != -1) {
		switch (c) {
		case 'n':
			nr_vmas = number(optarg);
			break;
		case 'r':
			rounds = number(optarg);
			break;
		case 'd':
			dir = optarg;
			break;
		case 'j':
			json = optarg;
			break;
		default:
			usage();
		}
	}
	atexit(clean_up);
	samples = calloc(rounds, sizeof(*samples));
	if (!samples)
		err(EXIT_FAILURE, "calloc");
	if (!strcmp(what, "truncate"))
		bench_truncate(make_file(dir));
	else if (!strcmp(what, "reclaim"))
		bench_reclaim(make_file(dir));
	else if (!strcmp(what, "promote"))
		bench_promote(dir);
	else if (!strcmp(what, "migrate"))
		bench_migrate(make_file(dir));
	else if (!strcmp(what, "punch"))
		bench_punch();
	else if (!strcmp(what, "fork"))
		bench_fork(dir);
	else
		usage();

	for (unsigned int i = 0; i < nr_samples; i++)
		printf("%.1f\n", samples[i]);
	if (json)
		write_json(json, what);
	return EXIT_SUCCESS;
}
