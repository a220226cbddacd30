// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin that counts how CPUs share cache lines.
 *
 * A line is 64 bytes of guest-physical memory. For each it is known which CPUs
 * hold a copy, as if caches were endless: who reads a line gets a copy, who
 * writes it is left with the only one. An access that needs a copy from another
 * group of CPUs is counted, in one of two ways:
 *
 *   fetched   the group held none, and another group did. Of a read only if the
 *             line was written since counting began: else memory has it, too.
 *   upgraded  a write, for which other groups lost their copies, by a group that
 *             had one.
 *
 * This is done for three kinds of groups: each CPU by itself, shards, and nodes.
 * Counts are kept for each line, CPU and instruction, apart for interrupts. An
 * instruction with a lock prefix, or xchg with memory, counts as one access.
 *
 * Which part of the guest's life is counted: when so many vCPUs have each executed
 * the instruction at an operation's address so many times, of each vCPU the next
 * COUNT operations, from one execution to the next. What it does before and behind
 * them moves lines, but is not counted: else the parts of operations at both ends
 * would be, and differ from boot to boot. When all have done COUNT the counts are
 * written, and QEMU stops itself with SIGSTOP, so that the guest's memory, if it is
 * in shared files, can be looked at. After SIGCONT it goes on with the next
 * operation, and leaves after the last.
 * An operation is looked for after the instruction at "next" was executed. Until
 * the first one is counted hardly anything is instrumented: booting is not slow.
 * From then on everything is: QEMU 7.2 may abort when accesses no longer are.
 *
 * Options, as in -plugin ./counter.so,out=FILE,operation=0xffffffff81234560:8:6:10:
 *   operation=ADDRESS:CPUS:WARM:COUNT   those of any number of operations, in order
 *   next=ADDRESS      executed before each operation
 *   out=FILE          FILE.0, FILE.1 ... are written
 *   nodes=0:0:1:1     the node of each vCPU
 *   shards=0:0:1:1    likewise; default: as nodes
 *   memory=BYTES      of each node's backend (see physical())
 *   direct=ADDRESS    where the kernel maps all memory
 *   interrupt=ADDRESS an interrupt's entry, any number of them
 *   task=ADDRESS      no interrupt from here on, any number of them
 *
 * It is for one host thread (-accel tcg,thread=single): nothing here is locked.
 * It is compiled with -DAPI=N, the version of the plugin interface of the QEMU
 * that is to load it: 1 (QEMU 4.2 to 8.2) to 6. What it needs of that interface
 * is declared here, as Debian has no package with the header.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef API
#error "compile with -DAPI=N, the plugin interface of the QEMU that will load this"
#elif API < 1 || API > 6
#error "this knows versions 1 to 6 of QEMU's plugin interface"
#endif

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;

typedef struct qemu_info_t {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus;
		int max_vcpus;
	} system;
} qemu_info_t;

enum { CB_NO_REGS };
enum { MEM_RW = 3 };

typedef void (*simple_cb)(qemu_plugin_id_t id);
typedef void (*udata_cb)(qemu_plugin_id_t id, void *data);
typedef void (*tb_trans_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*exec_cb)(unsigned int cpu, void *data);
typedef void (*mem_cb)(unsigned int cpu, qemu_plugin_meminfo_t info,
		       uint64_t vaddr, void *data);

void qemu_plugin_reset(qemu_plugin_id_t id, simple_cb cb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    exec_cb cb, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, mem_cb cb,
				      int flags, int rw, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, udata_cb cb, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
#if API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to,
			     size_t size);
#endif
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info,
						  uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *addr);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *addr);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = API;

#define LINE		64
#define PAGE		4096
#define MOST_CPUS	512
#define WORDS		(MOST_CPUS / 64)
#define MOST_MARKS	64
#define MOST_OPERATIONS	64
#define HASH_BITS	20

enum level { CPU, SHARD, NODE, LEVELS };

/* What one CPU did to one line by one instruction, within interrupts or not. */
struct site {
	struct site *next;		/* of the same line */
	struct site *chain;		/* of the same hash */
	struct line *line;
	uint64_t pc;
	uint64_t vaddr;			/* of the line */
	uint64_t read, written;		/* bytes, a bit each */
	uint32_t reads, writes, atomics;
	uint32_t fetched[LEVELS], upgraded[LEVELS];
	uint16_t cpu;
	uint16_t interrupt;
};

struct line {
	struct site *sites;
	bool written;
	uint64_t holders[];
};

/* As in the file, see lab/lines/lines.py. */
struct record {
	uint64_t line, pc, vaddr, read, written;
	uint32_t reads, writes, atomics;
	uint32_t fetched[LEVELS], upgraded[LEVELS];
	uint16_t cpu, interrupt;
} __attribute__((packed));

struct operation {
	uint64_t address;
	unsigned int cpus, warm, count;
};

static struct {
	const char *out;
	uint64_t next, memory, direct;
	struct operation operations[MOST_OPERATIONS];
	unsigned int nr_operations;
	uint64_t interrupts[MOST_MARKS], tasks[MOST_MARKS];
	unsigned int nr_interrupts, nr_tasks;
	unsigned int groups[LEVELS][MOST_CPUS];
	unsigned int nr_groups[LEVELS];
} option;

static unsigned int nr_cpus, words;
static uint64_t group[LEVELS][MOST_CPUS][WORDS];	/* who is in a CPU's group */
static unsigned int executed[MOST_CPUS];		/* how often in this phase */
static struct operation *operation = option.operations;
static bool in_interrupt[MOST_CPUS];
static unsigned int ready;				/* CPUs that did it often enough */
static time_t begun;
static enum phase { WAITING, WARMING, RESETTING, COUNTING } phase;
static bool instrumented;
static qemu_plugin_id_t plugin;
static struct line *(*pages)[PAGE / LINE];		/* lines by physical page */
static struct site *hash[1 << HASH_BITS];
static uint64_t nr_pages, nr_sites, nr_accesses;
static bool calibrated, twice;				/* see physical() */

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *format, ...)
{
	va_list args;

	fputs("counter: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(stderr);
	_exit(1);
}

static void *allocate(size_t size)
{
	void *it = calloc(1, size);

	if (!it)
		die("no memory");
	return it;
}

/* --- counting -------------------------------------------------------------- */

static struct line *line_at(uint64_t phys)
{
	struct line **line;

	if (phys / PAGE >= nr_pages)
		die("physical address %#" PRIx64 " is beyond the guest's memory", phys);
	line = &pages[phys / PAGE][phys % PAGE / LINE];
	if (!*line)
		*line = allocate(sizeof(**line) + words * sizeof(uint64_t));
	return *line;
}

static struct site *site_of(struct line *line, unsigned int cpu, uint64_t pc,
			    uint64_t vaddr)
{
	uint64_t key = (pc ^ (uintptr_t)line << 16 ^ cpu << 1 ^ in_interrupt[cpu]) *
		       0x9e3779b97f4a7c15ULL;
	struct site **chain = &hash[key >> (64 - HASH_BITS)], *site;

	for (site = *chain; site; site = site->chain) {
		if (site->line == line && site->pc == pc && site->cpu == cpu &&
		    site->interrupt == in_interrupt[cpu])
			return site;
	}
	site = allocate(sizeof(*site));
	site->line = line;
	site->pc = pc;
	site->cpu = cpu;
	site->interrupt = in_interrupt[cpu];
	site->vaddr = vaddr;
	site->next = line->sites;
	line->sites = site;
	site->chain = *chain;
	*chain = site;
	nr_sites++;
	return site;
}

/* Whether a CPU is within one of the operations that are counted of it. */
static bool counts(unsigned int cpu)
{
	return executed[cpu] && executed[cpu] <= operation->count;
}

static void count(struct line *line, unsigned int cpu, uint64_t pc, uint64_t vaddr,
		  uint64_t mask, bool write, bool atomic)
{
	struct site *site = site_of(line, cpu, pc, vaddr);

	nr_accesses++;
	for (int level = 0; level < LEVELS; level++) {
		bool mine = false, others = false;

		for (unsigned int i = 0; i < words; i++) {
			mine |= !!(line->holders[i] & group[level][cpu][i]);
			others |= !!(line->holders[i] & ~group[level][cpu][i]);
		}
		if (!others)
			continue;
		if (mine)
			site->upgraded[level] += write;
		else
			site->fetched[level] += write || line->written;
	}
	if (write) {
		site->writes++;
		site->atomics += atomic;
		site->written |= mask;
	} else {
		site->reads++;
		site->read |= mask;
	}
}

/* An access within a line, to the bytes whose bits are in mask. */
static void touch(unsigned int cpu, uint64_t pc, uint64_t vaddr, uint64_t phys,
		  uint64_t mask, bool write, bool atomic)
{
	struct line *line = line_at(phys);

	if (counts(cpu))
		count(line, cpu, pc, vaddr & -LINE, mask, write, atomic);
	if (write) {
		line->written = true;
		memset(line->holders, 0, words * sizeof(uint64_t));
	}
	line->holders[cpu / 64] |= 1ULL << cpu % 64;
}

static void access_memory(unsigned int cpu, uint64_t pc, uint64_t vaddr, uint64_t phys,
			  unsigned int size, bool write, bool atomic)
{
	while (size) {
		unsigned int at = phys % LINE;
		unsigned int here = size < LINE - at ? size : LINE - at;
		uint64_t mask = (here < 64 ? (1ULL << here) - 1 : -1ULL) << at;

		touch(cpu, pc, vaddr, phys, mask, write, atomic);
		vaddr += here;
		phys += here;
		size -= here;
	}
}

/*
 * QEMU before 8 calls "physical" the address that it gave to the memory of a
 * backend plus the backend's address in the guest. With equal backends in a row,
 * below the hole for PCI, both are the same, so it is twice the backend's address
 * plus what is behind. Where the kernel maps all memory directly the address is
 * known, and tells whether this QEMU is one of them. Until it has told, which each
 * CPU's own data does when it first enters the kernel, other accesses are left out.
 */
static uint64_t physical(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	struct qemu_plugin_hwaddr *addr;
	uint64_t told, phys;
	bool known;

	known = vaddr - option.direct < nr_pages * PAGE;
	phys = vaddr - option.direct;
	if (known && calibrated)
		return phys;
	addr = qemu_plugin_get_hwaddr(info, vaddr);
	if (!addr || qemu_plugin_hwaddr_is_io(addr))
		return -1;
	told = qemu_plugin_hwaddr_phys_addr(addr);
	if (known && phys >= option.memory) {
		twice = told != phys;
		calibrated = true;
	}
	if (!calibrated && told >= option.memory)
		return -1;
	if (twice)
		told -= told / (2 * option.memory) * option.memory;
	if (known && told != phys)
		die("QEMU says that %#" PRIx64 " is at %#" PRIx64, vaddr, told);
	return told;
}

static void plain(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  void *pc)
{
	uint64_t phys;

	if (phase != COUNTING)
		return;
	phys = physical(info, vaddr);
	if (phys != (uint64_t)-1)
		access_memory(cpu, (uint64_t)pc, vaddr, phys,
		       1 << qemu_plugin_mem_size_shift(info),
		       qemu_plugin_mem_is_store(info), false);
}

/*
 * The load is part of what takes the line for writing, and with it the store
 * always comes: also that of a cmpxchg which fails.
 */
static void atomic(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr,
		   void *pc)
{
	uint64_t phys;

	if (phase != COUNTING || !qemu_plugin_mem_is_store(info))
		return;
	phys = physical(info, vaddr);
	if (phys != (uint64_t)-1)
		access_memory(cpu, (uint64_t)pc, vaddr, phys,
		       1 << qemu_plugin_mem_size_shift(info), true, true);
}

/* --- the result ------------------------------------------------------------ */

static void write_site(FILE *out, uint64_t line, const struct site *site)
{
	struct record record = {
		.line = line, .pc = site->pc, .vaddr = site->vaddr,
		.read = site->read, .written = site->written,
		.reads = site->reads, .writes = site->writes, .atomics = site->atomics,
		.cpu = site->cpu, .interrupt = site->interrupt,
	};

	memcpy(record.fetched, site->fetched, sizeof(site->fetched));
	memcpy(record.upgraded, site->upgraded, sizeof(site->upgraded));
	fwrite(&record, sizeof(record), 1, out);
}

/* Write all that was counted, and forget it. */
static void empty(FILE *out)
{
	for (uint64_t at = 0; at < nr_pages * PAGE; at += LINE) {
		struct line **line = &pages[at / PAGE][at % PAGE / LINE];

		if (!*line)
			continue;
		for (struct site *site = (*line)->sites, *next; site; site = next) {
			next = site->next;
			write_site(out, at, site);
			free(site);
		}
		free(*line);
		*line = NULL;
	}
	memset(hash, 0, sizeof(hash));
}

/* The file appears under its name when it is complete. */
static void write_result(void)
{
	char name[4096], unfinished[4096 + 4];
	FILE *out;

	snprintf(name, sizeof(name), "%s.%u", option.out,
		 (unsigned int)(operation - option.operations));
	snprintf(unfinished, sizeof(unfinished), "%s.new", name);
	out = fopen(unfinished, "wb");
	if (!out)
		die("cannot write %s", unfinished);
	fprintf(out, "lines 1 operations %u sites %" PRIu64 " accesses %" PRIu64
		" seconds %u\n", operation->cpus * operation->count, nr_sites, nr_accesses,
		(unsigned int)(time(NULL) - begun));
	empty(out);
	nr_sites = nr_accesses = 0;
	if (ferror(out) | fclose(out) || rename(unfinished, name))
		die("cannot write %s: is the disk full?", name);
}

/* --- which part of the guest's life ---------------------------------------- */

static void instrument(qemu_plugin_id_t id);

static void enter(enum phase next)
{
	memset(executed, 0, sizeof(executed));
	ready = 0;
	phase = next;
}

static void next_comes(unsigned int cpu, void *unused)
{
	if (phase == WAITING)
		enter(WARMING);
}

static void begin(void)
{
	enter(COUNTING);
	begun = time(NULL);
}

static bool all_executed(unsigned int cpu, unsigned int times)
{
	return ++executed[cpu] == times && ++ready == operation->cpus;
}

static void operation_executed(unsigned int cpu, void *pc)
{
	in_interrupt[cpu] = false;
	if ((uint64_t)pc != operation->address)
		return;
	if (phase == WARMING && all_executed(cpu, operation->warm)) {
		if (instrumented) {
			begin();
		} else {
			phase = RESETTING;
			qemu_plugin_reset(plugin, instrument);
		}
	} else if (phase == COUNTING && all_executed(cpu, operation->count + 1)) {
		write_result();
		raise(SIGSTOP);
		if (++operation == option.operations + option.nr_operations)
			_exit(0);
		phase = WAITING;
	}
}

static void interrupt(unsigned int cpu, void *unused)
{
	in_interrupt[cpu] = true;
}

static void task(unsigned int cpu, void *unused)
{
	in_interrupt[cpu] = false;
}

static size_t bytes_of(const struct qemu_plugin_insn *insn, uint8_t *to, size_t size)
{
	size_t there = qemu_plugin_insn_size(insn);

	if (there < size)
		size = there;
#if API < 3
	memcpy(to, qemu_plugin_insn_data(insn), size);
#else
	size = qemu_plugin_insn_data(insn, to, size);
#endif
	return size;
}

enum insn_kind { PLAIN, ATOMIC, IRET };

static enum insn_kind kind_of(const uint8_t *byte, size_t size)
{
	bool lock = false;

	for (; size; size--, byte++) {
		if (*byte == 0xf0)
			lock = true;
		else if (!strchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3", *byte) &&
			 (*byte & 0xf0) != 0x40)
			break;
		else if (!*byte)	/* which strchr() takes for one of them */
			break;
	}
	if (lock)
		return ATOMIC;
	if (size && *byte == 0xcf)
		return IRET;
	/* xchg with memory locks by itself */
	return size > 1 && (*byte & 0xfe) == 0x86 && byte[1] < 0xc0 ? ATOMIC : PLAIN;
}

static bool among(uint64_t address, const uint64_t *those, unsigned int nr)
{
	while (nr--) {
		if (those[nr] == address)
			return true;
	}
	return false;
}

static exec_cb mark_at(uint64_t pc)
{
	for (unsigned int i = 0; i < option.nr_operations; i++) {
		if (pc == option.operations[i].address)
			return operation_executed;
	}
	if (pc == option.next)
		return next_comes;
	if (among(pc, option.interrupts, option.nr_interrupts))
		return interrupt;
	return among(pc, option.tasks, option.nr_tasks) ? task : NULL;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = instrumented ? qemu_plugin_tb_n_insns(tb) : 1;

	/* a function's first instruction begins a block */
	for (size_t i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t pc = qemu_plugin_insn_vaddr(insn);
		exec_cb mark = mark_at(pc);
		enum insn_kind kind = PLAIN;
		uint8_t bytes[16];

		if (instrumented) {
			kind = kind_of(bytes, bytes_of(insn, bytes, sizeof(bytes)));
			qemu_plugin_register_vcpu_mem_cb(insn, kind == ATOMIC ? atomic : plain,
							 CB_NO_REGS, MEM_RW, (void *)pc);
		}
		if (!mark && kind == IRET)
			mark = task;
		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, CB_NO_REGS,
							       (void *)pc);
	}
}

static void told_too_little(qemu_plugin_id_t id, void *unused)
{
	unsigned int number = operation - option.operations + 1;

	die("the guest ended before operation %u was counted: %u of %u CPUs had executed it %u times%s",
	    number, ready, operation->cpus,
	    phase == COUNTING ? operation->count + 1 : operation->warm,
	    phase == COUNTING ? " more" : "");
}

static void register_all(qemu_plugin_id_t id)
{
	plugin = id;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, told_too_little, NULL);
}

static void instrument(qemu_plugin_id_t id)
{
	instrumented = true;
	register_all(id);
	begin();
}

/* --- options --------------------------------------------------------------- */

static uint64_t number(const char *name, const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (!*text || *end)
		die("%s=%s is not a number", name, text);
	return value;
}

static void groups(const char *name, const char *text, enum level level)
{
	unsigned int *nr = &option.nr_groups[level];
	char *end;

	for (*nr = 0; *text; text = end + (*end == ':')) {
		if (*nr == MOST_CPUS)
			die("%s has more than %d CPUs", name, MOST_CPUS);
		option.groups[level][(*nr)++] = strtoul(text, &end, 10);
		if (end == text || (*end && *end != ':'))
			die("%s=... wants numbers with colons between them", name);
	}
}

static void mark(const char *name, const char *text, uint64_t *those, unsigned int *nr)
{
	if (*nr == MOST_MARKS)
		die("more than %d %s=", MOST_MARKS, name);
	those[(*nr)++] = number(name, text);
}

static void add_operation(const char *text)
{
	struct operation *one = &option.operations[option.nr_operations++];
	char behind;

	if (option.nr_operations > MOST_OPERATIONS)
		die("more than %d operations", MOST_OPERATIONS);
	if (sscanf(text, "%" SCNx64 ":%u:%u:%u%c", &one->address, &one->cpus,
		   &one->warm, &one->count, &behind) != 4 ||
	    !one->address || !one->cpus || !one->warm || !one->count)
		die("operation=%s is not ADDRESS:CPUS:WARM:COUNT", text);
}

static void parse(char *argument)
{
	char *text = strchr(argument, '=');

	if (!text)
		die("%s has no value", argument);
	*text++ = 0;
	if (!strcmp(argument, "out"))
		option.out = text;
	else if (!strcmp(argument, "operation"))
		add_operation(text);
	else if (!strcmp(argument, "next"))
		option.next = number(argument, text);
	else if (!strcmp(argument, "memory"))
		option.memory = number(argument, text);
	else if (!strcmp(argument, "direct"))
		option.direct = number(argument, text);
	else if (!strcmp(argument, "nodes"))
		groups(argument, text, NODE);
	else if (!strcmp(argument, "shards"))
		groups(argument, text, SHARD);
	else if (!strcmp(argument, "interrupt"))
		mark(argument, text, option.interrupts, &option.nr_interrupts);
	else if (!strcmp(argument, "task"))
		mark(argument, text, option.tasks, &option.nr_tasks);
	else
		die("there is no option %s", argument);
}

/* Who is in the same group as whom. */
static void form_groups(void)
{
	unsigned int nodes = 0;

	for (unsigned int cpu = 0; cpu < nr_cpus; cpu++) {
		option.groups[CPU][cpu] = cpu;
		if (!option.nr_groups[SHARD])
			option.groups[SHARD][cpu] = option.groups[NODE][cpu];
		if (option.groups[NODE][cpu] >= nodes)
			nodes = option.groups[NODE][cpu] + 1;
	}
	for (int level = 0; level < LEVELS; level++) {
		for (unsigned int a = 0; a < nr_cpus; a++) {
			for (unsigned int b = 0; b < nr_cpus; b++) {
				if (option.groups[level][a] == option.groups[level][b])
					group[level][a][b / 64] |= 1ULL << b % 64;
			}
		}
	}
	nr_pages = nodes * option.memory / PAGE;
	pages = allocate(nr_pages * sizeof(*pages));
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
			       int argc, char **argv)
{
	if (!info->system_emulation || strcmp(info->target_name, "x86_64"))
		die("this is for an emulated x86-64 machine, not %s", info->target_name);
	for (int i = 0; i < argc; i++)
		parse(argv[i]);
	nr_cpus = option.nr_groups[NODE];
	if (!option.out || !option.nr_operations || !option.next || !option.memory ||
	    !option.direct || !nr_cpus)
		die("out, operation, next, nodes, memory and direct are needed");
	if (option.nr_groups[SHARD] && option.nr_groups[SHARD] != nr_cpus)
		die("nodes and shards are not of the same number of CPUs");
	words = (nr_cpus + 63) / 64;
	form_groups();
	register_all(id);
	return 0;
}
