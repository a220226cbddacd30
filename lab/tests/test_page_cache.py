# SPDX-License-Identifier: GPL-2.0
"""lab/bench/page_cache.py: what it reads of a guest, its table, where its files lie."""

from sandbox import Sandbox

import page_cache


class PageCache(Sandbox):
    def test_what_a_guest_said(self):
        for name, text in (("before", "nr_file_pages 100\npgmajfault 7\nnr_dirty 1\n"),
                           ("after", "nr_file_pages 350\npgmajfault 27\nnr_dirty 0\n"),
                           ("small", "pgmajfault 5\nworkingset_refault_file 3\noom_kill 0\n"),
                           ("read.json", '{"patterns": {"random": {"touched": 9, "cached": 50, "major": 4}}}\n')):
            (self.room / name).write_text(text)
        found = page_cache.found(self.room)
        self.assertEqual(found["programs, once", "pages cached"], 250)
        self.assertEqual(found["programs, once", "major faults"], 20)
        self.assertEqual(found["programs, 5 times, memory short", "pages read again"], 3)
        self.assertEqual(found["read_bench random", "pages cached"], 50)
        # where read_bench had to give up
        (self.room / "read.json").write_text('{"patterns": {"random": ')
        self.assertNotIn(("read_bench random", "pages cached"), page_cache.found(self.room))

    def test_each_boot_is_in_the_table(self):
        one, two = {("random", "pages"): 1000}, {("random", "pages"): 2}
        self.assertEqual(page_cache.table({("base", "xfs"): [one, two], ("posting 6", "xfs"): [two, {}]}),
                         "| what | figure | xfs, base | xfs, posting 6 |\n| --- | --- | ---: | ---: |\n"
                         "| random | pages | 1,000 2 | 2 - |\n")

    def test_only_ext4_has_the_guest_s_root(self):
        self.assertNotIn("other-root", page_cache.job("ext4", 5))
        self.assertIn("exec ./other-root xfs ./run\n", page_cache.job("xfs", 5))
        self.assertIn("echo 5M >$cgroup/memory.max\n", page_cache.job("xfs", 5))

    def test_only_btrfs_may_skip(self):
        for file_system, rest in (("ext4", "|| exit\n"), ("xfs", "|| exit\n"), ("btrfs", "|| [ $? = 4 ]\n")):
            self.assertIn(f"/run/out/read.json {rest}", page_cache.job(file_system, 5))
