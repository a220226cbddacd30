/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The trees of VMAs of a sharded mapping. See mm/i_mmap.c for how they live and
 * what protects what. For the rmap core and its tests only.
 */
#ifndef _MM_I_MMAP_H
#define _MM_I_MMAP_H

#include <linux/i_mmap.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/types.h>

/* One bit each in a word, and a number of 8 bits in a VMA. */
#define I_MMAP_MAX_GROUPS	BITS_PER_LONG

/**
 * struct i_mmap_tree - The VMAs of a file that a group of CPUs has linked.
 * @lock: Excludes the modifiers of this tree from each other.
 * @root: The VMAs. Shares @lock's cache line, which whoever takes the lock is
 *        going to write to anyway.
 */
struct i_mmap_tree {
	struct mutex lock;	/* modifiers of this tree */
	struct rb_root_cached root;
};

/**
 * struct i_mmap_set - The trees of a sharded mapping.
 * @first: The tree that it had before, number 0. Under i_mmap_rwsem, as it was.
 *         On a cache line of its own, since its modifiers write to it.
 * @holds: How many keep modifiers out, or are waiting until they can.
 * @present: Bit k is set if entry k of @tree is there.
 * @tree: Number k + 1 is that of the k-th group of CPUs, once it has linked a
 *        VMA. Each is on cache lines of its own, in the memory of that node.
 *
 * While nobody walks the mapping, nobody writes to it but to @first, or to add a
 * tree.
 */
struct i_mmap_set {
	struct rb_root_cached first;
	atomic_t holds ____cacheline_aligned_in_smp;
	unsigned long present;
	struct i_mmap_tree *tree[];
};

/* What i_mmap_first() takes for granted. */
static_assert(offsetof(struct i_mmap_set, first) == 0);

/**
 * i_mmap_set_of() - The trees of a mapping.
 * @mapping: The mapping.
 *
 * Context: Any. The answer "none" stays true only as long as the caller has
 * i_mmap_rwsem of @mapping, in whatever way. The set lives as long as the inode.
 * Return: The set, or NULL if the mapping is not sharded.
 */
static inline struct i_mmap_set *
i_mmap_set_of(const struct address_space *mapping)
{
	/*
	 * Without the lock, what is read may be the root node, NULL, or the
	 * address that i_mmap_shard() stores: all of it, as plain stores of
	 * pointers are not torn. Nodes are aligned, so only the latter has the
	 * bit. Whoever sees it also sees the set: the store is a release, and
	 * all accesses depend on the address.
	 */
	unsigned long val = (unsigned long)READ_ONCE(mapping->i_mmap.rb_root.rb_node);

	if (!I_MMAP_SHARDING || !(val & I_MMAP_SHARDED))
		return NULL;
	return (struct i_mmap_set *)(val - I_MMAP_SHARDED);
}

/**
 * struct i_mmap_cpu - A CPU, and what it shares with others.
 * @node: Its node.
 * @llc: The smallest number of a CPU that it shares a last-level cache with.
 * @core: The smallest number of a CPU of its core.
 * @cpu: Its own number.
 * @group: The group that i_mmap_group_cpus() puts it in.
 */
struct i_mmap_cpu {
	int node;
	unsigned int llc;
	unsigned int core;
	unsigned int cpu;
	unsigned int group;
};

/* In mm/i_mmap_groups.c. */
unsigned int i_mmap_list_cpus(struct i_mmap_cpu *cpus);
unsigned int i_mmap_group_cpus(struct i_mmap_cpu *cpus, unsigned int nr_cpus);
unsigned int i_mmap_late_group(const struct i_mmap_cpu *cpus,
			       unsigned int nr_cpus, int node, unsigned int cpu);

#if defined(CONFIG_LOCKDEP) && I_MMAP_SHARDING
void i_mmap_assert_modify(const struct vm_area_struct *vma,
			  const struct rb_root_cached *root);
#else
static inline void i_mmap_assert_modify(const struct vm_area_struct *vma,
					const struct rb_root_cached *root)
{
}
#endif

/* For mm/i_mmap.c and the tests. */
extern unsigned int i_mmap_nr_groups;
struct i_mmap_set *i_mmap_alloc_set(void);
struct i_mmap_tree *i_mmap_alloc_tree(unsigned int group);
void i_mmap_shard(struct address_space *mapping, struct i_mmap_set *set);
void i_mmap_add_tree(struct i_mmap_set *set, unsigned int group,
		     struct i_mmap_tree *i_mmap_tree);

#endif /* _MM_I_MMAP_H */
