"""Recall@K, R-precision and MAP@R as an accuracy calculator of pytorch-metric-learning (PML)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_metric_learning.utils.accuracy_calculator import (
    EQUALITY,
    AccuracyCalculator,
    maybe_get_avg_of_avgs,
    nan_accuracy,
)
from torch import Tensor
from typing_extensions import override

from ... import checks
from ...evaluation.measures import columns_of
from ...evaluation.metrics import query_values, warn_without_relevant
from ...evaluation.options import (
    Options,
    check_backend_and_metric,
    check_ks_within,
    checked_device,
    checked_ks,
)
from ...evaluation.retrieval import (
    Array,
    RetrievalTask,
    check_compared_labels,
    checked_retrieval,
)
from .knn import SimilarityKNN


class RecallCalculator(AccuracyCalculator):
    """``recall_at_1``, ``recall_at_2``, ..., ``r_precision``, ``map_at_r`` in a PML calculator.

    The values are those of :func:`retrieval_metrics`, for PML's testers and hooks. PML's own
    metrics can be requested beside them; PML computes those, from neighbour lists in the order of
    the same ``metric`` and no longer than they need. Its name of MAP@R is
    ``mean_average_precision_at_r``.

    PML's hooks decide by one metric which epoch is the best, by default by one of PML's own that
    is not computed here: give ``get_hook_container(record_keeper, primary_metric="recall_at_1")``.

    With a ``label_comparison_fn``, a reference is relevant where that function says so, and
    all metrics come from PML's float32 neighbour lists; labels are float32 there, and integers
    beyond ±2**24 are refused. Otherwise labels are integers, and the metrics above are exact.

    Args:
        ks: the K to compute.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        include: names of metrics to compute, as ``("map_at_r", "r_precision")``. Where none of them
            is a Recall@K, all of ``ks`` are computed as well.
        exclude: names of metrics not to compute.
        device: where to compute; where the queries are, if not given.
        knn_func: PML's search for neighbours, if its own metrics are to have another one;
            ``r_precision`` is one of them then.
        kwargs: the other arguments of PML's ``AccuracyCalculator``: ``return_per_class``,
            ``avg_of_avgs``, ``k``, ``label_comparison_fn``, ``kmeans_func``.

    Raises:
        ValueError: for ``ks`` that are not integers >= 1, unknown names, backend, metric or device,
            and functions that cannot be called.
        TypeError: for arguments that PML does not know.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from pml_gpw.evaluation import RecallCalculator
        >>> calculator = RecallCalculator(ks=(1, 2), metric="l2")
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> calculator.get_accuracy(embeddings, torch.tensor([0, 1, 0, 1]))
        {'recall_at_1': 0.0, 'recall_at_2': 0.75}
        >>> calculator = RecallCalculator(ks=(1,), metric="l2", include=("map_at_r",))
        >>> calculator.get_accuracy(embeddings, torch.tensor([0, 0, 1, 1]))
        {'map_at_r': 0.75, 'recall_at_1': 0.75}
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
        check_backend_and_metric(backend, metric)
        self.backend, self.metric = backend, metric
        self.ks_by_name = {f"recall_at_{k}": k for k in checked_ks(ks)}
        for name, k in self.ks_by_name.items():  # PML finds metrics by the names of attributes
            setattr(self, f"calculate_{name}", partial(self._recall_from_neighbor_lists, k))
        if isinstance(include, (tuple, list)) and not any(n in include for n in self.ks_by_name):
            include = (*include, *self.ks_by_name)
        # A knn_func is asked for the lists of PML's metrics.
        self.exact_precisions = ("r_precision", "map_at_r") if knn_func is None else ("map_at_r",)
        self.requested_device = checked_device(device)
        for name in ("label_comparison_fn", "kmeans_func"):
            checks.module_like(name, kwargs.get(name))
        checks.module_like("knn_func", knn_func)
        super().__init__(
            include=include,
            exclude=exclude,
            device=self.requested_device or torch.device("cpu"),
            # PML's default for knn_func cannot even be constructed without faiss.
            knn_func=SimilarityKNN(metric, backend) if knn_func is None else knn_func,
            **kwargs,
        )

    @override
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
        out of the means, and a warning says how many they are.

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
                ref_includes_query=ref_includes_query,
                device=self.requested_device,
            )
            values = self._exact_metrics(
                task,
                tuple(k for name, k in self.ks_by_name.items() if name in metrics),
                tuple(name for name in self.exact_precisions if name in metrics),
            )
            values |= self._pml_metrics(task, [name for name in metrics if name not in values])
        else:
            values = self._metrics_of_compared_labels(
                query, query_labels, reference, reference_labels, ref_includes_query, [*metrics]
            )
        self.curr_function_dict = metrics
        return {name: values[name] for name in metrics}

    def _exact_metrics(
        self, task: RetrievalTask, ks: tuple[int, ...], precisions: tuple[str, ...]
    ) -> dict[str, Any]:
        names = (("recall_at_k",) if ks else ()) + precisions
        if not names:
            return {}
        check_ks_within(ks, len(task.reference) - (task.self_index is not None))
        values = query_values(task, Options(ks, self.backend, self.metric, names))
        has_relevant = ~values[:, 0].isnan()
        warn_without_relevant(has_relevant, names)
        columns, labels = columns_of(names, ks), task.query_labels[has_relevant]
        if not len(labels):
            nan = nan_accuracy(task.query_labels.unique(), self.return_per_class)
            return dict.fromkeys(columns, nan)
        of_queries = values[has_relevant].unbind(dim=1)
        return {
            name: self._mean(of.contiguous(), labels)
            for name, of in zip(columns, of_queries, strict=True)
        }

    def _mean(self, values: Tensor, labels: Tensor) -> float | list[float]:
        """PML's mean over queries or classes, without its (N, classes) matrix."""
        if not (self.avg_of_avgs or self.return_per_class):
            return values.double().mean().item()
        _, class_index = labels.unique(return_inverse=True)
        class_means = class_index.bincount(weights=values.double()) / class_index.bincount()
        return class_means.tolist() if self.return_per_class else class_means.mean().item()

    def _pml_metrics(self, task: RetrievalTask, names: list[str]) -> dict[str, Any]:
        if not names:
            return {}
        # PML casts labels to float32, which may merge large ones; their ranks stay different.
        labels = torch.cat([task.query_labels, task.reference_labels])
        _, label_ranks = labels.unique(return_inverse=True)
        query_labels, reference_labels = label_ranks.split([len(task.query), len(task.reference)])
        self.device = task.query.device
        return super().get_accuracy(
            task.query,
            query_labels,
            task.reference,
            reference_labels,
            task.self_index is not None,
            include=names,
        )

    def _metrics_of_compared_labels(
        self,
        query: Array,
        query_labels: Array,
        reference: Array | None,
        reference_labels: Array | None,
        ref_includes_query: bool,
        names: list[str],
    ) -> dict[str, Any]:
        """All metrics by PML, for labels that only ``label_comparison_fn`` can compare."""
        if not names:
            return {}
        given = query, query_labels, reference, reference_labels
        device = self.requested_device
        task = checked_retrieval(*given, device=device, relevant=self.label_comparison_fn)
        check_compared_labels("query_labels", task.query_labels)
        check_compared_labels("reference_labels", task.reference_labels)
        query, query_labels = task.query, task.query_labels
        if reference is not None:
            reference, reference_labels = task.reference, task.reference_labels
        self.device = query.device
        return super().get_accuracy(
            query, query_labels, reference, reference_labels, ref_includes_query, include=names
        )

    @override
    def _get_accuracy(self, function_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        ours = function_dict.keys() & {"map_at_r", *self.ks_by_name}
        if ours:
            names = ("recall_at_k", *(ours & {"map_at_r"}))
            warn_without_relevant(kwargs["not_lone_query_mask"], names)
        return super()._get_accuracy(function_dict, **kwargs)

    def _recall_from_neighbor_lists(
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
        relevant = self.label_comparison_fn(labels, knn_labels[not_lone_query_mask, :k])
        return maybe_get_avg_of_avgs(
            relevant.any(dim=1).double(), labels, self.avg_of_avgs, self.return_per_class
        )

    def calculate_map_at_r(self, **kwargs: Any) -> float | list[float]:
        """MAP@R from neighbour lists, for labels that only ``label_comparison_fn`` can compare."""
        return self.calculate_mean_average_precision_at_r(**kwargs)

    @override
    def requires_knn(self) -> list[str]:
        # PML omits mean_reciprocal_rank, which needs neighbour lists too.
        return [*super().requires_knn(), "mean_reciprocal_rank", "map_at_r", *self.ks_by_name]

    @override
    def determine_k(
        self, bin_counts: Tensor, num_reference_embeddings: int, ref_includes_query: bool
    ) -> int:
        # PML looks up all references where k is None; here, as many as the metrics need.
        num_compared = num_reference_embeddings - int(ref_includes_query)
        names = [name for name in self.get_curr_metrics() if name in self.requires_knn()]
        ks = [self.ks_by_name[name] for name in names if name in self.ks_by_name]
        check_ks_within(ks, num_compared)
        largest_class = int(bin_counts.max()) - int(ref_includes_query)
        if self.k is None:
            needs = {"precision_at_1": 1} | self.ks_by_name
            at_r = ("r_precision", "map_at_r", "mean_average_precision_at_r")
            needs |= dict.fromkeys(at_r, largest_class)
            k = max(needs.get(name, num_compared) for name in names)
        else:
            k = super().determine_k(bin_counts, num_reference_embeddings, ref_includes_query)
            if ks and max(ks) > k:
                raise ValueError(f"k must be at least the largest of ks, {max(ks)}, got {k}")
            if "map_at_r" in names and largest_class > k:
                raise ValueError(
                    f"k must be at least {largest_class}, the largest number of relevant "
                    f"references, for map_at_r, got {k}"
                )
        return min(max(k, 1), num_compared)

    @override
    def check_primary_metrics(
        self, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> None:
        for argument, names in (("include", include), ("exclude", exclude)):
            if not isinstance(names, (tuple, list)):
                raise TypeError(f"{argument} must be a tuple or list, got {type(names).__name__}")
            unknown = [name for name in names if name not in [*self.original_function_dict]]
            if unknown:
                known = sorted(self.original_function_dict)
                raise ValueError(f"{argument} must be names out of {known}, got {unknown}")
