// SPDX-License-Identifier: GPL-2.0
/*
 * What page faults that have to wait cost each other, and others.
 *
 *   fault_storm mmap	threads fault on a file that is larger than their memory
 *			cgroup, while another one maps and unmaps
 *   fault_storm mprotect  ... while it protects what they fault on
 *   fault_storm part	... a 64th of that
 *   fault_storm fork	... while it forks: how long fork() itself takes
 *   fault_storm kill	... until they are killed: how long it takes until the process is
 *			gone, and process_mrelease(), which wants its memory before
 *   fault_storm alone	... while nothing else happens
 *   fault_storm random	threads read some pages of a file that is not in memory, in
 *			random order: how many pages of it are read for that
 *   fault_storm minor	touch new memory: the TSC per fault, which under QEMU's
 *			-icount says how many instructions were executed
 *
 * The kernel's tracepoints tell how often the threads that fault take mmap_lock,
 * how long they wait for it, and how often they read while they hold it: the same
 * on each kernel. How long each touch takes, the threads measure. With -c a third thread maps
 * and unmaps a page elsewhere, a millisecond after it did so last: how long that takes it,
 * which has nothing to do with the file. With -i those who fault have the lowest priority,
 * the others the highest, and processes between them keep all CPUs busy. The load "mmap" is
 * that of Barry Song's "mm: continue using per-VMA lock when retrying page faults after I/O",
 * as described there.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
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

#define CGROUP		"/sys/fs/cgroup/"
#define INSTANCE	"/sys/kernel/tracing/instances/fault_storm/"
#define COMM		"faulter"
#define FAULTERS	"comm == \"" COMM "\""
#define MAX_THREADS	256
#define MAX_LATENCIES	1000000
#define MINOR_PAGES	4096
#define PAGES_PER_WRITE	128
#define RANDOM_TOUCHES	260
#define PARTS		64
#define BEFORE_KILL_US	200000
/* of the time that a touch takes, in ns: 1/16 of it is near enough */
#define STEPS		16
#define BUCKETS		(64 * STEPS)
/* KiB of the trace: of all CPUs together, and of each at least and at most */
#define TRACE_KB	262144
#define LEAST_TRACE_KB	1024
#define MOST_TRACE_KB	16384

static size_t page;
static unsigned int nr_threads = 8, seconds = 5, file_mb, memory_kb, nr_vmas = 1, every_us;
static const char *dir = "/tmp", *device;
static bool anonymous, in_order, low, third, writes;
static unsigned long nr_pages;
static char *map;

/* One that faults; what was traced of it. */
struct faulter {
	pthread_t thread;
	atomic_int tid;
	unsigned long touches, majflt;
	unsigned int took[BUCKETS];
	unsigned long longest;
	bool wrong;
	bool holds;
	double waits_since;
};

static struct faulter faulters[MAX_THREADS];
static atomic_bool go, stop;

static unsigned long mmap_lock_reads, io, io_with_lock;
static double wait_us;

/* How long calls took. */
struct latencies {
	double *us;
	unsigned int nr;
};

/* Of the one that is beside the threads, and of the third thread. */
static struct latencies beside_took, third_took;

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static unsigned int bucket_of(unsigned long ns)
{
	int log = 63 - __builtin_clzl(ns | STEPS);

	return (log - 4) * STEPS + (ns >> (log - 4)) % STEPS + (ns >= STEPS ? STEPS : 0);
}

/* The least that is in the bucket. */
static double us_of(unsigned int bucket)
{
	if (bucket < STEPS)
		return bucket / 1e3;
	return (STEPS + bucket % STEPS) * (double)(1UL << (bucket / STEPS - 1)) / 1e3;
}

static double touch_us(double part)
{
	unsigned long nr = 0, all = 0;

	for (unsigned int i = 0; i < nr_threads; i++)
		all += faulters[i].touches;
	for (unsigned int bucket = 0; bucket < BUCKETS; bucket++) {
		for (unsigned int i = 0; i < nr_threads; i++)
			nr += faulters[i].took[bucket];
		if (nr > all * part)
			return us_of(bucket);
	}
	return 0;
}

static int try_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int ret = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return ret < 0 ? -1 : 0;
}

static void write_to(const char *path, const char *text)
{
	if (try_write(path, text))
		skip("%s: %s\n", path, strerror(errno));
}

/* The value after @name in a file of names and values; @missing if it is not there. */
static long long value_in(const char *path, const char *name, long long missing)
{
	char line[256];
	size_t len = strlen(name);
	long long value = missing;
	FILE *file = fopen(path, "r");

	if (!file)
		err(EXIT_FAILURE, "%s", path);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) && strchr(" :", line[len]))
			value = strtoll(line + len + 1, NULL, 0);
	}
	fclose(file);
	return value;
}

/* --- memory that is too small --------------------------------------------- */

static char cgroup[64];

static void name_cgroup(pid_t pid)
{
	snprintf(cgroup, sizeof(cgroup), CGROUP "fault_storm.%d", pid);
}

static void enter_cgroup(void)
{
	char path[128], text[32];

	write_to(CGROUP "cgroup.subtree_control", "+memory");
	name_cgroup(getpid());
	if (mkdir(cgroup, 0755))
		skip("%s: %s\n", cgroup, strerror(errno));
	snprintf(path, sizeof(path), "%s/memory.max", cgroup);
	snprintf(text, sizeof(text), "%uK", memory_kb);
	write_to(path, text);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	write_to(path, "0");
}

static long long major_faults(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	return value_in(path, "pgmajfault", -1);
}

/* --- the file ------------------------------------------------------------- */

static void no_room(const char *name)
{
	if (errno == EROFS || errno == EACCES || errno == ENOSPC || errno == EDQUOT)
		skip("%s: %s\n", name, strerror(errno));
	err(EXIT_FAILURE, "%s", name);
}

/* Each page begins with its number, plus one. */
static int make_file(void)
{
	char name[PATH_MAX];
	char *buf = calloc(PAGES_PER_WRITE, page);
	int fd;

	snprintf(name, sizeof(name), "%s/fault_storm.XXXXXX", dir);
	fd = mkstemp(name);
	if (fd < 0 || !buf)
		no_room(name);
	unlink(name);
	for (unsigned long nr = 0; nr < nr_pages; nr += PAGES_PER_WRITE) {
		for (int i = 0; i < PAGES_PER_WRITE; i++)
			*(unsigned long *)(buf + i * page) = nr + i + 1;
		if (pwrite(fd, buf, PAGES_PER_WRITE * page, nr * page) !=
		    (ssize_t)(PAGES_PER_WRITE * page))
			no_room(name);
	}
	free(buf);
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		err(EXIT_FAILURE, "%s", name);
	return fd;
}

/* The same, where it is swapped out as soon as there is too much. */
static void map_anonymous(void)
{
	map = mmap(NULL, nr_pages * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || madvise(map, nr_pages * page, MADV_NOHUGEPAGE))
		err(EXIT_FAILURE, "mmap");
	for (unsigned long nr = 0; nr < nr_pages; nr++)
		*(unsigned long *)(map + nr * page) = nr + 1;
}

static void map_file(void)
{
	int fd;

	fd = device ? open(device, O_RDWR) : make_file();
	if (fd < 0)
		err(EXIT_FAILURE, "%s", device);
	map = mmap(NULL, nr_pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	close(fd);
}

static void set_policy(int policy)
{
	struct sched_param param = { .sched_priority = policy == SCHED_FIFO };

	if (sched_setscheduler(0, policy, &param))
		skip("sched_setscheduler: %s\n", strerror(errno));
}

static void *faulter_thread(void *arg)
{
	struct faulter *f = arg;
	unsigned long random = 88172645463325252UL + (f - faulters) * 1000003;
	unsigned long own = nr_pages / nr_threads, first = (f - faulters) * own, next = 0;
	struct rusage before, after;

	prctl(PR_SET_NAME, COMM);
	f->tid = syscall(__NR_gettid);
	if (low)
		set_policy(SCHED_IDLE);
	while (!go)
		usleep(1000);
	getrusage(RUSAGE_THREAD, &before);
	while (!stop) {
		unsigned long nr, found, ns;
		double begin;

		/* Marsaglia's xorshift */
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		nr = in_order ? first + next++ % own : random % nr_pages;
		begin = now_us();
		if (writes)
			*(volatile unsigned long *)(map + nr * page) = nr + 1;
		found = FORCE_READ(*(unsigned long *)(map + nr * page));
		ns = (now_us() - begin) * 1e3;
		if (!device && found != nr + 1)
			f->wrong = true;
		f->touches++;
		f->took[bucket_of(ns)]++;
		if (ns > f->longest)
			f->longest = ns;
	}
	getrusage(RUSAGE_THREAD, &after);
	f->majflt = after.ru_majflt - before.ru_majflt;
	return NULL;
}

/* --- what happens beside -------------------------------------------------- */

static void do_mmap(void)
{
	void *p = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p, page))
		err(EXIT_FAILURE, "mmap");
}

static void do_mprotect(void)
{
	static bool writable = true;

	writable = !writable;
	if (mprotect(map, nr_pages * page, PROT_READ | (writable ? PROT_WRITE : 0)))
		err(EXIT_FAILURE, "mprotect");
}

static void do_part(void)
{
	static unsigned int nr;
	size_t len = nr_pages / PARTS * page;
	/* each of them, but not one after the other; and back again */
	char *part = map + nr / 2 * 37 % PARTS * len;

	if (mprotect(part, len, PROT_READ | (nr % 2 ? PROT_WRITE : 0)))
		err(EXIT_FAILURE, "mprotect");
	nr++;
}

static pid_t child;

static void do_fork(void)
{
	child = fork();
	if (child < 0)
		err(EXIT_FAILURE, "fork");
	if (!child)
		_exit(0);
}

static void wait_for_child(void)
{
	if (waitpid(child, NULL, 0) != child)
		err(EXIT_FAILURE, "waitpid");
}

static const struct beside {
	const char *name;
	void (*measured)(void);
	void (*then)(void);
} besides[] = {
	{ "alone" },
	{ "mmap", do_mmap },
	{ "mprotect", do_mprotect },
	{ "part", do_part },
	{ "fork", do_fork, wait_for_child },
};

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

/* All of it now, since it is not to be charged to what the file has. */
static void make_room(struct latencies *took)
{
	took->us = mmap(NULL, MAX_LATENCIES * sizeof(*took->us), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (took->us == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
}

static void took_since(struct latencies *took, double begin)
{
	if (took->nr < MAX_LATENCIES)
		took->us[took->nr++] = now_us() - begin;
}

static void print_latencies(struct latencies *took, const char *name, FILE *json)
{
	unsigned int nr = took->nr;

	if (!nr)
		return;
	qsort(took->us, nr, sizeof(*took->us), compare);
	fprintf(json, ", \"%slatencies\": %u, \"%sp50_us\": %.1f, \"%sp99_us\": %.1f, \"%smax_us\": %.1f",
		name, nr, name, took->us[nr / 2], name, took->us[nr * 99 / 100], name, took->us[nr - 1]);
}

static pid_t *busy;
static long nr_busy;

/* Above those who fault, below those who wait for them. */
static void begin_busy(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	busy = calloc(cpus, sizeof(*busy));
	if (!busy)
		err(EXIT_FAILURE, "calloc");
	for (; nr_busy < cpus; nr_busy++) {
		busy[nr_busy] = fork();
		if (busy[nr_busy] < 0)
			err(EXIT_FAILURE, "fork");
		if (!busy[nr_busy]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}
}

static void end_busy(void)
{
	while (nr_busy--) {
		kill(busy[nr_busy], SIGKILL);
		waitpid(busy[nr_busy], NULL, 0);
	}
	free(busy);
}

static void *third_thread(void *arg)
{
	while (!go)
		usleep(100);
	while (!stop) {
		double begin = now_us();

		do_mmap();
		took_since(&third_took, begin);
		usleep(1000);
	}
	return NULL;
}

/* --- what the kernel says of it ------------------------------------------- */

static void trace_begin(void)
{
	/* Of threads that fault; not what others do. */
	static const struct {
		const char *name, *filter;
	} events[] = {
		{ "mmap_lock/mmap_lock_start_locking", FAULTERS " && write == 0" },
		{ "mmap_lock/mmap_lock_acquire_returned",
		  FAULTERS " && write == 0 && success == 1" },
		{ "mmap_lock/mmap_lock_released", FAULTERS " && write == 0" },
		{ "block/block_bio_queue", FAULTERS " && rwbs ~ \"R*\"" },
	};
	long kb = TRACE_KB / sysconf(_SC_NPROCESSORS_CONF);
	char path[256], text[32];

	rmdir(INSTANCE);
	if (mkdir(INSTANCE, 0755))
		skip(INSTANCE ": %s\n", strerror(errno));
	kb = kb < LEAST_TRACE_KB ? LEAST_TRACE_KB : kb > MOST_TRACE_KB ? MOST_TRACE_KB : kb;
	snprintf(text, sizeof(text), "%ld", kb);
	write_to(INSTANCE "buffer_size_kb", text);
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++) {
		snprintf(path, sizeof(path), INSTANCE "events/%s/filter", events[i].name);
		write_to(path, events[i].filter);
		snprintf(path, sizeof(path), INSTANCE "events/%s/enable", events[i].name);
		write_to(path, "1");
	}
}

static void trace_line(const char *line)
{
	struct faulter *f = faulters;
	const char *event;
	int tid, at = 0;
	double when;

	if (sscanf(line, " " COMM "-%d [%*d] %*s %lf: %n", &tid, &when, &at) != 2 || !at)
		return;
	event = line + at;
	while (f < faulters + nr_threads && f->tid != tid)
		f++;
	if (f == faulters + nr_threads)
		return;
	if (!strncmp(event, "block_bio_queue", 15)) {
		io++;
		if (f->holds)
			io_with_lock++;
	} else if (!strncmp(event, "mmap_lock_start", 15)) {
		f->waits_since = when;
	} else if (!strncmp(event, "mmap_lock_released", 18)) {
		f->holds = false;
	} else {
		mmap_lock_reads++;
		f->holds = true;
		if (f->waits_since)
			wait_us += (when - f->waits_since) * 1e6;
		f->waits_since = 0;
	}
}

static void trace_end(void)
{
	char *line = NULL;
	char path[256];
	size_t len = 0;
	FILE *trace;

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
		snprintf(path, sizeof(path), INSTANCE "per_cpu/cpu%d/stats", cpu);
		if (value_in(path, "overrun", 0) || value_in(path, "dropped events", 0))
			skip("the trace lost events: give it less time with -t\n");
	}
	trace = fopen(INSTANCE "trace", "r");
	if (!trace)
		err(EXIT_FAILURE, INSTANCE "trace");
	while (getline(&line, &len, trace) > 0)
		trace_line(line);
	free(line);
	fclose(trace);
}

/* --- benches -------------------------------------------------------------- */

/* What the threads fault on, and the memory cgroup that is too small for it. */
static void map_all(void)
{
	size_t len;

	nr_pages = (unsigned long)file_mb * 1024 * 1024 / page;
	if (!anonymous) {
		map_file();
		/* Each fault reads its own page only. */
		if (!in_order)
			madvise(map, nr_pages * page, MADV_RANDOM);
	}
	enter_cgroup();
	if (anonymous)
		map_anonymous();
	len = nr_pages / nr_vmas * page;
	for (unsigned int i = 1; i < nr_vmas; i += 2)
		if (mprotect(map + i * len, len, PROT_READ))
			err(EXIT_FAILURE, "mprotect");
}

static void begin_faults(void)
{
	for (unsigned int i = 0; i < nr_threads; i++) {
		if (pthread_create(&faulters[i].thread, NULL, faulter_thread, &faulters[i]))
			err(EXIT_FAILURE, "pthread_create");
		while (!faulters[i].tid)
			usleep(100);
	}
}

/* When it is due; what was missed meanwhile is left out. */
static void wait_until_due(double *due)
{
	double now = now_us();

	if (*due > now)
		usleep(*due - now);
	else
		*due = now;
	*due += every_us;
}

static void storm(const struct beside *beside, FILE *json)
{
	unsigned long touches = 0, majflt = 0, longest = 0;
	long long pgmajfault;
	pthread_t other;
	double end, due;

	make_room(&beside_took);
	if (third)
		make_room(&third_took);
	map_all();
	if (low)
		begin_busy();
	begin_faults();
	/* inherited by the third thread */
	if (low)
		set_policy(SCHED_FIFO);
	if (third && pthread_create(&other, NULL, third_thread, NULL))
		err(EXIT_FAILURE, "pthread_create");
	trace_begin();
	pgmajfault = major_faults();

	go = true;
	due = now_us();
	end = due + seconds * 1e6;
	while (now_us() < end) {
		double begin;

		if (!beside->measured) {
			usleep(10000);
			continue;
		}
		if (every_us)
			wait_until_due(&due);
		begin = now_us();
		beside->measured();
		took_since(&beside_took, begin);
		if (beside->then)
			beside->then();
	}
	/* To exit takes mmap_lock, too. */
	write_to(INSTANCE "tracing_on", "0");
	stop = true;
	if (low)
		end_busy();
	for (unsigned int i = 0; i < nr_threads; i++) {
		pthread_join(faulters[i].thread, NULL);
		if (faulters[i].wrong)
			errx(EXIT_FAILURE, "a thread has read what is not in the file");
		touches += faulters[i].touches;
		majflt += faulters[i].majflt;
		if (faulters[i].longest > longest)
			longest = faulters[i].longest;
	}
	if (third)
		pthread_join(other, NULL);
	pgmajfault = major_faults() - pgmajfault;
	trace_end();

	fprintf(json, "{\"bench\": \"faults\", \"beside\": \"%s\", \"device\": \"%s\", ",
		beside->name, device ? device : "");
	fprintf(json, "\"seconds\": %u, \"touches\": %lu, \"ru_majflt\": %lu, \"pgmajfault\": %lld, ",
		seconds, touches, majflt, pgmajfault);
	fprintf(json, "\"touch_p50_us\": %.3f, \"touch_p99_us\": %.3f, \"touch_max_us\": %.3f, ",
		touch_us(0.5), touch_us(0.99), longest / 1e3);
	fprintf(json, "\"mmap_lock_reads\": %lu, \"mmap_lock_wait_us\": %.1f, ",
		mmap_lock_reads, wait_us);
	fprintf(json, "\"io\": %lu, \"io_with_mmap_lock\": %lu", io, io_with_lock);
	print_latencies(&beside_took, "", json);
	print_latencies(&third_took, "third_", json);
	fprintf(json, "}\n");
}

/* The process whose threads fault, while it protects parts of what they fault on. */
static void to_be_killed(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin_faults();
	go = true;
	for (;;)
		do_part();
}

static void kill_storm(const struct beside *beside, FILE *json)
{
	double end;

	make_room(&beside_took);
	make_room(&third_took);
	map_all();
	end = now_us() + seconds * 1e6;
	while (now_us() < end) {
		pid_t victim = fork();
		double begin;
		int pidfd;

		if (victim < 0)
			err(EXIT_FAILURE, "fork");
		if (!victim)
			to_be_killed();
		pidfd = syscall(__NR_pidfd_open, victim, 0);
		if (pidfd < 0)
			err(EXIT_FAILURE, "pidfd_open");
		usleep(BEFORE_KILL_US);
		begin = now_us();
		kill(victim, SIGKILL);
		/* That it is gone already, or that there is nothing to be had, is as good. */
		syscall(__NR_process_mrelease, pidfd, 0);
		took_since(&third_took, begin);
		if (waitpid(victim, NULL, 0) != victim)
			err(EXIT_FAILURE, "waitpid");
		took_since(&beside_took, begin);
		close(pidfd);
	}
	fprintf(json, "{\"bench\": \"killed\", \"device\": \"%s\"", device ? device : "");
	print_latencies(&beside_took, "", json);
	print_latencies(&third_took, "mrelease_", json);
	fprintf(json, "}\n");
}

static void *random_thread(void *arg)
{
	unsigned long first = (struct faulter *)arg - faulters;

	while (!go)
		usleep(100);
	/* Each page at most once: any odd factor does for a power of two. */
	for (unsigned long nr = first; nr < RANDOM_TOUCHES; nr += nr_threads)
		FORCE_READ(map[(nr * 2654435761UL + 12345) % nr_pages * page]);
	return NULL;
}

/* A file that is read at random is not to be read ahead for ever. */
static void random_reads(FILE *json)
{
	unsigned long in_core = 0;
	unsigned char *vec;

	for (nr_pages = 1; nr_pages * page < (unsigned long)file_mb << 20; nr_pages *= 2)
		;
	vec = malloc(nr_pages);
	usual_readahead(dir);
	map_file();
	for (unsigned int i = 0; i < nr_threads; i++)
		if (pthread_create(&faulters[i].thread, NULL, random_thread, &faulters[i]))
			err(EXIT_FAILURE, "pthread_create");
	go = true;
	for (unsigned int i = 0; i < nr_threads; i++)
		pthread_join(faulters[i].thread, NULL);
	if (!vec || mincore(map, nr_pages * page, vec))
		err(EXIT_FAILURE, "mincore");
	for (unsigned long nr = 0; nr < nr_pages; nr++)
		in_core += vec[nr] & 1;
	fprintf(json, "{\"bench\": \"random\", \"vmas\": %u, \"unit\": \"pages\", \"samples\": [%lu]}\n",
		nr_threads, in_core);
}

static void minor_faults(FILE *json)
{
	const char *comma = "";
	size_t len = MINOR_PAGES * page;
	char *p;

	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || madvise(p, len, MADV_NOHUGEPAGE))
		err(EXIT_FAILURE, "mmap");
	fprintf(json, "{\"bench\": \"minor\", \"vmas\": 1, \"unit\": \"tsc\", \"samples\": [");
	for (int round = 0; round < 10; round++) {
		unsigned long long begin = read_tsc();

		for (size_t at = 0; at < len; at += page)
			p[at] = 1;
		/* Page tables and lists are warm after the first. */
		if (round) {
			fprintf(json, "%s%.3f", comma,
				(double)(read_tsc() - begin) / MINOR_PAGES);
			comma = ", ";
		}
		madvise(p, len, MADV_DONTNEED);
	}
	fprintf(json, "]}\n");
}

static pid_t worker;

static void end_worker(int sig)
{
	kill(worker, SIGKILL);
}

/*
 * A signal, or a lack of memory in the cgroup, ends the process that storms: so
 * another one undoes what it has set up.
 */
static int storm_and_undo(void (*storm)(const struct beside *, FILE *),
			  const struct beside *beside, FILE *json)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	sigset_t these, before;
	int status;

	sigemptyset(&these);
	for (unsigned int i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&these, signals[i]);
	sigprocmask(SIG_BLOCK, &these, &before);
	worker = fork();
	if (worker < 0)
		err(EXIT_FAILURE, "fork");
	if (!worker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		storm(beside, json);
		exit(fclose(json) ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], end_worker);
	sigprocmask(SIG_SETMASK, &before, NULL);
	while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
		;
	name_cgroup(worker);
	rmdir(cgroup);
	rmdir(INSTANCE);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	warnx("ended by signal %d: too little memory with -l?", WTERMSIG(status));
	return EXIT_FAILURE;
}

static void usage(void)
{
	fprintf(stderr, "%s BENCH [-t SECONDS] [-n THREADS] [-s MIB] [-l KIB] [-v VMAS] [-e US] [-i] [-o] [-w]\n"
		"	[-c] [-d DIR | -f DEVICE | -a] [-j FILE]\n"
		"BENCH is alone, mmap, mprotect, part, fork, kill, random or minor; -s is the size of\n"
		"the file (a new one in DIR, or of DEVICE; -a: of anonymous memory, with swap), -l that\n"
		"of the memory cgroup; -v: in so many VMAs; -e: what is beside begins each so many\n"
		"microseconds, not as often as it can; -i: those who fault run only when nothing else\n"
		"would; -o: each touches its part of the file in order, with readahead, not at random;\n"
		"-w: they write; -c: a third thread. What protects (mprotect, part, kill) has neither -v\n"
		"nor -w; kill, random and minor have no -i.\n",
		program_invocation_short_name);
	exit(EXIT_FAILURE);
}

static unsigned int number(const char *text, unsigned int most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || n < 1 || n > most)
		usage();
	return n;
}

int main(int argc, char **argv)
{
	const char *what = argv[1];
	FILE *json = stdout;
	bool protects;
	int c, nr;

	page = sysconf(_SC_PAGESIZE);
	if (argc < 2)
		usage();
	argv++;
	argc--;
	while ((c = getopt(argc, argv, "t:n:s:l:v:e:iowcd:f:aj:")) != -1) {
		switch (c) {
		case 't':
			seconds = number(optarg, 3600);
			break;
		case 'n':
			nr_threads = number(optarg, MAX_THREADS);
			break;
		case 's':
			file_mb = number(optarg, 1 << 20);
			break;
		case 'l':
			memory_kb = number(optarg, INT_MAX);
			break;
		case 'v':
			nr_vmas = number(optarg, 16384);
			break;
		case 'e':
			every_us = number(optarg, 1000000);
			break;
		case 'i':
			low = true;
			break;
		case 'o':
			in_order = true;
			break;
		case 'w':
			writes = true;
			break;
		case 'c':
			third = true;
			break;
		case 'd':
			dir = optarg;
			break;
		case 'f':
			device = optarg;
			break;
		case 'a':
			anonymous = true;
			break;
		case 'j':
			json = create_json(optarg);
			break;
		default:
			usage();
		}
	}
	protects = !strcmp(what, "mprotect") || !strcmp(what, "part") || !strcmp(what, "kill");
	/* What is protected cannot be written, and is not in so many VMAs for long. */
	if ((anonymous && (device || in_order)) || (writes && (protects || nr_vmas > 1)) || (protects && nr_vmas > 1))
		usage();
	/* Enough for what the threads need at a time, however large a page is. */
	if (!memory_kb)
		memory_kb = page < 16384 ? 8192 : page / 1024 * 512;
	if (!file_mb)
		file_mb = memory_kb / 1024 * 8;
	if (nr_vmas > file_mb * 1024UL * 1024 / page || nr_threads > file_mb * 1024UL * 1024 / page)
		usage();
	for (nr = ARRAY_SIZE(besides) - 1; nr >= 0 && strcmp(what, besides[nr].name); nr--)
		;
	if (low && nr < 0)
		usage();
	/* random_reads() does so itself, and what is to be put back is kept once */
	if (in_order && (nr >= 0 || !strcmp(what, "kill")))
		usual_readahead(device ? device : dir);
	if (nr >= 0)
		return storm_and_undo(storm, &besides[nr], json);
	if (!strcmp(what, "kill"))
		return storm_and_undo(kill_storm, NULL, json);
	if (!strcmp(what, "random"))
		random_reads(json);
	else if (!strcmp(what, "minor"))
		minor_faults(json);
	else
		usage();
	if (fclose(json))
		err(EXIT_FAILURE, "writing what was measured");
	return EXIT_SUCCESS;
}
