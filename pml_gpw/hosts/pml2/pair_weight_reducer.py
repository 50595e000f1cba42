"""A pair weighting as a PML reducer: how much each pair's loss counts."""

from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.reducers import MultipleReducers
from torch import Tensor
from typing_extensions import override

from ...precision import at_least_float32, full_precision
from ...weightings import PairWeighting
from .checked_parts import CheckedParts
from .records import Records
from .similarity import DistanceSimilarity

_PAIR_TERMS = ("pos_pair", "neg_pair")
Term = dict[str, Any]


class PairWeightReducer(Records, CheckedParts, MultipleReducers):
    """Weigh the per-pair losses of any PML loss that has pos_pair and neg_pair terms.

    `(1/N) Σ_ij w_ij ℓ_ij` over the pairs of both terms, with the weights w of the
    weighting (eq 1-3) at the pairs' similarities, held constant. The
    miner chooses pairs, the loss gives the loss of one pair, and the reducer its weight:
    ``PairSimilarityLoss`` with
    ``PairWeightReducer(MultiSimilarity())`` after ``MSMiner`` has the gradient of
    ``MSWeightedLoss``. A pair that a loss lists several times shares its weight among them.

    It sees all terms of a loss at once (so it is a ``MultipleReducers``, which PML hands over
    without a copy), because a weight may depend on positives and negatives; a weighting that
    needs both, such as ``Triplet``, weighs nothing in a loss that has one kind. Terms that are
    already reduced, such as regularisers, are added as they are.

    Similarities are the term's own where the loss gives them, as ``PairSimilarityLoss`` does; else
    those of the batch in ``distance``. A reducer is not shown ``ref_emb``: losses of PML can be
    weighed in self-comparison only.

    Args:
        weighting: the weight of each pair.
        distance: for losses of PML, the distance that they use; default cosine.
        **kwargs: as PML's ``BaseReducer``.

    Errors: ValueError for a loss with per-element or per-triplet terms and, as far as it shows,
    for a loss of PML against references.

    >>> import torch
    >>> from pml_gpw.losses import PairSimilarityLoss
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> loss = PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity()))
    >>> loss(torch.rand(8, 4), torch.arange(8) % 2).shape
    torch.Size([])
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {"weighting": (PairWeighting,)}

    def __init__(
        self, weighting: PairWeighting, distance: BaseDistance | None = None, **kwargs: Any
    ) -> None:
        super().__init__(reducers={}, **kwargs)
        self.distance = CosineSimilarity() if distance is None else distance
        self.weighting = weighting

    @override
    def forward(
        self, loss_dict: dict[str, Term], embeddings: Tensor, labels: Tensor | None
    ) -> Tensor:
        self.reset_stats()
        pair_terms: dict[str, Term] = {}
        total = self.zero_loss(embeddings)
        for name, term in loss_dict.items():
            kind = term["reduction_type"]
            if kind == "already_reduced":
                total = total + self.default_reducer({name: term}, embeddings, labels)
            elif self.input_is_zero_loss(term["losses"]):
                continue
            elif kind in _PAIR_TERMS and kind not in pair_terms:
                pair_terms[kind] = term
            else:
                raise ValueError(
                    "loss must have one pos_pair and one neg_pair term for PairWeightReducer, "
                    f"got the term {name!r} of type {kind!r}"
                )
        if not pair_terms:
            return total
        with full_precision(embeddings):
            return total + self._weighted_mean(pair_terms, embeddings)

    def _weighted_mean(self, terms: dict[str, Term], embeddings: Tensor) -> Tensor:
        self.set_losses_size_stat(torch.cat([t["losses"] for t in terms.values()]))
        weights = self._weights(terms, embeddings)
        weighted = [(weights[k] * t["losses"]).sum() for k, t in terms.items()]
        return sum(weighted[1:], weighted[0]) / len(embeddings)

    @torch.no_grad()
    def _weights(self, terms: dict[str, Term], embeddings: Tensor) -> dict[str, Tensor]:
        """The weight of each pair of each term, from an (N, M) matrix of its similarities."""
        similarities = {k: self._similarities(t, embeddings) for k, t in terms.items()}
        columns = 1 + max(int(t["indices"][1].max()) for t in terms.values())
        some = next(iter(similarities.values()))
        sim = some.new_zeros(len(embeddings), columns)
        times = {k: torch.zeros_like(sim) for k in _PAIR_TERMS}  # how often each pair is listed
        for kind, term in terms.items():
            sim[tuple(term["indices"])] = similarities[kind]
            times[kind].index_put_(tuple(term["indices"]), sim.new_ones(()), accumulate=True)
        distance = next(iter(terms.values())).get("distance", self.distance)
        weighting = self.weighting
        if DistanceSimilarity(distance).is_negated_distance:
            weighting = weighting.for_negated_distances()
        weights = weighting.weights(sim, *(times[kind] > 0 for kind in _PAIR_TERMS))
        by_kind = dict(zip(_PAIR_TERMS, weights, strict=True))
        return {k: (by_kind[k] / times[k])[tuple(t["indices"])] for k, t in terms.items()}

    def _similarities(self, term: Term, embeddings: Tensor) -> Tensor:
        if "similarities" in term:
            return term["similarities"]
        anchor, other = term["indices"]
        # No pair of a batch with itself looks like these.
        if int(other.max()) >= len(embeddings) or bool((anchor == other).any()):
            raise ValueError(
                "loss must compare the batch with itself for PairWeightReducer, got pairs with "
                f"other references (the last is {int(other.max())}, the batch has "
                f"{len(embeddings)})"
            )
        wide = at_least_float32(embeddings)
        return DistanceSimilarity(self.distance).matrix(wide, wide)[anchor, other]
