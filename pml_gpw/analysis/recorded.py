"""The gradient of any PML loss with respect to the similarities of pairs.

A copy of the loss is called with embeddings that carry their index as one more coordinate, and
with a distance that looks similarities up by these indices in a matrix given from outside. So
autograd ends at that matrix, whichever pairs the loss picks, and in whatever order.
Shapes: N anchors, M references, D dims.
"""

import copy
from contextlib import AbstractContextManager
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
    parts = module.modules() if isinstance(module, torch.nn.Module) else ()
    no_hooks = {
        id(hooks): type(hooks)()
        for part in parts
        for name, hooks in vars(part).items()
        if name.endswith("_hooks") and isinstance(hooks, dict)
    }
    return copy.deepcopy(module, no_hooks)


def same_random_numbers(tensor: Tensor) -> AbstractContextManager[None]:
    """A context after which torch's random numbers go on as if nothing had been drawn in it."""
    return torch.random.fork_rng([tensor.device] if tensor.is_cuda else [])


def reads_similarity(distance: BaseDistance) -> bool:
    """Whether the distance is a function of the cosine similarity or inner product."""
    return is_inner_product(distance) or _is_euclidean(distance)


def _is_euclidean(distance: BaseDistance) -> bool:
    return type(distance) is LpDistance and distance.p == 2 and distance.normalize_embeddings


def similarities_and_distances(
    distance: BaseDistance, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """The similarities S (N, M) that a distance is read as a function of, and its own matrix.

    S is the inner product for the Euclidean distance of normalised embeddings, D = √(2 − 2S); the
    matrix itself where larger is closer; −D for others.
    """
    x, y = distance.maybe_normalize(x), distance.maybe_normalize(y)
    matrix = distance.compute_mat(x, y)
    if _is_euclidean(distance):
        return x @ y.T, matrix
    return (matrix if distance.is_inverted else -matrix), matrix


def distances_from(distance: BaseDistance, sim: Tensor) -> Tensor:
    """The matrix of a distance that ``reads_similarity`` for similarities ``sim`` (N, M)."""
    return (2 - 2 * sim).clamp(min=0).sqrt() if _is_euclidean(distance) else sim


def similarity_gradient(
    loss: BaseMetricLossFunction,
    matrix: Tensor,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: Any = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    own: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient (N, M) with respect to the similarities.

    ``matrix`` (N, M) is that of the loss's distance; ``embeddings`` (N, D), and ``ref_emb``
    (M, D) if the references are others, matter to a loss only that looks at more than distances.
    The loss is left as it was. Errors: ValueError for such a loss.
    """
    twin = copy_of(loss)
    twin.embedding_regularizer = None
    with torch.inference_mode(False), torch.enable_grad(), same_random_numbers(matrix):
        leaf = matrix.detach().clone().requires_grad_()
        seen = [e.detach().clone().requires_grad_() for e in (embeddings, ref_emb) if e is not None]
        tagged = _tagged(seen[0])
        tagged_ref = None if ref_emb is None else _tagged(seen[1])
        lookup = _Lookup(leaf, tagged, tagged if tagged_ref is None else tagged_ref)
        lookup.replace(twin.distance)
        labels, ref_labels, own = (_plain(t) for t in (labels, ref_labels, own))
        if indices_tuple is not None:
            indices_tuple = tuple(_plain(index) for index in indices_tuple)
        # Only the losses of this package know own, and only they are given it.
        extra = {} if own is None else {"own": own}
        try:
            with _PairwiseCosine(lookup):
                value = twin(tagged, labels, indices_tuple, tagged_ref, ref_labels, **extra)
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
    return value.detach(), _by_chain_rule(loss.distance, leaf.detach(), gradient)


def _plain(value: Any) -> Any:
    """A tensor that autograd may save, also where it comes from inference mode."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _by_chain_rule(distance: BaseDistance, matrix: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with respect to S from that with respect to the distance's matrix."""
    if distance.is_inverted:
        return gradient
    if not _is_euclidean(distance):
        return -gradient
    # dD/dS = −1/D; the distance of equal points has no gradient.
    return torch.where(matrix > 0, -gradient / torch.where(matrix > 0, matrix, 1.0), 0.0)


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

    def compute_mat(self, query: Tensor, reference: Tensor) -> Tensor:
        """The distances (…, N, M) of tagged embeddings; a copy, as losses write into it."""
        if query is self.x and reference is self.y:
            return self.matrix.clone()
        i, j = self.rows(query, self.x), self.rows(reference, self.y)
        return self.matrix[i.unsqueeze(-1), j.unsqueeze(-2)]

    def pairwise_distance(self, query: Tensor, reference: Tensor) -> Tensor:
        """The distances (K,) of tagged embeddings, one by one."""
        return self.matrix[self.rows(query, self.x), self.rows(reference, self.y)]

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
            return self.lookup.pairwise_distance(*args)
        return func(*args, **(kwargs or {}))
