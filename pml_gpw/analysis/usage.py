"""The similarities that a loss really uses: S, N and P, measured.

Shapes: N anchors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import pair_batch
from ..engine.label_pairs import label_masks
from .readers import reader_of

CLASSES, PER_CLASS = 4, 4
CENTRES = ((0.3, -0.3), (0, 0), (-0.3, 0.3), (0.7, 0), (0, 0.7), (0.7, 0.7), (-0.6, -0.6))
"""The centres of positives and of negatives, from easy to hard, high and low."""
HALF_WIDTH, MOST = 0.24, 0.98
SHIFTS = (-0.4, -0.15, -0.03, 0.03, 0.15, 0.4)
CHANGED = 1e-9
"""Relative change of a weight above which it counts; rounding in float64 is far below."""


@dataclass(frozen=True)
class SimilarityUsage:
    """The similarities that the weights of negative and of positive pairs depend on.

    Letters out of "S", "N", "P": S, the weight changes when all similarities of the anchor shift
    together; N, when only its (other) negatives move; P, when only its (other) positives move.

    >>> str(SimilarityUsage(negatives=frozenset("SN"), positives=frozenset("S")))
    'SN / S'
    """

    negatives: frozenset[str]
    positives: frozenset[str]

    def __str__(self) -> str:
        return " / ".join(
            "".join(letter for letter in "SNP" if letter in used) or "–"
            for used in (self.negatives, self.positives)
        )


def similarity_usage(loss: torch.nn.Module) -> SimilarityUsage:
    """Measure which of the similarities S, N and P (section 3 of the paper) a loss uses.

    It takes random matrices of similarities between −0.84 and 0.94 in float64, with anchors from
    easy to hard, moves similarities of one anchor as the definition says, within ±0.98, and
    compares the weights of the others before and after. A similarity is used if any weight changes.
    A threshold of the loss outside that range is not seen. The mean of the loss is replaced by a
    sum, since a mean over non-zero losses would make all weights depend on everything.

    A distance D is read as S = −D, as everywhere, and probed between 0.02 and 1.98.
    Errors: ValueError as :func:`pair_weights`.

    >>> from pml_gpw import MSLoss
    >>> str(similarity_usage(MSLoss()))
    'SNP / SNP'
    """
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    weights = weights_by_similarities(loss, labels)
    pos, neg = label_masks(labels, labels, torch.arange(len(labels)))
    used: dict[str, set[str]] = {"negatives": set(), "positives": set()}
    for sim in _matrices(pos):
        before = weights(sim)
        for anchor in range(0, len(labels), PER_CLASS):
            for letter, kind, moved, watched in _moves(pos[anchor], neg[anchor]):
                if letter in used[kind]:
                    continue
                for shift in SHIFTS:
                    after = sim.clone()
                    after[anchor, moved] += shift
                    if after[anchor, moved].abs().max() > MOST:
                        continue
                    change = (weights(after)[anchor] - before[anchor]).abs()[watched]
                    if (change > CHANGED * (1 + before[anchor].max())).any():
                        used[kind].add(letter)
                        break
    return SimilarityUsage(frozenset(used["negatives"]), frozenset(used["positives"]))


def weights_by_similarities(loss: torch.nn.Module, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from similarities (N, N) of labels (N,) to the weights (N, N) of a loss.

    Its mean is replaced by a sum. Similarities within ±1 are read as distances D = 1 − S where the
    loss has distances: those of points on the unit sphere. Errors: ValueError as
    :func:`pair_weights`.
    """
    reader = reader_of(loss)
    probe = reader.summing(loss)
    dummy = torch.rand(len(labels), 2, generator=_generator(), dtype=torch.float64)
    batch = pair_batch(dummy, labels)
    offset = 1 if reader.measure(loss).is_negated_distance else 0

    def weights(sim: Tensor) -> Tensor:
        return reader.gradient(probe, sim - offset, batch)[1].abs()

    return weights


def _matrices(pos: Tensor) -> Iterator[Tensor]:
    """Similarities of easy and hard anchors, between −0.84 and 0.94; 1 of an anchor with itself."""
    generator = _generator()
    for centre_pos, centre_neg in CENTRES:
        noise = 2 * torch.rand(pos.shape, generator=generator, dtype=torch.float64) - 1
        yield (HALF_WIDTH * noise + torch.where(pos, centre_pos, centre_neg)).fill_diagonal_(1)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _moves(pos: Tensor, neg: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Letter, kind of pairs, which columns of the anchor's row move and which are watched.

    Where a kind is to move beside a pair of that kind, one half moves and the rest is watched, then
    the other way round; halves are every other one, and every other class.
    """
    column = torch.arange(len(pos))
    first = [column % 2 == 0, column // PER_CLASS % 2 == 0]
    halves = [*first, *(~half for half in first)]
    for kind, own, other, same in (("negatives", neg, pos, "N"), ("positives", pos, neg, "P")):
        yield "S", kind, pos | neg, own
        for half in halves:
            if (own & half).any() and (own & ~half).any():
                yield same, kind, own & half, own & ~half
        yield "P" if same == "N" else "N", kind, other, own
