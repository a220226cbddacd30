/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The file rmap: the tree of the VMAs that map a file, and its lock.
 *
 * The functions that insert, remove and look up VMAs are in linux/mm.h
 * (mapping_rmap_tree_*). A file that many CPUs map has several trees, its
 * shards, each with a lock of its own. Nobody but mm/i_mmap.c, where they are
 * described, and mm/interval_tree.c needs to know. See also
 * Documentation/mm/file_rmap.rst.
 */
#ifndef _LINUX_I_MMAP_H
#define _LINUX_I_MMAP_H

#include <linux/fs.h>
#include <linux/jump_label.h>
#include <linux/lockdep.h>
#include <linux/rbtree.h>
#include <linux/rwsem.h>

/**
 * i_mmap_init() - Initialise the tree of VMAs of a mapping, and its lock.
 * @mapping: The mapping.
 *
 * Context: Any; nobody else may know of @mapping yet.
 */
static inline void i_mmap_init(struct address_space *mapping)
{
	init_rwsem(&mapping->i_mmap_rwsem);
	mapping->i_mmap = RB_ROOT_CACHED;
}

#if defined(CONFIG_SMP) && defined(CONFIG_MMU)

DECLARE_STATIC_KEY_FALSE(i_mmap_sharding_key);
DECLARE_STATIC_KEY_FALSE(i_mmap_force_key);

/* On a small machine no mapping is ever sharded. */
static __always_inline bool i_mmap_sharding_enabled(void)
{
	return static_branch_unlikely(&i_mmap_sharding_key);
}

/* For debugging: shard each file when it is first mapped. */
static __always_inline bool i_mmap_sharding_forced(void)
{
	return static_branch_unlikely(&i_mmap_force_key);
}

/* In i_mmap.rb_leftmost: this is not a node, but the address of the shards. */
#define I_MMAP_SHARDED		1UL

static __always_inline bool __i_mmap_is_sharded(const struct address_space *mapping)
{
	return unlikely((unsigned long)READ_ONCE(mapping->i_mmap.rb_leftmost) &
			I_MMAP_SHARDED);
}

/* Only with the lock held does "no" stay true. See mm/i_mmap.c. */
static __always_inline bool i_mmap_is_sharded(const struct address_space *mapping)
{
	return i_mmap_sharding_enabled() && __i_mmap_is_sharded(mapping);
}

void __i_mmap_lock_modify(struct address_space *mapping, struct mm_struct *mm);
void __i_mmap_join_modifiers(struct address_space *mapping,
			     struct mm_struct *mm);
void __i_mmap_unlock_modify(struct address_space *mapping,
			    struct mm_struct *mm);
void __i_mmap_hold_modifiers(struct address_space *mapping);
bool __i_mmap_try_hold_modifiers(struct address_space *mapping);
void __i_mmap_let_modifiers(struct address_space *mapping);
bool __i_mmap_shards_mapped(const struct address_space *mapping);
void __i_mmap_destroy(struct address_space *mapping);
void __i_mmap_set_home(struct mm_struct *mm);

#else /* !CONFIG_SMP || !CONFIG_MMU */

static __always_inline bool i_mmap_sharding_enabled(void)
{
	return false;
}

static __always_inline bool i_mmap_sharding_forced(void)
{
	return false;
}

static __always_inline bool __i_mmap_is_sharded(const struct address_space *mapping)
{
	return false;
}

static __always_inline bool i_mmap_is_sharded(const struct address_space *mapping)
{
	return false;
}

static inline void __i_mmap_lock_modify(struct address_space *mapping,
					struct mm_struct *mm)
{
}

static inline void __i_mmap_join_modifiers(struct address_space *mapping,
					   struct mm_struct *mm)
{
}

static inline void __i_mmap_unlock_modify(struct address_space *mapping,
					  struct mm_struct *mm)
{
}

static inline void __i_mmap_hold_modifiers(struct address_space *mapping)
{
}

static inline bool __i_mmap_try_hold_modifiers(struct address_space *mapping)
{
	return true;
}

static inline void __i_mmap_let_modifiers(struct address_space *mapping)
{
}

static inline bool __i_mmap_shards_mapped(const struct address_space *mapping)
{
	return false;
}

static inline void __i_mmap_destroy(struct address_space *mapping)
{
}

static inline void __i_mmap_set_home(struct mm_struct *mm)
{
}

#endif /* CONFIG_SMP && CONFIG_MMU */

/**
 * i_mmap_destroy() - Free what a mapping's tree of VMAs consists of.
 * @mapping: The mapping, of an inode that is going away. No VMA maps it.
 *
 * The mapping is as i_mmap_init() left it afterwards, since file systems
 * recycle inodes.
 *
 * Context: Any.
 */
static inline void i_mmap_destroy(struct address_space *mapping)
{
	if (i_mmap_sharding_enabled())
		__i_mmap_destroy(mapping);
}

/**
 * i_mmap_set_home() - Choose the shards that the VMAs of an mm will be in.
 * @mm: A new mm that maps no file yet. It inherits its home from its parent in
 *      fork(), and must keep it as long as it maps files.
 *
 * Context: Any, on the CPU that @mm is going to run on first.
 */
static inline void i_mmap_set_home(struct mm_struct *mm)
{
	if (i_mmap_sharding_enabled())
		__i_mmap_set_home(mm);
}

/*
 * Who takes the lock says what for. There are three kinds:
 *
 * - Modifiers insert VMAs into the tree and remove them from it, or change the
 *   page tables of a VMA such that a walk of the tree must not see the middle
 *   of it. They say on behalf of which mm. While one has the lock there are no
 *   walkers; that there are no other modifiers holds for VMAs of the same mm
 *   only.
 * - Walkers iterate over the tree. While one has the lock there are no
 *   modifiers; there may or may not be other walkers.
 * - Exclusives need neither modifiers nor walkers to be there. They may do
 *   what either may.
 */

/*
 * Let lockdep tell the lock of @mapping, of which nobody else knows yet, from
 * those of other mappings.
 */
#define i_mmap_lockdep_set_class(mapping, key)			\
	lockdep_set_class(&(mapping)->i_mmap_rwsem, key)

/**
 * i_mmap_lock_modify() - Lock a mapping's tree of VMAs in order to change it.
 * @mapping: The mapping.
 * @mm: The mm whose VMAs are inserted or removed, or its parent or child in a
 *      fork() that is going on.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, the lock of a shard,
 * or one inside the other for a moment; see mm/rmap.c for the lock order.
 */
static inline void i_mmap_lock_modify(struct address_space *mapping,
				      struct mm_struct *mm)
{
	if (!i_mmap_sharding_enabled()) {
		down_write(&mapping->i_mmap_rwsem);
		return;
	}

	/* Most files are neither sharded nor contended: no call for them. */
	if (i_mmap_sharding_forced() || __i_mmap_is_sharded(mapping) ||
	    rwsem_is_locked(&mapping->i_mmap_rwsem)) {
		__i_mmap_lock_modify(mapping, mm);
		return;
	}

	down_write(&mapping->i_mmap_rwsem);
	/* Promoted in the meantime? See mm/i_mmap.c (L1). */
	if (__i_mmap_is_sharded(mapping))
		__i_mmap_join_modifiers(mapping, mm);
}

/**
 * i_mmap_unlock_modify() - Undo i_mmap_lock_modify().
 * @mapping: The mapping.
 * @mm: The mm that was given to i_mmap_lock_modify().
 *
 * Context: That of i_mmap_lock_modify(), which the same task called.
 */
static inline void i_mmap_unlock_modify(struct address_space *mapping,
					struct mm_struct *mm)
{
	if (i_mmap_is_sharded(mapping))
		__i_mmap_unlock_modify(mapping, mm);
	else
		up_write(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_lock_walk() - Lock a mapping's tree of VMAs in order to walk it.
 * @mapping: The mapping.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a shard for a moment; see mm/rmap.c for the lock order.
 */
static inline void i_mmap_lock_walk(struct address_space *mapping)
{
	down_read(&mapping->i_mmap_rwsem);
	if (i_mmap_is_sharded(mapping))
		__i_mmap_hold_modifiers(mapping);
}

/**
 * i_mmap_trylock_walk() - Lock a mapping's tree of VMAs for a walk, or fail.
 * @mapping: The mapping.
 *
 * Context: Process context. Does not sleep.
 * Return: True if the lock was taken, false if somebody is in the way.
 */
static inline bool i_mmap_trylock_walk(struct address_space *mapping)
{
	if (!down_read_trylock(&mapping->i_mmap_rwsem))
		return false;
	if (i_mmap_is_sharded(mapping) &&
	    !__i_mmap_try_hold_modifiers(mapping)) {
		up_read(&mapping->i_mmap_rwsem);
		return false;
	}
	return true;
}

/**
 * i_mmap_unlock_walk() - Undo i_mmap_lock_walk() or i_mmap_trylock_walk().
 * @mapping: The mapping.
 *
 * Context: Any.
 */
static inline void i_mmap_unlock_walk(struct address_space *mapping)
{
	if (i_mmap_is_sharded(mapping))
		__i_mmap_let_modifiers(mapping);
	up_read(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_lock_exclusive() - Lock a mapping's tree of VMAs against everybody.
 * @mapping: The mapping.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a shard for a moment; see mm/rmap.c for the lock order.
 */
static inline void i_mmap_lock_exclusive(struct address_space *mapping)
{
	down_write(&mapping->i_mmap_rwsem);
	if (i_mmap_is_sharded(mapping))
		__i_mmap_hold_modifiers(mapping);
}

/**
 * i_mmap_lock_exclusive_nested() - Lock many mappings against everybody.
 * @mapping: One of the mappings.
 * @mm: The mm whose mmap_lock the caller holds for writing, which is why
 *      nobody else takes the locks of several mappings at the same time.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a shard for a moment, possibly with i_mmap_rwsem of other mappings
 * held.
 */
static inline void i_mmap_lock_exclusive_nested(struct address_space *mapping,
						struct mm_struct *mm)
{
	down_write_nest_lock(&mapping->i_mmap_rwsem, &mm->mmap_lock);
	if (i_mmap_is_sharded(mapping))
		__i_mmap_hold_modifiers(mapping);
}

/**
 * i_mmap_trylock_exclusive() - Lock a mapping's tree of VMAs, or fail.
 * @mapping: The mapping.
 *
 * Context: Process context. Does not sleep.
 * Return: True if the lock was taken, false if somebody is in the way.
 */
static inline bool i_mmap_trylock_exclusive(struct address_space *mapping)
{
	if (!down_write_trylock(&mapping->i_mmap_rwsem))
		return false;
	if (i_mmap_is_sharded(mapping) &&
	    !__i_mmap_try_hold_modifiers(mapping)) {
		up_write(&mapping->i_mmap_rwsem);
		return false;
	}
	return true;
}

/**
 * i_mmap_unlock_exclusive() - Undo any way of locking against everybody.
 * @mapping: The mapping.
 *
 * Context: Any.
 */
static inline void i_mmap_unlock_exclusive(struct address_space *mapping)
{
	if (i_mmap_is_sharded(mapping))
		__i_mmap_let_modifiers(mapping);
	up_write(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_rwsem() - The semaphore that is part of the lock of a mapping.
 * @mapping: The mapping.
 *
 * For tests that want to hold it, from outside and in either way, to see what
 * gets stuck: all that take the lock, but modifiers if the mapping is sharded.
 * To work on the tree, take it through one of the helpers above.
 *
 * Return: The semaphore.
 */
static inline struct rw_semaphore *i_mmap_rwsem(struct address_space *mapping)
{
	return &mapping->i_mmap_rwsem;
}

#ifdef CONFIG_LOCKDEP
/**
 * i_mmap_lockdep_is_held() - Does the caller have the lock?
 * @mapping: The mapping. If it is sharded, only walkers and exclusives may ask:
 *           what a modifier is told depends on CONFIG_PROVE_LOCKING.
 *
 * Context: Any; with CONFIG_LOCKDEP only.
 * Return: As lockdep_is_held().
 */
static inline int i_mmap_lockdep_is_held(const struct address_space *mapping)
{
	return lockdep_is_held(&mapping->i_mmap_rwsem);
}
#endif

/**
 * i_mmap_assert_walk() - Assert that the caller may walk the tree.
 * @mapping: The mapping.
 *
 * A modifier's lock is not enough for that: there may be others.
 */
#if defined(CONFIG_LOCKDEP) && defined(CONFIG_SMP) && defined(CONFIG_MMU)
void i_mmap_assert_walk(struct address_space *mapping);
#else
static inline void i_mmap_assert_walk(struct address_space *mapping)
{
	lockdep_assert_held(&mapping->i_mmap_rwsem);
}
#endif

/**
 * i_mmap_assert_exclusive() - Assert that nobody else has the lock.
 * @mapping: The mapping. As hugetlb relies on this from within modifiers, too,
 *           it must be one whose modifiers exclude each other.
 */
static inline void i_mmap_assert_exclusive(struct address_space *mapping)
{
	lockdep_assert_held_write(&mapping->i_mmap_rwsem);
}

/**
 * mapping_mapped() - Might pages of this file be mapped into userspace?
 * @mapping: The mapping.
 *
 * Context: Any; the caller sees to it that the inode does not go away, but on
 * architectures where no mapping is ever sharded. Without the lock of @mapping
 * the answer may no longer be true.
 * Return: Non-zero if there is a VMA that is in the tree for all of the call.
 */
static inline int mapping_mapped(const struct address_space *mapping)
{
	if (!RB_EMPTY_ROOT(&mapping->i_mmap.rb_root))
		return true;
	if (!i_mmap_sharding_enabled())
		return false;
	/*
	 * If the home tree is empty because i_mmap_promote() has emptied it, see
	 * the set, too. Pairs with the second smp_store_release() there.
	 */
	smp_rmb();
	return __i_mmap_is_sharded(mapping) && __i_mmap_shards_mapped(mapping);
}

#endif /* _LINUX_I_MMAP_H */
