"""How the time that work takes grows with its size: a ratio, which a slow or busy machine leaves as it is."""

import time
from collections.abc import Callable


def growth(work: Callable[[int], object], n: int, times: int = 4, goes: int = 3) -> float:
    """The CPU time of `work(times * n)` by that of `work(n)`, of the quickest go at each; the goes are in turns.

    About `times` where time grows linearly, about its square where it grows quadratically. The shorter time counts as
    20 ms at least, so that what takes next to no time can't fail for its start.
    """

    def seconds(size: int) -> float:
        begun = time.process_time()
        work(size)
        return time.process_time() - begun

    small, large = zip(*((seconds(n), seconds(times * n)) for _ in range(goes)), strict=True)
    return min(large) / max(min(small), 0.02)
