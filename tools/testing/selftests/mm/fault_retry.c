// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults that have to wait, while what they are about changes.
 *
 * A FUSE file system of the test's own holds back the reads of its only file, so
 * that a fault stays in the middle for as long as the test likes. Meanwhile the
 * test maps, unmaps, protects or truncates what the fault is about, or forks.
 * The fault must get what there is when it goes on: the content, that of another
 * mapping, SIGSEGV or SIGBUS. And where nothing has changed, it must not take
 * mmap_lock, which the kernel's tracepoints tell.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/compiler.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define FILE_PAGES	64
#define FILE_NODE	2
#define MAX_HELD	64
#define PATIENCE	10000	/* ms until what should happen has not */
#define A_WHILE		200	/* ms in which what should not happen does */
#define TRACING		"/sys/kernel/tracing/"
#define LOCK_EVENT	TRACING "events/mmap_lock/mmap_lock_acquire_returned/"

static size_t page;

static unsigned char content_of(off_t offset)
{
	return offset / page * 7 + 1;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* --- the file system ------------------------------------------------------ */

/* Shared with the process that serves it. */
struct control {
	atomic_bool hold;		/* let reads wait */
	atomic_uint nr_held;	/* how many do */
	atomic_long size;
};

struct held {
	uint64_t unique;
	uint64_t offset;
	uint32_t size;
};

static void reply(int fuse, uint64_t unique, int error, const void *data,
		  size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len,
		.error = error,
		.unique = unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)data, len } };

	/* The caller may be gone: it was killed. */
	if (writev(fuse, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		exit(KSFT_FAIL);
}

static void reply_data(int fuse, const struct held *read, long size)
{
	static char data[FILE_PAGES * 65536];
	size_t len = 0;

	for (; len < read->size && (long)(read->offset + len) < size; len++)
		data[len] = content_of(read->offset + len);
	reply(fuse, read->unique, 0, data, len);
}

static struct fuse_attr attr_of(uint64_t node, long size)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr) {
		.ino = node,
		.size = file ? size : 0,
		.mode = file ? S_IFREG | 0644 : S_IFDIR | 0755,
		.nlink = 1,
	};
}

static void serve_one(int fuse, struct control *control, char *buf,
		      struct held *held)
{
	struct fuse_in_header *in = (void *)buf;
	void *arg = in + 1;

	switch (in->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_write = 4096,
			/*
			 * One page at a time, or other faults need not wait;
			 * and without a process that waits for the answer,
			 * which it would do until the answer comes.
			 */
			.max_readahead = page,
			.flags = FUSE_ASYNC_READ,
		};

		reply(fuse, in->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = {
			.nodeid = FILE_NODE,
			.attr = attr_of(FILE_NODE, control->size),
			.entry_valid = 1000,
			.attr_valid = 1000,
		};

		if (strcmp(arg, "file"))
			reply(fuse, in->unique, -ENOENT, NULL, 0);
		else
			reply(fuse, in->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_SETATTR:
		if (((struct fuse_setattr_in *)arg)->valid & FATTR_SIZE)
			control->size = ((struct fuse_setattr_in *)arg)->size;
		fallthrough;
	case FUSE_GETATTR: {
		struct fuse_attr_out out = {
			.attr = attr_of(in->nodeid, control->size),
			.attr_valid = 1000,
		};

		reply(fuse, in->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };

		reply(fuse, in->unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_READ: {
		struct fuse_read_in *read = arg;

		held[control->nr_held] = (struct held) {
			in->unique, read->offset, read->size
		};
		if (control->hold && control->nr_held < MAX_HELD - 1)
			control->nr_held++;
		else
			reply_data(fuse, &held[control->nr_held], control->size);
		break;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_DESTROY:
		reply(fuse, in->unique, 0, NULL, 0);
		break;
	default:
		reply(fuse, in->unique, -ENOSYS, NULL, 0);
	}
}

static void serve(int fuse, struct control *control)
{
	static char buf[FUSE_MIN_READ_BUFFER + 65536];
	static struct held held[MAX_HELD];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd pfd = { .fd = fuse, .events = POLLIN };

		if (poll(&pfd, 1, 1) > 0) {
			if (read(fuse, buf, sizeof(buf)) < 0) {
				if (errno == ENODEV)
					exit(0); /* unmounted */
				if (errno != ENOENT && errno != EINTR)
					exit(KSFT_FAIL);
			} else {
				serve_one(fuse, control, buf, held);
			}
		}
		while (!control->hold && control->nr_held) {
			unsigned int last = control->nr_held - 1;

			reply_data(fuse, &held[last], control->size);
			control->nr_held = last;
		}
	}
}

/* --- what faults ---------------------------------------------------------- */

/*
 * A thread that reads or writes one byte, and what became of it. The signals of
 * a fault are synchronous, so its handler runs in the thread that faulted.
 */
struct toucher {
	pthread_t thread;
	char *at;
	bool write;
	atomic_int tid;
	atomic_bool go, done, leave;
	int value;	/* what was read, or minus the signal */
	sigjmp_buf env;
};

static __thread struct toucher *me;

static void on_fault(int sig)
{
	me->value = -sig;
	siglongjmp(me->env, 1);
}

static void *toucher_thread(void *arg)
{
	struct toucher *t = arg;

	me = t;
	t->tid = syscall(__NR_gettid);
	while (!t->go)
		usleep(100);
	if (!sigsetjmp(t->env, 1)) {
		if (t->write)
			*t->at = 'w';
		t->value = (unsigned char)READ_ONCE(*t->at);
	}
	t->done = true;
	/* To exit takes mmap_lock, and is none of what it did. */
	while (!t->leave)
		usleep(100);
	return NULL;
}

static bool wait_ms(atomic_bool *flag, int ms)
{
	double end = now_ms() + ms;

	while (!*flag && now_ms() < end)
		usleep(200);
	return *flag;
}

FIXTURE(fault_retry)
{
	struct control *control;
	char dir[64];
	pid_t server;
	int fuse, fd;
	char *map;
	struct toucher toucher;
};

FIXTURE_VARIANT(fault_retry)
{
	int flags;
	bool write;
};

FIXTURE_VARIANT_ADD(fault_retry, shared_read)
{
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(fault_retry, private_read)
{
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(fault_retry, private_write)
{
	.flags = MAP_PRIVATE,
	.write = true,
};

FIXTURE_SETUP(fault_retry)
{
	struct sigaction act = { .sa_handler = on_fault };
	char options[128], path[128];

	page = sysconf(_SC_PAGESIZE);
	ASSERT_EQ(sigaction(SIGSEGV, &act, NULL), 0);
	ASSERT_EQ(sigaction(SIGBUS, &act, NULL), 0);

	self->control = mmap(NULL, page, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->control, MAP_FAILED);
	self->control->size = FILE_PAGES * page;

	self->fuse = open("/dev/fuse", O_RDWR);
	if (self->fuse < 0)
		SKIP(return, "/dev/fuse: %s", strerror(errno));
	strcpy(self->dir, "/tmp/fault_retry.XXXXXX");
	ASSERT_NE(mkdtemp(self->dir), NULL);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", self->fuse);
	if (mount("fault_retry", self->dir, "fuse", 0, options)) {
		rmdir(self->dir);
		SKIP(return, "mount: %s", strerror(errno));
	}

	self->server = fork();
	ASSERT_GE(self->server, 0);
	if (!self->server)
		serve(self->fuse, self->control);
	/* Or the file system outlives its server, and we wait for ever. */
	close(self->fuse);

	snprintf(path, sizeof(path), "%s/file", self->dir);
	self->fd = open(path, O_RDWR);
	ASSERT_GE(self->fd, 0);
	self->map = mmap(NULL, FILE_PAGES * page, PROT_READ | PROT_WRITE,
			 variant->flags, self->fd, 0);
	ASSERT_NE(self->map, MAP_FAILED);
}

FIXTURE_TEARDOWN(fault_retry)
{
	self->control->hold = false;
	close(self->fd);
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
	kill(self->server, SIGKILL);
	waitpid(self->server, NULL, 0);
}

/* Let a thread fault on a page, which is not in memory, until its read is held. */
#define begin_fault(nr)							\
do {									\
	struct toucher *t = &self->toucher;				\
	double end = now_ms() + PATIENCE;				\
									\
	memset(t, 0, sizeof(*t));					\
	t->at = self->map + (nr) * page;				\
	t->write = variant->write;					\
	self->control->hold = true;					\
	ASSERT_EQ(pthread_create(&t->thread, NULL, toucher_thread, t), 0); \
	while (!t->tid)							\
		usleep(100);						\
	t->go = true;							\
	while (!self->control->nr_held && now_ms() < end)		\
		usleep(200);						\
	ASSERT_NE(self->control->nr_held, 0);				\
} while (0)

/* ... and let it have what it reads. */
#define end_fault(expected)						\
do {									\
	self->control->hold = false;					\
	ASSERT_TRUE(wait_ms(&self->toucher.done, PATIENCE));		\
	EXPECT_EQ(self->toucher.value, expected);			\
} while (0)

#define leave()								\
do {									\
	self->toucher.leave = true;					\
	pthread_join(self->toucher.thread, NULL);			\
} while (0)

#define EXPECTED(nr)	(variant->write ? 'w' : content_of((nr) * page))

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int ret = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return ret < 0 ? -1 : 0;
}

/* How often has this thread taken mmap_lock since it was traced? */
static int count_locks(pid_t tid)
{
	char line[1024], word[32];
	int nr = 0;
	FILE *trace = fopen(TRACING "trace", "r");

	if (!trace)
		return -1;
	snprintf(word, sizeof(word), "-%d ", tid);
	while (fgets(line, sizeof(line), trace)) {
		if (line[0] != '#' && strstr(line, word) &&
		    strstr(line, "mmap_lock_acquire_returned"))
			nr++;
	}
	fclose(trace);
	return nr;
}

TEST_F(fault_retry, content)
{
	begin_fault(3);
	EXPECT_FALSE(wait_ms(&self->toucher.done, A_WHILE));
	end_fault(EXPECTED(3));
	leave();
	/* What is next to it is not there, and what was read stays. */
	begin_fault(4);
	end_fault(EXPECTED(4));
	leave();
	EXPECT_EQ((unsigned char)self->map[3 * page], EXPECTED(3));
}

/*
 * Base takes mmap_lock once for each fault that waited.
 */
TEST_F(fault_retry, mmap_lock_not_taken)
{
	pid_t tid;

	if (write_file(LOCK_EVENT "enable", "1"))
		SKIP(return, LOCK_EVENT ": %s", strerror(errno));
	/* So that an anon_vma is there: the lock is needed to look for one. */
	if (variant->write)
		self->map[0] = 1;
	write_file(TRACING "trace", "");

	begin_fault(5);
	tid = self->toucher.tid;
	/* What the thread did before, such as its stack, is not meant. */
	write_file(TRACING "trace", "");
	end_fault(EXPECTED(5));
	EXPECT_EQ(count_locks(tid), 0);
	leave();
	write_file(LOCK_EVENT "enable", "0");
}

TEST_F(fault_retry, others_map_meanwhile)
{
	begin_fault(6);
	for (int i = 0; i < 100; i++) {
		char *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(p, MAP_FAILED);
		*p = 1;
		ASSERT_EQ(munmap(p, page), 0);
	}
	EXPECT_FALSE(self->toucher.done);
	end_fault(EXPECTED(6));
	leave();
}

TEST_F(fault_retry, unmapped)
{
	begin_fault(7);
	ASSERT_EQ(munmap(self->map + 7 * page, page), 0);
	end_fault(-SIGSEGV);
	leave();
}

TEST_F(fault_retry, no_more_access)
{
	begin_fault(8);
	ASSERT_EQ(mprotect(self->map + 8 * page, page, PROT_NONE), 0);
	end_fault(-SIGSEGV);
	leave();
}

TEST_F(fault_retry, read_only)
{
	begin_fault(9);
	ASSERT_EQ(mprotect(self->map + 9 * page, page, PROT_READ), 0);
	end_fault(variant->write ? -SIGSEGV : content_of(9 * page));
	leave();
}

TEST_F(fault_retry, split)
{
	begin_fault(10);
	ASSERT_EQ(mprotect(self->map + 11 * page, page, PROT_NONE), 0);
	end_fault(EXPECTED(10));
	leave();
}

TEST_F(fault_retry, replaced)
{
	char *p;

	begin_fault(12);
	p = mmap(self->map + 12 * page, page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	end_fault(variant->write ? 'w' : 0);
	leave();
}

TEST_F(fault_retry, truncated)
{
	begin_fault(13);
	/* The kernel waits for the folio, so for the read, in between. */
	if (!fork()) {
		ftruncate(self->fd, 0);
		_exit(0);
	}
	usleep(A_WHILE * 1000);
	self->control->size = 0;
	self->control->hold = false;
	ASSERT_TRUE(wait_ms(&self->toucher.done, PATIENCE));
	leave();
	wait(NULL);
	/* Either came first; but afterwards there is nothing. */
	if (self->toucher.value != -SIGBUS)
		EXPECT_EQ(self->toucher.value, EXPECTED(13));
}

TEST_F(fault_retry, fork)
{
	double begin;
	pid_t child;

	begin_fault(14);
	begin = now_ms();
	child = fork();
	ASSERT_GE(child, 0);
	if (!child)
		_exit(0);
	/* It must not wait for the read. */
	EXPECT_LT(now_ms() - begin, PATIENCE);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	EXPECT_FALSE(self->toucher.done);
	end_fault(EXPECTED(14));
	leave();
}

TEST_F(fault_retry, killed)
{
	double end = now_ms() + PATIENCE;
	pid_t child;

	self->control->hold = true;
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		if (variant->write)
			self->map[15 * page] = 1;
		_exit(READ_ONCE(self->map[15 * page]));
	}
	while (!self->control->nr_held && now_ms() < end)
		usleep(200);
	ASSERT_EQ(self->control->nr_held, 1);
	ASSERT_EQ(kill(child, SIGKILL), 0);
	while (!waitpid(child, NULL, WNOHANG) && now_ms() < end)
		usleep(200);
	/* Gone, although nobody has read anything. */
	EXPECT_EQ(kill(child, 0), -1);
	EXPECT_EQ(self->control->nr_held, 1);
}

TEST_HARNESS_MAIN
