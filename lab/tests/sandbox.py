# SPDX-License-Identifier: GPL-2.0
"""Small kernel sources and queues of their own for the tests of the tools."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "lab" / one) for one in ("bench", "guest", "host", "kernel", "model", "tests")]
MAKEFILE = "VERSION = {}\nPATCHLEVEL = {}\nSUBLEVEL = 0\nEXTRAVERSION = -rc7\n"


def lines(*numbers):
    return "".join(f"line {n}\n" for n in numbers)


class Sandbox(unittest.TestCase):
    """A temporary BUILD and QUEUE; self.run_tool() runs a script against them."""

    def setUp(self):
        room = tempfile.TemporaryDirectory(prefix="sandbox-")
        self.addCleanup(room.cleanup)
        self.room = Path(room.name)
        self.build = self.room / "build"
        self.queue = self.room / "queue"
        (self.queue / "postings").mkdir(parents=True)

    def start(self, *argv, **env):
        full = {k: v for k, v in os.environ.items() if not k.startswith(("LINUX_", "POSTING"))}
        full |= {"BUILD": str(self.build), "QUEUE": str(self.queue), **env}
        return subprocess.Popen([TOP / "lab" / argv[0], *argv[1:]], env=full, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def run_tool(self, *argv, **env):
        with self.start(*argv, **env) as tool:
            out = tool.communicate()[0]
        return subprocess.CompletedProcess(argv, tool.returncode, out)

    def good(self, *argv, **env):
        done = self.run_tool(*argv, **env)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def refused(self, words, *argv, **env):
        """It fails, and its last line holds the words."""
        done = self.run_tool(*argv, **env)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        last = done.stdout.strip().splitlines()[-1]
        self.assertIn(words, last)
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def write(self, path, text, mode=0o644):
        """A file of the room's."""
        path = self.room / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def program(self, path, text):
        return self.write(path, text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", 0o755)

    def common(self, text):
        """A script that knows what all of ours share, as they run."""
        return self.program("script", "#!/usr/bin/env bash\nset -euo pipefail\n"
                            f". {TOP}/lab/host/common.sh\n{text}\n")

    def source(self, version="7.3", **files):
        """An unpacked kernel source with a Makefile, mm/a.c and more."""
        content = {"Makefile": MAKEFILE.format(*version.split(".")),
                   "mm/a.c": lines(*range(1, 31)), "mm/Makefile": "obj-y += a.o\n", **files}
        for name, text in content.items():
            self.write(f"linux-{version}/{name}", text)
        return self.room / f"linux-{version}"

    def tarball(self, tree):
        path = self.room / f"{tree.name}.tar.xz"
        with tarfile.open(path, "w:xz") as tar:
            tar.add(tree, tree.name)
        return path

    def deb(self, tarball, version="7.3~rc7-1~exp1", package="linux-source-7.3"):
        """A package as Debian ships it."""
        return self.package(package, version, f"{package}.tar.xz", tarball.read_bytes())

    def package(self, package, version, name, data):
        """One with a file in /usr/src, built with dpkg-deb."""
        tree = self.room / "deb"
        shutil.rmtree(tree, ignore_errors=True)
        self.write("deb/DEBIAN/control", f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
                   "Maintainer: nobody <nobody@localhost>\nDescription: a test\n")
        self.write(f"deb/usr/src/{name}", "").write_bytes(data)
        path = self.room / f"{package}.deb"
        subprocess.run(["dpkg-deb", "-b", tree, path], check=True, stdout=subprocess.DEVNULL)
        return path
