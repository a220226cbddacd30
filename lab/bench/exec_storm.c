// SPDX-License-Identifier: GPL-2.0
/*
 * exec_storm: how many programs can this machine start per second?
 *
 * All processes map the same few files: ld.so, libc, a shell. Every execve(),
 * fork(), mmap() or mprotect() of a library and every exit() links VMAs into
 * the reverse mapping of those files, or unlinks them, under a lock per file.
 * On a machine with many CPUs that start programs, these locks can bound the
 * rate, and not the work. This program makes such a load in several ways,
 * checks that it does what it should, and measures it.
 *
 * Workers (-w), each pinned to one of the allowed CPUs in turn (or not pinned,
 * --no-pin), do rounds for a time (-t) or a number of rounds each (-k). The
 * mode (-m) says what a round is:
 *
 *   exec      one execve(), by a process that executes this very program
 *             again and again. It maps ld.so and libc: few libraries.
 *   fork      fork(), execve() of a program in the child, its exit, and
 *             waitpid()
 *   vfork     the same with vfork()
 *   spawn     the same with posix_spawn()
 *   script    fork(), execve() of /bin/sh, which runs five small programs
 *             one after the other, as configure scripts do, and waitpid()
 *   launcher  fork() and execve(), by a single process that goes on while its
 *             children run wherever the scheduler puts them: a shell, a job
 *             server, a daemon. -w says how many of them may be alive
 *   launcher_spawn  the same with posix_spawn()
 *   dlopen    dlopen() of each object of a set, then dlclose() of each, in
 *             a process that lives on
 *   external  whatever another benchmark counts: a program that gets the
 *             seconds to run as its argument and prints COUNT|rounds|1|lps
 *             to stderr, as UnixBench's do
 *
 * With --private, each worker has a root directory of its own, with copies of
 * all the files that it executes and maps (but not of what a program reads
 * besides). Then no two workers map the same inode, and all else is as before.
 *
 * How to read the figures: run it with 1, 2, 4, ... workers. As long as
 * nothing is contended, a worker's rate stays about the same and the total
 * grows with their number. Where the total levels off, or falls, compare with
 * --private, on the same kind of file system (--private-dir): the difference
 * is what sharing the files costs, most of all the lock of the reverse
 * mapping, but also reference counts of dentries and of page cache folios.
 * What --private does not gain is lost elsewhere. A worker's interval begins
 * and ends between two of its rounds; the total is the sum of their rates. The
 * other total, all rounds by the time from the first begin to the last end, is
 * lower if the intervals do not overlap well: then the run was too short.
 *
 * Counting instructions: nothing in "-w 1 -k K --warmup-rounds R --tsc"
 * depends on the time, and the parent sleeps meanwhile. Under an emulator
 * whose clock counts instructions (qemu -icount shift=0) the TSC difference is
 * the instructions of K rounds. Boot with norandmaps to have them repeat.
 *
 * How it works: the parent starts each worker as a process group of its own
 * that executes this program anew, with --private the worker's own copy, with
 * its orders in the arguments. So a worker shares no memory with others, and
 * it shares no open file either: see set_up_fds(). When all have reported that
 * they are ready, the parent closes a pipe on which they wait. Each reports its
 * result through a pipe of its own. In mode exec the worker itself is what
 * executes itself: the arguments, constant in size, hand its state on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define NSEC_PER_SEC		1000000000ULL
#define DEFAULT_SECONDS		10
#define DEFAULT_STALL		60
#define MIN_STALL_NS		(NSEC_PER_SEC / 10)
#define DEFAULT_PATH		"/usr/bin:/bin"
#define MAX_WORKERS		65536
#define MAX_OBJECTS		4
#define NR_TOOLS		5
/* The script exits with this, plus the number of the tool that failed. */
#define SCRIPT_STATUS		10

/* Hidden first arguments, see main(). */
#define ARG_WORKER		"--worker"
#define ARG_EXIT		"--exit"

/* What a worker starts with: these, stdin, stdout, stderr and nothing more. */
#define REPORT_FD		3
#define START_FD		4

enum mode {
	MODE_EXEC,
	MODE_FORK,
	MODE_VFORK,
	MODE_SPAWN,
	MODE_SCRIPT,
	MODE_LAUNCHER,
	MODE_LAUNCHER_SPAWN,
	MODE_DLOPEN,
	MODE_EXTERNAL,
	NR_MODES,
};

static const char * const mode_names[NR_MODES] = {
	[MODE_EXEC]	= "exec",
	[MODE_FORK]	= "fork",
	[MODE_VFORK]	= "vfork",
	[MODE_SPAWN]	= "spawn",
	[MODE_SCRIPT]	= "script",
	[MODE_LAUNCHER]	= "launcher",
	[MODE_LAUNCHER_SPAWN] = "launcher_spawn",
	[MODE_DLOPEN]	= "dlopen",
	[MODE_EXTERNAL]	= "external",
};

enum phase {
	PHASE_START,	/* set up, wait for the others */
	PHASE_WARMUP,	/* rounds that do not count */
	PHASE_COUNT,	/* rounds that do */
};

/*
 * All that a worker knows. It is an argument of the program, and in mode exec
 * it goes from each process image to the next. Only 64-bit words, so that it
 * can be written as text of constant length, whatever the values.
 */
struct state {
	uint64_t mode;
	uint64_t phase;
	uint64_t timed;		/* bool: warmup and limit are times, not rounds */
	uint64_t tsc;		/* bool: read the TSC too */
	uint64_t most_alive;	/* children that may run at once */
	uint64_t warmup;	/* rounds left; timed: ns, then the time it ends */
	uint64_t limit;		/* rounds to do; timed: ns, then the time to end */
	uint64_t rounds;	/* rounds done that count */
	uint64_t beat_ns;	/* report so often, for the watchdog; 0: never */
	uint64_t last_beat_ns;
	uint64_t begin_ns;
	uint64_t begin_tsc;
};

#define STATE_TEXT		(sizeof(struct state) * 2 + 1)

enum report_kind {
	REPORT_READY,
	REPORT_BEAT,
	REPORT_RESULT,
	REPORT_FAILURE,
};

/* What a worker writes to its pipe; less than PIPE_BUF, so never in parts. */
struct report {
	uint64_t kind;
	uint64_t rounds;
	uint64_t begin_ns;
	uint64_t end_ns;
	uint64_t tsc;
	char text[256];
};

/* A worker's own view. */
struct job {
	struct state state;
	char **argv;		/* the program of a round, or the objects */
	unsigned int alive;	/* children that were not waited for */
	int errno_pipe[2];	/* from a child that cannot execute argv[0] */
	char message[128];	/* mode external: what the program said last */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

#if defined(__x86_64__) || defined(__i386__)
static const bool have_tsc = true;
#else
static const bool have_tsc;
#endif

static bool write_all(int fd, const void *buf, size_t len)
{
	const char *pos = buf;

	while (len) {
		ssize_t n = write(fd, pos, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		pos += n;
		len -= n;
	}
	return true;
}

static pid_t wait_for(pid_t pid, int *status)
{
	pid_t ret;

	do {
		ret = waitpid(pid, status, 0);
	} while (ret < 0 && errno == EINTR);
	return ret;
}

static void describe_status(char *buf, size_t size, int status)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, size, "exited with status %d",
			 WEXITSTATUS(status));
}

/*
 * The state as text: one letter per four bits, 'a' to 'p'. No digits, so that
 * reading and writing it takes the same instructions for all values.
 */
static void state_to_text(const struct state *s, char *text)
{
	const unsigned char *byte = (const unsigned char *)s;
	size_t i;

	for (i = 0; i < sizeof(*s); i++) {
		text[2 * i] = 'a' + (byte[i] >> 4);
		text[2 * i + 1] = 'a' + (byte[i] & 15);
	}
	text[2 * i] = '\0';
}

static bool state_from_text(struct state *s, const char *text)
{
	unsigned char *byte = (unsigned char *)s;
	size_t i;

	if (strlen(text) != STATE_TEXT - 1)
		return false;
	for (i = 0; i < sizeof(*s); i++)
		byte[i] = (text[2 * i] - 'a') << 4 | (text[2 * i + 1] - 'a');
	return s->mode < NR_MODES;
}

/*
 * The worker.
 */

static void worker_report(const struct state *s, enum report_kind kind,
			  struct report *r)
{
	r->kind = kind;
	r->rounds = s->rounds;
	r->begin_ns = s->begin_ns;
	if (!write_all(REPORT_FD, r, sizeof(*r)))
		_exit(EXIT_FAILURE);
}

static __noreturn __printf(2, 3)
void worker_fail(const struct state *s, const char *fmt, ...)
{
	struct report r = {};
	va_list args;

	va_start(args, fmt);
	vsnprintf(r.text, sizeof(r.text), fmt, args);
	va_end(args);
	worker_report(s, REPORT_FAILURE, &r);
	_exit(EXIT_FAILURE);
}

static void stamp_begin(struct state *s)
{
	s->begin_ns = now_ns();
	if (s->tsc)
		s->begin_tsc = read_tsc();
}

static __noreturn void worker_finish(const struct state *s)
{
	struct report r = {};

	/* First the TSC, as it came last in stamp_begin(). */
	if (s->tsc)
		r.tsc = read_tsc() - s->begin_tsc;
	r.end_ns = now_ns();
	worker_report(s, REPORT_RESULT, &r);
	_exit(EXIT_SUCCESS);
}

/*
 * Called between rounds, which read the clock anyway in a timed run: so the
 * watchdog gets its signs of life for next to nothing, in mode exec too.
 */
static bool time_is_up(struct state *s, uint64_t end_ns)
{
	uint64_t now = now_ns();

	if (s->beat_ns && now - s->last_beat_ns >= s->beat_ns) {
		struct report r = {};

		s->last_beat_ns = now;
		worker_report(s, REPORT_BEAT, &r);
	}
	return now >= end_ns;
}

static bool warmed_up(struct state *s)
{
	if (s->timed)
		return time_is_up(s, s->warmup);
	if (!s->warmup)
		return true;
	s->warmup--;
	return false;
}

static bool finished(struct state *s)
{
	return s->timed ? time_is_up(s, s->limit) : s->rounds >= s->limit;
}

static __noreturn void exec_self(const struct state *s, char *self)
{
	char *no_env = NULL;
	char text[STATE_TEXT];

	state_to_text(s, text);
	execle(self, self, ARG_WORKER, text, (char *)NULL, &no_env);
	worker_fail(s, "cannot execute %s: %s", self, strerror(errno));
}

/* Mode exec: this process image has begun, what now? */
static __noreturn void exec_step(struct state *s, char *self)
{
	if (s->phase == PHASE_COUNT) {
		s->rounds++;
		if (finished(s))
			worker_finish(s);
	} else if (warmed_up(s)) {
		s->phase = PHASE_COUNT;
		stamp_begin(s);
	}
	exec_self(s, self);
}

/* In a child. With vfork() it has the memory of the worker: change nothing. */
static __noreturn void exec_program(const struct job *job)
{
	int err;

	execve(job->argv[0], job->argv, environ);
	err = errno;
	write_all(job->errno_pipe[1], &err, sizeof(err));
	_exit(127);
}

/* The line of the script that made the shell exit so. */
static void describe_script(char *buf, size_t size, const char *script,
			    int status)
{
	int line = WIFEXITED(status) ? WEXITSTATUS(status) - SCRIPT_STATUS : 0;

	if (line < 1 || line > NR_TOOLS)
		return;
	while (script && --line) {
		script = strchr(script, '\n');
		if (script)
			script++;
	}
	if (script)
		snprintf(buf, size, " in: %.*s", (int)strcspn(script, "\n"),
			 script);
}

static __noreturn void child_failed(const struct job *job, int status)
{
	char reason[64], detail[160];
	int err;

	if (read(job->errno_pipe[0], &err, sizeof(err)) == sizeof(err))
		worker_fail(&job->state, "cannot execute %s: %s", job->argv[0],
			    strerror(err));
	describe_status(reason, sizeof(reason), status);
	snprintf(detail, sizeof(detail), "%s", job->message);
	if (job->state.mode == MODE_SCRIPT)
		describe_script(detail, sizeof(detail), job->argv[2], status);
	worker_fail(&job->state, "%s %s%s", job->argv[0], reason, detail);
}

static void check_child(const struct job *job, pid_t pid)
{
	int status;

	if (wait_for(pid, &status) < 0)
		worker_fail(&job->state, "cannot wait for %s: %s", job->argv[0],
			    strerror(errno));
	if (status)
		child_failed(job, status);
}

static pid_t start_fork(const struct job *job)
{
	pid_t pid = fork();

	if (!pid)
		exec_program(job);
	if (pid < 0)
		worker_fail(&job->state, "cannot fork: %s", strerror(errno));
	return pid;
}

static pid_t start_vfork(const struct job *job)
{
	pid_t pid = vfork();

	if (!pid)
		exec_program(job);
	if (pid < 0)
		worker_fail(&job->state, "cannot vfork: %s", strerror(errno));
	return pid;
}

static pid_t start_spawn(const struct job *job)
{
	pid_t pid;
	int err;

	err = posix_spawn(&pid, job->argv[0], NULL, NULL, job->argv, environ);
	if (err)
		worker_fail(&job->state, "cannot spawn %s: %s", job->argv[0],
			    strerror(err));
	return pid;
}

static pid_t (* const start_of[NR_MODES])(const struct job *job) = {
	[MODE_FORK]		= start_fork,
	[MODE_VFORK]		= start_vfork,
	[MODE_SPAWN]		= start_spawn,
	[MODE_SCRIPT]		= start_fork,
	[MODE_LAUNCHER]		= start_fork,
	[MODE_LAUNCHER_SPAWN]	= start_spawn,
};

/* All but a launcher wait for the child that they have just started. */
static void child_round(struct job *job)
{
	pid_t pid = start_of[job->state.mode](job);

	if (++job->alive < job->state.most_alive)
		return;
	check_child(job, job->alive == 1 ? pid : -1);
	job->alive--;
}

/*
 * dlopen(), or NULL in a static build: that has no loader to measure, and to
 * name the function outright would only earn a warning of the linker there.
 */
static void *(*dlopen_fn)(const char *name, int flags);

static bool find_dlopen(void)
{
	dlopen_fn = dlsym(RTLD_DEFAULT, "dlopen");
	return dlopen_fn;
}

static void dlopen_round(struct job *job)
{
	void *handles[MAX_OBJECTS];
	int nr;

	for (nr = 0; job->argv[nr]; nr++) {
		handles[nr] = dlopen_fn(job->argv[nr], RTLD_NOW);
		if (!handles[nr])
			worker_fail(&job->state, "dlopen: %s", dlerror());
	}
	while (nr--) {
		if (dlclose(handles[nr]))
			worker_fail(&job->state, "dlclose: %s", dlerror());
	}
}

static __noreturn void run_rounds(struct job *job)
{
	struct state *s = &job->state;
	void (*do_round)(struct job *job) =
		s->mode == MODE_DLOPEN ? dlopen_round : child_round;

	while (!warmed_up(s))
		do_round(job);
	stamp_begin(s);
	do {
		do_round(job);
		s->rounds++;
	} while (!finished(s));
	for (; job->alive; job->alive--)
		check_child(job, -1);
	worker_finish(s);
}

static __noreturn void exec_external(const struct job *job, uint64_t ns,
				     int err_fd)
{
	unsigned long long seconds = ns / NSEC_PER_SEC;
	char arg[24];
	int err;

	snprintf(arg, sizeof(arg), "%llu", seconds);
	dup2(err_fd, STDERR_FILENO);
	execle(job->argv[0], job->argv[0], arg, (char *)NULL, environ);
	err = errno;
	write_all(job->errno_pipe[1], &err, sizeof(err));
	_exit(127);
}

/* Runs the external program for so long; returns how many rounds it did. */
static uint64_t run_external(struct job *job, uint64_t ns)
{
	unsigned long long count = 0;
	unsigned int base = 0;
	char *line = NULL;
	size_t size = 0;
	FILE *messages;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		worker_fail(&job->state, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		worker_fail(&job->state, "cannot fork: %s", strerror(errno));
	if (!pid)
		exec_external(job, ns, fds[1]);
	close(fds[1]);
	messages = fdopen(fds[0], "r");
	if (!messages)
		worker_fail(&job->state, "fdopen: %s", strerror(errno));
	while (getline(&line, &size, messages) > 0) {
		if (sscanf(line, "COUNT|%llu|%u|", &count, &base) < 1)
			snprintf(job->message, sizeof(job->message), ": %.*s",
				 (int)strcspn(line, "\n"), line);
	}
	free(line);
	fclose(messages);
	check_child(job, pid);
	if (!base)
		worker_fail(&job->state, "%s printed no line COUNT|n|1|lps%s",
			    job->argv[0], job->message);
	return count;
}

static __noreturn void run_external_rounds(struct job *job, uint64_t warmup,
					   uint64_t limit)
{
	struct state *s = &job->state;

	if (warmup)
		run_external(job, warmup);
	stamp_begin(s);
	s->rounds = run_external(job, limit);
	worker_finish(s);
}

/* Returns when the parent has closed its end of the pipe, for all at once. */
static void wait_for_start(const struct state *s)
{
	ssize_t ret;
	char c;

	do {
		ret = read(START_FD, &c, sizeof(c));
	} while (ret < 0 && errno == EINTR);
	if (ret)
		worker_fail(s, "cannot wait for the start: %s",
			    strerror(errno));
	close(START_FD);
}

/* What main() is in a worker. */
static __noreturn void worker_main(char **argv)
{
	struct report ready = {};
	struct job job = {};
	struct state *s = &job.state;
	uint64_t warmup, limit;

	if (!state_from_text(s, argv[2]))
		_exit(EXIT_FAILURE);
	if (s->phase != PHASE_START)
		exec_step(s, argv[0]);

	warmup = s->warmup;
	limit = s->limit;
	job.argv = argv + 3;
	if (s->mode != MODE_EXEC)
		fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
	if (pipe2(job.errno_pipe, O_CLOEXEC | O_NONBLOCK))
		worker_fail(s, "pipe: %s", strerror(errno));
	if (s->mode == MODE_DLOPEN && !find_dlopen())
		worker_fail(s, "found no dlopen");
	worker_report(s, REPORT_READY, &ready);

	wait_for_start(s);
	if (s->timed) {
		s->last_beat_ns = now_ns();
		s->warmup += s->last_beat_ns;
		s->limit += s->warmup;
	}
	s->phase = PHASE_WARMUP;
	if (s->mode == MODE_EXEC)
		exec_self(s, argv[0]);
	if (s->mode == MODE_EXTERNAL)
		run_external_rounds(&job, warmup, limit);
	run_rounds(&job);
}

/*
 * The parent: options, and how it ends.
 */

static struct {
	enum mode mode;
	bool timed;
	unsigned int workers;
	unsigned int most_alive; /* children of a worker */
	uint64_t limit;		/* ns if timed, else rounds */
	uint64_t warmup;	/* as well */
	uint64_t stall_ns;	/* 0: no watchdog */
	int no_pin;		/* int, as getopt_long() wants these */
	int private;
	int tsc;
	int verbose;
	const char *program;
	const char *private_dir;
	const char *json;
	char **args;		/* for the program */
	int nr_args;
} opt = {
	.timed = true,
	.most_alive = 1,
	.limit = DEFAULT_SECONDS * NSEC_PER_SEC,
	.stall_ns = DEFAULT_STALL * NSEC_PER_SEC,
};

struct worker {
	pid_t pid;		/* 0: not started or gone */
	int cpu;		/* -1: any */
	int report_fd;		/* -1: closed */
	bool ready;
	bool reported;
	uint64_t seen_ns;	/* last sign of life */
	uint64_t rounds;
	uint64_t begin_ns;
	uint64_t end_ns;
	uint64_t tsc;
	char *failure;
};

/* A file, directory or symbolic link that each private root has. */
struct entry {
	char *path;
	mode_t mode;
	char *target;		/* of the link, else "" */
};

static struct {
	char *self;		/* path of this program */
	char **argv;		/* of each round */
	int nr_argv;
	char **envp;		/* of workers, and so of each round */
	int *cpus;
	int nr_cpus;
	struct worker *workers;
	struct pollfd *pollfds;
	unsigned int ready;
	unsigned int live;
	bool failed;
	bool had_children;
	int start_fd[2];
	int json_fd;
	struct rlimit old_nofile;
	sigset_t old_mask;
	sig_atomic_t stop_signal;
	char *private_root;
	struct entry *entries;
	int nr_entries;
} storm;

static void clean_up(void);

/* One line about why, nothing left behind, and out. */
static __noreturn __printf(2, 3) void die(int code, const char *fmt, ...)
{
	char text[PATH_MAX + 256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	clean_up();
	fprintf(stderr, "exec_storm: %s%s\n",
		code == EXIT_SKIP ? "skipped: " : "", text);
	exit(code);
}

static void *check_alloc(void *p)
{
	if (!p)
		die(EXIT_FAILURE, "out of memory");
	return p;
}

static __printf(1, 2) char *format(const char *fmt, ...)
{
	va_list args;
	char *text;
	int ret;

	va_start(args, fmt);
	ret = vasprintf(&text, fmt, args);
	va_end(args);
	return check_alloc(ret < 0 ? NULL : text);
}

static void print_help(void)
{
	printf("usage: exec_storm [options] [[--] ARGUMENT of the program ...]\n"
	       "\n"
	       "Start programs on many CPUs at once and measure how many per second.\n"
	       "\n"
	       "  -m, --mode MODE       what a round is (default: exec):\n"
	       "       exec             an execve of this program by itself\n"
	       "       fork             fork, execve of a program, its exit\n"
	       "       vfork, spawn     the same with vfork, with posix_spawn\n"
	       "       script           /bin/sh that runs five small programs\n"
	       "       launcher         fork and execve, by a single process that is\n"
	       "                        not pinned and has N children alive at most\n"
	       "       launcher_spawn   the same with posix_spawn\n"
	       "       dlopen           dlopen and dlclose of up to %d common\n"
	       "                        libraries\n"
	       "       external         what the program counts. It is run as\n"
	       "                        \"PROGRAM SECONDS\" with its directory in\n"
	       "                        UB_BINDIR, and prints COUNT|n|1|lps to stderr\n"
	       "  -t, --time SECONDS    measure for that long, fractions are fine\n"
	       "                        (default: %d)\n"
	       "  -k, --rounds K        measure K rounds of each worker instead\n"
	       "  -w, --workers N       number of workers, or of a launcher's children\n"
	       "                        (default: one for each allowed CPU;\n"
	       "                        taskset(1) allows fewer)\n"
	       "      --no-pin          do not pin the workers to CPUs\n"
	       "      --program PATH    the program of fork, vfork, spawn and launchers\n"
	       "                        (default: true) and of external (default: $EXECL)\n"
	       "      --private         give each worker its own copies of all files,\n"
	       "                        some megabytes. Needs chroot(2), as root or\n"
	       "                        in a user namespace\n"
	       "      --private-dir DIR put them there (default: $TMPDIR or /tmp)\n"
	       "      --warmup SECONDS  with -t: time before that (default: 0)\n"
	       "      --warmup-rounds R with -k: rounds before those (default: 0)\n"
	       "      --stall SECONDS   with -t: fail if a worker makes no progress\n"
	       "                        for that long (default: %d, 0: never)\n"
	       "      --tsc             read the TSC too (x86 only, a single worker)\n"
	       "      --json FILE       write the figures as JSON; \"-\": to stdout,\n"
	       "                        instead of the table\n"
	       "  -v, --verbose         do not silence the stderr of what is run\n"
	       "  -h, --help            print this\n"
	       "\n"
	       "Examples:\n"
	       "  exec_storm -m exec -t 30 --warmup 5 --json exec.json\n"
	       "  exec_storm -m vfork -w 8 --private --program expr 6 + 7\n",
	       MAX_OBJECTS, DEFAULT_SECONDS, DEFAULT_STALL);
}

static uint64_t parse_number(const char *name, const char *arg, uint64_t min,
			     uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 10);
	if (errno || *end || *arg < '0' || *arg > '9' || value < min ||
	    value > max)
		die(EXIT_FAILURE, "%s: \"%s\" is not a number from %llu to %llu",
		    name, arg, (unsigned long long)min, (unsigned long long)max);
	return value;
}

static uint64_t parse_seconds(const char *name, const char *arg)
{
	const double max = 10000000;
	double value;
	char *end;

	value = strtod(arg, &end);
	if (end == arg || *end || !(value >= 0 && value <= max))
		die(EXIT_FAILURE, "%s: \"%s\" is not a time in seconds", name, arg);
	return value * NSEC_PER_SEC;
}

static enum mode parse_mode(const char *arg)
{
	int i;

	for (i = 0; i < NR_MODES; i++) {
		if (!strcmp(arg, mode_names[i]))
			return i;
	}
	die(EXIT_FAILURE, "unknown mode \"%s\", see --help", arg);
}

enum {
	OPT_PROGRAM = 256,
	OPT_PRIVATE_DIR,
	OPT_WARMUP,
	OPT_WARMUP_ROUNDS,
	OPT_STALL,
	OPT_JSON,
};

static const struct option long_options[] = {
	{ "mode",		required_argument, NULL, 'm' },
	{ "time",		required_argument, NULL, 't' },
	{ "rounds",		required_argument, NULL, 'k' },
	{ "workers",		required_argument, NULL, 'w' },
	{ "no-pin",		no_argument, &opt.no_pin, 1 },
	{ "program",		required_argument, NULL, OPT_PROGRAM },
	{ "private",		no_argument, &opt.private, 1 },
	{ "private-dir",	required_argument, NULL, OPT_PRIVATE_DIR },
	{ "warmup",		required_argument, NULL, OPT_WARMUP },
	{ "warmup-rounds",	required_argument, NULL, OPT_WARMUP_ROUNDS },
	{ "stall",		required_argument, NULL, OPT_STALL },
	{ "tsc",		no_argument, &opt.tsc, 1 },
	{ "json",		required_argument, NULL, OPT_JSON },
	{ "verbose",		no_argument, &opt.verbose, 1 },
	{ "help",		no_argument, NULL, 'h' },
	{ }
};

/* Which options were given, for the checks of what goes together. */
static struct {
	bool time;
	bool rounds;
	bool warmup;
	bool warmup_rounds;
	bool stall;
} given;

static void parse_option(int c)
{
	switch (c) {
	case 0:			/* long_options[] says what is set */
		break;
	case 'm':
		opt.mode = parse_mode(optarg);
		break;
	case 't':
		given.time = true;
		opt.limit = parse_seconds("-t", optarg);
		break;
	case 'k':
		given.rounds = true;
		opt.timed = false;
		opt.limit = parse_number("-k", optarg, 1, UINT64_MAX);
		break;
	case 'w':
		opt.workers = parse_number("-w", optarg, 1, MAX_WORKERS);
		break;
	case 'v':
		opt.verbose = 1;
		break;
	case OPT_PROGRAM:
		opt.program = optarg;
		break;
	case OPT_PRIVATE_DIR:
		opt.private_dir = optarg;
		break;
	case OPT_WARMUP:
		given.warmup = true;
		opt.warmup = parse_seconds("--warmup", optarg);
		break;
	case OPT_WARMUP_ROUNDS:
		given.warmup_rounds = true;
		opt.warmup = parse_number("--warmup-rounds", optarg, 0,
					  UINT64_MAX);
		break;
	case OPT_STALL:
		given.stall = true;
		opt.stall_ns = parse_seconds("--stall", optarg);
		break;
	case OPT_JSON:
		opt.json = optarg;
		break;
	case 'h':
		print_help();
		exit(EXIT_SUCCESS);
	default:
		/* getopt_long() has said what is wrong */
		exit(EXIT_FAILURE);
	}
}

static bool takes_program(void)
{
	switch (opt.mode) {
	case MODE_FORK:
	case MODE_VFORK:
	case MODE_SPAWN:
	case MODE_LAUNCHER:
	case MODE_LAUNCHER_SPAWN:
	case MODE_EXTERNAL:
		return true;
	default:
		return false;
	}
}

static bool is_launcher(void)
{
	return opt.mode == MODE_LAUNCHER || opt.mode == MODE_LAUNCHER_SPAWN;
}

static void check_options(void)
{
	const char *name = mode_names[opt.mode];

	if (given.time && given.rounds)
		die(EXIT_FAILURE, "-t and -k exclude each other");
	if (given.warmup && given.rounds)
		die(EXIT_FAILURE, "--warmup needs -t; with -k use --warmup-rounds");
	if (given.warmup_rounds && !given.rounds)
		die(EXIT_FAILURE, "--warmup-rounds needs -k; else use --warmup");
	if (given.stall && given.rounds)
		die(EXIT_FAILURE, "--stall needs -t");
	if (given.stall && opt.stall_ns && opt.stall_ns < MIN_STALL_NS)
		die(EXIT_FAILURE, "--stall must be 0 or at least 0.1");
	if (!opt.timed)
		opt.stall_ns = 0;
	if (!opt.limit)
		die(EXIT_FAILURE, "-t must be more than 0");
	if (opt.program && !takes_program())
		die(EXIT_FAILURE, "mode %s does not take a --program", name);
	if (opt.nr_args && (!opt.program || opt.mode == MODE_EXTERNAL))
		die(EXIT_FAILURE, "\"%s\": nothing takes this argument",
		    opt.args[0]);
	if (opt.mode == MODE_EXTERNAL && !opt.timed)
		die(EXIT_FAILURE, "mode external needs -t");
	if (opt.mode == MODE_EXTERNAL &&
	    (opt.limit % NSEC_PER_SEC || opt.warmup % NSEC_PER_SEC))
		die(EXIT_FAILURE, "mode external takes whole seconds");
	if (opt.private_dir && !opt.private)
		die(EXIT_FAILURE, "--private-dir needs --private");
	if (opt.tsc && !have_tsc)
		die(EXIT_FAILURE, "--tsc: no TSC on this architecture");
	if (opt.tsc && opt.workers != 1)
		die(EXIT_FAILURE, "--tsc needs a single worker, -w 1");
	if (!is_launcher())
		return;
	if (opt.private)
		die(EXIT_FAILURE, "mode %s does not take --private", name);
	opt.most_alive = opt.workers;
	opt.workers = 1;
	opt.no_pin = 1;
}

static void parse_options(int argc, char **argv)
{
	int c;

	while (1) {
		c = getopt_long(argc, argv, "+m:t:k:w:vh", long_options, NULL);
		if (c < 0)
			break;
		parse_option(c);
	}
	opt.args = argv + optind;
	opt.nr_args = argc - optind;
}

/*
 * Finding what to run.
 */

static bool is_program(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static char *find_in_path(const char *name)
{
	const char *dir = getenv("PATH");
	char *path;

	if (!dir || !*dir)
		dir = DEFAULT_PATH;
	while (1) {
		int len = strcspn(dir, ":");

		path = format("%.*s/%s", len, dir, name);
		if (*path == '/' && is_program(path))
			return path;
		free(path);
		if (!dir[len])
			return NULL;
		dir += len + 1;
	}
}

/*
 * Without "." and "..", and with a real directory; but the last part stays as
 * it is: it may be a symbolic link to a program that looks at its name.
 */
static char *absolute_path(const char *path)
{
	const char *name = strrchr(path, '/');
	char *dir, *real, *ret;

	name = name ? name + 1 : path;
	dir = format("%.*s", (int)(name - path), path);
	real = realpath(*dir ? dir : ".", NULL);
	if (!real)
		die(EXIT_FAILURE, "%s: %s", path, strerror(errno));
	ret = format("%s/%s", strcmp(real, "/") ? real : "", name);
	free(real);
	free(dir);
	return ret;
}

static char *find_program(const char *name)
{
	char *path;

	path = strchr(name, '/') ? absolute_path(name) : find_in_path(name);
	if (!path)
		die(EXIT_FAILURE, "%s: not in PATH", name);
	if (!is_program(path))
		die(EXIT_FAILURE, "%s: %s", path,
		    access(path, X_OK) ? strerror(errno) : "not a program");
	return path;
}

static void find_self(const char *argv0)
{
	storm.self = realpath("/proc/self/exe", NULL);
	if (!storm.self)	/* no /proc */
		storm.self = find_program(argv0);
}

static void add_arg(char *arg)
{
	storm.argv[storm.nr_argv++] = arg;
}

static void choose_program(void)
{
	char *path;
	int i;

	if (opt.program) {
		add_arg(find_program(opt.program));
		for (i = 0; i < opt.nr_args; i++)
			add_arg(opt.args[i]);
		return;
	}
	path = find_in_path("true");
	add_arg(path ? : storm.self);
	if (!path)
		add_arg(ARG_EXIT);
}

static void choose_external(void)
{
	if (!opt.program)
		opt.program = getenv("EXECL");
	if (!opt.program || !*opt.program)
		die(EXIT_FAILURE, "mode external needs --program or EXECL=PATH");
	add_arg(find_program(opt.program));
}

/*
 * With stdin empty, these exit with 0 at once and need no file. The script
 * has their whole path, so that the shell cannot use builtins of these names.
 */
static const struct {
	const char *name;
	const char *args;
} tools[] = {
	{ "expr",	" 6 + 7" },
	{ "sed",	" -n 1p" },
	{ "cat",	"" },
	{ "uname",	" -s" },
	{ "test",	" 6 = 6" },
	{ "basename",	" /a/b" },
	{ "dirname",	" /a/b" },
	{ "tr",		" a b" },
	{ "sort",	"" },
	{ "wc",		" -l" },
	{ "head",	" -n 1" },
	{ "cut",	" -c 1" },
	{ "true",	"" },
};

static char *tool_paths[NR_TOOLS];

static void choose_script(void)
{
	char *script = format("%s", ""), *longer;
	unsigned int i, nr = 0;

	if (!is_program("/bin/sh"))
		die(EXIT_SKIP, "mode script needs /bin/sh");
	for (i = 0; i < ARRAY_SIZE(tools) && nr < NR_TOOLS; i++) {
		char *path = find_in_path(tools[i].name);

		if (!path || strchr(path, '\''))
			continue;
		tool_paths[nr++] = path;
		longer = format("%s'%s'%s || exit %u\n", script, path,
				tools[i].args, SCRIPT_STATUS + nr);
		free(script);
		script = longer;
	}
	if (nr < NR_TOOLS)
		die(EXIT_SKIP, "mode script needs %d programs like expr and sed, but PATH has %u",
		    NR_TOOLS, nr);
	add_arg("/bin/sh");
	add_arg("-c");
	add_arg(script);
}

/*
 * Can the object be opened, and does it go when it is closed? Some never do
 * (and with some C libraries none does): they would be mapped in the first
 * round only.
 */
static bool try_object(const char *name, char **path)
{
	struct link_map *map;
	void *handle;

	handle = dlopen_fn(name, RTLD_NOW | RTLD_NOLOAD);
	if (handle) {
		dlclose(handle);
		return false;
	}
	handle = dlopen_fn(name, RTLD_NOW);
	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map))
		return false;
	*path = format("%s", map->l_name);
	dlclose(handle);
	handle = dlopen_fn(name, RTLD_NOW | RTLD_NOLOAD);
	if (handle)
		dlclose(handle);
	return !handle;
}

static const char * const usual_objects[] = {
	"libz.so.1",
	"libresolv.so.2",
	"libcap.so.2",
	"libacl.so.1",
	"libselinux.so.1",
	"libtinfo.so.6",
	"libcrypt.so.1",
	"libanl.so.1",
	"libutil.so.1",
	"libthread_db.so.1",
	"libnss_dns.so.2",
};

static void choose_objects(void)
{
	unsigned int i;
	char *path;

	if (!find_dlopen())
		die(EXIT_SKIP, "mode dlopen needs the dynamic build");
	for (i = 0; i < ARRAY_SIZE(usual_objects) &&
	     storm.nr_argv < MAX_OBJECTS; i++) {
		if (try_object(usual_objects[i], &path))
			add_arg(path);
	}
	if (!storm.nr_argv)
		die(EXIT_SKIP, "mode dlopen: found nothing to load and unload");
}

static void choose_work(void)
{
	/* Enough for all modes, and for a NULL at the end. */
	storm.argv = check_alloc(calloc(opt.nr_args + MAX_OBJECTS + 4,
					sizeof(*storm.argv)));
	switch (opt.mode) {
	case MODE_EXEC:
		add_arg(storm.self);
		break;
	case MODE_SCRIPT:
		choose_script();
		break;
	case MODE_DLOPEN:
		choose_objects();
		break;
	case MODE_EXTERNAL:
		choose_external();
		break;
	default:
		choose_program();
	}
}

/* Small, and the same everywhere; but external programs get the user's. */
static void choose_environment(void)
{
	const char *libraries = getenv("LD_LIBRARY_PATH");
	char *dir;

	if (opt.mode == MODE_EXTERNAL) {
		dir = format("%s", storm.argv[0]);
		*strrchr(dir, '/') = '\0';
		if (setenv("UB_BINDIR", *dir ? dir : "/", 1))
			die(EXIT_FAILURE, "setenv: %s", strerror(errno));
		free(dir);
		storm.envp = environ;
		return;
	}
	storm.envp = check_alloc(calloc(4, sizeof(*storm.envp)));
	if (opt.mode == MODE_EXEC)
		return;
	storm.envp[0] = format("PATH=%s", getenv("PATH") ? : DEFAULT_PATH);
	storm.envp[1] = format("LC_ALL=C");
	if (libraries)
		storm.envp[2] = format("LD_LIBRARY_PATH=%s", libraries);
}

static void find_cpus(void)
{
	storm.cpus = allowed_cpus(&storm.nr_cpus);
	if (!storm.cpus)
		die(EXIT_FAILURE, "sched_getaffinity: %s", strerror(errno));
	if (!opt.workers)
		opt.workers = storm.nr_cpus;
}

/*
 * Private roots: what is in them.
 */

/* Returns whether it is new. */
static bool add_entry(const char *path, mode_t mode, const char *target)
{
	struct entry *e;
	int i;

	for (i = 0; i < storm.nr_entries; i++) {
		if (!strcmp(storm.entries[i].path, path))
			return false;
	}
	storm.entries = check_alloc(realloc(storm.entries,
					    (i + 1) * sizeof(*e)));
	e = &storm.entries[storm.nr_entries++];
	e->path = format("%s", path);
	e->mode = mode;
	e->target = format("%s", target);
	return true;
}

/*
 * Adds a file with all directories and symbolic links on the way to it, so
 * that lookups cost the same in the private root, and a file that is reached
 * by two ways is still one inode. Returns whether the file is new.
 */
static bool add_file(const char *path)
{
	const char *name = strrchr(path, '/');
	char *parent, *dir, *real;
	char target[PATH_MAX];
	struct stat st;
	ssize_t len = 0;
	bool added;

	if (*path != '/')
		die(EXIT_FAILURE, "--private needs absolute paths, not %s", path);
	parent = format("%.*s", (int)(name - path), path);
	name++;
	if (*parent)
		add_file(parent);
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
		free(parent);
		return false;
	}
	dir = realpath(*parent ? parent : "/", NULL);
	if (!dir)
		die(EXIT_FAILURE, "%s: %s", path, strerror(errno));
	if (!strcmp(dir, "/"))
		*dir = '\0';
	real = format("%s/%s", dir, name);
	if (lstat(real, &st))
		die(EXIT_FAILURE, "%s: %s", path, strerror(errno));
	if (S_ISLNK(st.st_mode)) {
		len = readlink(real, target, sizeof(target) - 1);
		if (len < 0)
			die(EXIT_FAILURE, "%s: %s", path, strerror(errno));
	}
	target[len] = '\0';
	added = add_entry(real, st.st_mode, target);
	if (added && len) {
		free(real);
		real = format("%s%s%s", *target == '/' ? "" : dir,
			      *target == '/' ? "" : "/", target);
		added = add_file(real);
	}
	free(parent);
	free(dir);
	free(real);
	return added;
}

static void add_file_if_any(const char *path)
{
	if (!access(path, R_OK))
		add_file(path);
}

/* Reads as much as was asked for, or it is an error. */
static void read_at(const char *path, int fd, void *buf, size_t len,
		    uint64_t pos)
{
	if (pread(fd, buf, len, pos) != (ssize_t)len)
		die(EXIT_FAILURE, "cannot read %s, or it is damaged", path);
}

/*
 * What interprets a script (what follows "#!") or loads a program (its
 * PT_INTERP). NULL if nothing does. The caller frees it.
 */
static char *interpreter_of(const char *path, bool *script)
{
	ElfW(Ehdr) ehdr = {};
	ElfW(Phdr) phdr;
	char text[PATH_MAX] = "", *word = text;
	int fd, i;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(EXIT_FAILURE, "cannot read %s: %s", path, strerror(errno));
	if (pread(fd, text, sizeof(text) - 1, 0) >= (ssize_t)sizeof(ehdr))
		memcpy(&ehdr, text, sizeof(ehdr));
	*script = !strncmp(text, "#!", 2);
	if (*script) {
		word += 2 + strspn(text + 2, " \t");
		word[strcspn(word, " \t\r\n")] = '\0';
	} else {
		*text = '\0';
		if (memcmp(ehdr.e_ident, ELFMAG, SELFMAG) ||
		    ehdr.e_phentsize != sizeof(phdr))
			die(EXIT_FAILURE, "--private cannot tell what %s needs",
			    path);
	}
	for (i = 0; i < ehdr.e_phnum && !*script; i++) {
		read_at(path, fd, &phdr, sizeof(phdr),
			ehdr.e_phoff + i * sizeof(phdr));
		if (phdr.p_type == PT_INTERP && phdr.p_filesz < sizeof(text))
			read_at(path, fd, text, phdr.p_filesz, phdr.p_offset);
	}
	close(fd);
	return *word ? format("%s", word) : NULL;
}

/* One line that the loader lists: "name => path (address)" or "path (...)". */
static void add_library(const char *user, char *line)
{
	char *path, *end;

	line += strspn(line, " \t");
	line[strcspn(line, "\n")] = '\0';
	if (strstr(line, "=> not found"))
		die(EXIT_FAILURE, "%s: missing library: %s", user, line);
	path = strchr(line, '/');
	if (!path)		/* the vDSO */
		return;
	end = strstr(path, " (0x");
	if (end)
		*end = '\0';
	end = strstr(path, "=> /");
	add_file(end ? end + 3 : path);
}

/* Asks the loader itself what it would load. */
static void add_libraries(const char *loader, const char *path)
{
	char *line = NULL;
	int fds[2], status;
	size_t size = 0;
	FILE *list;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		die(EXIT_FAILURE, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die(EXIT_FAILURE, "cannot fork: %s", strerror(errno));
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		execle(loader, loader, "--list", path, (char *)NULL,
		       storm.envp);
		_exit(127);
	}
	close(fds[1]);
	list = check_alloc(fdopen(fds[0], "r"));
	while (getline(&line, &size, list) > 0)
		add_library(path, line);
	free(line);
	fclose(list);
	if (wait_for(pid, &status) != pid || status)
		die(EXIT_FAILURE, "\"%s --list %s\" failed", loader, path);
}

/*
 * Adds a program, or an object that some loader loads, and all that is needed
 * to load it.
 */
static void add_program(const char *path, const char *loader)
{
	bool script;
	char *interp;

	if (!add_file(path))
		return;
	interp = interpreter_of(path, &script);
	if (script && interp) {
		add_program(interp, NULL);
	} else if (interp) {
		add_file(interp);
		loader = interp;
	}
	if (loader)
		add_libraries(loader, path);
	free(interp);
}

static void add_objects(void)
{
	bool script;
	/* Objects name no loader: it is the one of this program. */
	char *loader = interpreter_of(storm.self, &script);
	int i;

	for (i = 0; i < storm.nr_argv; i++)
		add_program(storm.argv[i], loader);
	free(loader);
}

static void list_private_files(void)
{
	int i;

	add_program(storm.self, NULL);
	if (opt.mode == MODE_DLOPEN)
		add_objects();
	else
		add_program(storm.argv[0], NULL);
	if (opt.mode == MODE_SCRIPT) {
		for (i = 0; i < NR_TOOLS; i++)
			add_program(tool_paths[i], NULL);
	}
	add_file_if_any("/etc/ld.so.cache");
	add_file_if_any("/etc/ld.so.preload");
}

/*
 * Private roots: making and removing them.
 */

/* Changes the root directory; without the privilege, in a user namespace. */
static bool enter_root(const char *root)
{
	int err;

	if (chroot(root)) {
		err = errno;
		if (unshare(CLONE_NEWUSER) || chroot(root)) {
			errno = err;
			return false;
		}
	}
	return !chdir("/");
}

static void check_chroot(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		die(EXIT_FAILURE, "cannot fork: %s", strerror(errno));
	if (!pid)
		_exit(enter_root("/") ? 0 : errno);
	if (wait_for(pid, &status) != pid || status)
		die(EXIT_SKIP, "--private needs chroot(2), as root or in a user namespace: %s",
		    strerror(WEXITSTATUS(status)));
}

/* Signals are blocked, except here and in the wait for news. */
static void take_signals(void)
{
	struct timespec no_time = {};

	ppoll(NULL, 0, &no_time, &storm.old_mask);
	if (storm.stop_signal)
		die(EXIT_FAILURE, "stopped by signal %d (%s)", storm.stop_signal,
		    strsignal(storm.stop_signal));
}

static void copy_file(const char *from, const char *to, mode_t mode)
{
	static char buf[1 << 16];
	int in, out;
	ssize_t n;

	in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		die(EXIT_FAILURE, "cannot read %s: %s", from, strerror(errno));
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0755);
	if (out < 0)
		die(EXIT_FAILURE, "cannot make %s: %s", to, strerror(errno));
	while ((n = read(in, buf, sizeof(buf))) != 0) {
		if (n < 0)
			die(EXIT_FAILURE, "cannot read %s: %s", from,
			    strerror(errno));
		if (!write_all(out, buf, n))
			die(EXIT_FAILURE, "cannot write %s: %s", to,
			    strerror(errno));
	}
	if (close(out))
		die(EXIT_FAILURE, "cannot write %s: %s", to, strerror(errno));
	close(in);
}

static void make_root(unsigned int worker)
{
	char *root = format("%s/%u", storm.private_root, worker);
	int i, ret;

	ret = mkdir(root, 0755);
	if (ret)
		die(EXIT_FAILURE, "cannot make %s: %s", root, strerror(errno));
	for (i = 0; i < storm.nr_entries; i++) {
		const struct entry *e = &storm.entries[i];
		char *to = format("%s%s", root, e->path);

		take_signals();
		if (S_ISDIR(e->mode))
			ret = mkdir(to, 0755);
		else if (S_ISLNK(e->mode))
			ret = symlink(e->target, to);
		else
			copy_file(e->path, to, e->mode);
		if (ret)
			die(EXIT_FAILURE, "cannot make %s: %s", to,
			    strerror(errno));
		free(to);
	}
	free(root);
}

static void make_roots(void)
{
	const char *dir = opt.private_dir;
	struct statvfs fs;
	unsigned int i;
	char *name;

	if (!dir)
		dir = getenv("TMPDIR");
	if (!dir || !*dir)
		dir = "/tmp";
	name = format("%s/exec_storm.XXXXXX", dir);
	if (!mkdtemp(name))
		die(errno == EROFS || errno == EACCES ? EXIT_SKIP : EXIT_FAILURE,
		    "cannot make a directory in %s: %s", dir, strerror(errno));
	storm.private_root = name;
	if (!statvfs(name, &fs) && (fs.f_flag & ST_NOEXEC))
		die(EXIT_SKIP, "%s is mounted noexec, give a --private-dir",
		    dir);
	for (i = 0; i < opt.workers; i++)
		make_root(i);
}

static int remove_one(const char *path,
		      const struct stat *st __always_unused,
		      int flag __always_unused,
		      struct FTW *ftw __always_unused)
{
	return remove(path);
}

static void remove_roots(void)
{
	if (!storm.private_root)
		return;
	if (nftw(storm.private_root, remove_one, 16, FTW_DEPTH | FTW_PHYS))
		fprintf(stderr, "exec_storm: cannot remove %s: %s\n",
			storm.private_root, strerror(errno));
	free(storm.private_root);
	storm.private_root = NULL;
}

/*
 * Starting the workers, watching them, and ending them.
 */

static __printf(2, 3) void fail_worker(unsigned int i, const char *fmt, ...)
{
	struct worker *w = &storm.workers[i];
	char text[512];
	va_list args;

	storm.failed = true;
	if (w->failure)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	w->failure = format("%s", text);
}

/*
 * What all workers have open as one struct file, each fork() and exit() in one
 * of them has to count: another line shared by all CPUs. So a worker has a
 * pipe and a /dev/null of its own, and nothing that the parent got from others.
 */
static void set_up_fds(const struct state *s, int report_fd)
{
	int null_fd;

	/* First away from where they may be in the way of each other. */
	report_fd = fcntl(report_fd, F_DUPFD, START_FD + 1);
	storm.start_fd[0] = fcntl(storm.start_fd[0], F_DUPFD, START_FD + 1);
	if (dup2(report_fd, REPORT_FD) < 0)
		_exit(EXIT_FAILURE);
	if (dup2(storm.start_fd[0], START_FD) < 0)
		worker_fail(s, "dup2: %s", strerror(errno));
	null_fd = open("/dev/null", O_RDWR);
	if (null_fd < 0)
		worker_fail(s, "/dev/null: %s", strerror(errno));
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	if (!opt.verbose)
		dup2(null_fd, STDERR_FILENO);
#ifdef __NR_close_range
	syscall(__NR_close_range, START_FD + 1, ~0U, 0);
#endif
	setrlimit(RLIMIT_NOFILE, &storm.old_nofile);
}

/* In the child: become a worker. */
static __noreturn void become_worker(unsigned int i, int report_fd,
				     pid_t parent)
{
	struct state s = {
		.mode = opt.mode,
		.phase = PHASE_START,
		.timed = opt.timed,
		.tsc = opt.tsc,
		.most_alive = opt.most_alive,
		.beat_ns = opt.stall_ns / 4,
		.warmup = opt.warmup,
		.limit = opt.limit,
	};
	char root[PATH_MAX], text[STATE_TEXT];
	char **argv;

	setpgid(0, 0);
	set_up_fds(&s, report_fd);
	if (storm.workers[i].cpu >= 0 && !run_on(storm.workers[i].cpu))
		worker_fail(&s, "cannot run on CPU %d: %s", storm.workers[i].cpu,
			    strerror(errno));
	if (opt.private) {
		snprintf(root, sizeof(root), "%s/%u", storm.private_root, i);
		if (!enter_root(root))
			worker_fail(&s, "cannot change the root to %s: %s",
				    root, strerror(errno));
	}
	/* Not before: a change of credentials would undo it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);

	argv = calloc(storm.nr_argv + 4, sizeof(*argv));
	if (!argv)
		worker_fail(&s, "out of memory");
	state_to_text(&s, text);
	argv[0] = storm.self;
	argv[1] = ARG_WORKER;
	argv[2] = text;
	if (opt.mode != MODE_EXEC)
		memcpy(argv + 3, storm.argv, storm.nr_argv * sizeof(*argv));
	sigprocmask(SIG_SETMASK, &storm.old_mask, NULL);
	execve(storm.self, argv, storm.envp);
	worker_fail(&s, "cannot execute %s: %s", storm.self, strerror(errno));
}

static void start_worker(unsigned int i)
{
	struct worker *w = &storm.workers[i];
	pid_t parent = getpid(), pid;
	int fds[2];

	w->cpu = opt.no_pin ? -1 : storm.cpus[i % storm.nr_cpus];
	w->seen_ns = now_ns();
	if (pipe2(fds, O_CLOEXEC)) {
		fail_worker(i, "cannot have a pipe: %s", strerror(errno));
		return;
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	w->report_fd = fds[0];
	pid = fork();
	if (!pid)
		become_worker(i, fds[1], parent);
	close(fds[1]);
	if (pid < 0) {
		fail_worker(i, "cannot be started: %s", strerror(errno));
		return;
	}
	/* Here too: whoever comes second finds it done. */
	setpgid(pid, pid);
	w->pid = pid;
	storm.live++;
}

static void take_report(unsigned int i, struct report *r)
{
	struct worker *w = &storm.workers[i];

	w->seen_ns = now_ns();
	switch (r->kind) {
	case REPORT_READY:
		w->ready = true;
		storm.ready++;
		break;
	case REPORT_RESULT:
		w->reported = true;
		w->rounds = r->rounds;
		w->begin_ns = r->begin_ns;
		w->end_ns = r->end_ns;
		w->tsc = r->tsc;
		if (!r->rounds)
			fail_worker(i, "did no round at all");
		break;
	case REPORT_FAILURE:
		r->text[sizeof(r->text) - 1] = '\0';
		fail_worker(i, "%s", r->text);
		break;
	}
}

static void read_reports(unsigned int i)
{
	struct worker *w = &storm.workers[i];
	struct report r;
	ssize_t n;

	while (w->report_fd >= 0) {
		n = read(w->report_fd, &r, sizeof(r));
		if (n < 0)
			return;
		if (n == sizeof(r)) {
			take_report(i, &r);
			continue;
		}
		/* The worker is gone. */
		close(w->report_fd);
		w->report_fd = -1;
	}
}

static int find_worker(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < opt.workers; i++) {
		if (storm.workers[i].pid == pid)
			return i;
	}
	return -1;
}

static void worker_gone(int i, int status, bool stopping)
{
	struct worker *w = &storm.workers[i];
	pid_t pid = w->pid;
	char reason[64];

	w->pid = 0;
	storm.live--;
	if (stopping)
		return;
	read_reports(i);
	if (status) {
		describe_status(reason, sizeof(reason), status);
		fail_worker(i, "process %d %s%s", pid, reason,
			    w->ready ? "" : " before it was ready");
	} else if (!w->reported) {
		fail_worker(i, "process %d ended without a result", pid);
	}
}

/* Reaps the workers that have ended; when stopping, waits for all of them. */
static void reap(bool stopping)
{
	int flags = WEXITED | WNOWAIT | (stopping ? 0 : WNOHANG);

	while (storm.live) {
		siginfo_t info = {};
		int i, status;

		if (waitid(P_ALL, 0, &info, flags)) {
			if (errno == EINTR)
				continue;
			return;
		}
		if (!info.si_pid)
			return;
		i = find_worker(info.si_pid);
		/*
		 * Kill what the worker has left behind, if anything. Not
		 * later: once it is reaped, its number can be used again.
		 */
		if (i >= 0)
			kill(-info.si_pid, SIGKILL);
		if (wait_for(info.si_pid, &status) == info.si_pid && i >= 0)
			worker_gone(i, status, stopping);
	}
}

static void kill_children(void)
{
	char *path = format("/proc/self/task/%d/children", getpid());
	FILE *file = fopen(path, "re");
	int pid;

	free(path);
	if (!file)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(file);
}

/*
 * What has left its process group is not dead yet. But when its parent died it
 * became a child of this process, which is a subreaper.
 */
static void reap_strays(void)
{
	int i;

	/* With children from before main() there is no telling who is who. */
	for (i = 0; i < 100 && !storm.had_children; i++) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return;
		if (!pid) {
			kill_children();
			usleep(10000);
		}
	}
}

static void stop_workers(void)
{
	unsigned int i;

	for (i = 0; i < opt.workers && storm.workers; i++) {
		pid_t pid = storm.workers[i].pid;

		if (pid) {
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
		}
	}
	reap(true);
	if (storm.workers)
		reap_strays();
}

static void clean_up(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	stop_workers();
	remove_roots();
}

static void watchdog(void)
{
	uint64_t now = now_ns();
	unsigned int i;

	for (i = 0; i < opt.workers; i++) {
		const struct worker *w = &storm.workers[i];

		if (w->pid && now > w->seen_ns + opt.stall_ns)
			fail_worker(i, "no progress for %.3g s",
				    (double)opt.stall_ns / NSEC_PER_SEC);
	}
}

/* Without a watchdog nothing wakes this process but news. */
static void wait_for_news(void)
{
	uint64_t ns = opt.stall_ns / 4;
	struct timespec timeout = {
		.tv_sec = ns / NSEC_PER_SEC,
		.tv_nsec = ns % NSEC_PER_SEC,
	};
	unsigned int i;
	int ready;

	for (i = 0; i < opt.workers; i++) {
		storm.pollfds[i].fd = storm.workers[i].report_fd;
		storm.pollfds[i].events = POLLIN;
	}
	ready = ppoll(storm.pollfds, opt.workers, ns ? &timeout : NULL,
		      &storm.old_mask);
	if (ready < 0 && errno != EINTR)
		die(EXIT_FAILURE, "ppoll: %s", strerror(errno));
	take_signals();
	for (i = 0; i < opt.workers && ready > 0; i++) {
		if (storm.pollfds[i].revents)
			read_reports(i);
	}
	reap(false);
	if (opt.stall_ns)
		watchdog();
}

static void release_workers(void)
{
	uint64_t seen_ns = now_ns();
	unsigned int i;

	/* An external program gives no sign of life before its end. */
	if (opt.mode == MODE_EXTERNAL)
		seen_ns += opt.warmup + opt.limit;
	for (i = 0; i < opt.workers; i++)
		storm.workers[i].seen_ns = seen_ns;
	close(storm.start_fd[1]);
}

/* There is a pipe for each worker, and that may be more than usual. */
static void raise_nofile(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	storm.old_nofile = limit;
	if (limit.rlim_cur < opt.workers + 64UL)
		limit.rlim_cur = opt.workers + 64UL;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void run_workers(void)
{
	unsigned int i;

	storm.workers = check_alloc(calloc(opt.workers,
					   sizeof(*storm.workers)));
	storm.pollfds = check_alloc(calloc(opt.workers,
					   sizeof(*storm.pollfds)));
	if (pipe2(storm.start_fd, O_CLOEXEC))
		die(EXIT_FAILURE, "pipe: %s", strerror(errno));
	raise_nofile();
	for (i = 0; i < opt.workers && !storm.failed; i++) {
		start_worker(i);
		take_signals();
	}
	close(storm.start_fd[0]);
	while (storm.ready < opt.workers && !storm.failed)
		wait_for_news();
	if (!storm.failed)
		release_workers();
	while (storm.live && !storm.failed)
		wait_for_news();
	clean_up();
}

static void note_signal(int signal)
{
	/* That of a child has done its work when it has ended a ppoll(). */
	if (signal != SIGCHLD)
		storm.stop_signal = signal;
}

/* From here on signals wait until this process can clean up after itself. */
static void block_signals(void)
{
	static const int signals[] = {
		SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ,
	};
	struct sigaction action = { .sa_handler = note_signal }, old;
	siginfo_t info;
	sigset_t mask;
	unsigned int i;

	sigemptyset(&mask);
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, &storm.old_mask);
	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		sigdelset(&storm.old_mask, signals[i]);
		sigaction(signals[i], NULL, &old);
		if (signals[i] == SIGCHLD || old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}

	storm.had_children = !waitid(P_ALL, 0, &info,
				     WEXITED | WNOHANG | WNOWAIT);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/*
 * The figures.
 */

static double seconds_of(const struct worker *w)
{
	return (double)(w->end_ns - w->begin_ns) / NSEC_PER_SEC;
}

static double rate_of(const struct worker *w)
{
	return w->end_ns > w->begin_ns ? w->rounds / seconds_of(w) : 0;
}

struct total {
	uint64_t rounds;
	double seconds;		/* from the first begin to the last end */
	double rate;		/* sum of the workers' rates */
	double wall_rate;	/* all rounds by seconds */
	double min;
	double median;
	double max;
};

static int compare_rates(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct total sum_up(void)
{
	double *rates = check_alloc(calloc(opt.workers, sizeof(*rates)));
	uint64_t begin_ns = UINT64_MAX, end_ns = 0;
	struct total sum = {};
	unsigned int i;

	for (i = 0; i < opt.workers; i++) {
		const struct worker *w = &storm.workers[i];

		rates[i] = rate_of(w);
		if (!w->reported)
			continue;
		sum.rounds += w->rounds;
		sum.rate += rates[i];
		if (w->begin_ns < begin_ns)
			begin_ns = w->begin_ns;
		if (w->end_ns > end_ns)
			end_ns = w->end_ns;
	}
	if (end_ns > begin_ns) {
		sum.seconds = (double)(end_ns - begin_ns) / NSEC_PER_SEC;
		sum.wall_rate = sum.rounds / sum.seconds;
	}
	qsort(rates, opt.workers, sizeof(*rates), compare_rates);
	sum.min = rates[0];
	sum.median = rates[opt.workers / 2];
	sum.max = rates[opt.workers - 1];
	free(rates);
	return sum;
}

static void print_work(void)
{
	char **arg = storm.argv;
	int i;

	if (opt.mode == MODE_SCRIPT) {
		printf("script: /bin/sh running");
		for (i = 0; i < NR_TOOLS; i++)
			printf(" %s", tool_paths[i]);
	} else {
		printf("%s:", opt.mode == MODE_DLOPEN ? "objects" : "program");
		while (*arg)
			printf(" %s", *arg++);
	}
	printf("\n");
}

static void print_table(const struct total *sum)
{
	unsigned int i;

	printf("mode %s, %u worker%s, %s, %s files", mode_names[opt.mode],
	       opt.workers, opt.workers == 1 ? "" : "s",
	       opt.no_pin ? "not pinned" : "pinned",
	       opt.private ? "private" : "shared");
	if (is_launcher())
		printf(", %u children alive at most", opt.most_alive);
	putchar('\n');
	print_work();
	printf("worker    cpu       rounds    seconds     rounds/s\n");
	for (i = 0; i < opt.workers; i++) {
		const struct worker *w = &storm.workers[i];
		char cpu[16] = "any";

		if (w->cpu >= 0)
			snprintf(cpu, sizeof(cpu), "%d", w->cpu);
		printf("%6u %6s %12llu %10.3f %12.1f\n", i, cpu,
		       (unsigned long long)w->rounds, seconds_of(w), rate_of(w));
	}
	printf(" total        %12llu %10.3f %12.1f\n",
	       (unsigned long long)sum->rounds, sum->seconds, sum->rate);
	printf("all rounds / seconds: %.1f\n", sum->wall_rate);
	printf("rounds/s of a worker: min %.1f, median %.1f, max %.1f\n",
	       sum->min, sum->median, sum->max);
	if (opt.tsc)
		printf("TSC: %llu cycles, %.1f per round\n",
		       (unsigned long long)storm.workers[0].tsc,
		       (double)storm.workers[0].tsc / sum->rounds);
}

static void json_string(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < ' ')
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

static void json_work(FILE *f)
{
	char **arg = storm.argv;

	fprintf(f, "  \"program\": ");
	if (opt.mode == MODE_DLOPEN)
		json_string(f, storm.self);
	else
		json_string(f, *arg++);
	fprintf(f, ",\n  \"%s\": [", opt.mode == MODE_DLOPEN ? "objects" :
		"args");
	for (; *arg; arg++) {
		json_string(f, *arg);
		if (arg[1])
			fprintf(f, ", ");
	}
	fprintf(f, "],\n");
}

static void json_failures(FILE *f)
{
	const char *separator = "";
	unsigned int i;

	fprintf(f, "  \"failures\": [");
	for (i = 0; i < opt.workers; i++) {
		const struct worker *w = &storm.workers[i];

		if (!w->failure)
			continue;
		fprintf(f, "%s{\"worker\": %u, \"reason\": ", separator, i);
		json_string(f, w->failure);
		fprintf(f, "}");
		separator = ", ";
	}
	fprintf(f, "]\n}\n");
}

static void open_json(void)
{
	if (!opt.json)
		return;
	if (strcmp(opt.json, "-"))
		storm.json_fd = open(opt.json, O_WRONLY | O_CREAT | O_TRUNC |
				     O_CLOEXEC, 0644);
	else
		storm.json_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (storm.json_fd < 0)
		die(EXIT_FAILURE, "cannot write %s: %s", opt.json,
		    strerror(errno));
}

static void write_json(const struct total *sum)
{
	FILE *f = check_alloc(fdopen(storm.json_fd, "w"));

	fprintf(f, "{\n  \"mode\": \"%s\",\n", mode_names[opt.mode]);
	json_work(f);
	/* As many as -w says; one of the two is 1. */
	fprintf(f, "  \"workers\": %u,\n", opt.workers * opt.most_alive);
	fprintf(f, "  \"pinned\": %s,\n", opt.no_pin ? "false" : "true");
	fprintf(f, "  \"private\": %s,\n", opt.private ? "true" : "false");
	fprintf(f, "  \"seconds\": %.6f,\n", sum->seconds);
	fprintf(f, "  \"rounds\": %llu,\n", (unsigned long long)sum->rounds);
	fprintf(f, "  \"rate\": %.3f,\n", sum->rate);
	if (opt.tsc)
		fprintf(f, "  \"tsc\": %llu,\n",
			(unsigned long long)storm.workers[0].tsc);
	json_failures(f);
	if (ferror(f) || fclose(f))
		die(EXIT_FAILURE, "cannot write %s: %s", opt.json,
		    strerror(errno));
}

static int conclude(void)
{
	struct total sum = sum_up();
	unsigned int i;

	if (opt.json)
		write_json(&sum);
	for (i = 0; i < opt.workers; i++) {
		if (storm.workers[i].failure)
			die(EXIT_FAILURE, "worker %u: %s", i,
			    storm.workers[i].failure);
	}
	if (!opt.json || strcmp(opt.json, "-"))
		print_table(&sum);
	if (fflush(stdout))
		die(EXIT_FAILURE, "cannot write the figures: %s", strerror(errno));
	return EXIT_SUCCESS;
}

static void open_std_fds(void)
{
	int fd;

	/* Whatever is opened later must not be one of these. */
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		die(EXIT_FAILURE, "/dev/null: %s", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], ARG_WORKER))
		worker_main(argv);
	if (argc == 2 && !strcmp(argv[1], ARG_EXIT))
		return 0;

	open_std_fds();
	parse_options(argc, argv);
	find_cpus();
	check_options();
	find_self(argv[0]);
	choose_work();
	choose_environment();
	if (opt.private) {
		check_chroot();
		list_private_files();
	}
	open_json();
	block_signals();
	if (opt.private)
		make_roots();
	run_workers();
	return conclude();
}
