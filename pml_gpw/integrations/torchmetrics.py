"""The metrics of :mod:`pml_gpw.evaluation` as metrics of torchmetrics.

Needs ``pip install "pml-gpw[torchmetrics]"``. Shapes: n embeddings of an update, D dims.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from .. import checks
from ..evaluation import map_at_r, r_precision, recall_at_k, retrieval_metrics
from ..evaluation.options import (
    DEFAULT,
    Options,
    check_backend_and_metric,
    checked_ks,
)
from ..optional import not_installed

try:
    from torchmetrics import Metric
    from torchmetrics.utilities.distributed import gather_all_tensors
except ImportError as error:
    raise not_installed("torchmetrics", "torchmetrics") from error

__all__ = ["MAPAtR", "RPrecision", "RecallAtK", "RetrievalMetrics"]


class _EmbeddingMetric(Metric):
    """Embeddings and labels in lists; with a gallery, queries and those that they search in."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    embeddings: list[Tensor]
    labels: list[Tensor]
    gallery: list[Tensor]
    gallery_labels: list[Tensor]

    def __init__(self, backend: str = "auto", metric: str = "cosine", **kwargs: Any) -> None:
        check_backend_and_metric(backend, metric)
        super().__init__(**{"dist_sync_fn": gather_rows, **kwargs})
        self.backend = backend
        self.metric = metric
        for state in ("embeddings", "labels", "gallery", "gallery_labels"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @override
    def update(self, embeddings: Tensor, labels: Tensor, gallery: bool = False) -> None:
        """Take embeddings (n, D) and their integer labels (n,); those of the gallery, or queries.

        Errors: ValueError for NaN or Inf, other shapes and labels that are not integers.
        """
        checks.embedding_matrix("embeddings", embeddings)
        labels = checks.integer_labels("labels", labels, len(embeddings)).to(embeddings.device)
        rows, numbers = (
            (self.gallery, self.gallery_labels) if gallery else (self.embeddings, self.labels)
        )
        if rows and rows[0].shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"embeddings must have the {rows[0].shape[1]} dimensions of those before, "
                f"got {embeddings.shape[1]}"
            )
        rows.append(embeddings.detach().clone())  # the memory may be used again
        numbers.append(labels.clone())

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Figure and axes of torchmetrics: of ``val``, a value or several, or of ``compute()``."""
        return self._plot(val, ax)

    def _task(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Queries and their labels, and the gallery and its labels, or None."""
        queries, labels = _joined(self.embeddings), _joined(self.labels)
        if queries is None or labels is None:
            raise ValueError("embeddings must be given before a metric of them, got none")
        return queries, labels, _joined(self.gallery), _joined(self.gallery_labels)

    def _options(self) -> dict[str, Any]:
        return {"backend": self.backend, "metric": self.metric}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)


class RecallAtK(_EmbeddingMetric):
    """Recall@K: the share of queries with a relevant one among their K nearest.

    ``update(embeddings, labels)`` takes embeddings (n, D) and integer labels (n,). Each embedding
    is a query to all others. Embeddings of ``update(embeddings, labels, gallery=True)`` are a
    gallery, to which the others are queries. The value is that of
    :func:`pml_gpw.evaluation.recall_at_k` of all that was given, exact, also over processes, which
    gather all embeddings; :func:`pml_gpw.evaluation.retrieval_metrics` with a ``group`` divides the
    search among processes. It takes one search, at ``compute``; call ``update`` rather than the
    metric, which would search within each batch as well. ``plot()`` draws the value, and
    ``plot([…])`` those of several epochs.

    Args:
        k: K, at most the number of embeddings that a query is compared with.
        backend: "torch", "faiss" or "auto", as :func:`pml_gpw.evaluation.recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        **kwargs: as ``torchmetrics.Metric``.

    Errors: ValueError for ``k`` < 1, an unknown backend or metric, and in ``update`` and
    ``compute`` for what ``recall_at_k`` refuses; of a metric that was given nothing.

    >>> import torch
    >>> from pml_gpw.integrations.torchmetrics import RecallAtK
    >>> recall = RecallAtK(k=2, metric="l2")
    >>> recall.update(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    >>> recall.update(torch.tensor([[3.0], [7.0]]), torch.tensor([0, 1]))
    >>> recall.compute()
    tensor(0.7500)
    """

    def __init__(
        self, k: int = 1, backend: str = "auto", metric: str = "cosine", **kwargs: Any
    ) -> None:
        super().__init__(backend, metric, **kwargs)
        checks.positive_integer("k", k)
        self.k = k

    @override
    def compute(self) -> Tensor:
        """Recall@K in 0..1; nan where no query has a relevant one."""
        return self._scalar(recall_at_k(*self._task(), ks=(self.k,), **self._options())[self.k])


class RPrecision(_EmbeddingMetric):
    """R-precision: the share of relevant ones among the R nearest, R relevant in all.

    How it is used, and what it costs, is as of :class:`RecallAtK`; the value is that of
    :func:`pml_gpw.evaluation.r_precision`.

    Args:
        backend: "torch", "faiss" or "auto", as :func:`pml_gpw.evaluation.recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        **kwargs: as ``torchmetrics.Metric``.

    >>> import torch
    >>> from pml_gpw.integrations.torchmetrics import RPrecision
    >>> precision = RPrecision(metric="l2")
    >>> precision.update(torch.zeros(1, 1), torch.tensor([0]))
    >>> precision.update(torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 0]), gallery=True)
    >>> precision.compute()
    tensor(0.5000)
    """

    @override
    def compute(self) -> Tensor:
        """R-precision in 0..1; nan where no query has a relevant one."""
        return self._scalar(r_precision(*self._task(), **self._options()))


class MAPAtR(_EmbeddingMetric):
    """MAP@R: the mean average precision at R, the number of relevant ones of each query.

    How it is used, and what it costs, is as of :class:`RecallAtK`; the value is that of
    :func:`pml_gpw.evaluation.map_at_r`.

    Args:
        backend: "torch", "faiss" or "auto", as :func:`pml_gpw.evaluation.recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        **kwargs: as ``torchmetrics.Metric``.

    Reference: Musgrave, Belongie, Lim, A metric learning reality check, 2020, section 3.2.

    >>> import torch
    >>> from pml_gpw.integrations.torchmetrics import MAPAtR
    >>> precision = MAPAtR(metric="l2")
    >>> precision.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1]))
    >>> precision.compute()
    tensor(0.7500)
    """

    @override
    def compute(self) -> Tensor:
        """MAP@R in 0..1; nan where no query has a relevant one."""
        return self._scalar(map_at_r(*self._task(), **self._options()))


class RetrievalMetrics(_EmbeddingMetric):
    """Several metrics in one search: Recall@K, R-precision and MAP@R, or others by name.

    How it is used, and what it costs, is as of :class:`RecallAtK`; the values are those of
    :func:`pml_gpw.evaluation.retrieval_metrics`. ``compute`` gives a dict, which ``log_dict`` of
    Lightning takes.

    Args:
        ks: the K of Recall@K, each at most the number of embeddings that a query is compared with.
        backend: "torch", "faiss" or "auto", as :func:`pml_gpw.evaluation.recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        metrics: names of metrics, as of :func:`pml_gpw.evaluation.retrieval_metrics`.
        **kwargs: as ``torchmetrics.Metric``.

    >>> import torch
    >>> from pml_gpw.integrations.torchmetrics import RetrievalMetrics
    >>> metrics = RetrievalMetrics(ks=(1, 2), metric="l2")
    >>> metrics.update(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 1, 0, 1]))
    >>> {name: float(value) for name, value in metrics.compute().items()}
    {'recall_at_1': 0.0, 'recall_at_2': 0.75, 'r_precision': 0.0, 'map_at_r': 0.0}
    """

    def __init__(
        self,
        ks: Iterable[int] = (1, 2, 4, 8),
        backend: str = "auto",
        metric: str = "cosine",
        metrics: Sequence[str] = DEFAULT,
        **kwargs: Any,
    ) -> None:
        super().__init__(backend, metric, **kwargs)
        self.ks = checked_ks(ks)
        self.names = Options(self.ks, backend, metric, metrics).metrics

    @override
    def compute(self) -> dict[str, Tensor]:
        """``recall_at_1`` and so on for each name and K, each in 0..1 or nan."""
        options = {"ks": self.ks, "metrics": self.names, **self._options()}
        values = retrieval_metrics(*self._task(), **options)
        return {name: self._scalar(value) for name, value in values.items()}


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """The rows of each process, where some may have none and know neither dtype nor dims."""
    kinds: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(kinds, (rows.dtype, rows.shape[1:]) if len(rows) else None, group)
    known = [kind for kind in kinds if kind is not None]
    if known and not len(rows):
        dtype, row = known[0]
        rows = rows.new_empty((0, *row), dtype=dtype)
    gathered: list[Tensor] = gather_all_tensors(rows, group)
    return gathered


def _joined(state: list[Tensor] | Tensor) -> Tensor | None:
    """A state as one tensor; None where nothing was given. After a synchronisation it is one."""
    rows = state if isinstance(state, Tensor) else torch.cat(state) if state else None
    return None if rows is None or not len(rows) else rows
