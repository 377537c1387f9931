"""What may be there twice where brokers have no transactions: see "At least once" in docs/guarantees.md.

Whoever dies between its alerts and the checkpoint that says so leaves alerts that are published once more.
All records of one commit bear the same time, and a tenant's commits come one after another: so an earlier
copy is excused if it is of its tenant's last commit before a kill, and the later copy came after that kill.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise


class Repeats:
    """Times of commits by tenant, and of the copies of what was seen more than once; in Unix seconds."""

    def __init__(self) -> None:
        self._kills: list[float] = []
        self._commits: dict[int, set[float]] = defaultdict(set)
        self._copies: dict[int, list[float]] = {}

    def killed(self, times: Iterable[float]) -> None:
        """Take the moments at which a daemon was killed."""
        self._kills = sorted(times)

    def seen(self, tenant: int, at: float) -> None:
        """Take that a record of a tenant bears this time."""
        self._commits[tenant].add(at)

    def again(self, version: int, first: float, at: float) -> None:
        """Take another copy of a version whose first bears the time `first`."""
        self._copies.setdefault(version, [first]).append(at)

    def excused(self, version: int, tenant: int) -> int:
        """Return how many copies of a version a kill explains."""
        copies = sorted(self._copies.get(version, ()))
        if not self._kills or not copies:
            return 0
        commits = sorted(self._commits[tenant])
        return sum(self._explains(commits, earlier, later) for earlier, later in pairwise(copies))

    def _explains(self, commits: list[float], earlier: float, later: float) -> bool:
        """Tell whether a kill lies between two copies, and no commit between the first and that kill."""
        kill = bisect_left(self._kills, earlier)
        if kill == len(self._kills) or self._kills[kill] > later:
            return False
        following = bisect_right(commits, earlier)
        return following == len(commits) or commits[following] >= self._kills[kill]
