// SPDX-License-Identifier: GPL-2.0
/*
 * operate MODE ROUNDS [FILE]: do the same operation so often, on every CPU, and
 * go on until every CPU has: whoever is slower is never alone, and so is counted.
 *
 *   mmap      map and unmap a part of FILE
 *   fault     read each page of a mapping of FILE, and have it unmapped again
 *   change    map a part of FILE, read it, mprotect() and mremap() it, fork a
 *             child that exits, unmap it
 *   start     fork a child that executes FILE --exit, and wait for its end
 *   stagger   the same, each time after a random wait of up to a million instructions
 *   pipe      write a byte to a pipe and read it, a pipe for each CPU
 *   wake      wake a thread of another CPU by a futex and wait for it
 *   patterns  share lines in ways that are known: see patterns()
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE		4096UL
#define PART		(64 * PAGE)
#define LINE		64
#define SHARED_FD	9
#define PATTERNS	((char *)0x200000000000)	/* lab/tests/steps/lines.py */

static int file = -1;
static const char *name;		/* FILE */
static unsigned int nr_cpus;
static unsigned int nr_workers;	/* that do rounds */
static unsigned long rounds;
static _Atomic uint32_t *turns;		/* of wake: a line for each pair of CPUs */
static _Atomic uint32_t *ready;		/* how many workers */
static _Atomic uint32_t *finished;	/* how many of them have done their rounds */

static void check(int good, const char *what)
{
	if (!good)
		err(1, "%s", what);
}

/* Is there another round? Only who has done its own looks at what others have done. */
static bool again(void)
{
	if (rounds && !--rounds)
		++*finished;
	return rounds || *finished < nr_workers;
}

static void open_file(void)
{
	struct stat is;

	file = open(name, O_RDONLY);
	check(file >= 0 && !fstat(file, &is), name);
	if ((unsigned long)is.st_size < PART)
		errx(1, "%s is smaller than %lu bytes", name, PART);
}

static char *map(int prot)
{
	char *part = mmap(NULL, PART, prot, MAP_PRIVATE, file, 0);

	check(part != MAP_FAILED, "mmap");
	return part;
}

static void read_pages(char *part)
{
	for (unsigned long at = 0; at < PART; at += PAGE)
		(void)*(volatile char *)(part + at);
}

static void do_mmap(void)
{
	open_file();
	do {
		munmap(map(PROT_READ), PART);
	} while (again());
}

static void do_fault(void)
{
	char *part;

	open_file();
	part = map(PROT_READ);
	do {
		read_pages(part);
		check(!madvise(part, PART, MADV_DONTNEED), "madvise");
	} while (again());
}

static void do_change(void)
{
	open_file();
	do {
		char *part = map(PROT_READ), *moved;
		pid_t child;

		read_pages(part);
		check(!mprotect(part + PART / 4, PART / 2, PROT_NONE), "mprotect");
		check(!mprotect(part, PART, PROT_READ), "mprotect");
		moved = mremap(part, PART / 2, PART, MREMAP_MAYMOVE);
		check(moved != MAP_FAILED, "mremap");
		child = fork();
		if (!child)
			_exit(0);
		check(child > 0 && waitpid(child, NULL, 0) == child, "fork");
		munmap(moved, PART);
		munmap(part + PART / 2, PART / 2);
	} while (again());
}

static void wait_randomly(unsigned int *seed)
{
	for (int left = rand_r(seed) % 500000; left; left--)
		__asm__ volatile("");	/* or the compiler leaves the loop out */
}

static void do_start(unsigned int seed, bool stagger)
{
	do {
		int status;
		pid_t child;

		if (stagger)
			wait_randomly(&seed);
		child = fork();
		if (!child) {
			execl(name, name, "--exit", NULL);
			_exit(127);
		}
		check(child > 0 && waitpid(child, &status, 0) == child, "fork");
		if (status)
			errx(1, "%s --exit failed", name);
	} while (again());
}

static void do_pipe(void)
{
	int ends[2];
	char byte = 0;

	check(!pipe(ends), "pipe");
	do {
		check(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1, "pipe");
	} while (again());
}

static void futex(_Atomic uint32_t *word, int what, uint32_t value)
{
	syscall(SYS_futex, word, what, value, NULL, NULL, 0);
}

/* CPUs in pairs that are half of all CPUs apart */
static void do_wake(unsigned int cpu)
{
	unsigned int half = nr_cpus / 2, second = cpu / half;
	_Atomic uint32_t *word = &turns[cpu % half * LINE / 4];

	do {
		while (*word != second)
			futex(word, FUTEX_WAIT, !second);
		*word = !second;
		futex(word, FUTEX_WAKE, 1);
	} while (again());
}

/*
 * Two pairs of CPUs: the first and the third, which are of different nodes, and
 * the last two, which are of one. In turns, each of a pair does once what makes
 * an operation, and gets its parent's number, for the counter to see it. A pair
 * has a page of its own, in which a line is
 *
 *   0  handed over: who has its turn writes whose is next, who waits reads
 *   1  shared falsely: each writes a byte of its own
 *   2  only read
 *   3  a lock: taken by xchg, dropped by a store
 *   4, 5  private: each adds to its own
 */
static void patterns(unsigned int cpu)
{
	unsigned int pair = cpu >= 4, me = pair ? cpu == nr_cpus - 1 : cpu == 2;
	volatile char *page = PATTERNS + pair * PAGE;
	volatile uint32_t *turn = (uint32_t *)page, *lock = (uint32_t *)(page + 3 * LINE);
	volatile uint64_t *own = (uint64_t *)(page + (4 + me) * LINE);

	if (cpu != 0 && cpu != 2 && cpu < nr_cpus - 2)
		return;
	nr_workers = 4;
	do {
		while (*turn != me)
			__builtin_ia32_pause();
		page[LINE + me] = 1;
		(void)page[2 * LINE];
		while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
			;
		*lock = 0;
		*own = *own + 1;
		syscall(SYS_getppid);
		*turn = !me;
	} while (again());
}

static void run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void work(const char *mode, unsigned int cpu)
{
	++*ready;
	while (*ready != nr_cpus)
		sched_yield();
	if (!strcmp(mode, "mmap"))
		do_mmap();
	else if (!strcmp(mode, "fault"))
		do_fault();
	else if (!strcmp(mode, "change"))
		do_change();
	else if (!strcmp(mode, "start") || !strcmp(mode, "stagger"))
		do_start(cpu, !strcmp(mode, "stagger"));
	else if (!strcmp(mode, "pipe"))
		do_pipe();
	else if (!strcmp(mode, "wake"))
		do_wake(cpu);
	else if (!strcmp(mode, "patterns"))
		patterns(cpu);
	else
		errx(1, "there is no mode %s", mode);
	exit(0);
}

/*
 * Each worker executes this program anew, on its CPU: what it maps does not belong
 * to the CPU of its parent. They share a file, for patterns and futexes.
 */
int main(int argc, char **argv)
{
	int cpu = -1, shared, status;
	char number[12], *arguments[6] = {};

	if (argc < 3 || argc > 5)
		errx(1, "usage: operate MODE ROUNDS [FILE]");
	memcpy(arguments, argv, argc * sizeof(*argv));
	if (argc == 3)
		arguments[3] = argv[0];
	else if (argc == 5)
		cpu = atoi(argv[4]);
	rounds = strtoul(argv[2], NULL, 0);
	if (!rounds)
		errx(1, "%s is no number of rounds", argv[2]);
	nr_cpus = nr_workers = sysconf(_SC_NPROCESSORS_ONLN);
	if (cpu >= 0) {
		char *memory;

		name = argv[3];
		memory = mmap(PATTERNS, 4 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, SHARED_FD, 0);
		check(memory == PATTERNS, "mmap");
		/* no copies, of which all would count writers */
		check(!madvise(memory, 4 * PAGE, MADV_DONTFORK), "madvise");
		turns = (void *)(PATTERNS + 2 * PAGE);
		ready = (void *)(PATTERNS + 3 * PAGE);
		finished = (void *)(PATTERNS + 3 * PAGE + LINE);
		work(argv[1], cpu);
	}
	shared = memfd_create("shared", 0);
	check(shared >= 0 && !ftruncate(shared, 4 * PAGE) && dup2(shared, SHARED_FD) == SHARED_FD,
	      "memfd_create");
	for (cpu = 0; cpu < (int)nr_cpus; cpu++) {
		pid_t child = fork();

		check(child >= 0, "fork");
		if (child)
			continue;
		run_on(cpu);
		check(!prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
		snprintf(number, sizeof(number), "%d", cpu);
		arguments[4] = number;
		execv("/proc/self/exe", arguments);
		err(1, "exec");
	}
	/* When one has failed, and this program with it, the others are killed. */
	for (cpu = 0; cpu < (int)nr_cpus; cpu++) {
		check(wait(&status) > 0, "wait");
		if (status)
			return 1;
	}
	return 0;
}
