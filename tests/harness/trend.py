"""Whether a measured value stays where it is: a straight line through samples, and their spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trend:
    """What samples over time come to.

    `slope` is the growth in an hour along the line of least squares, `spread` the distance between the
    highest and the lowest; both are shares of the mean.
    """

    slope: float
    spread: float

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]]) -> "Trend":
        """Take the trend of at least two (seconds, value)."""
        seconds, values = zip(*samples, strict=True)
        mean = statistics.fmean(values)
        slope = statistics.linear_regression(seconds, values).slope
        return cls(slope=slope * 3600 / mean, spread=(max(values) - min(values)) / mean)
