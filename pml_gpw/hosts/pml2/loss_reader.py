"""The gradient of any PML loss with respect to the similarities of pairs.

A copy of the loss is called with embeddings that carry their index as one more coordinate, and
with a distance that looks similarities up by these indices in a matrix given from outside. So
autograd ends at that matrix, whichever pairs the loss picks, and in whatever order.
Shapes: N anchors, M references, D dims.
"""

from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import MultipleReducers, SumReducer
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from ...engine import PairBatch, Similarity
from ...modules.copies import copy_of, same_random_numbers
from ...modules.gpw_loss import PairLoss
from .similarity import DistanceSimilarity


class NotThroughPairs(Exception):
    """The loss looks at something else than similarities of pairs."""


def is_loss(loss: Any) -> bool:
    """True for a loss of PML, and not for a wrapper of one."""
    return isinstance(loss, BaseMetricLossFunction)


class PMLReader:
    """The reader of PML's losses, and of ours as its objects, for :mod:`pml_gpw.analysis`.

    >>> from pytorch_metric_learning.losses import NTXentLoss
    >>> PMLReader().measure(NTXentLoss()).is_negated_distance
    False
    """

    def measure(self, loss: BaseMetricLossFunction) -> Similarity:
        """The similarity of the loss's distance."""
        return DistanceSimilarity(copy_of(loss.distance))

    def summing(self, loss: BaseMetricLossFunction) -> BaseMetricLossFunction:
        """A copy of the loss that sums its terms, whatever reducer it had."""
        twin = copy_of(loss)
        sums = {name: SumReducer() for name in twin.sub_loss_names()}
        twin.reducer = SumReducer() if len(sums) == 1 else MultipleReducers(sums)
        return twin

    def gradient(
        self, loss: Any, sim: Tensor, batch: PairBatch, indices_tuple: Any = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient (N, M) with respect to the similarities ``sim`` (N, M).

        The embeddings of the ``batch`` matter only to a loss that looks at more than distances.
        """
        return similarity_gradient(loss, sim, batch, indices_tuple)


def similarity_gradient(
    loss: BaseMetricLossFunction, sim: Tensor, batch: PairBatch, indices_tuple: Any = None
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient (N, M) with respect to the similarities.

    The embeddings of the ``batch`` matter only to a loss that looks at more than distances. Losses
    of this package weigh the pairs of the batch, others those of ``indices_tuple``, which is theirs
    to read. The loss is left as it was.
    Errors: ValueError for a loss that does not act through similarities of pairs alone.
    """
    negated = DistanceSimilarity(loss.distance).is_negated_distance
    matrix = -sim if negated else sim
    twin = copy_of(loss)
    twin.embedding_regularizer = None
    for part in twin.modules():
        if isinstance(part, PairLoss):
            part.pass_silently()
    with torch.inference_mode(False), torch.enable_grad(), same_random_numbers(matrix):
        leaf = matrix.detach().clone().requires_grad_()
        seen = [batch.anchors.detach().clone().requires_grad_()]
        tagged = tagged_references = _tagged(seen[0])
        if batch.references is not batch.anchors:
            seen.append(batch.references.detach().clone().requires_grad_())
            tagged_references = _tagged(seen[1])
        _Lookup(leaf, tagged, tagged_references).replace(twin.distance)
        try:
            with _PairwiseCosine(twin.distance):
                value = _called(twin, batch, tagged, tagged_references, indices_tuple)
        except NotImplementedError:  # of a reducer
            raise
        except (NotThroughPairs, RuntimeError, IndexError) as error:
            raise _refused(loss, str(error).splitlines()[0]) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError("loss must have a reducer that gives one number, as MeanReducer does")
        if not value.requires_grad:
            return value.detach(), torch.zeros_like(leaf).detach()
        gradient, *others = torch.autograd.grad(value.sum(), [leaf, *seen], allow_unused=True)
    if any(other is not None and other.any() for other in others):
        raise _refused(loss, "its gradient reaches the embeddings beside them")
    if gradient is None:
        gradient = torch.zeros_like(leaf)
    return value.detach(), -gradient if negated else gradient


def _called(
    twin: BaseMetricLossFunction,
    batch: PairBatch,
    anchors: Tensor,
    references: Tensor,
    indices_tuple: Any,
) -> Any:
    """The loss of tagged embeddings in place of those of the batch."""
    if isinstance(twin, PairLoss):
        return twin(batch.with_embeddings(anchors, references))
    if indices_tuple is not None:
        indices_tuple = tuple(_saveable(index) for index in indices_tuple)
    labels, ref_labels = _saveable(batch.labels), _saveable(batch.reference_labels)
    if references is anchors:  # as it is called in self-comparison
        return twin(anchors, labels, indices_tuple)
    return twin(anchors, labels, indices_tuple, references, ref_labels)


def _saveable(value: Any) -> Any:
    """A tensor that autograd may save, also where it comes from inference mode."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _refused(loss: Any, why: str) -> ValueError:
    return ValueError(
        f"loss must act through the similarities of pairs alone, got {type(loss).__name__} ({why})"
    )


def _tagged(embeddings: Tensor) -> Tensor:
    """With the row number as last coordinate."""
    index = torch.arange(len(embeddings), device=embeddings.device, dtype=embeddings.dtype)
    return torch.cat([embeddings, index.unsqueeze(1)], dim=1)


class _Lookup:
    """Distances by index from a matrix."""

    def __init__(self, matrix: Tensor, x: Tensor, y: Tensor) -> None:
        self.matrix, self.x, self.y = matrix, x, y  # x and y tagged

    def rows(self, tagged: Tensor, all_of_them: Tensor) -> Tensor:
        """The row numbers of tagged embeddings (…, D + 1) that were picked from all of them."""
        if tagged.shape[-1] != all_of_them.shape[-1]:
            raise NotThroughPairs("it compares embeddings with other vectors, such as proxies")
        tags = tagged[..., -1].detach()
        index = tags.round().long().clamp(0, len(all_of_them) - 1)
        if not torch.equal(all_of_them[index].detach(), tagged.detach()):
            raise NotThroughPairs("it changes embeddings before it compares them")
        return index

    def all_distances(self, query: Tensor, reference: Tensor | None = None) -> Tensor:
        """The distances (…, N, M) of tagged embeddings; a copy, as losses write into it."""
        reference = query if reference is None else reference
        if query is self.x and reference is self.y:
            return self.matrix.clone()
        i, j = self.rows(query, self.x), self.rows(reference, self.y)
        return self.matrix[i.unsqueeze(-1), j.unsqueeze(-2)]

    def distances_one_by_one(self, query: Tensor, reference: Tensor) -> Tensor:
        """The distances (K,) of tagged embeddings."""
        return self.matrix[self.rows(query, self.x), self.rows(reference, self.y)]

    def replace(self, distance: BaseDistance) -> None:
        """Let the distance look up. Its type becomes a subclass, so that no loss takes it for one
        whose similarities it may compute by itself."""
        power = distance.power

        def before_power(values: Tensor) -> Tensor:
            return values if power == 1 else values ** (1 / power)

        methods = {
            "forward": lambda _, query, reference=None: self.all_distances(query, reference),
            "maybe_normalize": lambda _, embeddings, dim=1, **kwargs: embeddings,
            "compute_mat": lambda _, *pair: before_power(self.all_distances(*pair)),
            "pairwise_distance": lambda _, *pair: before_power(self.distances_one_by_one(*pair)),
        }
        distance.__class__ = type("LookedUp", (type(distance),), methods)
        distance.collect_stats = False
        distance.normalize_embeddings = False  # tags are looked up as they are


class _PairwiseCosine(TorchFunctionMode):
    """Losses that call torch's cosine similarity instead of their distance look up as well."""

    def __init__(self, distance: BaseDistance) -> None:
        super().__init__()
        self.distance = distance

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is cosine_similarity and not kwargs:
            return self.distance.pairwise_distance(*args)
        return func(*args, **(kwargs or {}))
