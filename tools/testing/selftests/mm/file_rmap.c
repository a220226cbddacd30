// SPDX-License-Identifier: GPL-2.0
/*
 * Races between those who change the reverse mapping of a file and those who
 * walk it.
 *
 * The VMAs that map a file are linked into a tree, so that the kernel finds
 * all page table entries of a page of that file. mmap, munmap, mprotect,
 * mremap, fork, exec and exit change the tree. Truncation, hole punching,
 * reclaim, migration, collapse, uprobes, memory failure and mlock walk it. A
 * walk that misses a VMA leaves a stale page table entry behind, and that is
 * what the tests look for.
 *
 * Each test makes a storm: workers, one for each CPU but not more than
 * MAX_WORKERS, map the same new file in many ways, fork children and execute
 * themselves anew, while the test itself walks. Where a process runs when it maps
 * a file decides in which of its trees, if it has several, the VMA is: so children
 * go elsewhere, and workers that move mappings or fork. All that they share is a page
 * of control, which outlives exec because it is a memfd:
 *
 *  - A page of the file begins and ends with a stamp: its index and its
 *    generation. Before a page is written, and after its old contents were
 *    truncated or punched, control->gen of the page is raised. So who reads
 *    the generation, then the page, and then the generation must find a stamp
 *    between them, or zeroes if the test makes holes.
 *
 *  - A page of a private mapping that a worker has written has a cookie of
 *    the worker in a word that is zero in the file. It must stay there,
 *    except that truncation takes it away.
 *
 *  - While control->seq is odd, the size of the file is control->size, and
 *    the truncation to it has returned. Who reads seq, then its page table or
 *    memory, and then the same seq has looked in that time. No page beyond the
 *    size may be mapped then, and touching one gives SIGBUS.
 *
 * Environment: DURATION, seconds of each storm; SEED, a number that replays
 * the random choices of a run (but not their timing), printed by each run;
 * STALL, seconds without progress that are called a hang.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"
#include "hugepage_settings.h"
#include "vm_util.h"

#define ARG_WORKER		"--worker"

#define DEFAULT_DURATION	2
#define DEFAULT_STALL		60
#define MAX_WORKERS		8
#define MAX_PAGES		2048
#define MAX_NODES		64
#define MAX_CPUS		65536
#define SMALL_FILE		64	/* pages */
#define EXEC_EVERY		4	/* rounds */
#define MIN_ROUNDS		EXEC_EVERY	/* of each worker, however slow it is */
#define COW_EVERY		4	/* pages */
#define BALLAST			32	/* mappings that keep walks of others busy */

/* Of the fork test. */
#define FORK_MAPPINGS		1000
#define FORK_RUN		4	/* mappings in a row of the same kind */
#define FORK_PAGES		4	/* in each mapping */
#define FORK_CHILDREN		3	/* at a time */

#define MAX_EVENTS		2	/* of the uprobe test */
#define HUGETLB_PAGES		8
#define SOFT_OFFLINE_PAGES	8

/* TAINT_BAD_PAGE, TAINT_DIE and TAINT_WARN, by their numbers. */
#define COMPLAINTS		0x2a0

#define UNPOISON		"/sys/kernel/debug/hwpoison/unpoison-pfn"

/* Words of a page. */
#define STAMP_WORD		0
#define COOKIE_WORD		8
#define STAMP_MAGIC		0x5aULL

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC		0x01021994
#endif

#define load(ptr)		__atomic_load_n(ptr, __ATOMIC_SEQ_CST)
#define store(ptr, val)		__atomic_store_n(ptr, val, __ATOMIC_SEQ_CST)
#define add(ptr, val)		__atomic_add_fetch(ptr, val, __ATOMIC_SEQ_CST)

enum mode {
	MODE_FILE,	/* map, touch, split, move, fork, exec, unmap */
	MODE_PROBE,	/* exec, and map the executable */
	MODE_MREMAP,	/* move mappings back and forth */
	MODE_FORK,	/* fork with many mappings, in step with the test */
	MODE_HUGETLB,	/* map hugetlb pages so that page tables are shared */
};

/* What the walker of the storm does to the file, so what workers may see. */
#define HOLES		0x01	/* pages may be zero */
#define SHRINKS		0x02	/* SIGBUS, and cookies may vanish */
#define POOL		0x04	/* SIGBUS when there is no page left */
/* What workers shall do besides. */
#define DO_MLOCK	0x08
#define DO_PAGEOUT	0x10

/* control->seq in the uprobe test, modulo 4; even numbers: in between. */
#define PROBE_ARMED	1
#define PROBE_DISARMED	3

/* What processes share is unsigned long: atomic without a library everywhere. */
struct worker {
	pid_t pid;
	int cpu;
	uint64_t rng;
	unsigned long beats;		/* for the watchdog */
	unsigned long rounds;
	unsigned long touches;
	unsigned long sigbus;
	unsigned long forks;
	unsigned long execs;
	unsigned long checks;	/* looks at page tables in time */
	unsigned long call_seq;	/* control->seq of the calls below */
	unsigned long calls;		/* of the probed function */
	char op[40];		/* and padding */
};

struct control {
	unsigned long seq;
	unsigned long size;		/* pages */
	int stop;
	int failed;
	char message[256];

	enum mode mode;
	unsigned int flags;
	unsigned int nr_pages;
	size_t page_size;
	int fd;
	int exe_fd;
	char exe[PATH_MAX];
	off_t probe_offset;
	unsigned char probe_bytes[4];

	/* Of the fork test. */
	unsigned long phase;
	unsigned long ready;
	unsigned long checked;

	unsigned long walker_beats;
	unsigned int nr_workers;
	unsigned int nr_cpus;
	int cpus[MAX_WORKERS];
	struct worker workers[MAX_WORKERS];
	unsigned long gen[MAX_PAGES];
};

/* A mapping of the file: pages first to first + nr - 1. */
struct map {
	char *addr;
	unsigned int first;
	unsigned int nr;
	bool private;
	uint64_t cookie;	/* of the pages that are marked in cowed */
	unsigned char cowed[MAX_PAGES];
};

static struct control *control;
static int control_fd = -1;
static char *file_map;		/* the test's own mapping of the whole file */
static struct worker *me;	/* NULL in the test itself */
static uint64_t my_rng;
static uint64_t seed;
static int seconds = DEFAULT_DURATION;
static int stall = DEFAULT_STALL;

/* Where the handler of SIGBUS jumps to, if jump_set says that there is a place. */
static int jump_set;
static sigjmp_buf jump;

static unsigned long probe_count;

/* What the uprobe is put on. Called by a pointer, so there is just one of it. */
static void probed(void)
{
	__atomic_store_n(&probe_count, probe_count + 1, __ATOMIC_RELAXED);
}

static void (*probed_ptr)(void) = probed;

/* --- small helpers ------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static uint64_t random_u64(void)
{
	my_rng ^= my_rng << 13;
	my_rng ^= my_rng >> 7;
	my_rng ^= my_rng << 17;
	return my_rng * 0x2545f4914f6cdd1dULL;
}

static unsigned int random_below(unsigned int limit)
{
	return (random_u64() >> 32) % limit;
}

static void seed_rng(unsigned int who)
{
	my_rng = (seed + 1) * 0x9e3779b97f4a7c15ULL ^ (who + 1) * 0xbf58476d1ce4e5b9ULL;
	if (!my_rng)
		my_rng = 1;
	random_u64();
}

static void set_op(const char *op)
{
	if (!me)
		return;
	memset(me->op, 0, sizeof(me->op));
	strncpy(me->op, op, sizeof(me->op) - 1);
	add(&me->beats, 1);
}

/* The first one that fails says why; all stop. */
static void __printf(1, 2) complain(const char *fmt, ...)
{
	int unset = 0;
	va_list args;

	if (__atomic_compare_exchange_n(&control->failed, &unset, 1, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		int len = 0;

		if (me)
			len = snprintf(control->message,
				       sizeof(control->message),
				       "worker %d, process %d, %s: ",
				       (int)(me - control->workers), getpid(),
				       me->op);
		va_start(args, fmt);
		vsnprintf(control->message + len,
			  sizeof(control->message) - len, fmt, args);
		va_end(args);
		/* Of a worker, end_storm() tells; but who fails here ends here. */
		if (!me)
			fprintf(stderr, "# %s (SEED=%llu)\n", control->message,
				(unsigned long long)seed);
	}
	store(&control->stop, 1);
}

#define fail(fmt, ...) do {						\
	complain(fmt, ##__VA_ARGS__);					\
	_exit(KSFT_FAIL);						\
} while (0)

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!load(&jump_set)) {
		if (control)
			complain("unexpected signal %d at %p", sig,
				 info->si_addr);
		_exit(KSFT_FAIL);
	}
	siglongjmp(jump, 1);
}

static void catch_signals(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGBUS, &action, NULL);
}

/* False: SIGBUS. */
static bool read_word(const char *addr, unsigned int word, uint64_t *value)
{
	if (sigsetjmp(jump, 0)) {
		store(&jump_set, 0);
		return false;
	}
	store(&jump_set, 1);
	*value = load((const uint64_t *)addr + word);
	store(&jump_set, 0);
	return true;
}

static bool write_word(char *addr, unsigned int word, uint64_t value)
{
	if (sigsetjmp(jump, 0)) {
		store(&jump_set, 0);
		return false;
	}
	store(&jump_set, 1);
	store((uint64_t *)addr + word, value);
	store(&jump_set, 0);
	return true;
}

static unsigned int last_word(void)
{
	return control->page_size / sizeof(uint64_t) - 1;
}

static uint64_t stamp(unsigned int index, uint64_t gen)
{
	return STAMP_MAGIC << 56 | (uint64_t)index << 32 | (gen & UINT_MAX);
}

/* --- what a page must look like ------------------------------------------ */

static void check_stamp(unsigned int index, uint64_t value, uint64_t min,
			uint64_t max)
{
	if (!value) {
		if (!(control->flags & HOLES))
			fail("page %u is zero, generation %llu", index,
			     (unsigned long long)min);
		return;
	}
	if (value >> 32 != stamp(index, 0) >> 32)
		fail("page %u has the contents %#llx", index,
		     (unsigned long long)value);
	if ((value & UINT_MAX) < min || (value & UINT_MAX) > max)
		fail("page %u is of generation %llu, not %llu to %llu", index,
		     (unsigned long long)(value & UINT_MAX),
		     (unsigned long long)min, (unsigned long long)max);
}

/* A touch that began at @seq of page @index: was it right that it succeeded? */
static void check_size(uint64_t seq, unsigned int index, bool success)
{
	uint64_t size = control->size;

	if (!success && !(control->flags & (SHRINKS | POOL)))
		fail("SIGBUS at page %u", index);
	if (!(control->flags & SHRINKS) || !(seq & 1) ||
	    load(&control->seq) != seq)
		return;
	if (success && index >= size)
		fail("page %u can be read, the file has %llu", index,
		     (unsigned long long)size);
	if (!success && index < size && !(control->flags & POOL))
		fail("SIGBUS at page %u, the file has %llu", index,
		     (unsigned long long)size);
}

/* False: it is beyond the end of the file. */
static bool check_file_page(const char *addr, unsigned int index)
{
	const unsigned int words[] = { STAMP_WORD, last_word() };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		uint64_t seq = load(&control->seq);
		uint64_t min = load(&control->gen[index]);
		uint64_t value;

		if (!read_word(addr, words[i], &value)) {
			check_size(seq, index, false);
			if (me)
				add(&me->sigbus, 1);
			return false;
		}
		check_stamp(index, value, min, load(&control->gen[index]));
		check_size(seq, index, true);
	}
	if (me)
		add(&me->touches, 1);
	return true;
}

static void check_page(struct map *map, unsigned int i)
{
	unsigned int index = map->first + i;
	char *addr = map->addr + i * control->page_size;
	uint64_t seq = load(&control->seq);
	uint64_t value;

	if (!map->cowed[i]) {
		check_file_page(addr, index);
		return;
	}
	if (!read_word(addr, COOKIE_WORD, &value)) {
		check_size(seq, index, false);
		if (!(control->flags & SHRINKS))
			fail("SIGBUS at private page %u", index);
		map->cowed[i] = 0;
		return;
	}
	check_size(seq, index, true);
	if (value == map->cookie)
		return;
	if (value || !(control->flags & SHRINKS))
		fail("private page %u has the cookie %#llx, not %#llx", index,
		     (unsigned long long)value,
		     (unsigned long long)map->cookie);
	/* It was truncated, and this is a page of the file. */
	map->cowed[i] = 0;
	check_file_page(addr, index);
}

static void check_map(struct map *map)
{
	unsigned int i;

	for (i = 0; i < map->nr; i++)
		check_page(map, i);
}

static void cow_pages(struct map *map, unsigned int every)
{
	unsigned int i;

	for (i = random_below(every); i < map->nr; i += every) {
		char *addr = map->addr + i * control->page_size;

		if (write_word(addr, COOKIE_WORD, map->cookie))
			map->cowed[i] = 1;
		else if (!(control->flags & SHRINKS))
			fail("SIGBUS when private page %u is written",
			     map->first + i);
	}
}

static void do_map(struct map *map, char *addr)
{
	int flags = map->private ? MAP_PRIVATE : MAP_SHARED;
	int prot = map->private ? PROT_READ | PROT_WRITE : PROT_READ;

	if (addr)
		flags |= MAP_FIXED;
	if (control->flags & POOL)
		flags |= MAP_NORESERVE;
	map->addr = mmap(addr, map->nr * control->page_size, prot, flags,
			 control->fd, (off_t)map->first * control->page_size);
	if (map->addr == MAP_FAILED)
		fail("mmap of the file: %s", strerror(errno));
	map->cookie = random_u64() | 1;
	memset(map->cowed, 0, map->nr);
}

static char *reserve(size_t length)
{
	char *addr = mmap(NULL, length, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		fail("no room for %zu bytes: %s", length, strerror(errno));
	return addr;
}

static void do_unmap(char *addr, size_t length)
{
	if (munmap(addr, length))
		fail("munmap: %s", strerror(errno));
}

static void do_protect(char *addr, size_t length, int prot)
{
	if (mprotect(addr, length, prot))
		fail("mprotect: %s", strerror(errno));
}

/* One VMA becomes three and one again. */
static void split_map(struct map *map, unsigned int page)
{
	size_t ps = control->page_size;
	char *addr = map->addr + page * ps;

	do_protect(addr, ps, PROT_NONE);
	check_page(map, 0);
	check_page(map, map->nr - 1);
	do_protect(addr, ps, map->private ? PROT_READ | PROT_WRITE : PROT_READ);
	check_page(map, page);
}

static void do_move(struct map *map, char *to)
{
	size_t length = map->nr * control->page_size;

	if (mremap(map->addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		   to) == MAP_FAILED)
		fail("mremap: %s", strerror(errno));
	map->addr = to;
}

/* How many pages of @map from page @from of the file on are in the page table? */
static unsigned int count_mapped(const struct map *map, uint64_t from,
				 int pagemap)
{
	unsigned int i = from > map->first ? from - map->first : 0;
	unsigned int found = 0;
	uint64_t entries[64];

	while (i < map->nr) {
		uintptr_t addr = (uintptr_t)map->addr + i * control->page_size;
		/* A huge page has many entries: look at one. */
		unsigned int n = control->page_size > psize() ? 1 :
			map->nr - i;
		unsigned int j;

		if (n > ARRAY_SIZE(entries))
			n = ARRAY_SIZE(entries);
		if (pread(pagemap, entries, n * sizeof(*entries),
			  addr / psize() * sizeof(*entries)) !=
		    n * sizeof(*entries))
			fail("cannot read the pagemap: %s", strerror(errno));
		for (j = 0; j < n; j++)
			found += !!(entries[j] & (PM_PRESENT | PM_SWAP));
		i += n;
	}
	return found;
}

static int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail("cannot open the pagemap: %s", strerror(errno));
	return fd;
}

/*
 * Is a page beyond the end mapped, after truncation returned? The answer counts
 * only if the file was not extended meanwhile: then return true.
 */
static bool check_truncated(const struct map *maps, unsigned int nr,
			    int pagemap)
{
	uint64_t seq = load(&control->seq), size = control->size;
	unsigned int i, found = 0;

	if (!(control->flags & SHRINKS) || !(seq & 1))
		return false;
	for (i = 0; i < nr; i++)
		found += count_mapped(&maps[i], size, pagemap);
	if (load(&control->seq) != seq)
		return false;
	if (found)
		fail("%u pages beyond the end, %llu, are mapped", found,
		     (unsigned long long)size);
	if (me)
		add(&me->checks, 1);
	return true;
}

/* --- processes ----------------------------------------------------------- */

/* A set that has room for all CPUs which the kernel knows, or NULL. */
static cpu_set_t *make_cpu_set(size_t *size)
{
	cpu_set_t *set;
	int max;

	for (max = CPU_SETSIZE; max <= MAX_CPUS; max *= 2) {
		*size = CPU_ALLOC_SIZE(max);
		set = CPU_ALLOC(max);
		if (!set)
			return NULL;
		if (!sched_getaffinity(0, *size, set))
			return set;
		CPU_FREE(set);
	}
	return NULL;
}

/* Some of those that we may run on, far from each other. */
static unsigned int find_cpus(int *cpus, unsigned int max)
{
	unsigned int nr = 0, cpu, seen = 0, all;
	cpu_set_t *set;
	size_t size;

	set = make_cpu_set(&size);
	if (!set)
		return 0;
	all = CPU_COUNT_S(size, set);
	for (cpu = 0; cpu < size * 8; cpu++) {
		if (!CPU_ISSET_S(cpu, size, set))
			continue;
		if (all <= max || seen * max / all >= nr)
			cpus[nr++] = cpu;
		seen++;
	}
	CPU_FREE(set);
	return nr;
}

static bool run_on_cpu(int cpu)
{
	cpu_set_t *set;
	bool done;
	size_t size;

	set = make_cpu_set(&size);
	if (!set)
		return false;
	CPU_ZERO_S(size, set);
	CPU_SET_S(cpu, size, set);
	done = !sched_setaffinity(0, size, set);
	CPU_FREE(set);
	return done;
}

/* It may just have gone. */
static void run_elsewhere(void)
{
	if (control->nr_cpus > 1)
		run_on_cpu(control->cpus[random_below(control->nr_cpus)]);
}

/* Like fork(), but the child dies with its parent. */
static pid_t do_fork(void)
{
	pid_t parent = getpid(), pid;

	set_op("fork");
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid) {
		add(&me->forks, 1);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(KSFT_FAIL);
	/* Calls of a probed function are counted by CPU. */
	if (control->mode != MODE_PROBE)
		run_elsewhere();
	return 0;
}

static void reap(pid_t pid)
{
	int status;

	set_op("waitpid");
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("child %d ended with status %#x", pid, status);
}

static void exec_again(void)
{
	char fd[16], index[16];

	snprintf(fd, sizeof(fd), "%d", control_fd);
	snprintf(index, sizeof(index), "%d", (int)(me - control->workers));
	me->rng = my_rng;
	add(&me->execs, 1);
	set_op("exec");
	execl(control->exe, control->exe, ARG_WORKER, fd, index, NULL);
	fail("exec of %s: %s", control->exe, strerror(errno));
}

/* --- MODE_FILE ----------------------------------------------------------- */

/*
 * Mappings of the whole file that stay as long as the process does: since before
 * the file was sharded, if it is.
 */
static struct map standing[2];

static void make_standing(void)
{
	unsigned int i;

	set_op("standing");
	for (i = 0; i < ARRAY_SIZE(standing); i++) {
		standing[i].nr = control->nr_pages;
		standing[i].private = i;
		do_map(&standing[i], NULL);
	}
	if (control->nr_pages <= SMALL_FILE) {
		check_map(&standing[0]);
		cow_pages(&standing[1], COW_EVERY);
	} else {
		cow_pages(&standing[1], SMALL_FILE);
	}
}

static void check_standing(int pagemap)
{
	unsigned int i;

	check_truncated(standing, ARRAY_SIZE(standing), pagemap);
	split_map(&standing[random_below(ARRAY_SIZE(standing))],
		  1 + random_below(control->nr_pages - 2));
	for (i = 0; i < 8; i++)
		check_page(&standing[random_below(ARRAY_SIZE(standing))],
			   random_below(control->nr_pages));
}

/* A child that does nothing but to have what it inherited. */
static pid_t fork_resident(void)
{
	pid_t pid = do_fork();
	int pagemap;

	if (pid)
		return pid;
	pagemap = open_pagemap();
	while (!load(&control->stop)) {
		check_standing(pagemap);
		usleep(2000);
	}
	check_truncated(standing, ARRAY_SIZE(standing), pagemap);
	_exit(KSFT_PASS);
}

static void fork_and_check(struct map *map)
{
	pid_t pid = do_fork();
	int pagemap;

	if (pid) {
		reap(pid);
		return;
	}
	pagemap = open_pagemap();
	check_truncated(map, 1, pagemap);
	check_map(map);
	split_map(map, map->nr / 2);
	check_truncated(map, 1, pagemap);
	/* Half of the children leave the unmapping to their exit. */
	if (random_below(2))
		do_unmap(map->addr, map->nr * control->page_size);
	_exit(KSFT_PASS);
}

static void file_round(int pagemap)
{
	static struct map map;
	size_t ps = control->page_size;
	unsigned int half;

	map.nr = 3 + random_below(14);
	map.first = random_below(control->nr_pages - map.nr + 1);
	map.private = random_below(2);

	set_op("mmap");
	do_map(&map, NULL);
	check_map(&map);
	if (map.private)
		cow_pages(&map, 1 + random_below(COW_EVERY));

	set_op("mprotect");
	half = map.nr / 2;
	split_map(&map, half);

	if (random_below(2)) {
		set_op("mremap");
		do_move(&map, reserve(map.nr * ps));
		check_map(&map);
	}
	if (control->flags & DO_MLOCK) {
		set_op("mlock");
		if (mlock(map.addr, half * ps) && errno != EAGAIN)
			fail("mlock: %s", strerror(errno));
		check_map(&map);
		if (random_below(2) && munlock(map.addr, half * ps))
			fail("munlock: %s", strerror(errno));
	}
	if (control->flags & DO_PAGEOUT) {
		/* Of this process: what is locked stays. */
		set_op("pageout");
		madvise(map.addr + half * ps, (map.nr - half) * ps,
			MADV_PAGEOUT);
		check_map(&map);
	}
	if (!random_below(4))
		fork_and_check(&map);

	set_op("check");
	check_truncated(&map, 1, pagemap);
	check_map(&map);

	set_op("munmap");
	do_unmap(map.addr, half * ps);
	check_page(&map, map.nr - 1);
	do_unmap(map.addr + half * ps, (map.nr - half) * ps);

	set_op("standing");
	check_standing(pagemap);
}

static void file_worker(void)
{
	bool execs = (me - control->workers) % 2;
	int pagemap = open_pagemap();
	pid_t resident = 0;

	make_standing();
	if (!execs)
		resident = fork_resident();
	while (!load(&control->stop)) {
		file_round(pagemap);
		if (add(&me->rounds, 1) % EXEC_EVERY == 0 && execs)
			exec_again();
	}
	check_truncated(standing, ARRAY_SIZE(standing), pagemap);
	if (resident)
		reap(resident);
}

/* --- MODE_PROBE ---------------------------------------------------------- */

static void check_probe(const void *text, uint64_t seq, const char *what)
{
	unsigned char bytes[sizeof(control->probe_bytes)];
	bool differs;

	memcpy(bytes, text, sizeof(bytes));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(seq & 1) || load(&control->seq) != seq)
		return;
	differs = memcmp(bytes, control->probe_bytes, sizeof(bytes));
	if (seq % 4 == PROBE_ARMED && !differs)
		fail("%s: there is no breakpoint after registration", what);
	if (seq % 4 == PROBE_DISARMED && differs)
		fail("%s: a breakpoint survived", what);
	add(&me->checks, 1);
}

/* A call counts if it is certain that the probe was there all the time. */
static void call_probed(void)
{
	uint64_t seq = load(&control->seq);

	load(&probed_ptr)();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (seq % 4 == PROBE_ARMED && load(&control->seq) == seq) {
		if (me->call_seq != seq) {
			store(&me->calls, 0);
			store(&me->call_seq, seq);
		}
		add(&me->calls, 1);
	}
	check_probe(probed, seq, "executable");
}

static char *map_exe(void)
{
	off_t start = control->probe_offset & ~(off_t)(psize() - 1);
	char *addr = mmap(NULL, 2 * psize(), PROT_READ | PROT_EXEC,
			  MAP_PRIVATE, control->exe_fd, start);

	if (addr == MAP_FAILED)
		fail("mmap of the executable: %s", strerror(errno));
	return addr;
}

static void probe_round(char *old)
{
	unsigned int offset = control->probe_offset % psize();
	size_t length = 2 * psize();
	uint64_t seq;
	char *addr;
	pid_t pid;

	set_op("call");
	call_probed();
	seq = load(&control->seq);
	check_probe(old + offset, seq, "old mapping");

	set_op("map");
	seq = load(&control->seq);
	addr = map_exe();
	check_probe(addr + offset, seq, "new mapping");
	addr = mremap(addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		      reserve(length));
	if (addr == MAP_FAILED)
		fail("mremap: %s", strerror(errno));
	check_probe(addr + offset, seq, "moved mapping");

	seq = load(&control->seq);
	pid = do_fork();
	if (!pid) {
		check_probe(probed, seq, "child's executable");
		check_probe(addr + offset, seq, "child's mapping");
		/* The parent waits, so this is its turn to count. */
		call_probed();
		_exit(KSFT_PASS);
	}
	reap(pid);
	set_op("munmap");
	do_unmap(addr, length);
}

static void probe_worker(void)
{
	char *old;

	/* The probe is on the copy of the executable. */
	if (!me->execs)
		exec_again();
	old = map_exe();
	call_probed();
	while (!load(&control->stop)) {
		probe_round(old);
		if (add(&me->rounds, 1) % EXEC_EVERY == 0)
			exec_again();
	}
}

/* --- MODE_MREMAP --------------------------------------------------------- */

/* It is mapped anew, perhaps in another tree, and becomes one VMA with the rest. */
static void remap_part(struct map *part)
{
	size_t length = part->nr * control->page_size;

	run_elsewhere();
	if (mmap(part->addr, length, PROT_NONE, MAP_SHARED | MAP_FIXED, control->fd,
		 (off_t)part->first * control->page_size) != part->addr)
		fail("mmap of a part: %s", strerror(errno));
	do_protect(part->addr, length, PROT_READ);
	check_map(part);
}

static void mremap_worker(void)
{
	size_t length = control->nr_pages * control->page_size;
	int pagemap = open_pagemap();
	static struct map map, part;
	size_t align = 1;
	char *base, *place;
	unsigned int i;

	/* Whole page tables are moved where the addresses allow. */
	while (align < length)
		align <<= 1;
	base = reserve(4 * align);
	base = (char *)(((uintptr_t)base + align - 1) & ~(align - 1));
	place = reserve(length);

	map.nr = control->nr_pages;
	set_op("mmap");
	for (i = 0; i < BALLAST; i++)
		do_map(&map, NULL);
	map.private = (me - control->workers) % 2;
	do_map(&map, base);
	if (map.private)
		cow_pages(&map, COW_EVERY);

	while (!load(&control->stop)) {
		for (i = 0; i < SMALL_FILE; i++)
			check_page(&map, random_below(map.nr));

		set_op("mremap");
		do_move(&map, map.addr == base ? base + align : base);
		for (i = 0; i < SMALL_FILE; i++)
			check_page(&map, random_below(map.nr));
		check_truncated(&map, 1, pagemap);

		/*
		 * A part goes elsewhere and comes back: split and merge. If it
		 * is mapped anew meanwhile, on another CPU, it may come back to
		 * a VMA of another tree.
		 */
		set_op("mremap part");
		part = map;
		part.nr = 1 + random_below(SMALL_FILE);
		i = random_below(map.nr - part.nr + 1);
		part.first += i;
		part.addr += i * control->page_size;
		memcpy(part.cowed, map.cowed + i, part.nr);
		if (!part.private)
			remap_part(&part);
		do_move(&part, place);
		if (!part.private) {
			run_elsewhere();
			do_map(&part, place);
		}
		check_map(&part);
		do_move(&part, map.addr + i * control->page_size);
		check_truncated(&map, 1, pagemap);

		if (add(&me->rounds, 1) % 8 == 0)
			fork_and_check(&map);
	}
	set_op("check");
	check_map(&map);
}

/* --- MODE_FORK ----------------------------------------------------------- */

static struct map fork_maps[FORK_MAPPINGS];

static bool wait_for_window(void)
{
	while (!(load(&control->seq) & 1)) {
		if (load(&control->stop))
			return false;
		usleep(100);
	}
	return true;
}

/* Each page is there; or, if the file was truncated to nothing, none of any mapping. */
static void check_all(int pagemap)
{
	unsigned int i;

	for (i = 0; i < FORK_MAPPINGS && !(control->flags & SHRINKS); i++)
		check_map(&fork_maps[i]);
	if (!(control->flags & SHRINKS) || !wait_for_window())
		return;
	/* The test waits for us: it does not extend the file meanwhile. */
	if (!check_truncated(fork_maps, FORK_MAPPINGS, pagemap) &&
	    !load(&control->stop))
		fail("the file was extended too early");
	for (i = 0; i < FORK_MAPPINGS && !load(&control->stop); i++) {
		uint64_t value;

		if (read_word(fork_maps[i].addr, STAMP_WORD, &value))
			fail("mapping %u can be read after truncation", i);
		add(&me->sigbus, 1);
	}
}

static void fork_worker(void)
{
	int pagemap = open_pagemap();
	pid_t pids[FORK_CHILDREN];
	unsigned int i;
	uint64_t phase;

	for (i = 0; i < FORK_MAPPINGS; i++) {
		fork_maps[i].first = i % (control->nr_pages - FORK_PAGES);
		fork_maps[i].nr = FORK_PAGES;
		/* fork copies the page tables of private ones only. */
		fork_maps[i].private = i / FORK_RUN % 2;
		if (i % (4 * FORK_RUN) == 0)
			run_elsewhere();
		do_map(&fork_maps[i], NULL);
	}

	for (phase = 1; ; phase++) {
		set_op("wait");
		while (load(&control->phase) < phase) {
			if (load(&control->stop))
				return;
			usleep(100);
		}
		set_op("populate");
		for (i = 0; i < FORK_MAPPINGS; i++) {
			memset(fork_maps[i].cowed, 0, FORK_PAGES);
			check_map(&fork_maps[i]);
			if (fork_maps[i].private)
				cow_pages(&fork_maps[i], 2);
		}
		add(&control->ready, 1);
		for (i = 0; i < FORK_CHILDREN; i++) {
			run_elsewhere();
			pids[i] = do_fork();
			if (!pids[i]) {
				/* Of its own page table. */
				check_all(open_pagemap());
				_exit(KSFT_PASS);
			}
		}
		set_op("check");
		check_all(pagemap);
		for (i = 0; i < FORK_CHILDREN; i++)
			reap(pids[i]);
		add(&me->rounds, 1);
		add(&control->checked, 1);
	}
}

/* --- MODE_HUGETLB -------------------------------------------------------- */

/* The span of a PMD page table, which is what can be shared. */
static size_t hugetlb_span(void)
{
	return control->page_size / psize() * psize() / sizeof(uint64_t) *
	       psize();
}

/* Maps HUGETLB_PAGES pages and all the rest of the span. */
static void hugetlb_map(struct map *map, char *addr)
{
	if (mmap(addr, hugetlb_span(), PROT_READ,
		 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, control->fd, 0) != addr)
		fail("mmap of hugetlb pages: %s", strerror(errno));
	map->addr = addr;
	map->first = 0;
	map->nr = HUGETLB_PAGES;
	memset(map->cowed, 0, map->nr);
}

static void hugetlb_worker(void)
{
	size_t span = hugetlb_span(), ps = control->page_size;
	unsigned int index = me - control->workers;
	int pagemap = open_pagemap();
	static struct map maps[2];
	char *base;

	base = reserve(3 * span);
	base = (char *)(((uintptr_t)base + span - 1) & ~(span - 1));
	hugetlb_map(&maps[0], base);
	check_map(&maps[0]);

	while (!load(&control->stop)) {
		unsigned int middle = 1 + random_below(HUGETLB_PAGES - 2);

		set_op("mmap");
		hugetlb_map(&maps[1], base + span);
		check_map(&maps[1]);
		check_truncated(maps, 2, pagemap);

		switch (random_below(4)) {
		case 0:
			set_op("mprotect");
			do_protect(maps[1].addr + middle * ps, ps, PROT_NONE);
			check_page(&maps[1], 0);
			do_protect(maps[1].addr + middle * ps, ps, PROT_READ);
			break;
		case 1:
			set_op("munmap part");
			do_unmap(maps[1].addr + middle * ps, ps);
			check_page(&maps[1], 0);
			check_page(&maps[1], HUGETLB_PAGES - 1);
			hugetlb_map(&maps[1], base + span);
			break;
		case 2:
			fork_and_check(&maps[1]);
			break;
		}
		set_op("check");
		check_map(&maps[1]);
		check_truncated(maps, 2, pagemap);
		set_op("munmap");
		do_unmap(maps[1].addr, span);
		set_op("standing");
		check_map(&maps[0]);
		check_truncated(maps, 1, pagemap);
		if (add(&me->rounds, 1) % EXEC_EVERY == 0 && index % 2)
			exec_again();
	}
	check_truncated(maps, 1, pagemap);
}

/* --- workers begin ------------------------------------------------------- */

static void run_worker(void)
{
	catch_signals();
	my_rng = me->rng;
	switch (control->mode) {
	case MODE_FILE:
		file_worker();
		break;
	case MODE_PROBE:
		probe_worker();
		break;
	case MODE_MREMAP:
		mremap_worker();
		break;
	case MODE_FORK:
		fork_worker();
		break;
	case MODE_HUGETLB:
		hugetlb_worker();
		break;
	}
	set_op("exit");
	_exit(KSFT_PASS);
}

static bool attach_control(int fd)
{
	control_fd = fd;
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
		       MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		control = NULL;
	return control;
}

/* A worker after exec. */
static int worker_main(char **argv)
{
	if (!attach_control(atoi(argv[2])))
		return KSFT_FAIL;
	me = &control->workers[atoi(argv[3])];
	run_worker();
	return KSFT_FAIL;
}

/* --- the storm, as the tests see it -------------------------------------- */

/* Shared with the process that cleans up. */
struct storm {
	char dir[PATH_MAX];
	char file[PATH_MAX];
	char exe[PATH_MAX];
	pid_t group;
	unsigned long complaints;
	uint64_t deadline;
	bool exe_is_copy;
};

static void remove_files(struct storm *storm)
{
	if (storm->file[0])
		unlink(storm->file);
	if (storm->exe_is_copy)
		unlink(storm->exe);
	if (storm->dir[0])
		rmdir(storm->dir);
}

static bool copy_exe(const char *to)
{
	int from_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int to_fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	static char buf[65536];
	ssize_t len = -1;

	if (from_fd >= 0 && to_fd >= 0) {
		while ((len = read(from_fd, buf, sizeof(buf))) > 0) {
			if (write(to_fd, buf, len) != len) {
				len = -1;
				break;
			}
		}
	}
	if (from_fd >= 0)
		close(from_fd);
	if (to_fd >= 0 && close(to_fd))
		len = -1;
	return !len;
}

/* False, with errno set: could not. */
static bool make_control(void)
{
	int fd = memfd_create("file_rmap control", 0);

	if (fd < 0 || ftruncate(fd, sizeof(*control)) || !attach_control(fd))
		return false;
	control->fd = -1;
	control->exe_fd = -1;
	catch_signals();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	seed_rng(MAX_WORKERS);
	return true;
}

static bool make_files(struct storm *storm, const char *parent)
{
	struct statvfs vfs;
	bool noexec;

	if (snprintf(storm->dir, sizeof(storm->dir) - 16, "%s/file_rmap.XXXXXX",
		     parent) >= (int)sizeof(storm->dir) - 16) {
		storm->dir[0] = '\0';
		errno = ENAMETOOLONG;
		return false;
	}
	if (!mkdtemp(storm->dir)) {
		storm->dir[0] = '\0';
		return false;
	}
	strcpy(storm->file, storm->dir);
	strcat(storm->file, "/file");
	control->fd = open(storm->file, O_RDWR | O_CREAT | O_EXCL, 0644);

	noexec = !statvfs(storm->dir, &vfs) && vfs.f_flag & ST_NOEXEC;
	if (noexec) {
		strcpy(storm->exe, "/proc/self/exe");
	} else {
		strcpy(storm->exe, storm->dir);
		strcat(storm->exe, "/exe");
		storm->exe_is_copy = true;
		if (!copy_exe(storm->exe)) {
			remove_files(storm);
			return false;
		}
	}
	strcpy(control->exe, storm->exe);
	control->exe_fd = open(storm->exe, O_RDONLY);
	if (control->fd < 0 || control->exe_fd < 0) {
		remove_files(storm);
		return false;
	}
	return true;
}

/* From here on pages have their next contents or none. */
static void next_generation(unsigned int from, unsigned int to)
{
	unsigned int i;

	for (i = from; i < to; i++)
		add(&control->gen[i], 1);
}

static void write_pages(unsigned int from, unsigned int to)
{
	unsigned int i;

	for (i = from; i < to; i++) {
		char *addr = file_map + i * control->page_size;
		uint64_t value = stamp(i, control->gen[i]);

		if (write_word(addr, STAMP_WORD, value) &&
		    write_word(addr, last_word(), value))
			continue;
		/* No huge page is left: then it stays empty. */
		if (!(control->flags & POOL))
			complain("SIGBUS when page %u is written", i);
	}
}

static bool fill_file(unsigned int nr_pages, size_t page_size)
{
	control->nr_pages = nr_pages;
	control->page_size = page_size;
	if (ftruncate(control->fd, nr_pages * page_size))
		return false;
	file_map = mmap(NULL, nr_pages * page_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | (control->flags & POOL ? MAP_NORESERVE : 0),
			control->fd, 0);
	if (file_map == MAP_FAILED)
		return false;
	next_generation(0, nr_pages);
	write_pages(0, nr_pages);
	return !control->failed;
}

static void report_hang(pid_t pid, const char *who, const char *op)
{
	static const char * const names[] = { "wchan", "stack" };
	char path[64], text[1024];
	unsigned int i;

	fprintf(stderr, "# %s, process %d, made no progress for %d s: %s\n",
		who, pid, stall, op);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ssize_t len = -1;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i]);
		fd = open(path, O_RDONLY);
		if (fd >= 0)
			len = read(fd, text, sizeof(text) - 1);
		if (len > 0) {
			text[len] = '\0';
			fprintf(stderr, "# %s:\n%s\n", path, text);
		}
		if (fd >= 0)
			close(fd);
	}
}

/* Leads the process group of the storm. */
static void watchdog(struct storm *storm, pid_t test)
{
	uint64_t beats[MAX_WORKERS + 1] = {};
	uint64_t since[MAX_WORKERS + 1];
	unsigned int i, nr = control->nr_workers;

	for (i = 0; i <= nr; i++)
		since[i] = now_ms();
	for (;;) {
		usleep(200000);
		if (getppid() != test) {
			/* The test died, perhaps of the harness's timeout. */
			remove_files(storm);
			kill(0, SIGKILL);
		}
		for (i = 0; i <= nr; i++) {
			struct worker *w = &control->workers[i];
			bool walker = i == nr;
			uint64_t beat = walker ? load(&control->walker_beats) :
						 load(&w->beats);

			if (beat != beats[i]) {
				beats[i] = beat;
				since[i] = now_ms();
			}
			if (now_ms() - since[i] < stall * 1000ULL)
				continue;
			report_hang(walker ? test : w->pid,
				    walker ? "the test" : "a worker",
				    walker ? "" : w->op);
			if (walker)
				complain("the test hung");
			else
				complain("worker %u hung in %s", i, w->op);
			kill(0, SIGKILL);
		}
	}
}

static pid_t start_process(pid_t group)
{
	pid_t test = getpid(), pid = fork();

	if (pid)
		return pid;
	setpgid(0, group);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != test)
		_exit(KSFT_FAIL);
	return 0;
}

/* Whether the kernel said that something is wrong: a bad page, oops, warning. */
static unsigned long complaints(void)
{
	return read_num("/proc/sys/kernel/tainted") & COMPLAINTS;
}

/* False: a process could not be made. The mode and flags are set already. */
static bool start_storm(struct storm *storm)
{
	unsigned int i;
	pid_t pid;

	control->nr_cpus = find_cpus(control->cpus, MAX_WORKERS);
	control->nr_workers = control->nr_cpus < 2 ? 2 : control->nr_cpus;
	storm->complaints = complaints();

	fflush(stdout);
	fflush(stderr);
	pid = start_process(0);
	if (pid < 0)
		return false;
	if (!pid) {
		pid_t test = getppid();

		/* It has to clean up when the test is gone. */
		prctl(PR_SET_PDEATHSIG, 0);
		watchdog(storm, test);
	}
	/* The group must exist before others join it. */
	setpgid(pid, pid);
	storm->group = pid;

	for (i = 0; i < control->nr_workers; i++) {
		struct worker *w = &control->workers[i];

		seed_rng(i);
		w->rng = my_rng;
		w->cpu = control->nr_cpus ? control->cpus[i % control->nr_cpus] : -1;
		pid = start_process(storm->group);
		if (pid < 0)
			return false;
		if (!pid) {
			me = w;
			/* The CPU may just have gone. */
			if (w->cpu >= 0 && !run_on_cpu(w->cpu))
				w->cpu = -1;
			run_worker();
		}
		w->pid = pid;
	}
	seed_rng(MAX_WORKERS);
	storm->deadline = now_ms() + seconds * 1000ULL;
	return true;
}

/* All have something to show for, and the time is over; or something failed. */
static bool storm_goes_on(struct storm *storm)
{
	unsigned int i;

	add(&control->walker_beats, 1);
	for (i = 0; i < control->nr_workers; i++) {
		siginfo_t info = {};

		/* It is not reaped yet: that is for end_storm(). */
		if (!waitid(P_PID, control->workers[i].pid, &info,
			    WEXITED | WNOHANG | WNOWAIT) && info.si_pid &&
		    !load(&control->stop))
			complain("worker %u ended too early", i);
	}
	if (load(&control->stop))
		return false;
	if (now_ms() < storm->deadline)
		return true;
	for (i = 0; i < control->nr_workers; i++) {
		if (load(&control->workers[i].rounds) < MIN_ROUNDS)
			return true;
	}
	return false;
}

static uint64_t sum_of(size_t offset)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < control->nr_workers; i++)
		sum += load((unsigned long *)((char *)&control->workers[i] + offset));
	return sum;
}

#define total(member)	sum_of(offsetof(struct worker, member))

/* The caller has truncated the file to @size pages. */
static void open_window(uint64_t size)
{
	store(&control->size, size);
	add(&control->seq, 1);
}

/* Give the workers time to look @times each, on average, but not too much. */
static void hold_window(unsigned int times)
{
	uint64_t wanted = total(checks) + control->nr_workers * times;
	uint64_t end = now_ms() + (times > 1 ? 500 : 100);

	while (total(checks) < wanted && now_ms() < end &&
	       !load(&control->stop))
		usleep(200);
}

static void close_window(void)
{
	add(&control->seq, 1);
}

/* To be followed by return. SKIP() alone would hide what failed before. */
#define skip_if_passed(fmt, ...) do {					\
	if (_metadata->exit_code == KSFT_PASS)				\
		SKIP(break, fmt, ##__VA_ARGS__);			\
} while (0)

static void end_storm(struct __test_metadata *_metadata, struct storm *storm)
{
	bool complete = now_ms() >= storm->deadline;
	unsigned int i;
	int status;

	store(&control->stop, 1);
	for (i = 0; i < control->nr_workers; i++) {
		struct worker *w = &control->workers[i];

		ASSERT_EQ(waitpid(w->pid, &status, 0), w->pid);
		EXPECT_EQ(status, 0)
			TH_LOG("worker %u ended with status %#x in %s", i,
			       status, w->op);
		if (complete && !control->failed)
			EXPECT_GT(w->rounds, 0);
		add(&control->walker_beats, 1);
	}
	kill(-storm->group, SIGKILL);
	while (waitpid(-1, &status, 0) > 0 || errno == EINTR)
		;
	storm->group = 0;

	EXPECT_EQ(control->failed, 0)
		TH_LOG("%s (SEED=%llu)", control->message,
		       (unsigned long long)seed);
	EXPECT_EQ(complaints() & ~storm->complaints, 0)
		TH_LOG("the kernel found something wrong: see its log");
	ksft_print_msg("%llu rounds, %llu reads, %llu SIGBUS, %llu forks, %llu execs, %llu looks\n",
		       (unsigned long long)total(rounds),
		       (unsigned long long)total(touches),
		       (unsigned long long)total(sigbus),
		       (unsigned long long)total(forks),
		       (unsigned long long)total(execs),
		       (unsigned long long)total(checks));
	fflush(stdout);
}

/* Also when the test died and could not do it. */
static void clean_up(struct storm *storm)
{
	unsigned int i;

	if (storm->group > 0) {
		kill(-storm->group, SIGKILL);
		for (i = 0; i < 500 && !kill(-storm->group, 0); i++)
			usleep(10000);
	}
	remove_files(storm);
}

/* With the storm over: is the file still what it should be? */
static void check_file(void)
{
	unsigned int i;

	for (i = 0; i < control->nr_pages; i++)
		check_file_page(file_map + i * control->page_size, i);
}

static int find_nodes(int *nodes, int max)
{
	char buf[256], *word, *rest = buf;
	int fd, nr = 0;
	ssize_t len;

	fd = open("/sys/devices/system/node/has_memory", O_RDONLY);
	if (fd < 0)
		return 0;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	buf[len] = '\0';
	while ((word = strsep(&rest, ",\n"))) {
		int first, last, n = sscanf(word, "%d-%d", &first, &last);

		if (n < 1)
			continue;
		if (n == 1)
			last = first;
		for (; first <= last && nr < max; first++)
			nodes[nr++] = first;
	}
	return nr;
}

/*
 * Timeout of the harness: what the watchdog does not find, because it is only
 * slow, or because the watchdog itself hangs.
 */
static int timeout(void)
{
	const char *duration = getenv("DURATION"), *st = getenv("STALL");

	return 3 * (duration ? atoi(duration) : DEFAULT_DURATION) +
	       2 * (st ? atoi(st) : DEFAULT_STALL);
}

/* --- tests on files ------------------------------------------------------ */

enum backing {
	TMPFS_BACKED,
	FILE_BACKED,
};

FIXTURE(file_rmap)
{
	struct storm storm;
};

FIXTURE_VARIANT(file_rmap)
{
	enum backing backing;
};

FIXTURE_VARIANT_ADD(file_rmap, tmpfs)
{
	.backing = TMPFS_BACKED,
};

FIXTURE_VARIANT_ADD(file_rmap, file)
{
	.backing = FILE_BACKED,
};

static bool can_map_shared(int fd)
{
	void *addr = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (addr != MAP_FAILED)
		munmap(addr, psize());
	return addr != MAP_FAILED;
}

FIXTURE_SETUP(file_rmap)
{
	char dir[PATH_MAX] = "/dev/shm";
	struct statfs fs;

	if (variant->backing == FILE_BACKED) {
		ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

		ASSERT_GT(len, 0);
		dir[len] = '\0';
		dirname(dir);
	}
	if (statfs(dir, &fs))
		SKIP(return, "no %s: %s", dir, strerror(errno));
	if (variant->backing == TMPFS_BACKED && fs.f_type != TMPFS_MAGIC)
		SKIP(return, "%s is not on tmpfs", dir);
	if (access(dir, W_OK))
		SKIP(return, "cannot write to %s: %s", dir, strerror(errno));

	ASSERT_TRUE(make_control());
	ASSERT_TRUE(make_files(&self->storm, dir))
		TH_LOG("cannot make files in %s: %s", dir, strerror(errno));
	if (!can_map_shared(control->fd)) {
		int error = errno;

		clean_up(&self->storm);
		SKIP(return, "cannot map files in %s: %s", dir, strerror(error));
	}
	TH_LOG("SEED=%llu DURATION=%d in %s", (unsigned long long)seed, seconds,
	       self->storm.dir);
}

FIXTURE_TEARDOWN_PARENT(file_rmap)
{
	clean_up(&self->storm);
}

static void start(struct __test_metadata *_metadata, struct storm *storm,
		  enum mode mode, unsigned int flags, unsigned int nr_pages)
{
	control->mode = mode;
	control->flags = flags;
	ASSERT_TRUE(fill_file(nr_pages, psize()))
		TH_LOG("cannot fill the file: %s %s", strerror(errno),
		       control->message);
	ASSERT_TRUE(start_storm(storm));
}

/* Nobody walks, except that fork, exec and exit do. */
TEST_F_TIMEOUT(file_rmap, storm, timeout())
{
	start(_metadata, &self->storm, MODE_FILE, 0, SMALL_FILE);
	while (storm_goes_on(&self->storm))
		usleep(10000);
	end_storm(_metadata, &self->storm);
	check_file();
	EXPECT_GT(total(execs), 0);
	EXPECT_GT(total(forks), 0);
}

/*
 * After truncation no page table may have a page beyond the end of the file,
 * nor a private copy of one.
 */
static void truncate_storm(struct __test_metadata *_metadata,
			   struct storm *storm, enum mode mode)
{
	size_t ps = psize();

	start(_metadata, storm, mode, HOLES | SHRINKS, SMALL_FILE);
	while (storm_goes_on(storm)) {
		unsigned int size = random_below(SMALL_FILE);

		ASSERT_EQ(ftruncate(control->fd, size * ps), 0);
		next_generation(size, SMALL_FILE);
		open_window(size);
		hold_window(1);
		close_window();
		ASSERT_EQ(ftruncate(control->fd, SMALL_FILE * ps), 0);
		write_pages(size, size + random_below(SMALL_FILE - size + 1));
		usleep(random_below(2000));
	}
	/* The last look of each worker and child. */
	ASSERT_EQ(ftruncate(control->fd, 0), 0);
	next_generation(0, SMALL_FILE);
	open_window(0);
	hold_window(1);
	end_storm(_metadata, storm);
	EXPECT_GT(total(checks), 0);
	EXPECT_GT(total(sigbus), 0);
}

TEST_F_TIMEOUT(file_rmap, truncate, timeout())
{
	truncate_storm(_metadata, &self->storm, MODE_FILE);
}

/* Truncate while page tables are moved, to VMAs of other trees, too. */
TEST_F_TIMEOUT(file_rmap, mremap_truncate, timeout())
{
	truncate_storm(_metadata, &self->storm, MODE_MREMAP);
}

/* After a hole was punched nobody may read what was there before. */
TEST_F_TIMEOUT(file_rmap, punch_hole, timeout())
{
	unsigned int punches = 0;
	size_t ps = psize();

	if (fallocate(control->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      0, ps) && errno == EOPNOTSUPP)
		SKIP(return, "the file system cannot punch holes");

	start(_metadata, &self->storm, MODE_FILE, HOLES, SMALL_FILE);
	while (storm_goes_on(&self->storm)) {
		unsigned int first = random_below(SMALL_FILE);
		unsigned int nr = 1 + random_below(SMALL_FILE - first);

		ASSERT_EQ(fallocate(control->fd, FALLOC_FL_PUNCH_HOLE |
				    FALLOC_FL_KEEP_SIZE, first * ps, nr * ps), 0);
		next_generation(first, first + nr);
		usleep(random_below(2000));
		write_pages(first, first + random_below(nr + 1));
		usleep(random_below(1000));
		punches++;
	}
	end_storm(_metadata, &self->storm);
	check_file();
	EXPECT_GT(punches, 0);
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, len) == len;
	close(fd);
	return done;
}

static unsigned int count_resident(char *addr, unsigned int nr_pages)
{
	unsigned char resident[MAX_PAGES];
	unsigned int i, nr = 0;

	if (mincore(addr, nr_pages * psize(), resident))
		return nr_pages;
	for (i = 0; i < nr_pages; i++)
		nr += resident[i] & 1;
	return nr;
}

/* Write back and reclaim what only we map, until some of it is gone. */
static bool leaves_memory(int fd, char *addr, unsigned int nr_pages)
{
	unsigned int tries;

	for (tries = 0; tries < 50; tries++) {
		if (fdatasync(fd) || madvise(addr, nr_pages * psize(), MADV_PAGEOUT))
			return false;
		if (count_resident(addr, nr_pages) < nr_pages)
			return true;
		usleep(10000);
	}
	return false;
}

/* Do files here ever leave memory? Those of some file systems are nowhere else. */
static bool files_leave_memory(const struct storm *storm)
{
	char path[sizeof(storm->dir) + 16];
	bool leave = false;
	char *addr;
	int fd;

	snprintf(path, sizeof(path), "%s/probe", storm->dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return false;
	unlink(path);
	if (!ftruncate(fd, SMALL_FILE * psize())) {
		addr = mmap(NULL, SMALL_FILE * psize(), PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);
		if (addr != MAP_FAILED) {
			memset(addr, 1, SMALL_FILE * psize());
			leave = leaves_memory(fd, addr, SMALL_FILE);
			munmap(addr, SMALL_FILE * psize());
		}
	}
	close(fd);
	return leave;
}

/* Reclaim of mapped pages, by the test, the workers, and for the node. */
TEST_F_TIMEOUT(file_rmap, pageout, timeout())
{
	int nodes[MAX_NODES], nr_nodes = find_nodes(nodes, MAX_NODES);
	/* Whether those of tmpfs do is a question of how much swap there is. */
	bool leave = variant->backing == FILE_BACKED &&
		     files_leave_memory(&self->storm);
	char path[PATH_MAX];
	unsigned int i;

	start(_metadata, &self->storm, MODE_FILE, DO_PAGEOUT, SMALL_FILE);
	if (madvise(file_map, SMALL_FILE * psize(), MADV_PAGEOUT) &&
	    errno == EINVAL) {
		end_storm(_metadata, &self->storm);
		skip_if_passed("there is no MADV_PAGEOUT");
		return;
	}
	while (storm_goes_on(&self->storm)) {
		/* Dirty pages are written first, or they stay. */
		if (!random_below(16))
			ASSERT_EQ(fdatasync(control->fd), 0);
		ASSERT_EQ(madvise(file_map, SMALL_FILE * psize(),
				  MADV_PAGEOUT), 0);
		for (i = 0; i < nr_nodes; i++) {
			/* Proactive reclaim, where there is such a file. */
			snprintf(path, sizeof(path),
				 "/sys/devices/system/node/node%d/reclaim",
				 nodes[i]);
			write_text(path, "128K");
		}
		usleep(random_below(2000));
	}
	end_storm(_metadata, &self->storm);
	check_file();

	/* Without others who map it, it leaves memory as others do. */
	if (leave)
		EXPECT_TRUE(leaves_memory(control->fd, file_map, SMALL_FILE));
	if (!leave && variant->backing == FILE_BACKED)
		TH_LOG("files in %s do not leave memory", self->storm.dir);
	check_file();
}

/*
 * Moves SMALL_FILE pages, of which the storm may keep some where they are.
 * Returns how many came to @node, or -1.
 */
static int move_some_pages(int node)
{
	int before[SMALL_FILE], after[SMALL_FILE];
	int targets[SMALL_FILE], status[SMALL_FILE];
	void *pages[SMALL_FILE];
	unsigned int first, i, moved = 0;

	first = random_below(control->nr_pages - SMALL_FILE + 1);
	for (i = 0; i < SMALL_FILE; i++) {
		pages[i] = file_map + (first + i) * psize();
		targets[i] = node;
		/* Only what is mapped here can be moved. */
		check_file_page(pages[i], first + i);
	}
	if (syscall(__NR_move_pages, 0, SMALL_FILE, pages, NULL, before, 0))
		return -1;
	if (syscall(__NR_move_pages, 0, SMALL_FILE, pages, targets, status,
		    MPOL_MF_MOVE_ALL) < 0)
		return -1;
	/* The status says nothing if a page could not be moved. */
	if (syscall(__NR_move_pages, 0, SMALL_FILE, pages, NULL, after, 0))
		return -1;
	for (i = 0; i < SMALL_FILE; i++)
		moved += before[i] != node && after[i] == node;
	return moved;
}

/* To move pages. A failure takes longer than that of other tests. */
#define MAX_TURNS	64

static void migrate_storm(struct __test_metadata *_metadata,
			  struct storm *storm, enum mode mode,
			  unsigned int nr_pages)
{
	int nodes[MAX_NODES], nr_nodes = find_nodes(nodes, MAX_NODES);
	uint64_t moved[MAX_NODES] = {};
	unsigned int i = 0, target;

	if (nr_nodes < 2)
		SKIP(return, "fewer than two nodes with memory");
	if (syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, MPOL_MF_MOVE))
		SKIP(return, "no move_pages: %s", strerror(errno));

	start(_metadata, storm, mode, 0, nr_pages);
	/*
	 * However slow that is, until pages have come to two nodes: many stay
	 * where they are because they are in use just then.
	 */
	while (storm_goes_on(storm) ||
	       (i < MAX_TURNS && (!moved[0] || !moved[1]) &&
		!load(&control->stop))) {
		int nr;

		target = i % nr_nodes;
		nr = move_some_pages(nodes[target]);
		if (nr < 0 && errno == EPERM) {
			end_storm(_metadata, storm);
			skip_if_passed("not allowed to move pages");
			return;
		}
		ASSERT_GE(nr, 0);
		moved[target] += nr;

		if (i++ % 4 == 3) {
			unsigned long mask[MAX_NODES / 8 / sizeof(long) + 1] = {};
			int node = nodes[random_below(nr_nodes)];

			if (node >= MAX_NODES)
				continue;
			mask[node / (8 * sizeof(long))] |=
				1UL << node % (8 * sizeof(long));
			/* That some pages are in use is no error here. */
			ASSERT_EQ(syscall(__NR_mbind, file_map,
					  nr_pages * psize(), MPOL_PREFERRED,
					  mask, sizeof(mask) * 8,
					  MPOL_MF_MOVE_ALL), 0);
		}
	}
	end_storm(_metadata, storm);
	check_file();
	EXPECT_GT(moved[0], 0);
	EXPECT_GT(moved[1], 0);
}

TEST_F_TIMEOUT(file_rmap, migrate, timeout())
{
	migrate_storm(_metadata, &self->storm, MODE_FILE, SMALL_FILE);
}

/* Page tables are moved while their pages migrate. */
TEST_F_TIMEOUT(file_rmap, mremap_migrate, timeout())
{
	unsigned int pmd_pages = psize() / sizeof(uint64_t);

	migrate_storm(_metadata, &self->storm, MODE_MREMAP,
		      pmd_pages + SMALL_FILE <= MAX_PAGES ?
		      pmd_pages + SMALL_FILE : 2 * SMALL_FILE);
}

/* Small pages become a huge one, which a hole then splits. */
TEST_F_TIMEOUT(file_rmap, collapse, timeout())
{
	size_t huge = read_pmd_pagesize(), length;
	unsigned int collapsed = 0, tries;
	char *addr, *region;
	int error = 0;

	if (!huge)
		SKIP(return, "no transparent huge pages");
	if (huge / psize() > MAX_PAGES)
		SKIP(return, "huge pages of %zu bytes are too large", huge);

	start(_metadata, &self->storm, MODE_FILE, HOLES, huge / psize());

	region = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(region, MAP_FAILED);
	addr = (char *)(((uintptr_t)region + huge - 1) & ~(huge - 1));
	length = control->nr_pages * psize();
	ASSERT_EQ(mmap(addr, length, PROT_READ, MAP_SHARED | MAP_FIXED,
		       control->fd, 0), addr);

	while (storm_goes_on(&self->storm)) {
		unsigned int page = random_below(control->nr_pages);

		/* What is dirty cannot be collapsed, except on tmpfs. */
		if (variant->backing == FILE_BACKED)
			ASSERT_EQ(fdatasync(control->fd), 0);
		if (madvise(addr, length, MADV_COLLAPSE)) {
			error = errno;
		} else {
			collapsed++;
			ASSERT_EQ(fallocate(control->fd, FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE,
					    page * psize(), psize()), 0);
			next_generation(page, page + 1);
			write_pages(page, page + 1);
		}
		usleep(random_below(2000));
	}
	end_storm(_metadata, &self->storm);
	check_file();

	/* If the storm prevented it, it must be possible afterwards. */
	for (tries = 0; tries < 20 && !collapsed; tries++) {
		ASSERT_EQ(fsync(control->fd), 0);
		if (madvise(addr, length, MADV_COLLAPSE)) {
			error = errno;
			usleep(50000);
		} else {
			collapsed++;
		}
	}
	check_file();
	ksft_print_msg("collapsed %u times\n", collapsed);
	fflush(stdout);
	if (!collapsed && (error == EINVAL || error == ENOMEM)) {
		skip_if_passed("MADV_COLLAPSE of such a file: %s", strerror(error));
		return;
	}
	EXPECT_GT(collapsed, 0)
		TH_LOG("MADV_COLLAPSE: %s", strerror(error));
}

static bool unsupported(int error)
{
	return error == EINVAL || error == EPERM || error == EOPNOTSUPP;
}

/* Returns 0 or an error. A page that all use now cannot be replaced: EBUSY. */
static int soft_offline(int pagemap, unsigned long *pfn)
{
	unsigned int page = random_below(control->nr_pages), tries;
	char *addr = file_map + page * psize();
	int error = EBUSY;

	for (tries = 0; tries < 4 && error == EBUSY; tries++) {
		check_file_page(addr, page);
		*pfn = pagemap_get_pfn(pagemap, addr);
		error = madvise(addr, psize(), MADV_SOFT_OFFLINE) ? errno : 0;
	}
	return error;
}

/* Some pages are replaced by others and taken out of service. */
TEST_F_TIMEOUT(file_rmap, soft_offline, timeout())
{
	unsigned int i, tries, offlined = 0, in_storm;
	unsigned long pfns[SOFT_OFFLINE_PAGES];
	int error = 0, error_of_unpoison = 0, pagemap;

	if (access(UNPOISON, W_OK))
		SKIP(return, "pages would stay lost until reboot: no " UNPOISON);
	/* So many that not all of them are in use all the time. */
	start(_metadata, &self->storm, MODE_FILE, 0, 8 * SMALL_FILE);
	pagemap = open_pagemap();
	while (storm_goes_on(&self->storm)) {
		usleep(random_below(20000));
		if (offlined == SOFT_OFFLINE_PAGES)
			continue;
		error = soft_offline(pagemap, &pfns[offlined]);
		offlined += !error;
		if (unsupported(error))
			break;
	}
	end_storm(_metadata, &self->storm);
	in_storm = offlined;
	check_file();

	/* If the storm prevented it, it must be possible afterwards. */
	for (tries = 0; tries < 20 && !offlined && !unsupported(error); tries++) {
		error = soft_offline(pagemap, &pfns[0]);
		offlined += !error;
		usleep(10000);
	}
	close(pagemap);
	check_file();
	for (i = 0; i < offlined; i++) {
		if (pfns[i] && pfns[i] != -1UL)
			error_of_unpoison = unpoison_memory(pfns[i]);
		/* After hardware has failed once, the kernel gives none back. */
		if (error_of_unpoison != -EOPNOTSUPP)
			EXPECT_EQ(error_of_unpoison, 0);
	}
	check_file();
	if (!offlined && unsupported(error)) {
		skip_if_passed("MADV_SOFT_OFFLINE: %s", strerror(error));
		return;
	}
	ksft_print_msg("%u pages went offline, %u of them in the storm\n",
		       offlined, in_storm);
	fflush(stdout);
	EXPECT_GT(offlined, 0)
		TH_LOG("MADV_SOFT_OFFLINE: %s", strerror(error));
}

/* False: it is not, even when looked at for a second. */
static bool all_mapped(int pagemap, unsigned int first, unsigned int nr)
{
	struct map map = {
		.addr = file_map + first * psize(),
		.nr = nr,
	};
	unsigned int tries;

	/* A page that migrates has an entry, too. */
	for (tries = 0; tries < 100; tries++) {
		if (count_mapped(&map, 0, pagemap) == nr)
			return true;
		usleep(10000);
	}
	return false;
}

/* What is locked stays, whatever others reclaim. */
TEST_F_TIMEOUT(file_rmap, mlock, timeout())
{
	int pagemap;

	start(_metadata, &self->storm, MODE_FILE, DO_MLOCK | DO_PAGEOUT,
	      SMALL_FILE);
	pagemap = open_pagemap();
	while (storm_goes_on(&self->storm)) {
		unsigned int first = random_below(SMALL_FILE);
		unsigned int nr = 1 + random_below(SMALL_FILE - first);
		char *addr = file_map + first * psize();

		if (mlock(addr, nr * psize())) {
			int error = errno;

			/* Somebody else's page fault was in the way. */
			if (error == EAGAIN)
				continue;
			end_storm(_metadata, &self->storm);
			if (error == EPERM || error == ENOMEM) {
				skip_if_passed("mlock: %s", strerror(error));
				return;
			}
			ASSERT_EQ(error, 0);
		}
		EXPECT_TRUE(all_mapped(pagemap, first, nr));
		usleep(random_below(2000));
		EXPECT_TRUE(all_mapped(pagemap, first, nr));
		ASSERT_EQ(munlock(addr, nr * psize()), 0);
		madvise(addr, nr * psize(), MADV_PAGEOUT);
	}
	end_storm(_metadata, &self->storm);
	close(pagemap);
	check_file();
}

/* Offset of the probed function in the file of the executable. */
static int find_probed(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t addr = (uintptr_t)probed;
	unsigned int i;

	for (i = 0; i < info->dlpi_phnum; i++) {
		typeof(info->dlpi_phdr) ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && addr >= start &&
		    addr < start + ph->p_filesz) {
			control->probe_offset = addr - start + ph->p_offset;
			return 1;
		}
	}
	return 0;
}

static int open_probe(int cpu)
{
	static int type = -1;
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (uintptr_t)control->exe,
		.config2 = control->probe_offset,
	};

	if (type < 0) {
		FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type",
				   "r");

		errno = ENODEV;
		if (!file)
			return -1;
		if (fscanf(file, "%d", &type) != 1)
			type = -1;
		fclose(file);
		errno = ENODEV;
		if (type < 0)
			return -1;
	}
	attr.type = type;
	return syscall(__NR_perf_event_open, &attr, -1, cpu, -1,
		       PERF_FLAG_FD_CLOEXEC);
}

static uint64_t read_hits(const int *fds, unsigned int nr)
{
	uint64_t hits = 0, count;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (read(fds[i], &count, sizeof(count)) != sizeof(count))
			fail("cannot read a perf event: %s", strerror(errno));
		hits += count;
	}
	return hits;
}

/*
 * Calls while the probe was armed at @seq, for certain, of the workers on the
 * first @nr_cpus CPUs.
 */
static uint64_t calls_at(uint64_t seq, const int *cpus, unsigned int nr_cpus)
{
	uint64_t calls = 0;
	unsigned int i, cpu;

	for (i = 0; i < control->nr_workers; i++) {
		struct worker *w = &control->workers[i];

		for (cpu = 0; cpu < nr_cpus; cpu++) {
			if (w->cpu == cpus[cpu] && load(&w->call_seq) == seq)
				calls += load(&w->calls);
		}
	}
	return calls;
}

/*
 * From when a uprobe was registered until it is unregistered, each mapping of
 * the text has the breakpoint, and each call is counted. Afterwards none is
 * left.
 */
TEST_F_TIMEOUT(file_rmap, uprobe, timeout())
{
	uint64_t all_calls = 0, all_hits = 0, rounds = 0;
	int cpus[MAX_WORKERS], fds[MAX_WORKERS];
	unsigned int nr_cpus, i;

	if (!self->storm.exe_is_copy)
		SKIP(return, "the file system is mounted noexec");
	nr_cpus = find_cpus(cpus, MAX_WORKERS);
	ASSERT_GT(nr_cpus, 0);
	/* An event takes long to open and to close: count on some CPUs only. */
	if (nr_cpus > MAX_EVENTS)
		nr_cpus = MAX_EVENTS;
	ASSERT_EQ(dl_iterate_phdr(find_probed, NULL), 1);
	memcpy(control->probe_bytes, (void *)probed,
	       sizeof(control->probe_bytes));

	fds[0] = open_probe(cpus[0]);
	if (fds[0] < 0)
		SKIP(return, "no uprobes: %s", strerror(errno));
	close(fds[0]);

	control->seq = 2;
	start(_metadata, &self->storm, MODE_PROBE, 0, SMALL_FILE);
	while (storm_goes_on(&self->storm) ||
	       ((!all_calls || rounds < 2) && !load(&control->stop))) {
		uint64_t seq, hits, calls;

		add(&control->walker_beats, 1);
		for (i = 0; i < nr_cpus; i++) {
			fds[i] = open_probe(cpus[i]);
			ASSERT_GE(fds[i], 0)
				TH_LOG("perf_event_open: %s", strerror(errno));
		}
		hits = read_hits(fds, nr_cpus);
		/* 0 to 1 modulo 4, or 2 to 5 the first time. */
		seq = add(&control->seq, control->seq % 4 == 2 ? 3 : 1);
		ASSERT_EQ(seq % 4, PROBE_ARMED);
		hold_window(32);
		add(&control->seq, 1);

		/* First the calls: each of them has been counted already. */
		calls = calls_at(seq, cpus, nr_cpus);
		hits = read_hits(fds, nr_cpus) - hits;
		EXPECT_GE(hits, calls);
		all_calls += calls;
		all_hits += hits;

		for (i = 0; i < nr_cpus; i++)
			close(fds[i]);
		seq = add(&control->seq, 1);
		ASSERT_EQ(seq % 4, PROBE_DISARMED);
		hold_window(32);
		add(&control->seq, 1);
		rounds++;
	}
	end_storm(_metadata, &self->storm);
	ksft_print_msg("%llu registrations, %llu calls, %llu hits\n",
		       (unsigned long long)rounds,
		       (unsigned long long)all_calls,
		       (unsigned long long)all_hits);
	fflush(stdout);
	EXPECT_GT(all_calls, 0);
	EXPECT_GT(total(checks), 0);
}

/* Wait until @counter is @nr, that is, all workers came so far. */
static bool wait_for_all(const unsigned long *counter, uint64_t nr)
{
	while (load(counter) < nr) {
		if (load(&control->stop))
			return false;
		usleep(100);
	}
	return true;
}

/*
 * fork copies page table entries while pages migrate. A child that has the entry
 * of a page under way, and is not found when it arrives, waits for ever.
 */
TEST_F_TIMEOUT(file_rmap, fork_migrate, timeout())
{
	int nodes[MAX_NODES], nr_nodes = find_nodes(nodes, MAX_NODES);
	unsigned int moves = 0, moved = 0;
	uint64_t phase;

	if (nr_nodes < 2)
		SKIP(return, "fewer than two nodes with memory");
	if (syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, MPOL_MF_MOVE_ALL))
		SKIP(return, "no move_pages: %s", strerror(errno));
	start(_metadata, &self->storm, MODE_FORK, 0, SMALL_FILE);
	for (phase = 1; storm_goes_on(&self->storm) ||
	     (phase <= 2 && !load(&control->stop)); phase++) {
		store(&control->phase, phase);
		while (load(&control->checked) < phase * control->nr_workers &&
		       !load(&control->stop)) {
			int nr = move_some_pages(nodes[moves++ % nr_nodes]);

			ASSERT_GE(nr, 0);
			moved += nr;
			add(&control->walker_beats, 1);
		}
	}
	end_storm(_metadata, &self->storm);
	EXPECT_GT(moved, 0);
	EXPECT_GT(total(rounds), 0);
}

/*
 * fork copies page table entries while truncation removes them. Neither the
 * parent nor a child may keep one.
 */
TEST_F_TIMEOUT(file_rmap, fork_truncate, timeout())
{
	uint64_t phase;

	start(_metadata, &self->storm, MODE_FORK, HOLES | SHRINKS, SMALL_FILE);
	for (phase = 1; storm_goes_on(&self->storm) ||
	     (phase <= 4 && !load(&control->stop)); phase++) {
		add(&control->walker_beats, 1);
		store(&control->phase, phase);
		if (!wait_for_all(&control->ready,
				  phase * control->nr_workers))
			break;
		/* They fork now. */
		usleep(random_below(3000));
		ASSERT_EQ(ftruncate(control->fd, 0), 0);
		next_generation(0, SMALL_FILE);
		open_window(0);
		if (!wait_for_all(&control->checked,
				  phase * control->nr_workers))
			break;
		close_window();
		ASSERT_EQ(ftruncate(control->fd, SMALL_FILE * psize()), 0);
		write_pages(0, SMALL_FILE);
	}
	end_storm(_metadata, &self->storm);
	EXPECT_GE(total(checks), total(rounds) * (FORK_CHILDREN + 1));
	EXPECT_GT(total(rounds), 0);
}

/* In bytes; 0: there is no such line. */
static uint64_t read_meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long long kb;
	uint64_t value = 0;
	char line[128], word[64];

	if (!file)
		return 0;
	while (!value && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %llu kB", word, &kb) == 2 &&
		    !strcmp(word, name))
			value = kb << 10;
	}
	fclose(file);
	return value;
}

/*
 * When fork fails in the middle, what it has linked by then, and what it was
 * just going to link, is undone. If it forgot to link VMAs that it then unlinks,
 * it would remove nodes from a tree that they are not in.
 */
TEST(failed_fork)
{
	/* Below all else, so that fork meets the shared mappings first. */
	char *at = (char *)(8UL << 20), *last = at;
	uint64_t memory;
	unsigned int i, failures = 0;
	size_t half;
	char *large;
	pid_t pid;
	int fd;

	fd = memfd_create("failed_fork", MFD_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, SMALL_FILE * psize()), 0);
	for (i = 0; i < 2 * FORK_RUN; i++, last += 2 * psize()) {
		ASSERT_EQ(mmap(last, psize(), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
			       i * psize()), last);
		*last = i + 1;
	}

	/*
	 * The heuristic overcommit refuses what is larger than memory and swap
	 * together. Two halves of that become one VMA, which fork refuses to
	 * copy; and nobody but this process notices.
	 */
	memory = read_meminfo("MemTotal:") + read_meminfo("SwapTotal:");
	ASSERT_GT(memory, 0);
	if (memory >= SIZE_MAX - 4 * psize())
		SKIP(return, "there is more memory than addresses");
	half = (memory / 2 / psize() + 1) * psize();
	large = mmap(NULL, 2 * half, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (large == MAP_FAILED)
		SKIP(return, "addresses for as much as all memory: %s",
		     strerror(errno));
	for (i = 0; i < 2; i++) {
		if (mmap(large + i * half, half, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) != large + i * half)
			SKIP(return, "as much as all memory: %s",
			     strerror(errno));
	}
	for (i = 0; i < 20; i++) {
		pid = fork();
		if (!pid)
			_exit(KSFT_PASS);
		if (pid < 0)
			failures += errno == ENOMEM;
		else
			waitpid(pid, NULL, 0);
	}
	ASSERT_EQ(munmap(large, 2 * half), 0);
	if (!failures)
		SKIP(return, "fork does not fail: vm.overcommit_memory is 1?");
	EXPECT_EQ(failures, 20);

	/* All is there, and the tree as well. */
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(KSFT_PASS);
	waitpid(pid, NULL, 0);
	for (i = 0; i < 2 * FORK_RUN; i++)
		EXPECT_EQ(at[2 * i * psize()], i + 1);
	ASSERT_EQ(ftruncate(fd, 0), 0);
	ASSERT_EQ(munmap(at, last - at), 0);
	close(fd);
}

/* --- hugetlb ------------------------------------------------------------- */

FIXTURE(hugetlb_rmap)
{
	struct storm storm;
	unsigned long nr_hugepages;
	bool changed;
};

FIXTURE_SETUP(hugetlb_rmap)
{
	size_t size = default_huge_page_size();
	unsigned long wanted = 2 * HUGETLB_PAGES;
	void *place;

	if (!size)
		SKIP(return, "no hugetlb pages");
	if (geteuid())
		SKIP(return, "must be root to reserve hugetlb pages");
	ASSERT_TRUE(make_control());
	control->page_size = size;
	/* Two spans, aligned, in each worker. */
	place = mmap(NULL, 3 * hugetlb_span(), PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (place == MAP_FAILED)
		SKIP(return, "no room for %zu bytes", 3 * hugetlb_span());
	munmap(place, 3 * hugetlb_span());
	control->fd = memfd_create("file_rmap", MFD_HUGETLB);
	if (control->fd < 0)
		SKIP(return, "memfd of hugetlb pages: %s", strerror(errno));

	self->nr_hugepages = hugetlb_nr_default_pages();
	if (hugetlb_free_default_pages() < wanted) {
		hugetlb_set_nr_default_pages(self->nr_hugepages + wanted);
		self->changed = true;
	}
	if (hugetlb_free_default_pages() < wanted) {
		hugetlb_set_nr_default_pages(self->nr_hugepages);
		SKIP(return, "cannot reserve %lu hugetlb pages", wanted);
	}
	/* Workers execute this very program. */
	strcpy(control->exe, "/proc/self/exe");
	TH_LOG("SEED=%llu DURATION=%d", (unsigned long long)seed, seconds);
}

FIXTURE_TEARDOWN_PARENT(hugetlb_rmap)
{
	clean_up(&self->storm);
	if (self->changed)
		hugetlb_set_nr_default_pages(self->nr_hugepages);
}

/*
 * Page tables are shared, and unshared by a split or an unmapping, while the
 * file is truncated and extended.
 */
TEST_F_TIMEOUT(hugetlb_rmap, share_truncate, timeout())
{
	size_t ps = default_huge_page_size();

	control->mode = MODE_HUGETLB;
	control->flags = HOLES | SHRINKS | POOL;
	ASSERT_TRUE(fill_file(HUGETLB_PAGES, ps));
	/* Page tables are shared only where the file has all of the span. */
	ASSERT_EQ(ftruncate(control->fd, hugetlb_span()), 0);
	ASSERT_TRUE(start_storm(&self->storm));

	while (storm_goes_on(&self->storm)) {
		unsigned int size = random_below(HUGETLB_PAGES);

		ASSERT_EQ(ftruncate(control->fd, size * ps), 0);
		next_generation(size, HUGETLB_PAGES);
		open_window(size);
		hold_window(1);
		close_window();
		ASSERT_EQ(ftruncate(control->fd, hugetlb_span()), 0);
		write_pages(size, HUGETLB_PAGES);
		usleep(random_below(5000));
	}
	ASSERT_EQ(ftruncate(control->fd, 0), 0);
	next_generation(0, HUGETLB_PAGES);
	open_window(0);
	hold_window(1);
	end_storm(_metadata, &self->storm);
	EXPECT_GT(total(checks), 0);
}

/* --- sharding ------------------------------------------------------------ */

#define MAX_GROUPS		64	/* of CPUs, with a tree each */
#define MANY_MAPPINGS		100000
#define MANY_HOLDERS		4	/* below vm.max_map_count each */
#define MANY_MS			8000	/* of each; a slow kernel has fewer mappings then */
#define BOGO_INODE_SIZE		1024	/* what tmpfs foresees for an inode */
#define TMPFS_FILES		64
#define TMPFS_SIZE		(8 << 10)
#define CONTEND_MS		1500	/* for each */
#define CGROUP			"/sys/fs/cgroup"

/* How many files were sharded since the boot; -1: none will be. */
static long nr_sharded(void)
{
	FILE *file = fopen("/proc/vmstat", "r");
	long value = -1, one;
	char word[64];

	if (!file)
		return -1;
	while (fscanf(file, "%63s %ld", word, &one) == 2) {
		if (!strcmp(word, "i_mmap_shard"))
			value = one;
	}
	fclose(file);
	return value;
}

static void *make_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/*
 * A process on each of some CPUs, which maps the file that is told, splits the mapping
 * and unmaps it, as an exec does. A split takes the lock for longest. Without it, CPUs
 * that take turns, as an emulator's may, too seldom stop where they have the lock.
 */
struct contenders {
	int nr;
	pid_t pids[MAX_GROUPS];
	unsigned long rounds[MAX_GROUPS];
	int fd;		/* open since before they were started; -1: none */
};

static struct contenders *start_contenders(void)
{
	struct contenders *c = make_shared(sizeof(*c));
	int cpus[MAX_GROUPS], i;

	if (!c)
		return NULL;
	c->fd = -1;
	c->nr = find_cpus(cpus, MAX_GROUPS);
	for (i = 0; i < c->nr; i++) {
		pid_t pid = fork();

		/* The child sees the same array. */
		if (pid) {
			c->pids[i] = pid;
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_on_cpu(cpus[i]);
		for (;;) {
			int fd = load(&c->fd);
			void *p;

			if (fd < 0) {
				usleep(100);
				continue;
			}
			p = mmap(NULL, 2 * psize(), PROT_READ, MAP_SHARED, fd, 0);
			if (p == MAP_FAILED || mprotect(p, psize(), PROT_NONE))
				_exit(KSFT_FAIL);
			munmap(p, 2 * psize());
			add(&c->rounds[i], 1);
		}
	}
	return c;
}

static void stop_contenders(struct contenders *c)
{
	int i;

	for (i = 0; i < c->nr; i++) {
		kill(c->pids[i], SIGKILL);
		waitpid(c->pids[i], NULL, 0);
	}
	munmap(c, sizeof(*c));
}

/*
 * Until one more file than @before is sharded, and all have mapped it then. For @ms
 * at most, and longer with a longer STALL: a slow kernel may need it.
 */
static bool contend(struct contenders *c, int fd, long before, unsigned int ms)
{
	uint64_t end;
	bool sharded;
	int i;

	if (stall > DEFAULT_STALL)
		ms = ms * stall / DEFAULT_STALL;
	end = now_ms() + ms;
	store(&c->fd, fd);
	do {
		usleep(1000);
		sharded = nr_sharded() > before;
	} while (!sharded && now_ms() < end);
	for (i = 0; i < c->nr; i++) {
		unsigned long rounds = load(&c->rounds[i]);

		while (load(&c->rounds[i]) < rounds + 2)
			usleep(100);
	}
	store(&c->fd, -1);
	return sharded;
}

/* Is there more than one group of CPUs, and nobody has said how many? */
static bool must_shard(void)
{
	char text[4096] = "";
	int nodes[MAX_NODES], fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return false;
	close(fd);
	return !strstr(text, "i_mmap_shards=") && find_nodes(nodes, MAX_NODES) > 1;
}

FIXTURE(sharding)
{
	char cgroup[64];
	long before;	/* any file of the test was mapped */
};

FIXTURE_SETUP(sharding)
{
	self->before = nr_sharded();
	if (self->before < 0)
		SKIP(return, "no i_mmap_shard in /proc/vmstat");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU alone does not contend");
}

FIXTURE_TEARDOWN_PARENT(sharding)
{
	if (self->cgroup[0])
		rmdir(self->cgroup);
}

struct holders {
	unsigned long ready, truncated;
	unsigned long nr;	/* mappings, of all together */
	unsigned long mapped;	/* pages that truncation left */
};

static void hold_mappings(struct holders *h, unsigned int me, int fd)
{
	static char *maps[MANY_MAPPINGS / MANY_HOLDERS];
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	unsigned int nr, i;
	uint64_t end;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* One after the other: nobody contends yet. */
	while (load(&h->ready) < me)
		usleep(1000);
	end = now_ms() + MANY_MS;
	for (nr = 0; nr < ARRAY_SIZE(maps) && now_ms() < end; nr++) {
		maps[nr] = mmap(NULL, psize(), PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (maps[nr] == MAP_FAILED)
			_exit(KSFT_FAIL);
	}
	add(&h->nr, nr);
	add(&h->ready, 1);
	while (!load(&h->truncated))
		usleep(1000);
	for (i = 0; i < nr; i++) {
		if (pagemap_get_entry(pagemap, maps[i]) & (PM_PRESENT | PM_SWAP))
			add(&h->mapped, 1);
	}
	_exit(pagemap < 0 ? KSFT_FAIL : KSFT_PASS);
}

/*
 * A file is sharded however often it is mapped, and those who have mapped it before
 * are still found.
 */
TEST_F_TIMEOUT(sharding, many_mappings, timeout() + 120)
{
	struct holders *h = make_shared(sizeof(*h));
	int few, many, status;
	struct contenders *c;
	unsigned int i;
	bool sharded;

	few = memfd_create("few", MFD_CLOEXEC);
	many = memfd_create("many", MFD_CLOEXEC);
	ASSERT_NE(h, NULL);
	ASSERT_GE(many, 0);
	ASSERT_EQ(ftruncate(many, psize()), 0);
	c = start_contenders();
	ASSERT_NE(c, NULL);

	sharded = contend(c, few, self->before, 5000);
	if (!sharded) {
		stop_contenders(c);
		if (!must_shard())
			SKIP(return, "no file is sharded");
		ASSERT_TRUE(sharded);
	}
	self->before = nr_sharded();
	for (i = 0; i < MANY_HOLDERS; i++) {
		if (!fork())
			hold_mappings(h, i, many);
	}
	while (load(&h->ready) < MANY_HOLDERS && waitpid(-1, &status, WNOHANG) == 0)
		usleep(10000);
	ASSERT_EQ(h->ready, MANY_HOLDERS);

	EXPECT_TRUE(contend(c, many, self->before, 5000));
	ASSERT_EQ(ftruncate(many, 0), 0);
	store(&h->truncated, 1);
	stop_contenders(c);
	while (waitpid(-1, &status, 0) > 0)
		EXPECT_EQ(status, 0);
	ksft_print_msg("%lu mappings\n", h->nr);
	fflush(stdout);
	EXPECT_EQ(h->mapped, 0);
}

/* In bytes. */
static uint64_t read_slabs(const char *group)
{
	char path[128], line[128];
	unsigned long long value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/memory.stat", group);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "slab %llu", &value) == 1)
			break;
	}
	if (file)
		fclose(file);
	return value;
}

/*
 * ... when nothing is about to be freed, and all is counted: that is, after a grace
 * period, of what each CPU keeps to itself until a group is at its limit, and when sums
 * were made, which is every two seconds.
 */
static uint64_t settled_slabs(const char *group)
{
	char limit[128];

	snprintf(limit, sizeof(limit), "%s/memory.high", group);
	sleep(2);
	write_text(limit, "0");
	write_text(limit, "max");
	sleep(3);
	return read_slabs(group);
}

/* Somebody has all files sharded that fit. Returns how many. */
static unsigned int shard_files(void)
{
	int fds[TMPFS_FILES], nr, i, sharded = 0;
	struct contenders *c;

	for (nr = 0; nr < TMPFS_FILES; nr++) {
		char name[32];

		snprintf(name, sizeof(name), "/tmp/%d", nr);
		fds[nr] = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fds[nr] < 0)
			break;
	}
	c = start_contenders();
	/* Not for minutes where it is off. */
	for (i = 0; c && i < nr && sharded >= i / 8; i++)
		sharded += contend(c, fds[i], nr_sharded(), CONTEND_MS);
	if (c)
		stop_contenders(c);
	return sharded;
}

static void let_go_of_files(void)
{
	char name[32];

	syscall(__NR_close_range, STDERR_FILENO + 1, ~0U, 0);
	for (int i = 0; i < TMPFS_FILES; i++) {
		snprintf(name, sizeof(name), "/tmp/%d", i);
		unlink(name);
	}
}

/*
 * That files of an instance of tmpfs are sharded takes no more memory than twice
 * what its limits foresee, whatever a user without privileges does.
 */
static void tmpfs_memory(struct __test_metadata *_metadata, const char *group)
{
	uint64_t foreseen = TMPFS_SIZE + (TMPFS_FILES + 1) * BOGO_INODE_SIZE, slabs;
	unsigned int *sharded = make_shared(sizeof(*sharded));
	char options[64], path[128];
	int status;
	pid_t pid;

	ASSERT_NE(sharded, NULL);
	if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP(return, "mount namespace: %s", strerror(errno));
	snprintf(options, sizeof(options), "mode=1777,size=%d,nr_inodes=%d",
		 TMPFS_SIZE, TMPFS_FILES + 1);
	ASSERT_EQ(mount("file_rmap", "/tmp", "tmpfs", 0, options), 0)
		TH_LOG("mount: %s", strerror(errno));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", group);
		if (!write_text(path, "0") || setgid(65534) || setuid(65534))
			_exit(KSFT_FAIL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		*sharded = shard_files();
		raise(SIGSTOP);	/* while somebody looks */
		let_go_of_files();
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	/* Page tables, which slabs have on some architectures, are in both. */
	slabs = settled_slabs(group);
	kill(pid, SIGCONT);
	ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	slabs -= settled_slabs(group);
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ksft_print_msg("%u of %u files are sharded: %llu bytes of slabs, %llu are foreseen\n",
		       *sharded, TMPFS_FILES, (unsigned long long)slabs,
		       (unsigned long long)foreseen);
	fflush(stdout);
	if (*sharded < TMPFS_FILES / 2 && !must_shard())
		SKIP(return, "too few files are sharded");
	ASSERT_GE(*sharded, TMPFS_FILES / 2);
	if (!access("/proc/lockdep", F_OK))
		SKIP(return, "locks are larger with lockdep");
	EXPECT_LE((int64_t)slabs, (int64_t)(2 * foreseen));
	/* Each takes half of it for its inode alone, if it was counted, and is gone. */
	EXPECT_GE((int64_t)slabs, (int64_t)(foreseen / 2));
}

TEST_F_TIMEOUT(sharding, tmpfs_memory, timeout() + 120)
{
	char group[sizeof(self->cgroup)];

	if (geteuid())
		SKIP(return, "must be root to mount");
	write_text(CGROUP "/cgroup.subtree_control", "+memory");
	snprintf(group, sizeof(group), CGROUP "/file_rmap.%d", getpid());
	if (mkdir(group, 0755))
		SKIP(return, "memory cgroup: %s", strerror(errno));
	strcpy(self->cgroup, group);
	if (!read_slabs(group) && access(CGROUP "/memory.stat", R_OK))
		SKIP(return, "memory cgroup: %s", strerror(errno));
	tmpfs_memory(_metadata, group);
}

static int number_of(const char *name, int value)
{
	const char *text = getenv(name);

	if (text && atoi(text) > 0)
		return atoi(text);
	return value;
}

int main(int argc, char **argv)
{
	const char *text = getenv("SEED");

	if (argc == 4 && !strcmp(argv[1], ARG_WORKER))
		return worker_main(argv);

	seconds = number_of("DURATION", DEFAULT_DURATION);
	stall = number_of("STALL", DEFAULT_STALL);
	if (text)
		seed = strtoull(text, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = 1;
	if (!text)
		seed %= 1000000;
	return test_harness_run(argc, argv);
}
