"""Which similarities a loss really uses: S, N and P, measured.

Shapes: N anchors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import MultipleReducers, SumReducer
from torch import Tensor

from ..pairs import label_masks
from .recorded import check_loss, copy_of, reads_similarity, similarity_gradient

CLASSES, PER_CLASS, BATCHES = 4, 4, 6
SHIFTS = (-0.35, -0.1, 0.1, 0.35)
CHANGED = 1e-9
"""Relative change of a weight above which it counts; rounding in float64 is far below."""


@dataclass(frozen=True)
class SimilarityUsage:
    """The similarities that the weights of negative and of positive pairs depend on.

    Letters out of "S", "N", "P": S, the weight changes when all similarities of the anchor shift
    together; N, when only its (other) negatives move; P, when only its (other) positives move.
    """

    negatives: frozenset[str]
    positives: frozenset[str]

    def __str__(self) -> str:
        return " / ".join(
            "".join(letter for letter in "SNP" if letter in used) or "–"
            for used in (self.negatives, self.positives)
        )


def similarity_usage(loss: BaseMetricLossFunction) -> SimilarityUsage:
    """Measure which of the similarities S, N and P (section 3 of the paper) a loss uses.

    Random similarity matrices in float64, with anchors from easy to hard; the similarities of one
    anchor are moved as the definition says, and a pair's weight is compared before and after. The
    reducer is replaced by a sum: a mean over what is not zero would make all weights depend on
    everything. A similarity is used if any weight of any anchor changes.

    Errors: ValueError as :func:`pair_weights`, and for a distance that is no function of the
    cosine similarity.
    """
    check_loss(loss)
    if not reads_similarity(loss.distance):
        raise ValueError(
            "loss must have a distance that is a function of the cosine similarity or inner "
            f"product, got {type(loss.distance).__name__}"
        )
    probe = sum_of_terms(loss)
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    pos, neg = label_masks(labels, labels, torch.arange(len(labels)))
    used: dict[str, set[str]] = {"negatives": set(), "positives": set()}
    dummy = torch.rand(len(labels), 2, generator=_generator(), dtype=torch.float64)
    for sim in _matrices(pos):
        before = _weights(probe, sim, dummy, labels)
        for anchor in range(0, len(labels), PER_CLASS):
            for letter, kind, pair, moved in _moves(pos, neg, anchor):
                if letter in used[kind]:
                    continue
                for shift in SHIFTS:
                    after = sim.clone()
                    after[anchor, moved] += shift
                    w = _weights(probe, after, dummy, labels)[anchor, pair]
                    if (w - before[anchor, pair]).abs() > CHANGED * (1 + before[anchor].max()):
                        used[kind].add(letter)
    return SimilarityUsage(frozenset(used["negatives"]), frozenset(used["positives"]))


def sum_of_terms(loss: BaseMetricLossFunction) -> BaseMetricLossFunction:
    """A copy of the loss that sums its terms, whatever reducer it had."""
    twin = copy_of(loss)
    sums = {name: SumReducer() for name in twin.sub_loss_names()}
    twin.reducer = SumReducer() if len(sums) == 1 else MultipleReducers(sums)
    return twin


def _weights(loss: BaseMetricLossFunction, sim: Tensor, dummy: Tensor, labels: Tensor) -> Tensor:
    return similarity_gradient(loss, sim, dummy, labels)[1].abs()


def _matrices(pos: Tensor) -> Iterator[Tensor]:
    """Similarities within ±0.6, positives from far above the negatives to below them."""
    generator = _generator()
    for step in range(BATCHES):
        sim = 0.8 * torch.rand(pos.shape, generator=generator, dtype=torch.float64) - 0.4
        yield torch.where(pos, sim + 0.2 - 0.08 * step, sim - 0.2 + 0.08 * step).fill_diagonal_(1)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _moves(pos: Tensor, neg: Tensor, anchor: int) -> Iterator[tuple[str, str, int, Tensor]]:
    """Letter, kind of the pair, its column, and which columns of the anchor's row move."""
    for kind, mask in (("negatives", neg), ("positives", pos)):
        for pair in mask[anchor].nonzero().flatten()[:2].tolist():
            others = torch.arange(len(pos)) != pair
            yield "S", kind, pair, pos[anchor] | neg[anchor]
            yield "N", kind, pair, neg[anchor] & others
            yield "P", kind, pair, pos[anchor] & others
