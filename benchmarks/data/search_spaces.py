"""What is tuned: the rows of the table, their hyper-parameters and the ranges of these.

For the Multi-Similarity loss Musgrave, Belongie and Lim (2020) search α and β in [0.01, 100] on a
logarithmic scale and λ in [0, 1]. Some of the values they found lie beyond (β = 157), or have no
published range (ε from 0.34 to 0.72); the ranges here hold all of them. The other losses have the
ranges of similarities. The learning rate is the same for all rows, as theirs is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pml_gpw.losses import VARIANTS

from .balanced import balanced_variant
from .contenders import CONTENDERS, ON_REQUEST, MinerAndLoss, similarities_of

EDGE = 0.02
"""The share of a range, at each end, that counts as its edge."""


@dataclass(frozen=True)
class Range:
    """Where a hyper-parameter is searched.

    ``least`` and ``most`` are the values beyond which there is nothing new: no such loss, or the
    same loss. A range is never wider than these, and a value near them is not near an edge.

    >>> beta = Range(0.01, 300, log=True)
    >>> beta.edge_at(295), beta.edge_at(50)
    ('high', None)
    >>> beta.widened("high")
    Range(low=0.01, high=3000, log=True, least=-inf, most=inf)
    """

    low: float
    high: float
    log: bool = False
    least: float = -math.inf
    most: float = math.inf

    def edge_at(self, value: float) -> str | None:
        """Which end of the range a value is near, "low" or "high", where the range can grow."""
        place = (self._scaled(value) - self._scaled(self.low)) / (
            self._scaled(self.high) - self._scaled(self.low)
        )
        if place <= EDGE and self.low > self.least:
            return "low"
        if place >= 1 - EDGE and self.high < self.most:
            return "high"
        return None

    def widened(self, edge: str | None) -> "Range":
        """The range with one end moved out: by a factor of 10, or by half of its width."""
        step = (self.high - self.low) / 2
        if edge == "low":
            low = self.low / 10 if self.log else self.low - step
            return replace(self, low=max(low, self.least))
        if edge == "high":
            high = self.high * 10 if self.log else self.high + step
            return replace(self, high=min(high, self.most))
        return self

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


Space = Mapping[str, Range]

ALPHA = Range(0.01, 100, log=True)
BETA = Range(0.01, 300, log=True)
BASE = Range(0, 1)
EPSILON = Range(0, 1, least=0, most=2)  # with ε ≥ 2 every pair is mined
MARGIN = Range(0.01, 2, log=True, most=2)  # similarities differ by 2 at most
OF_SIMILARITY = Range(0, 1, least=-1, most=1)
TEMPERATURE = Range(0.01, 1, log=True)
SCALE = Range(1, 300, log=True)


@dataclass(frozen=True)
class Row:
    """A row of the table: a way to make a miner and a loss, and what is tuned of it."""

    name: str
    uses: str
    """The similarities S, N and P that its weights and its mining depend on; of PML's none."""
    make: Callable[..., MinerAndLoss]
    space: Space
    defaults: Mapping[str, float]


def _ms_space(similarities: str) -> dict[str, Range]:
    """The hyper-parameters that the equations of a variant have."""
    weighted = {"": (), "S": ("alpha", "beta", "base"), "N": ("alpha", "beta")}
    weighted["SN"] = weighted["S"]
    names = [*weighted[similarities.replace("P", "")], *["epsilon"] * ("P" in similarities)]
    ranges = {"alpha": ALPHA, "beta": BETA, "base": BASE, "epsilon": EPSILON}
    return {name: ranges[name] for name in names}


def _ms_row(name: str, similarities: str, uses: str, make: Callable[..., MinerAndLoss]) -> Row:
    defaults = {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1}
    space = _ms_space(similarities)
    return Row(name, uses, make, space, {key: defaults[key] for key in space})


def _balanced(similarities: str) -> Callable[..., MinerAndLoss]:
    return lambda **parameters: balanced_variant(similarities, **parameters)


def _rows() -> list[Row]:
    names = {letters or "none": letters for letters in VARIANTS}
    variants = [
        _ms_row(name, letters, similarities_of(name), CONTENDERS[name])
        for name, letters in names.items()
    ]
    balanced = [
        _ms_row(f"{letters or 'none'} balanced", letters, uses, _balanced(letters))
        for letters, uses in (("", "–"), ("S", "S N"), ("P", "P"), ("SP", "S N P"))
    ]
    pml = [
        Row(
            "contrastive",
            "",
            CONTENDERS["contrastive"],
            {"pos_margin": OF_SIMILARITY, "neg_margin": OF_SIMILARITY},
            {"pos_margin": 1.0, "neg_margin": 0.5},
        ),
        Row(
            "triplet-semihard",
            "",
            CONTENDERS["triplet-semihard"],
            {"margin": MARGIN},
            {"margin": 0.2},
        ),
        Row(
            "ntxent", "", CONTENDERS["ntxent"], {"temperature": TEMPERATURE}, {"temperature": 0.07}
        ),
    ]
    return [*variants, *balanced, *pml]


def _rows_on_request() -> list[Row]:
    temperature = {"temperature": TEMPERATURE}
    found: dict[str, tuple[Space, dict[str, float]]] = {
        "supcon": (temperature, {"temperature": 0.1}),
        "decoupled": (temperature, {"temperature": 0.1}),
        "hard-ntxent": (
            {**temperature, "hardness": Range(0, 2, least=0)},
            {"temperature": 0.5, "hardness": 1.0},
        ),
        "tuplet": (
            {"degrees": Range(0, 20, least=0), "scale": SCALE},
            {"degrees": 5.73, "scale": 64.0},
        ),
        "circle": ({"m": Range(0, 1, least=0), "gamma": SCALE}, {"m": 0.4, "gamma": 80.0}),
        "sigmoid": ({}, {}),
        "margin": ({"margin": MARGIN}, {"margin": 0.2}),
        "ranked-list": (
            {"margin": MARGIN, "tn": Range(0, 20, least=0)},
            {"margin": 0.4, "tn": 10.0},
        ),
        "fast-ap": ({}, {}),
    }
    return [Row(name, "", ON_REQUEST[name], *found[name]) for name in ON_REQUEST]


ROWS: dict[str, Row] = {row.name: row for row in _rows()}
"""The rows that are tuned, by name."""

EVERY_ROW = {**ROWS, **{row.name: row for row in _rows_on_request()}}
"""With those that are tuned where they are asked for."""

SYMBOLS = {
    "alpha": "α",
    "beta": "β",
    "base": "λ",
    "epsilon": "ε",
    "pos_margin": "pos. margin",
    "neg_margin": "neg. margin",
}
"""How tables and figures name hyper-parameters."""

CONTROL, CONTROLLED = "pml-ms", "SNP"
"""PML's Multi-Similarity loss and miner are not tuned: they take what was found for "SNP"."""
