// SPDX-License-Identifier: GPL-2.0
/*
 * What the file rmap costs those who walk it, those who change it, and what
 * sharding a file takes.
 *
 *   file_rmap_bench truncate	truncate a page that many VMAs in many
 *				processes, started on all CPUs, map
 *   file_rmap_bench promote	let the processes of all CPUs contend for a file
 *				that they map many times, and say how long the
 *				kernel took to shard it (needs tracefs)
 *   file_rmap_bench reclaim	have such a page reclaimed; its file has to be on
 *				a disk (-d), as what is in memory only needs swap
 *   file_rmap_bench migrate	two processes move a page each of a file that
 *				many VMAs map to and fro between two nodes
 *   file_rmap_bench punch	punch holes where there is nothing, into a file
 *				that each CPU's process maps once
 *   file_rmap_bench punch_one	the same, but only one process maps it
 *   file_rmap_bench fork	fork a process that maps 60 files as the dynamic
 *				linker does
 *   file_rmap_bench LOAD	for -t SECONDS, processes do what casts[] below
 *				says; how long each time took, and, where there
 *				is /proc/lock_stat, what waited (beside -j)
 *   file_rmap_bench extend FILE
 *				extend and truncate FILE for ever
 *
 * Prints microseconds, one sample a line, or those of a load in short; with -j
 * FILE as JSON, too. The samples of punch and fork are readings of the TSC, which
 * under QEMU's -icount says how many instructions were executed.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stddef.h>
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

#define ARG_WORKER	"--worker"	/* hidden, see main() */

/* Of its own, not to disturb what else is traced or accounted. */
#define TRACING		"/sys/kernel/tracing/instances/file_rmap_bench/"
#define SHARD_EVENT	TRACING "events/i_mmap/i_mmap_shard/enable"
#define CGROUPS		"/sys/fs/cgroup/"
#define GROUP		CGROUPS "file_rmap_bench/"
#define PATIENCE	60	/* seconds; a guest may be slow */

static size_t page;
static int *cpus, nr_cpus;	/* that it may run on */
static bool tracing, grouped;
static unsigned int nr_vmas = 6000, rounds = 20, seconds = 5;
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
	cpus = allowed_cpus(&nr_cpus);
	if (!cpus)
		err(EXIT_FAILURE, "sched_getaffinity");
}

/* There are two pipes for each worker, and that may be more than usual. */
static void raise_nofile(unsigned int each)
{
	const rlim_t needed = 2 * each * nr_cpus + 64;
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
 * A process that stays on a CPU, and does its role each time that it is sent a
 * byte. It execs this program again, unless it is told not to: what decides
 * about its place in the rmap may be where an exec takes place.
 */
struct worker {
	pid_t pid;
	int order;	/* the parent writes what to do */
	int done;	/* ... and reads that it is done */
};

enum role {
	TOUCH,
	CONTEND,
	MIGRATE,
	LOAD,
};

typedef int role_fn(int fd, int order, int done, unsigned int nr);
static role_fn worker_touch, worker_contend, worker_migrate, worker_load;

static role_fn * const roles[] = {
	[TOUCH]		= worker_touch,
	[CONTEND]	= worker_contend,
	[MIGRATE]	= worker_migrate,
	[LOAD]		= worker_load,
};

/* Some for each CPU, not started yet. */
static struct worker *alloc_workers(unsigned int each)
{
	struct worker *w;

	find_cpus();
	raise_nofile(each);
	w = calloc(nr_cpus * each, sizeof(*w));
	if (!w)
		err(EXIT_FAILURE, "calloc");
	return w;
}

static void start_worker(struct worker *w, int cpu, int fd,
			 enum role role, unsigned int nr, bool forked)
{
	int order[2], done[2];
	char args[5][16];

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
	if (!run_on(cpu))
		err(EXIT_FAILURE, "CPU %d", cpu);
	if (forked)
		_exit(roles[role](fd, order[0], done[1], nr));
	snprintf(args[0], sizeof(args[0]), "%d", role);
	snprintf(args[1], sizeof(args[1]), "%d", dup(fd));
	snprintf(args[2], sizeof(args[2]), "%d", dup(order[0]));
	snprintf(args[3], sizeof(args[3]), "%d", dup(done[1]));
	snprintf(args[4], sizeof(args[4]), "%u", nr);
	execl("/proc/self/exe", "file_rmap_bench", ARG_WORKER, args[0], args[1],
	      args[2], args[3], args[4], NULL);
	err(EXIT_FAILURE, "exec");
}

static void tell(struct worker *w, unsigned int nr, unsigned char what)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (write(w[i].order, &what, 1) != 1)
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

/* So many of nr_vmas are the i-th worker's. */
static unsigned int share_of(unsigned int i, unsigned int nr)
{
	return nr_vmas / nr + (i < nr_vmas % nr);
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

/* Map the file so often; once somebody says so, map and unmap it for ever. */
static int worker_contend(int fd, int order, int done, unsigned int vmas)
{
	char c;

	while (vmas--)
		map(fd, 1);
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
	struct worker *w = alloc_workers(1), movers[2];
	unsigned int nr = nr_cpus, i, round;

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("there is a single node\n");
	if (syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, MPOL_MF_MOVE_ALL))
		skip("move_pages: %s\n", strerror(errno));
	if (ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "ftruncate");
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, TOUCH, share_of(i, nr), false);
	for (i = 0; i < 2; i++)
		start_worker(&movers[i], cpus[i * (nr - 1)], fd, MIGRATE, i, false);
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start;

		tell(w, nr, 1);
		wait_for(w, nr);
		start = now_us();
		tell(movers, 2, 1);
		wait_for(movers, 2);
		if (round)
			samples[nr_samples++] = now_us() - start;
	}
	stop(movers, 2);
	stop(w, nr);
}

#define PUNCHES	100

static void bench_punch(bool one)
{
	int fd = memfd_create("file_rmap_bench", 0);
	struct worker *w = alloc_workers(1);
	int nr = one ? 1 : nr_cpus;

	if (fd < 0 || ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "memfd");
	for (int i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, TOUCH, 1, false);
	tell(w, nr, 1);
	wait_for(w, nr);
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
	stop(w, nr);
	unit = "tsc";
}

#define FILES	60
#define FORKS	20

#define SECTIONS	5

static char *objects[FILES];

/* One shared object: headers, code, constants, relocated constants, variables. */
static char *map_object(int fd)
{
	static const int prot[SECTIONS] = { PROT_READ, PROT_READ | PROT_EXEC,
		PROT_READ, PROT_READ, PROT_READ | PROT_WRITE };
	char *base = mmap(NULL, SECTIONS * page, PROT_READ, MAP_PRIVATE, fd, 0);

	if (base == MAP_FAILED || ftruncate(fd, SECTIONS * page))
		err(EXIT_FAILURE, "mmap");
	for (int i = 1; i < SECTIONS; i++) {
		bool relocated = i >= SECTIONS - 2;

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
	return base;
}

static void map_objects(const char *dir)
{
	for (int i = 0; i < FILES; i++) {
		int fd = make_file(dir);

		objects[i] = map_object(fd);
		close(fd);
	}
}

static void bench_fork(const char *dir)
{
	map_objects(dir);
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
	struct worker *w = alloc_workers(1);
	unsigned int nr = nr_cpus, i, round;
	char *content = calloc(1, page);

	if (!content)
		err(EXIT_FAILURE, "calloc");
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, TOUCH, share_of(i, nr), false);
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start, end;

		if (pwrite(fd, content, page, 0) != (ssize_t)page)
			err(EXIT_FAILURE, "pwrite");
		tell(w, nr, 1);
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
	struct worker *w = alloc_workers(1);
	unsigned int nr = nr_cpus, i, round;
	char *content = calloc(1, page);

	if (!content)
		err(EXIT_FAILURE, "calloc");
	write_to(CGROUPS "cgroup.subtree_control", "+memory");
	grouped = make_dir(GROUP);
	for (i = 0; i < nr; i++)
		start_worker(&w[i], cpus[i], fd, TOUCH, share_of(i, nr), false);
	/* The first round is not counted: the workers map the file in it. */
	for (round = 0; round <= rounds; round++) {
		double start, end;

		write_page_in_group(fd, content);
		tell(w, nr, 1);
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

/* Has this file been promoted, and how long did it take? */
static bool promoted(const struct stat *st, double *us)
{
	FILE *trace = fopen(TRACING "trace", "r");
	char line[1024], ino[64];
	unsigned long long ns;
	bool found = false;

	if (!trace)
		skip(TRACING "trace: %s\n", strerror(errno));
	snprintf(ino, sizeof(ino), " ino=%ju ", (uintmax_t)st->st_ino);
	while (!found && fgets(line, sizeof(line), trace)) {
		char *at = strstr(line, "i_mmap_shard: ");

		at = at && strstr(at, ino) ? strstr(at, " duration_ns=") : NULL;
		found = at && sscanf(at, " duration_ns=%llu", &ns) == 1;
	}
	fclose(trace);
	*us = ns / 1e3;
	return found;
}

static void bench_promote(const char *dir)
{
	struct worker *w = alloc_workers(1);
	unsigned int nr = nr_cpus, i, round;

	tracing = make_dir(TRACING);
	write_to(SHARD_EVENT, "1");
	for (round = 0; round < rounds; round++) {
		double deadline, us = 0;
		bool found = false;
		int fd = make_file(dir);
		struct stat st;

		if (fstat(fd, &st))
			err(EXIT_FAILURE, "fstat");
		write_to(TRACING "trace", "");
		/* One after the other: nobody contends yet. */
		for (i = 0; i < nr; i++) {
			start_worker(&w[i], cpus[i], fd, CONTEND, share_of(i, nr), false);
			wait_for(&w[i], 1);
		}
		if (promoted(&st, &us))
			errx(EXIT_FAILURE, "the file was sharded before it was contended");
		deadline = now_us() + PATIENCE * 1e6;
		tell(w, nr, 1);
		while (!found && now_us() < deadline) {
			usleep(20000);
			found = promoted(&st, &us);
		}
		stop(w, nr);
		if (!found)
			skip("no promotion in %d s: is sharding off?\n", PATIENCE);
		samples[nr_samples++] = us;
		close(fd);
	}
}

/* What processes do over and over in a load. */
#define WINDOW	64	/* pages */

static void op_map(int fd)
{
	munmap(map(fd, 1), page);
}

/* One VMA becomes three and one again, in a mapping from before the file was sharded. */
static void op_split(int fd)
{
	static unsigned int nr;
	static char *window;
	char *at;

	if (!window)
		window = map(fd, WINDOW);
	at = window + (1 + nr++ % (WINDOW - 2)) * page;
	if (mprotect(at, page, PROT_NONE) || mprotect(at, page, PROT_READ))
		err(EXIT_FAILURE, "mprotect");
}

static void op_zero(int fd)
{
	static int zero;
	char *p;

	if (!zero)
		zero = open("/dev/zero", O_RDWR);
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	if (p == MAP_FAILED)
		err(EXIT_FAILURE, "/dev/zero");
	*p = 1;
	munmap(p, page);
}

static void op_child(int fd)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		err(EXIT_FAILURE, "fork");
	if (!pid) {
		for (int i = 0; i < FILES; i++) {
			FORCE_READ(objects[i][0]);
			objects[i][(SECTIONS - 1) * page] = 2;
		}
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		errx(EXIT_FAILURE, "a child failed");
}

static void op_extend(int fd)
{
	if (ftruncate(fd, 3 * page) || ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "ftruncate");
}

static void op_append(int fd)
{
	static off_t end;
	static char *content;

	if (!content)
		content = calloc(1, page);
	if (pwrite(fd, content, page, end) != (ssize_t)page)
		err(EXIT_FAILURE, "pwrite");
	end += page;
}

static void op_punch(int fd)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page, page))
		err(EXIT_FAILURE, "fallocate");
}

enum op { MAP, SPLIT, ZERO, CHILD, EXTEND, APPEND, PUNCH };

static void (* const ops[])(int fd) = {
	[MAP]		= op_map,
	[SPLIT]		= op_split,
	[ZERO]		= op_zero,
	[CHILD]		= op_child,
	[EXTEND]	= op_extend,
	[APPEND]	= op_append,
	[PUNCH]		= op_punch,
};

/* A process on each CPU, on some, or on one. */
enum place { NOWHERE, EACH, FIRST, MIDDLE, LAST, ALL_BUT_FIRST };

static bool is_at(enum place place, int i)
{
	switch (place) {
	case EACH:
		return true;
	case FIRST:
		return i == 0;
	case MIDDLE:
		return i == nr_cpus / 2;
	case LAST:
		return i == nr_cpus - 1;
	case ALL_BUT_FIRST:
		return i > 0;
	default:
		return false;
	}
}

#define PARTS	4

static const struct cast {
	const char *name;
	bool forked;	/* The processes do not exec. */
	struct {
		enum op op;
		enum place where;
	} parts[PARTS];	/* The first one is measured. */
} casts[] = {
	/* Change the protection of pages of a mapping that was there first. */
	{ "split", false, { { SPLIT, EACH } } },
	/* Map private /dev/zero, in workers that one process forked. */
	{ "zero_forked", true, { { ZERO, EACH } } },
	/* Fork children that have 60 shared objects, touch all, and exit. */
	{ "fork_server", true, { { CHILD, EACH } } },
	/* Map and unmap a file on the last CPU, which the first one truncates, maps and unmaps. */
	{ "map_beside_truncate", false,
	  { { MAP, LAST }, { EXTEND, FIRST }, { MAP, FIRST }, { MAP, FIRST } } },
	/* Append to a file that all others map and unmap; and the other way round. */
	{ "append_beside_map", false, { { APPEND, FIRST }, { MAP, ALL_BUT_FIRST } } },
	{ "map_beside_append", false, { { MAP, ALL_BUT_FIRST }, { APPEND, FIRST } } },
	/* Map and unmap a file, or punch holes into it, beside two that map and unmap it. */
	{ "map_beside_two", false, { { MAP, LAST }, { MAP, FIRST }, { MAP, MIDDLE } } },
	{ "punch_beside_two", false, { { PUNCH, LAST }, { MAP, FIRST }, { MAP, MIDDLE } } },
};

/* What a process has to tell: how long each time took, of so many at most. */
#define MAX_TIMES	100000

struct result {
	unsigned int rounds;
	float max;
	float times[MAX_TIMES];
};

static size_t size_of(const struct result *r)
{
	unsigned int nr = r->rounds < MAX_TIMES ? r->rounds : MAX_TIMES;

	return offsetof(struct result, times) + nr * sizeof(r->times[0]);
}

static void write_all(int fd, const void *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n <= 0)
			err(EXIT_FAILURE, "write");
		data += n;
		size -= n;
	}
}

static void read_all(int fd, void *data, size_t size)
{
	while (size) {
		ssize_t n = read(fd, data, size);

		if (n <= 0)
			errx(EXIT_FAILURE, "a worker ended early");
		data += n;
		size -= n;
	}
}

/* Once, and then for so many seconds as the byte says. */
static int worker_load(int fd, int order, int done, unsigned int op)
{
	struct result *r = malloc(sizeof(*r));
	unsigned char how_long;

	if (!r)
		err(EXIT_FAILURE, "malloc");
	ops[op](fd);
	write_all(done, "x", 1);
	while (read(order, &how_long, 1) == 1) {
		double now = now_us(), end = now + how_long * 1e6;

		r->rounds = 0;
		r->max = 0;
		while (now < end) {
			double before = now;
			float took;

			ops[op](fd);
			now = now_us();
			took = now - before;
			if (r->rounds < MAX_TIMES)
				r->times[r->rounds] = took;
			r->rounds++;
			if (r->max < took)
				r->max = took;
		}
		write_all(done, r, size_of(r));
	}
	return 0;
}

static struct {
	unsigned int rounds;
	double p50, p99, max;
} load;

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How long all of it took in those who are measured. */
static void sum_up(struct worker *w, unsigned int nr, unsigned int measured)
{
	struct result *r = malloc(sizeof(*r));
	double *times = NULL;
	size_t count = 0;

	load.rounds = 0;
	load.max = 0;
	for (unsigned int i = 0; i < nr; i++) {
		size_t more;

		read_all(w[i].done, r, offsetof(struct result, times));
		more = size_of(r) - offsetof(struct result, times);
		read_all(w[i].done, r->times, more);
		if (i >= measured)
			continue;
		more /= sizeof(r->times[0]);
		times = realloc(times, (count + more) * sizeof(*times));
		for (size_t j = 0; j < more; j++)
			times[count++] = r->times[j];
		load.rounds += r->rounds;
		if (load.max < r->max)
			load.max = r->max;
	}
	if (!count)
		errx(EXIT_FAILURE, "nothing was done in that time");
	qsort(times, count, sizeof(*times), compare);
	load.p50 = times[count / 2];
	load.p99 = times[count * 99 / 100];
	free(times);
	free(r);
}

#define LOCK_STAT	"/proc/lock_stat"
#define SWITCH		"/proc/sys/kernel/lock_stat"

/* To the same place as the JSON. */
static void save_lock_stat(const char *json)
{
	char name[4096];
	int in, out;

	snprintf(name, sizeof(name), "%.*s.lock_stat", (int)(strlen(json) - strlen(".json")), json);
	in = open(LOCK_STAT, O_RDONLY);
	out = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (in < 0 || out < 0)
		err(EXIT_FAILURE, "%s", name);
	for (;;) {
		char text[1 << 16];
		ssize_t n = read(in, text, sizeof(text));

		if (n <= 0)
			break;
		write_all(out, text, n);
	}
	close(in);
	close(out);
	write_to(SWITCH, "0");
}

static void bench_load(const struct cast *cast, const char *dir, const char *json)
{
	bool locks = json && !access(LOCK_STAT, W_OK);
	struct worker *w = alloc_workers(PARTS);
	unsigned int nr = 0, measured = 0;
	int fd = make_file(dir);

	if (cast->parts[0].op == CHILD)
		map_objects(dir);
	if (ftruncate(fd, 2 * page))
		err(EXIT_FAILURE, "ftruncate");
	for (int part = 0; part < PARTS; part++) {
		for (int i = 0; i < nr_cpus; i++) {
			if (!is_at(cast->parts[part].where, i))
				continue;
			/* One after the other: nobody contends yet. */
			start_worker(&w[nr], cpus[i], fd, LOAD, cast->parts[part].op, cast->forked);
			wait_for(&w[nr++], 1);
			measured += !part;
		}
	}
	if (!measured)
		skip("that takes more CPUs\n");
	/* For the file to be sharded, if it will be. */
	tell(w, nr, 1);
	sum_up(w, nr, measured);
	if (locks) {
		write_to(SWITCH, "1");
		write_to(LOCK_STAT, "0");
	}
	tell(w, nr, seconds);
	sum_up(w, nr, measured);
	if (locks)
		save_lock_stat(json);
	stop(w, nr);
}

static const struct cast *find_cast(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(casts); i++) {
		if (!strcmp(name, casts[i].name))
			return &casts[i];
	}
	return NULL;
}

static void usage(void)
{
	const char *name = program_invocation_short_name;

	fprintf(stderr, "%s BENCH [-n VMAS] [-r ROUNDS] [-t SECONDS] [-d DIR] [-j FILE.json]\n"
		"%s extend FILE\n"
		"BENCH is truncate, reclaim, promote, migrate, punch, punch_one, fork or a load:",
		name, name);
	for (size_t i = 0; i < ARRAY_SIZE(casts); i++)
		fprintf(stderr, " %s", casts[i].name);
	fprintf(stderr, "\n");
	exit(EXIT_FAILURE);
}

static unsigned int number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || n < 1 || n > max)
		usage();
	return n;
}

static void write_json(const char *path, const char *what)
{
	FILE *out = create_json(path);

	fprintf(out, "{\"bench\": \"%s\", ", what);
	if (load.rounds)
		fprintf(out, "\"rounds\": %u, \"p50_us\": %.3f, \"p99_us\": %.3f, \"max_us\": %.3f",
			load.rounds, load.p50, load.p99, load.max);
	else
		fprintf(out, "\"vmas\": %u, \"unit\": \"%s\", \"samples\": [", nr_vmas, unit);
	for (unsigned int i = 0; i < nr_samples; i++)
		fprintf(out, "%s%.3f", i ? ", " : "", samples[i]);
	fprintf(out, "%s}\n", load.rounds ? "" : "]");
	if (fclose(out))
		err(EXIT_FAILURE, "%s", path);
}

int main(int argc, char **argv)
{
	const char *dir = "/tmp", *json = NULL, *what = argv[1];
	const struct cast *cast;
	int c;

	page = sysconf(_SC_PAGESIZE);
	if (argc == 7 && !strcmp(what, ARG_WORKER))
		return roles[atoi(argv[2])](atoi(argv[3]), atoi(argv[4]), atoi(argv[5]),
					    atoi(argv[6]));
	if (argc < 2)
		usage();
	if (argc == 3 && !strcmp(what, "extend"))
		extend(argv[2]);
	if (!strcmp(what, "promote"))
		nr_vmas = 10000;
	cast = find_cast(what);
	argv++;
	argc--;
	while ((c = getopt(argc, argv, "n:r:t:d:j:")) != -1) {
		switch (c) {
		case 'n':
			nr_vmas = number(optarg, 1000000);
			break;
		case 'r':
			rounds = number(optarg, 1000000);
			break;
		case 't':
			seconds = number(optarg, 255);
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
	if (argc != optind || (json && strlen(json) <= strlen(".json")))
		usage();
	atexit(clean_up);
	samples = calloc(rounds, sizeof(*samples));
	if (!samples)
		err(EXIT_FAILURE, "calloc");
	if (cast)
		bench_load(cast, dir, json);
	else if (!strcmp(what, "truncate"))
		bench_truncate(make_file(dir));
	else if (!strcmp(what, "reclaim"))
		bench_reclaim(make_file(dir));
	else if (!strcmp(what, "promote"))
		bench_promote(dir);
	else if (!strcmp(what, "migrate"))
		bench_migrate(make_file(dir));
	else if (!strcmp(what, "punch") || !strcmp(what, "punch_one"))
		bench_punch(!strcmp(what, "punch_one"));
	else if (!strcmp(what, "fork"))
		bench_fork(dir);
	else
		usage();

	for (unsigned int i = 0; i < nr_samples; i++)
		printf("%.1f\n", samples[i]);
	if (cast)
		printf("%u times, p50 %.1f us, p99 %.1f us, max %.1f us\n", load.rounds,
		       load.p50, load.p99, load.max);
	if (json)
		write_json(json, what);
	return EXIT_SUCCESS;
}
