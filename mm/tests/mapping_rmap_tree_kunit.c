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
 * of each tree, and a walk visits one tree after the other, by number.
 *
 * What a walk must visit is known from a plain list of the same VMAs, which is
 * kept in walk order and searched from end to end.
 *
 * Tests of the tree run in several forms: with a mapping that is never sharded,
 * with one that is sharded while it is empty, and with one that is sharded
 * while VMAs are in it. The tests choose the trees by themselves. They were seen
 * to fail if the first, or the next, VMA was looked for in one tree only, if the
 * first tree or the last one was left out, and if a walk went on from the tree
 * behind the next one.
 *
 * Tests of the lock, and of how a mapping gets its trees and loses them,
 * follow. They say with what faults they were seen to fail.
 *
 * Files are sharded where there are several groups of CPUs. On a smaller machine,
 * boot with i_mmap_shards=4, or more: up to 65 trees are tested, which is the first
 * and one for each of 64 groups.
 */

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
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/rbtree_augmented.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/sprintf.h>
#include <linux/string.h>

#include "../i_mmap.h"

#define MAX_VMAS	64
#define RANDOM_STEPS	2000

/* Two have the same tree each, like a parent and its child. */
#define NR_PLACES	24

/* In jiffies. SURELY_FREE is not waited for if all is well. */
#define BLOCKED_FOR	(HZ / 50 + 1)
#define SURELY_FREE	(30 * HZ)
#define BUSY_FOR	(HZ / 4)

static unsigned long long seed = 20120731;
module_param(seed, ullong, 0644);
MODULE_PARM_DESC(seed, "Seed of the randomised tests");

enum when {
	NEVER,
	WHEN_EMPTY,
	WHEN_IN_USE,
};

/* When a mapping is sharded, and how many trees VMAs are in, with the first. */
struct form {
	const char *str;
	enum when when;
	unsigned int nr_trees;
};

static const struct form forms[] = {
	{ "unsharded", NEVER, 12 },
	{ "first tree", WHEN_EMPTY, 1 },
	{ "2 trees", WHEN_EMPTY, 2 },
	{ "3 trees", WHEN_EMPTY, 3 },
	{ "12 trees", WHEN_EMPTY, 12 },
	{ "65 trees", WHEN_EMPTY, 65 },
	{ "then first tree", WHEN_IN_USE, 1 },
	{ "then 2 trees", WHEN_IN_USE, 2 },
	{ "then 3 trees", WHEN_IN_USE, 3 },
	{ "then 12 trees", WHEN_IN_USE, 12 },
	{ "then 65 trees", WHEN_IN_USE, 65 },
};

KUNIT_ARRAY_PARAM_DESC(form, forms, str);

/* For tests that shard a mapping themselves. */
static const struct form shardings[] = {
	{ "first tree", WHEN_IN_USE, 1 },
	{ "2 trees", WHEN_IN_USE, 2 },
	{ "3 trees", WHEN_IN_USE, 3 },
	{ "12 trees", WHEN_IN_USE, 12 },
	{ "65 trees", WHEN_IN_USE, 65 },
};

KUNIT_ARRAY_PARAM_DESC(sharding, shardings, str);

/* A VMA, and what is known about it without asking the code under test. */
struct test_vma {
	struct vm_area_struct vma;
	pgoff_t start;
	pgoff_t last;
	unsigned int place;	/* index in test_rmap.numbers */
	unsigned int nr;	/* of the tree it is in, if linked */
	struct list_head link;	/* in test_rmap.model, if linked */
};

struct test_rmap {
	struct address_space *mapping;	/* inode.i_data, as a rule */
	struct inode inode;
	struct address_space foreign_mapping;
	unsigned int numbers[NR_PLACES];

	struct form form;
	bool sharded;
	struct list_head model;	/* the linked VMAs, in walk order */
	unsigned int nr_linked;

	/* Which of its cases the test is at, if it has several. */
	const char *at;
	/* To stop kthreads that wait for one another. */
	bool ending;

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

/* Let @v come to the tree with this number. */
static void set_place(struct test_vma *v, unsigned int place)
{
	v->place = place % NR_PLACES;
}

/* The other place in the same tree. */
static unsigned int relative(unsigned int place)
{
	return place ^ 1;
}

/* Without I_MMAP_SHARDING the compiler sees that this does not return. */
static __always_inline void need_sharding(struct kunit *test, unsigned int nr_trees)
{
	if (!i_mmap_sharding_enabled())
		kunit_skip(test, "one tree is enough for this machine: boot with i_mmap_shards=4");
	if (nr_trees > i_mmap_nr_groups + 1)
		kunit_skip(test, "there are %u group(s) of CPUs", i_mmap_nr_groups);
}

/* What it takes to shard a mapping, which is not to be allocated with its lock. */
struct shard_memory {
	struct i_mmap_set *set;
	struct i_mmap_tree *trees[NR_PLACES];
};

static void alloc_shard_memory(struct test_rmap *rt, struct shard_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	if (!i_mmap_sharding_enabled())
		return;
	memory->set = i_mmap_alloc_set();
	for (unsigned int i = 0; i < NR_PLACES; i++) {
		if (rt->numbers[i])
			memory->trees[i] = i_mmap_alloc_tree(rt->numbers[i] - 1);
	}
}

/* Free what was not used. */
static void free_shard_memory(struct shard_memory *memory)
{
	kfree(memory->set);
	for (unsigned int i = 0; i < NR_PLACES; i++)
		kfree(memory->trees[i]);
}

/* With i_mmap_rwsem for writing: shard the mapping, and add the trees. */
static bool try_shard(struct test_rmap *rt, struct shard_memory *memory)
{
	struct i_mmap_set *set = i_mmap_set_of(rt->mapping);

	if (!i_mmap_sharding_enabled() || (!set && !memory->set))
		return false;
	if (!set) {
		set = memory->set;
		i_mmap_shard(rt->mapping, set);
		memory->set = NULL;
	}
	for (unsigned int i = 0; i < NR_PLACES; i++) {
		unsigned int nr = rt->numbers[i];

		if (!nr || set->tree[nr - 1])
			continue;
		if (!memory->trees[i])
			return false;
		i_mmap_add_tree(set, nr - 1, memory->trees[i]);
		memory->trees[i] = NULL;
	}
	return true;
}

static bool lock_and_shard(struct test_rmap *rt)
{
	struct shard_memory memory;
	bool sharded;

	alloc_shard_memory(rt, &memory);
	down_write(&rt->mapping->i_mmap_rwsem);
	sharded = try_shard(rt, &memory);
	up_write(&rt->mapping->i_mmap_rwsem);
	free_shard_memory(&memory);
	return sharded;
}

static void shard(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	rt->sharded = lock_and_shard(rt);
	KUNIT_ASSERT_TRUE(test, rt->sharded);
}

/* The place in a test where a mapping that is in use is sharded. */
static void sharding_point(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	if (rt->form.when == WHEN_IN_USE && !rt->sharded)
		shard(test);
}

/* What happens when an inode goes away, and another one comes in its place. */
static void start_over(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct i_mmap_set *left;

	KUNIT_ASSERT_EQ(test, rt->nr_linked, 0);

	i_mmap_destroy(rt->mapping);
	rt->sharded = false;
	left = i_mmap_set_of(rt->mapping);
	if (left)
		rt->mapping->i_mmap = RB_ROOT_CACHED;	/* not freed twice */
	KUNIT_ASSERT_NULL(test, left);
	KUNIT_ASSERT_FALSE(test, mapping_mapped(rt->mapping));

	if (rt->form.when == WHEN_EMPTY)
		shard(test);
}

/* Which tree a VMA of this place comes to now. */
static unsigned int number_of(struct test_rmap *rt, unsigned int place)
{
	return rt->sharded ? rt->numbers[place] : 0;
}

/* Modify the tree the way mm/ does it, and the model likewise. */

static struct rb_root_cached *lock_modify(struct test_rmap *rt,
					  const struct vm_area_struct *vma)
{
	struct rb_root_cached *root = i_mmap_lock_modify(rt->mapping, vma);

	flush_dcache_mmap_lock(rt->mapping);
	return root;
}

static void unlock_modify(struct test_rmap *rt,
			  const struct vm_area_struct *vma)
{
	flush_dcache_mmap_unlock(rt->mapping);
	i_mmap_unlock_modify(rt->mapping, vma);
}

/* In a walk, does @v come before VMAs that are linked later with @w's start? */
static bool goes_before(const struct test_vma *v, const struct test_vma *w)
{
	if (v->nr != w->nr)
		return v->nr < w->nr;
	return v->start <= w->start;
}

static void add_to_model(struct test_rmap *rt, struct test_vma *v)
{
	struct list_head *pos;

	v->nr = vma_i_mmap_tree(&v->vma);
	/* Behind all VMAs that do not start later. */
	list_for_each(pos, &rt->model) {
		if (!goes_before(list_entry(pos, struct test_vma, link), v))
			break;
	}
	list_add_tail(&v->link, pos);
	rt->nr_linked++;
}

/* The test has chosen the tree. */
static void link_vma(struct test_rmap *rt, struct test_vma *v)
{
	struct rb_root_cached *root;

	vma_set_i_mmap_tree(&v->vma, number_of(rt, v->place));
	root = lock_modify(rt, &v->vma);
	mapping_rmap_tree_insert(&v->vma, root);
	unlock_modify(rt, &v->vma);
	add_to_model(rt, v);
}

/*
 * @v must start where @prev starts, and must not end later: the tree does not
 * update rb_subtree_last of @prev and the nodes above it. fork() does not need
 * that, since it inserts a copy of @prev. It comes to the same tree.
 */
static void link_vma_after(struct test_rmap *rt, struct test_vma *v,
			   struct test_vma *prev)
{
	struct rb_root_cached *root;

	v->nr = prev->nr;
	vma_set_i_mmap_tree(&v->vma, v->nr);
	root = lock_modify(rt, &v->vma);
	mapping_rmap_tree_insert_after(&v->vma, &prev->vma, root);
	unlock_modify(rt, &v->vma);

	list_add(&v->link, &prev->link);
	rt->nr_linked++;
}

static void unlink_vma(struct test_rmap *rt, struct test_vma *v)
{
	struct rb_root_cached *root = lock_modify(rt, &v->vma);

	mapping_rmap_tree_remove(&v->vma, root);
	unlock_modify(rt, &v->vma);

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

/* Tree number @number, with @nr VMAs so far. */
static const char *find_damage_in_tree(struct test_rmap *rt,
				       const struct rb_root_cached *tree,
				       unsigned int number, unsigned int *nr,
				       struct test_vma **where)
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
		if (v->nr != number || vma_i_mmap_tree(&v->vma) != number)
			return "is not in its tree";
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
	struct i_mmap_set *set = i_mmap_set_of(rt->mapping);
	const char *damage;
	unsigned int nr = 0;

	*where = NULL;
	if (rt->sharded != !!set)
		return set ? "sharded" : "not sharded";
	if (set && rt->mapping->i_mmap.rb_leftmost)
		return "there are VMAs outside the set";

	damage = find_damage_in_tree(rt, set ? &set->first : &rt->mapping->i_mmap,
				     0, &nr, where);
	for (unsigned int i = 0; set && !damage && i < i_mmap_nr_groups; i++) {
		if (!set->tree[i] != !(set->present & BIT_ULL(i)))
			return "present is wrong";
		if (set->tree[i])
			damage = find_damage_in_tree(rt, &set->tree[i]->root,
						     i + 1, &nr, where);
	}
	if (damage)
		return damage;
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
	KUNIT_ASSERT_EQ(test, !!mapping_mapped(rt->mapping),
			rt->nr_linked || rt->sharded);
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
	check_tree(test);
	check_hit(test, 0, 0, false);
	check_hit(test, 0, ULONG_MAX, false);
	check_hit(test, 1, ULONG_MAX - 1, false);
	check_hit(test, ULONG_MAX, ULONG_MAX, false);
}

static void empty_tree(struct kunit *test)
{
	check_empty(test);
	sharding_point(test);
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
		sharding_point(test);
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
	unsigned int place;
	int i;

	for (i = 0; i < ARRAY_SIZE(range_cases); i++) {
		rt->at = range_cases[i].str;
		for (place = 0; place < NR_PLACES; place++) {
			set_place(&rt->vmas[0], place);
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

/* In @letters, put the VMAs of one tree before those of the next one. */
static void sort_by_tree(struct test_rmap *rt, const char *letters,
			 char *sorted)
{
	unsigned int nr;
	const char *p;

	for (nr = 0; nr <= I_MMAP_MAX_GROUPS; nr++) {
		for (p = letters; *p; p++) {
			if (letter_to_vma(rt, *p)->nr == nr)
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
		sort_by_tree(rt, letters, sorted);
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

/* The last places are NR_PLACES - 2 and NR_PLACES - 1. */
static const unsigned int overlap_places[][ARRAY_SIZE(overlap_vmas)] = {
	{ 0, 0, 0, 0, 0 },
	{ 22, 23, 22, 23, 22 },
	{ 0, 4, 8, 12, 16 },
	{ 16, 12, 8, 4, 0 },
	{ 23, 0, 10, 0, 23 },
	{ 2, 6, 2, 6, 2 },
};

static void check_overlaps(struct kunit *test, const struct overlap_case *c,
			   const unsigned int *places)
{
	struct test_rmap *rt = test->priv;
	const char *p;
	int i;

	for (p = c->order; *p; p++) {
		const struct range_case *range = &overlap_vmas[*p - 'A'];
		struct test_vma *v = letter_to_vma(rt, *p);

		set_range(v, range->start, range->last);
		set_place(v, places[*p - 'A']);
		link_vma(rt, v);
		check_tree(test);
	}
	sharding_point(test);
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
		for (j = 0; j < ARRAY_SIZE(overlap_places); j++) {
			check_overlaps(test, &overlap_cases[i], overlap_places[j]);
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
			set_place(&rt->vmas[i], random_below(rt, NR_PLACES));
			link_vma(rt, &rt->vmas[i]);
		}
		check_tree(test);

		while (rt->nr_linked) {
			struct test_vma *v = pick_victim(rt, c->victim);

			/* When it is full, a quarter full, and almost empty. */
			if (rt->nr_linked == MAX_VMAS >> (round * 2))
				sharding_point(test);
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
			set_place(v, i * stop);
			link_vma(rt, v);
		}
		sharding_point(test);
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
		set_place(v, i);
		link_vma(rt, v);
	}
}

/*
 * How to link a family: VMAs without a parent come to the places @first_place,
 * @first_place + @stride, ..., and the mapping is sharded after @shard_after
 * steps, or when all is done.
 */
struct fork_plan {
	const struct fork_case *c;
	const unsigned int *lengths;
	unsigned int nr_neighbours;
	unsigned int first_place;
	unsigned int stride;
	unsigned int shard_after;
};

static void link_family(struct kunit *test, const struct fork_plan *plan)
{
	const unsigned int *lengths = plan->lengths;
	struct test_rmap *rt = test->priv;
	const char *p = plan->c->steps;
	unsigned int place = plan->first_place, step = 0;

	while (*p) {
		struct test_vma *v = letter_to_vma(rt, *p++);
		pgoff_t last = FORK_START + *lengths++ - 1;

		if (step++ == plan->shard_after)
			sharding_point(test);

		if (*p && *p != ' ') {
			struct test_vma *prev = letter_to_vma(rt, *p++);

			set_range(v, FORK_START, min(last, prev->last));
			set_place(v, relative(prev->place));
			link_vma_after(rt, v, prev);
		} else {
			set_range(v, FORK_START, last);
			set_place(v, place);
			link_vma(rt, v);
			place += plan->stride;
		}
		check_tree(test);

		if (*p == ' ')
			p++;
	}
	sharding_point(test);
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
				/* All in one tree, or not. */
				.stride = (i + j) % 2 ? 3 : 0,
				.first_place = 5 * i + j,
			};

			for (k = 0; k < ARRAY_SIZE(victims); k++) {
				/* The other forms share the work. */
				if (rt->form.when != NEVER &&
				    k != (2 * i + j) % ARRAY_SIZE(victims))
					continue;
				plan.shard_after = (i + j + 2 * k) % 9;
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
 * the other is removed; then nothing. All have the same number.
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
		set_place(parent, place);
		set_place(child, relative(parent->place));

		for (i = 0; i < nr; i++) {
			struct test_vma *v = &rt->vmas[2 + i];

			if (i == place)
				link_vma(rt, parent);
			set_range(v, start, start + i % 5);
			set_place(v, i % 2 ? parent->place : child->place);
			link_vma(rt, v);
		}
		if (i == place)
			link_vma(rt, parent);
		if (place % 3 == 0)
			sharding_point(test);
		link_vma_after(rt, child, parent);
		if (place % 3 == 1)
			sharding_point(test);

		check_tree(test);
		check_letters(test, start + 5, start + 5, "AB");
		check_letters(test, start + 9, ULONG_MAX, "AB");
		check_letters(test, start + 10, ULONG_MAX, "");

		unlink_vma(rt, parent_first ? parent : child);
		sharding_point(test);
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
		set_place(v, random_below(rt, NR_PLACES));
		link_vma(rt, v);
		return;
	}

	prev = pick_victim(rt, VICTIM_RANDOM);
	last = prev->last;
	if (random_below(rt, 2))
		last = prev->start + random_below(rt, last - prev->start + 1);
	set_range(v, prev->start, last);
	set_place(v, random_below(rt, 2) ? prev->place : relative(prev->place));
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
	unsigned int shard_at = 0;
	bool growing = true;
	int i;

	for (i = 0; i < RANDOM_STEPS; i++) {
		bool insert;

		/* Go from empty to full and back, with steps in both directions. */
		if (!rt->nr_linked) {
			growing = true;
			start_over(test);
			shard_at = random_below(rt, MAX_VMAS);
		} else if (rt->nr_linked == MAX_VMAS) {
			growing = false;
		}
		if (rt->nr_linked == shard_at)
			sharding_point(test);

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

/* How a mapping gets its trees, and loses them */

/* All VMAs are in the first tree; link @nr of them in ascending order. */
static void link_crowd(struct test_rmap *rt, struct vm_area_struct *vmas,
		       unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct rb_root_cached *root;

		vmas[i].vm_start = PAGE_SIZE;
		vmas[i].vm_end = 3 * PAGE_SIZE;
		vmas[i].vm_pgoff = i / 4;
		root = lock_modify(rt, &vmas[i]);
		mapping_rmap_tree_insert(&vmas[i], root);
		unlock_modify(rt, &vmas[i]);
		cond_resched();
	}
}

static void unlink_crowd(struct test_rmap *rt, struct vm_area_struct *vmas,
			 unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct rb_root_cached *root = lock_modify(rt, &vmas[i]);

		mapping_rmap_tree_remove(&vmas[i], root);
		unlock_modify(rt, &vmas[i]);
		cond_resched();
	}
}

static unsigned int nr_out_of_order(struct test_rmap *rt,
				    struct vm_area_struct *vmas,
				    unsigned int nr)
{
	struct vm_area_struct *vma, *expected = vmas;
	unsigned int wrong = 0;

	i_mmap_lock_walk(rt->mapping);
	mapping_rmap_tree_foreach(vma, rt->mapping, 0, ULONG_MAX)
		wrong += vma != expected++;
	i_mmap_unlock_walk(rt->mapping);
	return wrong + (expected != vmas + nr);
}

KUNIT_DEFINE_ACTION_WRAPPER(kvfree_action, kvfree, const void *);

#define MANY_VMAS	100000

/* The shortest of several times that it takes to shard a file, in ns. */
static u64 time_to_shard(struct kunit *test, struct vm_area_struct *vmas,
			 unsigned int nr)
{
	struct test_rmap *rt = test->priv;
	u64 best = U64_MAX;

	for (int i = 0; i < 5; i++) {
		struct i_mmap_set *set = i_mmap_alloc_set();
		u64 ns;

		KUNIT_ASSERT_NOT_NULL(test, set);
		link_crowd(rt, vmas, nr);
		down_write(&rt->mapping->i_mmap_rwsem);
		ns = ktime_get_ns();
		i_mmap_shard(rt->mapping, set);
		ns = ktime_get_ns() - ns;
		up_write(&rt->mapping->i_mmap_rwsem);
		rt->sharded = true;
		best = min(best, ns);

		KUNIT_ASSERT_EQ(test, nr_out_of_order(rt, vmas, nr), 0);
		KUNIT_ASSERT_TRUE(test, mapping_mapped(rt->mapping));
		unlink_crowd(rt, vmas, nr);
		start_over(test);
	}
	return best;
}

/*
 * To shard a file takes no longer the more VMAs map it.
 *
 * Seen to fail if i_mmap_shard() looked at each of them.
 */
static void sharding_time(struct kunit *test)
{
	struct vm_area_struct *vmas;
	u64 few, many;

	need_sharding(test, 1);
	vmas = kvzalloc_objs(*vmas, MANY_VMAS);
	KUNIT_ASSERT_NOT_NULL(test, vmas);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, kvfree_action, vmas));

	few = time_to_shard(test, vmas, 10);
	many = time_to_shard(test, vmas, MANY_VMAS);
	kunit_info(test, "10 VMAs: %llu ns, %u VMAs: %llu ns\n", few, MANY_VMAS,
		   many);
	KUNIT_EXPECT_LT(test, many, 10 * few + 20 * NSEC_PER_USEC);
}

/*
 * The next inode in the same memory must find a mapping as good as new.
 *
 * Seen to fail if i_mmap_destroy() left the address of the set.
 */
static void recycling(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int life, i;

	for (life = 0; life < 4; life++) {
		bool locked;

		check_empty(test);
		KUNIT_ASSERT_NULL(test, rt->mapping->i_mmap.rb_root.rb_node);

		for (i = 0; i < MAX_VMAS; i++) {
			set_range(&rt->vmas[i], i / 4, i / 4 + 2);
			set_place(&rt->vmas[i], i * 5);
			link_vma(rt, &rt->vmas[i]);
			if (i == MAX_VMAS / 2 && life % 2 == 0)
				shard(test);
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

/* Put VMAs together that are changed together */

/*
 * However the VMAs are spread over trees, all are in one afterwards, whose lock
 * is held, and are found in it.
 *
 * Seen to fail if i_mmap_lock_update() locked the tree of the first VMA only and
 * left the others where they were: the kernel also warned that they were removed
 * without the lock of their tree.
 */
static void update_together(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct vm_area_struct *vmas[4], insert = {};
	unsigned int i, j, nr_vmas, stride;

	need_sharding(test, 1);
	for (i = 0; i < MAX_VMAS; i++)
		set_range(&rt->vmas[i], i % 7, i % 7 + i % 3);

	for (stride = 0; stride < NR_PLACES; stride++) {
		for (i = 0; i < 35; i++) {
			set_place(&rt->vmas[i], i * stride);
			link_vma(rt, &rt->vmas[i]);
			if (i == stride)
				sharding_point(test);
		}
		sharding_point(test);
		for (i = 0; i < 32; i += nr_vmas) {
			unsigned int nr = rt->vmas[i].nr;
			bool same = true;

			nr_vmas = 1 + i % 4;
			for (j = 0; j < nr_vmas; j++) {
				vmas[j] = &rt->vmas[i + j].vma;
				same &= rt->vmas[i + j].nr == nr;
			}
			vma_set_i_mmap_tree(&insert, 0);
			i_mmap_lock_update(rt->mapping, vmas, nr_vmas, &insert);
			i_mmap_unlock_modify(rt->mapping, vmas[0]);

			/* Who was alone in a tree of a group stays there. */
			if (same && nr)
				KUNIT_ASSERT_EQ(test, vma_i_mmap_tree(vmas[0]), nr);
			else
				KUNIT_ASSERT_EQ(test, vma_i_mmap_tree(&insert),
						vma_i_mmap_tree(vmas[0]));
			nr = vma_i_mmap_tree(vmas[0]);
			for (j = 0; j < nr_vmas; j++) {
				KUNIT_ASSERT_EQ(test, vma_i_mmap_tree(vmas[j]), nr);
				/* It may have come to where it was, but later. */
				if (same && rt->vmas[i + j].nr == nr && nr)
					continue;
				list_del(&rt->vmas[i + j].link);
				rt->nr_linked--;
				add_to_model(rt, &rt->vmas[i + j]);
			}
		}
		if (rt->sharded)
			check_tree(test);
		while (rt->nr_linked)
			unlink_vma(rt, pick_victim(rt, VICTIM_FIRST));
		start_over(test);
	}
}

/* Who locks the mapping, from threads of their own */

enum lock_user {
	MODIFIER,
	WALKER,
	EXCLUSIVE,
	SHARDER,	/* shards the mapping before it drops the lock */
	STRANGER,	/* has the semaphore, whatever that excludes */
};

struct locker {
	struct test_rmap *rt;
	enum lock_user user;
	struct vm_area_struct vma;	/* of a modifier */
	bool gives_way;		/* drops the lock if somebody waits for it */
	bool sharded;		/* by a sharder */
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
	struct shard_memory memory = {};

	if (l->user == SHARDER)
		alloc_shard_memory(l->rt, &memory);

	complete(&l->trying);
	switch (l->user) {
	case MODIFIER:
		i_mmap_lock_modify(mapping, &l->vma);
		break;
	case WALKER:
		i_mmap_lock_walk(mapping);
		break;
	case EXCLUSIVE:
		i_mmap_lock_exclusive(mapping);
		break;
	case SHARDER:
	case STRANGER:
		down_write(&mapping->i_mmap_rwsem);
		break;
	}
	complete(&l->locked);

	while (!wait_for_completion_timeout(&l->drop, 1)) {
		if (READ_ONCE(l->rt->ending))
			break;
		if (l->gives_way && rwsem_is_contended(&mapping->i_mmap_rwsem))
			break;
	}

	switch (l->user) {
	case MODIFIER:
		i_mmap_unlock_modify(mapping, &l->vma);
		break;
	case WALKER:
		i_mmap_unlock_walk(mapping);
		break;
	case EXCLUSIVE:
		i_mmap_unlock_exclusive(mapping);
		break;
	case SHARDER:
		l->sharded = try_shard(l->rt, &memory);
		up_write(&mapping->i_mmap_rwsem);
		free_shard_memory(&memory);
		break;
	case STRANGER:
		up_write(&mapping->i_mmap_rwsem);
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
				 unsigned int place)
{
	struct test_rmap *rt = test->priv;
	struct locker *l;

	l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, l);
	l->rt = rt;
	l->user = user;
	vma_set_i_mmap_tree(&l->vma, number_of(rt, place));
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
			      unsigned int place)
{
	struct locker *l = new_locker(test, user, place);

	start_locker(test, l);
	return l;
}

/* How many keep modifiers out, which is nobody if these may have the lock. */
static int nr_holds(const struct test_rmap *rt)
{
	struct i_mmap_set *set = i_mmap_set_of(rt->mapping);

	return set ? atomic_read(&set->holds) : 0;
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
	KUNIT_ASSERT_EQ(test, nr_holds(rt), 0);
}

struct lock_case {
	const char *str;
	enum lock_user holder;
	enum lock_user other;
	unsigned int distance;	/* of their places, if they have any */
};

static const struct lock_case lock_cases[] = {
	{ "modifier, another of the same place", MODIFIER, MODIFIER, 0 },
	{ "modifier, another of the same tree", MODIFIER, MODIFIER, 1 },
	{ "modifier, another of the next tree", MODIFIER, MODIFIER, 2 },
	{ "modifier, another of the last tree", MODIFIER, MODIFIER,
	  NR_PLACES - 1 },
	{ "modifier, walker", MODIFIER, WALKER, 0 },
	{ "modifier, exclusive", MODIFIER, EXCLUSIVE, 0 },
	{ "walker, modifier", WALKER, MODIFIER, 0 },
	{ "walker, modifier of another tree", WALKER, MODIFIER, NR_PLACES - 1 },
	{ "walker, exclusive", WALKER, EXCLUSIVE, 0 },
	{ "walker, walker", WALKER, WALKER, 0 },
	{ "exclusive, modifier", EXCLUSIVE, MODIFIER, 0 },
	{ "exclusive, walker", EXCLUSIVE, WALKER, 0 },
	{ "exclusive, exclusive", EXCLUSIVE, EXCLUSIVE, 0 },
};

/* @holder has the lock, or gets it soon. Who else can, at @place? Drop it. */
static void check_lock(struct kunit *test, struct locker *holder,
		       const struct lock_case *c, unsigned int place)
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

	other = lock_as(test, c->other, place);
	together = (c->holder == WALKER && c->other == WALKER) ||
		   (c->holder == MODIFIER && c->other == MODIFIER &&
		    vma_i_mmap_tree(&holder->vma) != vma_i_mmap_tree(&other->vma));
	got = gets_lock(other, together ? SURELY_FREE : BLOCKED_FOR);
	KUNIT_ASSERT_EQ(test, got, together);

	end_locker(test, holder);
	if (!got)
		KUNIT_ASSERT_TRUE(test, gets_lock(other, SURELY_FREE));
	end_locker(test, other);
	check_not_locked(test);
}

/*
 * From the first tree, whose lock is the semaphore, and from the last one.
 *
 * Seen to fail if modifiers did not lock their tree.
 */
static void lock_protocol(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	int i;

	sharding_point(test);
	check_not_locked(test);
	for (i = 0; i < ARRAY_SIZE(lock_cases); i++) {
		const struct lock_case *c = &lock_cases[i];

		rt->at = c->str;
		check_lock(test, lock_as(test, c->holder, 0), c, c->distance);
		check_lock(test, lock_as(test, c->holder, NR_PLACES - 1), c,
			   NR_PLACES - 1 - c->distance);
	}
}

/*
 * Modifiers of other trees than the first need nothing that others use, but that:
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

	sharding_point(test);
	for (i = 0; i < NR_PLACES; i++) {
		stranger = lock_as(test, STRANGER, 0);
		KUNIT_ASSERT_TRUE(test, gets_lock(stranger, SURELY_FREE));
		holder = lock_as(test, MODIFIER, i);
		got = gets_lock(holder, rt->numbers[i] ? SURELY_FREE : BLOCKED_FOR);
		end_locker(test, stranger);
		KUNIT_ASSERT_EQ(test, got, !!rt->numbers[i]);
		KUNIT_ASSERT_TRUE(test, got || gets_lock(holder, SURELY_FREE));

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
	static const unsigned int places[] = { 0, NR_PLACES / 2, NR_PLACES - 1 };
	struct locker *first, *second, *modifiers[ARRAY_SIZE(places)];
	struct test_rmap *rt = test->priv;
	bool third;
	int i;

	sharding_point(test);
	first = lock_as(test, WALKER, 0);
	KUNIT_ASSERT_TRUE(test, gets_lock(first, SURELY_FREE));
	second = lock_as(test, WALKER, 0);
	KUNIT_ASSERT_TRUE(test, gets_lock(second, SURELY_FREE));
	third = i_mmap_trylock_walk(rt->mapping);
	if (third)
		i_mmap_unlock_walk(rt->mapping);
	KUNIT_EXPECT_TRUE(test, third);

	for (i = 0; i < ARRAY_SIZE(places); i++)
		modifiers[i] = lock_as(test, MODIFIER, places[i]);
	for (i = 0; i < ARRAY_SIZE(places); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(modifiers[i], BLOCKED_FOR));
	end_locker(test, first);
	for (i = 0; i < ARRAY_SIZE(places); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(modifiers[i], BLOCKED_FOR));
	end_locker(test, second);

	for (i = 0; i < ARRAY_SIZE(places); i++)
		let_drop(modifiers[i]);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		KUNIT_ASSERT_TRUE(test, gets_lock(modifiers[i], SURELY_FREE));
		end_locker(test, modifiers[i]);
	}
	check_not_locked(test);
}

/* Somebody who takes the lock again and again */
struct streamer {
	struct test_rmap *rt;
	enum lock_user user;
	struct vm_area_struct vma;
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
			i_mmap_lock_modify(mapping, &s->vma);
			usleep_range(50, 100);
			i_mmap_unlock_modify(mapping, &s->vma);
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
 * several trees keep walkers waiting for ever; and while the others get the
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

	sharding_point(test);
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
			vma_set_i_mmap_tree(&s[j]->vma,
					    number_of(rt, j * (NR_PLACES - 1) /
							  (ARRAY_SIZE(s) - 1)));
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
			struct locker *l = lock_as(test, other, j % NR_PLACES);

			KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));
			end_locker(test, l);
		}
		KUNIT_EXPECT_TRUE(test, all_went_on(s));
		for (j = 0; j < ARRAY_SIZE(s); j++)
			kunit_release_action(test, stop_streamer, s[j]);
	}
	check_not_locked(test);
}

/* Let somebody hold the lock who is going to shard the mapping. */
static struct locker *lock_as_sharder(struct kunit *test)
{
	struct locker *l = new_locker(test, SHARDER, 0);

	start_locker(test, l);
	KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));
	return l;
}

static void end_sharder(struct kunit *test, struct locker *l)
{
	struct test_rmap *rt = test->priv;

	end_locker(test, l);
	KUNIT_ASSERT_TRUE(test, l->sharded);
	rt->sharded = true;
}

/*
 * Who has waited for the lock of a mapping that was not sharded has that of the
 * first tree, or walks all of them.
 *
 * Seen to fail if walkers did not look whether the mapping is sharded when they
 * had the semaphore.
 */
static void sharding_while_waiting(struct kunit *test)
{
	static const struct {
		enum lock_user user;
		unsigned int place;
	} waiters[] = {
		{ MODIFIER, 0 }, { WALKER, 0 }, { MODIFIER, 1 },
		{ MODIFIER, 2 }, { EXCLUSIVE, 0 }, { MODIFIER, NR_PLACES - 1 },
		{ WALKER, 0 },
	};
	struct locker *sharder, *waiter, *all[ARRAY_SIZE(waiters)];
	struct test_rmap *rt = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(lock_cases); i++) {
		const struct lock_case *c = &lock_cases[i];

		rt->at = c->str;
		set_range(&rt->vmas[0], 0, 0);
		link_vma(rt, &rt->vmas[0]);

		sharder = lock_as_sharder(test);
		waiter = lock_as(test, c->holder, 0);
		KUNIT_ASSERT_FALSE(test, gets_lock(waiter, BLOCKED_FOR));
		end_sharder(test, sharder);
		check_lock(test, waiter, c, c->distance);

		check_tree(test);
		unlink_vma(rt, &rt->vmas[0]);
		start_over(test);
	}

	/* Now all at the same time. */
	rt->at = "many";
	sharder = lock_as_sharder(test);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		all[i] = lock_as(test, waiters[i].user, waiters[i].place);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		KUNIT_ASSERT_FALSE(test, gets_lock(all[i], 1));
	end_sharder(test, sharder);
	for (i = 0; i < ARRAY_SIZE(waiters); i++)
		let_drop(all[i]);
	for (i = 0; i < ARRAY_SIZE(waiters); i++) {
		KUNIT_ASSERT_TRUE(test, gets_lock(all[i], SURELY_FREE));
		end_locker(test, all[i]);
	}
	check_not_locked(test);
}

/* Sharding because of contention */

/*
 * Arrivals at a lock that is taken shard the mapping if there are as many as four
 * on one CPU, less than a second apart. Here they come to one CPU, but may be slow.
 */
#define ENOUGH_ARRIVALS		32

static void count_on_this_cpu(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0,
			set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id())));
}

/* Link a VMA and unlink it, while somebody has the lock. */
static void modify_contended(struct kunit *test, enum lock_user holder)
{
	struct locker *l = new_locker(test, holder, 0);
	struct test_rmap *rt = test->priv;
	struct test_vma *v = &rt->vmas[0];
	struct rb_root_cached *root;

	l->gives_way = true;
	start_locker(test, l);
	KUNIT_ASSERT_TRUE(test, gets_lock(l, SURELY_FREE));

	vma_set_i_mmap_tree(&v->vma, 0);
	root = i_mmap_lock_link(rt->mapping, &v->vma);
	flush_dcache_mmap_lock(rt->mapping);
	mapping_rmap_tree_insert(&v->vma, root);
	unlock_modify(rt, &v->vma);
	add_to_model(rt, v);
	end_locker(test, l);

	rt->sharded = i_mmap_set_of(rt->mapping);
	check_tree(test);
	/* Whoever shards a mapping is the first to leave the first tree. */
	if (rt->sharded)
		KUNIT_EXPECT_NE(test, v->nr, 0);
	unlink_vma(rt, v);
}

static void be_own_mapping(struct test_rmap *rt)
{
}

static void be_without_host(struct test_rmap *rt)
{
	rt->mapping->host = NULL;
}

static void be_marked(struct test_rmap *rt)
{
	set_bit(AS_I_MMAP_ONE_TREE, &rt->mapping->flags);
}

static void be_foreign_mapping(struct test_rmap *rt)
{
	rt->mapping = &rt->foreign_mapping;
	rt->mapping->host = &rt->inode;
}

static const struct {
	const char *str;
	void (*prepare)(struct test_rmap *rt);
	enum lock_user holder;
	bool sharded;
} contention_cases[] = {
	{ "no host", be_without_host, MODIFIER, false },
	{ "marked for one tree", be_marked, MODIFIER, false },
	{ "not the host's own mapping", be_foreign_mapping, MODIFIER, false },
	{ "walkers", be_own_mapping, WALKER, false },
	{ "modifiers", be_own_mapping, MODIFIER, true },
};

/*
 * Only modifiers that meet modifiers shard a mapping, if it qualifies.
 *
 * Seen to fail if any of these properties of a mapping was not looked at, if
 * walkers counted, if nothing was ever sharded, and if who sharded it stayed in
 * the first tree.
 */
static void contention(struct kunit *test)
{
	struct test_rmap *rt = test->priv;
	struct address_space *own = rt->mapping;
	unsigned int i, j;

	need_sharding(test, 1);
	if (i_mmap_sharding_forced())
		kunit_skip(test, "files are sharded by force");

	count_on_this_cpu(test);
	set_range(&rt->vmas[0], 3, 5);
	for (i = 0; i < ARRAY_SIZE(contention_cases); i++) {
		rt->at = contention_cases[i].str;
		address_space_init_once(own);
		own->host = &rt->inode;
		rt->mapping = own;
		contention_cases[i].prepare(rt);

		for (j = 0; j < ENOUGH_ARRIVALS && !rt->sharded; j++)
			modify_contended(test, contention_cases[i].holder);
		KUNIT_ASSERT_EQ(test, rt->sharded, contention_cases[i].sharded);
		check_not_locked(test);
		start_over(test);
	}
}

/*
 * A mapping that is contended once in a while is not sharded.
 *
 * Seen to fail if contentions were counted for ever.
 */
static void rare_contention(struct kunit *test)
{
	struct test_rmap *rt = test->priv;

	need_sharding(test, 1);
	if (i_mmap_sharding_forced())
		kunit_skip(test, "files are sharded by force");

	count_on_this_cpu(test);
	rt->mapping->host = &rt->inode;
	set_range(&rt->vmas[0], 3, 5);
	for (int i = 0; i < 4 && !rt->sharded; i++) {
		schedule_timeout_uninterruptible(HZ + HZ / 10);
		modify_contended(test, MODIFIER);
	}
	KUNIT_EXPECT_FALSE(test, rt->sharded);
	check_not_locked(test);
}

/*
 * Sharding while the mapping is in use
 *
 * The users lock it all the time. Each modifier alternates between linking two
 * VMAs, each wherever it may, putting them together, and unlinking them. Users
 * find out themselves whether somebody is there who must not be.
 *
 * Seen to fail if modifiers did not lock their tree, if a walker that must not
 * sleep did not raise "holds", and if VMAs of two trees were changed with the
 * lock of one.
 */

#define BUSY_MODIFIERS	4

/* Behind the modifiers: two that walk, and one that only tries to. */
#define BUSY_TRIER	(BUSY_MODIFIERS + 2)
#define BUSY_USERS	(BUSY_TRIER + 1)

struct bustle {
	struct test_rmap *rt;
	struct rw_semaphore gate;	/* for writing: no user does anything */
	atomic_t modifiers[I_MMAP_MAX_GROUPS + 1];
	atomic_t walkers;
	atomic_t nr_wrong;
};

struct busy_user {
	struct bustle *bustle;
	unsigned int nr;	/* which of BUSY_USERS */
	unsigned int step;
	struct vm_area_struct vmas[2];
	struct task_struct *task;
};

static void enter_tree(struct bustle *b, const struct vm_area_struct *vma)
{
	if (atomic_inc_return(&b->modifiers[vma_i_mmap_tree(vma)]) != 1 ||
	    atomic_read(&b->walkers))
		atomic_inc(&b->nr_wrong);
}

static void leave_tree(struct bustle *b, const struct vm_area_struct *vma)
{
	atomic_dec(&b->modifiers[vma_i_mmap_tree(vma)]);
	i_mmap_unlock_modify(b->rt->mapping, vma);
}

static void modify_once(struct busy_user *u)
{
	struct vm_area_struct *vmas[] = { &u->vmas[0], &u->vmas[1] };
	struct vm_area_struct *vma = vmas[u->step % 2];
	struct bustle *b = u->bustle;
	struct address_space *mapping = b->rt->mapping;
	struct rb_root_cached *root;

	switch (u->step) {
	case 0:
	case 1:
		vma_set_i_mmap_tree(vma, 0);
		/* One in two stays in the first tree. */
		if (u->nr % 2 && !u->step)
			root = i_mmap_lock_modify(mapping, vma);
		else
			root = i_mmap_lock_link(mapping, vma);
		enter_tree(b, vma);
		mapping_rmap_tree_insert(vma, root);
		break;
	case 2:
		if (i_mmap_sharding_enabled())
			root = i_mmap_lock_update(mapping, vmas, 2, NULL);
		else
			root = i_mmap_lock_modify(mapping, vma);
		enter_tree(b, vma);
		mapping_rmap_tree_remove(vmas[0], root);
		mapping_rmap_tree_remove(vmas[1], root);
		mapping_rmap_tree_insert(vmas[1], root);
		mapping_rmap_tree_insert(vmas[0], root);
		break;
	default:
		root = i_mmap_lock_modify(mapping, vma);
		enter_tree(b, vma);
		mapping_rmap_tree_remove(vma, root);
		break;
	}
	leave_tree(b, vma);
	u->step = (u->step + 1) % 5;
}

static void walk_once(struct bustle *b, unsigned int nr_user)
{
	struct test_rmap *rt = b->rt;
	struct vm_area_struct *vma, *last = NULL;
	unsigned int i;

	if (nr_user != BUSY_TRIER)
		i_mmap_lock_walk(rt->mapping);
	else if (!i_mmap_trylock_walk(rt->mapping))
		return;
	atomic_inc(&b->walkers);
	for (i = 0; i < ARRAY_SIZE(b->modifiers); i++) {
		if (atomic_read(&b->modifiers[i]))
			atomic_inc(&b->nr_wrong);
	}
	mapping_rmap_tree_foreach(vma, rt->mapping, 0, ULONG_MAX) {
		if (last && vma_i_mmap_tree(vma) < vma_i_mmap_tree(last))
			atomic_inc(&b->nr_wrong);
		last = vma;
	}
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
			modify_once(u);
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

/* With the gate closed: are all VMAs found? Make the mapping as new. */
static bool clear_bustle(struct bustle *b, struct busy_user **users)
{
	struct test_rmap *rt = b->rt;
	struct vm_area_struct *vma;
	unsigned int nr = 0;

	i_mmap_lock_walk(rt->mapping);
	mapping_rmap_tree_foreach(vma, rt->mapping, 0, ULONG_MAX)
		nr++;
	i_mmap_unlock_walk(rt->mapping);

	for (unsigned int i = 0; i < BUSY_MODIFIERS; i++) {
		static const unsigned int linked[] = { 0, 1, 2, 2, 1 };

		nr -= linked[users[i]->step];
		while (users[i]->step)
			modify_once(users[i]);
	}
	i_mmap_destroy(rt->mapping);
	return !nr;
}

static void sharding_while_busy(struct kunit *test)
{
	unsigned long end = jiffies + BUSY_FOR;
	struct busy_user *users[BUSY_USERS];
	struct test_rmap *rt = test->priv;
	unsigned int nr_sharded = 0, i;
	struct bustle *b;

	b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, b);
	b->rt = rt;
	init_rwsem(&b->gate);

	for (i = 0; i < BUSY_USERS; i++) {
		struct busy_user *u;

		u = kunit_kzalloc(test, sizeof(*u), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, u);
		for (int j = 0; j < 2; j++) {
			u->vmas[j].vm_end = (i + j + 1) * PAGE_SIZE;
			u->vmas[j].vm_pgoff = i;
		}
		u->bustle = b;
		u->nr = i;
		users[i] = u;
	}

	/* Stopped last to first, before the first of them loses its VMAs. */
	for (i = 0; i < BUSY_USERS; i++) {
		struct busy_user *u = users[i];

		u->task = kthread_run(busy_thread, u, "i_mmap_busy");
		KUNIT_ASSERT_FALSE(test, IS_ERR(u->task));
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, stop_busy_user,
							  u));
	}

	do {
		bool sharded, unlocked, found = false;
		int holds;

		sharded = lock_and_shard(rt);
		usleep_range(200, 400);

		down_write(&b->gate);
		holds = nr_holds(rt);
		unlocked = i_mmap_trylock_exclusive(rt->mapping);
		if (unlocked) {
			i_mmap_unlock_exclusive(rt->mapping);
			found = clear_bustle(b, users);
		}
		up_write(&b->gate);

		/* Without memory, they were all in the first tree. */
		nr_sharded += sharded;
		KUNIT_ASSERT_EQ(test, holds, 0);
		KUNIT_ASSERT_TRUE(test, unlocked);
		KUNIT_ASSERT_TRUE(test, found);
		KUNIT_ASSERT_EQ(test, atomic_read(&b->nr_wrong), 0);
	} while (time_before(jiffies, end));
	KUNIT_EXPECT_GT(test, nr_sharded, 0);
}

/* No VMA may be looked at: the memory of some may be gone. */
static void forget_vmas(struct test_rmap *rt)
{
	struct i_mmap_set *set = i_mmap_set_of(rt->mapping);

	if (!set)
		return;
	set->first = RB_ROOT_CACHED;
	for (unsigned int i = 0; i < i_mmap_nr_groups; i++) {
		if (set->tree[i])
			set->tree[i]->root = RB_ROOT_CACHED;
	}
}

/* Runs after the threads of the test were stopped. */
static void destroy_mapping(void *arg)
{
	struct test_rmap *rt = arg;

	/* A test that failed, or was skipped, has left VMAs. */
	forget_vmas(rt);
	i_mmap_destroy(rt->mapping);
}

static int mapping_rmap_tree_test_init(struct kunit *test)
{
	const struct form *form = test->param_value ?: &forms[0];
	struct test_rmap *rt;
	int i, ret;

	if (form->when != NEVER)
		need_sharding(test, form->nr_trees);

	rt = kunit_kzalloc(test, sizeof(*rt), GFP_KERNEL);
	if (!rt)
		return -ENOMEM;
	test->priv = rt;

	rt->form = *form;
	/* From the first tree to the last one. */
	for (i = 0; i < NR_PLACES; i++)
		rt->numbers[i] = (i / 2) * (form->nr_trees - 1) /
				 (NR_PLACES / 2 - 1);

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
		set_place(&rt->vmas[i], i);
	}

	ret = kunit_add_action_or_reset(test, destroy_mapping, rt);
	if (ret)
		return ret;

	if (form->when == WHEN_EMPTY)
		shard(test);
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

static struct kunit_case mapping_rmap_tree_test_cases[] = {
	KUNIT_CASE_PARAM(empty_tree, form_gen_params),
	KUNIT_CASE_PARAM(one_vma, form_gen_params),
	KUNIT_CASE_PARAM(known_overlaps, form_gen_params),
	KUNIT_CASE_PARAM(remove_all, form_gen_params),
	KUNIT_CASE_PARAM(restart_after_removal, form_gen_params),
	KUNIT_CASE_PARAM(fork_order, form_gen_params),
	KUNIT_CASE_PARAM(fork_longest, form_gen_params),
	KUNIT_CASE_PARAM(random_operations, form_gen_params),
	KUNIT_CASE(sharding_time),
	KUNIT_CASE_PARAM(recycling, sharding_gen_params),
	KUNIT_CASE_PARAM(update_together, sharding_gen_params),
	KUNIT_CASE_PARAM(lock_protocol, form_gen_params),
	KUNIT_CASE_PARAM(modifiers_apart, sharding_gen_params),
	KUNIT_CASE_PARAM(walkers_together, sharding_gen_params),
	KUNIT_CASE_PARAM(nobody_starves, sharding_gen_params),
	KUNIT_CASE_PARAM(sharding_while_waiting, sharding_gen_params),
	KUNIT_CASE_PARAM(sharding_while_busy, sharding_gen_params),
	KUNIT_CASE(contention),
	KUNIT_CASE_SLOW(rare_contention),
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
