// SPDX-License-Identifier: GPL-2.0
/*
 * Groups of CPUs, each of which links VMAs in a tree of its own (mm/i_mmap.c)
 */

#include <linux/cpumask.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/sched/topology.h>
#include <linux/sort.h>
#include <linux/topology.h>

#include "i_mmap.h"

/*
 * How many CPUs are a group, roughly. Fewer bounce fewer cache lines, but each
 * tree costs every walk of a sharded mapping a cache miss.
 */
#define I_MMAP_GROUP_CPUS	8

static int __init i_mmap_cmp_cpus(const void *a, const void *b)
{
	const struct i_mmap_cpu *x = a, *y = b;

	return cmp_int(x->node, y->node) ?: cmp_int(x->llc, y->llc) ?:
	       cmp_int(x->core, y->core) ?: cmp_int(x->cpu, y->cpu);
}

/* How many of the sorted CPUs from the first on are of one node. */
static unsigned int __init i_mmap_node_cpus(const struct i_mmap_cpu *cpus,
					    unsigned int nr_cpus)
{
	unsigned int n = 1;

	while (n < nr_cpus && cpus[n].node == cpus->node)
		n++;
	return n;
}

static unsigned int __init i_mmap_node_groups(unsigned int nr_cpus,
					      unsigned int per_group)
{
	return max(DIV_ROUND_CLOSEST(nr_cpus, per_group), 1);
}

/*
 * Divide CPUs into groups: A node of n CPUs has n/8 groups, rounded, at least one;
 * its CPUs, sorted by last-level cache, core and number, are dealt to them in equal
 * runs that do not split a core. As long as that would be more than
 * I_MMAP_MAX_GROUPS, 8 doubles; if there are more nodes than that, several share
 * a group. Return how many groups there are.
 */
unsigned int __init i_mmap_group_cpus(struct i_mmap_cpu *cpus,
				      unsigned int nr_cpus)
{
	unsigned int per_group = I_MMAP_GROUP_CPUS / 2, groups, base, n, i, rank;

	sort(cpus, nr_cpus, sizeof(*cpus), i_mmap_cmp_cpus, NULL);
	do {
		per_group *= 2;
		groups = 0;
		for (i = 0; i < nr_cpus; i += n) {
			n = i_mmap_node_cpus(cpus + i, nr_cpus - i);
			groups += i_mmap_node_groups(n, per_group);
		}
	} while (groups > I_MMAP_MAX_GROUPS && per_group < nr_cpus);

	for (i = 0, base = 0; i < nr_cpus; i += n) {
		unsigned int of_node;

		n = i_mmap_node_cpus(cpus + i, nr_cpus - i);
		of_node = i_mmap_node_groups(n, per_group);
		for (rank = 0; rank < n; rank++) {
			struct i_mmap_cpu *c = &cpus[i + rank];

			if (rank && c->core == c[-1].core)
				c->group = c[-1].group;
			else
				c->group = base + rank * of_node / n;
		}
		base += of_node;
	}
	if (groups <= I_MMAP_MAX_GROUPS)
		return groups;

	for (i = 0; i < nr_cpus; i++)
		cpus[i].group = cpus[i].group * I_MMAP_MAX_GROUPS / groups;
	return I_MMAP_MAX_GROUPS;
}

/* For a CPU that may come later: a group of its node, or any if there is none. */
unsigned int __init i_mmap_late_group(const struct i_mmap_cpu *cpus,
				      unsigned int nr_cpus, int node,
				      unsigned int cpu)
{
	unsigned int i;

	for (i = 0; i < nr_cpus; i++) {
		if (cpus[i].node == node) {
			cpus += i;
			nr_cpus = i_mmap_node_cpus(cpus, nr_cpus - i);
			break;
		}
	}
	return cpus[cpu % nr_cpus].group;
}

/*
 * The CPUs that run. Others may never come: siblings with "nosmt", empty
 * sockets, the spare CPUs of a guest.
 */
unsigned int __init i_mmap_list_cpus(struct i_mmap_cpu *cpus)
{
	unsigned int cpu, i, nr = 0;

	for_each_online_cpu(cpu) {
		struct i_mmap_cpu *c = &cpus[nr];

		c->cpu = cpu;
		c->node = cpu_to_node(cpu);
		c->core = cpumask_first(topology_sibling_cpumask(cpu));
		if (c->core >= nr_cpu_ids)
			c->core = cpu;
		/* The scheduler sees no caches of isolated threads. */
		c->llc = c->core;
		for (i = 0; i < nr; i++) {
			if (cpus[i].node == c->node &&
			    (cpus[i].core == c->core ||
			     cpus_share_cache(cpus[i].cpu, cpu))) {
				c->llc = cpus[i].llc;
				break;
			}
		}
		nr++;
	}
	return nr;
}
