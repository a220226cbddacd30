/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM i_mmap

#if !defined(_TRACE_I_MMAP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_I_MMAP_H

#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/tracepoint.h>

TRACE_EVENT(i_mmap_shard,

	TP_PROTO(const struct address_space *mapping, u64 duration),

	TP_ARGS(mapping, duration),

	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, duration)
		__field(dev_t, dev)
	),

	TP_fast_assign(
		__entry->ino = mapping->host ? mapping->host->i_ino : 0;
		__entry->dev = mapping->host ? mapping->host->i_sb->s_dev : 0;
		__entry->duration = duration;
	),

	TP_printk("dev=%u:%u ino=%llu duration_ns=%llu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino,
		  __entry->duration)
);

#endif /* _TRACE_I_MMAP_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
