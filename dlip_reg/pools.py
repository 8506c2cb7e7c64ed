"""How many processes a pool of processes may have."""

import sys

_MOST_ON_WINDOWS = 61  # which it can wait for at a time


def pool_size(count: int) -> int:
    """Return `count`, or the most processes that a pool may have on this system if it is more."""
    return min(count, _MOST_ON_WINDOWS) if sys.platform == "win32" else count
