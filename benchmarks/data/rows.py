"""The rows of the tables: losses by name, with what is searched of their hyper-parameters.

For the Multi-Similarity loss Musgrave, Belongie and Lim (2020) search α and β in [0.01, 100] on a
logarithmic scale and λ in [0, 1]. Some of the values they found lie beyond (β = 157), or have no
published range (ε from 0.34 to 0.72); the ranges here hold all of them. The other losses have the
ranges of similarities. The learning rate is the same for all rows, as theirs is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytorch_metric_learning import distances, losses, miners
from torch import nn

from pml_gpw import losses as ours
from pml_gpw import ms_variant
from pml_gpw.losses import VARIANTS
from pml_gpw.weightings import Range

from .balanced import balanced_variant
from .presets import file_name

MinerAndLoss = tuple[nn.Module | None, nn.Module]
Space = Mapping[str, Range]


@dataclass(frozen=True)
class Row:
    """A way to make a miner, or None, and a loss, afresh with each call; one row of a table."""

    name: str
    make: Callable[..., MinerAndLoss]
    uses: str = ""
    """The similarities S, N and P that its weights and its mining depend on; of PML's none."""
    space: Space = field(default_factory=dict)
    """What is searched of its hyper-parameters."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """The values of the same names that it has without a search."""
    settings: tuple[str, ...] = ()
    """The hyper-parameters of an experiment that it takes."""
    source: str = ""
    """The text from which it is found again: its name, or the import path of a user's loss."""
    digest: str = ""
    """Names the code of a loss that is not of the tables here."""

    @property
    def file_name(self) -> str:
        """Names its files."""
        return "-".join([file_name(self.name), *[self.digest] * bool(self.digest)])

    def of_experiment(self, hyperparameters: Mapping[str, float]) -> MinerAndLoss:
        """The miner and the loss with the hyper-parameters of an experiment that it takes."""
        return self.make(**{name: hyperparameters[name] for name in self.settings})


TEMPERATURE = Range(0.01, 1, log=True)
MARGIN = Range(0.01, 2, log=True, most=2)  # similarities differ by 2 at most
SCALE = Range(1, 300, log=True)
OF_SIMILARITY = Range(0, 1, least=-1, most=1)
MS_SPACE = {
    "alpha": Range(0.01, 100, log=True),
    "beta": Range(0.01, 300, log=True),
    "base": Range(0, 1),
    "epsilon": Range(0, 1, least=0, most=2),  # with ε ≥ 2 every pair is mined
}
MS_DEFAULTS = {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1}
CONTROL, CONTROLLED = "pml-ms", "SNP"
"""PML's Multi-Similarity loss and miner are not tuned: they take what was found for "SNP"."""


def _ms_row(letters: str, make: Callable[..., MinerAndLoss], uses: str, more: str = "") -> Row:
    """A subset of S, N and P with the hyper-parameters that its equations have."""
    weighted = {"": (), "S": ("alpha", "beta", "base"), "N": ("alpha", "beta")}
    weighted["SN"] = weighted["S"]
    names = [*weighted[letters.replace("P", "")], *["epsilon"] * ("P" in letters)]
    return _row(
        f"{letters or 'none'}{more}",
        make,
        {name: (MS_SPACE[name], MS_DEFAULTS[name]) for name in names},
        uses,
        settings=tuple(MS_DEFAULTS),
    )


def _row(
    name: str,
    make: Callable[..., MinerAndLoss],
    searched: Mapping[str, tuple[Range, float]],
    uses: str = "",
    settings: tuple[str, ...] = (),
) -> Row:
    space = {key: limits for key, (limits, _) in searched.items()}
    defaults = {key: value for key, (_, value) in searched.items()}
    return Row(name, make, uses, space, defaults, settings, source=name)


def _contrastive(**margins: float) -> MinerAndLoss:
    values = {"pos_margin": 1.0, "neg_margin": 0.5, **margins}
    return None, losses.ContrastiveLoss(**values, distance=distances.CosineSimilarity())


def _triplet_semihard(margin: float = 0.2) -> MinerAndLoss:
    cosine = distances.CosineSimilarity()
    miner = miners.TripletMarginMiner(margin, type_of_triplets="semihard", distance=cosine)
    return miner, losses.TripletMarginLoss(margin, distance=cosine)


def _pml_ms(**found: float) -> MinerAndLoss:
    values = {**MS_DEFAULTS, **found}
    miner = miners.MultiSimilarityMiner(values.pop("epsilon"))
    return miner, losses.MultiSimilarityLoss(**values)


def _loss(kind: Callable[..., nn.Module], **fixed: Any) -> Callable[..., MinerAndLoss]:
    """A loss without a miner."""
    return lambda **found: (None, kind(**{**fixed, **found}))


def _by_name(*rows: Row) -> dict[str, Row]:
    return {row.name: row for row in rows}


SUBSETS = _by_name(
    *(
        _ms_row(
            letters,
            partial(ms_variant, letters, collect_stats=True),
            " ".join(letters) or "–",
        )
        for letters in VARIANTS
    )
)
"""The eight subsets of S, N and P, from "none" to "SNP"."""
BALANCED = _by_name(
    *(
        _ms_row(letters, partial(balanced_variant, letters), uses, " balanced")
        for letters, uses in (("", "–"), ("S", "S N"), ("P", "P"), ("SP", "S N P"))
    )
)
"""Those without N, the weights of each anchor's sides divided by their sums."""
USUAL = _by_name(
    _row(
        "contrastive",
        _contrastive,
        {"pos_margin": (OF_SIMILARITY, 1.0), "neg_margin": (OF_SIMILARITY, 0.5)},
    ),
    _row("triplet-semihard", _triplet_semihard, {"margin": (MARGIN, 0.2)}),
    _row("ntxent", _loss(losses.NTXentLoss), {"temperature": (TEMPERATURE, 0.07)}),
)
"""The usual losses of PML."""
THE_CONTROL = Row(CONTROL, _pml_ms, settings=tuple(MS_DEFAULTS), source=CONTROL)
FIELD = _by_name(
    _row("supcon", _loss(ours.SupConLoss), {"temperature": (TEMPERATURE, 0.1)}),
    _row("decoupled", _loss(ours.DecoupledLoss), {"temperature": (TEMPERATURE, 0.1)}),
    _row(
        "hard-ntxent",
        _loss(ours.HardNTXentLoss),
        {"temperature": (TEMPERATURE, 0.5), "beta": (Range(0, 2, least=0), 1.0)},
    ),
    _row(
        "tuplet",
        _loss(ours.TupletMarginLoss),
        {"margin": (Range(0, 20, least=0), 5.73), "scale": (SCALE, 64.0)},
    ),
    _row(
        "circle", _loss(ours.CircleLoss), {"m": (Range(0, 1, least=0), 0.4), "gamma": (SCALE, 80.0)}
    ),
    _row("sigmoid", _loss(ours.SigmoidLoss), {}),
    _row("margin", _loss(ours.MarginLoss, learn_beta=True), {"margin": (MARGIN, 0.2)}),
    _row(
        "ranked-list",
        _loss(ours.RankedListLoss, margin=0.4, Tn=10.0),
        {"margin": (MARGIN, 0.4), "Tn": (Range(0, 20, least=0), 10.0)},
    ),
    _row("fast-ap", _loss(ours.FastAPLoss), {}),
    _row("n-pair", _loss(ours.NPairLoss), {}),
    _row("graded-contrastive", _loss(ours.GradedContrastiveLoss), {"margin": (MARGIN, 0.5)}),
    _row("graded-supcon", _loss(ours.GradedSupConLoss), {"temperature": (TEMPERATURE, 0.1)}),
)
"""Losses of the field that a table has where they are asked for: ours, scale and bias of "sigmoid"
and the boundary of "margin" trained."""
COMPARED = {**SUBSETS, **USUAL, CONTROL: THE_CONTROL}
"""What a comparison has where no losses are named."""
ROWS = {**SUBSETS, **BALANCED, **USUAL, CONTROL: THE_CONTROL, **FIELD}
"""All rows by name."""
RAW = {"Glyphs": "raw pixels", "WorldNames": "TF-IDF of n-grams"}
"""The row without a network: cosine similarity of the items themselves, by data set."""
