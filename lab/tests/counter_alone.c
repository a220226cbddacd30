// SPDX-License-Identifier: GPL-2.0
/*
 * The counter of shared lines without QEMU: options as the arguments, and on stdin
 * what would happen, a line each:
 *   r|w|a CPU PC ADDRESS SIZE   it reads, writes, or does both atomically
 *   x CPU PC                    it executes an instruction that somebody asked for
 *   k HEX...                    which kind is the instruction with these bytes?
 *   e                           the guest ends
 * Physical addresses are those in the kernel's direct map, or the address itself.
 */
#include <signal.h>

#define API 1
#define raise(signal) do { } while (0)	/* nobody is there to let it go on */
#include "../lines/counter.c"

#define DIRECT	0xffff888000000000ULL

struct qemu_plugin_insn {
	uint64_t pc;
	uint8_t bytes[16];
	size_t size;
};

static struct qemu_plugin_insn insn;
static tb_trans_cb translated;
static exec_cb executes;
static void *executes_data;
static mem_cb accesses;
static udata_cb at_exit;
static uint64_t address;
static unsigned int size;
static bool store;

void qemu_plugin_reset(qemu_plugin_id_t id, simple_cb cb)
{
	cb(id);
}

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb)
{
	translated = cb;
}

void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *it, exec_cb cb,
					    int flags, void *data)
{
	executes = cb;
	executes_data = data;
}

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *it, mem_cb cb, int flags,
				      int rw, void *data)
{
	accesses = cb;
}

void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, udata_cb cb, void *data)
{
	at_exit = cb;
}

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
	return 1;
}

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index)
{
	return &insn;
}

uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *it)
{
	return it->pc;
}

size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *it)
{
	return it->size;
}

const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *it)
{
	return it->bytes;
}

unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info)
{
	return __builtin_ctz(size);
}

bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info)
{
	return store;
}

struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
	return (struct qemu_plugin_hwaddr *)&address;
}

bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *addr)
{
	return false;
}

uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *addr)
{
	return address >= DIRECT ? address - DIRECT : address;
}

/* What the counter asked for at an instruction. */
static void meet(uint64_t pc)
{
	insn.pc = pc;
	executes = NULL;
	accesses = NULL;
	translated(1, NULL);
}

int main(int argc, char **argv)
{
	qemu_info_t info = { .target_name = "x86_64", .system_emulation = true };
	char line[256];

	if (qemu_plugin_install(1, &info, argc - 1, argv + 1))
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		unsigned int cpu = 0;
		uint64_t pc = 0;
		char what = *line, *at = line + 1;

		insn.size = what == 'a';
		insn.bytes[0] = 0xf0;
		if (what == 'k') {
			uint8_t bytes[16];
			size_t nr = 0;

			for (char *end; nr < 16; at = end) {
				bytes[nr] = strtoul(at, &end, 16);
				if (end == at)
					break;
				nr++;
			}
			puts((const char *[]){ "plain", "atomic", "iret" }[kind_of(bytes, nr)]);
			continue;
		}
		if (what == 'e')
			at_exit(1, NULL);
		sscanf(at, "%u %" SCNx64 " %" SCNx64 " %u", &cpu, &pc, &address, &size);
		meet(pc);
		if (executes)
			executes(cpu, executes_data);
		if (what == 'x' || !accesses)
			continue;
		for (store = what == 'w'; ; store = true) {
			accesses(cpu, 0, address, (void *)pc);
			if (store || what == 'r')
				break;
		}
	}
	return 0;
}
