# SPDX-License-Identifier: GPL-2.0
"""The memory of a guest that stands still: whose is a line?"""

import bisect
import functools
import mmap
import struct
from dataclasses import dataclass

from layout import Fail

PAGE, PAGE_SHIFT = 4096, 12
WORD = (1 << 64) - 1
DIRECT = 0xffff888000000000     # with nokaslr and four levels of page tables
VMEMMAP = 0xffffea0000000000
IMAGE = 0xffffffff80000000
PRESENT, LARGE, FRAME = 1, 1 << 7, 0xffffffffff000
TYPE_OF_PAGE = {0xf0: "free", 0xf2: "page table", 0xf5: "slab", 0xf8: "large kmalloc"}
TYPES = 0xf0 << 24              # page_type of a page that is not mapped by users
ANON = 3                        # bits of page->mapping that say it is none of a file
# slab caches whose objects are not called like the cache
STRUCTS = {"filp": "file", "ext4_inode_cache": "ext4_inode_info", "inode_cache": "inode",
           "shmem_inode_cache": "shmem_inode_info", "signal_cache": "signal_struct",
           "sighand_cache": "sighand_struct", "files_cache": "files_struct", "fs_cache": "fs_struct",
           "mnt_cache": "mount", "radix_tree_node": "xa_node", "anon_vma": "anon_vma"}


@dataclass(frozen=True)
class Thing:
    """What a line is of."""
    kind: str           # percpu, page, symbol, slab, memory or user
    name: str           # of a symbol, a slab cache, a page's file ...
    start: int = 0      # address of the symbol or object
    struct: str = ""    # the type of the object
    cpu: int = -1       # percpu: whose
    file: bool = False  # page: of a file


class Memory:
    def __init__(self, kernel, folder, node_bytes, cpus):
        self.kernel, self.types, self.node_bytes, self.cpus = kernel, kernel.types, node_bytes, cpus
        self.nodes = []
        for path in sorted(folder.glob("node*"), key=lambda one: int(one.name[4:])):
            with open(path, "rb") as file:
                self.nodes.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.page_size = self.types.sizeof("page")
        self.offset = functools.lru_cache(maxsize=None)(self.types.offset)
        self.percpu = sorted(set(self.percpu_areas()))
        self.percpu_starts = [first for first, _, _ in self.percpu]
        self.percpu_static = (kernel.address("__per_cpu_start"), kernel.address("__per_cpu_end"))

    # --- reading ----------------------------------------------------------------------

    def physical(self, address):
        """Where a kernel address is, or None."""
        if DIRECT <= address < DIRECT + len(self.nodes) * self.node_bytes:
            return address - DIRECT
        table = self.kernel.address("init_top_pgt") - IMAGE
        for shift in (39, 30, 21, 12):
            at = table + (address >> shift & 511) * 8
            entry = struct.unpack("<Q", self.bytes(at, 8))[0]
            if not entry & PRESENT:
                return None
            if shift == 12 or entry & LARGE and shift < 39:
                return entry & FRAME & -(1 << shift) | address & (1 << shift) - 1
            table = entry & FRAME
        return None

    def bytes(self, physical, size):
        node, at = divmod(physical, self.node_bytes)
        if node >= len(self.nodes):
            raise Fail(f"physical address {physical:#x} is beyond the guest's memory")
        return self.nodes[node][at:at + size]

    def read(self, address, size):
        physical = self.physical(address)
        return bytes(size) if physical is None else self.bytes(physical, size)

    def u64(self, address):
        return struct.unpack("<Q", self.read(address, 8))[0]

    def u32(self, address):
        return struct.unpack("<I", self.read(address, 4))[0]

    def field(self, address, name, path):
        """A pointer in an object."""
        return self.u64(address + self.offset(name, path))

    def text(self, address, most=64):
        return self.read(address, most).split(b"\0")[0].decode(errors="replace") if address else ""

    # --- percpu memory ----------------------------------------------------------------

    def percpu_areas(self):
        """(first address, behind the last, CPU) of each CPU's part of each chunk."""
        units = self.u64(self.kernel.address("pcpu_unit_offsets"))
        offsets = [self.u64(units + 8 * cpu) for cpu in range(self.cpus)]
        slots = self.u32(self.kernel.address("pcpu_nr_slots"))
        lists = self.u64(self.kernel.address("pcpu_chunk_lists"))
        chunks = {self.u64(self.kernel.address(name)) for name in ("pcpu_first_chunk", "pcpu_reserved_chunk")}
        link = self.offset("pcpu_chunk", "list")
        for slot in range(slots):
            head = lists + 16 * slot
            at = self.u64(head)
            while at and at != head:
                chunks.add(at - link)
                at = self.u64(at)
        for chunk in chunks - {0}:
            base = self.field(chunk, "pcpu_chunk", "base_addr")
            before, pages, behind = (self.u32(chunk + self.offset("pcpu_chunk", name))
                                     for name in ("start_offset", "nr_pages", "end_offset"))
            first, last = base + before, base + pages * PAGE - behind
            for cpu, offset in enumerate(offsets):
                yield first + offset & WORD, last + offset & WORD, cpu
        start, end = (self.kernel.address(f"__per_cpu_{word}") for word in ("start", "end"))
        for cpu in range(self.cpus):
            yield start + self.per_cpu_offset(cpu) & WORD, end + self.per_cpu_offset(cpu) & WORD, cpu

    @functools.lru_cache(maxsize=None)
    def per_cpu_offset(self, cpu):
        return self.u64(self.kernel.address("__per_cpu_offset") + 8 * cpu)

    def percpu_area(self, address):
        """(first address, CPU) of the part that an address is in, or None."""
        at = bisect.bisect_right(self.percpu_starts, address) - 1
        first, last, cpu = self.percpu[at]
        return (first, cpu) if at >= 0 and first <= address < last else None

    def percpu_thing(self, address):
        area = self.percpu_area(address)
        if not area:
            return None
        start, end = self.percpu_static
        static = address - self.per_cpu_offset(area[1]) & WORD
        symbol = self.kernel.symbol(static) if start <= static < end else None
        return Thing("percpu", symbol[0], address - symbol[1], cpu=area[1]) if symbol else \
            Thing("percpu", "dynamic", area[0], cpu=area[1])

    # --- pages ------------------------------------------------------------------------

    def page(self, pfn):
        return VMEMMAP + pfn * self.page_size

    def head(self, page):
        info = self.field(page, "page", "compound_info")
        if not info & 1:
            return page
        # if structures fit: a mask that leads to the head; else its address
        return page & info & ~1 if self.page_size & self.page_size - 1 == 0 else info - 1

    @functools.lru_cache(maxsize=None)
    def page_is(self, pfn):
        """(type, head page, file or slab cache)"""
        head = self.head(self.page(pfn))
        kind = self.u32(head + self.offset("page", "page_type"))
        if kind >= TYPES:
            name = TYPE_OF_PAGE.get(kind >> 24, "")
            if name == "slab":
                return name, head, self.field(head, "slab", "slab_cache")
            if name:
                return name, head, 0
        mapping = self.field(head, "folio", "mapping")
        if mapping and not mapping & ANON:
            return "file", head, mapping
        return ("anonymous" if mapping else "other"), head, 0

    @functools.lru_cache(maxsize=None)
    def file_name(self, mapping):
        inode = self.field(mapping, "address_space", "host")
        if not inode:
            return "no file"
        alias = self.u64(inode + self.offset("inode", "i_dentry"))
        number = self.field(inode, "inode", "i_ino")
        if not alias:
            return f"inode {number}"
        link = "d_alias" if self.types.field(self.types.find("dentry"), "d_alias") else "d_u.d_alias"
        dentry = alias - self.offset("dentry", link)
        return self.text(self.field(dentry, "dentry", "__d_name.name"
                                    if self.types.field(self.types.find("dentry"), "__d_name") else "d_name.name"))

    def page_thing(self, address):
        pfn = (address - VMEMMAP) // self.page_size
        start = self.page(pfn)
        kind, head, more = self.page_is(pfn)
        if kind == "file":
            return Thing("page", self.file_name(more), start, "folio" if start == head else "page", file=True)
        return Thing("page", kind, start, "slab" if kind == "slab" else "page")

    @functools.lru_cache(maxsize=None)
    def cache(self, cache):
        """(name, size of an object, offset of the object in it, number of its type)"""
        name = self.text(self.field(cache, "kmem_cache", "name"))
        size, pad = (self.u32(cache + self.offset("kmem_cache", word)) for word in ("size", "red_left_pad"))
        return name, size, pad, STRUCTS.get(name, name)

    def memory_thing(self, physical):
        pfn = physical >> PAGE_SHIFT
        kind, head, more = self.page_is(pfn)
        if kind == "slab" and more:
            name, size, pad, of = self.cache(more)
            base = DIRECT + (head - VMEMMAP) // self.page_size * PAGE
            start = base + (DIRECT + physical - base) // size * size + pad
            return Thing("slab", name, start, of if self.types.find(of) else "")
        if kind == "file":
            return Thing("memory", f"content of {self.file_name(more)}", DIRECT + physical & -PAGE)
        return Thing("memory", kind, DIRECT + physical & -PAGE)

    # --- all together -----------------------------------------------------------------

    def thing(self, address, physical):
        """What is at an address, which is known by the one that it was accessed by, too."""
        if address < 1 << 63:
            found = self.memory_thing(physical)
            return Thing("user", found.name, address & -PAGE)
        found = self.percpu_thing(address)
        if found:
            return found
        if VMEMMAP <= address < VMEMMAP + (len(self.nodes) * self.node_bytes >> PAGE_SHIFT) * self.page_size:
            return self.page_thing(address)
        symbol = self.kernel.symbol(address)
        if symbol:
            return Thing("symbol", symbol[0], address - symbol[1])
        return self.memory_thing(physical)

    def field_of(self, thing, address, physical):
        """The field of an object, or an offset."""
        at = (DIRECT + physical if thing.kind in ("slab", "memory") else address) - thing.start
        if thing.struct:
            path = self.types.path(self.types.find(thing.struct), at)
            return path or f"+{at}"
        return f"+{at}" if at else ""
