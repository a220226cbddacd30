// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the RSS counters of an mm: atomics, and percpu counters
 * once tasks share it, see mm_share_rss().
 */

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>

#define COUNTERS	4	/* threads that count at once */
#define ENOUGH		1000	/* counts of each before and behind a change */
#define PATIENCE	(10 * HZ)

static int mm_counter_init(struct kunit *test)
{
	test->priv = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, test->priv);
	return 0;
}

/* An mm that is freed with another RSS than 0 is a bug */
static void mm_counter_exit(struct kunit *test)
{
	struct mm_struct *mm = test->priv;
	int i;

	if (!mm)
		return;
	for (i = 0; i < NR_MM_COUNTERS; i++)
		add_mm_counter(mm, i, -mm_counter_sum(mm, i));
	mmput(mm);
}

static void expect_count(struct kunit *test, int member, long count)
{
	struct mm_struct *mm = test->priv;

	KUNIT_EXPECT_EQ(test, mm_counter_sum(mm, member), count);
	KUNIT_EXPECT_EQ(test, get_mm_counter_sum(mm, member), max(count, 0L));
}

static void new_mm_has_no_percpu_memory(struct kunit *test)
{
	struct mm_struct *mm = test->priv;
	int i;

	KUNIT_EXPECT_NULL(test, mm->rss_pcpu);
	for (i = 0; i < NR_MM_COUNTERS; i++)
		expect_count(test, i, 0);
}

static void lone_is_exact(struct kunit *test)
{
	struct mm_struct *mm = test->priv;
	int i;

	for (i = 0; i < NR_MM_COUNTERS; i++) {
		add_mm_counter(mm, i, 100 + i);
		inc_mm_counter(mm, i);
		inc_mm_counter(mm, i);
		dec_mm_counter(mm, i);
	}
	for (i = 0; i < NR_MM_COUNTERS; i++) {
		expect_count(test, i, 101 + i);
		KUNIT_EXPECT_EQ(test, get_mm_counter(mm, i), 101 + i);
	}
	KUNIT_EXPECT_EQ(test, get_mm_rss(mm),
			3 * 101 + MM_FILEPAGES + MM_ANONPAGES + MM_SHMEMPAGES);
	KUNIT_EXPECT_EQ(test, get_mm_rss_sum(mm), get_mm_rss(mm));
}

static void never_negative(struct kunit *test)
{
	struct mm_struct *mm = test->priv;

	add_mm_counter(mm, MM_ANONPAGES, -3);
	expect_count(test, MM_ANONPAGES, -3);
	KUNIT_EXPECT_EQ(test, get_mm_counter(mm, MM_ANONPAGES), 0);
}

/* What was counted before stays, and what is taken away later comes off it */
static void share_keeps_counts(struct kunit *test)
{
	struct mm_struct *mm = test->priv;
	const long many = 1L << 20;	/* no batch hides that */
	int i;

	if (!IS_ENABLED(CONFIG_SMP))
		kunit_skip(test, "no percpu counters without SMP");

	for (i = 0; i < NR_MM_COUNTERS; i++)
		add_mm_counter(mm, i, many + i);
	KUNIT_ASSERT_EQ(test, mm_share_rss(mm), 0);
	KUNIT_ASSERT_NOT_NULL(test, mm->rss_pcpu);
	for (i = 0; i < NR_MM_COUNTERS; i++) {
		expect_count(test, i, many + i);
		KUNIT_EXPECT_EQ(test, get_mm_counter(mm, i), many + i);

		/* percpu from now on */
		inc_mm_counter(mm, i);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&mm->rss_stat[i]), many + i);
		KUNIT_EXPECT_EQ(test, percpu_counter_sum(&mm->rss_pcpu[i]), 1);
		expect_count(test, i, many + i + 1);

		add_mm_counter(mm, i, -many - 1);
		expect_count(test, i, i);
	}
}

/* Whoever saw no percpu counters adds to the atomic, however late */
static void late_adders_count(struct kunit *test)
{
	struct mm_struct *mm = test->priv;

	KUNIT_ASSERT_EQ(test, mm_share_rss(mm), 0);
	atomic_long_add(5, &mm->rss_stat[MM_FILEPAGES]);
	expect_count(test, MM_FILEPAGES, 5);
	KUNIT_EXPECT_EQ(test, get_mm_counter(mm, MM_FILEPAGES), 5);
	add_mm_counter(mm, MM_FILEPAGES, -5);
	expect_count(test, MM_FILEPAGES, 0);
}

static void share_twice(struct kunit *test)
{
	struct mm_struct *mm = test->priv;
	struct percpu_counter *pcpu;

	KUNIT_ASSERT_EQ(test, mm_share_rss(mm), 0);
	pcpu = mm->rss_pcpu;
	inc_mm_counter(mm, MM_SWAPENTS);
	KUNIT_EXPECT_EQ(test, mm_share_rss(mm), 0);
	KUNIT_EXPECT_PTR_EQ(test, mm->rss_pcpu, pcpu);
	expect_count(test, MM_SWAPENTS, 1);
}

struct counter {
	struct mm_struct *mm;
	struct task_struct *task;
	long sum;
	atomic_t rounds;
};

static int count(void *data)
{
	struct counter *counter = data;
	int round = 0;

	while (!kthread_should_stop()) {
		long value = round % 7 - 2;

		add_mm_counter(counter->mm, MM_ANONPAGES, value);
		counter->sum += value;
		round = atomic_inc_return(&counter->rounds);
		cond_resched();
	}
	return 0;
}

static bool all_count(struct counter *counters, int n)
{
	unsigned long end = jiffies + PATIENCE;
	int i, from[COUNTERS];

	for (i = 0; i < n; i++)
		from[i] = atomic_read(&counters[i].rounds);
	for (i = 0; i < n; i++) {
		while (atomic_read(&counters[i].rounds) - from[i] < ENOUGH) {
			if (time_after(jiffies, end))
				return false;
			schedule_timeout_uninterruptible(1);
		}
	}
	return true;
}

/* Some threads count while the mm gets its percpu counters */
static void share_meanwhile(struct kunit *test)
{
	struct counter *counters;
	struct mm_struct *mm = test->priv;
	long sum = 0;
	bool before, behind = false;
	int i, n;

	counters = kunit_kcalloc(test, COUNTERS, sizeof(*counters), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, counters);
	for (n = 0; n < COUNTERS; n++) {
		counters[n].mm = mm;
		counters[n].task = kthread_run(count, &counters[n], "mm_counter/%d", n);
		if (IS_ERR(counters[n].task))
			break;
	}
	before = all_count(counters, n);
	if (!mm_share_rss(mm))
		behind = all_count(counters, n);
	for (i = 0; i < n; i++) {
		kthread_stop(counters[i].task);
		sum += counters[i].sum;
	}
	KUNIT_EXPECT_EQ(test, n, COUNTERS);
	KUNIT_EXPECT_TRUE(test, before);
	KUNIT_EXPECT_TRUE(test, behind);
	expect_count(test, MM_ANONPAGES, sum);
}

static struct kunit_case mm_counter_test_cases[] = {
	KUNIT_CASE(new_mm_has_no_percpu_memory),
	KUNIT_CASE(lone_is_exact),
	KUNIT_CASE(never_negative),
	KUNIT_CASE(share_keeps_counts),
	KUNIT_CASE(late_adders_count),
	KUNIT_CASE(share_twice),
	KUNIT_CASE(share_meanwhile),
	{}
};

static struct kunit_suite mm_counter_test_suite = {
	.name = "mm_counter",
	.init = mm_counter_init,
	.exit = mm_counter_exit,
	.test_cases = mm_counter_test_cases,
};

kunit_test_suite(mm_counter_test_suite);
