# SPDX-License-Identifier: GPL-2.0
"""A kernel source that is not the pinned one: lab/kernel/pinned.py and users.py."""

import shutil
import subprocess

from mirror import Mirror
from sandbox import lines

LOCKS = """static inline void i_mmap_lock_write(struct address_space *mapping)
{
	down_write(&mapping->i_mmap_rwsem);
}

static inline void stays(void)
{
}
"""
HUGETLB = """/* i_mmap_lock_write() in a comment is none */
void hugetlb_vmtruncate(struct inode *inode)
{
	i_mmap_lock_write(inode->i_mapping);
}

void fixup_hugetlb_reservations(struct vm_area_struct *vma)
{
	pr_info("i_mmap_lock_write() in a string is none\\n");
	i_mmap_lock_write(vma->vm_file->f_mapping);
}
"""
FAULTS = """vm_fault_t filemap_fault(struct vm_fault *vmf)
{
	return VM_FAULT_RETRY;
}

vm_fault_t new_fault(struct vm_fault *vmf, vm_fault_t ret)
{
	if (ret & VM_FAULT_RETRY)
		return ret;
	if (needs_it(&vmf->flags))
		return VM_FAULT_RETRY | VM_FAULT_NEED_MMAP_LOCK;
	ret = waits(&vmf->flags) ? 0 :
				   VM_FAULT_RETRY;
	return ret;
}
"""


class MovedBase(Mirror):
    def setUp(self):
        super().setUp()
        self.tree = self.build / "patched/src"
        self.files = {"mm/a.c": lines(*range(1, 41))}
        self.pin("7.3.4-1")

    def queue_of(self, *commits):
        """A queue whose commits replace (old, new) in a file of self.files, made on those."""
        room = self.room / "history"
        shutil.rmtree(room, ignore_errors=True)
        git = ["git", "-C", room, "-c", "user.name=Some One", "-c", "user.email=some@one.invalid"]

        def commit(subject):
            for name, text in files.items():
                (room / name).parent.mkdir(parents=True, exist_ok=True)
                (room / name).write_text(text)
            for argv in (["add", "."], ["commit", "-qm", f"mm: {subject}"]):
                subprocess.run([*git, *argv], check=True)

        files = dict(self.files)
        subprocess.run(["git", "init", "-q", room], check=True)
        commit("base")
        for number, edits in enumerate(commits):
            for name, old, new in edits:
                self.assertIn(old, files[name])
                files[name] = files[name].replace(old, new, 1)
            commit(f"edit {number}")
        posting = self.queue / "postings/1-one"
        out = posting / "patches"
        subprocess.run([*git, "format-patch", "-q", "--full-index", "-o", out, f"HEAD~{len(commits)}"],
                       check=True)
        for name, text in (("series", "".join(f"{path.name}\n" for path in sorted(out.iterdir()))),
                           ("base", "7.3\n"), ("tests", ""), ("letter.txt", "mm: one\n")):
            (posting / name).write_text(text)

    def source_is(self, *edits):
        """The source at hand: self.files with (name, old, new) replaced."""
        files = dict(self.files)
        for name, old, new in edits:
            self.assertIn(old, files[name])
            files[name] = files[name].replace(old, new, 1)
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**files)))

    def pinned_is_offered(self):
        self.pin("7.3.4-1", self.offer("unstable", "7.3.4-1", tree=self.source(**self.files)))


class Merge(MovedBase):
    def setUp(self):
        super().setUp()
        self.queue_of([("mm/a.c", "line 11\n", "line eleven\n")],
                      [("mm/a.c", "line 20\n", "line twenty\n"), ("mm/a.c", "line 33\n", "line 33!\n")])

    def test_old_files_come_from_the_pinned_source(self):
        """Those of the first patch, and of the second what the first one has made of them."""
        self.pinned_is_offered()
        self.source_is(("mm/a.c", "line 9\n", "line nine\n"), ("mm/a.c", "line 22\n", "line 22!\n"))
        said = self.good("kernel/series.py", "tree")
        self.assertIn("patch failed: mm/a.c:8", said)
        merged = (self.tree / "mm/a.c").read_text()
        for line in ("line nine", "line eleven", "line twenty", "line 22!", "line 33!"):
            self.assertIn(f"{line}\n", merged)

    def test_only_a_patch_that_does_not_apply_asks_for_them(self):
        self.source_is(("mm/a.c", "line 1\n", "line one\n"))
        self.good("kernel/series.py", "tree")
        self.assertFalse((self.mirror / "updates").exists())

    def test_the_pinned_source_itself_has_nothing_to_learn(self):
        self.pinned_is_offered()
        deb = self.mirror / "pool/linux-source-7.3=7.3.4-1"
        self.good("kernel/fetch", LINUX_DEB=str(deb))
        path = next((self.queue / "postings/1-one/patches").glob("0001-*"))
        path.write_text(path.read_text().replace("line 10\n", "line ten\n").replace("\nindex ", "\nindex 1"))
        self.refused("patch failed: mm/a.c:8", "kernel/series.py", "tree")
        self.assertFalse((self.mirror / "updates").exists())

    def test_without_them_patch_and_hunk_are_named_in_one_line(self):
        self.source_is(("mm/a.c", "line 9\n", "line nine\n"))
        self.assertIn("would help to merge it: fetch: no mirror offers linux-source-7.3 7.3.4-1",
                      self.refused("-edit-0.patch does not apply: patch failed: mm/a.c:8",
                                   "kernel/series.py", "tree"))
        self.assertFalse(self.tree.exists())

    def test_a_conflict_is_named_with_its_hunk(self):
        """The first hunk of the patch merges, the second does not."""
        self.pinned_is_offered()
        self.source_is(("mm/a.c", "line 22\n", "line 22!\n"), ("mm/a.c", "line 33\n", "line 33?\n"))
        self.refused("-edit-1.patch does not apply: mm/a.c, hunk @@ -30,7 +30,7 @@", "kernel/series.py", "tree")
        self.assertFalse(self.tree.exists())


class Users(MovedBase):
    def setUp(self):
        super().setUp()
        self.files |= {"include/linux/fs.h": LOCKS, "mm/hugetlb.c": HUGETLB, "mm/filemap.c": FAULTS,
                       "include/linux/mm_types.h": "#define VM_FAULT_COMPLETED 1\n"}
        self.gone = ("include/linux/fs.h", LOCKS.partition("\n\n")[0], "")
        self.convert = [("mm/hugetlb.c", f"\ti_mmap_lock_write({what}", f"\ti_mmap_lock_exclusive({what}")
                        for what in ("inode", "vma")]
        self.source_is()

    def test_a_user_that_no_patch_converts_is_found(self):
        self.queue_of([self.convert[0]], [self.gone])
        said = self.refused("1 new user(s)", "kernel/series.py", "tree")
        self.assertIn("series: mm/hugetlb.c:10: i_mmap_lock_write in fixup_hugetlb_reservations(): use i_mmap_",
                      said)
        self.assertFalse(self.tree.exists())

    def test_nobody_is_left_or_the_name_is_still_there(self):
        for commits in ([self.convert, [self.gone]], [self.convert[:1]]):
            self.queue_of(*commits)
            self.good("kernel/series.py", "tree")
            shutil.rmtree(self.queue / "postings/1-one/patches")

    def test_a_user_in_a_file_that_the_series_changes_is_found(self):
        self.queue_of(self.convert, [self.gone, ("mm/a.c", "line 5", "\ti_mmap_lock_write(m);")])
        self.assertIn("mm/a.c:5: i_mmap_lock_write", self.refused("1 new user(s)", "kernel/series.py", "tree"))

    def test_a_name_that_is_not_listed_is_an_error(self):
        self.queue_of([("include/linux/fs.h", "static inline void stays(void)", "static inline int stays(void)")])
        self.refused("users.ini does not have stays", "kernel/series.py", "tree")

    def test_faults_that_are_to_be_retried_are_looked_at(self):
        self.queue_of([("include/linux/mm_types.h", "#define", "#define VM_FAULT_NEED_MMAP_LOCK 2\n#define")])
        said = self.refused("1 new user(s)", "kernel/series.py", "tree")
        self.assertIn("mm/filemap.c:13: VM_FAULT_RETRY in new_fault()", said)
