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
 * A mapping may be sharded (see mm/i_mmap.c). Then all this holds for the VMAs
 * of each shard, and a walk visits one shard after the other.
 *
 * What a walk must visit is known from a plain list of the same VMAs, which is
 * kept in walk order and searched from end to end.
 *
 * Tests of the tree run in several forms: with a mapping that is never sharded,
 * with one that is sharded while it is empty, and with one that is sharded
 * while VMAs are in it. They were seen to fail if the first, or the next, VMA
 * was looked for in one shard only, if a shard was left out, if a promotion
 * turned round the order of equals, and if mapping_mapped() did not look at the
 * shards, or not at the last one. If VMAs of a sharded mapping were inserted in
 * the tree for those without shards, the first of these tests that inserts one
 * crashed.
 *
 * Tests of the lock, and of how a mapping gets its shards and loses them,
 * follow. They say with what faults they were seen to fail.
 */

#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/cacheflush.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/i_mmap.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/list_sort.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/rbtree_augmented.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/sprintf.h>
#include <linux/string.h>

#include "../i_mmap.h"

/* Is there any sharding in this kernel? */
#define SHARDING	(IS_ENABLED(CONFIG_SMP) && IS_ENABLED(CONFIG_MMU))

/* And on this machine? */
static bool sharding;

#define MAX_VMAS	64
#define RANDOM_STEPS	2000

/* Two have the same home each, like a parent and its child. */
#define NR_MMS		24
#define MAX_HOMES	48

/* In jiffies. SURELY_FREE is not waited for if all is well. */
#define BLOCKED_FOR	(HZ / 50 + 1)
#define SURELY_FREE	(30 * HZ)
#define POLLED_FOR	(HZ / 2)
#define BUSY_FOR	(HZ / 4)

static unsigned long long seed = 20120731;
module_param(seed, ullong, 0644);
MODULE_PARM_DESC(seed, "Seed of the randomised tests");

enum when {
	NEVER,
	WHEN_EMPTY,
	WHEN_IN_USE,
};

/* When a mapping is sharded. If it is never, nr_shards only spreads the mms. */
struct form {
	const char *str;
	enum when when;
	unsigned int nr_shards;
};

static const struct form forms[] = {
	{ "unsharded", NEVER, 12 },
	{ "1 shard", WHEN_EMPTY, 1 },
	{ "2 shards", WHEN_EMPTY, 2 },
	{ "3 shards", WHEN_EMPTY, 3 },
	{ "12 shards", WHEN_EMPTY, 12 },
	{ "48 shards", WHEN_EMPTY, MAX_HOMES },
	{ "promoted to 1 shard", WHEN_IN_USE, 1 },
	{ "promoted to 2 shards", WHEN_IN_USE, 2 },
	{ "promoted to 3 shards", WHEN_IN_USE, 3 },
	{ "promoted to 12 shards", WHEN_IN_USE, 12 },
	{ "promoted to 48 shards", WHEN_IN_USE, MAX_HOMES },
};

KUNIT_ARRAY_PARAM_DESC(form, forms, str);

/* For tests of the promotion. */
static const struct form promotions[] = {
	{ "1 shard", WHEN_IN_USE, 1 },
	{ "2 shards", WHEN_IN_USE, 2 },
	{ "3 shards", WHEN_IN_USE, 3 },
	{ "12 shards", WHEN_IN_USE, 12 },
	{ "48 shards", WHEN_IN_USE, MAX_HOMES },
};

KUNIT_ARRAY_PARAM_DESC(promotion, promotions, str);

/* A VMA, and what is known about it without asking the code under test. */
struct test_vma {
	struct vm_area_struct vma;
	pgoff_t start;
	pgoff_t last;
	unsigned int mm;	/* index in test_rmap.mms */
	unsigned int home;
	struct list_head link;	/* in test_rmap.model, if linked */
};

struct test_rmap {
	struct address_space *mapping;	/* inode.i_data, as a rule */
	struct inode inode;
	struct address_space foreign_mapping;
	struct mm_struct *mms[NR_MMS];
	unsigned int homes[NR_MMS];

	struct form form;
	bool sharded;
	struct list_head model;	/* the linked VMAs, in walk order */
	unsigned int nr_linked;

	/* Which of its cases the test is at, if it has several. */
	const char *at;
	/* To stop kthreads that wait for one another. */
	bool ending;
	unsigned int nr_allocs;

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

/* Let @v belong to the mm number @mm, or what this is modulo NR_MMS. */
static void set_mm(struct test_rmap *rt, struct test_vma *v, unsigned int mm)
{
	v->mm = mm % NR_MMS;
	v->home = rt->homes[v->mm];
	v->vma.vm_mm = rt->mms[v->mm];
}

/* The number of the other mm with the same home. */
static unsigned int relative(unsigned int mm)
{
	return mm ^ 1;
}

/* VMAs of one shard come before those of the next one. */
static int compare_shards(void *priv, const struct list_head *a,
			  const struct list_head *b)
{
	unsigned int x = list_entry(a, struct test_vma, link)->home;
	unsigned int y = list_entry(b, struct test_vma, link)->home;

	return x < y ? -1 : x > y;
}

/* Without SHARDING the compiler sees that this does not return. */
static __always_inline void need_sharding(struct kunit *test)
{
	if (!SHARDING)
		kunit_skip(test, "mappings are sharded only with SMP and MMU");
	if (!sharding)
		kunit_skip(test, "mappings are not sharded on this architecture");
}

static struct i_mmap_shards *new_shards(struct kunit *test, unsigned int nr)
{
	struct i_mmap_shards *shards;

	need_sharding(test);

	shards = i_mmap_shards_alloc(nr);
	if (!shards) {
		/* The allocation does not wait for what was freed. */
		rcu_barrier();
		shards = i_mmap_shards_alloc(nr);
	}
	KUNIT_ASSERT_NOT_NULL(test, shards);
	return shards;
}

static void model_promotion(struct test_rmap *rt)
{
	rt->sharded = true;
	/* This keeps the order within a shard. */
	list_sort(NULL, &rt->model, compare_shards);
}

/* With the exclusive lock held. */
static bool try_promote(struct test_rmap *rt, struct i_mmap_shards *shards)
{
	bool promoted = false;

	if (SHARDING) {
		promoted = i_mmap_promote(rt->mapping, shards);
		if (!promoted)
			i_mmap_shards_free(shards);
	}
	return promoted;
}

static void promote(struct kunit *test, unsigned int nr)
{
	struct i_mmap_shards *shards = new_shards(test, nr);
	struct test_rmap *rt = test->priv;
	bool promoted;

	down_write(i_mmap_rwsem(rt->mapping));
	promoted = try_promote(rt, shards);
	up_write(i_mmap_rwsem(rt->mapping));

	KUNIT_ASSERT_TRUE(test, promoted);
	model_promotion(rt);
}

/* The place in a test where a mapping that is in use gets its shards. */
static void promotion_point(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	if (rt->form.when == WHEN_IN_USE && !rt->sharded)
		promote(test, rt->form.nr_shards);
}

/* What happens when an inode goes away, and another one comes in its place. */
static void start_over(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct i_mmap_shards *left;

	KUNIT_ASSERT_EQ(test, rt->nr_linked, 0);

	i_mmap_destroy(rt->mapping);
	rt->sharded = false;
	left = i_mmap_shards_of(rt->mapping);
	if (left)
		rt->mapping->i_mmap = RB_ROOT_CACHED;	/* not freed twice */
	KUNIT_ASSERT_NULL(test, left);
	KUNIT_ASSERT_FALSE(test, mapping_mapped(rt->mapping));

	if (rt->form.when == WHEN_EMPTY)
		promote(test, rt->form.nr_shards);
}

/* Modify the tree the way mm/ does it, and the model likewise. */

static void lock_modify(struct test_rmap *rt, struct mm_struct *mm)
{
	i_mmap_lock_modify(rt->mapping, mm);
	flush_dcache_mmap_lock(rt->mapping);
}

static void unlock_modify(struct test_rmap *rt, struct mm_struct *mm)
{
	flush_dcache_mmap_unlock(rt->mapping);
	i_mmap_unlock_modify(rt->mapping, mm);
}

/* In a walk, does @v come before VMAs that are linked later with @w's start? */
static bool goes_before(struct test_rmap *rt, const struct test_vma *v,
			const struct test_vma *w)
{
	if (rt->sharded && v->home != w->home)
		return v->home < w->home;
	return v->start <= w->start;
}

static void link_vma(struct test_rmap *rt, struct test_vma *v)
{
	struct list_head *pos;

	lock_modify(rt, v->vma.vm_mm);
	mapping_rmap_tree_insert(&v->vma, rt->mapping);
	unlock_modify(rt, v->vma.vm_mm);

	/* Behind all VMAs that do not start later. */
	list_for_each(pos, &rt->model) {
		if (!goes_before(rt, list_entry(pos, struct test_vma, link), v))
			break;
	}
	list_add_tail(&v->link, pos);
	rt->nr_linked++;
}

/*
 * @v must start where @prev starts, and must not end later: the tree does not
 * update rb_subtree_last of @prev and the nodes above it. fork() does not need
 * that, since it inserts a copy of @prev. It must have the same home, too.
 */
static void link_vma_after(struct test_rmap *rt, struct test_vma *v,
			   struct test_vma *prev)
{
	lock_modify(rt, v->vma.vm_mm);
	mapping_rmap_tree_insert_after(&v->vma, &prev->vma, rt->mapping);
	unlock_modify(rt, v->vma.vm_mm);

	list_add(&v->link, &prev->link);
	rt->nr_linked++;
}

static void unlink_vma(struct test_rmap *rt, struct test_vma *v)
{
	lock_modify(rt, v->vma.vm_mm);
	mapping_rmap_tree_remove(&v->vma, rt->mapping);
	unlock_modify(rt, v->vma.vm_mm);

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

	i_mmap_lock_walk(rt->mapping);
	mapping_rmap_tree_foreach(vma, rt->mapping, start, last) {
		rt->found[nr++] = to_test_vma(vma);
		if (nr == max)
			break;
	}
	i_mmap_unlock_walk(rt->mapping);

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

/* A tree with @nr VMAs so far, all of @home unless that is -1. */
static const char *find_damage_in_tree(struct test_rmap *rt,
				       struct rb_root_cached *tree, int home,
				       unsigned int *nr, struct test_vma **where)
{
	struct test_vma *v, *prev = NULL;
	unsigned int depth = 0;
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
		if ((*nr)++ == rt->nr_linked)
			return "more VMAs than linked";
		if (home >= 0 && v->home != home)
			return "is not in its shard";
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
	return NULL;
}

/*
 * Look for damage that a walk may not notice, or may not survive. Return what
 * is wrong with @where, or NULL. No other function knows how a mapping stores
 * its VMAs.
 */
static const char *find_damage(struct test_rmap *rt, struct test_vma **where)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(rt->mapping);
	unsigned int i, nr = 0;
	const char *damage;

	*where = NULL;
	if (rt->sharded != !!shards)
		return shards ? "sharded" : "not sharded";

	if (shards) {
		if (!RB_EMPTY_ROOT(&rt->mapping->i_mmap.rb_root))
			return "there are VMAs outside the shards";
		for (i = 0; i < shards->nr; i++) {
			damage = find_damage_in_tree(rt, &shards->shard[i]->tree,
						     i, &nr, where);
			if (damage)
				return damage;
		}
	} else {
		damage = find_damage_in_tree(rt, &rt->mapping->i_mmap, -1, &nr,
					     where);
		if (damage)
			return damage;
	}
	return nr == rt->nr_linked ? NULL : "fewer VMAs than linked";
}

/* Check all that must hold at any time, before anything walks the tree. */
static void check_tree(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct test_vma *where;
	const char *damage;
	char buf[64];

	i_mmap_lock_walk(rt->mapping);
	damage = find_damage(rt, &where);
	i_mmap_unlock_walk(rt->mapping);

	if (damage)
		KUNIT_FAIL_AND_ABORT(test, "%s: %s\n",
				     where ? describe(rt, where, buf, sizeof(buf)) : "tree",
				     damage);
	KUNIT_ASSERT_EQ(test, !!mapping_mapped(rt->mapping), !!rt->nr_linked);
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
	KUNIT_ASSERT_FALSE(test, mapping_mapped(rt->mapping));
	check_hit(test, 0, 0, false);
	check_hit(test, 0, ULONG_MAX, false);
	check_hit(test, 1, ULONG_MAX - 1, false);
	check_hit(test, ULONG_MAX, ULONG_MAX, false);
}

static void empty_tree(struct kunit *test)
{
	check_empty(test);
	promotion_point(test);
	check_empty(test);
	start_over(test);
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

static void check_one_vma(struct kunit *test, const struct range_case *c)
{
	struct test_rmap *rt = test->priv;
	struct test_vma *v = &rt->vmas[0];
	int round;

	set_range(v, c->start, c->last);

	/* A VMA can come back after it was removed. */
	for (round = 0; round < 2; round++) {
		link_vma(rt, v);
		promotion_point(test);
		check_tree(test);
		KUNIT_ASSERT_TRUE(test, mapping_mapped(rt->mapping));

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

static void one_vma(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	unsigned int mm;
	int i;

	for (i = 0; i < ARRAY_SIZE(range_cases); i++) {
		rt->at = range_cases[i].str;
		for (mm = 0; mm < NR_MMS; mm++) {
			set_mm(rt, &rt->vmas[0], mm);
			check_one_vma(test, &range_cases[i]);
			start_over(test);
		}
	}
}

/* VMAs 0, 1, 2, ... are A, B, C, ... in the tests below. */
static struct test_vma *letter_to_vma(struct test_rmap *rt, char letter)
{
	return &rt->vmas[letter - 'A'];
}

/* In @letters, put the VMAs of one shard before those of the next one. */
static void sort_by_shard(struct test_rmap *rt, const char *letters,
			  char *sorted)
{
	unsigned int home;
	const char *p;

	for (home = 0; home < MAX_HOMES; home++) {
		for (p = letters; *p; p++) {
			if (letter_to_vma(rt, *p)->home == home)
				*sorted++ = *p;
		}
	}
	*sorted = '\0';
}

/* @letters is what a walk must visit if all VMAs are in one tree. */
static void check_letters(struct kunit *test, pgoff_t start, pgoff_t last,
			  const char *letters)
{
	struct test_rmap *rt = test->priv;
	unsigned int nr = walk(rt, start, last), i;
	char visited[ARRAY_SIZE(rt->found) + 1];
	char sorted[ARRAY_SIZE(rt->found) + 1];

	for (i = 0; i < nr; i++)
		visited[i] = 'A' + (rt->found[i] - rt->vmas);
	visited[i] = '\0';

	if (rt->sharded) {
		sort_by_shard(rt, letters, sorted);
		letters = sorted;
	}
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

/* Numbers of mms; the last ones are NR_MMS - 2 and NR_MMS - 1. */
static const unsigned int overlap_mms[][ARRAY_SIZE(overlap_vmas)] = {
	{ 0, 0, 0, 0, 0 },
	{ 22, 23, 22, 23, 22 },
	{ 0, 4, 8, 12, 16 },
	{ 16, 12, 8, 4, 0 },
	{ 23, 0, 10, 0, 23 },
	{ 2, 6, 2, 6, 2 },
};

static void check_overlaps(struct kunit *test, const struct overlap_case *c,
			   const unsigned int *mms)
{
	struct test_rmap *rt = test->priv;
	const char *p;
	int i;

	for (p = c->order; *p; p++) {
		const struct range_case *range = &overlap_vmas[*p - 'A'];
		struct test_vma *v = letter_to_vma(rt, *p);

		set_range(v, range->start, range->last);
		set_mm(rt, v, mms[*p - 'A']);
		link_vma(rt, v);
		check_tree(test);
	}
	promotion_point(test);
	check_tree(test);

	for (i = 0; i < ARRAY_SIZE(overlap_walks); i++) {
		const struct range_case *w = &overlap_walks[i];

		check_letters(test, w->start, w->last, w->str);
	}
	for (p = c->order; *p; p++)
		unlink_vma(rt, letter_to_vma(rt, *p));
}

static void known_overlaps(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i, j;

	for (i = 0; i < ARRAY_SIZE(overlap_cases); i++) {
		rt->at = overlap_cases[i].str;
		for (j = 0; j < ARRAY_SIZE(overlap_mms); j++) {
			check_overlaps(test, &overlap_cases[i], overlap_mms[j]);
			start_over(test);
		}
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

/* Fill the tree, with many equal starts, and remove all of it again. */
static void check_removal(struct kunit *test, const struct removal_case *c)
{
	struct test_rmap *rt = test->priv;
	int round, i;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < MAX_VMAS; i++) {
			pgoff_t start = random_below(rt, MAX_VMAS / 2);

			set_range(&rt->vmas[i], start,
				  start + random_below(rt, MAX_VMAS));
			set_mm(rt, &rt->vmas[i], random_below(rt, NR_MMS));
			link_vma(rt, &rt->vmas[i]);
		}
		check_tree(test);

		while (rt->nr_linked) {
			struct test_vma *v = pick_victim(rt, c->victim);

			/* When it is full, a quarter full, and almost empty. */
			if (rt->nr_linked == MAX_VMAS >> (round * 2))
				promotion_point(test);
			unlink_vma(rt, v);
			check_tree(test);
			check_walk(test, v->start, v->start);
			check_walk(test, v->last, v->last);
		}
		check_empty(test);
		start_over(test);
	}
}

static void remove_all(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i;

	use_seed(rt);
	for (i = 0; i < ARRAY_SIZE(removal_cases); i++) {
		rt->at = removal_cases[i].str;
		check_removal(test, &removal_cases[i]);
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

			set_range(v, i * 7 % 32, i * 7 % 32 + i * 5 % 16);
			set_mm(rt, v, i * stop);
			link_vma(rt, v);
		}
		promotion_point(test);
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

		while (rt->nr_linked)
			unlink_vma(rt, pick_victim(rt, VICTIM_FIRST));
		start_over(test);
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
		set_mm(rt, v, i);
		link_vma(rt, v);
	}
}

/*
 * How to link a family: VMAs without a parent belong to the mms @first_mm,
 * @first_mm + @stride, ..., and the mapping is promoted after @promote_after
 * steps, or when all is done.
 */
struct fork_plan {
	const struct fork_case *c;
	const unsigned int *lengths;
	unsigned int nr_neighbours;
	unsigned int first_mm;
	unsigned int stride;
	unsigned int promote_after;
};

static void link_family(struct kunit *test, const struct fork_plan *plan)
{
	const unsigned int *lengths = plan->lengths;
	struct test_rmap *rt = test->priv;
	const char *p = plan->c->steps;
	unsigned int mm = plan->first_mm, step = 0;

	while (*p) {
		struct test_vma *v = letter_to_vma(rt, *p++);
		pgoff_t last = FORK_START + *lengths++ - 1;

		if (step++ == plan->promote_after)
			promotion_point(test);

		if (*p && *p != ' ') {
			struct test_vma *prev = letter_to_vma(rt, *p++);

			set_range(v, FORK_START, min(last, prev->last));
			set_mm(rt, v, relative(prev->mm));
			link_vma_after(rt, v, prev);
		} else {
			set_range(v, FORK_START, last);
			set_mm(rt, v, mm);
			link_vma(rt, v);
			mm += plan->stride;
		}
		check_tree(test);

		if (*p == ' ')
			p++;
	}
	promotion_point(test);
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

static void fork_and_remove(struct kunit *test, const struct fork_plan *plan,
			    enum victim victim)
{
	struct test_rmap *rt = test->priv;

	link_neighbours(rt, plan->nr_neighbours);
	link_family(test, plan);
	check_letters(test, FORK_START, FORK_START, plan->c->order);
	check_around_fork(test);

	while (rt->nr_linked) {
		unlink_vma(rt, pick_victim(rt, victim));
		check_around_fork(test);
	}
	start_over(test);
}

static void fork_and_remove_all(struct kunit *test, const struct fork_case *c)
{
	struct test_rmap *rt = test->priv;
	static const unsigned int nr_neighbours[] = { 0, 1, 2, 5, 12 };
	static const enum victim victims[] = {
		VICTIM_FIRST, VICTIM_MIDDLE, VICTIM_LAST, VICTIM_LONGEST
	};
	unsigned int i, j, k;

	for (i = 0; i < ARRAY_SIZE(fork_lengths); i++) {
		for (j = 0; j < ARRAY_SIZE(nr_neighbours); j++) {
			struct fork_plan plan = {
				.c = c,
				.lengths = fork_lengths[i],
				.nr_neighbours = nr_neighbours[j],
				/* All in one shard, or not. */
				.stride = (i + j) % 2 ? 3 : 0,
				.first_mm = 5 * i + j,
			};

			for (k = 0; k < ARRAY_SIZE(victims); k++) {
				/* The other forms share the work. */
				if (rt->form.when != NEVER &&
				    k != (2 * i + j) % ARRAY_SIZE(victims))
					continue;
				plan.promote_after = (i + j + 2 * k) % 9;
				fork_and_remove(test, &plan, victims[k]);
			}
		}
	}
}

static void fork_order(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(fork_cases); i++) {
		rt->at = fork_cases[i].str;
		fork_and_remove_all(test, &fork_cases[i]);
	}
}

/*
 * Walks that only a long VMA and its child overlap must find them among short
 * VMAs with the same start, wherever they are; then the one that remains when
 * the other is removed; then nothing. All are in one shard.
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
		set_mm(rt, parent, place);
		set_mm(rt, child, relative(parent->mm));

		for (i = 0; i < nr; i++) {
			struct test_vma *v = &rt->vmas[2 + i];

			if (i == place)
				link_vma(rt, parent);
			set_range(v, start, start + i % 5);
			set_mm(rt, v, i % 2 ? parent->mm : child->mm);
			link_vma(rt, v);
		}
		if (i == place)
			link_vma(rt, parent);
		if (place % 3 == 0)
			promotion_point(test);
		link_vma_after(rt, child, parent);
		if (place % 3 == 1)
			promotion_point(test);

		check_tree(test);
		check_letters(test, start + 5, start + 5, "AB");
		check_letters(test, start + 9, ULONG_MAX, "AB");
		check_letters(test, start + 10, ULONG_MAX, "");

		unlink_vma(rt, parent_first ? parent : child);
		promotion_point(test);
		check_tree(test);
		check_letters(test, start + 5, start + 5, remaining);
		check_letters(test, start + 9, ULONG_MAX, remaining);

		unlink_vma(rt, parent_first ? child : parent);
		check_tree(test);
		check_letters(test, start + 5, start + 5, "");
		check_letters(test, start + 9, ULONG_MAX, "");

		while (rt->nr_linked)
			unlink_vma(rt, pick_victim(rt, VICTIM_FIRST));
		start_over(test);
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
		set_mm(rt, v, random_below(rt, NR_MMS));
		link_vma(rt, v);
		return;
	}

	prev = pick_victim(rt, VICTIM_RANDOM);
	last = prev->last;
	if (random_below(rt, 2))
		last = prev->start + random_below(rt, last - prev->start + 1);
	set_range(v, prev->start, last);
	set_mm(rt, v, random_below(rt, 2) ? prev->mm : relative(prev->mm));
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

static void check_random_operations(struct kunit *test,
				    const struct random_case *c)
{
	struct test_rmap *rt = test->priv;
	unsigned int promote_at = 0;
	bool growing = true;
	int i;

	for (i = 0; i < RANDOM_STEPS; i++) {
		bool insert;

		/* Go from empty to full and back, with steps in both directions. */
		if (!rt->nr_linked) {
			growing = true;
			start_over(test);
			promote_at = random_below(rt, MAX_VMAS);
		} else if (rt->nr_linked == MAX_VMAS) {
			growing = false;
		}
		if (rt->nr_linked == promote_at)
			promotion_point(test);

		insert = random_below(rt, 4) ? growing : !growing;
		if (!rt->nr_linked || (insert && rt->nr_linked < MAX_VMAS))
			random_insert(rt, c);
		else
			random_remove(rt, c);

		check_tree(test);
		check_random_walk(test, c);
	}
	while (rt->nr_linked)
		unlink_vma(rt, pick_victim(rt, VICTIM_RANDOM));
}

static void random_operations(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i;

	use_seed(rt);
	for (i = 0; i < ARRAY_SIZE(random_cases); i++) {
		rt->at = random_cases[i].str;
		check_random_operations(test, &random_cases[i]);
	}
}

/* How a mapping gets its shards, and loses them */

#define CROWD_EQUALS	4	/* so many start at the same page */

/* More VMAs than a test_rmap has. */
struct crowd {
	struct vm_area_struct *vmas;
	unsigned int nr;
};

KUNIT_DEFINE_ACTION_WRAPPER(kvfree_action, kvfree, const void *);

static unsigned int crowd_mm(unsigned int i)
{
	return i * 7 % NR_MMS;
}

/* Link @nr VMAs in ascending order. */
static void link_crowd(struct kunit *test, struct crowd *crowd, unsigned int nr)
{
	struct test_rmap *rt = test->priv;
	unsigned int i;

	crowd->nr = nr;
	crowd->vmas = kvzalloc_objs(*crowd->vmas, nr);
	KUNIT_ASSERT_NOT_NULL(test, crowd->vmas);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, kvfree_action,
							   crowd->vmas));

	for (i = 0; i < nr; i++) {
		struct vm_area_struct *vma = &crowd->vmas[i];

		vma->vm_start = PAGE_SIZE;
		vma->vm_end = 3 * PAGE_SIZE;
		vma->vm_pgoff = i / CROWD_EQUALS;
		vma->vm_mm = rt->mms[crowd_mm(i)];

		lock_modify(rt, vma->vm_mm);
		mapping_rmap_tree_insert(vma, rt->mapping);
		unlock_modify(rt, vma->vm_mm);
		cond_resched();
	}
}

static void unlink_crowd(struct kunit *test, const struct crowd *crowd)
{
	struct test_rmap *rt = test->priv;
	unsigned int i;

	for (i = 0; i < crowd->nr; i++) {
		struct vm_area_struct *vma = &crowd->vmas[i];

		lock_modify(rt, vma->vm_mm);
		mapping_rmap_tree_remove(vma, rt->mapping);
		unlock_modify(rt, vma->vm_mm);
		cond_resched();
	}
}

/* All of the crowd must be there, by shard, and in the order of linking. */
static void check_crowd(struct kunit *test, const struct crowd *crowd,
			bool sharded)
{
	struct test_rmap *rt = test->priv;
	unsigned int nr = 0, nr_wrong = 0, prev = 0, prev_home = 0;
	struct vm_area_struct *vma;

	i_mmap_lock_walk(rt->mapping);
	mapping_rmap_tree_foreach(vma, rt->mapping, 0, ULONG_MAX) {
		unsigned int i = vma - crowd->vmas;
		unsigned int home = sharded ? rt->homes[crowd_mm(i)] : 0;

		if (nr++ && (home < prev_home ||
			     (home == prev_home && i <= prev)))
			nr_wrong++;
		prev = i;
		prev_home = home;
	}
	i_mmap_unlock_walk(rt->mapping);

	KUNIT_ASSERT_EQ(test, nr, crowd->nr);
	KUNIT_ASSERT_EQ(test, nr_wrong, 0);
	KUNIT_ASSERT_TRUE(test, mapping_mapped(rt->mapping));
}

/*
 * All VMAs have the same start, and every other one is the child of one that
 * was there. A child must remain behind its parent, and who has no parent
 * behind those of its shard that were linked before it.
 *
 * Seen to fail if each VMA was inserted before its equals when it was moved.
 */
static void promotion_keeps_order(struct kunit *test)
{
	unsigned int place[MAX_VMAS], parent[MAX_VMAS];
	struct test_rmap *rt = test->priv;
	unsigned int round, i, j;

	use_seed(rt);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < MAX_VMAS; i++) {
			struct test_vma *v = &rt->vmas[i];

			set_range(v, 7, 7);
			parent[i] = i;
			if (i % 2) {
				parent[i] = random_below(rt, i);
				set_mm(rt, v, relative(rt->vmas[parent[i]].mm));
				link_vma_after(rt, v, &rt->vmas[parent[i]]);
			} else {
				set_mm(rt, v, random_below(rt, NR_MMS));
				link_vma(rt, v);
			}
			if (i == MAX_VMAS - 1 - round)
				promotion_point(test);
		}
		check_tree(test);

		KUNIT_ASSERT_EQ(test, walk(rt, 7, 7), MAX_VMAS);
		for (i = 0; i < MAX_VMAS; i++)
			place[rt->found[i] - rt->vmas] = i;
		for (i = 0; i < MAX_VMAS; i++) {
			if (parent[i] != i) {
				KUNIT_ASSERT_GT(test, place[i],
						place[parent[i]]);
				continue;
			}
			for (j = 0; j < i; j += 2) {
				if (rt->vmas[j].home != rt->vmas[i].home)
					continue;
				KUNIT_ASSERT_GT(test, place[i], place[j]);
			}
		}

		while (rt->nr_linked)
			unlink_vma(rt, pick_victim(rt, VICTIM_RANDOM));
		start_over(test);
	}
}

/*
 * A mapping with too many VMAs stays as it is, but remembers why.
 *
 * Seen to fail with no bound, with one that was too low by one VMA, and if the
 * mapping was not marked.
 */
static void promotion_bound(struct kunit *test)
{
	const struct form *form = test->param_value;
	struct test_rmap *rt = test->priv;
	struct i_mmap_shards *shards;
	struct crowd crowd, more;
	bool promoted;

	/* As many as may be. */
	link_crowd(test, &crowd, I_MMAP_PROMOTE_MAX_VMAS);
	promote(test, form->nr_shards);
	check_crowd(test, &crowd, true);
	unlink_crowd(test, &crowd);
	KUNIT_EXPECT_FALSE(test, test_bit(AS_I_MMAP_MANY_VMAS,
					  &rt->mapping->flags));
	start_over(test);

	/* One more. */
	link_crowd(test, &more, I_MMAP_PROMOTE_MAX_VMAS + 1);
	shards = new_shards(test, form->nr_shards);
	down_write(i_mmap_rwsem(rt->mapping));
	promoted = try_promote(rt, shards);
	up_write(i_mmap_rwsem(rt->mapping));

	KUNIT_ASSERT_FALSE(test, promoted);
	KUNIT_ASSERT_NULL(test, i_mmap_shards_of(rt->mapping));
	KUNIT_EXPECT_TRUE(test, test_bit(AS_I_MMAP_MANY_VMAS,
					 &rt->mapping->flags));
	check_crowd(test, &more, false);
	unlink_crowd(test, &more);
	check_empty(test);
}

/* For information only: how long everybody else is kept waiting. */
static void promotion_time(struct kunit *test)
{
	const struct form *form = test->param_value;
	struct i_mmap_shards *shards = new_shards(test, form->nr_shards);
	struct test_rmap *rt = test->priv;
	struct crowd crowd;
	bool promoted;
	u64 ns;

	link_crowd(test, &crowd, 10000);

	down_write(i_mmap_rwsem(rt->mapping));
	ns = ktime_get_ns();
	promoted = try_promote(rt, shards);
	ns = ktime_get_ns() - ns;
	up_write(i_mmap_rwsem(rt->mapping));

	KUNIT_ASSERT_TRUE(test, promoted);
	model_promotion(rt);

	check_crowd(test, &crowd, true);
	unlink_crowd(test, &crowd);
	check_empty(test);
	kunit_info(test, "promotion of %u VMAs to %s: %llu ns\n", crowd.nr,
		   form->str, ns);
}

/*
 * The next inode in the same memory must find a mapping as good as new.
 *
 * Seen to fail if i_mmap_destroy() left the address of the shards.
 */
static void recycling(struct kunit *test)
{
	const struct form *form = test->param_value;
	struct test_rmap *rt = test->priv;
	int life, i;

	for (life = 0; life < 4; life++) {
		bool locked;

		check_empty(test);
		KUNIT_ASSERT_NULL(test, rt->mapping->i_mmap.rb_leftmost);

		for (i = 0; i < MAX_VMAS; i++) {
			set_range(&rt->vmas[i], i / 4, i / 4 + 2);
			set_mm(rt, &rt->vmas[i], i * 5);
			link_vma(rt, &rt->vmas[i]);
			if (i == MAX_VMAS / 2 && life % 2 == 0)
				promote(test, form->nr_shards);
		}
		check_tree(test);
		KUNIT_ASSERT_TRUE(test, mapping_mapped(rt->mapping));

		for (i = 0; i < MAX_VMAS; i++) {
			KUNIT_ASSERT_TRUE(test, mapping_mapped(rt->mapping));
			unlink_vma(rt, &rt->vmas[i]);
		}
		check_empty(test);
		start_over(test);

		locked = i_mmap_trylock_exclusive(rt->mapping);
		if (locked)
			i_mmap_unlock_exclusive(rt->mapping);
		KUNIT_ASSERT_TRUE(test, locked);
	}
}

/* Who locks the mapping, from threads of their own */

enum lock_user {
	MODIFIER,
	WALKER,
	EXCLUSIVE,
	PROMOTER,	/* shards the mapping before it drops the lock */
	STRANGER,	/* has the semaphore, whatever that excludes */
};

struct locker {
	struct test_rmap *rt;
	enum lock_user user;
	struct mm_struct *mm;
	bool gives_way;		/* drops the lock if somebody waits for it */
	struct i_mmap_shards *shards;	/* of a promoter */
	bool promoted;
	bool dropped;
	struct completion trying;
	struct completion locked;
	struct completion drop;
	struct task_struct *task;
};

static int locker_thread(void *arg)
{
	struct locker *l = arg;
	struct address_space *mapping = l->rt->mapping;

	complete(&l->trying);
	switch (l->user) {
	case MODIFIER:
		i_mmap_lock_modify(mapping, l->mm);
		break;
	case WALKER:
		i_mmap_lock_walk(mapping);
		break;
	case EXCLUSIVE:
		i_mmap_lock_exclusive(mapping);
		break;
	case PROMOTER:
	case STRANGER:
		down_write(i_mmap_rwsem(mapping));
		break;
	}
	complete(&l->locked);

	while (!wait_for_completion_timeout(&l->drop, 1)) {
		if (READ_ONCE(l->rt->ending))
			break;
		if (l->gives_way && rwsem_is_contended(i_mmap_rwsem(mapping)))
			break;
	}

	switch (l->user) {
	case MODIFIER:
		i_mmap_unlock_modify(mapping, l->mm);
		break;
	case WALKER:
		i_mmap_unlock_walk(mapping);
		break;
	case EXCLUSIVE:
		i_mmap_unlock_exclusive(mapping);
		break;
	case PROMOTER:
		l->promoted = try_promote(l->rt, l->shards);
		up_write(i_mmap_rwsem(mapping));
		break;
	case STRANGER:
		up_write(i_mmap_rwsem(mapping));
		break;
	}
	return 0;
}

static void stop_locker(void *arg)
{
	struct locker *l = arg;

	/* After a failure it may wait for one that is stopped later. */
	if (!l->dropped)
		WRITE_ONCE(l->rt->ending, true);
	kthread_stop_put(l->task);
}

static void let_drop(struct locker *l)
{
	l->dropped = true;
	complete(&l->drop);
}

/* Return when the thread of @l has dropped the lock. */
static void end_locker(struct kunit *test, struct locker *l)
{
	let_drop(l);
	kunit_release_action(test, stop_locker, l);
}

static bool gets_lock(struct locker *l, unsigned long timeout)
{
	return wait_for_completion_timeout(&l->locked, timeout);
}

static struct locker *new_locker(struct kunit *test, enum lock_user user,
				 unsigned int mm)
{
	struct test_rmap *rt = test->priv;
	struct locker *l;

	l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, l);
	l->rt = rt;
	l->user = user;
	l->mm = rt->mms[mm];
	init_completion(&l->trying);
	init_completion(&l->locked);
	init_completion(&l->drop);
	return l;
}

static void start_locker(struct kunit *test, struct locker *l)
{
	struct task_struct *task;

	task = kthread_create(locker_thread, l, "i_mmap_locker");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	/* It may end before kthread_stop_put(). */
	l->task = get_task_struct(task);
	wake_up_process(task);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_locker, l));
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&l->trying,
							    SURELY_FREE));
}

static struct locker *lock_as(struct kunit *test, enum lock_user user,
			      unsigned int mm)
{
	struct locker *l = new_locker(test, user, mm);

	start_locker(test, l);
	return l;
}

/* How many are said to walk, which is nobody if modifiers may have the lock. */
static int nr_walkers(const struct test_rmap *rt)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(rt->mapping);

	return shards ? atomic_read(&shards->walkers) : 0;
}

static void check_not_locked(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	bool walk, exclusive;

	walk = i_mmap_trylock_walk(rt->mapping);
	if (walk)
		i_mmap_unlock_walk(rt->mapping);
	exclusive = i_mmap_trylock_exclusive(rt->mapping);
	if (exclusive)
		i_mmap_unlock_exclusive(rt->mapping);

	KUNIT_ASSERT_TRUE(test, walk);
	KUNIT_ASSERT_TRUE(test, exclusive);
	KUNIT_ASSERT_EQ(test, nr_walkers(rt), 0);
}

struct lock_case {
	const char *str;
	enum lock_user holder;
	enum lock_user other;
	unsigned int other_mm;	/* the holder's is 0 */
};

static const struct lock_case lock_cases[] = {
	{ "modifier, another of the same mm", MODIFIER, MODIFIER, 0 },
	{ "modifier, another of the same home", MODIFIER, MODIFIER, 1 },
	{ "modifier, another of the next home", MODIFIER, MODIFIER, 2 },
	{ "modifier, another of the last home", MODIFIER, MODIFIER,
	  NR_MMS - 1 },
	{ "modifier, walker", MODIFIER, WALKER, 0 },
	{ "modifier, exclusive", MODIFIER, EXCLUSIVE, 0 },
	{ "walker, modifier", WALKER, MODIFIER, 0 },
	{ "walker, modifier of another home", WALKER, MODIFIER, NR_MMS - 1 },
	{ "walker, exclusive", WALKER, EXCLUSIVE, 0 },
	{ "walker, walker", WALKER, WALKER, 0 },
	{ "exclusive, modifier", EXCLUSIVE, MODIFIER, 0 },
	{ "exclusive, walker", EXCLUSIVE, WALKER, 0 },
	{ "exclusive, exclusive", EXCLUSIVE, EXCLUSIVE, 0 },
};

/* @holder has the lock, or gets it soon. Who else can? Drop it. */
static void check_lock(struct kunit *test, struct locker *holder,
		       const struct lock_case *c)
{
	struct test_rmap *rt = test->priv;
	bool walk, exclusive, together, got;
	struct locker *other;

	KUNIT_ASSERT_TRUE(test, gets_lock(holder, SURELY_FREE));

	walk = i_mmap_trylock_walk(rt->mapping);
	if (walk)
		i_mmap_unlock_walk(rt->mapping);
	exclusive = i_mmap_trylock_exclusive(rt->mapping);
	if (exclusive)
		i_mmap_unlock_exclusive(rt->mapping);
	KUNIT_EXPECT_EQ(test, walk, c->holder == WALKER);
	KUNIT_EXPECT_FALSE(test, exclusive);

	together = (c->holder == WALKER && c->other == WALKER) ||
		   (rt->sharded && rt->homes[c->other_mm] != rt->homes[0] &&
		    c->holder == MODIFIER && c->other == MODIFIER);

	other = lock_as(test, c->other, c->other_mm);
	got = gets_lock(other, together ? SURELY_FREE : BLOCKED_FOR);
	KUNIT_ASSERT_EQ(test, got, together);

	end_locker(test, holder);
	if (!got)
		KUNIT_ASSERT_TRUE(test, gets_lock(other, SURELY_FREE));
	end_locker(test, other);
	check_not_locked(test);
}

/* Seen to fail if modifiers did not lock their shard. */
static void lock_protocol(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i;

	promotion_point(test);
	check_not_locked(test);
	for (i = 0; i < ARRAY_SIZE(lock_cases); i++) {
		const struct lock_case *c = &lock_cases[i];

		rt->at = c->str;
		check_lock(test, lock_as(test, c->holder, 0), c);
	}
}

/*
 * Modifiers of a sharded mapping need nothing that others use, but their shard:
 * not the semaphore, whoever has it. Walkers that do not get the lock leave no
 * trace, or modifiers would need the semaphore from then on.
 *
 * Seen to fail if modifiers took the semaphore for reading.
 */
static void modifiers_apart(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	bool walk, exclusive, got;
	struct locker *stranger, *holder;
	int i;

	promotion_point(test);
	for (i = 0; i < NR_MMS; i++) {
		stranger = lock_as(test, STRANGER, 0);
		KUNIT_ASSERT_TRUE(test, gets_lock(stranger, SURELY_FREE));
		holder = lock_as(test, MODIFIER, i);
		got = gets_lock(holder, SURELY_FREE);
		end_locker(test, stranger);
		KUNIT_ASSERT_TRUE(test, got);

		walk = i_mmap_trylock_walk(rt->mapping);
		if (walk)
			i_mmap_unlock_walk(rt->mapping);
		exclusive = i_mmap_trylock_exclusive(rt->mapping);
		if (exclusive)
			i_mmap_unlock_exclusive(rt->mapping);
		KUNIT_EXPECT_FALSE(test, walk);
		KUNIT_EXPECT_FALSE(test, exclusive);
		end_locker(test, holder);
	}
	check_not_locked(test);
}

/*
 * Walkers walk side by side, and the last of them lets modifiers in.
 *
 * Seen to fail if walkers took the semaphore for writing, and if the first of
 * several that ended its walk let modifiers in.
 */
static void walkers_together(struct kunit *test)
{
	static const unsigned int mms[] = { 0, NR_MMS / 2, NR_MMS - 1 };
	struct locker *first, *second, *modifiers[ARRAY_SIZE(mms)];
	struct test_rmap *rt = test->priv;
	bool third;
	int i;

	promotion_point(test);
	first = lock_as(test, WALKER, 0);
	KUNIT_ASSERT_TRUE(test, gets_lock(first, SURELY_FREE));
	second = lock_as(test, WALKER, 0);
	KUNIT_ASSERT_TRUE(test, gets_lock(second, SURELY_FREE));
	third = i_mmap_trylock_walk(rt->mapping);
	if (third)
		i_mmap_unlock_walk(rt->mapping);
	KUNIT_EXPECT_TRUE(test, third);

	for (i = 0; i < ARRAY_SIZE(mms); i++)
		modifiers[i] = lock_as(test, MODIFIER, mms[i]);
	for (i = 0; i < ARRAY_SIZE(mms); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(modifiers[i], BLOCKED_FOR));
	end_locker(test, first);
	for (i = 0; i < ARRAY_SIZE(mms); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(modifiers[i], BLOCKED_FOR));
	end_locker(test, second);

	for (i = 0; i < ARRAY_SIZE(mms); i++)
		let_drop(modifiers[i]);
	for (i = 0; i < ARRAY_SIZE(mms); i++) {
		KUNIT_ASSERT_TRUE(test, gets_lock(modifiers[i], SURELY_FREE));
		end_locker(test, modifiers[i]);
	}
	check_not_locked(test);
}

/* Somebody who takes the lock again and again */
struct streamer {
	struct test_rmap *rt;
	enum lock_user user;
	struct mm_struct *mm;
	unsigned int nr_locked, before;
	struct task_struct *task;
};

#define NR_STREAMERS	4

static int streamer_thread(void *arg)
{
	struct streamer *s = arg;
	struct address_space *mapping = s->rt->mapping;

	while (!kthread_should_stop()) {
		if (s->user == WALKER) {
			i_mmap_lock_walk(mapping);
			usleep_range(50, 100);
			i_mmap_unlock_walk(mapping);
		} else {
			i_mmap_lock_modify(mapping, s->mm);
			usleep_range(50, 100);
			i_mmap_unlock_modify(mapping, s->mm);
		}
		WRITE_ONCE(s->nr_locked, s->nr_locked + 1);
		cond_resched();
	}
	return 0;
}

static void stop_streamer(void *arg)
{
	struct streamer *s = arg;

	kthread_stop(s->task);
}

static bool all_went_on(struct streamer **s)
{
	unsigned int i;

	for (i = 0; i < NR_STREAMERS; i++) {
		if (READ_ONCE(s[i]->nr_locked) == s[i]->before)
			return false;
	}
	return true;
}

/*
 * Walkers that overlap do not keep modifiers out for ever, nor do modifiers of
 * several shards keep walkers waiting for ever; and while the others get the
 * lock, those go on.
 *
 * Seen to fail if modifiers that meet walkers tried again instead of waiting in
 * line for the semaphore.
 */
static void nobody_starves(struct kunit *test)
{
	static const enum lock_user streams[] = { WALKER, MODIFIER };
	struct test_rmap *rt = test->priv;
	unsigned int i, j;

	promotion_point(test);
	for (i = 0; i < ARRAY_SIZE(streams); i++) {
		enum lock_user other = streams[i] == WALKER ? MODIFIER : WALKER;
		struct streamer *s[NR_STREAMERS];
		unsigned long end;

		rt->at = streams[i] == WALKER ? "walkers" : "modifiers";
		for (j = 0; j < ARRAY_SIZE(s); j++) {
			s[j] = kunit_kzalloc(test, sizeof(*s[j]), GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, s[j]);
			s[j]->rt = rt;
			s[j]->user = streams[i];
			s[j]->mm = rt->mms[j * (NR_MMS - 1) / (ARRAY_SIZE(s) - 1)];
			s[j]->task = kthread_run(streamer_thread, s[j],
						 "i_mmap_streamer");
			KUNIT_ASSERT_FALSE(test, IS_ERR(s[j]->task));
			KUNIT_ASSERT_EQ(test, 0,
					kunit_add_action_or_reset(test, stop_streamer,
								  s[j]));
		}
		for (j = 0; j < ARRAY_SIZE(s); j++)
			s[j]->before = READ_ONCE(s[j]->nr_locked);
		end = jiffies + SURELY_FREE;
		for (j = 0; j < 20 || (!all_went_on(s) && time_before(jiffies, end)); j++) {
			struct locker *l = lock_as(test, other, j % NR_MMS);

			KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));
			end_locker(test, l);
		}
		KUNIT_EXPECT_TRUE(test, all_went_on(s));
		for (j = 0; j < ARRAY_SIZE(s); j++)
			kunit_release_action(test, stop_streamer, s[j]);
	}
	check_not_locked(test);
}

/* Let somebody hold the lock who is going to promote the mapping. */
static struct locker *lock_as_promoter(struct kunit *test)
{
	struct locker *l = new_locker(test, PROMOTER, 0);
	struct test_rmap *rt = test->priv;

	l->shards = new_shards(test, rt->form.nr_shards);
	start_locker(test, l);
	KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));
	return l;
}

static void end_promoter(struct kunit *test, struct locker *l)
{
	end_locker(test, l);
	KUNIT_ASSERT_TRUE(test, l->promoted);
	model_promotion(test->priv);
}

/*
 * Who has waited for the lock of a mapping without shards, and gets that of one
 * that has some, must have taken it the right way.
 *
 * Seen to fail if walkers did not look again whether the mapping was sharded.
 * If modifiers did not, they unlocked what was not locked, and it hung.
 */
static void promotion_while_waiting(struct kunit *test)
{
	static const struct {
		enum lock_user user;
		unsigned int mm;
	} waiters[] = {
		{ MODIFIER, 0 }, { WALKER, 0 }, { MODIFIER, 1 },
		{ MODIFIER, 2 }, { EXCLUSIVE, 0 }, { MODIFIER, NR_MMS - 1 },
		{ WALKER, 0 },
	};
	struct locker *promoter, *waiter, *all[ARRAY_SIZE(waiters)];
	struct test_rmap *rt = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(lock_cases); i++) {
		const struct lock_case *c = &lock_cases[i];

		rt->at = c->str;
		set_range(&rt->vmas[0], 0, 0);
		link_vma(rt, &rt->vmas[0]);

		promoter = lock_as_promoter(test);
		waiter = lock_as(test, c->holder, 0);
		KUNIT_ASSERT_FALSE(test, gets_lock(waiter, BLOCKED_FOR));
		end_promoter(test, promoter);
		check_lock(test, waiter, c);

		check_tree(test);
		unlink_vma(rt, &rt->vmas[0]);
		start_over(test);
	}

	/* Now all at the same time. */
	rt->at = "many";
	promoter = lock_as_promoter(test);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		all[i] = lock_as(test, waiters[i].user, waiters[i].mm);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(all[i], 1));
	end_promoter(test, promoter);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		let_drop(all[i]);
	for (i = 0; i < ARRAY_SIZE(waiters); i++) {
		KUNIT_ASSERT_TRUE(test, gets_lock(all[i], SURELY_FREE));
		end_locker(test, all[i]);
	}
	check_not_locked(test);
}

/* Promotion because of contention */

/*
 * More arrivals at a lock that is taken than it takes to promote the mapping,
 * which are counted by CPU.
 */
static unsigned int enough_arrivals(void)
{
	return clamp(16 * num_online_cpus(), 32, 128);
}

/* Link the VMA, or unlink it, while somebody has the lock. */
static void modify_contended(struct kunit *test, struct test_vma *v)
{
	struct locker *l = new_locker(test, WALKER, 0);
	struct test_rmap *rt = test->priv;

	l->gives_way = true;
	start_locker(test, l);
	KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));
	if (is_linked(v))
		unlink_vma(rt, v);
	else
		link_vma(rt, v);
	end_locker(test, l);

	if (!rt->sharded && i_mmap_shards_of(rt->mapping))
		model_promotion(rt);
	check_tree(test);
}

/* Return whether the mapping is sharded in the end. */
static bool contend(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	unsigned int i;

	for (i = 0; i < enough_arrivals() && !rt->sharded; i++)
		modify_contended(test, &rt->vmas[i % MAX_VMAS]);
	return rt->sharded;
}

/* The mapping of an inode, which the tests that need no inode do without. */
static void be_own_mapping(struct test_rmap *rt)
{
	rt->mapping->host = &rt->inode;
}

static void be_without_host(struct test_rmap *rt)
{
	rt->mapping->host = NULL;
}

static void be_marked(struct test_rmap *rt)
{
	rt->mapping->host = &rt->inode;
	set_bit(AS_I_MMAP_UNSHARDED, &rt->mapping->flags);
}

static void be_foreign_mapping(struct test_rmap *rt)
{
	rt->mapping = &rt->foreign_mapping;
	rt->mapping->host = &rt->inode;
}

/* That is counted again, but not often. */
static void be_large(struct test_rmap *rt)
{
	rt->mapping->host = &rt->inode;
	set_bit(AS_I_MMAP_MANY_VMAS, &rt->mapping->flags);
}

static const struct {
	const char *str;
	void (*prepare)(struct test_rmap *rt);
	bool sharded;
	bool seldom;	/* the other answer is right, too, but not twice */
} contention_cases[] = {
	{ "no host", be_without_host, false, false },
	{ "marked as unsharded", be_marked, false, false },
	{ "not the host's own mapping", be_foreign_mapping, false, false },
	{ "had too many VMAs", be_large, false, true },
	{ "host's own mapping", be_own_mapping, true, false },
};

static void forbid_promotion(void *unused)
{
	if (SHARDING)
		i_mmap_allow_promotion(NULL);
}

static void allow_promotion(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	need_sharding(test);
	i_mmap_allow_promotion(rt->mapping);
}

/* Return whether the mapping was sharded, but is not any more. */
static bool contend_and_clear(struct kunit *test)
{
	bool sharded = contend(test);
	struct test_rmap *rt = test->priv;

	while (rt->nr_linked)
		unlink_vma(rt, pick_victim(rt, VICTIM_FIRST));
	check_not_locked(test);
	start_over(test);
	return sharded;
}

static void prepare_contention(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	bool forced;
	int i;

	need_sharding(test);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, forbid_promotion, NULL));
	be_own_mapping(rt);
	allow_promotion(test);

	/* There are as many shards as the machine needs, maybe one. */
	for (i = 0; i < MAX_VMAS; i++) {
		set_range(&rt->vmas[i], i % 8, i % 8 + i % 3);
		set_mm(rt, &rt->vmas[i], i % 2);
	}

	link_vma(rt, &rt->vmas[0]);
	forced = i_mmap_shards_of(rt->mapping);
	unlink_vma(rt, &rt->vmas[0]);
	start_over(test);
	if (forced)
		kunit_skip(test, "i_mmap_shards=force needs no contention");
}

/*
 * Seen to fail if any of these properties of a mapping was not looked at, and
 * if nothing was ever promoted.
 */
static void contention(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct address_space *own = rt->mapping;
	bool sharded;
	int i;

	prepare_contention(test);
	for (i = 0; i < ARRAY_SIZE(contention_cases); i++) {
		rt->at = contention_cases[i].str;
		address_space_init_once(own);
		rt->mapping = own;
		contention_cases[i].prepare(rt);
		allow_promotion(test);

		sharded = contend_and_clear(test);
		if (sharded != contention_cases[i].sharded &&
		    contention_cases[i].seldom)
			sharded = contend_and_clear(test);
		KUNIT_ASSERT_EQ(test, sharded, contention_cases[i].sharded);
	}
}

static struct i_mmap_shards *no_memory(unsigned int nr)
{
	struct test_rmap *rt = kunit_get_current_test()->priv;

	rt->nr_allocs++;
	return NULL;
}

/*
 * Without memory for shards everything goes on, and is tried again later.
 *
 * Seen to fail if the mapping was marked as unsharded.
 */
static void contention_without_memory(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	prepare_contention(test);

	kunit_activate_static_stub(test, i_mmap_shards_alloc, no_memory);
	KUNIT_ASSERT_FALSE(test, contend(test));
	KUNIT_ASSERT_GT(test, rt->nr_allocs, 0);
	KUNIT_ASSERT_EQ(test, rt->mapping->flags, 0);
	check_not_locked(test);

	kunit_deactivate_static_stub(test, i_mmap_shards_alloc);
	KUNIT_ASSERT_TRUE(test, contend_and_clear(test));
}

/* mapping_mapped(), which takes no lock */

struct poller {
	struct test_rmap *rt;
	unsigned int phase;	/* odd: there is always a VMA */
	unsigned int nr_polls;
	unsigned int nr_wrong;
	struct task_struct *task;
};

static void poll_once(struct poller *p)
{
	/* Pairs with the release in begin_mapped(). */
	unsigned int phase = smp_load_acquire(&p->phase);
	bool mapped = mapping_mapped(p->rt->mapping);

	/* Pairs with smp_wmb() in end_mapped(). */
	smp_rmb();
	if (phase % 2 && READ_ONCE(p->phase) == phase) {
		p->nr_polls++;
		if (!mapped)
			p->nr_wrong++;
	}
}

static int poller_thread(void *arg)
{
	struct poller *p = arg;
	int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < 64; i++)
			poll_once(p);
		cond_resched();
	}
	return 0;
}

static void stop_poller(void *arg)
{
	struct poller *p = arg;

	kthread_stop(p->task);
}

static void begin_mapped(struct poller *p)
{
	/* Who sees the new phase sees the VMAs. */
	smp_store_release(&p->phase, p->phase + 1);
}

static void end_mapped(struct poller *p)
{
	WRITE_ONCE(p->phase, p->phase + 1);
	/* If the poller sees what is removed now, it sees the new phase. */
	smp_wmb();
}

/*
 * Somebody who looks while a mapping is promoted must find it mapped.
 *
 * Seen to fail, with two CPUs, if the home tree was emptied before the VMAs were
 * moved: not for each number of shards in each run, but for some in all of them.
 * If it was emptied just before the shards were published, nothing was noticed:
 * that time is too short.
 */
static void promotion_while_polled(struct kunit *test)
{
	const struct form *form = test->param_value;
	struct test_rmap *rt = test->priv;
	struct test_vma *v = &rt->vmas[0];
	struct crowd crowd;
	unsigned long end;
	struct poller *p;

	p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	p->rt = rt;
	p->task = kthread_run(poller_thread, p, "i_mmap_poller");
	KUNIT_ASSERT_FALSE(test, IS_ERR(p->task));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_poller, p));

	/* A long promotion. */
	link_crowd(test, &crowd, 10000);
	begin_mapped(p);
	promote(test, form->nr_shards);
	end_mapped(p);
	unlink_crowd(test, &crowd);
	start_over(test);

	/* Many short ones. */
	set_range(v, 0, 0);
	/* Of the shard that the poller looks at first. */
	set_mm(rt, v, 0);
	end = jiffies + POLLED_FOR;
	do {
		link_vma(rt, v);
		begin_mapped(p);
		promote(test, form->nr_shards);
		end_mapped(p);
		unlink_vma(rt, v);
		start_over(test);
		cond_resched();
	} while (time_before(jiffies, end));

	kunit_release_action(test, stop_poller, p);
	KUNIT_EXPECT_EQ(test, p->nr_wrong, 0);
	kunit_info(test, "%u polls in %u promotions\n", p->nr_polls,
		   p->phase / 2);
	/* A single CPU may not get to it meanwhile. */
	if (num_online_cpus() > 1)
		KUNIT_EXPECT_GT(test, p->nr_polls, 0);
}

/*
 * Promotion while the mapping is in use
 *
 * The users lock it all the time, and each modifier alternates between linking
 * its VMA and unlinking it. They find out themselves whether somebody is there
 * who must not be.
 *
 * Seen to fail if modifiers did not lock their shard. It hung if modifiers that
 * found the lock free, and a mapping that was not sharded, did not look again
 * when they had the lock.
 */

static const unsigned int busy_mms[] = { 0, 1, 2, NR_MMS - 1 };

#define BUSY_MODIFIERS	ARRAY_SIZE(busy_mms)

/* Behind the modifiers: two that walk, and one that only tries to. */
#define BUSY_TRIER	(BUSY_MODIFIERS + 2)
#define BUSY_USERS	(BUSY_TRIER + 1)

struct bustle {
	struct test_rmap *rt;
	struct rw_semaphore gate;	/* for writing: no user does anything */
	bool linked[BUSY_MODIFIERS];	/* test_rmap.vmas[0], ... */
	atomic_t modifiers[MAX_HOMES];
	atomic_t walkers;
	atomic_t nr_wrong;
};

struct busy_user {
	struct bustle *bustle;
	unsigned int nr;	/* which of BUSY_USERS */
	struct task_struct *task;
};

static void modify_once(struct bustle *b, unsigned int nr)
{
	struct test_rmap *rt = b->rt;
	struct test_vma *v = &rt->vmas[nr];

	lock_modify(rt, v->vma.vm_mm);
	if (atomic_inc_return(&b->modifiers[v->home]) != 1 ||
	    atomic_read(&b->walkers))
		atomic_inc(&b->nr_wrong);
	if (b->linked[nr])
		mapping_rmap_tree_remove(&v->vma, rt->mapping);
	else
		mapping_rmap_tree_insert(&v->vma, rt->mapping);
	b->linked[nr] = !b->linked[nr];
	atomic_dec(&b->modifiers[v->home]);
	unlock_modify(rt, v->vma.vm_mm);
}

static void walk_once(struct bustle *b, unsigned int nr_user)
{
	struct test_rmap *rt = b->rt;
	struct vm_area_struct *vma;
	unsigned int i, nr = 0;

	if (nr_user != BUSY_TRIER)
		i_mmap_lock_walk(rt->mapping);
	else if (!i_mmap_trylock_walk(rt->mapping))
		return;
	atomic_inc(&b->walkers);
	for (i = 0; i < MAX_HOMES; i++) {
		if (atomic_read(&b->modifiers[i]))
			atomic_inc(&b->nr_wrong);
	}
	mapping_rmap_tree_foreach(vma, rt->mapping, 0, ULONG_MAX)
		nr++;
	for (i = 0; i < BUSY_MODIFIERS; i++)
		nr -= b->linked[i];
	if (nr)
		atomic_inc(&b->nr_wrong);
	atomic_dec(&b->walkers);
	i_mmap_unlock_walk(rt->mapping);
}

static int busy_thread(void *arg)
{
	struct busy_user *u = arg;
	struct bustle *b = u->bustle;

	while (!kthread_should_stop()) {
		down_read(&b->gate);
		if (u->nr < BUSY_MODIFIERS)
			modify_once(b, u->nr);
		else
			walk_once(b, u->nr);
		up_read(&b->gate);
		cond_resched();
	}
	return 0;
}

static void stop_busy_user(void *arg)
{
	struct busy_user *u = arg;

	kthread_stop(u->task);
}

/* With the gate closed, make the mapping as new. */
static void clear_bustle(struct bustle *b)
{
	struct test_rmap *rt = b->rt;
	unsigned int i;

	for (i = 0; i < BUSY_MODIFIERS; i++) {
		struct vm_area_struct *vma = &rt->vmas[i].vma;

		if (!b->linked[i])
			continue;
		lock_modify(rt, vma->vm_mm);
		mapping_rmap_tree_remove(vma, rt->mapping);
		unlock_modify(rt, vma->vm_mm);
		b->linked[i] = false;
	}
	i_mmap_destroy(rt->mapping);
}

static void promotion_while_busy(struct kunit *test)
{
	const struct form *form = test->param_value;
	unsigned long end = jiffies + BUSY_FOR;
	struct test_rmap *rt = test->priv;
	struct bustle *b;
	unsigned int i;

	b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, b);
	b->rt = rt;
	init_rwsem(&b->gate);

	for (i = 0; i < BUSY_USERS; i++) {
		struct busy_user *u;

		if (i < BUSY_MODIFIERS) {
			set_range(&rt->vmas[i], 0, i);
			set_mm(rt, &rt->vmas[i], busy_mms[i]);
		}
		u = kunit_kzalloc(test, sizeof(*u), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, u);
		u->bustle = b;
		u->nr = i;
		u->task = kthread_run(busy_thread, u, "i_mmap_busy");
		KUNIT_ASSERT_FALSE(test, IS_ERR(u->task));
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, stop_busy_user,
							  u));
	}

	do {
		struct i_mmap_shards *shards = new_shards(test, form->nr_shards);
		bool promoted, unlocked;
		int walkers;

		down_write(i_mmap_rwsem(rt->mapping));
		promoted = try_promote(rt, shards);
		up_write(i_mmap_rwsem(rt->mapping));

		usleep_range(50, 100);

		down_write(&b->gate);
		walkers = nr_walkers(rt);
		unlocked = i_mmap_trylock_exclusive(rt->mapping);
		if (unlocked) {
			i_mmap_unlock_exclusive(rt->mapping);
			clear_bustle(b);
		}
		up_write(&b->gate);

		KUNIT_ASSERT_TRUE(test, promoted);
		KUNIT_ASSERT_EQ(test, walkers, 0);
		KUNIT_ASSERT_TRUE(test, unlocked);
		KUNIT_ASSERT_EQ(test, atomic_read(&b->nr_wrong), 0);
	} while (time_before(jiffies, end));
}

/* No VMA may be looked at: the memory of some may be gone. */
static void forget_vmas(struct test_rmap *rt)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(rt->mapping);
	unsigned int i;

	for (i = 0; shards && i < shards->nr; i++)
		shards->shard[i]->tree = RB_ROOT_CACHED;
}

/* Runs after the threads of the test were stopped. */
static void destroy_mapping(void *arg)
{
	struct test_rmap *rt = arg;

	/* A test that failed, or was skipped, has left VMAs. */
	forget_vmas(rt);
	i_mmap_destroy(rt->mapping);
}

static int init_mms(struct kunit *test, struct test_rmap *rt)
{
	unsigned int i;

	for (i = 0; i < NR_MMS; i++) {
		rt->mms[i] = kunit_kzalloc(test, sizeof(*rt->mms[i]),
					   GFP_KERNEL);
		if (!rt->mms[i])
			return -ENOMEM;

		/* From the first shard to the last one. */
		rt->homes[i] = (i / 2) * (rt->form.nr_shards - 1) /
			       (NR_MMS / 2 - 1);
#if defined(CONFIG_SMP) && defined(CONFIG_MMU)
		rt->mms[i]->i_mmap_home = rt->homes[i];
#endif
	}
	return 0;
}

static int mapping_rmap_tree_test_init(struct kunit *test)
{
	const struct form *form = test->param_value ?: &forms[0];
	struct test_rmap *rt;
	int i, ret;

	if (form->when != NEVER)
		need_sharding(test);

	rt = kunit_kzalloc(test, sizeof(*rt), GFP_KERNEL);
	if (!rt)
		return -ENOMEM;
	test->priv = rt;

	rt->form = *form;
	ret = init_mms(test, rt);
	if (ret)
		return ret;

	address_space_init_once(&rt->inode.i_data);
	address_space_init_once(&rt->foreign_mapping);
	/* For the tracepoint. */
	rt->inode.i_sb = kunit_kzalloc(test, sizeof(*rt->inode.i_sb),
				       GFP_KERNEL);
	if (!rt->inode.i_sb)
		return -ENOMEM;
	rt->mapping = &rt->inode.i_data;

	INIT_LIST_HEAD(&rt->model);
	for (i = 0; i < MAX_VMAS; i++) {
		INIT_LIST_HEAD(&rt->vmas[i].link);
		set_mm(rt, &rt->vmas[i], i);
	}

	ret = kunit_add_action_or_reset(test, destroy_mapping, rt);
	if (ret)
		return ret;

	if (form->when == WHEN_EMPTY)
		promote(test, form->nr_shards);
	return 0;
}

static void mapping_rmap_tree_test_exit(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	if (!rt || test->status != KUNIT_FAILURE)
		return;
	if (rt->at)
		kunit_info(test, "it was at: %s\n", rt->at);
	if (rt->used_seed)
		kunit_info(test, "reproduce with %s.seed=%llu\n",
			   KBUILD_MODNAME, seed);
}

static int mapping_rmap_tree_suite_init(struct kunit_suite *suite)
{
	if (SHARDING)
		sharding = i_mmap_sharding_enable();
	return 0;
}

static void mapping_rmap_tree_suite_exit(struct kunit_suite *suite)
{
	if (SHARDING)
		i_mmap_sharding_restore();
}

static struct kunit_case mapping_rmap_tree_test_cases[] = {
	KUNIT_CASE_PARAM(empty_tree, form_gen_params),
	KUNIT_CASE_PARAM(one_vma, form_gen_params),
	KUNIT_CASE_PARAM(known_overlaps, form_gen_params),
	KUNIT_CASE_PARAM(remove_all, form_gen_params),
	KUNIT_CASE_PARAM(restart_after_removal, form_gen_params),
	KUNIT_CASE_PARAM(fork_order, form_gen_params),
	KUNIT_CASE_PARAM(fork_longest, form_gen_params),
	KUNIT_CASE_PARAM(random_operations, form_gen_params),
	KUNIT_CASE_PARAM(promotion_keeps_order, promotion_gen_params),
	KUNIT_CASE_PARAM(promotion_bound, promotion_gen_params),
	KUNIT_CASE_PARAM(promotion_time, promotion_gen_params),
	KUNIT_CASE_PARAM(recycling, promotion_gen_params),
	KUNIT_CASE_PARAM(lock_protocol, form_gen_params),
	KUNIT_CASE_PARAM(modifiers_apart, promotion_gen_params),
	KUNIT_CASE_PARAM(walkers_together, promotion_gen_params),
	KUNIT_CASE_PARAM(nobody_starves, promotion_gen_params),
	KUNIT_CASE_PARAM(promotion_while_waiting, promotion_gen_params),
	KUNIT_CASE_PARAM(promotion_while_polled, promotion_gen_params),
	KUNIT_CASE_PARAM(promotion_while_busy, promotion_gen_params),
	KUNIT_CASE(contention),
	KUNIT_CASE(contention_without_memory),
	{}
};

static struct kunit_suite mapping_rmap_tree_test_suite = {
	.name = "mapping_rmap_tree",
	.suite_init = mapping_rmap_tree_suite_init,
	.suite_exit = mapping_rmap_tree_suite_exit,
	.init = mapping_rmap_tree_test_init,
	.exit = mapping_rmap_tree_test_exit,
	.test_cases = mapping_rmap_tree_test_cases,
};

kunit_test_suite(mapping_rmap_tree_test_suite);

MODULE_DESCRIPTION("Tests for the file rmap tree");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
