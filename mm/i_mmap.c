// SPDX-License-Identifier: GPL-2.0
/*
 * Sharded files: several trees of the VMAs that map a file
 *
 * Every exec and exit links and unlinks the VMAs of the same few files: the
 * program, the dynamic linker, the C library. With one tree and one lock for
 * each file, all CPUs of a machine take turns. So a file whose modifiers are
 * seen to contend is sharded: beside the tree that it has, it gets another one,
 * with a lock of its own, for each group of CPUs that links VMAs of it.
 *
 * WHERE A VMA IS
 *
 *   (P1) In the tree whose number it carries. 0 is the first tree, which the
 *        mapping always had; k + 1 is that of the k-th group of CPUs. The number
 *        changes only while the VMA is in no tree, by who has its mm for
 *        writing. So it is stable for everyone who may read it.
 *   (P2) The task that links a VMA chooses: the tree of the group that it runs
 *        in, or the first one, which is always right. But a child whose page
 *        table entries fork() copies goes to its parent's tree, unless that is
 *        the first, and a copy that mremap() moves entries to goes to that of
 *        the original. If that is merged into a VMA of another tree instead,
 *        mremap() keeps walkers out while it moves entries (need_rmap_locks).
 *   (P3) A walk goes from the first tree to that of the last group. Within a
 *        tree, VMAs are in the order of their first page offsets, and equal ones
 *        in the order of insertion, or as mapping_rmap_tree_insert_after() says.
 *
 * From P2 and P3 follows what fork() and mremap() need: a walk meets the VMA
 * whose page table entries are copied or moved before the one which they are
 * copied or moved to, so it misses none. Both have the mm for writing, so no VMA
 * moves to another tree meanwhile.
 *
 * WHO EXCLUDES WHOM
 *
 *   modifier of the first tree    i_mmap_rwsem for writing
 *   modifier of another tree      the lock of the tree, taken while "holds" of
 *                                 the set is 0, or with i_mmap_rwsem for writing
 *   walker                        i_mmap_rwsem for reading; if the mapping is
 *                                 sharded, "holds" raised, the trees drained
 *   exclusive                     i_mmap_rwsem for writing, then as a walker
 *
 *   (L1) Who has i_mmap_rwsem for writing has the first tree, whether or not the
 *        mapping was sharded when he began to wait. To shard it, and to add a
 *        tree, takes i_mmap_rwsem for writing, too.
 *   (L2) While "holds" is raised and the trees have been drained, there is no
 *        modifier. Walkers keep no tree's lock, so they may walk with spinlocks
 *        held or under RCU.
 *   (L3) A modifier excludes those of the same tree, and walkers, but no others.
 *        What modifiers change beside the tree must stand that. It is
 *        i_mmap_writable, which is atomic, and which only VMAs that are shared,
 *        and could be written to, count in.
 *   (L4) No tree's lock nests in another. Trees' locks nest in i_mmap_rwsem,
 *        never the other way round.
 *
 * (L2) is a handshake of two words, like that of mnt_get_write_access() and
 * mnt_hold_writers(), or of percpu_down_read() and percpu_down_write():
 *
 *   modifier                            walker
 *     lock the tree                       holds++
 *     smp_mb()                   (A)      smp_mb()                        (B)
 *     holds == 0? go on          (C)      tree not locked? go on          (E)
 *     ...                                 ...
 *     unlock the tree                     holds--                         (D)
 *
 * A and B see to it that one of them sees the other. When the modifier sees 0
 * because a walk has ended, C and D order the walk before what the modifier
 * does; when the walker sees the tree unlocked after a modifier was there, E
 * and the unlock order that before the walk. An acquire in place of A would not
 * do: it does not order the store that takes the lock. Each of these promises has
 * a litmus test, Documentation/litmus-tests/locking/i_mmap-*.litmus, and the
 * protocol a model, tools/verification/spin/i_mmap.pml.
 *
 * A modifier that meets a walker waits in line for i_mmap_rwsem, once, however
 * many walkers come. A walker waits for the modifiers that were in the trees when
 * it raised "holds"; others only come to leave at once.
 *
 * HOW A SET LIVES
 *
 *   (S1) Only a mapping that is its inode's own i_data is sharded, since the
 *        inode's destruction frees the set. Others may be on somebody's stack.
 *   (S2) The address of the set stands where the root of the mapping's own tree
 *        was, so mapping_mapped() says yes from then on. Sets and trees are
 *        published when they are initialized.
 *   (S3) Sets and trees only come. So either that was seen once can be used as
 *        long as there is a reference to the inode. mutex_unlock() may touch the
 *        mutex when somebody else has it already, so modifiers keep their
 *        references to the file until it returns, and walkers what keeps the
 *        inode.
 *   (S4) The inode's destruction frees the set and its trees, and makes the mapping
 *        ready for the next life of the inode.
 *   (S5) Nothing fails because of sharding. If there is no memory for a set, the
 *        mapping stays as it is; if there is none for a tree, VMAs go to the
 *        first one; and it is tried again later.
 *
 * hugetlbfs mappings have one tree: sharing and unsharing page tables wants all
 * VMAs under one lock, also within modifiers (hugetlb_split()). So have all on
 * machines of 32 bits, where a VMA has no room for a number, and on parisc, where
 * walks for the sake of cache aliases have flush_dcache_mmap_lock() as their
 * only lock.
 */

#include <linux/cache.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>
#include <linux/vmstat.h>

#include "i_mmap.h"

#define CREATE_TRACE_POINTS
#include <trace/events/i_mmap.h>

/*
 * A CPU counts how often it is to link or update a VMA, and a modifier or an
 * exclusive has the lock, of whatever mapping. One in so many times it shards the
 * mapping at hand. Not each time, as that happens to every file now and then.
 * After a second without, it counts anew.
 */
#define I_MMAP_SHARD_EVERY	4

/*
 * How often a walker that must not sleep looks whether modifiers have left. That
 * is some 5 us on current x86, and less where cpu_relax() is a hint.
 */
#define I_MMAP_TRY_SPINS	100

DEFINE_STATIC_KEY_FALSE(i_mmap_sharding_key);

/* From the command line: shard each file when it is first mapped. */
DEFINE_STATIC_KEY_FALSE(i_mmap_force_key);

/* Fixed at boot. */
unsigned int i_mmap_nr_groups __ro_after_init = 1;
static int i_mmap_group_node[I_MMAP_MAX_GROUPS] __ro_after_init = {
	[0 ... I_MMAP_MAX_GROUPS - 1] = NUMA_NO_NODE
};

static DEFINE_PER_CPU_READ_MOSTLY(u8, i_mmap_cpu_group);
static struct kmem_cache *i_mmap_set_cachep __ro_after_init;
static struct kmem_cache *i_mmap_tree_cachep __ro_after_init;

/* From the command line; 0 is "by the topology". */
static unsigned int i_mmap_want_groups __initdata;
static bool i_mmap_want_none __initdata;
static bool i_mmap_want_force __initdata;

static DEFINE_PER_CPU(unsigned int, i_mmap_contended);
static DEFINE_PER_CPU(unsigned long, i_mmap_contended_at);

/* --- sets and trees ------------------------------------------------------- */

/* The first tree will do: so do not try hard. Charged to the task that asks. */
#define I_MMAP_GFP	(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

/* By number; the caller has the tree's lock, or is going to take it. */
static struct rb_root_cached *i_mmap_root(struct i_mmap_set *set, unsigned int nr)
{
	return nr ? &set->tree[nr - 1]->root : &set->first;
}

/* Without i_mmap_rwsem, which is taken in reclaim. NULL if there is no memory. */
struct i_mmap_set *i_mmap_alloc_set(void)
{
	return kmem_cache_zalloc(i_mmap_set_cachep, I_MMAP_GFP);
}

/* As i_mmap_alloc_set(). Who finds that he does not need it calls kfree(). */
struct i_mmap_tree *i_mmap_alloc_tree(unsigned int group)
{
	return kmem_cache_alloc_node(i_mmap_tree_cachep, I_MMAP_GFP,
				     i_mmap_group_node[group]);
}

/* With i_mmap_rwsem for writing, if the group has none. */
void i_mmap_add_tree(struct i_mmap_set *set, unsigned int group,
		     struct i_mmap_tree *i_mmap_tree)
{
	/* lockdep and lock_stat take their name from the argument. */
	mutex_init(&i_mmap_tree->lock);
	i_mmap_tree->root = RB_ROOT_CACHED;

	/* For walkers, who take i_mmap_rwsem */
	set->present |= BIT(group);
	/* ... and for the task that links a VMA, and does not */
	smp_store_release(&set->tree[group], i_mmap_tree);
}

/*
 * Shard a mapping that is not, and qualifies for it, with i_mmap_rwsem for writing,
 * but not as an exclusive, who would take it for one that was sharded before. Its
 * tree becomes the first of the set. No VMA moves, nor does its number change, and
 * nobody who waits for the tree's lock needs to know.
 */
void i_mmap_shard(struct address_space *mapping, struct i_mmap_set *set)
{
	u64 start = trace_i_mmap_shard_enabled() ? ktime_get_ns() : 0;

	lockdep_assert_held_write(&mapping->i_mmap_rwsem);
	set->first = mapping->i_mmap;

	/* Pairs with the address dependency in i_mmap_set_of(). */
	smp_store_release(&mapping->i_mmap.rb_root.rb_node,
			  (struct rb_node *)((unsigned long)set + I_MMAP_SHARDED));
	mapping->i_mmap.rb_leftmost = NULL;

	count_vm_event(I_MMAP_SHARD);
	if (start)
		trace_i_mmap_shard(mapping, ktime_get_ns() - start);
}

/* The slow half of i_mmap_destroy(). */
void __i_mmap_destroy(struct address_space *mapping)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping);

	VM_WARN_ON_ONCE(atomic_read(&set->holds));
	VM_WARN_ON_ONCE(!RB_EMPTY_ROOT(&set->first.rb_root));
	mapping->i_mmap = RB_ROOT_CACHED;

	for (unsigned long left = set->present; left; left &= left - 1) {
		struct i_mmap_tree *tree = set->tree[__ffs(left)];

		VM_WARN_ON_ONCE(!RB_EMPTY_ROOT(&tree->root.rb_root));
		mutex_destroy(&tree->lock);
		kmem_cache_free(i_mmap_tree_cachep, tree);
	}
	kmem_cache_free(i_mmap_set_cachep, set);
}

/* --- modifiers ------------------------------------------------------------ */

/*
 * To lockdep, modifiers of a tree share i_mmap_rwsem, although they do not touch
 * it: they nest in what it nests in, and wait for those who have it. lock_stat,
 * which needs no more than LOCKDEP, counts what is.
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

/* Lock a tree unless a walker is there. */
static __always_inline bool i_mmap_enter_tree(struct address_space *mapping,
					      struct i_mmap_set *set,
					      struct i_mmap_tree *tree)
{
	/* Do not get in the way of walkers who can be seen already. */
	if (unlikely(atomic_read(&set->holds)))
		goto walked;

	i_mmap_acquire_modify(mapping, 0);
	mutex_lock(&tree->lock);
	smp_mb(); /* A: matches B */
	if (likely(!atomic_read_acquire(&set->holds))) /* C: matches D */
		return true;

	/* Let the walker have the tree, and wait in line with others. */
	mutex_unlock(&tree->lock);
	i_mmap_release_modify(mapping);
walked:
	count_vm_event(I_MMAP_MODIFY_WAIT);
	return false;
}

/* The slow half of i_mmap_lock_modify(), for trees other than the first. */
struct rb_root_cached *__i_mmap_lock_tree(struct address_space *mapping,
					  unsigned int nr)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping);
	struct i_mmap_tree *tree = set->tree[nr - 1];

	if (likely(i_mmap_enter_tree(mapping, set, tree)))
		return &tree->root;

	/* No walkers; those who come next find the tree's lock taken. */
	down_write(&mapping->i_mmap_rwsem);
	mutex_lock(&tree->lock);
	up_write(&mapping->i_mmap_rwsem);
	i_mmap_acquire_modify(mapping, 1);
	return &tree->root;
}

void __i_mmap_unlock_tree(struct address_space *mapping, unsigned int nr)
{
	mutex_unlock(&i_mmap_set_of(mapping)->tree[nr - 1]->lock);
	i_mmap_release_modify(mapping);
}

/* Should this mapping be sharded, by who has to wait for its lock? */
static bool i_mmap_should_shard(const struct address_space *mapping)
{
	const struct inode *inode = mapping->host;

	if (i_mmap_is_sharded(mapping) || !inode || mapping != &inode->i_data ||
	    test_bit(AS_I_MMAP_ONE_TREE, &mapping->flags))
		return false;
	/* Not before all code knows of the key, and there is memory for trees. */
	if (!smp_load_acquire(&i_mmap_set_cachep))
		return false;
	if (i_mmap_sharding_forced())
		return true;
	/*
	 * Walkers do not count: more trees would be no help against them. No
	 * counter in the mapping: that would be one more hot word.
	 */
	if (!rwsem_is_write_locked(&mapping->i_mmap_rwsem))
		return false;
	if (time_after(jiffies, this_cpu_read(i_mmap_contended_at) + HZ))
		this_cpu_write(i_mmap_contended, 0);
	this_cpu_write(i_mmap_contended_at, jiffies);
	return this_cpu_inc_return(i_mmap_contended) % I_MMAP_SHARD_EVERY == 0;
}

/*
 * Lock the first tree. If it is due, shard the mapping; if it is sharded, see that
 * the group has a tree. Return the set, or NULL if it is not sharded.
 */
static struct i_mmap_set *i_mmap_lock_first(struct address_space *mapping,
					    unsigned int group)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping), *new_set = NULL;
	struct i_mmap_tree *new_tree = NULL;

	if (i_mmap_should_shard(mapping))
		new_set = i_mmap_alloc_set();
	if (set ? !READ_ONCE(set->tree[group]) : !!new_set)
		new_tree = i_mmap_alloc_tree(group);

	down_write(&mapping->i_mmap_rwsem);
	/* Others may have been faster. */
	set = i_mmap_set_of(mapping);
	if (!set && new_set) {
		i_mmap_shard(mapping, new_set);
		set = new_set;
		new_set = NULL;
	}
	if (set && new_tree && !set->tree[group]) {
		i_mmap_add_tree(set, group, new_tree);
		new_tree = NULL;
	}
	kfree(new_set);
	kfree(new_tree);
	return set;
}

/*
 * With the lock of the first tree, which keeps walkers away, change over to the
 * tree of the group, if it is free. The next walker finds its lock taken.
 * Return the number of the tree whose lock the caller has now.
 */
static unsigned int i_mmap_leave_first(struct address_space *mapping,
				       struct i_mmap_set *set,
				       unsigned int group)
{
	struct i_mmap_tree *tree = set->tree[group];

	if (!tree || !mutex_trylock(&tree->lock))
		return 0;
	up_write(&mapping->i_mmap_rwsem);
	i_mmap_acquire_modify(mapping, 1);
	return group + 1;
}

/* The slow half of i_mmap_lock_link(), if there may be a choice of trees. */
struct rb_root_cached *__i_mmap_lock_link(struct address_space *mapping,
					  struct vm_area_struct *vma)
{
	unsigned int group = raw_cpu_read(i_mmap_cpu_group);
	struct i_mmap_set *set = i_mmap_set_of(mapping);
	unsigned int nr = vma_i_mmap_tree(vma);

	might_alloc(I_MMAP_GFP);
	if (nr)
		return __i_mmap_lock_tree(mapping, nr);

	if (likely(set)) {
		struct i_mmap_tree *tree = READ_ONCE(set->tree[group]);

		if (likely(tree && i_mmap_enter_tree(mapping, set, tree))) {
			vma_set_i_mmap_tree(vma, group + 1);
			return &tree->root;
		}
	}

	set = i_mmap_lock_first(mapping, group);
	if (!set)
		return &mapping->i_mmap;
	nr = i_mmap_leave_first(mapping, set, group);
	vma_set_i_mmap_tree(vma, nr);
	return i_mmap_root(set, nr);
}

struct rb_root_cached *i_mmap_lock_update(struct address_space *mapping,
					  struct vm_area_struct **vmas,
					  unsigned int nr_vmas,
					  struct vm_area_struct *insert)
{
	unsigned int group = raw_cpu_read(i_mmap_cpu_group);
	unsigned int nr = vma_i_mmap_tree(vmas[0]), i;
	struct rb_root_cached *root;
	struct i_mmap_set *set;
	bool mixed = false;

	might_alloc(I_MMAP_GFP);
	for (i = 1; i < nr_vmas; i++)
		mixed |= vma_i_mmap_tree(vmas[i]) != nr;
	if (likely(!mixed && (nr || !i_mmap_may_choose(mapping))))
		return i_mmap_lock_modify(mapping, vmas[0]);

	if (mixed)
		count_vm_event(I_MMAP_MIXED);
	set = i_mmap_lock_first(mapping, group);
	if (!set)
		return &mapping->i_mmap;

	/*
	 * With i_mmap_rwsem there is no walker who could miss them. The next one
	 * waits for the tree that they come to. Where flush_dcache_mmap_lock()
	 * does anything, no mapping is sharded.
	 */
	for (i = 0; i < nr_vmas; i++) {
		nr = vma_i_mmap_tree(vmas[i]);
		if (nr)
			mutex_lock(&set->tree[nr - 1]->lock);
		mapping_rmap_tree_remove(vmas[i], i_mmap_root(set, nr));
		if (nr)
			mutex_unlock(&set->tree[nr - 1]->lock);
	}
	nr = i_mmap_leave_first(mapping, set, group);
	root = i_mmap_root(set, nr);
	for (i = 0; i < nr_vmas; i++) {
		vma_set_i_mmap_tree(vmas[i], nr);
		mapping_rmap_tree_insert(vmas[i], root);
	}
	if (insert)
		vma_set_i_mmap_tree(insert, nr);
	return root;
}

/* --- walkers and exclusives ----------------------------------------------- */

/* See that a tree is free, within the spins that are left if that must not sleep. */
static noinline bool i_mmap_drain_tree(struct i_mmap_tree *tree, bool try,
				       unsigned int *spins)
{
	count_vm_event(I_MMAP_WALK_WAIT);
	if (try && !IS_ENABLED(CONFIG_PREEMPT_RT)) {
		/* The task that has the lock soon drops it, if it runs. */
		while (mutex_is_locked(&tree->lock)) {
			if (!(*spins)--)
				return false;
			cpu_relax();
		}
		return true;
	}
	if (!try)
		mutex_lock(&tree->lock);
	else if (!mutex_trylock(&tree->lock))
		return false;
	mutex_unlock(&tree->lock);
	return true;
}

/*
 * Keep modifiers out, those of all trees. The caller has i_mmap_rwsem in
 * whatever way, and keeps it as long as this is to last. With @try, do not sleep,
 * and return false if a modifier does not leave soon.
 */
bool i_mmap_stop_modifiers(struct address_space *mapping, bool try)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping);
	unsigned int spins = I_MMAP_TRY_SPINS;

	atomic_inc(&set->holds);
	smp_mb__after_atomic(); /* B: matches A */
	for (unsigned long left = set->present; left; left &= left - 1) {
		struct i_mmap_tree *tree = set->tree[__ffs(left)];

		/*
		 * A and B want the lock to be taken by a store of the task that
		 * gets it, C and E want it to be dropped by a release of the one
		 * that has had it: of a mutex, its owner word, also when it is
		 * handed off. With RT, the task that wrote a mutex's word last
		 * need not be either; so conclude nothing from it there.
		 */
		if (!IS_ENABLED(CONFIG_PREEMPT_RT) && !mutex_is_locked(&tree->lock))
			continue;
		if (!i_mmap_drain_tree(tree, try, &spins)) {
			i_mmap_resume_modifiers(mapping);
			return false;
		}
	}
	smp_mb(); /* E: matches the release in mutex_unlock() by the last one */
	return true;
}

/* Let modifiers in again, if this is the last who kept them out. */
void i_mmap_resume_modifiers(struct address_space *mapping)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping);
	int left = atomic_dec_return_release(&set->holds); /* D: matches C */

	/* It would keep modifiers out for ever, and let them in beside a walker. */
	VM_WARN_ON_ONCE(left < 0);
}

#ifdef CONFIG_LOCKDEP
/* May the caller insert @vma in this tree, or remove it from there? */
void i_mmap_assert_modify(const struct vm_area_struct *vma,
			  const struct rb_root_cached *root)
{
	if (vma_i_mmap_tree(vma))
		lockdep_assert_held(&container_of(root, struct i_mmap_tree,
						  root)->lock);
	else if (vma->vm_file)
		lockdep_assert_held_write(&vma->vm_file->f_mapping->i_mmap_rwsem);
}

/* May the caller walk the trees? */
void i_mmap_assert_walk(struct address_space *mapping)
{
	struct i_mmap_set *set = i_mmap_set_of(mapping);

	lockdep_assert_held(&mapping->i_mmap_rwsem);
	lockdep_assert(!set || atomic_read(&set->holds) > 0);
}
#endif

/* --- at boot -------------------------------------------------------------- */

/* As early as the scheduler knows which CPUs share a cache. */
static int __init i_mmap_init_groups(void)
{
	unsigned int line = max(cache_line_size(), SMP_CACHE_BYTES);
	unsigned int nr_cpus, size, cpu, i;
	struct kmem_cache *set_cachep;
	struct i_mmap_cpu *cpus;

	/* See the comment at the top of this file. */
	if (IS_ENABLED(CONFIG_PARISC) || i_mmap_want_none)
		return 0;

	cpus_read_lock();
	cpus = kzalloc_objs(*cpus, num_online_cpus());
	if (!cpus) {
		cpus_read_unlock();
		return -ENOMEM;
	}

	nr_cpus = i_mmap_list_cpus(cpus);
	i_mmap_nr_groups = i_mmap_group_cpus(cpus, nr_cpus);
	if (i_mmap_want_groups) {
		i_mmap_nr_groups = i_mmap_want_groups;
		for (i = 0; i < nr_cpus; i++)
			cpus[i].group = i * i_mmap_nr_groups / nr_cpus;
	}
	for (i = nr_cpus; i-- > 0; ) {
		per_cpu(i_mmap_cpu_group, cpus[i].cpu) = cpus[i].group;
		i_mmap_group_node[cpus[i].group] = cpu_to_mem(cpus[i].cpu);
	}
	for_each_possible_cpu(cpu) {
		if (!cpu_online(cpu))
			per_cpu(i_mmap_cpu_group, cpu) =
				i_mmap_late_group(cpus, nr_cpus,
						  cpu_to_node(cpu), cpu);
	}
	cpus_read_unlock();
	kfree(cpus);

	if (i_mmap_nr_groups == 1 && !i_mmap_want_force)
		return 0;

	if (i_mmap_want_force)
		static_branch_enable(&i_mmap_force_key);
	/* As long as there is no cache for sets, no mapping is sharded. */
	static_branch_enable(&i_mmap_sharding_key);

	/* No other object is to share these cache lines. */
	size = ALIGN(sizeof(struct i_mmap_tree), line);
	i_mmap_tree_cachep = kmem_cache_create("i_mmap_tree", size, line,
					       SLAB_PANIC, NULL);
	/* The trees begin in what sizeof() counts as padding. */
	size = ALIGN(offsetof(struct i_mmap_set, tree[i_mmap_nr_groups]), line);
	set_cachep = kmem_cache_create("i_mmap_set", size, line, SLAB_PANIC, NULL);
	/* Pairs with the acquire in i_mmap_should_shard(). */
	smp_store_release(&i_mmap_set_cachep, set_cachep);

	pr_info("i_mmap: contended files are sharded for %u group(s) of CPUs%s\n",
		i_mmap_nr_groups, i_mmap_want_force ? ", all others, too" : "");
	return 0;
}
core_initcall(i_mmap_init_groups);

static int __init i_mmap_shards_param(char *arg)
{
	unsigned int nr;
	char *word;

	while ((word = strsep(&arg, ","))) {
		if (!strcmp(word, "off")) {
			i_mmap_want_none = true;
		} else if (!strcmp(word, "force")) {
			i_mmap_want_force = true;
		} else if (kstrtouint(word, 0, &nr) || !nr || nr > I_MMAP_MAX_GROUPS) {
			pr_warn("i_mmap_shards: \"%s\" is none of \"off\", \"force\" and 1 to %u\n",
				word, I_MMAP_MAX_GROUPS);
		} else {
			i_mmap_want_groups = nr;
		}
	}
	return 0;
}
early_param("i_mmap_shards", i_mmap_shards_param);
