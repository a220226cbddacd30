/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of this folder share. */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>

/* Neither EXIT_SUCCESS nor EXIT_FAILURE: this machine lacks what it takes. */
#define EXIT_SKIP		4

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define FORCE_READ(x)		(*(const volatile typeof(x) *)&(x))
#define __noreturn		__attribute__((noreturn))
#define __printf(text, first)	__attribute__((format(printf, text, first)))
#define __always_unused		__attribute__((unused))

#define skip(...)				\
	do {					\
		fprintf(stderr, "skipped: ");	\
		fprintf(stderr, __VA_ARGS__);	\
		exit(EXIT_SKIP);		\
	} while (0)

static inline unsigned long long read_tsc(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	skip("no TSC on this architecture\n");
#endif
}

#endif /* BENCH_H */
