"""A pair weighting as a PML reducer: how much each pair's loss counts."""

from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.reducers import MultipleReducers
from torch import Tensor

from ..hyperparameters import Hyperparameters
from ..inputs import full_precision
from ..similarity import on_scale_of, similarity_matrix
from ..weightings import PairWeighting

_PAIR_TERMS = ("pos_pair", "neg_pair")


class PairWeightReducer(Hyperparameters, MultipleReducers):
    """Weigh the per-pair losses of any PML loss that has pos_pair and neg_pair terms.

    Equation: (1/N) Σ_ij w_ij ℓ_ij over the pairs of both terms, with the weights w of the
    weighting (eq 1-3) at the pairs' similarities, held constant. Miner = which pairs, loss = what
    is paid for one, reducer = how much it counts: ``PairSimilarityLoss`` with
    ``PairWeightReducer(MultiSimilarity())`` after ``MSMiner`` has the gradient of
    ``MSWeightedLoss``.

    It sees all terms of a loss at once (so it is a ``MultipleReducers``, which PML hands over
    without a copy), because a weight may depend on positives and negatives. Terms that are
    already reduced, such as regularisers, are added as they are.

    Similarities are taken from the term's own "similarities" where the loss gives them, as
    ``PairSimilarityLoss`` does; else from the batch through ``distance``. A reducer is not shown
    ``ref_emb``, so PML's losses are weighed in self-comparison only.

    Args:
        weighting: the weight of each pair.
        distance: the distance that the loss uses; default cosine.
        **kwargs: as PML's ``BaseReducer``.

    Errors: ValueError for a loss with per-element or per-triplet terms and for pair indices
    beyond the batch.
    """

    def __init__(
        self, weighting: PairWeighting, distance: BaseDistance | None = None, **kwargs: Any
    ) -> None:
        if not isinstance(weighting, PairWeighting):
            raise ValueError(f"weighting must be a PairWeighting, got {weighting!r}")
        super().__init__(reducers={}, **kwargs)
        self.distance = CosineSimilarity() if distance is None else distance
        self.hold("weighting", weighting)

    def forward(
        self, loss_dict: dict[str, dict[str, Any]], embeddings: Tensor, labels: Tensor | None
    ) -> Tensor:
        """See PML's ``BaseReducer``."""
        self.reset_stats()
        pair_terms: dict[str, dict[str, Any]] = {}
        total = self.zero_loss(embeddings)
        for name, term in loss_dict.items():
            kind = term["reduction_type"]
            if kind == "already_reduced":
                total = total + self.default_reducer({name: term}, embeddings, labels)
            elif kind in _PAIR_TERMS and kind not in pair_terms:
                pair_terms[kind] = term
            elif not self.input_is_zero_loss(term["losses"]):
                raise ValueError(
                    "loss must have one pos_pair and one neg_pair term for PairWeightReducer, "
                    f"got the term {name!r} of type {kind!r}"
                )
        with full_precision(embeddings):
            return total + self._weighted_mean(pair_terms, embeddings)

    def _weighted_mean(self, terms: dict[str, dict[str, Any]], embeddings: Tensor) -> Tensor:
        terms = {k: t for k, t in terms.items() if not self.input_is_zero_loss(t["losses"])}
        if not terms:
            return self.zero_loss(embeddings)
        self.set_losses_size_stat(torch.cat([t["losses"] for t in terms.values()]))
        weights = self._weights(terms, embeddings)
        weighted = [(weights[k] * t["losses"]).sum() for k, t in terms.items()]
        return sum(weighted[1:], weighted[0]) / len(embeddings)

    @torch.no_grad()
    def _weights(self, terms: dict[str, dict[str, Any]], embeddings: Tensor) -> dict[str, Tensor]:
        """The weight of each pair of each term, from an (N, M) matrix of its similarities."""
        similarities = {k: self._similarities(t, embeddings) for k, t in terms.items()}
        columns = 1 + max(int(t["indices"][1].max()) for t in terms.values())
        some = next(iter(similarities.values()))
        sim = some.new_zeros(len(embeddings), columns)
        masks = {k: torch.zeros_like(sim, dtype=torch.bool) for k in _PAIR_TERMS}
        for kind, term in terms.items():
            anchor, other = term["indices"]
            sim[anchor, other] = similarities[kind]
            masks[kind][anchor, other] = True
        weighting = on_scale_of(self.distance, self.weighting)
        weights = weighting.weights(sim, masks["pos_pair"], masks["neg_pair"])
        by_kind = dict(zip(_PAIR_TERMS, weights, strict=True))
        return {k: by_kind[k][tuple(t["indices"])] for k, t in terms.items()}

    def _similarities(self, term: dict[str, Any], embeddings: Tensor) -> Tensor:
        if "similarities" in term:
            return term["similarities"]
        anchor, other = term["indices"]
        if int(other.max()) >= len(embeddings):
            raise ValueError(
                f"loss must compare the batch with itself for PairWeightReducer, got a pair with "
                f"reference {int(other.max())} in a batch of {len(embeddings)}"
            )
        embeddings = (
            embeddings.double() if embeddings.dtype == torch.float64 else embeddings.float()
        )
        return similarity_matrix(self.distance, embeddings, embeddings)[anchor, other]
