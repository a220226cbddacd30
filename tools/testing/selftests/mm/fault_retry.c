// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults that have to wait, while what they are about changes.
 *
 * A FUSE file system of the test's own holds back the reads of its only file,
 * which is mapped or swapped to, so that a fault stays in the middle for as long
 * as the test likes. Meanwhile the test maps, unmaps, protects or truncates what
 * the fault is about, or forks. The fault must get what there is when it goes on:
 * the content, that of another mapping, SIGSEGV or SIGBUS. And where nothing has
 * changed, it must not take mmap_lock, which one of its tracepoints counts. The
 * same with faults that userfaultfd lets wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>
#include "kselftest_harness.h"
#include "hugepage_settings.h"
#include "vm_util.h"

#define FILE_PAGES	64
#define MAP_PAGES	32	/* so that they fit in there as swap, too */
#define DIRTY_PAGES	4096	/* of the file, where more than FILE_PAGES are to be dirty */
#define FILE_NODE	2
#define MAX_HELD	64
#define PATIENCE	10000	/* ms until what should happen has not */
#define LONGEST_HOLD	15000	/* ms until I/O goes on, or a test that failed hangs */
#define A_WHILE		200	/* ms in which what should not happen does */
#define STACK_ROOM	65536	/* for the frame of a signal, and its handler */
#define TEST_SECONDS	120	/* for some that are patient */
#define LOCK_EVENT	"/sys/kernel/tracing/events/mmap_lock/mmap_lock_acquire_returned/id"
#define CGROUP		"/sys/fs/cgroup/"
#define PAGE_CLUSTER	"/proc/sys/vm/page-cluster"
#define ZSWAP		"/sys/module/zswap/parameters/enabled"
#define HMM_DEVICE	"/dev/hmm_dmirror0"

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

/* Shared with the processes that serve it, and that tidy up. */
struct control {
	atomic_bool hold;	/* let reads wait */
	atomic_uint let_go;	/* those that do so now, but not the next ones */
	atomic_bool fail;	/* ... and fail then */
	atomic_uint fail_next;	/* how many are to fail at once */
	atomic_bool hold_writes;
	atomic_uint nr_held;	/* how many wait */
	atomic_uint nr_reads;	/* how many there were */
	atomic_long size;
	/* What there is to be undone; "" if there is nothing. */
	char dir[64], loop[64], cgroup[64], page_cluster[16];
	unsigned char data[];	/* of the file, again and again if it is longer */
};

struct held {
	bool write;
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
		_exit(KSFT_FAIL);
}

static void reply_io(int fuse, const struct held *io,
		     const struct control *control)
{
	struct fuse_write_out written = { .size = io->size };
	long rest = control->size - (long)io->offset;

	if (io->write)
		reply(fuse, io->unique, 0, &written, sizeof(written));
	else if (control->fail)
		reply(fuse, io->unique, -EIO, NULL, 0);
	else
		reply(fuse, io->unique, 0,
		      control->data + io->offset % (FILE_PAGES * page),
		      rest < 0 ? 0 : rest < io->size ? rest : io->size);
}

static void hold_or_reply(int fuse, struct control *control, struct held *held,
			  struct held io)
{
	if (!io.write && control->fail_next) {
		control->fail_next--;
		reply(fuse, io.unique, -EIO, NULL, 0);
	} else if ((io.write ? control->hold_writes : control->hold) &&
		   control->nr_held < MAX_HELD) {
		held[control->nr_held++] = io;
	} else {
		reply_io(fuse, &io, control);
	}
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
			.max_write = page,
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
	case FUSE_GETATTR: {
		struct fuse_setattr_in *set = arg;
		struct fuse_attr_out out = {
			.attr_valid = 1000,
		};

		if (in->opcode == FUSE_SETATTR && (set->valid & FATTR_SIZE))
			control->size = set->size;
		out.attr = attr_of(in->nodeid, control->size);
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

		control->nr_reads++;
		hold_or_reply(fuse, control, held, (struct held) {
			false, in->unique, read->offset, read->size
		});
		break;
	}
	case FUSE_WRITE: {
		struct fuse_write_in *write = arg;

		memcpy(control->data + write->offset % (FILE_PAGES * page),
		       write + 1, write->size);
		hold_or_reply(fuse, control, held, (struct held) {
			true, in->unique, write->offset, write->size
		});
		break;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_RELEASE:
	case FUSE_DESTROY:
		reply(fuse, in->unique, 0, NULL, 0);
		break;
	default:
		reply(fuse, in->unique, -ENOSYS, NULL, 0);
	}
}

static void hold_nothing(struct control *control)
{
	control->hold = false;
	control->hold_writes = false;
}

static void serve(int fuse, struct control *control)
{
	static char buf[FUSE_MIN_READ_BUFFER + 65536];
	static struct held held[MAX_HELD];
	double held_since = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* What serves swap must not be swapped; who may not, has no swap. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	for (;;) {
		struct pollfd pfd = { .fd = fuse, .events = POLLIN };
		/* Not every compiler can exchange a byte. */
		bool let_go = atomic_exchange(&control->let_go, 0);

		if (poll(&pfd, 1, 1) > 0) {
			if (read(fuse, buf, sizeof(buf)) < 0) {
				if (errno == ENODEV)
					_exit(0); /* unmounted */
				if (errno != ENOENT && errno != EINTR)
					_exit(KSFT_FAIL);
			} else {
				serve_one(fuse, control, buf, held);
			}
		}
		if (!control->nr_held)
			held_since = now_ms();
		else if (now_ms() - held_since > LONGEST_HOLD)
			hold_nothing(control);
		while (((!control->hold && !control->hold_writes) ||
			let_go) && control->nr_held) {
			unsigned int last = control->nr_held - 1;

			reply_io(fuse, &held[last], control);
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
	int locks;	/* counts them */
	int nr_locks;	/* how often it took mmap_lock until its end */
	long majflt;	/* how many of its faults were major ones */
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
	struct rusage before, after;

	/*
	 * The kernel writes the frame of a signal below what the thread has touched of
	 * its stack, and would take mmap_lock for that fault, as it is in kernel mode.
	 */
	madvise((char *)((unsigned long)&after & -page) - STACK_ROOM, STACK_ROOM,
		MADV_POPULATE_WRITE);
	me = t;
	t->tid = syscall(__NR_gettid);
	while (!t->go)
		usleep(100);
	getrusage(RUSAGE_THREAD, &before);
	if (!sigsetjmp(t->env, 1)) {
		if (t->write)
			*t->at = 'w';
		t->value = (unsigned char)FORCE_READ(*t->at);
	}
	getrusage(RUSAGE_THREAD, &after);
	t->majflt = after.ru_majflt - before.ru_majflt;
	t->done = true;
	/* To exit takes mmap_lock, and is none of what it did. */
	while (!t->leave)
		usleep(100);
	/* That it does may show only after it was joined: let this show. */
	munmap(mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page);
	return NULL;
}

/* A counter of how often the thread takes mmap_lock; -1 if there can be none. */
static int open_lock_counter(pid_t tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
	};
	char id[16];

	if (!read_file(LOCK_EVENT, id, sizeof(id)))
		return -1;
	attr.config = atoi(id);
	return syscall(__NR_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/*
 * The kernel writes to a thread's struct rseq. If NUMA balancing has taken the
 * page away to see who uses it, that is a fault in kernel mode, which takes
 * mmap_lock, whatever the thread touched: let it leave this process alone.
 */
static void __attribute__((constructor)) no_numa_balancing(void)
{
	syscall(__NR_set_mempolicy, MPOL_LOCAL, NULL, 0);
}

/* Since it was created, or they were forgotten; -1 if nobody counts. */
static int count_locks(const struct toucher *t)
{
	uint64_t nr;

	return read(t->locks, &nr, sizeof(nr)) == sizeof(nr) ? (int)nr : -1;
}

static void forget_locks(const struct toucher *t)
{
	ioctl(t->locks, PERF_EVENT_IOC_RESET, 0);
}

/* Returns when the thread waits for t->go. */
static int create_toucher(struct toucher *t, char *at, bool write)
{
	int ret;

	memset(t, 0, sizeof(*t));
	t->at = at;
	t->write = write;
	ret = pthread_create(&t->thread, NULL, toucher_thread, t);
	if (ret)
		return ret;
	while (!t->tid)
		usleep(100);
	t->locks = open_lock_counter(t->tid);
	return 0;
}

/* Returns when the thread is about to touch. */
static int start_toucher(struct toucher *t, char *at, bool write)
{
	int ret = create_toucher(t, at, write);

	t->go = true;
	return ret;
}

static void stop_toucher(struct toucher *t)
{
	t->leave = true;
	pthread_join(t->thread, NULL);
	t->nr_locks = count_locks(t);
	close(t->locks);
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
	pid_t janitor;
	int alive;	/* closed when we are gone, however that came */
	int fuse, fd;
	char *map;
	struct toucher toucher;
};

FIXTURE_VARIANT(fault_retry)
{
	int flags;	/* of the mapping */
	bool write;
	bool swap;	/* the file is not mapped, but swapped to */
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

FIXTURE_VARIANT_ADD(fault_retry, swap_read)
{
	.swap = true,
};

FIXTURE_VARIANT_ADD(fault_retry, swap_write)
{
	.write = true,
	.swap = true,
};

static int set_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int ret = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return ret < 0 ? -1 : 0;
}

/* Make a block device of the file. Direct I/O, or its page cache has it all. */
static int loop_begin(int fd, char *name, size_t len)
{
	struct loop_config config = {
		.fd = fd,
		.block_size = page,
		.info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR,
	};
	int control = open("/dev/loop-control", O_RDWR), loop = -1, nr;

	if (control < 0)
		return -1;
	nr = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (nr < 0)
		return -1;
	snprintf(name, len, "/dev/loop%d", nr);
	loop = open(name, O_RDWR);
	if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config)) {
		close(loop);
		loop = -1;
	}
	return loop;
}

/* As mkswap would do. */
static int make_swap(int fd)
{
	struct {
		char boot[1024];
		uint32_t version, last_page, nr_badpages;
	} header = { .version = 1, .last_page = FILE_PAGES - 1 };

	if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    pwrite(fd, "SWAPSPACE2", 10, page - 10) != 10)
		return -1;
	return fsync(fd);
}

/* Write it out, and do not keep it as swap cache. */
static bool swap_out(char *map, size_t len, const char *cgroup)
{
	unsigned char in_core[MAP_PAGES];
	char path[128];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (int try = 0; try < 100; try++) {
		size_t nr = 0;

		madvise(map, len, MADV_PAGEOUT);
		if (mincore(map, len, in_core))
			return false;
		for (size_t i = 0; i < len / page; i++)
			nr += in_core[i] & 1;
		if (!nr)
			return true;
		usleep(20000);
		/* What has been written is looked at again. */
		set_file(path, "1M");
	}
	return false;
}

/* A memory cgroup of our own: nobody else is to be swapped to what we hold. */
static int enter_cgroup(char *cgroup, size_t len)
{
	char path[128], enabled[8];

	set_file(CGROUP "cgroup.subtree_control", "+memory");
	snprintf(cgroup, len, CGROUP "fault_retry.%d", getpid());
	if (mkdir(cgroup, 0755)) {
		*cgroup = 0;
		return -1;
	}
	/* Nor is what we swap out to stay in memory, if it can be made small. */
	snprintf(path, sizeof(path), "%s/memory.zswap.max", cgroup);
	if (set_file(path, "0") && read_file(ZSWAP, enabled, sizeof(enabled)) &&
	    *enabled == 'Y')
		return -1;
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	return set_file(path, "0");
}

/*
 * The harness kills a test that takes too long, with all of its process group. No
 * swap area may stay behind that nobody serves, nor anything else. So all of that
 * is undone by a process in a group of its own, as soon as nobody else has the
 * other end of its pipe; and what serves the file is its child.
 */
static void tidy_up(int alive, int fuse, struct control *control)
{
	pid_t server;
	char c;

	setsid();
	mlockall(MCL_CURRENT);
	server = fork();
	if (!server)
		serve(fuse, control);
	close(fuse);
	while (server > 0 && read(alive, &c, 1) < 0 && errno == EINTR)
		;

	hold_nothing(control);
	if (*control->loop)
		swapoff(control->loop);
	if (*control->page_cluster)
		set_file(PAGE_CLUSTER, control->page_cluster);
	if (*control->cgroup)
		rmdir(control->cgroup);
	umount2(control->dir, MNT_DETACH);
	rmdir(control->dir);
	if (server > 0)
		kill(server, SIGKILL);
	_exit(0);
}

/* All that there is of a setup, wherever it has stopped. */
static void undo(FIXTURE_DATA(fault_retry) *self)
{
	if (*self->control->cgroup)
		set_file(CGROUP "cgroup.procs", "0");
	if (self->fd > 0)
		close(self->fd);
	close(self->alive);
	waitpid(self->janitor, NULL, 0);
}

/* Returns NULL, or what is missing. */
static const char *set_up_swap(FIXTURE_DATA(fault_retry) *self)
{
	struct control *control = self->control;
	int loop;

	/* What is next to a page would be read with it. */
	if (!read_file(PAGE_CLUSTER, control->page_cluster, sizeof(control->page_cluster)) ||
	    set_file(PAGE_CLUSTER, "0"))
		return PAGE_CLUSTER;
	/* From here on, what we touch is ours to swap; not what we run on. */
	if (mlockall(MCL_CURRENT))
		return "mlockall";
	if (enter_cgroup(control->cgroup, sizeof(control->cgroup)))
		return "memory cgroup";

	self->map = mmap(NULL, MAP_PAGES * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (self->map == MAP_FAILED)
		return "mmap";
	madvise(self->map, MAP_PAGES * page, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < MAP_PAGES * page; at++)
		self->map[at] = content_of(at);

	loop = loop_begin(self->fd, control->loop, sizeof(control->loop));
	if (loop < 0)
		return "loop device";
	/* Before any other that there is. */
	if (make_swap(loop) ||
	    swapon(control->loop, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK)) {
		close(loop);
		return "swapon";
	}
	close(loop);
	if (!swap_out(self->map, MAP_PAGES * page, control->cgroup))
		return "memory that can be swapped out";
	return NULL;
}

FIXTURE_SETUP(fault_retry)
{
	struct sigaction act = { .sa_handler = on_fault };
	char options[128], path[128], *dir;
	int alive[2];

	page = sysconf(_SC_PAGESIZE);
	ASSERT_EQ(sigaction(SIGSEGV, &act, NULL), 0);
	ASSERT_EQ(sigaction(SIGBUS, &act, NULL), 0);

	self->control = mmap(NULL, sizeof(*self->control) + FILE_PAGES * page,
			     PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->control, MAP_FAILED);
	self->control->size = FILE_PAGES * page;
	for (size_t at = 0; at < FILE_PAGES * page; at++)
		self->control->data[at] = content_of(at);

	self->fuse = open("/dev/fuse", O_RDWR);
	if (self->fuse < 0)
		SKIP(return, "/dev/fuse: %s", strerror(errno));
	dir = self->control->dir;
	snprintf(dir, sizeof(self->control->dir), "/tmp/fault_retry.XXXXXX");
	if (!mkdtemp(dir))
		SKIP(return, "%s: %s", dir, strerror(errno));
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", self->fuse);
	if (mount("fault_retry", dir, "fuse", 0, options)) {
		rmdir(dir);
		SKIP(return, "mount: %s", strerror(errno));
	}

	ASSERT_EQ(pipe(alive), 0);
	self->janitor = fork();
	if (!self->janitor) {
		close(alive[1]);
		tidy_up(alive[0], self->fuse, self->control);
	}
	if (self->janitor < 0) {
		umount2(dir, MNT_DETACH);
		rmdir(dir);
	}
	ASSERT_GT(self->janitor, 0);
	self->alive = alive[1];
	close(alive[0]);
	/* Or the file system outlives its server, and we wait for ever. */
	close(self->fuse);

	snprintf(path, sizeof(path), "%s/file", dir);
	self->fd = open(path, variant->swap ? O_RDWR | O_DIRECT : O_RDWR);
	if (self->fd < 0)
		undo(self);
	ASSERT_GE(self->fd, 0);
	if (variant->swap) {
		const char *missing = set_up_swap(self);

		if (missing) {
			int error = errno;

			undo(self);
			SKIP(return, "%s: %s", missing, strerror(error));
		}
	} else {
		self->map = mmap(NULL, MAP_PAGES * page, PROT_READ | PROT_WRITE,
				 variant->flags, self->fd, 0);
		if (self->map == MAP_FAILED)
			undo(self);
		ASSERT_NE(self->map, MAP_FAILED);
	}
}

FIXTURE_TEARDOWN(fault_retry)
{
	undo(self);
}

static bool is_held(const struct control *control)
{
	double end = now_ms() + PATIENCE;

	while (!control->nr_held && now_ms() < end)
		usleep(200);
	return control->nr_held;
}

/* Let a thread fault on a page, which is not in memory, until its read is held. */
#define begin_fault(nr)							\
do {									\
	self->control->hold = true;					\
	ASSERT_EQ(start_toucher(&self->toucher, self->map + (nr) * page, \
				variant->write), 0);			\
	ASSERT_TRUE(is_held(self->control));				\
} while (0)

/* ... and let it have what it reads. */
#define end_fault(expected)						\
do {									\
	self->control->hold = false;					\
	ASSERT_TRUE(wait_ms(&self->toucher.done, PATIENCE));		\
	EXPECT_EQ(self->toucher.value, expected);			\
} while (0)

#define EXPECTED(nr)	(variant->write ? 'w' : content_of((nr) * page))

/* Why nothing can be said about who takes mmap_lock here; NULL if it can. */
static const char *unknown_locks(void)
{
	char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct toucher toucher;
	int nr;

	if (map == MAP_FAILED)
		return "no memory";
	madvise(map, 2 * page, MADV_NOHUGEPAGE);
	*map = 1;	/* and there is an anon_vma */
	if (create_toucher(&toucher, map + page, true))
		return "no thread";
	forget_locks(&toucher);
	toucher.go = true;
	while (!toucher.done)
		usleep(100);
	nr = count_locks(&toucher);
	stop_toucher(&toucher);
	munmap(map, 2 * page);
	if (nr < 0)
		return "perf cannot count " LOCK_EVENT;
	/* Which had nothing to wait for. */
	return nr ? "faults take mmap_lock here" : NULL;
}

TEST_F_TIMEOUT(fault_retry, content, TEST_SECONDS)
{
	begin_fault(3);
	EXPECT_FALSE(wait_ms(&self->toucher.done, A_WHILE));
	end_fault(EXPECTED(3));
	EXPECT_EQ(self->toucher.majflt, 1);
	stop_toucher(&self->toucher);
	/* What is next to it is not there, and what was read stays. */
	begin_fault(4);
	end_fault(EXPECTED(4));
	stop_toucher(&self->toucher);
	EXPECT_EQ((unsigned char)self->map[3 * page], EXPECTED(3));
}

TEST_F_TIMEOUT(fault_retry, mmap_lock_not_taken, TEST_SECONDS)
{
	const char *unknown = unknown_locks();

	if (unknown)
		SKIP(return, "%s", unknown);
	/* So that an anon_vma is there: the lock is needed to look for one. */
	if (variant->write)
		self->map[0] = 1;

	begin_fault(5);
	/* What the thread did before, such as its stack, is not meant. */
	forget_locks(&self->toucher);
	end_fault(EXPECTED(5));
	EXPECT_EQ(count_locks(&self->toucher), 0);
	/* What it does at its end takes it, if the counter counts. */
	stop_toucher(&self->toucher);
	EXPECT_GT(self->toucher.nr_locks, 0);
}

static bool is_mapped(char *at)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	bool mapped;

	if (pagemap < 0)
		return true;
	mapped = pagemap_get_pfn(pagemap, at) != -1ul;
	close(pagemap);
	return mapped;
}

/*
 * Let a page of the file or of swap be written, but not to the end. Reclaim unmaps
 * it, and writes it to swap; what is of a file it marks, so that it is reclaimed
 * when somebody has written it.
 */
static bool begin_writeback(FIXTURE_DATA(fault_retry) *self, char *at, bool swap)
{
	double end = now_ms() + PATIENCE;
	off_t offset = at - self->map;
	cpu_set_t here;

	/* On another CPU it might wait to be put on the LRU, out of reach. */
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	sched_setaffinity(0, sizeof(here), &here);
	if (!swap) {
		/* Which the page is mapped in alone. */
		at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED,
			  self->fd, offset);
		if (at == MAP_FAILED)
			return false;
	}
	self->control->hold_writes = true;
	/* Whoever looks at the page just then may keep reclaim from it. */
	do {
		double soon = now_ms() + PATIENCE / 8;

		*at = content_of(offset);
		madvise(at, page, MADV_PAGEOUT);
		if (!swap && !is_mapped(at)) {
			sync_file_range(self->fd, offset, page, SYNC_FILE_RANGE_WRITE);
			/* To touch it again would be to wait for that. */
			soon = end;
		}
		while (!self->control->nr_held && now_ms() < soon)
			usleep(200);
	} while (!self->control->nr_held && now_ms() < end);
	return self->control->nr_held;
}

/* What is being written is there, so there is nothing to wait for. */
TEST_F_TIMEOUT(fault_retry, written_meanwhile, TEST_SECONDS)
{
	const char *unknown = unknown_locks();

	if (unknown)
		SKIP(return, "%s", unknown);
	if (variant->write)
		self->map[0] = 1;
	ASSERT_TRUE(begin_writeback(self, self->map + 17 * page, variant->swap));
	ASSERT_FALSE(is_mapped(self->map + 17 * page));
	ASSERT_EQ(create_toucher(&self->toucher, self->map + 17 * page,
				 variant->write), 0);
	forget_locks(&self->toucher);
	self->toucher.go = true;
	EXPECT_TRUE(wait_ms(&self->toucher.done, PATIENCE));
	EXPECT_EQ(count_locks(&self->toucher), 0);
	EXPECT_EQ(self->toucher.majflt, 0); /* nor to be tried again */
	EXPECT_EQ(self->toucher.value, EXPECTED(17));
	EXPECT_EQ(self->control->nr_held, 1);
	self->control->hold_writes = false;
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, others_map_meanwhile, TEST_SECONDS)
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
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, unmapped, TEST_SECONDS)
{
	begin_fault(7);
	ASSERT_EQ(munmap(self->map + 7 * page, page), 0);
	end_fault(-SIGSEGV);
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, no_more_access, TEST_SECONDS)
{
	begin_fault(8);
	ASSERT_EQ(mprotect(self->map + 8 * page, page, PROT_NONE), 0);
	end_fault(-SIGSEGV);
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, read_only, TEST_SECONDS)
{
	begin_fault(9);
	ASSERT_EQ(mprotect(self->map + 9 * page, page, PROT_READ), 0);
	end_fault(variant->write ? -SIGSEGV : content_of(9 * page));
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, split, TEST_SECONDS)
{
	begin_fault(10);
	ASSERT_EQ(mprotect(self->map + 11 * page, page, PROT_NONE), 0);
	end_fault(EXPECTED(10));
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, replaced, TEST_SECONDS)
{
	char *p;

	begin_fault(12);
	p = mmap(self->map + 12 * page, page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	end_fault(variant->write ? 'w' : 0);
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, replaced_by_read_only, TEST_SECONDS)
{
	char *p;

	begin_fault(12);
	p = mmap(self->map + 12 * page, page, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	end_fault(variant->write ? -SIGSEGV : 0);
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, truncated, TEST_SECONDS)
{
	pid_t child;
	int status;

	begin_fault(13);
	if (variant->swap) {
		/* Swap has no size that could change, but its content can go. */
		ASSERT_EQ(madvise(self->map + 13 * page, page, MADV_DONTNEED), 0);
		end_fault(variant->write ? 'w' : 0);
		stop_toucher(&self->toucher);
		return;
	}
	/* The kernel waits for the folio, so for the read, in between. */
	child = fork();
	ASSERT_GE(child, 0);
	if (!child)
		_exit(ftruncate(self->fd, 0) != 0);
	usleep(A_WHILE * 1000);
	self->control->size = 0;
	self->control->hold = false;
	ASSERT_TRUE(wait_ms(&self->toucher.done, PATIENCE));
	stop_toucher(&self->toucher);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	/* Either came first; but afterwards there is nothing. */
	if (self->toucher.value != -SIGBUS)
		EXPECT_EQ(self->toucher.value, EXPECTED(13));
}

/*
 * One that is read ahead, one because it is not there, and one to be sure, for
 * which the fault keeps its lock. READS_DROPPED are those before.
 */
#define READS_DROPPED	2

/* A disk that takes its time to fail is not asked again for each retry. */
TEST_F_TIMEOUT(fault_retry, read_fails, TEST_SECONDS)
{
	unsigned int before = self->control->nr_reads;
	const char *unknown = unknown_locks();

	if (variant->write)
		self->map[0] = 1;
	begin_fault(16);
	forget_locks(&self->toucher);
	self->control->fail = true;
	end_fault(-SIGBUS);
	EXPECT_LE(self->control->nr_reads - before, READS_DROPPED + 1 + variant->write);
	/* It is learnt under the VMA lock. */
	if (!unknown)
		EXPECT_EQ(count_locks(&self->toucher), 0);
	self->control->fail = false;
	stop_toucher(&self->toucher);
}

struct protector {
	pthread_t thread;
	char *at;
	int ret;
	atomic_bool done;
};

static void *protector_thread(void *arg)
{
	struct protector *p = arg;

	p->ret = mprotect(p->at, page, PROT_READ);
	p->done = true;
	return NULL;
}

/* Whether to map and unmap something else takes no longer than it should. */
static bool others_can_map(void)
{
	double begin = now_ms();

	munmap(mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page);
	return now_ms() - begin < PATIENCE;
}

/*
 * A fault that has to wait once more when it is retried keeps its lock, or it
 * might never get done. That is the VMA lock: who changes the VMA waits for the
 * read, but nobody else. And a fault that is new waits for who changes the VMA,
 * but is handled under the VMA lock even so.
 */
TEST_F_TIMEOUT(fault_retry, waits_again, TEST_SECONDS)
{
	struct protector protector = { .at = self->map + (MAP_PAGES - 1) * page };
	struct toucher second;

	if (variant->swap)
		SKIP(return, "what could not be read is not read from swap again");
	if (variant->write)	/* or the lock is needed to look for an anon_vma */
		self->map[0] = 1;
	self->control->fail_next = READS_DROPPED;
	begin_fault(18);
	EXPECT_TRUE(others_can_map());
	EXPECT_FALSE(self->toucher.done);

	/* What there is to be mapped for it is mapped now. */
	ASSERT_EQ(create_toucher(&second, self->map + 19 * page, variant->write), 0);
	ASSERT_EQ(pthread_create(&protector.thread, NULL, protector_thread, &protector), 0);
	EXPECT_FALSE(wait_ms(&protector.done, A_WHILE));
	second.go = true;
	EXPECT_FALSE(wait_ms(&second.done, A_WHILE));

	/*
	 * The first one, then who protects, then the second one's first try. Of
	 * a file that could not be read, nothing is read ahead any more.
	 */
	self->control->fail_next = READS_DROPPED - 1;
	self->control->let_go = true;
	EXPECT_TRUE(wait_ms(&protector.done, PATIENCE));
	pthread_join(protector.thread, NULL);
	EXPECT_EQ(protector.ret, 0);
	EXPECT_TRUE(wait_ms(&self->toucher.done, PATIENCE));
	EXPECT_EQ(self->toucher.value, EXPECTED(18));
	EXPECT_TRUE(is_held(self->control));
	EXPECT_TRUE(others_can_map());
	EXPECT_FALSE(second.done);

	self->control->hold = false;
	EXPECT_TRUE(wait_ms(&second.done, PATIENCE));
	EXPECT_EQ(second.value, EXPECTED(19));
	stop_toucher(&second);
	stop_toucher(&self->toucher);
}

/* What the writeback of a file's file system is to do. */
static int set_bdi(int fd, const char *name, const char *value)
{
	char path[64];
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s",
		 major(st.st_dev), minor(st.st_dev), name);
	return set_file(path, value);
}

/* A thread that writes to one page after the other, but not to the last. */
struct dirtier {
	pthread_t thread;
	char *map;
	atomic_int nr;
	atomic_bool leave, done;
};

static void *dirtier_thread(void *arg)
{
	struct dirtier *d = arg;

	for (; d->nr < DIRTY_PAGES - 1 && !d->leave; d->nr++)
		d->map[d->nr * page] = 'w';
	d->done = true;
	return NULL;
}

/* With no more dirty pages than that, nobody waits for long: wb_stat_error() */
static int never_throttled(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_CONF), batch = 8;

	for (int i = cpus; i > 1; i /= 2)
		batch += 8;
	return cpus * batch;
}

/*
 * Who dirties pages faster than they are written waits, but with no lock, although
 * each page had to be read first.
 */
TEST_F_TIMEOUT(fault_retry, throttled, TEST_SECONDS)
{
	struct dirtier dirtier = {};
	struct protector protector = {};
	/* and some for those that are counted nowhere when their write begins */
	int nr = never_throttled() + MAP_PAGES, before;

	if (variant->flags != MAP_SHARED)
		SKIP(return, "who writes to private pages is not throttled");
	if (nr > DIRTY_PAGES / 2)
		SKIP(return, "so many CPUs may have more dirty pages");
	ASSERT_EQ(ftruncate(self->fd, DIRTY_PAGES * page), 0);
	dirtier.map = mmap(NULL, DIRTY_PAGES * page, PROT_READ | PROT_WRITE,
			   MAP_SHARED, self->fd, 0);
	ASSERT_NE(dirtier.map, MAP_FAILED);
	/* Or readahead waits, without a lock, behind the writes that are held. */
	ASSERT_EQ(madvise(dirtier.map, DIRTY_PAGES * page, MADV_RANDOM), 0);
	protector.at = dirtier.map + (DIRTY_PAGES - 1) * page;

	/* This file system may have as many dirty pages as others, then none. */
	ASSERT_EQ(set_bdi(self->fd, "strict_limit", "0"), 0);
	self->control->hold_writes = true;
	for (; dirtier.nr < nr; dirtier.nr++)
		dirtier.map[dirtier.nr * page] = 'w';
	ASSERT_EQ(set_bdi(self->fd, "strict_limit", "1"), 0);
	ASSERT_EQ(set_bdi(self->fd, "max_ratio", "0"), 0);
	ASSERT_EQ(pthread_create(&dirtier.thread, NULL, dirtier_thread, &dirtier), 0);
	do {
		before = dirtier.nr;
	} while (!wait_ms(&dirtier.done, 5 * A_WHILE) && dirtier.nr != before);

	EXPECT_TRUE(others_can_map());
	ASSERT_EQ(pthread_create(&protector.thread, NULL, protector_thread, &protector), 0);
	EXPECT_TRUE(wait_ms(&protector.done, PATIENCE));
	EXPECT_EQ(dirtier.nr, before);
	EXPECT_FALSE(dirtier.done);
	EXPECT_TRUE(self->control->hold_writes);

	dirtier.leave = true;
	/* Or its page is written and clean by the end of each wait: it waits again. */
	EXPECT_EQ(set_bdi(self->fd, "strict_limit", "0"), 0);
	hold_nothing(self->control);
	pthread_join(protector.thread, NULL);
	pthread_join(dirtier.thread, NULL);
	EXPECT_EQ(protector.ret, 0);
}

/* What a child that must not take for ever gets of it: 0, an errno, or -1. */
#define in_child(call)							\
({									\
	pid_t child = fork();						\
	int status = -1;						\
									\
	if (!child) {							\
		alarm(PATIENCE / 1000);					\
		_exit((call) ? errno : 0);				\
	}								\
	if (child > 0)							\
		waitpid(child, &status, 0);				\
	WIFEXITED(status) ? WEXITSTATUS(status) : -1;			\
})

/* Who populates learns of a read that fails as who touches the page does. */
TEST_F_TIMEOUT(fault_retry, populate_fails, TEST_SECONDS)
{
	char *at = self->map + 16 * page;

	self->control->fail = true;
	EXPECT_EQ(in_child(mlock(at, page)), ENOMEM);
	EXPECT_EQ(in_child(madvise(at, page, MADV_POPULATE_READ)), EFAULT);
	if (variant->swap) {	/* what could not be read stays in the swap cache */
		self->control->fail = false;
		return;
	}
	EXPECT_EQ(in_child(mmap(NULL, page, PROT_READ,
				variant->flags | MAP_POPULATE, self->fd,
				16 * page) == MAP_FAILED), 0);
	self->control->fail = false;
	EXPECT_EQ(in_child(mlock(at, page)), 0);
	EXPECT_EQ(in_child(madvise(at, page, MADV_POPULATE_READ)), 0);
	EXPECT_EQ((unsigned char)*at, content_of(16 * page));
}

static int read_by_device(char *at)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (unsigned long)at,
		.ptr = (unsigned long)malloc(page),
		.npages = 1,
	};
	int fd = open(HMM_DEVICE, O_RDWR);

	return fd < 0 ? -1 : ioctl(fd, HMM_DMIRROR_READ_UNLOCKED, &cmd);
}

/* So does a device that has page tables of its own. */
TEST_F_TIMEOUT(fault_retry, hmm_fails, TEST_SECONDS)
{
	char *at = self->map + 16 * page;

	if (access(HMM_DEVICE, R_OK | W_OK))
		SKIP(return, HMM_DEVICE ": %s", strerror(errno));
	self->control->fail = true;
	EXPECT_EQ(in_child(read_by_device(at)), EFAULT);
	self->control->fail = false;
	if (!variant->swap)
		EXPECT_EQ(in_child(read_by_device(at)), 0);
}

TEST_F_TIMEOUT(fault_retry, fork, TEST_SECONDS)
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
	stop_toucher(&self->toucher);
}

TEST_F_TIMEOUT(fault_retry, killed, TEST_SECONDS)
{
	double end = now_ms() + PATIENCE;
	pid_t child;

	self->control->hold = true;
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		if (variant->write)
			self->map[15 * page] = 1;
		_exit(FORCE_READ(self->map[15 * page]));
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

/* --- userfaultfd ---------------------------------------------------------- */

#define NR_TOUCHERS	4

FIXTURE(userfaultfd)
{
	size_t size;	/* of a page */
	char *map;
	int uffd;
	struct toucher toucher[NR_TOUCHERS];
};

FIXTURE_VARIANT(userfaultfd)
{
	int mode;
	uint64_t features;
	bool huge, write;
};

FIXTURE_VARIANT_ADD(userfaultfd, missing)
{
	.mode = UFFDIO_REGISTER_MODE_MISSING,
};

FIXTURE_VARIANT_ADD(userfaultfd, minor)
{
	.mode = UFFDIO_REGISTER_MODE_MINOR,
	.features = UFFD_FEATURE_MINOR_SHMEM,
};

FIXTURE_VARIANT_ADD(userfaultfd, write_protected)
{
	.mode = UFFDIO_REGISTER_MODE_WP,
	.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	.write = true,
};

FIXTURE_VARIANT_ADD(userfaultfd, huge_missing)
{
	.mode = UFFDIO_REGISTER_MODE_MISSING,
	.features = UFFD_FEATURE_MISSING_HUGETLBFS,
	.huge = true,
};

FIXTURE_VARIANT_ADD(userfaultfd, huge_minor)
{
	.mode = UFFDIO_REGISTER_MODE_MINOR,
	.features = UFFD_FEATURE_MINOR_HUGETLBFS,
	.huge = true,
};

static char content_of_nr(int nr)
{
	return 'a' + nr;
}

HUGETLB_SETUP_DEFAULT_PAGES(NR_TOUCHERS)

FIXTURE_SETUP(userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = variant->features };
	struct uffdio_register range = { .mode = variant->mode };
	char *alias = NULL;
	size_t len;
	int fd;

	page = sysconf(_SC_PAGESIZE);
	/* poll() does not wait for one that blocks. */
	self->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	if (ioctl(self->uffd, UFFDIO_API, &api))
		SKIP(return, "UFFDIO_API: %s", strerror(errno));

	self->size = variant->huge ? default_huge_page_size() : page;
	if (!self->size)
		SKIP(return, "no huge pages here");
	len = NR_TOUCHERS * self->size;

	fd = memfd_create("fault_retry", variant->huge ? MFD_HUGETLB : 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, len), 0);
	self->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (self->map == MAP_FAILED && variant->huge)
		SKIP(return, "huge pages: %s", strerror(errno));
	ASSERT_NE(self->map, MAP_FAILED);

	/* Content that the registered mapping has no page table entries of. */
	if (variant->mode != UFFDIO_REGISTER_MODE_MISSING) {
		alias = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ASSERT_NE(alias, MAP_FAILED);
		for (int i = 0; i < NR_TOUCHERS; i++)
			alias[i * self->size] = content_of_nr(i);
		munmap(alias, len);
	}
	close(fd);

	range.range.start = (unsigned long)self->map;
	range.range.len = len;
	ASSERT_EQ(ioctl(self->uffd, UFFDIO_REGISTER, &range), 0);
	if (variant->mode == UFFDIO_REGISTER_MODE_WP) {
		struct uffdio_writeprotect protect = {
			.range = range.range,
			.mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};

		for (int i = 0; i < NR_TOUCHERS; i++)
			ASSERT_EQ(self->map[i * self->size], content_of_nr(i));
		ASSERT_EQ(ioctl(self->uffd, UFFDIO_WRITEPROTECT, &protect), 0);
	}
}

FIXTURE_TEARDOWN(userfaultfd)
{
	/* Whoever still waits would do so for ever. */
	close(self->uffd);
}

/* Wait for @nr threads to ask. */
static bool expect_asked(int uffd, int nr)
{
	struct uffd_msg msg;

	while (nr) {
		struct pollfd pfd = { .fd = uffd, .events = POLLIN };
		ssize_t got;

		if (poll(&pfd, 1, PATIENCE) != 1)
			return false;
		got = read(uffd, &msg, sizeof(msg));
		if (got < 0 && errno == EAGAIN)
			continue; /* somebody who asked has gone */
		if (got != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
			return false;
		nr--;
	}
	return true;
}

static int resolve(int uffd, int mode, char *at, size_t size, int nr)
{
	struct uffdio_range range = { (unsigned long)at, size };

	if (mode == UFFDIO_REGISTER_MODE_MISSING) {
		struct uffdio_copy arg = { .dst = range.start, .len = size };
		char *copy;
		int ret;

		copy = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (copy == MAP_FAILED)
			return -1;
		copy[0] = content_of_nr(nr);
		arg.src = (unsigned long)copy;
		ret = ioctl(uffd, UFFDIO_COPY, &arg);
		munmap(copy, size);
		return ret;
	}
	if (mode == UFFDIO_REGISTER_MODE_MINOR) {
		struct uffdio_continue arg = { .range = range };

		return ioctl(uffd, UFFDIO_CONTINUE, &arg);
	}
	return ioctl(uffd, UFFDIO_WRITEPROTECT,
		     &(struct uffdio_writeprotect) { .range = range });
}

#define begin_faults()							\
do {									\
	for (int i = 0; i < NR_TOUCHERS; i++)				\
		ASSERT_EQ(start_toucher(&self->toucher[i],		\
					self->map + i * self->size,	\
					variant->write), 0);		\
	ASSERT_TRUE(expect_asked(self->uffd, NR_TOUCHERS));		\
} while (0)

#define end_faults()							\
do {									\
	for (int i = 0; i < NR_TOUCHERS; i++)				\
		ASSERT_EQ(resolve(self->uffd, variant->mode,		\
				  self->map + i * self->size,		\
				  self->size, i), 0);			\
	for (int i = 0; i < NR_TOUCHERS; i++) {				\
		ASSERT_TRUE(wait_ms(&self->toucher[i].done, PATIENCE));	\
		EXPECT_EQ(self->toucher[i].value,			\
			  variant->write ? 'w' : content_of_nr(i));	\
	}								\
} while (0)

TEST_F_TIMEOUT(userfaultfd, mmap_lock_not_taken, TEST_SECONDS)
{
	const char *unknown = unknown_locks();

	if (unknown)
		SKIP(return, "%s", unknown);
	begin_faults();
	EXPECT_FALSE(wait_ms(&self->toucher[0].done, A_WHILE));
	for (int i = 0; i < NR_TOUCHERS; i++)
		forget_locks(&self->toucher[i]);
	end_faults();
	for (int i = 0; i < NR_TOUCHERS; i++) {
		EXPECT_EQ(count_locks(&self->toucher[i]), 0);
		stop_toucher(&self->toucher[i]);
		EXPECT_GT(self->toucher[i].nr_locks, 0);
	}
}

/*
 * A thread that is woken, but finds that nothing has changed, asks again. Under
 * whichever lock it does that, others are not kept from mapping meanwhile.
 */
TEST_F_TIMEOUT(userfaultfd, woken_for_nothing, TEST_SECONDS)
{
	begin_faults();
	for (int i = 0; i < 5; i++) {
		struct uffdio_range range = {
			(unsigned long)self->map, NR_TOUCHERS * self->size
		};
		double begin = now_ms();
		void *p;

		ASSERT_EQ(ioctl(self->uffd, UFFDIO_WAKE, &range), 0);
		ASSERT_TRUE(expect_asked(self->uffd, NR_TOUCHERS));
		p = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(p, MAP_FAILED);
		ASSERT_EQ(munmap(p, page), 0);
		EXPECT_LT(now_ms() - begin, PATIENCE);
		for (int t = 0; t < NR_TOUCHERS; t++)
			EXPECT_FALSE(self->toucher[t].done);
	}
	end_faults();
	for (int i = 0; i < NR_TOUCHERS; i++)
		stop_toucher(&self->toucher[i]);
}

TEST_HARNESS_MAIN
