/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The shards of a mapping's tree of VMAs. See mm/i_mmap.c for how they live
 * and what protects what. For the rmap core and its tests only.
 */
#ifndef _MM_I_MMAP_H
#define _MM_I_MMAP_H

#include <linux/i_mmap.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>

/* More would make walks expensive, and sets large. */
#define I_MMAP_MAX_SHARDS	64

/*
 * Beyond this number of VMAs a mapping is not promoted: that would keep
 * everybody else waiting for too long.
 */
#define I_MMAP_PROMOTE_MAX_VMAS	16384

/**
 * struct i_mmap_shard - The VMAs of some mms that map a file.
 * @lock: Excludes the modifiers of this shard from each other.
 * @tree: The VMAs. Shares @lock's cache line, which whoever takes the lock is
 *        going to write to anyway.
 */
struct i_mmap_shard {
	struct mutex lock;	/* modifiers of this shard */
	struct rb_root_cached tree;
};

/**
 * struct i_mmap_shards - The set of shards of a mapping.
 * @rcu: To free the set when no lockless reader can look at it any more.
 * @nr: Number of shards.
 * @walkers: How many keep modifiers out, or are waiting until they can.
 * @shard: The shards, by mm_struct::i_mmap_home.
 *
 * While nobody walks the mapping, nobody writes to it, or to its cache lines.
 * Each shard is an object of its own, on cache lines of its own, in the memory
 * of the node whose CPUs use it.
 */
struct i_mmap_shards {
	struct rcu_head rcu;
	unsigned int nr;
	atomic_t walkers;
	struct i_mmap_shard *shard[] __counted_by(nr);
};

#if defined(CONFIG_SMP) && defined(CONFIG_MMU)
/**
 * i_mmap_shards_of() - The shards of a mapping.
 * @mapping: The mapping.
 *
 * Context: Any. The answer "none" stays true only as long as the caller has
 * the lock of @mapping, in whatever way. The shards live as long as the inode.
 * Return: The shards, or NULL if the mapping is not sharded.
 */
static inline struct i_mmap_shards *
i_mmap_shards_of(const struct address_space *mapping)
{
	/*
	 * Without the lock, what is read may be the leftmost node, NULL, or
	 * the address that i_mmap_promote() stores: all of it, as plain stores
	 * of pointers are not torn. Nodes are aligned, so only the latter has
	 * the bit. Whoever sees it also sees the shards: the store is a
	 * release, and all accesses depend on the address.
	 */
	unsigned long val = (unsigned long)READ_ONCE(mapping->i_mmap.rb_leftmost);

	if (likely(!(val & I_MMAP_SHARDED)))
		return NULL;
	return (struct i_mmap_shards *)(val & ~I_MMAP_SHARDED);
}
#else
static inline struct i_mmap_shards *
i_mmap_shards_of(const struct address_space *mapping)
{
	return NULL;
}
#endif

static inline unsigned int i_mmap_home(const struct mm_struct *mm)
{
#if defined(CONFIG_SMP) && defined(CONFIG_MMU)
	return mm->i_mmap_home;
#else
	return 0;
#endif
}

/**
 * i_mmap_tree() - The tree that VMAs of an mm are in.
 * @mapping: The mapping.
 * @mm: The mm.
 *
 * Context: The caller has the lock of @mapping, or all that use it are known.
 * Return: The tree.
 */
static inline struct rb_root_cached *
i_mmap_tree(struct address_space *mapping, const struct mm_struct *mm)
{
	if (i_mmap_sharding_enabled()) {
		struct i_mmap_shards *shards = i_mmap_shards_of(mapping);

		if (shards)
			return &shards->shard[i_mmap_home(mm)]->tree;
	}
	return &mapping->i_mmap;
}

#if defined(CONFIG_LOCKDEP) && defined(CONFIG_SMP) && defined(CONFIG_MMU)
void i_mmap_assert_modify(struct address_space *mapping, struct mm_struct *mm);
#else
static inline void i_mmap_assert_modify(struct address_space *mapping,
					struct mm_struct *mm)
{
}
#endif

/* In mm/interval_tree.c, which has the functions of the tree. */
void mapping_rmap_tree_move(struct rb_root_cached *home,
			    struct i_mmap_shards *shards);

/* In mm/i_mmap.c, and for the tests. */
struct i_mmap_shards *i_mmap_shards_alloc(unsigned int nr);
void i_mmap_shards_free(struct i_mmap_shards *shards);
bool i_mmap_promote(struct address_space *mapping,
		    struct i_mmap_shards *shards);
#if IS_ENABLED(CONFIG_KUNIT)
bool i_mmap_sharding_enable(void);
void i_mmap_sharding_restore(void);
void i_mmap_allow_promotion(struct address_space *mapping);
#endif

#endif /* _MM_I_MMAP_H */
