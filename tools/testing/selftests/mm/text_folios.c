// SPDX-License-Identifier: GPL-2.0
/*
 * The folios that the pages of a program are read in, and their references
 * when processes that map it exit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm_util.h"

#define PAGES	256
#define FOLIO	16	/* pages of one that text is read in */
#define AROUND	8	/* ... and of one that is read around, in a window of ... */
#define WINDOW	32	/* ... pages, which the test sets */

FIXTURE(text_folios) {
	int fd;
	dev_t dev;		/* the file system's device, ... */
	int read_ahead_kb;	/* ... its readahead before, ... */
	bool was_set;		/* ... and whether that was changed */
	int pagemap;
	int kpageflags;
};

/* How many pages of the file are cached, when reads have ended; -1: no telling */
static int cached(int fd)
{
	unsigned char vec[PAGES];
	int nr = 0;
	char *map = mmap(NULL, PAGES * psize(), PROT_READ, MAP_SHARED, fd, 0);

	usleep(20000);
	if (map == MAP_FAILED || mincore(map, PAGES * psize(), vec))
		return -1;
	for (int i = 0; i < PAGES; i++)
		nr += vec[i] & 1;
	munmap(map, PAGES * psize());
	return nr;
}

/* What is still being read can be dropped a moment later. */
static void drop_cache(int fd)
{
	fsync(fd);
	for (int i = 0; i < 50; i++) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		if (!cached(fd))
			break;
	}
}

/* Returns the number before, or -1. */
static int set_read_ahead(dev_t dev, int kb)
{
	char path[64];
	int old = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		 major(dev), minor(dev));
	file = fopen(path, "r+");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &old) != 1)
		old = -1;
	rewind(file);
	if (fprintf(file, "%d", kb) < 0 || fclose(file))
		return -1;
	return old;
}

/* Another open file, with no history of reads */
static int open_again(FIXTURE_DATA(text_folios) *self)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->fd);
	return open(name, O_RDONLY);
}

/* Reads a page of a new mapping, which begins at another page of the file. */
static char *map_from_and_read(FIXTURE_DATA(text_folios) *self, int prot,
			       int flags, int first, int page)
{
	int fd = open_again(self);
	char *map = mmap(NULL, (PAGES - first) * psize(), prot, flags, fd,
			 first * psize());

	close(fd);
	if (map != MAP_FAILED)
		FORCE_READ(map[(page - first) * psize()]);
	return map;
}

static char *map_and_read(FIXTURE_DATA(text_folios) *self, int prot, int flags,
			  int page)
{
	return map_from_and_read(self, prot, flags, 0, page);
}

/* How many folios have these pages of the file, all of them cached; -1: not all */
static int folios(FIXTURE_DATA(text_folios) *self, char *map, int first, int nr)
{
	uint64_t flags;
	int heads = 0;

	for (char *p = map + first * psize(); nr--; p += psize()) {
		FORCE_READ(*p);
		if (pageflags_get(pagemap_get_pfn(self->pagemap, p),
				  self->kpageflags, &flags))
			return -1;
		heads += !(flags & KPF_COMPOUND_TAIL);
	}
	return heads;
}

/* Does the file get large folios when it is read in order? -1: no telling */
static int large_when_read(FIXTURE_DATA(text_folios) *self)
{
	static char page[65536];
	int fd = open_again(self);
	char *map;
	int nr;

	while (read(fd, page, sizeof(page)) > 0)
		;
	close(fd);
	map = map_and_read(self, PROT_READ, MAP_SHARED, 0);
	nr = map == MAP_FAILED ? -1 : folios(self, map, 0, PAGES);
	munmap(map, PAGES * psize());
	drop_cache(self->fd);
	return nr < 0 ? -1 : nr < PAGES;
}

/* Architectures that have an order for text, with pages of 4 KiB */
static bool has_text_order(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
	return psize() == 4096;
#else
	return false;
#endif
}

FIXTURE_SETUP(text_folios)
{
	char name[64];
	char *page = malloc(psize());
	struct stat st;
	int large;

	if (!has_text_order())
		SKIP(return, "no order for text, or other pages than of 4 KiB");
	self->pagemap = open("/proc/self/pagemap", O_RDONLY);
	self->kpageflags = open("/proc/kpageflags", O_RDONLY);
	if (self->kpageflags < 0)
		SKIP(return, "/proc/kpageflags cannot be read: run as root");

	snprintf(name, sizeof(name), "text_folios-%d", getpid());
	self->fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_LE(0, self->fd);
	unlink(name);
	for (int i = 0; i < PAGES; i++) {
		memset(page, i, psize());
		ASSERT_EQ(psize(), pwrite(self->fd, page, psize(), i * psize()));
	}
	free(page);
	drop_cache(self->fd);
	if (cached(self->fd))
		SKIP(return, "the file system keeps what it is told to drop");
	large = large_when_read(self);
	ASSERT_LE(0, large);
	if (!large)
		SKIP(return, "the file system has no large folios");
	ASSERT_EQ(0, cached(self->fd));

	ASSERT_EQ(0, fstat(self->fd, &st));
	self->dev = st.st_dev;
	self->read_ahead_kb = set_read_ahead(self->dev, WINDOW * psize() / 1024);
	self->was_set = self->read_ahead_kb >= 0;
	if (!self->was_set)
		SKIP(return, "the device has no readahead that can be set");
}

/* A test that is killed must not leave the device as it has it. */
FIXTURE_TEARDOWN_PARENT(text_folios)
{
	if (self->was_set)
		EXPECT_LE(0, set_read_ahead(self->dev, self->read_ahead_kb));
}

TEST_F(text_folios, text)
{
	char *map = map_and_read(self, PROT_READ | PROT_EXEC, MAP_PRIVATE, 40);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(WINDOW, cached(self->fd));
	EXPECT_EQ(WINDOW / FOLIO, folios(self, map, 32, WINDOW));
}

/* Not even where text begins within a folio, or readahead is smaller than one */
TEST_F(text_folios, text_within_readahead)
{
	const int first = 38;
	char *map = map_from_and_read(self, PROT_READ | PROT_EXEC, MAP_PRIVATE,
				      first, 40);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_LE(cached(self->fd), WINDOW);
	munmap(map, (PAGES - first) * psize());
	drop_cache(self->fd);

	ASSERT_LE(0, set_read_ahead(self->dev, 4 * psize() / 1024));
	map = map_and_read(self, PROT_READ | PROT_EXEC, MAP_PRIVATE, 42);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(4, cached(self->fd));
	EXPECT_EQ(1, folios(self, map, 40, 4));
}

/* A page that is cached already does not make those behind it small. */
TEST_F(text_folios, behind_a_cached_page)
{
	char byte;
	char *map;
	int fd = open_again(self);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	ASSERT_EQ(1, pread(fd, &byte, 1, 37 * psize()));
	if (cached(self->fd) != 1)
		SKIP(return, "one page cannot be read alone here");

	map = map_and_read(self, PROT_READ | PROT_EXEC, MAP_PRIVATE, 40);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(2, folios(self, map, 32, 5));		/* of 4 and of 1 */
	EXPECT_EQ(1, folios(self, map, 37, 1));
	EXPECT_EQ(1, folios(self, map, 48, FOLIO));
	for (int i = 32; i < 64; i++)
		EXPECT_EQ((char)i, map[i * psize()]);
}

/* What is read around a private mapping may be text, too. */
TEST_F(text_folios, around_private)
{
	char *map = map_and_read(self, PROT_READ, MAP_PRIVATE, 100);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(WINDOW, cached(self->fd));
	EXPECT_EQ(WINDOW / AROUND, folios(self, map, 80, WINDOW));
}

/* The page that is wanted is none at which readahead goes on. */
TEST_F(text_folios, around_private_once)
{
	/* Four folios to a window, a half one more, and five */
	for (int kept = WINDOW; kept <= WINDOW + AROUND; kept += AROUND / 2) {
		const int window = kept / AROUND * AROUND;

		ASSERT_LE(0, set_read_ahead(self->dev, kept * psize() / 1024));
		for (int page = 80; page < 80 + AROUND; page++) {
			char *map = map_and_read(self, PROT_READ, MAP_PRIVATE, page);
			int before = cached(self->fd);
			char *other = map_and_read(self, PROT_READ, MAP_PRIVATE, page);

			ASSERT_NE(MAP_FAILED, map);
			ASSERT_NE(MAP_FAILED, other);
			EXPECT_EQ(window, before);
			EXPECT_EQ(window, cached(self->fd));
			munmap(map, PAGES * psize());
			munmap(other, PAGES * psize());
			drop_cache(self->fd);
		}
	}
}

TEST_F(text_folios, around_private_goes_on)
{
	char *map = map_and_read(self, PROT_READ, MAP_PRIVATE, 100);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(WINDOW, cached(self->fd));
	FORCE_READ(map[104 * psize()]);		/* of the marked folio */
	EXPECT_LT(WINDOW, cached(self->fd));
}

TEST_F(text_folios, around_shared)
{
	char *map = map_and_read(self, PROT_READ, MAP_SHARED, 100);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(AROUND, folios(self, map, 96, AROUND));
}

static pid_t map_all_and_exit(FIXTURE_DATA(text_folios) *self)
{
	pid_t pid = fork();

	if (!pid) {
		char *map = map_and_read(self, PROT_READ | PROT_EXEC,
					 MAP_PRIVATE, 0);

		if (map == MAP_FAILED)
			_exit(KSFT_FAIL);
		for (int i = 0; i < PAGES; i++)
			FORCE_READ(map[i * psize()]);
		_exit(KSFT_PASS);
	}
	return pid;
}

/* No reference is lost, so that pages can be evicted. */
TEST_F(text_folios, exit_drops_references)
{
	int status;

	for (int i = 0; i < 100; i++) {
		pid_t pid = map_all_and_exit(self);

		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		if (!(i % 10)) {
			drop_cache(self->fd);
			ASSERT_EQ(0, cached(self->fd));
		}
	}
}

/* Punching drops the cache's reference: an exit may drop the last one. */
TEST_F_TIMEOUT(text_folios, exit_beside_punch, 120)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int status;
	pid_t punch;

	if (fallocate(self->fd, mode, 0, psize()) && errno == EOPNOTSUPP)
		SKIP(return, "the file system punches no holes");
	punch = fork();
	ASSERT_LE(0, punch);
	if (!punch) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!fallocate(self->fd, mode, 0, PAGES * psize()))
			;
		_exit(KSFT_FAIL);
	}
	for (int i = 0; i < 500; i++) {
		pid_t pid = map_all_and_exit(self);

		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	ASSERT_EQ(0, waitpid(punch, &status, WNOHANG));
	kill(punch, SIGKILL);
	waitpid(punch, &status, 0);
	drop_cache(self->fd);
	EXPECT_EQ(0, cached(self->fd));
}

TEST_HARNESS_MAIN
