"""The range in which a hyper-parameter is searched."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Annotates a field of a weighting, or an argument of a loss, with the values to try.

    ``temperature: Annotated[float, Range(0.01, 1, log=True)] = 0.1``

    The annotation changes nothing of the weighting. ``python -m benchmarks.tuning`` reads it; so
    may any other search.

    Args:
        low, high: the smallest and the largest value.
        log: whether values are drawn on a logarithmic scale.
        least, most: the values beyond which there is nothing new: no such loss, or the same loss.
            A search that widens the range keeps within them.

    Errors: ValueError unless least ≤ low < high ≤ most, and unless low > 0 for ``log``.

    >>> from typing import Annotated, get_type_hints
    >>> from pml_gpw.weightings import Range
    >>> def loss(margin: Annotated[float, Range(0, 1)] = 0.5): ...
    >>> get_type_hints(loss, include_extras=True)["margin"].__metadata__
    (Range(low=0, high=1, log=False, least=-inf, most=inf),)
    """

    low: float
    high: float
    log: bool = False
    least: float = -math.inf
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.least <= self.low < self.high <= self.most:
            raise ValueError(
                "low and high must be such that least <= low < high <= most, got "
                f"{self.least}, {self.low}, {self.high}, {self.most}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"low must be > 0 on a logarithmic scale, got {self.low}")
