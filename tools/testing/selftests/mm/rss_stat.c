// SPDX-License-Identifier: GPL-2.0
/*
 * Does the kernel count the memory of a process right, while tasks come to
 * share it, and others change it?
 *
 * A process goes from one thread to many and back, by exit and by exec, over
 * and over. Meanwhile another one writes to its memory, reclaims, migrates,
 * swaps out and in what it has. Whenever the process rests, what is counted
 * must be what is mapped: statm what smaps says. And no mm may be freed that
 * still counts something: the kernel's log must not say "Bad rss-counter".
 * The same with the children of vfork(), who have tasks of their own, or whose
 * parents are killed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define ANON		((char *)0x1000000000UL)
#define SHMEM		((char *)0x1100000000UL)
#define MEM_SIZE	(4UL << 20)
#define SWAP_SIZE	(64UL << 20)
#define NR_THREADS	4
#define NR_ROUNDS	6
#define MIN_ROUNDS	2	/* that slow machines do, whatever time they take */
#define ENOUGH_SECONDS	120
#define TEST_SECONDS	240	/* on an emulator */
#define PAUSE_US	10000
#define STACK		(64UL << 10)
#define CGROUP		"/sys/fs/cgroup"

/* what the process that is looked at says when it rests, and is told */
enum { IN_ROUND = 'i', ROUND_ENDS = 'r', GO_ON = 'g', ENOUGH = 'e' };

static long page;

/* --- the process that is looked at ----------------------------------------- */

static void touch(char *mem, int seed)
{
	/* few pages: each may be swapped out, and an emulator's disk is slow */
	for (unsigned long at = seed * page; at < MEM_SIZE; at += 31 * page)
		mem[at] = seed;
}

static void use(int seed)
{
	for (int i = 0; i < 4; i++) {
		touch(ANON, seed + i);
		touch(SHMEM, seed + i);
		madvise(ANON + (seed + i) % 4 * (MEM_SIZE / 4), MEM_SIZE / 4, MADV_DONTNEED);
	}
}

static void *thread(void *arg)
{
	use((long)arg);
	return NULL;
}

static void map_all(void)
{
	if (mmap(ANON, MEM_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != ANON ||
	    mmap(SHMEM, MEM_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != SHMEM)
		_exit(2);
}

/* Wait until whoever has the other end has compared, and perhaps has enough */
static void rest(int out, int in, char state)
{
	if (write(out, &state, 1) != 1 || read(in, &state, 1) != 1)
		_exit(3);
	if (state == ENOUGH)
		_exit(0);
}

static void start_and_wait(void *(*func)(void *), void *arg, int n)
{
	pthread_t threads[NR_THREADS];

	for (long i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, func, arg ?: (void *)i))
			_exit(4);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static void *exec_self(void *argv)
{
	execv("/proc/self/exe", argv);
	_exit(5);
}

/* argv: "victim", rounds to go, descriptors to write to and to read from */
static int victim(char **argv)
{
	int rounds = atoi(argv[2]), out = atoi(argv[3]), in = atoi(argv[4]);
	char text[16];
	pid_t pid;

	map_all();
	use(1);
	rest(out, in, IN_ROUND);
	if (!posix_spawnp(&pid, "true", NULL, NULL, (char *[]){ "true", NULL }, environ))
		waitpid(pid, NULL, 0);
	pid = fork();
	if (!pid) {
		use(2);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	rest(out, in, IN_ROUND);
	start_and_wait(thread, NULL, 1 + rounds % NR_THREADS);
	rest(out, in, ROUND_ENDS);
	if (!rounds)
		return 0;
	snprintf(text, sizeof(text), "%d", rounds - 1);
	argv[2] = text;
	if (rounds % 3 == 0)
		start_and_wait(exec_self, argv, 1);
	exec_self(argv);
	return 6;
}

/* --- what others do to it -------------------------------------------------- */

struct target {
	pid_t pid;
	int pidfd;
	char cgroup[64], swap[64];
	bool many_nodes;
};

static bool set_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static bool by_advice(struct target *t, int advice)
{
	struct iovec vec = { ANON, MEM_SIZE };

	return syscall(SYS_process_madvise, t->pidfd, &vec, 1, advice, 0) > 0;
}

static bool by_pageout(struct target *t)
{
	return by_advice(t, MADV_PAGEOUT);
}

static bool by_cold(struct target *t)
{
	return by_advice(t, MADV_COLD);
}

static bool by_collapse(struct target *t)
{
	return by_advice(t, MADV_COLLAPSE);
}

static bool by_proc_mem(struct target *t)
{
	char path[64];
	bool ok = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", t->pid);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return false;
	for (unsigned long at = 0; at < MEM_SIZE; at += 61 * page)
		ok |= pwrite(fd, "m", 1, (unsigned long)ANON + at) == 1;
	close(fd);
	return ok;
}

static bool by_writev(struct target *t)
{
	char byte = 'w';
	struct iovec from = { &byte, 1 };
	bool ok = false;

	for (unsigned long at = 0; at < MEM_SIZE; at += 67 * page) {
		struct iovec to = { ANON + at, 1 };

		ok |= process_vm_writev(t->pid, &from, 1, &to, 1, 0) == 1;
	}
	return ok;
}

static bool by_migration(struct target *t)
{
	static unsigned long nodes[2] = { 1, 2 };
	unsigned long from = nodes[0];

	if (!t->many_nodes)
		return false;
	nodes[0] = nodes[1];
	nodes[1] = from;
	return syscall(SYS_migrate_pages, t->pid, 64, &from, &nodes[0]) >= 0;
}

static bool by_reclaim(struct target *t)
{
	char path[96];

	if (!*t->cgroup)
		return false;
	snprintf(path, sizeof(path), "%s/memory.reclaim", t->cgroup);
	return set_file(path, "1M");
}

static bool by_swapoff(struct target *t)
{
	bool ok;

	/* before any other swap area that there is */
	if (!*t->swap || swapon(t->swap, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK))
		return false;
	ok = by_pageout(t);
	return !swapoff(t->swap) && ok;
}

static const struct {
	const char *name;
	bool (*func)(struct target *t);
} ways[] = {
	{ "process_madvise(MADV_PAGEOUT)", by_pageout },
	{ "process_madvise(MADV_COLD)", by_cold },
	{ "process_madvise(MADV_COLLAPSE)", by_collapse },
	{ "/proc/pid/mem", by_proc_mem },
	{ "process_vm_writev()", by_writev },
	{ "migrate_pages()", by_migration },
	{ "memory.reclaim", by_reclaim },
	{ "swapoff()", by_swapoff },
};

#define NR_WAYS	(sizeof(ways) / sizeof(*ways))

static struct target target;
static atomic_int succeeded[NR_WAYS];
static atomic_bool done;
/* who does something reads, who compares writes */
static pthread_rwlock_t doing;

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void *hammer(void *arg)
{
	long way = (long)arg;
	long long begin, took;

	while (!done) {
		pthread_rwlock_rdlock(&doing);
		begin = now_us();
		succeeded[way] += ways[way].func(&target);
		took = now_us() - begin;
		pthread_rwlock_unlock(&doing);
		/* where all is slow, the process would get nowhere beside eight that rest less */
		usleep(took > PAUSE_US ? took : PAUSE_US);
	}
	return NULL;
}

/* --- what must hold -------------------------------------------------------- */

static bool file_of(pid_t pid, const char *name, FILE **file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	*file = fopen(path, "r");
	return *file;
}

/* kB that are counted, and that are mapped */
struct sizes {
	long rss, swap;
	long of_files;	/* perhaps in shmem's swap, which no process counts */
};

static bool counted(pid_t pid, struct sizes *sizes)
{
	char line[256];
	FILE *file;

	*sizes = (struct sizes){ -1, -1, 0 };
	if (!file_of(pid, "statm", &file))
		return false;
	if (fscanf(file, "%*d %ld", &sizes->rss) == 1)
		sizes->rss *= page / 1024;
	fclose(file);
	if (!file_of(pid, "status", &file))
		return false;
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmSwap: %ld", &sizes->swap);
	fclose(file);
	return sizes->rss >= 0 && sizes->swap >= 0;
}

static bool mapped(pid_t pid, struct sizes *sizes)
{
	unsigned long inode = 0;
	char line[256];
	FILE *file;
	long kb;

	if (!file_of(pid, "smaps", &file))
		return false;
	*sizes = (struct sizes){};
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*x-%*x %*s %*s %*s %lu", &inode) == 1)
			continue;
		if (sscanf(line, "Rss: %ld", &kb) == 1)
			sizes->rss += kb;
		if (sscanf(line, "Swap: %ld", &kb) == 1)
			*(inode ? &sizes->of_files : &sizes->swap) += kb;
	}
	fclose(file);
	return true;
}

/* The kernel itself may reclaim or collapse between two looks, but not always */
static void compare(struct __test_metadata *_metadata, pid_t pid)
{
	struct sizes is, should;

	for (int tries = 0; tries < 20; tries++) {
		ASSERT_TRUE(counted(pid, &is));
		ASSERT_TRUE(mapped(pid, &should));
		if (is.rss == should.rss && is.swap >= should.swap &&
		    is.swap <= should.swap + should.of_files)
			return;
		usleep(PAUSE_US);
	}
	EXPECT_EQ(is.rss, should.rss);
	EXPECT_LE(should.swap, is.swap);
	EXPECT_LE(is.swap, should.swap + should.of_files);
}

FIXTURE(rss_stat)
{
	int log;
};

FIXTURE_SETUP(rss_stat)
{
	page = sysconf(_SC_PAGESIZE);
	self->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (self->log < 0)
		SKIP(return, "/dev/kmsg: %s", strerror(errno));
	lseek(self->log, 0, SEEK_END);
}

FIXTURE_TEARDOWN(rss_stat)
{
	char line[4096];
	ssize_t len;

	/* an mm may outlive its tasks for a moment */
	usleep(300000);
	while ((len = read(self->log, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = 0;
		EXPECT_EQ(NULL, strstr(line, "Bad rss-counter")) {
			TH_LOG("%s", line);
		}
	}
	close(self->log);
}

static void set_up_cgroup(void)
{
	char path[96];

	set_file(CGROUP "/cgroup.subtree_control", "+memory");
	snprintf(target.cgroup, sizeof(target.cgroup), CGROUP "/rss_stat.%d", getpid());
	snprintf(path, sizeof(path), "%s/memory.reclaim", target.cgroup);
	if (mkdir(target.cgroup, 0755) || access(path, W_OK))
		*target.cgroup = 0;
}

static void set_up_swap(void)
{
	char *area = calloc(1, page);
	int fd;

	snprintf(target.swap, sizeof(target.swap), "/var/tmp/rss_stat.%d", getpid());
	fd = open(target.swap, O_CREAT | O_EXCL | O_WRONLY, 0600);
	memcpy(area + page - 10, "SWAPSPACE2", 10);
	((unsigned int *)(area + 1024))[0] = 1;
	((unsigned int *)(area + 1024))[1] = SWAP_SIZE / page - 1;
	if (fd < 0 || posix_fallocate(fd, 0, SWAP_SIZE) || pwrite(fd, area, page, 0) != page ||
	    fsync(fd) || swapon(target.swap, 0) || swapoff(target.swap)) {
		unlink(target.swap);
		*target.swap = 0;
	}
	if (fd >= 0)
		close(fd);
	free(area);
}

TEST_F_TIMEOUT(rss_stat, hammered, TEST_SECONDS)
{
	char rounds[16], out[16], in[16], path[96], state;
	int to[2], from[2], status, nr_rounds = 0;
	time_t begin = time(NULL);
	pthread_rwlockattr_t attr;
	pthread_t threads[NR_WAYS];

	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	snprintf(rounds, sizeof(rounds), "%d", NR_ROUNDS);
	snprintf(out, sizeof(out), "%d", from[1]);
	snprintf(in, sizeof(in), "%d", to[0]);
	target.many_nodes = !access("/sys/devices/system/node/node1", F_OK);
	set_up_cgroup();
	set_up_swap();

	target.pid = fork();
	if (!target.pid) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", target.cgroup);
		if (*target.cgroup)
			set_file(path, "0");
		close(to[1]);
		close(from[0]);
		exec_self((char *[]){ "rss_stat", "victim", rounds, out, in, NULL });
	}
	close(to[0]);
	close(from[1]);
	target.pidfd = syscall(SYS_pidfd_open, target.pid, 0);
	ASSERT_LE(0, target.pidfd);

	/* who compares is not to wait for ever */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&doing, &attr);
	for (long way = 0; way < (long)NR_WAYS; way++)
		ASSERT_EQ(0, pthread_create(&threads[way], NULL, hammer, (void *)way));

	while (read(from[0], &state, 1) == 1) {
		pthread_rwlock_wrlock(&doing);
		compare(_metadata, target.pid);
		pthread_rwlock_unlock(&doing);
		nr_rounds += state == ROUND_ENDS;
		state = nr_rounds >= MIN_ROUNDS && time(NULL) - begin >= ENOUGH_SECONDS ?
			ENOUGH : GO_ON;
		ASSERT_EQ(1, write(to[1], &state, 1));
	}
	TH_LOG("%d rounds", nr_rounds);
	done = true;
	for (size_t way = 0; way < NR_WAYS; way++) {
		pthread_join(threads[way], NULL);
		TH_LOG("%s: %d times", ways[way].name, succeeded[way]);
	}
	EXPECT_EQ(target.pid, waitpid(target.pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_LT(0, succeeded[0]);
	EXPECT_LT(0, succeeded[3]);

	if (*target.swap)
		unlink(target.swap);
	if (*target.cgroup)
		rmdir(target.cgroup);
}

/* --- children of vfork() --------------------------------------------------- */

static struct {
	atomic_int middle, last;	/* who runs */
	atomic_bool go_on;
} *shared;

static int toucher(void *arg)
{
	use((long)arg);
	return 0;
}

static pid_t start(int (*func)(void *), void *arg, int flags)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return clone(func, stack + STACK, flags | SIGCHLD, arg);
}

/* Two tasks that run, in what is a vfork() child */
static int has_a_task(void *arg)
{
	pid_t pid = start(toucher, (void *)3, CLONE_VM);

	use(4);
	return waitpid(pid, NULL, 0) != pid;
}

static int goes_on(void *arg)
{
	shared->last = 1;
	while (!shared->go_on)
		use(5);
	return has_a_task(arg);
}

static int has_a_vfork_child(void *arg)
{
	shared->middle = syscall(SYS_getpid);
	start(goes_on, NULL, CLONE_VM | CLONE_VFORK);
	return 0;
}

static void wait_for(atomic_int *what)
{
	while (!*what)
		usleep(1000);
}

/* What runs in a process of its own, whose memory it is all about */
static pid_t start_process(void (*func)(void))
{
	pid_t pid;

	shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (!pid) {
		map_all();
		use(6);
		func();
		use(7);
		shared->go_on = true;
		pause();
	}
	return pid;
}

static void end_process(struct __test_metadata *_metadata, pid_t pid)
{
	wait_for((atomic_int *)&shared->last);
	for (int tries = 0; !shared->go_on && tries < 10000; tries++)
		usleep(1000);
	EXPECT_TRUE(shared->go_on);
	usleep(100000);
	compare(_metadata, pid);
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
}

static void vfork_child_with_a_task(void)
{
	shared->last = 1;
	start(has_a_task, NULL, CLONE_VM | CLONE_VFORK);
}

TEST_F(rss_stat, vfork_child_with_a_task)
{
	end_process(_metadata, start_process(vfork_child_with_a_task));
}

static void vfork_parent(void)
{
	has_a_vfork_child(NULL);
}

/* The parent of a vfork() child ends while the child runs */
TEST_F(rss_stat, vfork_parent_killed)
{
	pid_t pid = start_process(vfork_parent);

	wait_for(&shared->last);
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	usleep(50000);
	shared->go_on = true;
	usleep(500000);
}

static void vfork_grandparent(void)
{
	start(has_a_vfork_child, NULL, CLONE_VM | CLONE_VFORK);
	/* the child was killed, the grandchild runs */
	has_a_task(NULL);
}

/* Its vfork() child is killed: a task goes on beside one that is still there */
TEST_F(rss_stat, vfork_middle_killed)
{
	pid_t pid = start_process(vfork_grandparent);

	wait_for(&shared->last);
	kill(shared->middle, SIGKILL);
	end_process(_metadata, pid);
}

int main(int argc, char **argv)
{
	page = sysconf(_SC_PAGESIZE);
	if (argc > 4 && !strcmp(argv[1], "victim"))
		return victim(argv);
	return test_harness_run(argc, argv);
}
