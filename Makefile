# SPDX-License-Identifier: GPL-2.0
# The two that do everything, set-up included: make run, make check.
# A line of two hashes above a target is its text in make help; "##@" is a heading.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

## where everything is built (10 GB)
BUILD ?= $(CURDIR)/build
## where measurements are kept
RESULTS ?= $(CURDIR)/results
## parallel jobs of a build
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
## kernel to build or boot: base or patched, and fragments of lab/kernel/configs/, as in patched-lock_stat
FLAVOUR ?= patched
## virtual CPUs of a guest
CPUS ?= 8
## NUMA nodes of a guest
NODES ?= 4
## memory of a guest, all nodes together
MEM ?= 4G
## runs of each kernel in a measurement
RUNS ?= 3
## what a measurement consists of, some of: rates lock_stat shards reclaim instructions truncate walkers promotion memory faults workloads
LEGS ?=
## seconds of each storm
SECONDS_EACH ?= 5
## most vCPUs that make bench goes to
MOST_CPUS ?= 32
## accelerator of a guest: auto, kvm, tcg
ACCEL ?= auto
## an external benchmark's binary that the storm runs too (UnixBench's execl)
EXECL ?=
## hours that make soak goes on for
HOURS ?= 24
## kernel source: a Debian package, a tarball or a tree, instead of a download
LINUX_DEB ?=
LINUX_TARBALL ?=
LINUX_SRC ?=
## yes: install missing Debian packages (root) or say which; no: trust what is there
SETUP ?= yes
## kernel configuration for make package
CONFIG ?= /boot/config-$(shell uname -r)
## package format for make package: deb or rpm
TYPE ?= deb
## "Name <address>" of who mails the series; makes them its author, too
SIGNOFF ?=
## version of the mailed series: 2 for [PATCH v2 ...]
VERSION ?=
## number or name of one posting, to have it alone in the tree, or to mail it; else all together
POSTING ?=
## two results to compare, measured apart
A ?=
B ?=
## 1: whole commands and their output instead of progress lines
V ?= 0

export BUILD RESULTS JOBS V LINUX_DEB LINUX_TARBALL LINUX_SRC ACCEL POSTING

.PHONY: help run check bench check-all soak evidence setup fetch tree export series config \
	kernel image boot package compare report model storm-archive clean distclean
.DEFAULT_GOAL := help

##@ Everything at once

## fetch, build and boot base and patched, run the exec storm on both, compare
run: FORM = run
run: arguments kernels image
	@lab/bench/measure.py run $(MEASURE)
	@lab/bench/report.py show '$(RESULTS)/latest'

## all tests but those that take hours; ends with "N passed, N failed, N skipped"
check: setup fetch tree
	@lab/tests/check

## the long form of run: 1, 2, 4 ... MOST_CPUS vCPUs, every mode of the storm
bench: FORM = bench
bench: arguments kernels image
	@lab/bench/measure.py bench --most-cpus $(MOST_CPUS) $(MEASURE)
	@lab/bench/report.py show '$(RESULTS)/latest'

## check and what takes hours: each commit by itself, other architectures, 100 boots in a row
check-all: setup fetch tree
	@[ '$(SETUP)' = no ] || for word in arches selftests static stress; do lab/host/setup $$word || exit; done
	@lab/tests/check --all

## stress-ng, trinity, storms and hotplug in random order for HOURS; ends at the first trouble
soak: image
	@[ '$(SETUP)' = no ] || lab/host/setup stress
	@lab/kernel/kernel patched-stress
	@lab/tests/stress.py soak patched-stress --hours $(HOURS) --out '$(BUILD)/soak'

## page and text of what all steps found last: build/evidence/index.html
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
config: tree
	@lab/kernel/kconfig $(FLAVOUR)

## build FLAVOUR
kernel: tree
	@lab/kernel/kernel $(FLAVOUR)

.PHONY: arguments kernels
arguments: setup
	@lab/bench/measure.py $(FORM) --validate $(MEASURE)

kernels: tree
	@lab/kernel/kernel $$(lab/bench/measure.py $(FORM) --flavours $(MEASURE))

## the guest's disk: programs of this host, the storm, the mm selftests
image: tree
	@lab/guest/image

## boot FLAVOUR with a shell, on CPUS, NODES, MEM; exit N there ends make with Error N
boot: kernel image
	@lab/guest/guest.py shell --kernel "$$(lab/kernel/kernel --image $(FLAVOUR))" \
		--cpus $(CPUS) --nodes $(NODES) --mem $(MEM)

## a kernel package with the series from CONFIG, and the storm to take along
package: tree storm-archive
	@lab/server/package '$(CONFIG)' '$(TYPE)'

## the storm and its script as one archive for a machine without this checkout
storm-archive: tree
	@lab/server/storm-archive

## one table of A and B: results, or what storm-suite wrote on a real machine
compare:
	@[ -n "$$A" ] && [ -n "$$B" ] || { echo 'usage: make compare A=results1 B=results2'; exit 1; }
	@lab/bench/report.py compare "$$A" "$$B"

## table, plot and page of results/latest again
report:
	@lab/bench/report.py show '$(RESULTS)/latest'

## what a queueing model expects of 2 to 512 CPUs: not a measurement
model:
	@lab/model/model.py

##@ Tidying up

## remove what was built, keep the source, the tree and ccache
clean:
	@lab/host/clean

## remove $(BUILD); refuses while the tree holds work that is not exported
distclean:
	@lab/host/clean --all

MEASURE = --legs '$(LEGS)' --cpus $(CPUS) --nodes $(NODES) --mem $(MEM) --runs $(RUNS) \
	--seconds $(SECONDS_EACH) --execl "$$EXECL"

## this text
help:
	@lab/host/help $(firstword $(MAKEFILE_LIST))
