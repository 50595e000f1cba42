"""Who takes part: the eight subsets of S, N, P and the usual losses of PML, by name."""

from collections.abc import Callable

from pytorch_metric_learning import distances, losses, miners
from torch import nn

from pml_gpw import losses as ours
from pml_gpw import ms_variant
from pml_gpw.losses import VARIANTS

MinerAndLoss = tuple[nn.Module | None, nn.Module]


def _variant(similarities: str) -> Callable[..., MinerAndLoss]:
    return lambda **parameters: ms_variant(similarities, collect_stats=True, **parameters)


def _contrastive(pos_margin: float = 1, neg_margin: float = 0.5, **_: float) -> MinerAndLoss:
    cosine = distances.CosineSimilarity()
    return None, losses.ContrastiveLoss(pos_margin, neg_margin, distance=cosine)


def _triplet_semihard(margin: float = 0.2, **_: float) -> MinerAndLoss:
    cosine = distances.CosineSimilarity()
    miner = miners.TripletMarginMiner(margin, type_of_triplets="semihard", distance=cosine)
    return miner, losses.TripletMarginLoss(margin, distance=cosine)


def _ntxent(temperature: float = 0.07, **_: float) -> MinerAndLoss:
    return None, losses.NTXentLoss(temperature)


def _pml_ms(
    alpha: float = 2, beta: float = 50, base: float = 0.5, epsilon: float = 0.1
) -> MinerAndLoss:
    return miners.MultiSimilarityMiner(epsilon), losses.MultiSimilarityLoss(alpha, beta, base)


def _supcon(temperature: float = 0.1, **_: float) -> MinerAndLoss:
    return None, ours.SupConLoss(temperature)


def _decoupled(temperature: float = 0.1, **_: float) -> MinerAndLoss:
    return None, ours.DecoupledLoss(temperature)


def _hard_ntxent(temperature: float = 0.5, hardness: float = 1.0, **_: float) -> MinerAndLoss:
    return None, ours.HardNTXentLoss(temperature, hardness)


def _tuplet(degrees: float = 5.73, scale: float = 64.0, **_: float) -> MinerAndLoss:
    return None, ours.TupletMarginLoss(degrees, scale)


def _circle(m: float = 0.4, gamma: float = 80.0, **_: float) -> MinerAndLoss:
    return None, ours.CircleLoss(m, gamma)


def _sigmoid(**_: float) -> MinerAndLoss:
    return None, ours.SigmoidLoss()


def _margin(margin: float = 0.2, **_: float) -> MinerAndLoss:
    return None, ours.MarginLoss(margin, learn_beta=True)


def _ranked_list(margin: float = 0.4, tn: float = 10.0, **_: float) -> MinerAndLoss:
    return None, ours.RankedListLoss(margin, tn)


def _fast_ap(**_: float) -> MinerAndLoss:
    return None, ours.FastAPLoss()


CONTENDERS: dict[str, Callable[..., MinerAndLoss]] = {
    **{letters or "none": _variant(letters) for letters in VARIANTS},
    "contrastive": _contrastive,
    "triplet-semihard": _triplet_semihard,
    "ntxent": _ntxent,
    "pml-ms": _pml_ms,
}
"""Name → a fresh (miner or None, loss). "none", "S", … "SNP" are this package's variants with the
defaults α 2, β 50, λ 0.5, ε 0.1, or the ``alpha``, ``beta``, ``base``, ``epsilon`` they are called
with; the others are PML's, with ``pos_margin`` and ``neg_margin``, ``margin``, ``temperature`` of
their own, and leave out what they do not have. "pml-ms" is the control of "SNP"."""

ON_REQUEST: dict[str, Callable[..., MinerAndLoss]] = {
    "supcon": _supcon,
    "decoupled": _decoupled,
    "hard-ntxent": _hard_ntxent,
    "tuplet": _tuplet,
    "circle": _circle,
    "sigmoid": _sigmoid,
    "margin": _margin,
    "ranked-list": _ranked_list,
    "fast-ap": _fast_ap,
}
"""Losses of the field that a table has where they are asked for: ours, scale and bias of "sigmoid"
and the boundary of "margin" trained."""

EVERY_CONTENDER = {**CONTENDERS, **ON_REQUEST}

RAW_PIXELS = "raw pixels"
"""The row without a network: cosine similarity of the images themselves."""


def similarities_of(name: str) -> str:
    """The letters of a variant, spaced for a table; empty for the losses of PML."""
    if name == "none":
        return "–"
    return " ".join(name) if name in VARIANTS else ""
