// SPDX-License-Identifier: GPL-2.0
/*
 * lockstep NANOSECONDS: make the emulator let its vCPUs run in turns of so long.
 *
 * With -icount a vCPU of QEMU runs until the next timer of the machine is due;
 * then it is the next one's turn. The guest's own timers are milliseconds apart,
 * in which a program starts and ends, and none would meet another. So this sets
 * the HPET's third timer, which Linux leaves alone, to be due so often. Its
 * interrupt goes to a line that is connected to nothing. Then it sets the host's
 * name, which nobody else does: that tells the counter that an operation comes.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HPET_ADDRESS	0xfed00000
#define HPET_TICK_NS	10
#define NOWHERE		31U

/* registers, as indices of 32-bit words */
#define CONFIG		(0x10 / 4)
#define TIMER_CONFIG	(0x140 / 4)
#define TIMER_COMPARE	(0x148 / 4)

#define ENABLE		(1U << 0)
#define TIMER_ENABLE	(1U << 2)
#define TIMER_PERIODIC	(1U << 3)
#define TIMER_SET_VALUE	(1U << 6)
#define TIMER_ROUTE	9

int main(int argc, char **argv)
{
	unsigned long ticks = argc == 2 ? strtoul(argv[1], NULL, 0) / HPET_TICK_NS : 0;
	uint32_t config = TIMER_PERIODIC | NOWHERE << TIMER_ROUTE;
	volatile uint32_t *hpet;
	int fd;

	if (!ticks)
		errx(1, "usage: lockstep NANOSECONDS");
	fd = open("/dev/mem", O_RDWR);
	if (fd < 0)
		err(1, "/dev/mem");
	hpet = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, HPET_ADDRESS);
	if (hpet == MAP_FAILED)
		err(1, "the HPET");
	hpet[CONFIG] |= ENABLE;
	hpet[TIMER_CONFIG] = config | TIMER_SET_VALUE;
	hpet[TIMER_COMPARE] = ticks;
	hpet[TIMER_CONFIG] = config | TIMER_ENABLE;
	if (sethostname("guest", 5))
		err(1, "sethostname");
	return 0;
}
