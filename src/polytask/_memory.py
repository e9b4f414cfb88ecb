"""Memory that is asked for again and again."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As `mallopt` of the C library calls them."""

AT_MOST = 2**30


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for its next use, up to 1 GiB at the end of its heap.

    Otherwise large tensors go back to the system at every step, and every page of them is made anew: a fifth of the
    time of a small network on a CPU. Only the C library of GNU/Linux can be told.

    Returns:
        Whether it was told.

    >>> keep_freed_memory() in (True, False)
    True
    """
    try:
        tell = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(tell(M_MMAP_THRESHOLD, AT_MOST)) and bool(tell(M_TRIM_THRESHOLD, AT_MOST))
