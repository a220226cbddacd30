// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's types, for layout.py to find fields: compiled as a part of the
 * kernel is, with -gbtf and all types kept. No code.
 */
#include <linux/cgroup.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#if __has_include(<linux/i_mmap.h>)
#include <linux/i_mmap.h>
#endif
#include <linux/maple_tree.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mount.h>
#include <linux/percpu_counter.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/shmem_fs.h>
#include <linux/user_namespace.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>
#include "fs/mount.h"
#include "fs/ext4/ext4.h"
#include "mm/internal.h"
#include "mm/slab.h"
#include "mm/percpu-internal.h"
#if __has_include("mm/i_mmap.h")
#include "mm/i_mmap.h"
#endif
