"""Recall@K where pytorch-metric-learning (PML) expects its accuracies."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import (
    EQUALITY,
    AccuracyCalculator,
    maybe_get_avg_of_avgs,
    nan_accuracy,
)
from torch import Tensor

from .knn import MetricKNN
from .lone import has_relevant, warn_of_lone
from .metrics import METRICS
from .neighbors import BACKENDS, import_faiss
from .ranks import first_relevant_ranks
from .retrieval import (
    Retrieval,
    checked_choice,
    checked_ks,
    checked_retrieval,
    embeddings,
    within_depth,
)

Array = Tensor | np.ndarray


class RecallCalculator(AccuracyCalculator):
    """Recall@K as metrics ``recall_at_1``, ``recall_at_2``, ... of a PML accuracy calculator.

    The values of :func:`recall_at_k`, for PML's testers and hooks. PML's own metrics can be asked
    for beside them; PML computes those, from neighbours in the order of the same ``metric``, and
    no more neighbours than they need.

    With a ``label_comparison_fn``, a reference is relevant where that says so, and Recall@K comes
    from PML's float32 neighbour lists; otherwise labels are integers and Recall@K is exact.

    Args:
        ks: the K to compute.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: "cosine", "dot" or "l2".
        include: names of metrics to compute. Where none of them is a Recall@K, all of ``ks`` are
            computed as well.
        exclude: names of metrics not to compute.
        device: where to compute; where the queries are, if not given.
        knn_func: PML's search for neighbours, if its own metrics are to have another one.
        kwargs: the other arguments of PML's ``AccuracyCalculator``: ``return_per_class``,
            ``avg_of_avgs``, ``k``, ``label_comparison_fn``, ``kmeans_func``.

    Raises:
        ValueError: for ``ks``, names, a backend or metric that cannot be.
        TypeError: for arguments that PML does not know.
        ImportError: for ``backend="faiss"`` without faiss.
    """

    def __init__(
        self,
        ks: Iterable[int] = (1, 2, 4, 8),
        backend: str = "auto",
        metric: str = "cosine",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        device: torch.device | str | None = None,
        knn_func: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        checked_choice("backend", backend, BACKENDS)
        checked_choice("metric", metric, METRICS)
        if backend == "faiss":
            import_faiss()  # better now than after an epoch
        self.backend, self.metric = backend, metric
        self.recalls = {f"recall_at_{k}": k for k in checked_ks(ks)}
        for name, k in self.recalls.items():  # PML finds metrics by the names of attributes
            setattr(self, f"calculate_{name}", partial(self._recall_from_lists, k))
        if isinstance(include, (tuple, list)) and not self.recalls.keys() & set(include):
            include = (*include, *self.recalls)
        self.given_device = None if device is None else torch.device(device)
        super().__init__(
            include=include,
            exclude=exclude,
            device=self.given_device or torch.device("cpu"),
            # PML's default for knn_func cannot even be made without faiss.
            knn_func=MetricKNN(metric, backend) if knn_func is None else knn_func,
            **kwargs,
        )

    @torch.no_grad()
    def get_accuracy(
        self,
        query: Array,
        query_labels: Array,
        reference: Array | None = None,
        reference_labels: Array | None = None,
        ref_includes_query: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The metrics by name: a number each, or a list over classes with ``return_per_class``.

        Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D),
        ``reference_labels`` (M,). Without a reference, or with ``ref_includes_query``, query i is
        reference i and is not compared with it. Queries without a relevant reference are left
        out of the means, and a warning says how many.

        Raises:
            ValueError: for names that were not chosen at construction, and for inputs as in
                :func:`recall_at_k`.
        """
        self.check_primary_metrics(include, exclude)
        metrics = self.get_function_dict(include, exclude)
        if self.label_comparison_fn is EQUALITY:
            task = checked_retrieval(
                query,
                query_labels,
                reference,
                reference_labels,
                ref_includes_query,
                self.given_device,
            )
            values = self._exact_recalls(
                task, {n: k for n, k in self.recalls.items() if n in metrics}
            )
            values |= self._from_pml(task, [name for name in metrics if name not in values])
        else:
            values = self._from_lists(
                query, query_labels, reference, reference_labels, ref_includes_query, [*metrics]
            )
        self.curr_function_dict = metrics
        return {name: values[name] for name in metrics}

    def _exact_recalls(self, task: Retrieval, recalls: dict[str, int]) -> dict[str, Any]:
        if not recalls:
            return {}
        within_depth(recalls.values(), task.depth)
        answerable = has_relevant(task)
        warn_of_lone(answerable, stacklevel=4)
        if not answerable.any():
            nan = nan_accuracy(task.query_labels.unique(), self.return_per_class)
            return dict.fromkeys(recalls, nan)
        task = task.select(answerable)
        ranks = first_relevant_ranks(task, (*recalls.values(),), self.metric, self.backend)
        return {name: self._mean(ranks < k, task.query_labels) for name, k in recalls.items()}

    def _mean(self, hits: Tensor, labels: Tensor) -> float | list[float]:
        """PML's means over queries or classes, without its (N, classes) matrix."""
        if not (self.avg_of_avgs or self.return_per_class):
            return hits.double().mean().item()
        _, classes = labels.unique(return_inverse=True)
        of_classes = classes.bincount(weights=hits.double()) / classes.bincount()
        return of_classes.tolist() if self.return_per_class else of_classes.mean().item()

    def _from_pml(self, task: Retrieval, metrics: list[str]) -> dict[str, Any]:
        if not metrics:
            return {}
        # PML casts labels to float32; ranks among the labels survive that where labels may not.
        labels = torch.cat([task.query_labels, task.reference_labels])
        _, ranks = labels.unique(return_inverse=True)
        query_labels, reference_labels = ranks.split([len(task.query), len(task.reference)])
        self.device = task.query.device
        return super().get_accuracy(
            task.query,
            query_labels,
            task.reference,
            reference_labels,
            task.depth < len(task.reference),
            include=metrics,
        )

    def _from_lists(
        self,
        query: Array,
        query_labels: Array,
        reference: Array | None,
        reference_labels: Array | None,
        ref_includes_query: bool,
        metrics: list[str],
    ) -> dict[str, Any]:
        if not metrics:
            return {}
        query = embeddings("query", query, self.given_device)
        if reference is not None:
            reference = embeddings("reference", reference, query.device)
        self.device = query.device
        return super().get_accuracy(
            query, query_labels, reference, reference_labels, ref_includes_query, include=metrics
        )

    def _get_accuracy(self, function_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if self.recalls.keys() & function_dict.keys():
            warn_of_lone(kwargs["not_lone_query_mask"], stacklevel=6)
        return super()._get_accuracy(function_dict, **kwargs)

    def _recall_from_lists(
        self,
        k: int,
        knn_labels: Tensor,
        query_labels: Tensor,
        not_lone_query_mask: Tensor,
        label_counts: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> float | list[float]:
        if not not_lone_query_mask.any():
            return nan_accuracy(label_counts[0], self.return_per_class)
        labels = query_labels[not_lone_query_mask][:, None]
        same = self.label_comparison_fn(labels, knn_labels[not_lone_query_mask, :k])
        return maybe_get_avg_of_avgs(
            same.any(dim=1).double(), labels, self.avg_of_avgs, self.return_per_class
        )

    def requires_knn(self) -> list[str]:
        """Metrics made from neighbour lists; PML forgets ``mean_reciprocal_rank``."""
        return [*super().requires_knn(), "mean_reciprocal_rank", *self.recalls]

    def determine_k(
        self, bin_counts: Tensor, num_reference_embeddings: int, ref_includes_query: bool
    ) -> int:
        """How many neighbours PML looks up: ``k``, or as many as the chosen metrics need."""
        depth = num_reference_embeddings - int(ref_includes_query)
        metrics = [name for name in self.get_curr_metrics() if name in self.requires_knn()]
        recalls = [self.recalls[name] for name in metrics if name in self.recalls]
        within_depth(recalls, depth)
        if self.k is None:
            largest_class = int(bin_counts.max()) - int(ref_includes_query)
            needs = {"precision_at_1": 1} | self.recalls
            needs |= dict.fromkeys(("r_precision", "mean_average_precision_at_r"), largest_class)
            k = max(needs.get(name, depth) for name in metrics)
        else:
            k = super().determine_k(bin_counts, num_reference_embeddings, ref_includes_query)
            if recalls and max(recalls) > k:
                raise ValueError(f"k must be at least the largest of ks, {max(recalls)}, got {k}")
        return min(max(k, 1), depth)

    def check_primary_metrics(
        self, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> None:
        """Raise unless both are tuples or lists of known names."""
        for argument, names in (("include", include), ("exclude", exclude)):
            if not isinstance(names, (tuple, list)):
                raise TypeError(f"{argument} must be a tuple or list, got {type(names).__name__}")
            unknown = [name for name in names if name not in self.original_function_dict]
            if unknown:
                known = sorted(self.original_function_dict)
                raise ValueError(f"{argument} must be names out of {known}, got {unknown}")
