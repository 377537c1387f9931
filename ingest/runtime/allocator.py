"""Where memory or time is wasted by what stands: the C library's allocator, TLS, and the collector.

The allocator is told not to give memory back after each page only to ask for it again. A page is a few
thousand blocks that come and go together, at the top of the heap. As it stands glibc gives those to the
kernel when they are freed, and touching them anew costs a fault for each four kilobytes: a fifth of the
time from page to batch.
"""

import ctypes
import gc
import sys
from asyncio import sslproto

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MIB = 1024 * 1024
_KEPT = {
    _M_TRIM_THRESHOLD: 32 * _MIB,
    _M_TOP_PAD: 1 * _MIB,
    _M_MMAP_THRESHOLD: 4 * _MIB,
    _M_ARENA_MAX: 2,
}
"""Free bytes that stay at the heap's top; what it grows by; from which size on a block is mapped by itself,
and so given back whatever lies above it; how many heaps there are. Each thread would have its own, of a
megabyte that it hardly uses; they allocate in turns, as the interpreter's lock has it."""

_COLLECTOR = (50_000, 20, 20)
"""Objects made beyond those that are gone before the youngest are looked at, and so on."""

_TLS_BUFFER_BYTES = 64 * 1024
"""Four records of TLS."""


def keep_freed_pages() -> bool:
    """Set the allocator up, once, at the start; tell whether this C library can be told."""
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    # Others than glibc have no such function, or one that does nothing.
    return tell is not None and all(tell(option, value) == 1 for option, value in _KEPT.items())


def narrow_tls_buffers() -> None:
    """Let TLS connections that are opened from now on read at most 64 KiB at a time.

    Each has a buffer of its own for as long as it is open, of 256 KiB as asyncio stands: a hundred
    megabytes for the connections that a large fleet keeps.
    """
    sslproto.SSLProtocol.max_size = min(sslproto.SSLProtocol.max_size, _TLS_BUFFER_BYTES)


def spare_collector() -> None:
    """Let the garbage collector work less, for the rest of the process; to be called when all stands.

    What stands then stands for months, and need not be walked again and again. A page makes thousands of
    objects that die with it by themselves: at the usual thresholds the collector took a fifth of all CPU
    time of a backlog to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR)
