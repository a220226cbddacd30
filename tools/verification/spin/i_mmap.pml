/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lock of the file rmap (mm/i_mmap.c) as a Promela model: modifiers,
 * walkers, walkers that do not wait, exclusives, promotion, mapping_mapped()
 * and the end of the inode, for a mapping with two shards.
 *
 *   spin -a i_mmap.pml && cc -O2 -DSAFETY -DCOLLAPSE pan.c -o pan && ./pan -m100000
 *
 * ./pan must say "errors: 0", and must not say that the search was not
 * completed. The invariants are assertions; deadlocks are invalid end states.
 * MODIFIERS, WALKERS, TRYLOCKS, EXCLUSIVES and MAPPED are how many there are of
 * each kind. -D can set them, within what memory there is: each one more makes
 * five to thirty times as many states.
 *
 * spin's processes see each other's stores in order. That the real ones do is
 * what Documentation/litmus-tests/locking/i_mmap-*.litmus are about.
 *
 * Each of these mistakes, given by -D, must make ./pan find an error:
 *
 *   BROKEN_BARRIER    a modifier looks for walkers before it has locked its shard
 *   BROKEN_DRAIN      a walker does not wait for the modifiers that are there
 *   BROKEN_DRAIN_LAST ... for those in the last shard
 *   BROKEN_LOWER      a walker lets modifiers in before it is done
 *   BROKEN_SLOWPATH   a modifier drops i_mmap_rwsem before it locks its shard
 *   BROKEN_RECHECK    a modifier that waited for i_mmap_rwsem does not look for
 *                     shards again
 *   BROKEN_WALK       a walker does not, and walks the empty home tree
 *   BROKEN_EXCLUSIVE  an exclusive takes i_mmap_rwsem and no notice of shards
 *   BROKEN_TRYLOCK    a walker that gives up leaves its flag behind
 *   BROKEN_TRY_LAST   ... or does not look at the last shard
 *   BROKEN_UNLOCK     an exclusive promotes, and drops the lock as if it had
 *                     been sharded all the time
 *   BROKEN_PUBLISH    the set is published before the VMAs are in it
 *   BROKEN_EMPTY      the home tree is emptied before the set is published
 *   BROKEN_MAPPED     mapping_mapped() looks at the set first
 *   BROKEN_FREE       the set is freed without a grace period
 */

#ifndef MODIFIERS
#define MODIFIERS	2
#endif
#ifndef WALKERS
#define WALKERS		1
#endif
#ifndef TRYLOCKS
#define TRYLOCKS	1
#endif
#ifndef EXCLUSIVES
#define EXCLUSIVES	1
#endif
#ifndef MAPPED
#define MAPPED		1
#endif

#define SHARDS		2
#define HOME		2	/* the home tree, as an index of vmas[] */

/* i_mmap_rwsem */
byte readers;
bool writer;

inline down_read()  { atomic { !writer -> readers++ } }
inline up_read()    { readers-- }
inline down_write() { atomic { !writer && readers == 0 -> writer = true } }
inline up_write()   { writer = false }

/* The mapping and its set. */
bool home_seen;		/* what mapping_mapped() sees of the home tree ... */
bool sharded;		/* ... and of the set's address */
bool locked[SHARDS];
byte walkers;
bool freed;

/* What there is to be right about. */
byte vmas[SHARDS + 1];	/* how many VMAs each tree has */
byte linked;		/* ... and all trees together */
byte stays = HOME;	/* the tree with the VMA that stays until the end */
byte modifying[SHARDS + 1];
byte walking;
bool exclusive;

byte refs;		/* to the inode: those who can use it */
byte rcu_readers;
bool gone;

#define TOUCH_SET	assert(!freed)

inline mutex_lock(s)   { TOUCH_SET; atomic { !locked[s] -> locked[s] = true } }
/* Somebody else can have the mutex before who unlocks it is done with it. */
inline mutex_unlock(s) { TOUCH_SET; locked[s] = false; TOUCH_SET }

/* --- modifiers ------------------------------------------------------------ */

/* i_mmap_rwsem is held for writing, the mapping is sharded. */
inline join_modifiers(s)
{
#ifdef BROKEN_SLOWPATH
	up_write();
	mutex_lock(s);
#else
	assert(walkers == 0);
	mutex_lock(s);
	up_write();
#endif
	tree = s;
}

/* Sets tree. */
inline lock_modify(s, promotes)
{
	if
	:: sharded ->
#ifdef BROKEN_BARRIER
		saw = walkers;
		mutex_lock(s);
#else
		mutex_lock(s);
		saw = walkers;
#endif
		if
		:: saw == 0 ->
			tree = s
		:: else ->
			mutex_unlock(s);
			down_write();
			join_modifiers(s)
		fi
	:: else ->
		down_write();
		if
		:: !sharded && promotes ->
			promote();
			join_modifiers(s)
		:: !sharded && !promotes ->
			tree = HOME
		:: sharded ->
#ifdef BROKEN_RECHECK
			tree = HOME
#else
			join_modifiers(s)
#endif
		fi
	fi
}

/* It was taken as the mapping is now. */
inline unlock_modify(s)
{
	if
	:: sharded -> assert(tree == s); mutex_unlock(s)
	:: else -> assert(tree == HOME); up_write()
	fi
}

/* The VMAs of the home tree belong to whomever; say, half to each shard. */
inline promote()
{
#ifdef BROKEN_PUBLISH
	sharded = true;
#endif
#ifdef BROKEN_EMPTY
	home_seen = false;
#endif
	do
	:: vmas[HOME] > 0 ->
		atomic {
			vmas[HOME]--;
			if
			:: vmas[0] < at_home[0] -> vmas[0]++; stays = 0
			:: else -> vmas[1]++
			fi
		}
	:: else -> break
	od;
	sharded = true;
	home_seen = false
}

byte at_home[SHARDS];	/* VMAs in the home tree, by the shards they will be in */

inline may_modify(tree)
{
	atomic {
		assert(walking == 0 && !exclusive);
		assert(modifying[tree] == 0 && modifying[HOME] == 0);
		assert(tree != HOME || (modifying[0] == 0 && modifying[1] == 0));
		assert((tree == HOME) == !sharded);
		modifying[tree]++
	}
}

proctype modifier(byte s; bool promotes)
{
	byte tree, saw;

	/* mmap() */
	lock_modify(s, promotes);
	may_modify(tree);
	atomic {
		vmas[tree]++;
		linked++;
		if
		:: tree == HOME -> home_seen = true; at_home[s]++
		:: else
		fi
	};
	modifying[tree]--;
	unlock_modify(s);

	/* munmap(): the VMA is where it is looked for */
	lock_modify(s, promotes);
	may_modify(tree);
	atomic {
		assert(vmas[tree] > (stays == tree -> 1 : 0));
		vmas[tree]--;
		linked--;
		if
		:: tree == HOME ->
			at_home[s]--;
			home_seen = vmas[HOME] > 0
		:: else
		fi
	};
	modifying[tree]--;
	unlock_modify(s);
	refs--
}

/* --- walkers -------------------------------------------------------------- */

inline raise_walkers() { TOUCH_SET; walkers++ }
inline lower_walkers() { TOUCH_SET; atomic { assert(walkers > 0); walkers-- } }

inline drain()
{
#ifdef BROKEN_DRAIN
	skip
#else
	i = 0;
	do
#ifdef BROKEN_DRAIN_LAST
	:: i < SHARDS - 1 ->
#else
	:: i < SHARDS ->
#endif
		TOUCH_SET;
		if
		:: !locked[i]
		:: locked[i] -> mutex_lock(i); mutex_unlock(i)
		fi;
		i++
	:: else -> break
	od
#endif
}

/* Where the VMAs are that a walk finds. */
#define FOUND	(has -> vmas[0] + vmas[1] : vmas[HOME])

inline walk()
{
	atomic {
		walking++;
		assert(!exclusive);
		assert(modifying[0] + modifying[1] + modifying[HOME] == 0);
		i = FOUND;
		assert(i == linked)
	};
	/* nobody comes, nobody goes */
	atomic {
		assert(i == FOUND);
		assert(modifying[0] + modifying[1] + modifying[HOME] == 0);
		i = 0;
#ifndef BROKEN_LOWER
		walking--
#endif
	}
}

proctype walker()
{
	byte i;
	bool has;

#ifdef BROKEN_WALK
	has = sharded;
	down_read();
#else
	down_read();
	has = sharded;
#endif
	if
	:: has -> raise_walkers(); drain()
	:: else
	fi;
#ifdef BROKEN_LOWER
	if
	:: has -> lower_walkers()
	:: else
	fi;
	walk();
	walking--;
#else
	walk();
	if
	:: has -> lower_walkers()
	:: else
	fi;
#endif
	up_read();
	refs--
}

/*
 * Reclaim: gets everything, or nothing, and never waits. That it looks at the
 * shards before it raises "walkers", too, is left out: it only gives up earlier.
 */
proctype trylock()
{
	byte i;
	bool has, got;

	atomic {
		if
		:: !writer -> readers++; got = true
		:: else
		fi
	};
	if
	:: got ->
		has = sharded;
		if
		:: has ->
			raise_walkers();
			i = 0;
			do
#ifdef BROKEN_TRY_LAST
			:: i < SHARDS - 1 && got ->
#else
			:: i < SHARDS && got ->
#endif
				TOUCH_SET;
				got = !locked[i];
				i++
			:: else -> break
			od
		:: else
		fi;
		if
		:: got -> walk()
		:: else
		fi;
#ifdef BROKEN_LOWER
		if
		:: got -> walking--
		:: else
		fi;
#endif
		if
#ifdef BROKEN_TRYLOCK
		:: has && got -> lower_walkers()
#else
		:: has -> lower_walkers()
#endif
		:: else
		fi;
		up_read()
	:: else
	fi;
	refs--
}

/* --- exclusives ----------------------------------------------------------- */

proctype excluder()
{
	byte i;

	down_write();
#ifndef BROKEN_EXCLUSIVE
	if
	:: sharded -> raise_walkers(); drain()
	:: else
	fi;
#endif
	atomic {
		exclusive = true;
		assert(walking == 0);
		assert(modifying[0] + modifying[1] + modifying[HOME] == 0)
	};
	exclusive = false;
#ifdef BROKEN_UNLOCK
	if
	:: !sharded -> promote()
	:: else
	fi;
#endif
#ifndef BROKEN_EXCLUSIVE
	if
	:: sharded -> lower_walkers()
	:: else
	fi;
#endif
	up_write();
	refs--
}

/* --- without the lock ----------------------------------------------------- */

/*
 * One VMA is there from before the others begin until after they end, so
 * mapping_mapped() must always find one.
 */
proctype mapped()
{
	bool found, set;

	rcu_readers++;
#ifdef BROKEN_MAPPED
	set = sharded;
	found = home_seen;
#else
	found = home_seen;
	set = sharded;
#endif
	if
	:: !found && set -> TOUCH_SET; found = vmas[0] + vmas[1] > 0
	:: else
	fi;
	assert(found || gone);
	rcu_readers--
}

/* The last VMA goes, then the inode, its set after a grace period. */
proctype destroy()
{
	bool set;

	refs == 0;
	assert(walkers == 0 && !writer && readers == 0);
	gone = true;
	vmas[0] = 0; vmas[1] = 0; vmas[HOME] = 0;
	home_seen = false;
	set = sharded;
	sharded = false;
#ifndef BROKEN_FREE
	rcu_readers == 0;
#endif
	if
	:: set -> freed = true
	:: else
	fi
}

init {
	byte n;

	atomic {
		/* the VMA that stays until the inode goes, of an mm in shard 0 */
		vmas[HOME] = 1; at_home[0] = 1; linked = 1; home_seen = true;
		refs = MODIFIERS + WALKERS + TRYLOCKS + EXCLUSIVES;

		n = 0;
		do
		/* the second one promotes, if it comes early enough */
		:: n < MODIFIERS -> run modifier(n % SHARDS, n == 1); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < WALKERS -> run walker(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < TRYLOCKS -> run trylock(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < EXCLUSIVES -> run excluder(); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < MAPPED -> run mapped(); n++
		:: else -> break
		od;
		run destroy()
	}
}
