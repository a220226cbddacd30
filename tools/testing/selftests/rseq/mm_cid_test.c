// SPDX-License-Identifier: GPL-2.0
/*
 * Do tasks that share an mm get concurrency IDs of their own, although some
 * are in execve() and come back?
 *
 * A process that may run on few CPUs makes tasks with CLONE_VM and without
 * CLONE_THREAD. Each goes into execve(), which waits: the interpreter of the
 * script has a lease. So there are many when there seems to be one. Then all
 * fail, and go on to fail, while others are made and exit. No two tasks may
 * have the same ID while both run, and IDs must be less than there are
 * possible CPUs, and at last than 5/4 of the CPUs that the process may use.
 *
 * And does the last one give back what CPUs own, if it fails in execve()?
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/auxvec.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"

#define MOST_TASKS	12
#define NR_LOOKS	100	/* of each task */
#define NR_MORE		40	/* tasks that are made while others fail */
#define SPIN		20000
#define STACK		(64UL << 10)
#define RSEQ_SIZE	32
#define RSEQ_SIG_HERE	0x53053053
#define TEST_SECONDS	120	/* on an emulator */

/* A time in which a task ran, and was not scheduled, with one ID */
struct look {
	unsigned int cid;
	int begin, end;		/* by the clock below */
};

struct task {
	struct rseq rseq;
	char stack[STACK];
	atomic_bool waits, settled;
	unsigned int last;
	int nr;
	struct look looks[NR_LOOKS];
};

static struct shared {
	atomic_int clock;
	atomic_int back;	/* from the first execve() */
	atomic_int error;	/* line of what failed in a task */
	atomic_bool waiting, go_on;
	/* the last one is of all those who are made later, one after another */
	struct task tasks[MOST_TASKS + 1];
} *shared;

static char dir[32], script[64], interpreter[64];
static int nr_cpus, nr_tasks;

static bool fail(int line)
{
	shared->error = line;
	return false;
}

static bool must(bool ok, int line)
{
	return ok || fail(line);
}

/* --- tasks ------------------------------------------------------------------ */

/* How often it was scheduled out */
static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

static unsigned int cid_of(struct task *t)
{
	return __atomic_load_n(&t->rseq.mm_cid, __ATOMIC_RELAXED);
}

static void look(struct task *t)
{
	struct look *look = &t->looks[t->nr];
	long before = switches();

	look->begin = shared->clock++;
	look->cid = cid_of(t);
	for (int i = 0; i < SPIN; i++)
		cid_of(t);
	look->end = shared->clock++;
	if (switches() == before && t->nr < NR_LOOKS - 1)
		t->nr++;
}

static bool begin(struct task *t)
{
	return must(!syscall(SYS_rseq, &t->rseq, RSEQ_SIZE, 0, RSEQ_SIG_HERE), __LINE__);
}

static void try_execve(void)
{
	execl(script, script, NULL);
}

/* Fails in execve(), first after a wait, then over and over */
static int failing(void *arg)
{
	struct task *t = arg;
	unsigned int bound = nr_cpus + nr_cpus / 4;

	if (!begin(t))
		return 1;
	t->waits = true;
	try_execve();
	if (!must(shared->go_on, __LINE__))
		return 1;
	shared->back++;
	while (shared->back < nr_tasks)
		usleep(100);
	for (int tries = 0; t->nr < NR_LOOKS - 1 && tries < 10 * NR_LOOKS; tries++) {
		look(t);
		look(t);
		try_execve();
	}
	/* nobody comes or goes, or will soon */
	t->settled = true;
	for (int tries = 0; tries < 3000; tries++) {
		t->last = cid_of(t);
		if (t->last < bound)
			break;
		usleep(1000);
	}
	return 0;
}

static int passing(void *arg)
{
	struct task *t = arg;

	if (!begin(t))
		return 1;
	look(t);
	look(t);
	return 0;
}

static pid_t start(int (*func)(void *), struct task *t)
{
	return clone(func, t->stack + STACK, CLONE_VM | SIGCHLD, t);
}

static char state_of(pid_t pid)
{
	char path[64], text[256] = "", *name_end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			*text = 0;
		close(fd);
	}
	name_end = strrchr(text, ')');
	return name_end ? name_end[2] : '?';
}

static bool wait_until_in_execve(pid_t pid, struct task *t)
{
	for (int tries = 0; tries < 5000; tries++) {
		if (t->waits && state_of(pid) == 'S')
			return true;
		usleep(1000);
	}
	return fail(__LINE__);
}

static bool ends_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && !status;
}

/* The process whose tasks they are; its mm begins with the CPUs that it may use */
static int process(void)
{
	struct task *late = &shared->tasks[MOST_TASKS];
	pid_t pids[MOST_TASKS];

	for (int i = 0; i < nr_tasks; i++) {
		pids[i] = start(failing, &shared->tasks[i]);
		if (!must(pids[i] > 0, __LINE__) ||
		    !wait_until_in_execve(pids[i], &shared->tasks[i]))
			return 1;
	}
	shared->waiting = true;
	while (!shared->go_on)
		usleep(1000);
	for (int i = 0; i < NR_MORE; i++)
		if (!must(ends_well(start(passing, late)), __LINE__))
			return 1;
	for (int i = 0; i < nr_tasks; i++)
		if (!must(ends_well(pids[i]), __LINE__))
			return 1;
	return 0;
}

/*
 * Fails in execve() as the last user, while CPUs own all IDs there are; then
 * another one comes.
 */
static int alone(const cpu_set_t *may)
{
	struct task *late = &shared->tasks[MOST_TASKS];
	char *const args[] = { "no program", NULL };
	int fd = memfd_create(args[0], 0);

	if (!must(write(fd, args[0], strlen(args[0])) > 0, __LINE__))
		return 1;
	/* two of them on one CPU: from now on CPUs own the IDs ... */
	if (!must(ends_well(start(passing, late)), __LINE__))
		return 1;
	/* ... each on which it has run */
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (CPU_ISSET(cpu, may) &&
		    !must(!sched_setaffinity(0, sizeof(one), &one), __LINE__))
			return 1;
	}
	execveat(fd, "", args, NULL, AT_EMPTY_PATH);
	if (!must(errno == ENOEXEC, __LINE__))
		return 1;
	return !must(ends_well(start(passing, late)), __LINE__);
}

/* --- what must hold --------------------------------------------------------- */

static unsigned int possible_cpus(void)
{
	char text[256] = "";
	int fd = open("/sys/devices/system/cpu/possible", O_RDONLY);
	char *last;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return sysconf(_SC_NPROCESSORS_CONF);
	close(fd);
	last = strpbrk(text, "-,") ? text + strcspn(text, "\n") : text;
	while (last > text && last[-1] != '-' && last[-1] != ',')
		last--;
	return atoi(last) + 1;
}

static bool at_once(struct look *a, struct look *b)
{
	return a->begin < b->end && b->begin < a->end;
}

/* How many pairs of looks were at the same time, and had the same ID */
static void count_pairs(struct task *a, struct task *b, int *pairs, int *same)
{
	for (int i = 0; i < a->nr; i++) {
		for (int j = 0; j < b->nr; j++) {
			if (!at_once(&a->looks[i], &b->looks[j]))
				continue;
			(*pairs)++;
			*same += a->looks[i].cid == b->looks[j].cid;
		}
	}
}

static bool has_cids(void)
{
	return getauxval(AT_RSEQ_FEATURE_SIZE) >= offsetof(struct rseq, mm_cid) + sizeof(__u32);
}

static void make_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

FIXTURE(mm_cid)
{
	int log;
	int leased;
};

FIXTURE_VARIANT(mm_cid)
{
	int nr_cpus;
};

FIXTURE_VARIANT_ADD(mm_cid, one_cpu) { .nr_cpus = 1 };
FIXTURE_VARIANT_ADD(mm_cid, two_cpus) { .nr_cpus = 2 };
FIXTURE_VARIANT_ADD(mm_cid, four_cpus) { .nr_cpus = 4 };

static bool write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, mode);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static void use_few_cpus(int wanted)
{
	cpu_set_t may, few;

	CPU_ZERO(&few);
	sched_getaffinity(0, sizeof(may), &may);
	for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&few) < wanted; cpu++)
		if (CPU_ISSET(cpu, &may))
			CPU_SET(cpu, &few);
	sched_setaffinity(0, sizeof(few), &few);
	nr_cpus = CPU_COUNT(&few);
	nr_tasks = 2 * nr_cpus + 4;
}

static void remove_files(void)
{
	unlink(script);
	unlink(interpreter);
	rmdir(dir);
}

FIXTURE_SETUP(mm_cid)
{
	char line[128];

	if (!has_cids())
		SKIP(return, "no concurrency IDs");
	make_shared();
	ASSERT_NE(MAP_FAILED, shared);
	use_few_cpus(variant->nr_cpus);
	self->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (self->log >= 0)
		lseek(self->log, 0, SEEK_END);

	snprintf(dir, sizeof(dir), "./mm_cid.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(script, sizeof(script), "%s/script", dir);
	snprintf(interpreter, sizeof(interpreter), "%s/interpreter", dir);
	snprintf(line, sizeof(line), "#!%s\n", interpreter);
	ASSERT_TRUE(write_file(script, line, 0700));
	ASSERT_TRUE(write_file(interpreter, "no program", 0700));
	self->leased = open(interpreter, O_RDONLY | O_CLOEXEC);
	/* who has a lease is told by it that another one wants it */
	signal(SIGIO, SIG_IGN);
	if (fcntl(self->leased, F_SETLEASE, F_WRLCK)) {
		int error = errno;

		remove_files();
		ASSERT_EQ(EINVAL, error);
		SKIP(return, "no leases of files in this folder");
	}
}

FIXTURE_TEARDOWN(mm_cid)
{
	char line[4096];
	ssize_t len;

	remove_files();
	if (self->log < 0) {
		TH_LOG("the kernel's log was not looked at");
		return;
	}
	while ((len = read(self->log, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = 0;
		EXPECT_FALSE(strstr(line, "mm_cid") || strstr(line, "max_cids")) {
			TH_LOG("%s", line);
		}
	}
	close(self->log);
}

TEST_F_TIMEOUT(mm_cid, failing_execve, TEST_SECONDS)
{
	unsigned int possible = possible_cpus(), bound = nr_cpus + nr_cpus / 4;
	int pairs = 0, same = 0, wrong = 0, status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(process());
	for (int tries = 0; !shared->waiting && !shared->error && tries < 60000; tries++)
		usleep(1000);
	shared->go_on = true;
	EXPECT_EQ(0, fcntl(self->leased, F_SETLEASE, F_UNLCK));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, shared->error) {
		TH_LOG("a task failed in line %d", shared->error);
	}

	for (int i = 0; i <= MOST_TASKS; i++) {
		struct task *t = &shared->tasks[i];

		for (int k = 0; k < t->nr; k++)
			wrong += t->looks[k].cid >= possible;
		for (int j = i + 1; j <= MOST_TASKS; j++)
			count_pairs(t, &shared->tasks[j], &pairs, &same);
	}
	for (int i = 0; i < nr_tasks; i++) {
		EXPECT_TRUE(shared->tasks[i].settled);
		EXPECT_GT(bound, shared->tasks[i].last);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, same);
	TH_LOG("%d tasks on %d CPUs: %d times two ran at once", nr_tasks, nr_cpus, pairs);
}

TEST(last_user)
{
	struct task *late;
	cpu_set_t may;
	int status;
	pid_t pid;

	if (!has_cids())
		SKIP(return, "no concurrency IDs");
	make_shared();
	ASSERT_NE(MAP_FAILED, shared);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(may), &may));
	use_few_cpus(1);
	pid = fork();
	if (!pid)
		_exit(alone(&may));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("it failed in line %d", shared->error);
	}
	late = &shared->tasks[MOST_TASKS];
	ASSERT_GT(late->nr, 0);
	for (int i = 0; i < late->nr; i++)
		EXPECT_GT(possible_cpus(), late->looks[i].cid);
}

TEST_HARNESS_MAIN
