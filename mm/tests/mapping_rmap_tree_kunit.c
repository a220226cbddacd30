// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the file rmap tree: the interval tree, by page offset, of the
 * VMAs that map a file (mapping_rmap_tree_*(), mapping_mapped()).
 *
 * A walk of a range of page offsets must
 *
 * - visit exactly the VMAs that overlap the range, each of them once,
 * - visit them in ascending order of their first page offset, and
 * - visit those with the same first page offset in the order in which they
 *   were inserted, except that mapping_rmap_tree_insert_after() puts a VMA
 *   directly behind the given one, before all others.
 *
 * The order matters. fork() copies page tables, and mremap() may move them,
 * without holding the rmap lock: a concurrent walk cannot miss a page because
 * it visits the source before the destination.
 *
 * What a walk must visit is known from a plain list of the same VMAs, which is
 * kept in walk order and searched from end to end.
 */

#include <kunit/test.h>
#include <linux/cacheflush.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/rbtree_augmented.h>
#include <linux/sprintf.h>
#include <linux/string.h>

#define MAX_VMAS	64
#define RANDOM_STEPS	2000

static unsigned long long seed = 20120731;
module_param(seed, ullong, 0644);
MODULE_PARM_DESC(seed, "Seed of the randomised tests");

/* A VMA, and what is known about it without asking the code under test. */
struct test_vma {
	struct vm_area_struct vma;
	pgoff_t start;
	pgoff_t last;
	struct list_head link;	/* in test_rmap.model, if linked */
};

struct test_rmap {
	struct address_space mapping;
	struct list_head model;	/* the linked VMAs, in walk order */
	unsigned int nr_linked;

	/* What the latest walk() visited, with room for one VMA too many. */
	struct test_vma *found[MAX_VMAS + 1];

	struct rnd_state rnd;
	bool used_seed;

	struct test_vma vmas[MAX_VMAS];
};

static struct test_vma *to_test_vma(struct vm_area_struct *vma)
{
	return container_of(vma, struct test_vma, vma);
}

static bool is_linked(const struct test_vma *v)
{
	return !list_empty(&v->link);
}

static bool overlaps(const struct test_vma *v, pgoff_t start, pgoff_t last)
{
	return v->start <= last && v->last >= start;
}

/* Let @v map the pages from @start to @last, both included. */
static void set_range(struct test_vma *v, pgoff_t start, pgoff_t last)
{
	v->start = start;
	v->last = last;

	v->vma.vm_start = PAGE_SIZE;
	v->vma.vm_end = v->vma.vm_start + ((last - start + 1) << PAGE_SHIFT);
	v->vma.vm_pgoff = start;
}

/* Modify the tree the way mm/ does it, and the model likewise. */

static void lock_modify(struct test_rmap *rt)
{
	i_mmap_lock_write(&rt->mapping);
	flush_dcache_mmap_lock(&rt->mapping);
}

static void unlock_modify(struct test_rmap *rt)
{
	flush_dcache_mmap_unlock(&rt->mapping);
	i_mmap_unlock_write(&rt->mapping);
}

static void link_vma(struct test_rmap *rt, struct test_vma *v)
{
	struct list_head *pos;

	lock_modify(rt);
	mapping_rmap_tree_insert(&v->vma, &rt->mapping);
	unlock_modify(rt);

	/* Behind all VMAs that do not start later. */
	list_for_each(pos, &rt->model) {
		if (list_entry(pos, struct test_vma, link)->start > v->start)
			break;
	}
	list_add_tail(&v->link, pos);
	rt->nr_linked++;
}

/*
 * @v must start where @prev starts, and must not end later: the tree does not
 * update rb_subtree_last of @prev and the nodes above it. fork() does not need
 * that, since it inserts a copy of @prev.
 */
static void link_vma_after(struct test_rmap *rt, struct test_vma *v,
			   struct test_vma *prev)
{
	lock_modify(rt);
	mapping_rmap_tree_insert_after(&v->vma, &prev->vma, &rt->mapping);
	unlock_modify(rt);

	list_add(&v->link, &prev->link);
	rt->nr_linked++;
}

static void unlink_vma(struct test_rmap *rt, struct test_vma *v)
{
	lock_modify(rt);
	mapping_rmap_tree_remove(&v->vma, &rt->mapping);
	unlock_modify(rt);

	list_del_init(&v->link);
	rt->nr_linked--;
}

/*
 * Record the VMAs that a walk visits, at most @max, and return their number.
 * Nothing may be checked in here: a failed assertion would leave with the lock
 * held, and a failed expectation allocates memory, so it may enter reclaim,
 * which takes the lock.
 */
static unsigned int walk_some(struct test_rmap *rt, pgoff_t start, pgoff_t last,
			      unsigned int max)
{
	struct vm_area_struct *vma;
	unsigned int nr = 0;

	i_mmap_lock_read(&rt->mapping);
	mapping_rmap_tree_foreach(vma, &rt->mapping, start, last) {
		rt->found[nr++] = to_test_vma(vma);
		if (nr == max)
			break;
	}
	i_mmap_unlock_read(&rt->mapping);

	return nr;
}

static unsigned int walk(struct test_rmap *rt, pgoff_t start, pgoff_t last)
{
	return walk_some(rt, start, last, ARRAY_SIZE(rt->found));
}

static const char *describe(struct test_rmap *rt, const struct test_vma *v,
			    char *buf, size_t size)
{
	if (!v)
		return "nothing";

	scnprintf(buf, size, "VMA %td [%#lx, %#lx]", v - rt->vmas, v->start,
		  v->last);
	return buf;
}

/* A walk must visit what the model says, in the order of the model. */
static void check_walk(struct kunit *test, pgoff_t start, pgoff_t last)
{
	struct test_rmap *rt = test->priv;
	unsigned int nr = walk(rt, start, last), i = 0;
	struct test_vma *want, *got;
	char want_buf[64], got_buf[64];

	list_for_each_entry(want, &rt->model, link) {
		if (!overlaps(want, start, last))
			continue;
		if (i == nr || rt->found[i] != want)
			break;
		i++;
	}
	if (list_entry_is_head(want, &rt->model, link))
		want = NULL;
	got = i < nr ? rt->found[i] : NULL;

	if (got != want)
		KUNIT_FAIL_AND_ABORT(test,
				     "walk of [%#lx, %#lx]: visit %u is of %s, should be of %s\n",
				     start, last, i,
				     describe(rt, got, got_buf, sizeof(got_buf)),
				     describe(rt, want, want_buf, sizeof(want_buf)));
}

static unsigned int black_depth(const struct rb_node *rb)
{
	unsigned int depth = 0;

	for (; rb; rb = rb_parent(rb))
		depth += rb_is_black(rb);
	return depth;
}

/*
 * Look for damage that a walk may not notice, or may not survive. Return what
 * is wrong with @where, or NULL. No other function knows how a mapping stores
 * its VMAs.
 */
static const char *find_damage(struct test_rmap *rt, struct test_vma **where)
{
	struct rb_root_cached *tree = &rt->mapping.i_mmap;
	struct test_vma *v, *prev = NULL;
	unsigned int nr = 0, depth = 0;
	struct rb_node *rb;

	*where = NULL;
	if (tree->rb_leftmost != rb_first(&tree->rb_root))
		return "rb_leftmost is wrong";

	for (rb = rb_first(&tree->rb_root); rb; rb = rb_next(rb)) {
		struct rb_node *child[] = { rb->rb_left, rb->rb_right };
		pgoff_t subtree_last;
		int i;

		v = to_test_vma(rb_entry(rb, struct vm_area_struct, shared.rb));
		*where = v;
		if (nr++ == rt->nr_linked)
			return "more VMAs than linked";
		if (prev && prev->start > v->start)
			return "starts before its predecessor";
		prev = v;

		subtree_last = v->last;
		for (i = 0; i < ARRAY_SIZE(child); i++) {
			struct vm_area_struct *vma;

			if (!child[i]) {
				if (!depth)
					depth = black_depth(rb);
				if (depth != black_depth(rb))
					return "black depth differs";
				continue;
			}
			if (rb_parent(child[i]) != rb)
				return "child has a different parent";
			if (rb_is_red(rb) && rb_is_red(child[i]))
				return "red with a red child";

			vma = rb_entry(child[i], struct vm_area_struct, shared.rb);
			subtree_last = max(subtree_last,
					   vma->shared.rb_subtree_last);
		}
		if (v->vma.shared.rb_subtree_last != subtree_last)
			return "rb_subtree_last is wrong";
	}

	*where = NULL;
	return nr == rt->nr_linked ? NULL : "fewer VMAs than linked";
}

/* Check all that must hold at any time, before anything walks the tree. */
static void check_tree(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct test_vma *where;
	const char *damage;
	char buf[64];

	i_mmap_lock_read(&rt->mapping);
	damage = find_damage(rt, &where);
	i_mmap_unlock_read(&rt->mapping);

	if (damage)
		KUNIT_FAIL_AND_ABORT(test, "%s: %s\n",
				     where ? describe(rt, where, buf, sizeof(buf)) : "tree",
				     damage);
	KUNIT_ASSERT_EQ(test, !!mapping_mapped(&rt->mapping), !!rt->nr_linked);
	check_walk(test, 0, ULONG_MAX);
}

static struct test_vma *nth_linked(struct test_rmap *rt, unsigned int n)
{
	struct test_vma *v;

	list_for_each_entry(v, &rt->model, link) {
		if (!n--)
			return v;
	}
	return NULL;
}

static u32 random_below(struct test_rmap *rt, u32 limit)
{
	return prandom_u32_state(&rt->rnd) % limit;
}

static void use_seed(struct test_rmap *rt)
{
	prandom_seed_state(&rt->rnd, seed);
	rt->used_seed = true;
}

/* Small trees, with answers given by hand */

static void check_hit(struct kunit *test, pgoff_t start, pgoff_t last, bool hit)
{
	struct test_rmap *rt = test->priv;
	unsigned int nr = walk(rt, start, last);

	KUNIT_ASSERT_EQ_MSG(test, nr, hit, "walk of [%#lx, %#lx]\n", start, last);
	if (hit)
		KUNIT_ASSERT_PTR_EQ(test, rt->found[0], &rt->vmas[0]);
}

static void check_empty(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	check_tree(test);
	KUNIT_ASSERT_FALSE(test, mapping_mapped(&rt->mapping));
	check_hit(test, 0, 0, false);
	check_hit(test, 0, ULONG_MAX, false);
	check_hit(test, 1, ULONG_MAX - 1, false);
	check_hit(test, ULONG_MAX, ULONG_MAX, false);
}

static void empty_tree(struct kunit *test)
{
	check_empty(test);
}

struct range_case {
	const char *str;
	pgoff_t start;
	pgoff_t last;
};

static const struct range_case range_cases[] = {
	{ "first page", 0, 0 },
	{ "from the first page", 0, 15 },
	{ "one page", 100, 100 },
	{ "many pages", 100, 115 },
	/* mmap() refuses to map the last page offset, but the tree does not. */
	{ "to the last page", ULONG_MAX - 15, ULONG_MAX },
	{ "last page", ULONG_MAX, ULONG_MAX },
};

KUNIT_ARRAY_PARAM_DESC(range, range_cases, str);

static void one_vma(struct kunit *test)
{
	const struct range_case *c = test->param_value;
	struct test_rmap *rt = test->priv;
	struct test_vma *v = &rt->vmas[0];
	int round;

	set_range(v, c->start, c->last);

	/* A VMA can come back after it was removed. */
	for (round = 0; round < 2; round++) {
		link_vma(rt, v);
		check_tree(test);
		KUNIT_ASSERT_TRUE(test, mapping_mapped(&rt->mapping));

		check_hit(test, 0, ULONG_MAX, true);
		check_hit(test, c->start, c->last, true);
		check_hit(test, c->start, c->start, true);
		check_hit(test, c->last, c->last, true);
		check_hit(test, 0, c->start, true);
		check_hit(test, c->last, ULONG_MAX, true);
		if (c->start) {
			check_hit(test, c->start - 1, c->start, true);
			check_hit(test, c->start - 1, c->start - 1, false);
			check_hit(test, 0, c->start - 1, false);
			check_hit(test, 0, 0, false);
		}
		if (c->last < ULONG_MAX) {
			check_hit(test, c->last, c->last + 1, true);
			check_hit(test, c->last + 1, c->last + 1, false);
			check_hit(test, c->last + 1, ULONG_MAX, false);
			check_hit(test, ULONG_MAX, ULONG_MAX, false);
		}

		unlink_vma(rt, v);
		check_empty(test);
	}
}

/* VMAs 0, 1, 2, ... are A, B, C, ... in the tests below. */
static struct test_vma *letter_to_vma(struct test_rmap *rt, char letter)
{
	return &rt->vmas[letter - 'A'];
}

static void check_letters(struct kunit *test, pgoff_t start, pgoff_t last,
			  const char *letters)
{
	struct test_rmap *rt = test->priv;
	unsigned int nr = walk(rt, start, last), i;
	char visited[ARRAY_SIZE(rt->found) + 1];

	for (i = 0; i < nr; i++)
		visited[i] = 'A' + (rt->found[i] - rt->vmas);
	visited[i] = '\0';

	KUNIT_ASSERT_STREQ_MSG(test, visited, letters, "walk of [%#lx, %#lx]\n",
			       start, last);
}

/*
 *   0         10        20              ULONG_MAX
 * A ##########
 * B      #
 * C      ##########
 * D                     ##########
 * E                                ... ##########
 */
static const struct range_case overlap_vmas[] = {
	{ "A", 0, 9 },
	{ "B", 5, 5 },
	{ "C", 5, 14 },
	{ "D", 20, 29 },
	{ "E", ULONG_MAX - 9, ULONG_MAX },
};

static const struct range_case overlap_walks[] = {
	{ "A", 0, 0 },
	{ "A", 0, 4 },
	{ "A", 4, 4 },
	{ "ABC", 0, 5 },
	{ "ABC", 4, 5 },
	{ "ABC", 5, 5 },
	{ "ABC", 5, 6 },
	{ "AC", 6, 6 },
	{ "AC", 6, 9 },
	{ "AC", 9, 10 },
	{ "C", 10, 10 },
	{ "C", 14, 14 },
	{ "C", 14, 19 },
	{ "CD", 14, 20 },
	{ "ABCD", 0, 20 },
	{ "ABCD", 5, 29 },
	{ "", 15, 15 },
	{ "", 15, 19 },
	{ "", 19, 19 },
	{ "D", 15, 20 },
	{ "D", 20, 20 },
	{ "D", 22, 27 },
	{ "D", 29, 29 },
	{ "D", 29, ULONG_MAX - 10 },
	{ "", 30, 30 },
	{ "", 30, ULONG_MAX - 10 },
	{ "E", 30, ULONG_MAX - 9 },
	{ "E", 30, ULONG_MAX },
	{ "E", ULONG_MAX, ULONG_MAX },
	{ "DE", 29, ULONG_MAX },
	{ "ACDE", 6, ULONG_MAX },
	{ "ABCDE", 0, ULONG_MAX },
};

struct overlap_case {
	const char *str;
	const char *order;
};

/* B and C start at the same page, so B must go first. */
static const struct overlap_case overlap_cases[] = {
	{ "ascending", "ABCDE" },
	{ "descending", "EDBCA" },
	{ "outside in", "AEBDC" },
	{ "inside out", "BDACE" },
	{ "long ones first", "ADEBC" },
};

KUNIT_ARRAY_PARAM_DESC(overlap, overlap_cases, str);

static void known_overlaps(struct kunit *test)
{
	const struct overlap_case *c = test->param_value;
	struct test_rmap *rt = test->priv;
	const char *p;
	int i;

	for (p = c->order; *p; p++) {
		const struct range_case *range = &overlap_vmas[*p - 'A'];
		struct test_vma *v = letter_to_vma(rt, *p);

		set_range(v, range->start, range->last);
		link_vma(rt, v);
		check_tree(test);
	}

	for (i = 0; i < ARRAY_SIZE(overlap_walks); i++) {
		const struct range_case *w = &overlap_walks[i];

		check_letters(test, w->start, w->last, w->str);
	}
}

/* Removal */

enum victim {
	VICTIM_OLDEST,
	VICTIM_NEWEST,
	VICTIM_FIRST,
	VICTIM_MIDDLE,
	VICTIM_LAST,
	VICTIM_LONGEST,
	VICTIM_RANDOM,
};

/* The oldest is the VMA with the lowest number, if they are linked that way. */
static struct test_vma *pick_victim(struct test_rmap *rt, enum victim which)
{
	struct test_vma *v, *best = NULL;

	switch (which) {
	case VICTIM_FIRST:
		return nth_linked(rt, 0);
	case VICTIM_MIDDLE:
		return nth_linked(rt, rt->nr_linked / 2);
	case VICTIM_LAST:
		return nth_linked(rt, rt->nr_linked - 1);
	case VICTIM_RANDOM:
		return nth_linked(rt, random_below(rt, rt->nr_linked));
	default:
		break;
	}

	list_for_each_entry(v, &rt->model, link) {
		if (!best ||
		    (which == VICTIM_OLDEST && v < best) ||
		    (which == VICTIM_NEWEST && v > best) ||
		    (which == VICTIM_LONGEST &&
		     v->last - v->start > best->last - best->start))
			best = v;
	}
	return best;
}

struct removal_case {
	const char *str;
	enum victim victim;
};

static const struct removal_case removal_cases[] = {
	{ "oldest first", VICTIM_OLDEST },
	{ "newest first", VICTIM_NEWEST },
	{ "in walk order", VICTIM_FIRST },
	{ "from the middle", VICTIM_MIDDLE },
	{ "against walk order", VICTIM_LAST },
	{ "longest first", VICTIM_LONGEST },
	{ "at random", VICTIM_RANDOM },
};

KUNIT_ARRAY_PARAM_DESC(removal, removal_cases, str);

/* Fill the tree, with many equal starts, and remove all of it again. */
static void remove_all(struct kunit *test)
{
	const struct removal_case *c = test->param_value;
	struct test_rmap *rt = test->priv;
	int round, i;

	use_seed(rt);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < MAX_VMAS; i++) {
			pgoff_t start = random_below(rt, MAX_VMAS / 2);

			set_range(&rt->vmas[i], start,
				  start + random_below(rt, MAX_VMAS));
			link_vma(rt, &rt->vmas[i]);
		}
		check_tree(test);

		while (rt->nr_linked) {
			struct test_vma *v = pick_victim(rt, c->victim);

			unlink_vma(rt, v);
			check_tree(test);
			check_walk(test, v->start, v->start);
			check_walk(test, v->last, v->last);
		}
		check_empty(test);
	}
}

/*
 * A walker that must sleep leaves the walk and drops the lock. Then the VMA at
 * which it stopped may go, and the walker starts again, as hugetlbfs does when
 * it unmaps a page.
 */
static void restart_after_removal(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	unsigned int stop, nr;
	int i;

	for (stop = 1; stop <= MAX_VMAS / 2; stop++) {
		for (i = 0; i < MAX_VMAS; i++) {
			struct test_vma *v = &rt->vmas[i];

			if (is_linked(v))
				continue;
			set_range(v, i * 7 % 32, i * 7 % 32 + i * 5 % 16);
			link_vma(rt, v);
		}
		check_tree(test);

		while ((nr = walk_some(rt, 10, 19, stop))) {
			unlink_vma(rt, rt->found[nr - 1]);
			check_tree(test);
			check_walk(test, 10, 19);
		}
		/* The VMAs outside the range must remain. */
		KUNIT_ASSERT_GT(test, rt->nr_linked, 0);
		check_walk(test, 0, 9);
		check_walk(test, 20, ULONG_MAX);
	}
}

/* VMAs with the same start, in the order that fork() makes */

#define FORK_START	1000
#define FORK_STEPS	8

struct fork_case {
	const char *str;
	/* "A" links A, "BA" links B after A */
	const char *steps;
	const char *order;
};

static const struct fork_case fork_cases[] = {
	{ "no child", "A B C D E F", "ABCDEF" },
	{ "one child", "A BA", "AB" },
	{ "children of one parent", "A BA CA DA EA", "AEDCB" },
	{ "child of a child", "A BA CB DC ED FE", "ABCDEF" },
	{ "family", "A BA CA DB EC FA", "AFCEBD" },
	{ "child of each of many", "A B C D EA FB GC HD", "AEBFCGDH" },
	{ "child of the first of many", "A B C D E F GA HA", "AHGBCDEF" },
	{ "child of the last of many", "A B C D E F GF HG", "ABCDEFGH" },
	{ "insertions between forks", "A BA C DA E FC", "ADBCFE" },
};

KUNIT_ARRAY_PARAM_DESC(fork, fork_cases, str);

/* In pages, by step. A child is cut to the length of its parent. */
static const unsigned int fork_lengths[][FORK_STEPS] = {
	{ 4, 4, 4, 4, 4, 4, 4, 4 },
	{ 9, 8, 7, 6, 5, 4, 3, 2 },
	{ 2, 3, 4, 5, 6, 7, 8, 9 },
	{ 3, 9, 1, 6, 2, 8, 4, 5 },
	{ 1, 1, 1, 9, 1, 1, 1, 1 },
};

/*
 * VMAs on both sides of page FORK_START, none of which contains it: they change
 * the shape of the tree, but not the order of the others.
 */
static void link_neighbours(struct test_rmap *rt, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct test_vma *v = &rt->vmas[FORK_STEPS + i];

		if (i % 2)
			set_range(v, FORK_START + i, FORK_START + 2 * i);
		else
			set_range(v, FORK_START - 1 - i, FORK_START - 1);
		link_vma(rt, v);
	}
}

static void link_family(struct kunit *test, const struct fork_case *c,
			const unsigned int *lengths)
{
	struct test_rmap *rt = test->priv;
	const char *p = c->steps;

	while (*p) {
		struct test_vma *v = letter_to_vma(rt, *p++);
		pgoff_t last = FORK_START + *lengths++ - 1;

		if (*p && *p != ' ') {
			struct test_vma *prev = letter_to_vma(rt, *p++);

			set_range(v, FORK_START, min(last, prev->last));
			link_vma_after(rt, v, prev);
		} else {
			set_range(v, FORK_START, last);
			link_vma(rt, v);
		}
		check_tree(test);

		if (*p == ' ')
			p++;
	}
}

static void check_around_fork(struct kunit *test)
{
	pgoff_t pgoff;

	check_tree(test);
	for (pgoff = FORK_START - 10; pgoff < FORK_START + 30; pgoff++) {
		check_walk(test, pgoff, pgoff);
		check_walk(test, pgoff, pgoff + 3);
		check_walk(test, pgoff, ULONG_MAX);
	}
}

static void fork_and_remove(struct kunit *test, const unsigned int *lengths,
			    unsigned int nr_neighbours, enum victim victim)
{
	const struct fork_case *c = test->param_value;
	struct test_rmap *rt = test->priv;

	link_neighbours(rt, nr_neighbours);
	link_family(test, c, lengths);
	check_letters(test, FORK_START, FORK_START, c->order);
	check_around_fork(test);

	while (rt->nr_linked) {
		unlink_vma(rt, pick_victim(rt, victim));
		check_around_fork(test);
	}
}

static void fork_order(struct kunit *test)
{
	static const unsigned int nr_neighbours[] = { 0, 1, 2, 5, 12 };
	int i, j;

	for (i = 0; i < ARRAY_SIZE(fork_lengths); i++) {
		for (j = 0; j < ARRAY_SIZE(nr_neighbours); j++) {
			const unsigned int *lengths = fork_lengths[i];
			unsigned int nr = nr_neighbours[j];

			fork_and_remove(test, lengths, nr, VICTIM_FIRST);
			fork_and_remove(test, lengths, nr, VICTIM_MIDDLE);
			fork_and_remove(test, lengths, nr, VICTIM_LAST);
			fork_and_remove(test, lengths, nr, VICTIM_LONGEST);
		}
	}
}

/*
 * Walks that only a long VMA and its child overlap must find them among short
 * VMAs with the same start, wherever they are; then the one that remains when
 * the other is removed; then nothing.
 */
static void fork_longest(struct kunit *test)
{
	const unsigned int nr = MAX_VMAS - 2;
	const pgoff_t start = FORK_START;
	struct test_rmap *rt = test->priv;
	struct test_vma *parent = letter_to_vma(rt, 'A');
	struct test_vma *child = letter_to_vma(rt, 'B');
	unsigned int place, i;

	for (place = 0; place <= nr; place++) {
		bool parent_first = place % 2;
		const char *remaining = parent_first ? "B" : "A";

		set_range(parent, start, start + 9);
		set_range(child, start, start + 9);

		for (i = 0; i < nr; i++) {
			struct test_vma *v = &rt->vmas[2 + i];

			if (i == place)
				link_vma(rt, parent);
			set_range(v, start, start + i % 5);
			link_vma(rt, v);
		}
		if (i == place)
			link_vma(rt, parent);
		link_vma_after(rt, child, parent);

		check_tree(test);
		check_letters(test, start + 5, start + 5, "AB");
		check_letters(test, start + 9, ULONG_MAX, "AB");
		check_letters(test, start + 10, ULONG_MAX, "");

		unlink_vma(rt, parent_first ? parent : child);
		check_tree(test);
		check_letters(test, start + 5, start + 5, remaining);
		check_letters(test, start + 9, ULONG_MAX, remaining);

		unlink_vma(rt, parent_first ? child : parent);
		check_tree(test);
		check_letters(test, start + 5, start + 5, "");
		check_letters(test, start + 9, ULONG_MAX, "");

		while (rt->nr_linked)
			unlink_vma(rt, pick_victim(rt, VICTIM_FIRST));
	}
}

/* All operations, at random */

struct random_case {
	const char *str;
	pgoff_t lowest_start;
	u32 nr_starts;
	u32 max_pages;
};

static const struct random_case random_cases[] = {
	{ "sparse", 0, 65536, 16 },
	{ "dense", 0, 256, 128 },
	{ "single pages", 7, 48, 1 },
	{ "few starts", 7, 4, 64 },
	{ "one start", 7, 1, 64 },
	{ "high", ULONG_MAX - 127, 128, 64 },
};

KUNIT_ARRAY_PARAM_DESC(random, random_cases, str);

static void set_random_range(struct test_rmap *rt, struct test_vma *v,
			     const struct random_case *c)
{
	pgoff_t start = c->lowest_start + random_below(rt, c->nr_starts);
	pgoff_t more = random_below(rt, c->max_pages);

	set_range(v, start, start + min(more, ULONG_MAX - start));
}

static struct test_vma *random_unlinked(struct test_rmap *rt)
{
	unsigned int i = random_below(rt, MAX_VMAS);

	while (is_linked(&rt->vmas[i]))
		i = (i + 1) % MAX_VMAS;
	return &rt->vmas[i];
}

static void random_insert(struct test_rmap *rt, const struct random_case *c)
{
	struct test_vma *v = random_unlinked(rt);
	struct test_vma *prev;
	pgoff_t last;

	if (!rt->nr_linked || random_below(rt, 2)) {
		set_random_range(rt, v, c);
		link_vma(rt, v);
		return;
	}

	prev = pick_victim(rt, VICTIM_RANDOM);
	last = prev->last;
	if (random_below(rt, 2))
		last = prev->start + random_below(rt, last - prev->start + 1);
	set_range(v, prev->start, last);
	link_vma_after(rt, v, prev);
}

static void random_remove(struct test_rmap *rt, const struct random_case *c)
{
	struct test_vma *v = pick_victim(rt, VICTIM_RANDOM);

	unlink_vma(rt, v);

	/* It may come back with another range, as in a split or a merge. */
	if (!random_below(rt, 4)) {
		set_random_range(rt, v, c);
		link_vma(rt, v);
	}
}

/* Prefer the edges of VMAs, linked or not: that is where walks go wrong. */
static pgoff_t random_pgoff(struct test_rmap *rt, const struct random_case *c)
{
	const struct test_vma *v = &rt->vmas[random_below(rt, MAX_VMAS)];

	switch (random_below(rt, 8)) {
	case 0:
		return 0;
	case 1:
		return ULONG_MAX;
	case 2:
		return v->start;
	case 3:
		return v->start - 1;
	case 4:
		return v->last;
	case 5:
		return v->last + 1;
	default:
		return c->lowest_start +
		       random_below(rt, c->nr_starts + c->max_pages);
	}
}

static void check_random_walk(struct kunit *test, const struct random_case *c)
{
	struct test_rmap *rt = test->priv;
	pgoff_t a = random_pgoff(rt, c);
	pgoff_t b = random_pgoff(rt, c);

	check_walk(test, min(a, b), max(a, b));
	check_walk(test, a, a);
}

static void random_operations(struct kunit *test)
{
	const struct random_case *c = test->param_value;
	struct test_rmap *rt = test->priv;
	bool growing = true;
	int i;

	use_seed(rt);
	for (i = 0; i < RANDOM_STEPS; i++) {
		bool insert;

		/* Go from empty to full and back, with steps in both directions. */
		if (!rt->nr_linked)
			growing = true;
		else if (rt->nr_linked == MAX_VMAS)
			growing = false;

		insert = random_below(rt, 4) ? growing : !growing;
		if (!rt->nr_linked || (insert && rt->nr_linked < MAX_VMAS))
			random_insert(rt, c);
		else
			random_remove(rt, c);

		check_tree(test);
		check_random_walk(test, c);
	}
}

static int mapping_rmap_tree_test_init(struct kunit *test)
{
	struct test_rmap *rt;
	int i;

	rt = kunit_kzalloc(test, sizeof(*rt), GFP_KERNEL);
	if (!rt)
		return -ENOMEM;

	address_space_init_once(&rt->mapping);
	INIT_LIST_HEAD(&rt->model);
	for (i = 0; i < MAX_VMAS; i++)
		INIT_LIST_HEAD(&rt->vmas[i].link);

	test->priv = rt;
	return 0;
}

static void mapping_rmap_tree_test_exit(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	if (rt && rt->used_seed && test->status == KUNIT_FAILURE)
		kunit_info(test, "reproduce with %s.seed=%llu\n",
			   KBUILD_MODNAME, seed);
}

static struct kunit_case mapping_rmap_tree_test_cases[] = {
	KUNIT_CASE(empty_tree),
	KUNIT_CASE_PARAM(one_vma, range_gen_params),
	KUNIT_CASE_PARAM(known_overlaps, overlap_gen_params),
	KUNIT_CASE_PARAM(remove_all, removal_gen_params),
	KUNIT_CASE(restart_after_removal),
	KUNIT_CASE_PARAM(fork_order, fork_gen_params),
	KUNIT_CASE(fork_longest),
	KUNIT_CASE_PARAM(random_operations, random_gen_params),
	{}
};

static struct kunit_suite mapping_rmap_tree_test_suite = {
	.name = "mapping_rmap_tree",
	.init = mapping_rmap_tree_test_init,
	.exit = mapping_rmap_tree_test_exit,
	.test_cases = mapping_rmap_tree_test_cases,
};

kunit_test_suite(mapping_rmap_tree_test_suite);

MODULE_DESCRIPTION("Tests for the file rmap tree");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
