# SPDX-License-Identifier: GPL-2.0
# The two that do everything, set-up included: make run, make check.
# A line of two hashes above a target is its text in make help; "##@" is a heading.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

## where everything is built (10 GB)
BUILD ?= $(CURDIR)/build
## where measurements are kept
RESULTS ?= $(CURDIR)/results
## parallel jobs of a build; default: one more than there are CPUs
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
## kernel to build or boot: base or patched, and fragments of lab/kernel/configs/, as in
## patched-lock_stat
FLAVOUR ?= patched
## virtual CPUs of a guest
CPUS ?= 8
## NUMA nodes of a guest
NODES ?= 4
## memory of a guest, all nodes together
MEM ?= 4G
## CPUs of each node that make boot gives a guest, instead of CPUS and NODES: 8,8,2
NUMA ?=
## more arguments of QEMU for make boot
QEMU_ARGS ?=
## boots of each kernel for each figure; default: 1 or 3, as lab/bench/legs has it
RUNS ?=
## what to measure; make run: some of @RUN@; make bench: some of @BENCH@; default: all
LEGS ?=
## seconds of each storm; default: 3 of make run, 5 of make bench
SECONDS_EACH ?=
## most vCPUs that make bench goes to
MOST_CPUS ?= 32
## accelerator of a guest: auto, kvm, tcg
ACCEL ?= auto
## UnixBench/pgms/execl, which make bench runs, too (lab/server/README.md)
EXECL ?=
## hours that make soak goes on for
HOURS ?= 24
## kernel source instead of a download: Debian's package linux-source-7.3
LINUX_DEB ?=
## ... or a tarball
LINUX_TARBALL ?=
## ... or an unpacked tree, or a git checkout
LINUX_SRC ?=
## package linux-config-7.3 for flavours with debian, instead of a download
LINUX_CONFIG_DEB ?=
## yes: install the Debian packages that are missing (root) or say which; no: do not look,
## trust what is there
SETUP ?= yes
## kernel configuration for make package; default: that of the running kernel
CONFIG ?= /boot/config-$(shell uname -r)
## package format for make package: deb or rpm
TYPE ?= deb
## "Name <address>" of who mails the series; makes them its author, too
SIGNOFF ?=
## version of the mailed series: 2 for [PATCH v2 ...]
VERSION ?=
## number or name of one posting: it alone in the tree, or mailed; else all together
POSTING ?=
## make lines: a function of the kernel whose every execution is an operation
OPERATION ?=
## ... and a line for the guest's shell that has all CPUs execute it
COMMAND ?=
## make compare: results, or what storm-suite left on a real machine, of one kernel
A ?=
## ... and of the other
B ?=
## 1: whole commands and their output instead of progress lines
V ?= 0

export OPERATION COMMAND BUILD RESULTS JOBS V LINUX_DEB LINUX_TARBALL LINUX_SRC LINUX_CONFIG_DEB ACCEL POSTING

.PHONY: help help-all run check bench lines check-all soak evidence setup fetch tree export series config \
	kernel image boot package compare report model storm-archive clean distclean
.DEFAULT_GOAL := help
# prerequisites are steps: the arguments are looked at first
.NOTPARALLEL:

##@ Everything at once

## fetch, build and boot base and patched; a table of both
run: arguments-run tree
	@lab/guest/image
	@lab/bench/measure.py run $(MEASURE)
	@lab/bench/report.py show '$(RESULTS)/latest'

## all tests but those that take hours
check: setup fetch tree
	@lab/tests/check

## all that there is to measure, up to MOST_CPUS vCPUs, in hours; without LEGS, cache lines too
bench: arguments-bench tree
	@lab/guest/image
	@lab/bench/measure.py bench --most-cpus $(MOST_CPUS) $(MEASURE)
	@lab/bench/report.py show '$(RESULTS)/latest'
	@[ -n '$(LEGS)' ] || $(MAKE) lines

## count the cache lines that CPUs share, of base and patched, in half an hour; of an operation of
## yours with OPERATION=, COMMAND=
lines: arguments-lines tree
	@lab/kernel/kernel base patched
	@lab/lines/count.py --cpus $(CPUS) --nodes $(NODES) $(addprefix --runs ,$(RUNS)) \
		--operation "$$OPERATION" --command "$$COMMAND"

## check and the rest: each commit, other architectures, stress
check-all: setup fetch tree
	@[ '$(SETUP)' = no ] || lab/host/setup arches selftests static stress
	@lab/tests/check --all

## stress-ng, trinity, storms and hotplug in random order for HOURS; ends at the first trouble
soak: arguments-soak image
	@[ '$(SETUP)' = no ] || lab/host/setup stress
	@lab/kernel/kernel patched-stress
	@lab/tests/stress.py soak patched-stress --hours $(HOURS) --out '$(BUILD)/soak'

## report of what all steps found last: build/check/report.txt
evidence:
	@lab/tests/evidence.py

##@ The series

## kernel source, pristine, and on top of it a git branch of each posting and one of all
tree: fetch
	@lab/kernel/series.py tree

## commits made in the tree back into the overlay and postings/
export:
	@lab/kernel/series.py export

## a folder for git send-email of each posting: cover letter with the measured table, patches
series: tree
	@lab/kernel/series.py mail '$(BUILD)/series' --signoff "$$SIGNOFF" \
		--version '$(VERSION)' --figures '$(RESULTS)/latest'

##@ Steps

## install the Debian packages that are needed, or print the line that does
setup:
	@[ '$(SETUP)' = no ] || lab/host/setup

## get the kernel source and verify it
fetch: setup
	@lab/kernel/fetch

## write FLAVOUR's .config and check that nothing asked for is lost
config: arguments-flavour tree
	@lab/kernel/kconfig $(FLAVOUR)

## build FLAVOUR
kernel: arguments-flavour tree
	@lab/kernel/kernel $(FLAVOUR)

# what is wrong with the variables is told before anything is done
ARGUMENTS = SETUP JOBS FLAVOUR CPUS NODES MEM NUMA ACCEL LEGS RUNS SECONDS_EACH MOST_CPUS EXECL \
	HOURS OPERATION CONFIG TYPE A B
arguments-%:
	@$(foreach name,$(ARGUMENTS),$(name)='$($(name))') lab/host/arguments $*

## the guest's disk: programs of this host, the storm, the mm selftests
image: tree
	@lab/guest/image mm

## boot FLAVOUR with a shell; exit N there is Error N of make
boot: arguments-boot kernel image
	@lab/guest/guest.py shell --kernel "$$(lab/kernel/kernel --image $(FLAVOUR))" \
		--cpus $(CPUS) --nodes $(NODES) --mem $(MEM) \
		$${NUMA:+--numa="$$NUMA"} $${QEMU_ARGS:+--qemu="$$QEMU_ARGS"}

## kernel packages without and with the series: CONFIG=, TYPE=
package: arguments-package tree storm-archive
	@lab/server/package '$(CONFIG)' '$(TYPE)'

## the storm and its script as one archive for a machine without this checkout
storm-archive: setup
	@lab/server/storm-archive

## one table of two results, or two kernels of a server: A=, B=
compare: arguments-compare
	@lab/bench/report.py compare "$$A" "$$B"

## table, plot and page of results/latest again
report:
	@lab/bench/report.py show '$(RESULTS)/latest'

## what a queueing model expects of 2 to 768 CPUs: not a measurement
model:
	@lab/model/model.py

##@ Tidying up

## remove what was built, keep the source, the tree and ccache
clean:
	@lab/host/clean

## remove $(BUILD); refuses while the tree holds work that is not exported
distclean:
	@lab/host/clean --all

MEASURE = --legs '$(LEGS)' --cpus $(CPUS) --nodes $(NODES) --mem $(MEM) $(addprefix --runs ,$(RUNS)) \
	$(addprefix --seconds ,$(SECONDS_EACH)) --execl "$$EXECL"

## what most people need of this
help:
	@lab/host/help $(firstword $(MAKEFILE_LIST)) lab/bench/legs

## this text
help-all:
	@lab/host/help all=1 $(firstword $(MAKEFILE_LIST)) lab/bench/legs
