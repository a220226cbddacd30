# SPDX-License-Identifier: GPL-2.0
"""The i_mmap lock as litmus tests and as a model."""

import re

import series
from harness import LOGS, TOP, command, needs, tap


def step_litmus(required=False):
    """what the i_mmap lock expects of the memory model, by herd7"""
    status, text = command("litmus: herd7", [TOP / "lab/tests/herd7", "--get"])
    if status:
        why = text.strip().splitlines()[-1] if text.strip() else f"status {status}"
        (tap.fail if required else tap.skip)("litmus: herd7", why)
        return
    tests = sorted((series.PATCHED / "Documentation/litmus-tests/locking").glob("i_mmap-*.litmus"))
    for test in tests:
        wanted = re.search(r"Result: (\w+)", test.read_text())[1]
        status, text = command(test.name, [TOP / "lab/tests/herd7", test])
        found = re.search(r"^Observation \S+ (\w+)", text, re.M)
        tap.result(status == 0 and found and found[1] == wanted, f"litmus: {test.stem}: {wanted}", text)
    for kind in ("fixed", "broken"):
        if not any(test.stem.endswith(kind) for test in tests):
            tap.fail(f"litmus: {kind}", "there is no such test")


# of the model, see there. More than a few of a kind make more states than memory
KINDS = ("MODIFIERS", "MERGERS", "ORDERS", "WALKERS", "TRYLOCKS", "EXCLUSIVES")
MODELS = ((2, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0, 1, 0, 1),
          (1, 1, 0, 1, 0, 0), (1, 0, 1, 1, 0, 0), (0, 0, 1, 1, 1, 0))
# mistakes that those of the first model do not make
NOTICED_WITH = {"BROKEN_SLOWPATH": (1, 0, 0, 2, 0, 0),
                "BROKEN_MERGE": (1, 1, 0, 1, 0, 0), "BROKEN_BATCH": (1, 1, 0, 1, 0, 0),
                "BROKEN_FORK": (0, 0, 1, 1, 0, 0), "BROKEN_MREMAP": (0, 0, 1, 1, 0, 0),
                "BROKEN_EXCLUSIVE": (2, 0, 0, 0, 0, 1),
                "BROKEN_TRYLOCK": (2, 0, 0, 0, 1, 0), "BROKEN_TRY_LAST": (2, 0, 0, 0, 1, 0),
                "BROKEN_TRY_RAISE": (2, 0, 0, 0, 1, 0)}
# more of one or two kinds: 12 million states at most
LARGE_MODELS = ((2, 0, 0, 1, 1, 0), (2, 0, 0, 2, 0, 0), (2, 0, 0, 1, 0, 1),
                (1, 1, 0, 1, 1, 0), (1, 0, 1, 1, 0, 1), (0, 0, 1, 2, 1, 0),
                (0, 0, 2, 1, 0, 0))
MODEL = "tools/verification/spin/i_mmap.pml"


def spin(name, sizes, define=(), optimize="-O0"):
    """Whether spin finds an error in the model; None if it cannot tell."""
    room = LOGS / "spin"
    room.mkdir(parents=True, exist_ok=True)
    for stale in room.glob("pan*"):
        stale.unlink()
    steps = (["spin", *(f"-D{kind}={size}" for kind, size in zip(KINDS, sizes)),
              *(f"-D{word}" for word in define), "-a", series.PATCHED / MODEL],
             ["gcc", optimize, "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=12000", "-o", "pan", "pan.c"],
             ["./pan", "-m100000"])
    for argv in steps:
        status, text = command(name, argv, cwd=room)
        if status:
            return None, text
    if "Search not completed" in text and "errors: 0" in text: # out of memory, or too deep
        return None, text
    found = re.search(r"errors: (\d+)", text)
    return (found and found[1] != "0"), text


def step_spin(models=MODELS):
    """the model of the i_mmap lock holds, and notices each mistake it knows"""
    needs("spin")
    for sizes in models:
        wrong, text = spin("spin: the protocol", sizes, optimize="-O0" if models is MODELS else "-O2")
        states = re.search(r"(\S+) states, stored", text)
        tap.result(wrong is False and states, f"spin: {sizes} "
                   f"{states[1] if states else 'no'} states without an error", text)
    if models is not MODELS:
        return
    mistakes = re.findall(r"^ \*   (BROKEN_\w+)", (series.PATCHED / MODEL).read_text(), re.M)
    for mistake in mistakes:
        wrong, text = spin(f"spin: {mistake}", NOTICED_WITH.get(mistake, MODELS[0]), (mistake,))
        tap.result(wrong, f"spin: {mistake} is noticed", text)
    if not mistakes:
        tap.fail("spin: mistakes", f"{MODEL} names none")


def step_spin_large():
    """the same with more of each kind at a time"""
    step_spin(LARGE_MODELS)


def step_litmus_all():
    """herd7 must be there"""
    step_litmus(required=True)
