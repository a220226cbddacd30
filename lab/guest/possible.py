# SPDX-License-Identifier: GPL-2.0
"""A machine with one CPU, on which the kernel allocates for many.

An emulator that runs one of many virtual CPUs after the other takes hours to count
instructions. The kernel believes ACPI's table of CPUs, so it gets a second one, in which there
are more. They are not there, and not started.
"""

import struct

MOST = 255      # identifiers that a CPU without x2APIC has


def table(cpus):
    """The body of a MADT of a PC with so many CPUs."""
    if not 1 <= cpus <= MOST:
        raise ValueError(f"1 to {MOST} CPUs are possible, not {cpus}")
    body = struct.pack("<II", 0xfee00000, 1)
    for one in range(cpus):
        body += struct.pack("<BBBBI", 0, 8, one, one, 1)        # a local APIC, enabled
    body += struct.pack("<BBBBII", 1, 12, 0, 0, 0xfec00000, 0)  # the I/O APIC
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0)           # the timer is its input 2
    for line in (5, 9, 10, 11):                                 # PCI's: level, active high
        body += struct.pack("<BBBBIH", 2, 10, 0, line, line, 0xd)
    return body


def machine(cpus, path):
    """Arguments of QEMU and of the kernel; path is where the table may be kept."""
    path.write_bytes(table(cpus))
    return ["-acpitable", f"sig=APIC,data={path}"], "acpi_apic_instance=2 maxcpus=1"
