# SPDX-License-Identifier: GPL-2.0
"""A built kernel: its symbols, and the layout of its types.

Our guests' kernels have no debug information. What is asked about types is found in
types.c, compiled as mm/slub.c of that kernel was, with the compiler's BTF
(Documentation/bpf/btf.rst of the kernel); what is asked about source lines, in the file
of the function, compiled once more with -g, which does not change its code.
"""

import bisect
import functools
import hashlib
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "host"))
from fail import Fail       # noqa: E402

KINDS = dict(enumerate("void int ptr array struct union enum fwd typedef volatile const restrict "
                       "func func_proto var datasec float decl_tag type_tag enum64".split()))
TRANSPARENT = ("typedef", "volatile", "const", "restrict", "type_tag")


class Types:
    """What BTF says of structures."""

    def __init__(self, data):
        magic, _, _, header, type_at, type_size, text_at, text_size = struct.unpack_from("<HBBIIIII", data)
        if magic != 0xeb9f:
            raise Fail("the compiler's BTF has another magic number")
        self.text = data[header + text_at:header + text_at + text_size]
        self.types = [("void", "", 0, None)]
        at, end = header + type_at, header + type_at + type_size
        while at < end:
            name, info, size = struct.unpack_from("<III", data, at)
            at += 12
            kind, number, flag = KINDS[info >> 24 & 0x1f], info & 0xffff, info >> 31
            more = None
            if kind in ("struct", "union"):
                more = [self.member(*struct.unpack_from("<III", data, at + 12 * i), flag)
                        for i in range(number)]
                at += 12 * number
            elif kind == "array":
                more = struct.unpack_from("<III", data, at)
                at += 12
            else:
                at += {"int": 4, "var": 4, "decl_tag": 4, "enum": 8 * number, "func_proto": 8 * number,
                       "datasec": 12 * number, "enum64": 12 * number}.get(kind, 0)
            self.types.append((kind, self.string(name), size, more))
        self.by_name = {name: number for number, (kind, name, _, _) in enumerate(self.types)
                        if kind in ("struct", "union") and name}

    def string(self, at):
        return self.text[at:self.text.index(0, at)].decode()

    def member(self, name, number, offset, flag):
        """(name, type, offset in bytes); of bit fields, that of the byte."""
        return self.string(name), number, (offset & 0xffffff if flag else offset) // 8

    def plain(self, number):
        while self.types[number][0] in TRANSPARENT:
            number = self.types[number][2]
        return number

    def size(self, number):
        kind, _, size, more = self.types[self.plain(number)]
        if kind == "ptr":
            return 8
        return self.size(more[0]) * more[2] if kind == "array" else size

    def find(self, name):
        """The number of a structure, or None."""
        return self.by_name.get(name)

    def sizeof(self, name):
        return self.size(self.known(name))

    def known(self, name):
        if name not in self.by_name:
            raise Fail(f"this kernel has no struct {name}: lab/lines/types.c includes what defines it")
        return self.by_name[name]

    def offset(self, name, path):
        """Of a field, as in offset("inode", "i_data.host")."""
        at, number = 0, self.known(name)
        for word in path.split("."):
            found = self.field(number, word)
            if not found:
                raise Fail(f"struct {name} has no field {path}")
            at, number = at + found[0], self.plain(found[1])
        return at

    def field(self, number, word):
        for name, kind, offset in self.types[number][3] or ():
            if name == word:
                return offset, kind
            inner = not name and self.field(self.plain(kind), word)
            if inner:
                return offset + inner[0], inner[1]
        return None

    @functools.lru_cache(maxsize=None)
    def path(self, number, offset):
        """The name of the field at an offset, as deep as structures go."""
        words = []
        while True:
            number = self.plain(number)
            kind, _, _, more = self.types[number]
            if kind == "array":
                size = self.size(more[0])
                if not size or self.types[self.plain(more[0])][0] not in ("struct", "union"):
                    break
                number, offset = more[0], offset % size
                continue
            if kind not in ("struct", "union"):
                break
            inside = [(name, to, at) for name, to, at in more
                      if at <= offset < at + max(1, self.size(to))]
            if not inside:
                break
            name, number, at = inside[0] # the first of a union's
            offset -= at
            words += [name] if name else []
        return ".".join(words)


class Kernel:
    """A folder in which a kernel was built."""

    def __init__(self, image, cache):
        self.out = (Path(image).resolve().parent / "../../..").resolve()
        self.cache = Path(cache) / hashlib.sha1(str(self.out).encode()).hexdigest()[:12]
        table = self.out / "System.map"
        if not table.exists():
            raise Fail(f"{table} does not exist: the counter needs the folder that the kernel was built in")
        self.symbols, listed = {}, []
        for line in table.read_text().splitlines():
            address, _, name = line.split()
            self.symbols.setdefault(name, int(address, 16))
            if not name.startswith(("__pfx_", "__cfi_")):
                listed.append((int(address, 16), name))
        listed.sort(key=lambda one: one[0])
        self.addresses = [address for address, _ in listed]
        self.names = [name for _, name in listed]

    def address(self, name):
        if name not in self.symbols:
            near = sorted(one for one in self.symbols if name.strip("_") in one)[:5]
            raise Fail(f"{name} is no symbol of {self.out / 'System.map'}"
                       + (f"; is it one of {', '.join(near)}?" if near else ": is it inlined?"))
        return self.symbols[name]

    @functools.lru_cache(maxsize=None)
    def symbol(self, address):
        """(name, offset), or None outside of the image."""
        if not self.symbols["_text"] <= address < self.symbols["_end"]:
            return None
        at = bisect.bisect_right(self.addresses, address) - 1
        while at and self.addresses[at - 1] == self.addresses[at]:
            at -= 1 # the first of several names
        return self.names[at], address - self.addresses[at]

    # --- what the compiler says -------------------------------------------------------

    def compile(self, of, source, to, *flags):
        """Compile a source as that of an object of this kernel was."""
        told = (self.out / Path(of).parent / f".{Path(of).name}.cmd").read_text().splitlines()[0]
        argv = shlex.split(told.partition(":=")[2].partition(";")[0])
        argv = [word for word in argv if not word.startswith("-Wp,-MMD") and word != "-MMD"
                and not re.fullmatch(r"-g\S*|-MF|\S+\.d", word)]
        argv = argv[:argv.index("-o")] + [word for word in argv[argv.index("-o") + 2:-1] if word != "-c"]
        if argv[0] == "ccache":
            argv = argv[1:]
        to.parent.mkdir(parents=True, exist_ok=True)
        tree = (self.out / "source").resolve()
        done = subprocess.run([*argv, *flags, f"-I{tree}", "-w", "-c", "-o", to, source], cwd=self.out,
                              text=True, capture_output=True, check=False)
        if done.returncode:
            raise Fail(f"{source} does not compile as {of} of {self.out}: {done.stderr.strip()[:500]}")

    @functools.cached_property
    def types(self):
        source = HERE / "types.c"
        key = hashlib.sha1(b"\n".join([source.read_bytes(), (self.out / ".config").read_bytes(),
                                       str((self.out / "vmlinux").stat().st_mtime_ns).encode()]))
        file = self.cache / f"types-{key.hexdigest()[:12]}"
        if not file.exists():
            self.compile("mm/slub.o", source, file.with_suffix(".o"), "-gbtf",
                         "-fno-eliminate-unused-debug-types")
            subprocess.run(["objcopy", "-O", "binary", "--only-section=.BTF",
                            "--set-section-flags=.BTF=alloc", file.with_suffix(".o"), file],
                           check=True)
            file.with_suffix(".o").unlink()
        return Types(file.read_bytes())

    @functools.cached_property
    def objects(self):
        """{function: objects that define it}."""
        done = subprocess.run("find . -name '*.o' ! -name 'vmlinux*' ! -name 'built-in*' -print0 | "
                              "xargs -0 nm -A --defined-only 2>/dev/null", shell=True, cwd=self.out,
                              text=True, stdout=subprocess.PIPE, check=False)
        found = {}
        for line in done.stdout.splitlines():
            file, _, rest = line.partition(":")
            _, kind, name = rest.split(None, 2) if len(rest.split()) == 3 else ("", "", "")
            if kind in ("t", "T", "W", "w"):
                found.setdefault(name, set()).add(file.removeprefix("./"))
        return found

    def functions_of(self, *objects):
        """Names of what these objects define."""
        return {name for name, files in self.objects.items() if files & set(objects)}

    @functools.lru_cache(maxsize=None)
    def source_line(self, name, offset):
        """file:line of an instruction; "" if the function's object cannot be told."""
        files = self.objects.get(name, ())
        if len(files) != 1:
            return ""
        of = min(files)
        built = self.out / of
        to = self.cache / "g" / of
        try:
            if not to.exists() or to.stat().st_mtime < built.stat().st_mtime:
                self.compile(of, self.source_of(of), to, "-g")
            return self.ask(to, name, offset)
        except (Fail, OSError, ValueError):
            return ""

    def source_of(self, of):
        told = (self.out / Path(of).parent / f".{Path(of).name}.cmd").read_text()
        return re.search(r"^source_\S+ := (.*)$", told, re.M)[1]

    def ask(self, to, name, offset):
        symbols = self.symbols_in(to)
        if name not in symbols:
            return ""
        section, value = symbols[name]
        done = subprocess.run(["addr2line", "-e", to, "-j", section, hex(value + offset)], text=True,
                              capture_output=True, check=False)
        found = done.stdout.splitlines()[0] if done.stdout else ""
        if not found or found.startswith("??"):
            return ""
        path = re.sub(r" \(discriminator.*", "", found)
        tree = str((self.out / "source").resolve())
        return re.sub(r"^.*?/?src/", "", path.removeprefix(tree + "/"))

    @functools.lru_cache(maxsize=None)
    def symbols_in(self, to):
        done = subprocess.run(["readelf", "-sW", to], text=True, capture_output=True, check=False)
        sections = subprocess.run(["readelf", "-SW", to], text=True, capture_output=True, check=False)
        names = {number: name for number, name in re.findall(r"\[ *(\d+)\] (\S+)", sections.stdout)}
        found = {}
        for line in done.stdout.splitlines():
            words = line.split()
            if len(words) == 8 and words[3] in ("FUNC", "NOTYPE") and words[6] in names:
                found[words[7]] = (names[words[6]], int(words[1], 16))
        return found
