/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The file rmap: the trees of the VMAs that map a file, and their locks.
 *
 * The functions that insert, remove and look up VMAs are in linux/mm.h
 * (mapping_rmap_tree_*). A file has one tree. If CPUs contend for its lock, it
 * is sharded: it gets another tree for each group of CPUs, with a lock of its
 * own. How, only mm/i_mmap.c and mm/interval_tree.c need to know. See also
 * Documentation/mm/file_rmap.rst.
 */
#ifndef _LINUX_I_MMAP_H
#define _LINUX_I_MMAP_H

#include <linux/fs.h>
#include <linux/jump_label.h>
#include <linux/lockdep.h>
#include <linux/mm_types.h>
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

/* The others have no room for the number in vm_area_struct, or no need. */
#if defined(CONFIG_64BIT) && defined(CONFIG_SMP) && defined(CONFIG_MMU)
#define I_MMAP_SHARDING		1
DECLARE_STATIC_KEY_FALSE(i_mmap_sharding_key);
DECLARE_STATIC_KEY_FALSE(i_mmap_force_key);
#else
#define I_MMAP_SHARDING		0
#endif

/* On a small machine no mapping is ever sharded, and each number is 0. */
static __always_inline bool i_mmap_sharding_enabled(void)
{
#if I_MMAP_SHARDING
	return static_branch_unlikely(&i_mmap_sharding_key);
#else
	return false;
#endif
}

/* For debugging: shard each file when it is first mapped. */
static __always_inline bool i_mmap_sharding_forced(void)
{
#if I_MMAP_SHARDING
	return static_branch_unlikely(&i_mmap_force_key);
#else
	return false;
#endif
}

/**
 * vma_i_mmap_tree() - Which tree of its mapping is a VMA in?
 * @vma: The VMA.
 *
 * Context: Any that keeps @vma in its tree, or out of all.
 * Return: 0 for the tree that the mapping always had, or the number of another.
 */
static inline unsigned int vma_i_mmap_tree(const struct vm_area_struct *vma)
{
#if I_MMAP_SHARDING
	return vma->__vm_i_mmap_tree;
#else
	return 0;
#endif
}

/* While @vma is in no tree, by who has its mm for writing. */
static inline void vma_set_i_mmap_tree(struct vm_area_struct *vma,
				       unsigned int nr)
{
#if I_MMAP_SHARDING
	vma->__vm_i_mmap_tree = nr;
#endif
}

/* In i_mmap.rb_root.rb_node: this is not a node, but the address of the set. */
#define I_MMAP_SHARDED		1UL

static __always_inline bool __i_mmap_is_sharded(const struct address_space *mapping)
{
	return (unsigned long)READ_ONCE(mapping->i_mmap.rb_root.rb_node) &
	       I_MMAP_SHARDED;
}

/* "Yes" stays true as long as the inode lives, "no" while one has the lock. */
static __always_inline bool i_mmap_is_sharded(const struct address_space *mapping)
{
	return i_mmap_sharding_enabled() && __i_mmap_is_sharded(mapping);
}

/* In mm/i_mmap.c, never called where i_mmap_sharding_enabled() is constant. */
struct rb_root_cached *__i_mmap_lock_tree(struct address_space *mapping,
					  unsigned int nr);
void __i_mmap_unlock_tree(struct address_space *mapping, unsigned int nr);
struct rb_root_cached *__i_mmap_lock_link(struct address_space *mapping,
					  struct vm_area_struct *vma);
bool i_mmap_stop_modifiers(struct address_space *mapping, bool try);
void i_mmap_resume_modifiers(struct address_space *mapping);
void __i_mmap_destroy(struct address_space *mapping);

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
	if (i_mmap_is_sharded(mapping))
		__i_mmap_destroy(mapping);
}

/*
 * Let lockdep tell the lock of @mapping, of which nobody else knows yet, from
 * those of other mappings.
 */
#define i_mmap_lockdep_set_class(mapping, key)			\
	lockdep_set_class(&(mapping)->i_mmap_rwsem, key)

/*
 * Who takes the lock says what for. There are three kinds:
 *
 * - Modifiers insert VMAs into a tree and remove them from it, or change the
 *   page tables of a VMA such that a walk must not see the middle of it. They
 *   say which VMA. While one has the lock there are no walkers; that there are
 *   no other modifiers holds for VMAs of the same tree only.
 * - Walkers iterate over the trees. While one has the lock there are no
 *   modifiers; there may or may not be other walkers.
 * - Exclusives keep out modifiers, walkers and other exclusives. They may walk,
 *   and change page tables.
 *
 * Some architectures walk with flush_dcache_mmap_lock() alone, so modifiers
 * take that, too, when they insert and remove.
 */

/*
 * The first tree of a mapping, with i_mmap_rwsem held for writing. If it was
 * sharded, perhaps while one waited, its root is the first member of the set.
 */
static __always_inline struct rb_root_cached *
i_mmap_first(struct address_space *mapping)
{
	if (i_mmap_is_sharded(mapping))
		return (void *)mapping->i_mmap.rb_root.rb_node - I_MMAP_SHARDED;
	return &mapping->i_mmap;
}

/**
 * i_mmap_lock_modify() - Lock the tree that a VMA is in, in order to change it.
 * @mapping: The mapping.
 * @vma: The VMA. The lock is good for all VMAs that are in the same tree.
 *
 * Context: Process context, may sleep. The caller sees to it that @vma stays
 * where it is. Takes i_mmap_rwsem, the lock of a tree, or one inside the other
 * for a moment; see mm/rmap.c for the lock order.
 * Return: The tree.
 */
static inline struct rb_root_cached *
i_mmap_lock_modify(struct address_space *mapping,
		   const struct vm_area_struct *vma)
{
	if (i_mmap_sharding_enabled() && vma_i_mmap_tree(vma))
		return __i_mmap_lock_tree(mapping, vma_i_mmap_tree(vma));
	down_write(&mapping->i_mmap_rwsem);
	return i_mmap_first(mapping);
}

/* Is there a choice of trees, or may there be one now? */
static __always_inline bool
i_mmap_may_choose(const struct address_space *mapping)
{
	return __i_mmap_is_sharded(mapping) || i_mmap_sharding_forced() ||
	       rwsem_is_write_locked(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_lock_link() - Choose a tree for a VMA, and lock it.
 * @mapping: The mapping.
 * @vma: The VMA, which is in no tree. If it is a copy that has the number of a
 *       tree other than the first, it comes to that one, else to any.
 *
 * Context: As i_mmap_lock_modify(); the caller has mmap_lock of @vma's mm for
 * writing. May allocate and reclaim before it takes the lock, so no lock that
 * reclaim takes may be held.
 * Return: The tree.
 */
static inline struct rb_root_cached *
i_mmap_lock_link(struct address_space *mapping, struct vm_area_struct *vma)
{
	if (i_mmap_sharding_enabled() &&
	    (vma_i_mmap_tree(vma) || i_mmap_may_choose(mapping)))
		return __i_mmap_lock_link(mapping, vma);
	down_write(&mapping->i_mmap_rwsem);
	return i_mmap_first(mapping);
}

/**
 * i_mmap_lock_update() - Lock the tree of VMAs that are changed together.
 * @mapping: The mapping.
 * @vmas: VMAs of one mm, each in a tree.
 * @nr_vmas: How many.
 * @insert: NULL, or a VMA that is going to be inserted where the others are.
 *
 * Where there is a choice, they move: from trees that differ into one, and from
 * the first tree, which all CPUs share, to another.
 *
 * Context: As i_mmap_lock_link(), and only if i_mmap_sharding_enabled().
 * Return: The tree that all of @vmas are in.
 */
struct rb_root_cached *i_mmap_lock_update(struct address_space *mapping,
					  struct vm_area_struct **vmas,
					  unsigned int nr_vmas,
					  struct vm_area_struct *insert);

/**
 * i_mmap_unlock_modify() - Undo any way of locking a tree in order to change it.
 * @mapping: The mapping.
 * @vma: A VMA of the tree.
 *
 * Context: By the task that took it.
 */
static inline void i_mmap_unlock_modify(struct address_space *mapping,
					const struct vm_area_struct *vma)
{
	if (i_mmap_sharding_enabled() && vma_i_mmap_tree(vma))
		__i_mmap_unlock_tree(mapping, vma_i_mmap_tree(vma));
	else
		up_write(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_lock_walk() - Lock a mapping's trees of VMAs in order to walk them.
 * @mapping: The mapping.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a tree for a moment; see mm/rmap.c for the lock order.
 */
static inline void i_mmap_lock_walk(struct address_space *mapping)
{
	down_read(&mapping->i_mmap_rwsem);
	if (i_mmap_is_sharded(mapping))
		i_mmap_stop_modifiers(mapping, false);
}

/**
 * i_mmap_trylock_walk() - Lock a mapping's trees of VMAs for a walk, or fail.
 * @mapping: The mapping.
 *
 * Context: Process context. Does not sleep.
 * Return: True if the lock was taken, false if somebody is in the way.
 */
static inline bool i_mmap_trylock_walk(struct address_space *mapping)
{
	if (!down_read_trylock(&mapping->i_mmap_rwsem))
		return false;
	if (i_mmap_is_sharded(mapping) && !i_mmap_stop_modifiers(mapping, true)) {
		up_read(&mapping->i_mmap_rwsem);
		return false;
	}
	return true;
}

/**
 * i_mmap_unlock_walk() - Undo i_mmap_lock_walk() or i_mmap_trylock_walk().
 * @mapping: The mapping.
 *
 * Context: By the task that took it.
 */
static inline void i_mmap_unlock_walk(struct address_space *mapping)
{
	if (i_mmap_is_sharded(mapping))
		i_mmap_resume_modifiers(mapping);
	up_read(&mapping->i_mmap_rwsem);
}

/**
 * i_mmap_lock_exclusive() - Lock a mapping's trees of VMAs against everybody.
 * @mapping: The mapping.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a tree for a moment; see mm/rmap.c for the lock order.
 */
static inline void i_mmap_lock_exclusive(struct address_space *mapping)
{
	down_write(&mapping->i_mmap_rwsem);
	if (i_mmap_is_sharded(mapping))
		i_mmap_stop_modifiers(mapping, false);
}

/**
 * i_mmap_lock_exclusive_nest_lock() - Lock many mappings against everybody.
 * @mapping: One of the mappings.
 * @mm: The mm whose mmap_lock the caller holds for writing, for lockdep. The
 *      caller sees to it that nobody else takes the locks of several mappings
 *      at the same time (mm_all_locks_mutex).
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, and inside it the
 * lock of a tree for a moment, possibly with i_mmap_rwsem of other mappings
 * held.
 */
static inline void i_mmap_lock_exclusive_nest_lock(struct address_space *mapping,
						   struct mm_struct *mm)
{
	down_write_nest_lock(&mapping->i_mmap_rwsem, &mm->mmap_lock);
	if (i_mmap_is_sharded(mapping))
		i_mmap_stop_modifiers(mapping, false);
}

/**
 * i_mmap_trylock_exclusive() - Lock a mapping's trees of VMAs, or fail.
 * @mapping: The mapping.
 *
 * Context: Process context. Does not sleep.
 * Return: True if the lock was taken, false if somebody is in the way.
 */
static inline bool i_mmap_trylock_exclusive(struct address_space *mapping)
{
	if (!down_write_trylock(&mapping->i_mmap_rwsem))
		return false;
	if (i_mmap_is_sharded(mapping) && !i_mmap_stop_modifiers(mapping, true)) {
		up_write(&mapping->i_mmap_rwsem);
		return false;
	}
	return true;
}

/**
 * i_mmap_unlock_exclusive() - Undo any way of locking against everybody.
 * @mapping: The mapping.
 *
 * Context: By the task that took it.
 */
static inline void i_mmap_unlock_exclusive(struct address_space *mapping)
{
	if (i_mmap_is_sharded(mapping))
		i_mmap_resume_modifiers(mapping);
	up_write(&mapping->i_mmap_rwsem);
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
 * i_mmap_assert_walk() - Assert that the caller may walk the trees.
 * @mapping: The mapping.
 *
 * A modifier's lock is not enough for that: there may be others.
 */
#if defined(CONFIG_LOCKDEP) && I_MMAP_SHARDING
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
 * Context: Any. Without the lock of @mapping the answer may no longer be true.
 * Return: Non-zero if @mapping is sharded, or has a VMA in its tree. If the only
 * one is just being merged or resized, it is in none.
 */
static inline int mapping_mapped(const struct address_space *mapping)
{
	return !RB_EMPTY_ROOT(&mapping->i_mmap.rb_root);
}

#endif /* _LINUX_I_MMAP_H */
