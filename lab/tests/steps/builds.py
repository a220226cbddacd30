# SPDX-License-Identifier: GPL-2.0
"""Kernels, the guests' disk, a package."""

import os
import subprocess
import time
from pathlib import Path

from harness import BASE, BUILD, DEBUG, TOP, built, disk, kernel_of, must, tap, up_to_date


def working_in(folder):
    """Names of the processes whose working directory is below a folder."""
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(str(folder)):
                names.append((process / "comm").read_text().strip())
        except OSError:
            pass # it ended, or is not ours to look at
    return names


def step_resume():
    """a build that is interrupted stops as a whole, and goes on the next time"""
    flavour = [TOP / "lab/kernel/kernel", "base"]
    log = BUILD / "log/kernel-base.log"
    log.unlink(missing_ok=True)
    builder = subprocess.Popen(flavour, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while builder.poll() is None and not (log.exists() and log.read_text().count("  CC ") > 20):
        time.sleep(0.2)
    if builder.poll() == 0:
        tap.skip("build: interrupted", "base was built already")
        return
    if builder.poll() is not None:
        tap.fail("build: interrupted", log.read_text(errors="replace") if log.exists() else "no log")
        return
    builder.terminate()
    builder.wait()
    left = working_in(BASE)
    tap.result(not left, "build: interrupted, nothing goes on", f"still running: {left}")
    must("build: goes on after an interruption", flavour)


def step_kernels():
    """base, patched, and the debug kernel"""
    up_to_date.cache_clear()    # to be a result of this step, whatever ran before it
    built("base", "patched", DEBUG)


def step_image():
    """the disk of the guests"""
    up_to_date.cache_clear()
    disk()


def step_package():
    """make package with the guest's configuration"""
    config = kernel_of("patched").parents[3] / ".config"
    if must("build: package", ["make", "package", "SETUP=no", f"CONFIG={config}"]):
        debs = [p.name for p in (BUILD / "package").glob("linux-image-*filermap*.deb")]
        tap.result(bool(debs), "build: a package beside the distribution's kernel",
                   "no linux-image-*filermap*.deb")
        tap.result((BUILD / "exec-storm.tar.gz").exists(), "build: the storm's archive", "missing")
