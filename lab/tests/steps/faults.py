# SPDX-License-Identifier: GPL-2.0
"""Page faults on files of a kind that the selftests make none of."""

import json

import guest
from harness import LOGS, disk, kernel_of, lives, must, tap
from steps.suites import MORE       # the fragment of lab/kernel/configs/ with such a file system

BESIDE = ("mmap", "mprotect")
STORMS = f"""mount -t exfat /dev/vdc /mnt || exit
for beside in {" ".join(BESIDE)}; do
	/bench/fault_storm $beside -t 10 -d /mnt -j /run/out/$beside.json || exit
done"""
# it is taken twice for a fault: 2.000 to 2.005 times in four boots
CHANCE = 1.05


def step_without_map_pages():
    """faults on files without ->map_pages, for which mmap_lock is taken: no more often than on base"""
    # exfat's are. Who has needed mmap_lock once stays there: a fault that waits for I/O must not
    # be told again that it needs it, and take it for each of the two
    LOGS.mkdir(parents=True, exist_ok=True)
    exfat = LOGS / "without-map-pages.exfat"
    with open(exfat, "wb") as new:
        new.truncate(256 << 20)
    if not must("without map_pages: a file system", ["mkfs.exfat", exfat]):
        return
    drive = f"file={guest.quoted(exfat)},if=virtio,format=raw,snapshot=on"
    found = {}
    for side in ("base", "patched"):
        one = guest.Guest(kernel_of(f"{side}-{MORE}"), disk(), mem="2G", qemu=["-drive", drive])
        result = lives(f"without map_pages: {side}, what is read is in the file", one, STORMS,
                       out=LOGS / f"without-map-pages-{side}")
        if not result:
            return
        found[side] = {beside: json.loads((result.out / f"{beside}.json").read_text())
                       for beside in BESIDE}
    for beside in BESIDE:
        base, patched = (found[side][beside] for side in ("base", "patched"))
        title = f"without map_pages, beside {beside}"
        per_fault = [one["mmap_lock_reads"] / max(one["pgmajfault"], 1) for one in (base, patched)]
        tap.result(0 < per_fault[1] < CHANCE * per_fault[0],
                   f"{title}: mmap_lock is taken as often as on base",
                   f"for each major fault: {per_fault[0]:.2f} on base, {per_fault[1]:.2f} patched\n"
                   f"{base}\n{patched}")
    exfat.unlink()
