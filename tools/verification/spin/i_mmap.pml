/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lock of the file rmap (mm/i_mmap.c) as a Promela model, for a mapping that
 * may be sharded at any time, on a machine with two groups of CPUs.
 *
 *   spin -a i_mmap.pml && cc -O2 -DSAFETY -DCOLLAPSE pan.c -o pan && ./pan -m100000
 *
 * ./pan must say "errors: 0", and must not say that the search was not
 * completed. The invariants are assertions; deadlocks are invalid end states.
 * -D can set how many there are of each kind, within what memory there is: each
 * one more makes five to fifty times as many states.
 *
 *   MODIFIERS   link a VMA, change it or split it, and unlink it
 *   MERGERS     link two VMAs of an mm on two CPUs, and merge or unlink them
 *   ORDERS      fork() and mremap(), which copy and move page table entries
 *   WALKERS     walk all trees, and clear the entries that ORDERS have
 *   TRYLOCKS    do so, too, but wait for nobody
 *   EXCLUSIVES  keep out all others
 *
 * Tree 0 is the one that the mapping always had, trees 1 and 2 are those of the
 * groups. In the end, the inode goes.
 *
 * spin's processes see each other's stores in order. That the real ones do is
 * what Documentation/litmus-tests/locking/i_mmap-*.litmus are about. What the
 * lack of a barrier would allow is here another order of two steps. All VMAs of
 * a tree are visited in one step: the order within a tree is that of an interval
 * tree, for which there are KUnit tests.
 *
 * Each of these mistakes, given by -D, must make ./pan find an error:
 *
 *   BROKEN_A          a modifier looks at "holds", then locks its tree
 *   BROKEN_B          a walker looks at the trees' locks, then raises "holds"
 *   BROKEN_C          a modifier modifies, then looks at "holds"
 *   BROKEN_D          a walker lowers "holds", then ends its walk
 *   BROKEN_E          a walker walks, then looks at the trees' locks
 *   BROKEN_HOLDS      a modifier does not look at "holds"
 *   BROKEN_PRESENT    a walker reads which trees there are, then waits for
 *                     i_mmap_rwsem
 *   BROKEN_CREATE     a tree is created without i_mmap_rwsem
 *   BROKEN_WAIT       a walker does not wait for the modifiers that are there
 *   BROKEN_WAIT_LAST  ... for those of the last tree
 *   BROKEN_SLOWPATH   a modifier drops i_mmap_rwsem, then locks its tree
 *   BROKEN_FALLBACK   a linker that meets a walker uses tree 0 without its lock
 *   BROKEN_UNLINK     a VMA is unlinked from the tree of the CPU, not its own
 *   BROKEN_RWSEM      a mapping is sharded under i_mmap_rwsem for reading
 *   BROKEN_TWICE      who waited in order to shard it does not look again
 *   BROKEN_WALK       a walker looks if it is sharded, then takes i_mmap_rwsem
 *   BROKEN_MOVE       neither lock is held while a VMA moves
 *   BROKEN_SPLIT      what is split off a VMA that moves keeps the old number
 *   BROKEN_MERGE      a VMA of another tree is merged without that tree's lock
 *   BROKEN_BATCH      VMAs of two trees are unlinked under the lock of one
 *   BROKEN_FORK       a child's VMA is linked to an earlier tree
 *   BROKEN_MREMAP     entries are moved to an earlier tree without the lock
 *   BROKEN_EXCLUSIVE  an exclusive takes i_mmap_rwsem and no notice of trees
 *   BROKEN_TRYLOCK    a walker that gives up leaves "holds" raised
 *   BROKEN_TRY_LAST   ... does not look at the last tree
 *   BROKEN_TRY_RAISE  ... looks at the trees' locks, then raises "holds"
 *   BROKEN_REFS       a modifier drops its reference, then unlocks its tree
 */

#ifndef MODIFIERS
#define MODIFIERS	2
#endif
#ifndef MERGERS
#define MERGERS		0
#endif
#ifndef ORDERS
#define ORDERS		0
#endif
#ifndef WALKERS
#define WALKERS		1
#endif
#ifndef TRYLOCKS
#define TRYLOCKS	0
#endif
#ifndef EXCLUSIVES
#define EXCLUSIVES	0
#endif

#define TREES		3	/* tree 0, and two of groups */
#define NONE		TREES	/* the number of a VMA that is not there */

/* i_mmap_rwsem */
byte readers;
bool writer;

inline down_read()  { atomic { !writer -> readers++ } }
inline up_read()    { readers-- }
inline down_write() { atomic { !writer && readers == 0 -> writer = true } }
inline up_write()   { writer = false }

/* The mapping and its set. */
bool sharded;
bool slot[TREES];	/* the trees, for modifiers; not [0] */
bool present[TREES];	/* ... for walkers */
bool locked[TREES];	/* the trees' locks; not [0] */
byte holds;
bool freed;

/* What there is to be right about. */
byte vmas[TREES];	/* how many VMAs each tree has */
byte linked;		/* how many there should be in all */
byte modifying[TREES];
byte walking;
bool exclusive;

byte refs;		/* to the inode: those who can use it */

#if ORDERS > 0
byte number[2 * ORDERS];	/* of the old VMA, and of the new one */
bool entry[2 * ORDERS];		/* Do they map the page? */
bool truncated;			/* The page does not come again. */
#endif

#define TOUCH_SET	assert(!freed)

inline mutex_lock(t)   { TOUCH_SET; atomic { !locked[t] -> locked[t] = true } }
/* Somebody else can have the mutex before who unlocks it is done with it. */
inline mutex_unlock(t) { TOUCH_SET; locked[t] = false; TOUCH_SET }

/* --- locks of modifiers --------------------------------------------------- */

/* With i_mmap_rwsem for writing. A second set would hide what the first has. */
inline shard()
{
	assert(!sharded);
	sharded = true
}

/* Was there contention, is there memory? Either may be. */
inline lock_first()
{
#ifdef BROKEN_RWSEM
	down_read();
	if
	:: !sharded -> shard()
	:: true
	fi;
	up_read();
	down_write()
#else
#ifdef BROKEN_TWICE
	want = !sharded;
	down_write();
	if
	:: want -> shard()
#else
	down_write();
	if
	:: !sharded -> shard()
#endif
	:: true
	fi
#endif
}

/* With i_mmap_rwsem for writing; or there is no memory. */
inline create_tree(g)
{
	TOUCH_SET;
	if
#ifdef BROKEN_CREATE
	:: true ->
		atomic { slot[g] = true; locked[g] = false; vmas[g] = 0 };
		present[g] = true
#else
	:: true -> present[g] = true; slot[g] = true
#endif
	:: true
	fi
}

/*
 * Sets ok. That it looks at "holds" before it locks, too, is left out: it only
 * gives up earlier.
 */
inline enter(t)
{
#ifdef BROKEN_A
	ok = (holds == 0);
	mutex_lock(t);
#else
	mutex_lock(t);
#ifdef BROKEN_C
	may_modify(t);
	modifying[t]--;
#endif
#ifdef BROKEN_HOLDS
	ok = true;
#else
	ok = (holds == 0);
#endif
#endif
	if
	:: !ok -> mutex_unlock(t)
	:: else
	fi
}

inline lock_tree(t)
{
	enter(t);
	if
	:: !ok ->
		down_write();
#ifdef BROKEN_SLOWPATH
		up_write();
		mutex_lock(t)
#else
		assert(holds == 0);
		mutex_lock(t);
		up_write()
#endif
	:: else
	fi
}

/*
 * With i_mmap_rwsem for writing, the mapping is sharded: take the lock of the
 * tree of the CPU's group instead, if it is free. Sets nr.
 */
inline leave_first(nr, g)
{
#ifndef BROKEN_CREATE
	if
	:: !slot[g] -> create_tree(g)
	:: else
	fi;
#endif
	atomic {
		if
		:: slot[g] && !locked[g] -> locked[g] = true; nr = g
		:: else -> nr = 0
		fi
	};
	if
#ifdef BROKEN_MOVE
	:: nr != 0 -> mutex_unlock(nr); up_write(); mutex_lock(nr)
#else
	:: nr != 0 -> up_write()
#endif
	:: else
	fi
}

/* The VMA is in no tree. Sets its number. */
inline lock_link(nr, g)
{
#ifdef BROKEN_CREATE
	if
	:: sharded && !slot[g] -> create_tree(g)
	:: else
	fi;
#endif
	if
	:: sharded && slot[g] -> enter(g)
	:: else -> ok = false
	fi;
	if
	:: ok -> nr = g
#ifdef BROKEN_FALLBACK
	:: !ok && sharded -> nr = NONE
	:: !ok && !sharded ->
#else
	:: else ->
#endif
		lock_first();
		if
		:: sharded -> leave_first(nr, g)
		:: else -> nr = 0
		fi
	fi
}

/* The VMA is in the tree of its number. */
inline lock_modify(nr)
{
	if
	:: nr == 0 -> down_write()
	:: else -> lock_tree(nr)
	fi
}

inline unlock(nr)
{
	if
	:: nr == 0 -> up_write()
#ifdef BROKEN_FALLBACK
	:: nr == NONE -> nr = 0
#endif
	:: else -> mutex_unlock(nr)
	fi
}

/* --- modifiers ------------------------------------------------------------ */

inline may_modify(t)
{
	atomic {
		assert(walking == 0 && !exclusive);
		assert(modifying[t] == 0);
		modifying[t]++
	}
}

#define TREE(k)	(k == NONE -> 0 : k)

inline insert(at, plus)
{
	may_modify(TREE(at));
	atomic { vmas[TREE(at)]++; linked = linked + plus };
	modifying[TREE(at)]--
}

inline erase(at, minus)
{
	may_modify(at);
	atomic {
		assert(vmas[at] > 0);
		vmas[at]--;
		linked = linked - minus
	};
	modifying[at]--
}

inline link(nr, g)
{
	lock_link(nr, g);
	insert(nr, 1);
	unlock(nr)
}

inline unlink(nr)
{
	lock_modify(nr);
	erase(nr, 1);
	unlock(nr)
}

/* With i_mmap_rwsem for writing, so there are no walkers. */
inline erase_from(k, less)
{
	if
#ifndef BROKEN_MERGE
	:: k != 0 -> mutex_lock(k); erase(k, less); mutex_unlock(k)
#endif
	:: else -> erase(k, less)
	fi
}

/*
 * For vma_prepare(), which erases the VMAs, too: one or two that are in no tree
 * until vma_complete(). Sets new, the number that they have from then on.
 */
inline lock_update(nr, other, new, g)
{
	if
	:: nr != 0 && (other == NONE || other == nr) ->
		lock_tree(nr);
		erase(nr, 0);
		if
		:: other != NONE -> erase(other, 1)
		:: else
		fi;
		new = nr
	:: else ->
		lock_first();
		erase_from(nr, 0);
		if
		:: other != NONE -> erase_from(other, 1)
		:: else
		fi;
		if
		:: sharded -> leave_first(new, g)
		:: else -> new = 0
		fi
	fi
}

#if MODIFIERS > 0
proctype modifier(byte first, second; bool splits)
{
	byte nr, new, none = NONE;
	bool ok, want;

	link(nr, first);

	/* mprotect() of all or half of it */
	lock_update(nr, none, new, second);
	insert(new, 0);
	if
#ifdef BROKEN_SPLIT
	:: splits -> insert(nr, 1)
#else
	:: splits -> insert(new, 1)
#endif
	:: else
	fi;
	nr = new;
	unlock(nr);

	if
	:: splits -> unlink(nr)
	:: else
	fi;
#ifdef BROKEN_UNLINK
	if
	:: slot[first] -> nr = first
	:: else
	fi;
#endif
#ifdef BROKEN_REFS
	lock_modify(nr);
	erase(nr, 1);
	refs--;
	unlock(nr)
#else
	unlink(nr);
	refs--
#endif
}
#endif

#if MERGERS > 0
proctype merger(byte first, second)
{
	byte nr, other, new;
	bool ok, want;

	link(nr, first);
	link(other, second);
	if
	:: true ->
		lock_update(nr, other, new, second);
		insert(new, 0);
		unlock(new);
		unlink(new)
	:: true ->
		/* munmap() of both */
		lock_modify(nr);
		erase(nr, 1);
#ifndef BROKEN_BATCH
		if
		:: nr != other -> unlock(nr); lock_modify(other)
		:: else
		fi;
		erase(other, 1);
		unlock(other)
#else
		erase(other, 1);
		unlock(nr)
#endif
	fi;
	refs--
}
#endif

#if ORDERS > 0
/* Two VMAs of the same part of the file; the first one may map the page. */
#define OLD	number[v]
#define NEW	number[v + 1]

proctype order(byte v, first, second)
{
	bool ok, want;

	link(OLD, first);
	/* a page fault */
	atomic { entry[v] = !truncated };
	if
	:: true ->	/* fork() copies entries, mremap() moves them */
#ifdef BROKEN_FORK
		link(NEW, second);
#else
		if
		/* the new VMA has the old one's number, or any */
		:: OLD != 0 ->
			lock_modify(OLD);
			insert(OLD, 1);
			NEW = OLD;
			unlock(NEW)
		:: else -> link(NEW, second)
		fi;
#endif
		atomic { entry[v + 1] = entry[v]; if :: true -> entry[v] = false :: true fi }
	:: true ->	/* mremap() to a VMA that is there, and is merged with */
		link(NEW, second);
		if
#ifndef BROKEN_MREMAP
		:: NEW != OLD ->
			lock_modify(OLD);
			may_modify(OLD);
			atomic { entry[v + 1] = entry[v]; entry[v] = false };
			modifying[OLD]--;
			unlock(OLD)
#endif
		:: else -> atomic { entry[v + 1] = entry[v]; entry[v] = false }
		fi
	fi;
	entry[v] = false;
	unlink(OLD);
	entry[v + 1] = false;
	unlink(NEW);
	refs--
}
#endif

/* --- walkers -------------------------------------------------------------- */

inline raise_holds() { TOUCH_SET; holds++ }
inline lower_holds() { TOUCH_SET; atomic { assert(holds > 0); holds-- } }

#define LAST	(TREES - 1)

#define NO_MODIFIER	assert(modifying[0] + modifying[1] + modifying[2] == 0)
#define ALL_FOUND	assert(vmas[0] + vmas[1] + vmas[2] == linked)

inline wait_for_modifiers()
{
#ifdef BROKEN_WAIT
	skip
#else
	i = 1;
	do
#ifdef BROKEN_WAIT_LAST
	:: i < LAST ->
#else
	:: i <= LAST ->
#endif
		TOUCH_SET;
		if
#ifdef BROKEN_PRESENT
		:: seen[i] && locked[i] -> mutex_lock(i); mutex_unlock(i)
#else
		:: present[i] && locked[i] -> mutex_lock(i); mutex_unlock(i)
#endif
		:: else
		fi;
		i++
	:: else -> break
	od
#endif
}

/* With i_mmap_rwsem, the mapping is sharded. */
inline stop_modifiers()
{
#ifdef BROKEN_B
	wait_for_modifiers();
	raise_holds()
#else
	raise_holds();
#ifdef BROKEN_E
	NO_MODIFIER;
#endif
	wait_for_modifiers()
#endif
}

inline walk()
{
	atomic {
		walking++;
		assert(!exclusive);
		NO_MODIFIER;
		ALL_FOUND;
#if ORDERS > 0
		truncated = true;
#endif
		i = 0
	};
#if ORDERS > 0
	i = 0;
	do
	:: i < TREES ->
		atomic {
			j = 0;
			do
			:: j < 2 * ORDERS ->
				if
				:: number[j] == i -> entry[j] = false
				:: else
				fi;
				j++
			:: else -> break
			od;
			j = 0;
			i++
		}
	:: else -> break
	od;
	atomic {
		i = 0;
		do
		:: i < 2 * ORDERS -> assert(!entry[i]); i++
		:: else -> break
		od;
	};
#endif
	/* nobody came, nobody went */
	atomic {
		NO_MODIFIER;
		ALL_FOUND;
		i = 0;
#ifndef BROKEN_D
		walking--
#endif
	}
}

inline walk_and_lower()
{
#ifdef BROKEN_D
	if
	:: sharded -> lower_holds()
	:: else
	fi;
	walk();
	walking--
#else
	walk();
	if
	:: sharded -> lower_holds()
	:: else
	fi
#endif
}

proctype walker()
{
	byte i, j;
	bool has;

#ifdef BROKEN_PRESENT
	bool seen[TREES];
	seen[1] = present[1];
	seen[2] = present[2];
#endif
#ifdef BROKEN_WALK
	has = sharded;
	down_read();
#else
	down_read();
	has = sharded;
#endif
	if
	:: has -> stop_modifiers()
	:: else
	fi;
	walk_and_lower();
	up_read();
	refs--
}

/* Reclaim. How long it spins is up to spin. */
proctype trylock()
{
	byte i, j;
	bool got;

	atomic {
		if
		:: !writer -> readers++; got = true
		:: else
		fi
	};
	if
	:: got && sharded ->
#ifndef BROKEN_TRY_RAISE
		raise_holds();
#endif
		i = 1;
		do
#ifdef BROKEN_TRY_LAST
		:: i < LAST && got ->
#else
		:: i <= LAST && got ->
#endif
			TOUCH_SET;
			got = !(present[i] && locked[i]);
			i++
		:: else -> break
		od;
#ifdef BROKEN_TRY_RAISE
		raise_holds();
#endif
		if
		:: got -> walk_and_lower()
#ifndef BROKEN_TRYLOCK
		:: !got -> lower_holds()
#endif
		:: else
		fi;
		up_read()
	:: got && !sharded -> walk_and_lower(); up_read()
	:: else
	fi;
	refs--
}

/* --- exclusives ----------------------------------------------------------- */

proctype excluder()
{
	byte i;
#ifdef BROKEN_PRESENT
	bool seen[TREES];
#endif

	down_write();
#ifndef BROKEN_EXCLUSIVE
	if
	:: sharded -> stop_modifiers()
	:: else
	fi;
#endif
	atomic {
		exclusive = true;
		assert(walking == 0);
		NO_MODIFIER
	};
	exclusive = false;
#ifndef BROKEN_EXCLUSIVE
	if
	:: sharded -> lower_holds()
	:: else
	fi;
#endif
	up_write();
	refs--
}

/* The inode goes, with its set and trees. */
proctype destroy()
{
	refs == 0;
	assert(holds == 0 && !writer && readers == 0);
	assert(vmas[0] + vmas[1] + vmas[2] == 0);
	freed = true
}

#define RUN(kind, process)				\
	n = 0;						\
	do						\
	:: n < kind -> run process; n++			\
	:: else -> break				\
	od

init {
	byte n;

	atomic {
		refs = MODIFIERS + MERGERS + ORDERS + WALKERS + TRYLOCKS + EXCLUSIVES;

#if MODIFIERS > 0
		/* each on CPUs of both groups, every other one splits its VMA */
		RUN(MODIFIERS, modifier(1 + n % 2, 2 - n % 2, n % 2));
#endif
#if MERGERS > 0
		RUN(MERGERS, merger(1 + n % 2, 2 - n % 2));
#endif
#if ORDERS > 0
		for (n : 0 .. 2 * ORDERS - 1) {
			number[n] = NONE
		}
		/* the first one's second CPU has the earlier tree */
		RUN(ORDERS, order(2 * n, 2 - n % 2, 1 + n % 2));
#endif
		RUN(WALKERS, walker());
		RUN(TRYLOCKS, trylock());
		RUN(EXCLUSIVES, excluder());
		run destroy()
	}
}
