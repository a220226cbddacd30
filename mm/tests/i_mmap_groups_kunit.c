// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the groups of CPUs that link VMAs of a sharded file in trees of
 * their own (mm/i_mmap_groups.c): a table of machines.
 *
 * Seen to fail if a group could have CPUs of two nodes, or half of a core; if the
 * number of groups of a node was rounded down, or up; if caches or threads were
 * sorted by nothing but number; and if there was no limit.
 */

#include <kunit/test.h>
#include <linux/init.h>
#include <linux/module.h>

#include "../i_mmap.h"

#define MAX_CPUS	2048

/* So many of each in one of the former; and the groups that are wanted. */
struct machine {
	const char *str;
	unsigned int nodes, llcs, cores, threads;
	unsigned int groups, smallest, largest;
	unsigned int llcs_in_group;	/* the most, if it matters */
};

static const struct machine machines[] __initconst = {
	{ "one CPU",				1, 1, 1, 1,	1, 1, 1 },
	{ "laptop",				1, 1, 4, 2,	1, 8, 8 },
	{ "8 cores, two caches",		1, 2, 4, 1,	1, 8, 8 },
	{ "5 vCPUs, a core a socket",		1, 5, 1, 1,	1, 5, 5 },
	{ "11 vCPUs, a core a socket",		1, 11, 1, 1,	1, 11, 11 },
	{ "12 vCPUs, a core a socket",		1, 12, 1, 1,	2, 6, 6 },
	{ "20 CPUs",				1, 1, 20, 1,	3, 6, 7 },
	{ "10 cores with 2 threads",		1, 1, 10, 2,	3, 6, 8 },
	{ "128 vCPUs, a core a socket",		1, 128, 1, 1,	16, 8, 8 },
	{ "256 vCPUs, a core a socket",		1, 256, 1, 1,	32, 8, 8 },
	{ "guest of 8 in 4 nodes",		4, 1, 2, 1,	4, 2, 2 },
	{ "guest of 96 in 12 nodes",		12, 1, 8, 1,	12, 8, 8 },
	{ "2 x 64, 4 cores a cache",		2, 16, 4, 1,	16, 8, 8, 2 },
	{ "2 x 64, 4 cores a cache, 2 threads",	2, 16, 4, 2,	32, 8, 8, 1 },
	{ "2 x 56, 2 threads",			2, 1, 56, 2,	28, 8, 8 },
	{ "2 x 96, 8 cores a cache, 2 threads",	2, 12, 8, 2,	48, 8, 8, 1 },
	{ "2 x 84, 7 cores a cache, 2 threads",	2, 12, 7, 2,	42, 8, 8, 2 },
	{ "12 x 32",				12, 1, 32, 1,	48, 8, 8 },
	{ "8 x 128",				8, 1, 128, 1,	64, 16, 16 },
	{ "8 x 64, 4 threads",			8, 1, 64, 4,	64, 32, 32 },
	{ "1 x 1024",				1, 1, 1024, 1,	64, 16, 16 },
	{ "65 nodes",				65, 1, 4, 1,	64, 4, 8 },
	{ "128 nodes of 16",			128, 1, 16, 1,	64, 32, 32 },
};

static struct i_mmap_cpu cpus[MAX_CPUS] __initdata;
static int group_of_core[MAX_CPUS] __initdata;
static unsigned long groups_of_llc[MAX_CPUS] __initdata;

/* Threads of a core are far apart in number, as they mostly are. */
static unsigned int __init list_cpus(const struct machine *m)
{
	unsigned int llcs = m->nodes * m->llcs, cores = llcs * m->cores;

	for (unsigned int cpu = 0; cpu < cores * m->threads; cpu++) {
		unsigned int core = cpu % cores;

		cpus[cpu] = (struct i_mmap_cpu) {
			.cpu = cpu,
			.core = core,
			.llc = core - core % m->cores,
			/* Some numbers of nodes are not used. */
			.node = core / m->cores / m->llcs * 3,
			.group = -1,
		};
	}
	return cores * m->threads;
}

/*
 * Each group has the size wanted, and CPUs of one node and few caches; no core is
 * in two of them. Whatever order the CPUs were left in.
 */
static void __init check_groups(struct kunit *test, const struct machine *m,
				unsigned int nr_cpus, unsigned int nr_groups)
{
	unsigned int size[I_MMAP_MAX_GROUPS] = {}, nr_llcs[I_MMAP_MAX_GROUPS] = {};
	int node[I_MMAP_MAX_GROUPS];

	KUNIT_ASSERT_EQ_MSG(test, nr_groups, m->groups, "%s\n", m->str);
	memset(group_of_core, -1, sizeof(group_of_core));
	memset(groups_of_llc, 0, sizeof(groups_of_llc));
	for (unsigned int i = 0; i < nr_cpus; i++) {
		const struct i_mmap_cpu *c = &cpus[i];
		unsigned int group = c->group;

		KUNIT_ASSERT_LT_MSG(test, group, nr_groups, "%s\n", m->str);
		if (!size[group]++)
			node[group] = c->node;
		else if (m->nodes <= I_MMAP_MAX_GROUPS)
			KUNIT_EXPECT_EQ_MSG(test, c->node, node[group], "%s\n", m->str);

		if (group_of_core[c->core] < 0)
			group_of_core[c->core] = group;
		KUNIT_EXPECT_EQ_MSG(test, group, group_of_core[c->core], "%s\n", m->str);

		nr_llcs[group] += !(groups_of_llc[c->llc] & BIT(group));
		groups_of_llc[c->llc] |= BIT(group);
	}
	for (unsigned int group = 0; group < nr_groups; group++) {
		KUNIT_EXPECT_GE_MSG(test, size[group], m->smallest, "%s\n", m->str);
		KUNIT_EXPECT_LE_MSG(test, size[group], m->largest, "%s\n", m->str);
		if (m->llcs_in_group)
			KUNIT_EXPECT_LE_MSG(test, nr_llcs[group], m->llcs_in_group,
					    "%s\n", m->str);
	}
}

static void __init table_of_machines(struct kunit *test)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(machines); i++) {
		unsigned int nr_cpus = list_cpus(&machines[i]);

		KUNIT_ASSERT_LE(test, nr_cpus, MAX_CPUS);
		check_groups(test, &machines[i], nr_cpus,
			     i_mmap_group_cpus(cpus, nr_cpus));
	}
}

/* Of isolated CPUs one does not know with whom they share a cache. */
static void __init isolated_cpus(struct kunit *test)
{
	static const struct machine m __initconst = {
		"16 cores with 2 threads, half of them isolated", 1, 1, 16, 2, 4, 8, 8
	};
	unsigned int nr_cpus = list_cpus(&m);

	for (unsigned int i = 0; i < nr_cpus; i++) {
		if (cpus[i].core >= 8)
			cpus[i].llc = cpus[i].core;
	}
	check_groups(test, &m, nr_cpus, i_mmap_group_cpus(cpus, nr_cpus));
}

/* Clusters of four little CPUs and of eight big ones, in one node. */
static void __init unequal_caches(struct kunit *test)
{
	static const struct machine m __initconst = {
		"4 little and 8 big cores", 1, 1, 12, 1, 2, 6, 6
	};
	unsigned int nr_cpus = list_cpus(&m);

	for (unsigned int i = 4; i < nr_cpus; i++)
		cpus[i].llc = 4;
	check_groups(test, &m, nr_cpus, i_mmap_group_cpus(cpus, nr_cpus));
}

/* Of two caches, one has the even cores and one the odd ones. */
static void __init caches_in_turn(struct kunit *test)
{
	static const struct machine m __initconst = {
		"16 cores, two caches in turn", 1, 1, 16, 1, 2, 8, 8, 1
	};
	unsigned int nr_cpus = list_cpus(&m);

	for (unsigned int i = 0; i < nr_cpus; i++)
		cpus[i].llc = cpus[i].core % 2;
	check_groups(test, &m, nr_cpus, i_mmap_group_cpus(cpus, nr_cpus));
}

/* CPUs that come later are dealt to the groups of their node. */
static void __init late_cpus(struct kunit *test)
{
	static const struct machine m __initconst = {
		"3 x 16", 3, 1, 16, 1, 6, 8, 8
	};
	unsigned int nr_cpus = list_cpus(&m), of_group[6] = {};

	check_groups(test, &m, nr_cpus, i_mmap_group_cpus(cpus, nr_cpus));
	for (unsigned int cpu = 48; cpu < 80; cpu++) {
		unsigned int group = i_mmap_late_group(cpus, nr_cpus, 3, cpu);

		KUNIT_ASSERT_LT(test, group, 6);
		of_group[group]++;
		/* Of a node that is not there. */
		KUNIT_EXPECT_LT(test, i_mmap_late_group(cpus, nr_cpus, 1, cpu), 6);
	}
	KUNIT_EXPECT_EQ(test, of_group[2], 16);
	KUNIT_EXPECT_EQ(test, of_group[3], 16);
}

static struct kunit_case __refdata i_mmap_groups_test_cases[] = {
	KUNIT_CASE(table_of_machines),
	KUNIT_CASE(isolated_cpus),
	KUNIT_CASE(unequal_caches),
	KUNIT_CASE(caches_in_turn),
	KUNIT_CASE(late_cpus),
	{}
};

static struct kunit_suite i_mmap_groups_test_suite = {
	.name = "i_mmap_groups",
	.test_cases = i_mmap_groups_test_cases,
};

kunit_test_init_section_suites(&i_mmap_groups_test_suite);

MODULE_DESCRIPTION("Tests for the groups of CPUs of the file rmap");
MODULE_LICENSE("GPL");
