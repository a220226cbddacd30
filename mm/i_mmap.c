// SPDX-License-Identifier: GPL-2.0
/*
 * Sharded trees of the VMAs that map a file
 *
 * Every exec and exit links and unlinks the VMAs of the same few files: the
 * program, the dynamic linker, the C library. With one tree and one lock for
 * each file, all CPUs of a machine take turns. So a file that is seen to be
 * contended gets a set of shards. A shard is a lock and a tree, for the mms
 * that began to run on a few CPUs of one node.
 *
 * WHERE A VMA IS
 *
 *   (P1) Before its mapping is promoted, in the home tree, mapping->i_mmap.
 *        Afterwards, in the shard mm->i_mmap_home of the mapping's set, and
 *        the home tree is empty. Its 16 bytes then hold the address of the set:
 *        rb_node is NULL, and rb_leftmost is the address plus I_MMAP_SHARDED.
 *   (P2) mm->i_mmap_home does not change while the mm maps a file. A child
 *        of fork() inherits it; exec chooses anew. Hence all VMAs of an mm, and
 *        those of parent and child between fork() and exec, are in one shard.
 *   (P3) Within a tree, VMAs are in the order of their first page offsets, and
 *        equal ones in the order of insertion, or as
 *        mapping_rmap_tree_insert_after() says. Promotion keeps that order.
 *
 * From P2 and P3 follows what fork() and mremap() need: a walk meets the VMA
 * whose page table entries are copied or moved before the one which they are
 * copied or moved to, so it misses none. Between VMAs of different shards there
 * is no such order, and nobody who could need it.
 *
 * WHO EXCLUDES WHOM
 *
 *                 mapping not sharded        mapping sharded
 *   modifier      i_mmap_rwsem for writing   the lock of the mm's shard, taken
 *                                            while "walkers" of the set is 0
 *   walker        i_mmap_rwsem for reading   i_mmap_rwsem for reading, then
 *                                            "walkers" raised, shards drained
 *   exclusive     i_mmap_rwsem for writing   i_mmap_rwsem for writing, then
 *                                            "walkers" raised, shards drained
 *
 *   (L1) While anybody has the lock of a mapping that is not sharded, it is not
 *        promoted: that takes i_mmap_rwsem for writing. So who took the
 *        semaphore of such a mapping looks once more when it has it, and who
 *        drops the lock finds out how it was taken by looking again.
 *   (L2) While "walkers" is raised and the shards have been drained, there is
 *        no modifier. Walkers take no shard's lock for longer than it takes to
 *        see it free, so they may walk with spinlocks held or under RCU.
 *   (L3) A modifier excludes, by its shard's lock, modifiers of the same shard
 *        and walkers that come after it. It touches no other shard. What
 *        modifiers change beside the tree must stand that those of other shards
 *        run at the same time. It is i_mmap_writable, which is atomic, and which
 *        only VMAs that are shared, and could be written to, count in.
 *   (L4) No shard's lock nests in another. Shards' locks nest in i_mmap_rwsem,
 *        never the other way round.
 *
 * (L2) is a handshake of two words, like that of mnt_get_write_access() and
 * mnt_hold_writers(), or of percpu_down_read() and percpu_down_write():
 *
 *   modifier                            walker
 *     lock the shard                      walkers++
 *     smp_mb()                   (A)      smp_mb()                        (B)
 *     walkers == 0? go on        (C)      shard not locked? go on         (E)
 *     ...                                 ...
 *     unlock the shard                    walkers--                       (D)
 *
 * A and B see to it that one of them sees the other. When the modifier sees 0
 * because a walk has ended, C and D order the walk before what the modifier
 * does; when the walker sees the shard unlocked after a modifier was there, E
 * and the unlock order that before the walk. An acquire in place of A would not
 * do: it does not order the store that takes the lock. Each of these, and each
 * of the other promises here that rest on order, has a litmus test:
 * Documentation/litmus-tests/locking/i_mmap-*.litmus. The protocol as a whole
 * has a model, tools/verification/spin/i_mmap.pml.
 *
 * WHO WAITS FOR WHOM
 *
 *   A modifier that finds "walkers" raised drops its shard's lock and takes
 *   i_mmap_rwsem for writing, so it waits in line, as a writer, for those who
 *   walk. With the semaphore it locks its shard, which may take until another
 *   modifier of the shard is done, and then drops the semaphore. There is no
 *   walker while it has the semaphore, and the next one sees the lock. So it
 *   tries in vain once, however many walkers come.
 *
 *   A walker waits for i_mmap_rwsem as any reader does, and then, for each
 *   shard whose lock it finds taken, in line for that lock. Behind it, and from
 *   the moment it raised "walkers", modifiers only come to leave at once. So it
 *   waits for the modifiers that were there, however many come.
 *
 *   A walker that must not wait, since it is in reclaim, looks for modifiers
 *   before it raises "walkers", and again afterwards, and gives up if there is
 *   one, or if it takes another walker for one: who waits for a shard, or makes
 *   sure that it is free, has its lock for a moment. With PREEMPT_RT, each walk
 *   makes sure. It costs modifiers the slow path only if it is going to walk,
 *   as a rule.
 *
 * HOW A SET LIVES
 *
 *   (S1) Only a mapping that is its inode's own i_data is promoted, since the
 *        inode's destruction frees the set. Others may be on somebody's stack.
 *   (S2) The set is published when it is complete, and before the home tree is
 *        emptied. So a lockless mapping_mapped() finds each VMA in one of them.
 *   (S3) A mapping is never demoted, so a set that was seen once can be used as
 *        long as there is a reference to the inode. Nothing of it is touched
 *        after the lock was dropped. To drop a mutex takes longer than until
 *        somebody else can have it, so modifiers keep their references to the
 *        file, and walkers what keeps the inode, beyond that.
 *   (S4) The set is freed after a grace period, for mapping_mapped(), and the
 *        mapping is made ready for the next life of the inode.
 *   (S5) Nothing fails because of sharding. If there is no memory for a set,
 *        the mapping stays as it is.
 *
 * hugetlbfs mappings stay unsharded: sharing and unsharing page tables wants
 * all VMAs under one lock, also within modifiers (hugetlb_split()).
 *
 * On arm, nios2 and parisc, walks for the sake of cache aliases have
 * flush_dcache_mmap_lock() as their only lock. It is held around each change of
 * a tree, but to hold it for all of a promotion would keep interrupts off for
 * long. On mips and xtensa, mapping_mapped() is called for folios that may be
 * truncated meanwhile, so the inode may be gone, and the set with it. No mapping
 * is ever promoted on any of these.
 */

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/cache.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched/topology.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>
#include <linux/vmstat.h>

#include "i_mmap.h"

#define CREATE_TRACE_POINTS
#include <trace/events/i_mmap.h>

/*
 * How many CPUs share a shard, roughly. Fewer bounce fewer cache lines, but
 * each shard costs every walk of a promoted mapping a cache miss.
 */
#define I_MMAP_SHARD_CPUS	8

/*
 * On each CPU, one in so many arrivals at a lock that is taken, that of whatever
 * mapping, promotes the mapping. Not the first one, which happens to every file
 * now and then; but soon, while few VMAs have to be moved.
 */
#define I_MMAP_PROMOTE_EVERY	4

/*
 * The same for a mapping that had too many VMAs the last time. To count them
 * takes about as long as a thousand others have the lock.
 */
#define I_MMAP_RECOUNT_EVERY	65536

DEFINE_STATIC_KEY_FALSE(i_mmap_sharding_key);
EXPORT_SYMBOL(i_mmap_sharding_key);

/* From the command line: shard each file when it is first mapped. */
DEFINE_STATIC_KEY_FALSE(i_mmap_force_key);
EXPORT_SYMBOL_IF_KUNIT(i_mmap_force_key);

/* What a set looks like, and who has its home where. Fixed at boot. */
static unsigned int i_mmap_nr_shards __ro_after_init = 1;
static int i_mmap_shard_node[I_MMAP_MAX_SHARDS] __ro_after_init = {
	[0 ... I_MMAP_MAX_SHARDS - 1] = NUMA_NO_NODE
};

static DEFINE_PER_CPU_READ_MOSTLY(u16, i_mmap_cpu_home);
static struct kmem_cache *i_mmap_shard_cachep __ro_after_init;

/* From the command line; 0 is "by the topology". */
static unsigned int i_mmap_want_shards __initdata;
static bool i_mmap_want_none __initdata;
static bool i_mmap_want_force __initdata;

static DEFINE_PER_CPU(unsigned int, i_mmap_contended);

/* --- sets ---------------------------------------------------------------- */

void i_mmap_shards_free(struct i_mmap_shards *shards)
{
	for (unsigned int i = 0; i < shards->nr; i++) {
		if (shards->shard[i])
			kmem_cache_free(i_mmap_shard_cachep, shards->shard[i]);
	}
	kfree(shards);
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_shards_free);

/*
 * Modifiers may hold any lock that nests outside, and the i_mmap lock is taken
 * in reclaim: so do not reclaim, and do not use reserves. The memory is charged
 * to the task that promotes.
 */
#define I_MMAP_GFP	(GFP_NOWAIT | __GFP_NOMEMALLOC | __GFP_ACCOUNT)

/**
 * i_mmap_shards_alloc() - Allocate a set of shards.
 * @nr: Number of shards.
 *
 * Context: Any that may allocate with GFP_NOWAIT.
 * Return: The set, or NULL if there is not enough memory.
 */
struct i_mmap_shards *i_mmap_shards_alloc(unsigned int nr)
{
	struct i_mmap_shards *shards;
	size_t size = struct_size(shards, shard, nr);

	KUNIT_STATIC_STUB_REDIRECT(i_mmap_shards_alloc, nr);

	/* All modifiers look at it: let no stranger write to its lines. */
	shards = kzalloc(ALIGN(size, cache_line_size()), I_MMAP_GFP);
	if (!shards)
		return NULL;
	shards->nr = nr;

	for (unsigned int i = 0; i < nr; i++) {
		struct i_mmap_shard *i_mmap_shard;

		i_mmap_shard = kmem_cache_alloc_node(i_mmap_shard_cachep,
						     I_MMAP_GFP,
						     i_mmap_shard_node[i]);
		if (!i_mmap_shard) {
			i_mmap_shards_free(shards);
			return NULL;
		}
		/* lockdep and lock_stat take their name from the argument. */
		mutex_init(&i_mmap_shard->lock);
		i_mmap_shard->tree = RB_ROOT_CACHED;
		shards->shard[i] = i_mmap_shard;
	}
	return shards;
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_shards_alloc);

static void i_mmap_shards_free_rcu(struct rcu_head *rcu)
{
	i_mmap_shards_free(container_of(rcu, struct i_mmap_shards, rcu));
}

static bool i_mmap_shards_mapped(const struct i_mmap_shards *shards)
{
	for (unsigned int i = 0; i < shards->nr; i++) {
		if (!RB_EMPTY_ROOT(&shards->shard[i]->tree.rb_root))
			return true;
	}
	return false;
}

/* The slow half of mapping_mapped(), which found a sharded mapping. */
bool __i_mmap_shards_mapped(const struct address_space *mapping)
{
	struct i_mmap_shards *shards;

	guard(rcu)();
	shards = i_mmap_shards_of(mapping);
	return shards && i_mmap_shards_mapped(shards);
}
EXPORT_SYMBOL(__i_mmap_shards_mapped);

void __i_mmap_destroy(struct address_space *mapping)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);

	if (!shards)
		return;

	VM_WARN_ON_ONCE(atomic_read(&shards->walkers));
	/* Better leak the shards than free them under the VMAs. */
	if (WARN_ON_ONCE(i_mmap_shards_mapped(shards)))
		return;
	WRITE_ONCE(mapping->i_mmap.rb_leftmost, NULL);
	call_rcu(&shards->rcu, i_mmap_shards_free_rcu);
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_destroy);

/* --- promotion ----------------------------------------------------------- */

static unsigned int i_mmap_count_vmas(const struct address_space *mapping,
				      unsigned int max)
{
	struct rb_node *node = rb_first_cached(&mapping->i_mmap);
	unsigned int nr = 0;

	for (; node && nr < max; node = rb_next(node))
		nr++;
	return nr;
}

/**
 * i_mmap_promote() - Shard a mapping.
 * @mapping: A mapping that is not sharded, and qualifies for it.
 * @shards: The set that it will have. No VMA is in it.
 *
 * This takes time in proportion to the number of VMAs that map the file. If
 * there are more than I_MMAP_PROMOTE_MAX_VMAS, it is not done, and not tried
 * again soon.
 *
 * Context: The caller has i_mmap_rwsem for writing, and drops it by itself: not
 * an exclusive, since i_mmap_unlock_exclusive() would take the mapping for one
 * that was sharded when it was locked.
 * Return: True if the mapping is sharded now and owns @shards.
 */
bool i_mmap_promote(struct address_space *mapping,
		    struct i_mmap_shards *shards)
{
	unsigned long sharded = (unsigned long)shards | I_MMAP_SHARDED;
	struct rb_root_cached home = mapping->i_mmap;
	u64 start = ktime_get_ns();
	unsigned int nr_vmas;

	lockdep_assert_held_write(&mapping->i_mmap_rwsem);

	nr_vmas = i_mmap_count_vmas(mapping, I_MMAP_PROMOTE_MAX_VMAS + 1);
	if (nr_vmas > I_MMAP_PROMOTE_MAX_VMAS) {
		set_bit(AS_I_MMAP_MANY_VMAS, &mapping->flags);
		return false;
	}

	/*
	 * Take the tree apart by a copy of its root. The original says all the
	 * while that the file is mapped, if it is. Its nodes are no tree any
	 * more; there is nobody to walk it.
	 */
	mapping_rmap_tree_move(&home, shards);

	/*
	 * Who sees the set without the lock must see the VMAs in it, and who
	 * sees the home tree empty must see the set (S2). The first pairs with
	 * the address dependency in i_mmap_shards_of(), the second with the
	 * barrier in mapping_mapped().
	 */
	smp_store_release(&mapping->i_mmap.rb_leftmost,
			  (struct rb_node *)sharded);
	/* ... and now it is empty. */
	smp_store_release(&mapping->i_mmap.rb_root.rb_node, NULL);

	trace_i_mmap_promote(mapping, nr_vmas, shards->nr,
			     i_mmap_sharding_forced(),
			     ktime_get_ns() - start);
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_promote);

#if IS_ENABLED(CONFIG_KUNIT)
static struct address_space *i_mmap_test_mapping;

/*
 * Let this mapping, or none if NULL, be promoted although one shard is enough
 * for this machine.
 */
void i_mmap_allow_promotion(struct address_space *mapping)
{
	WRITE_ONCE(i_mmap_test_mapping, mapping);
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_allow_promotion);

static bool i_mmap_is_test(const struct address_space *mapping)
{
	return mapping == READ_ONCE(i_mmap_test_mapping);
}
#else
static bool i_mmap_is_test(const struct address_space *mapping)
{
	return false;
}
#endif

/* May this mapping be sharded, now or ever (S1)? */
static bool i_mmap_qualifies(const struct address_space *mapping)
{
	const struct inode *inode = mapping->host;

	if (!inode || mapping != &inode->i_data ||
	    test_bit(AS_I_MMAP_UNSHARDED, &mapping->flags))
		return false;
	return i_mmap_nr_shards > 1 || i_mmap_sharding_forced() ||
	       i_mmap_is_test(mapping);
}

/*
 * A modifier arrives at a mapping that is not sharded, and whose lock is taken,
 * unless all are to be sharded.
 * If it should be sharded, return the set to promote it with.
 */
static struct i_mmap_shards *i_mmap_prepare_promote(struct address_space *mapping)
{
	unsigned int every = I_MMAP_PROMOTE_EVERY;
	struct i_mmap_shards *shards;

	if (i_mmap_sharding_forced())
		every = 1;
	else
		count_vm_event(I_MMAP_CONTENDED);
	if (test_bit(AS_I_MMAP_MANY_VMAS, &mapping->flags))
		every = I_MMAP_RECOUNT_EVERY;
	/* No counter in the mapping: that would be one more hot word. */
	if (this_cpu_inc_return(i_mmap_contended) % every)
		return NULL;

	if (!i_mmap_qualifies(mapping) || i_mmap_is_sharded(mapping))
		return NULL;

	shards = i_mmap_shards_alloc(i_mmap_nr_shards);
	if (!shards)
		count_vm_event(I_MMAP_PROMOTE_FAIL);
	return shards;
}

/* --- locking ------------------------------------------------------------- */

/*
 * To lockdep, modifiers of a sharded mapping share i_mmap_rwsem, although they
 * do not touch it: they nest in what it nests in, and wait for those who have
 * it. lock_stat, which needs no more than LOCKDEP, counts what is.
 */
static __always_inline void i_mmap_acquire_modify(struct address_space *mapping,
						  int try)
{
	if (IS_ENABLED(CONFIG_PROVE_LOCKING))
		rwsem_acquire_read(&mapping->i_mmap_rwsem.dep_map, 0, try,
				   _RET_IP_);
}

static __always_inline void i_mmap_release_modify(struct address_space *mapping)
{
	if (IS_ENABLED(CONFIG_PROVE_LOCKING))
		rwsem_release(&mapping->i_mmap_rwsem.dep_map, _RET_IP_);
}

/*
 * With i_mmap_rwsem held for writing, but the mapping is sharded (now). There
 * are no walkers; those who come next find the shard's lock taken.
 */
void __i_mmap_join_modifiers(struct address_space *mapping,
			     struct mm_struct *mm)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);

	mutex_lock(&shards->shard[mm->i_mmap_home]->lock);
	up_write(&mapping->i_mmap_rwsem);
	i_mmap_acquire_modify(mapping, 1);
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_join_modifiers);

static void i_mmap_lock_shard(struct address_space *mapping,
			      struct mm_struct *mm)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);
	struct mutex *lock = &shards->shard[mm->i_mmap_home]->lock;

	/* Do not get in the way of walkers who can be seen already. */
	if (unlikely(atomic_read(&shards->walkers)))
		goto wait;

	i_mmap_acquire_modify(mapping, 0);
	mutex_lock(lock);

	/*
	 * A: matches B. To see the VMA that the caller is going to remove as
	 * promotion left it, the lock's acquire would do: it was in the set that
	 * the lock was found.
	 */
	smp_mb();

	if (likely(!atomic_read_acquire(&shards->walkers))) /* C: matches D */
		return;

	/* Let the walker have the shard, and wait in line with others. */
	mutex_unlock(lock);
	i_mmap_release_modify(mapping);
wait:
	count_vm_event(I_MMAP_MODIFY_WAIT);
	down_write(&mapping->i_mmap_rwsem);
	__i_mmap_join_modifiers(mapping, mm);
}

/* The mapping is not sharded, but perhaps it should be. */
static noinline void i_mmap_lock_modify_slow(struct address_space *mapping,
					     struct mm_struct *mm)
{
	bool many = test_bit(AS_I_MMAP_MANY_VMAS, &mapping->flags);
	struct i_mmap_shards *shards = i_mmap_prepare_promote(mapping);

	down_write(&mapping->i_mmap_rwsem);

	/* Perhaps somebody was faster, to shard it or to count too many VMAs. */
	if (shards && !i_mmap_is_sharded(mapping)) {
		if ((many || !test_bit(AS_I_MMAP_MANY_VMAS, &mapping->flags)) &&
		    i_mmap_promote(mapping, shards)) {
			count_vm_event(I_MMAP_PROMOTE);
			shards = NULL;
		} else {
			count_vm_event(I_MMAP_PROMOTE_FAIL);
		}
	}

	if (i_mmap_is_sharded(mapping))
		__i_mmap_join_modifiers(mapping, mm);
	/* Not earlier: if it is sharded, others can go on now. */
	if (shards)
		i_mmap_shards_free(shards);
}

/* The slow half of i_mmap_lock_modify(). */
void __i_mmap_lock_modify(struct address_space *mapping, struct mm_struct *mm)
{
	if (i_mmap_is_sharded(mapping))
		i_mmap_lock_shard(mapping, mm);
	else
		i_mmap_lock_modify_slow(mapping, mm);
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_lock_modify);

void __i_mmap_unlock_modify(struct address_space *mapping, struct mm_struct *mm)
{
	mutex_unlock(&i_mmap_shards_of(mapping)->shard[mm->i_mmap_home]->lock);
	i_mmap_release_modify(mapping);
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_unlock_modify);

static void i_mmap_raise_walkers(struct i_mmap_shards *shards)
{
	atomic_inc(&shards->walkers);
	smp_mb__after_atomic(); /* B: matches A */
}

static void i_mmap_lower_walkers(struct i_mmap_shards *shards)
{
	int left = atomic_dec_return_release(&shards->walkers); /* D: matches C */

	/* Modifiers would take it for a walker, and walkers for none. */
	VM_WARN_ON_ONCE(left < 0);
}

/*
 * Is a modifier in this shard? With RT, the task that wrote a mutex's word last
 * need not be the one that released it; so do not conclude anything from the
 * word there.
 */
static bool i_mmap_shard_is_locked(struct i_mmap_shard *i_mmap_shard)
{
	return IS_ENABLED(CONFIG_PREEMPT_RT) ||
	       mutex_is_locked(&i_mmap_shard->lock);
}

/* Out of line: an idle shard should cost a walk as little as possible. */
static noinline void i_mmap_drain_shard(struct i_mmap_shard *i_mmap_shard)
{
	count_vm_event(I_MMAP_DRAIN_WAIT);
	mutex_lock(&i_mmap_shard->lock);
	mutex_unlock(&i_mmap_shard->lock);
}

/*
 * Keep modifiers out, those of all shards. The caller has i_mmap_rwsem in
 * whatever way, and keeps it as long as this is to last.
 */
void __i_mmap_hold_modifiers(struct address_space *mapping)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);
	struct i_mmap_shard **pos = shards->shard, **end = pos + shards->nr;

	i_mmap_raise_walkers(shards);
	for (; pos < end; pos++) {
		if (i_mmap_shard_is_locked(*pos))
			i_mmap_drain_shard(*pos);
	}
	smp_mb(); /* E: matches the release in mutex_unlock() by the last one */

	count_vm_event(I_MMAP_DRAIN);
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_hold_modifiers);

/* The same without waiting for anybody. False if a modifier is there. */
bool __i_mmap_try_hold_modifiers(struct address_space *mapping)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);
	unsigned int i;

	/* Do not drive modifiers off their fast path for nothing. */
	for (i = 0; i < shards->nr; i++) {
		if (mutex_is_locked(&shards->shard[i]->lock))
			return false;
	}

	i_mmap_raise_walkers(shards);
	for (i = 0; i < shards->nr; i++) {
		struct i_mmap_shard *i_mmap_shard = shards->shard[i];

		if (!i_mmap_shard_is_locked(i_mmap_shard))
			continue;
		if (!mutex_trylock(&i_mmap_shard->lock)) {
			i_mmap_lower_walkers(shards);
			return false;
		}
		mutex_unlock(&i_mmap_shard->lock);
	}
	smp_mb(); /* E, see __i_mmap_hold_modifiers() */

	count_vm_event(I_MMAP_DRAIN);
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_try_hold_modifiers);

/* Let modifiers in again, if this is the last who kept them out. */
void __i_mmap_let_modifiers(struct address_space *mapping)
{
	i_mmap_lower_walkers(i_mmap_shards_of(mapping));
}
EXPORT_SYMBOL_IF_KUNIT(__i_mmap_let_modifiers);

#ifdef CONFIG_LOCKDEP
/* May the caller change the tree that the VMAs of @mm are in? */
void i_mmap_assert_modify(struct address_space *mapping, struct mm_struct *mm)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);

	lockdep_assert((shards &&
			lockdep_is_held(&shards->shard[mm->i_mmap_home]->lock)) ||
		       (lockdep_is_held_type(&mapping->i_mmap_rwsem, 0) &&
			(!shards || atomic_read(&shards->walkers) > 0)));
}

/* May the caller walk the trees? */
void i_mmap_assert_walk(struct address_space *mapping)
{
	struct i_mmap_shards *shards = i_mmap_shards_of(mapping);

	lockdep_assert_held(&mapping->i_mmap_rwsem);
	lockdep_assert(!shards || atomic_read(&shards->walkers) > 0);
}
#endif

/* --- which CPU has its home where ----------------------------------------- */

void __i_mmap_set_home(struct mm_struct *mm)
{
	/* Another CPU's would be right as well, but farther away. */
	mm->i_mmap_home = raw_cpu_read(i_mmap_cpu_home);
}

/* A CPU, and the smallest number of a CPU that it shares something with. */
struct i_mmap_cpu {
	int node;
	unsigned int llc;
	unsigned int core;
	unsigned int cpu;
};

static int __init i_mmap_cmp_cpus(const void *a, const void *b)
{
	const struct i_mmap_cpu *x = a, *y = b;

	return cmp_int(x->node, y->node) ?: cmp_int(x->llc, y->llc) ?:
	       cmp_int(x->core, y->core) ?: cmp_int(x->cpu, y->cpu);
}

/*
 * The CPUs that run, such that those that share most are neighbors. Others may
 * never come: siblings with "nosmt", empty sockets, the spare CPUs of a guest.
 * A shard for them would be looked at by each walk all the same.
 */
static unsigned int __init i_mmap_sort_cpus(struct i_mmap_cpu *cpus)
{
	unsigned int cpu, i, nr = 0;

	for_each_online_cpu(cpu) {
		struct i_mmap_cpu *c = &cpus[nr++];

		c->cpu = cpu;
		c->node = cpu_to_node(cpu);
		c->core = cpumask_first(topology_sibling_cpumask(cpu));
		if (c->core >= nr_cpu_ids)
			c->core = cpu;
		c->llc = cpu;
		for (i = 0; i < nr - 1; i++) {
			if (cpus[i].node != c->node)
				continue;
			/* The scheduler sees no caches of isolated threads. */
			if (cpus[i].core == c->core) {
				c->llc = cpus[i].llc;
				break;
			}
			if (c->llc == cpu && cpus[i].llc == cpus[i].cpu &&
			    cpus_share_cache(cpus[i].cpu, cpu))
				c->llc = cpus[i].cpu;
		}
	}
	sort(cpus, nr, sizeof(*cpus), i_mmap_cmp_cpus, NULL);
	return nr;
}

/*
 * Divide the CPUs into shards of about @per_shard: never CPUs of two nodes in
 * one, and no core in two. Small groups of CPUs that share a cache are put
 * together; large ones are cut into equal parts.
 */
static unsigned int __init i_mmap_divide_cpus(const struct i_mmap_cpu *cpus,
					      unsigned int nr_cpus,
					      unsigned int per_shard)
{
	unsigned int i, nr = 0, in_shard = 0, limit = per_shard;

	for (i = 0; i < nr_cpus; i++) {
		const struct i_mmap_cpu *c = &cpus[i], *prev = c - 1;
		bool new_node = !i || c->node != prev->node;
		bool new_llc = new_node || c->llc != prev->llc;
		bool new_core = new_llc || c->core != prev->core;

		if (new_node || (new_llc && in_shard >= per_shard / 2) ||
		    (new_core && in_shard >= limit)) {
			nr++;
			in_shard = 0;
		}
		if (new_llc) {
			unsigned int end = i, size, parts;

			while (end < nr_cpus && cpus[end].node == c->node &&
			       cpus[end].llc == c->llc)
				end++;
			size = end - i;
			limit = per_shard;
			if (size > per_shard) {
				parts = DIV_ROUND_CLOSEST(size, per_shard);
				limit = DIV_ROUND_UP(size, parts);
			}
		}
		in_shard++;
		if (nr <= I_MMAP_MAX_SHARDS)
			per_cpu(i_mmap_cpu_home, c->cpu) = nr - 1;
	}
	return nr;
}

static unsigned int __init i_mmap_map_cpus(const struct i_mmap_cpu *cpus,
					   unsigned int nr_cpus,
					   unsigned int want)
{
	unsigned int per_shard = I_MMAP_SHARD_CPUS, nr, i;

	if (want) {
		nr = want;
		for (i = 0; i < nr_cpus; i++)
			per_cpu(i_mmap_cpu_home, cpus[i].cpu) = i * nr / nr_cpus;
		return nr;
	}

	do {
		nr = i_mmap_divide_cpus(cpus, nr_cpus, per_shard);
		if (nr <= I_MMAP_MAX_SHARDS)
			return nr;
		per_shard *= 2;
	} while (per_shard <= nr_cpus);

	/* More nodes than that: let several share. */
	return i_mmap_map_cpus(cpus, nr_cpus, I_MMAP_MAX_SHARDS);
}

/* CPUs that may come later join those of their node, or any. */
static void __init i_mmap_map_offline_cpus(unsigned int nr_shards)
{
	unsigned int cpu, i;

	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		per_cpu(i_mmap_cpu_home, cpu) = cpu % nr_shards;
		for (i = 0; i < nr_shards; i++) {
			unsigned int shard = (cpu + i) % nr_shards;

			if (i_mmap_shard_node[shard] == cpu_to_node(cpu)) {
				per_cpu(i_mmap_cpu_home, cpu) = shard;
				break;
			}
		}
	}
}

/* See the comment at the top of this file. */
static const bool i_mmap_arch_unsharded =
	IS_ENABLED(CONFIG_ARM) || IS_ENABLED(CONFIG_MIPS) ||
	IS_ENABLED(CONFIG_NIOS2) || IS_ENABLED(CONFIG_PARISC) ||
	IS_ENABLED(CONFIG_XTENSA);

/* As early as the scheduler knows which CPUs share a cache. */
static int __init i_mmap_shards_init(void)
{
	unsigned int nr_cpus, size, i;
	struct i_mmap_cpu *cpus;

	/* SLAB_HWCACHE_ALIGN would let small ones share a line. */
	size = ALIGN(sizeof(struct i_mmap_shard), cache_line_size());
	i_mmap_shard_cachep = kmem_cache_create("i_mmap_shard", size,
						cache_line_size(), SLAB_PANIC,
						NULL);

	if (i_mmap_arch_unsharded || i_mmap_want_none)
		return 0;

	cpus_read_lock();
	cpus = kcalloc(num_online_cpus(), sizeof(*cpus), GFP_KERNEL);
	if (!cpus) {
		cpus_read_unlock();
		return -ENOMEM;
	}

	nr_cpus = i_mmap_sort_cpus(cpus);
	i_mmap_nr_shards = i_mmap_map_cpus(cpus, nr_cpus, i_mmap_want_shards);
	for (i = nr_cpus; i-- > 0; )
		i_mmap_shard_node[per_cpu(i_mmap_cpu_home, cpus[i].cpu)] =
			cpus[i].node;
	i_mmap_map_offline_cpus(i_mmap_nr_shards);
	cpus_read_unlock();
	kfree(cpus);

	if (i_mmap_want_force)
		static_branch_enable(&i_mmap_force_key);
	/*
	 * Nobody has a lock yet, or waits for one: who began to take it before
	 * this does not look once more whether the mapping was promoted (L1).
	 */
	if (i_mmap_want_force || i_mmap_nr_shards > 1) {
		static_branch_enable(&i_mmap_sharding_key);
		pr_info("i_mmap: contended files get %u shard(s)%s\n",
			i_mmap_nr_shards,
			i_mmap_want_force ? ", all others, too" : "");
	}
	return 0;
}
core_initcall(i_mmap_shards_init);

#if IS_ENABLED(CONFIG_KUNIT)
/*
 * Also with a single CPU the tests want to see sharded mappings. As one shard is
 * enough, only i_mmap_test_mapping can be promoted, of which nobody else knows.
 */
bool i_mmap_sharding_enable(void)
{
	if (i_mmap_arch_unsharded)
		return false;
	static_branch_enable(&i_mmap_sharding_key);
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_sharding_enable);

/* As it was before, when no mapping of the tests is left. */
void i_mmap_sharding_restore(void)
{
	if (i_mmap_nr_shards == 1 && !i_mmap_sharding_forced())
		static_branch_disable(&i_mmap_sharding_key);
}
EXPORT_SYMBOL_IF_KUNIT(i_mmap_sharding_restore);
#endif

static int __init i_mmap_shards_param(char *arg)
{
	char *word;

	while ((word = strsep(&arg, ","))) {
		if (!strcmp(word, "off")) {
			i_mmap_want_none = true;
		} else if (!strcmp(word, "force")) {
			i_mmap_want_force = true;
		} else if (kstrtouint(word, 0, &i_mmap_want_shards) ||
			   !i_mmap_want_shards ||
			   i_mmap_want_shards > I_MMAP_MAX_SHARDS) {
			pr_warn("i_mmap_shards: \"%s\" is none of \"off\", \"force\" and 1 to %u\n",
				word, I_MMAP_MAX_SHARDS);
			i_mmap_want_shards = 0;
		}
	}
	return 0;
}
early_param("i_mmap_shards", i_mmap_shards_param);
