"""Distance-weighted sampling of negatives."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self, override

from .. import checks
from ..weightings import Rows
from .base import PairMining


@dataclass(frozen=True)
class DistanceWeightedMining(PairMining):
    """Draw pairs at random, negatives against how often their distance occurs on the sphere.

    For an anchor with c references of its own class, itself included, c triplets are drawn: a
    positive evenly, and a negative, among those nearer than ``nonzero_loss_cutoff``, with

    `q_j ∝ 1 / p(max(D_ij, cutoff)), p(D) ∝ D^{d−2} (1 − D²/4)^{(d−3)/2}`

    where p is the density of distances between points on the unit sphere of d dimensions. A pair
    is kept if it is drawn at least once: a negative with the probability `1 − (1 − q_j)^c`, a
    positive with `1 − (1 − 1/|P_i|)^c`. Each pair is drawn by itself with that probability, which
    is that of ``DistanceWeightedMiner`` in pytorch-metric-learning. Uses S and N, and P in so far
    as a negative is in reach.

    Similarities are cosines, with `D = √(2 − 2 S)`, or negated Euclidean distances of normalised
    embeddings.

    Args:
        dim: d, the number of dimensions of the embeddings.
        cutoff: the distance below which all negatives are drawn alike.
        nonzero_loss_cutoff: the distance from which on none is drawn.
        salt: rules of another salt draw other numbers in the same call.
        negated_distances: whether S = −D, which ``for_negated_distances`` sets.

    Errors: ValueError for a ``dim`` < 1, cutoffs that are not finite numbers > 0, and a
    ``negated_distances`` that is no bool.

    Reference: Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017, section 4.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.7, 0.5, -0.4]])
    >>> positives = torch.tensor([[True, False, False, False]])
    >>> rule = DistanceWeightedMining(dim=8)
    >>> bool(rule(sim, positives, ~positives, key=torch.tensor(1))[1][0, 3])  # beyond the cutoff
    False
    """

    dim: int
    cutoff: float = 0.5
    nonzero_loss_cutoff: float = 1.4
    salt: int = 0
    negated_distances: bool = False
    uses: ClassVar[frozenset[str]] = frozenset("SNP")
    is_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive_integer("dim", self.dim)
        checks.positive("cutoff", self.cutoff)
        checks.positive("nonzero_loss_cutoff", self.nonzero_loss_cutoff)
        checks.non_negative_integer("salt", self.salt)
        checks.instance("negated_distances", self.negated_distances, bool)
        checks.floats(self, "cutoff", "nonzero_loss_cutoff")
        checks.integers(self, "dim", "salt")

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        share = neg.logsumexp(self._log_weights(neg.sim))[1].nan_to_num(0.0)
        num_pos = pos.count()
        draws = num_pos + pos.has_self_pair().to(num_pos.dtype)
        draws = torch.where((num_pos > 0) & (neg.sum(share) > 0), draws, 0.0)
        even = 1 / pos.expand(num_pos.clamp(min=1))
        keep_pos = pos.uniform(self.salt) < _at_least_once(even, pos.expand(draws))
        return keep_pos, neg.uniform(self.salt) < _at_least_once(share, neg.expand(draws))

    @override
    def for_negated_distances(self) -> Self:
        return replace(self, negated_distances=True)

    @override
    def negative_lower_bound(self, hardest_pos: Tensor) -> Tensor:
        farthest = self.nonzero_loss_cutoff
        bound = -farthest if self.negated_distances else 1 - farthest**2 / 2
        return torch.where(hardest_pos < torch.inf, bound, torch.inf)

    def _log_weights(self, sim: Tensor) -> Tensor:
        """−log p(D) of pairs up to a constant, −inf for those that are never drawn."""
        distance = -sim if self.negated_distances else (2 - 2 * sim).clamp(min=0).sqrt()
        near = distance.clamp(min=self.cutoff)
        log_density = (self.dim - 2) * near.log() + (self.dim - 3) / 2 * (1 - near**2 / 4).log()
        drawn = (near < self.nonzero_loss_cutoff) & log_density.isfinite()
        return torch.where(drawn, -log_density, -torch.inf)


def _at_least_once(probability: Tensor, draws: Tensor) -> Tensor:
    """1 − (1 − p)^n, exact for small p."""
    return -torch.expm1(draws * torch.log1p(-probability.clamp(max=1.0)).clamp(min=-1e4))
