"""The gradient of any PML loss with respect to the similarities of pairs.

A copy of the loss is called with embeddings that carry their index as one more coordinate, and
with a distance that looks similarities up by these indices in a matrix given from outside. So
autograd ends at that matrix, whichever pairs the loss picks, and in whatever order.
Shapes: N anchors, M references, D dims.
"""

import copy
from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance, LpDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.overrides import TorchFunctionMode

from ..similarity import is_inner_product


class NotThroughPairs(Exception):
    """The loss looks at something else than similarities of pairs."""


def check_loss(loss: Any) -> None:
    """Raise a ValueError unless ``loss`` is a PML loss and not a wrapper of one."""
    if not isinstance(loss, BaseMetricLossFunction):
        raise ValueError(
            "loss must be a pytorch-metric-learning loss (for a wrapper such as CrossBatchMemory "
            f"or SelfSupervisedLoss: the loss inside it), got {type(loss).__name__}"
        )


def copy_of(module: Any) -> Any:
    """A copy to experiment with: nothing that is done to it reaches the original or its hooks."""
    no_hooks = {
        id(hooks): type(hooks)()
        for part in module.modules()
        for name, hooks in vars(part).items()
        if name.endswith("_hooks") and isinstance(hooks, dict)
    }
    return copy.deepcopy(module, no_hooks)


def reads_similarity(distance: BaseDistance) -> bool:
    """Whether the distance is a function of the cosine similarity or inner product."""
    return is_inner_product(distance) or _is_euclidean(distance)


def _is_euclidean(distance: BaseDistance) -> bool:
    return type(distance) is LpDistance and distance.p == 2 and distance.normalize_embeddings


def similarities_of(distance: BaseDistance, x: Tensor, y: Tensor) -> Tensor:
    """Similarities (N, M) that the distance is read as a function of.

    Inner products for cosine and dot product similarity (of whatever power) and, normalised, for
    the Euclidean distance D = √(2 − 2S); −D for others.
    """
    x, y = distance.maybe_normalize(x), distance.maybe_normalize(y)
    if distance.is_inverted or _is_euclidean(distance):
        return x @ y.T
    return -distance.compute_mat(x, y)


def similarity_gradient(
    loss: BaseMetricLossFunction,
    sim: Tensor,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: Any = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient (N, M) with respect to ``sim`` (N, M).

    ``embeddings`` (N, D), and ``ref_emb`` (M, D) if the references are others, matter to a loss
    only that looks at more than similarities. The loss is left as it was.
    Errors: ValueError for such a loss.
    """
    twin = copy_of(loss)
    twin.embedding_regularizer = None
    leaf = sim.detach().clone().requires_grad_()
    seen = [e.detach().clone().requires_grad_() for e in (embeddings, ref_emb) if e is not None]
    tagged = _tagged(seen[0])
    tagged_ref = None if ref_emb is None else _tagged(seen[1])
    lookup = _Lookup(twin.distance, leaf, tagged, tagged if tagged_ref is None else tagged_ref)
    lookup.replace(twin.distance)
    devices = [leaf.device] if leaf.is_cuda else []
    try:
        with torch.random.fork_rng(devices), _PairwiseCosine(lookup), torch.enable_grad():
            value = twin(tagged, labels, indices_tuple, tagged_ref, ref_labels)
    except (NotThroughPairs, RuntimeError) as error:
        raise _refused(loss, str(error).splitlines()[0]) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError("loss must have a reducer that gives one number, as MeanReducer does")
    if not value.requires_grad:
        return value.detach(), torch.zeros_like(sim)
    gradient, *others = torch.autograd.grad(value.sum(), [leaf, *seen], allow_unused=True)
    if any(other is not None and other.any() for other in others):
        raise _refused(loss, "its gradient reaches the embeddings beside them")
    return value.detach(), torch.zeros_like(sim) if gradient is None else gradient


def _refused(loss: Any, why: str) -> ValueError:
    return ValueError(
        f"loss must act through the similarities of pairs alone, got {type(loss).__name__} ({why})"
    )


def _tagged(embeddings: Tensor) -> Tensor:
    """With the row number as last coordinate."""
    index = torch.arange(len(embeddings), device=embeddings.device, dtype=embeddings.dtype)
    return torch.cat([embeddings, index.unsqueeze(1)], dim=1)


class _Lookup:
    """Distances by index from a matrix of similarities."""

    def __init__(self, distance: BaseDistance, sim: Tensor, x: Tensor, y: Tensor) -> None:
        self.sim, self.x, self.y = sim, x, y  # x and y tagged
        self.matrix = _as_distances(distance, sim)

    def rows(self, tagged: Tensor) -> Tensor:
        """The row numbers of tagged embeddings (…, D + 1)."""
        if tagged.shape[-1] != self.x.shape[-1]:
            raise NotThroughPairs("it compares embeddings with other vectors, such as proxies")
        return tagged[..., -1].detach().long()

    def compute_mat(self, query: Tensor, reference: Tensor) -> Tensor:
        """The distances (…, N, M) of tagged embeddings; a copy, as losses write into it."""
        if query is self.x and reference is self.y:
            return self.matrix.clone()
        i, j = self.rows(query), self.rows(reference)
        return self.matrix[i.unsqueeze(-1), j.unsqueeze(-2)]

    def pairwise_distance(self, query: Tensor, reference: Tensor) -> Tensor:
        """The distances (K,) of tagged embeddings, one by one."""
        return self.matrix[self.rows(query), self.rows(reference)]

    def replace(self, distance: BaseDistance) -> None:
        """Let the distance look up. Its type becomes a subclass, so that no loss takes it for one
        whose similarities it may compute by itself."""
        methods = {
            "maybe_normalize": lambda _, embeddings, dim=1, **kwargs: embeddings,
            "compute_mat": lambda _, query, reference: self.compute_mat(query, reference),
            "pairwise_distance": lambda _, query, reference: self.pairwise_distance(
                query, reference
            ),
        }
        distance.__class__ = type("Recorded", (type(distance),), methods)
        distance.collect_stats = False


class _PairwiseCosine(TorchFunctionMode):
    """Losses that call torch's cosine similarity instead of their distance look up as well."""

    def __init__(self, lookup: _Lookup) -> None:
        super().__init__()
        self.lookup = lookup

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is cosine_similarity and not kwargs:
            i, j = (self.lookup.rows(tagged) for tagged in args)
            return self.lookup.sim[i, j]
        return func(*args, **(kwargs or {}))


def _as_distances(distance: BaseDistance, sim: Tensor) -> Tensor:
    """What ``compute_mat`` of the distance gives for these similarities, differentiable."""
    if distance.is_inverted:
        return sim
    if not _is_euclidean(distance):
        return -sim
    squared = (2 - 2 * sim).clamp(min=0)
    apart = squared > 0  # the distance of equal points has no gradient
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
