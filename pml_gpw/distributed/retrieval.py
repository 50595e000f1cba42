"""The former names of the metrics of :mod:`pml_gpw.evaluation` over processes."""

from typing import Any

from ..evaluation import dataset_metrics, dataset_recall, recall_at_k, retrieval_metrics
from .exchange import default_group


def distributed_retrieval_metrics(*args: Any, **kwargs: Any) -> dict[str, float]:
    """:func:`retrieval_metrics` of the parts of all processes of a group, by default of all.

    >>> import torch
    >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    >>> distributed_retrieval_metrics(embeddings, labels, ks=(1,), metric="l2")
    {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    return retrieval_metrics(*args[:7], **_grouped(args, kwargs))


def distributed_recall_at_k(*args: Any, **kwargs: Any) -> dict[int, float]:
    """:func:`recall_at_k` of the parts of all processes of a group, by default of all.

    >>> import torch
    >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 1, 0, 1])
    >>> distributed_recall_at_k(embeddings, labels, ks=(1, 2, 3), metric="l2")
    {1: 0.0, 2: 0.75, 3: 1.0}
    """
    return recall_at_k(*args[:7], **_grouped(args, kwargs))


def distributed_dataset_metrics(*args: Any, **kwargs: Any) -> dict[str, float]:
    """:func:`dataset_metrics` in shares of all processes of a group, by default of all.

    >>> import torch
    >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> queries = torch.utils.data.TensorDataset(images, torch.tensor([0, 0, 1, 1]))
    >>> distributed_dataset_metrics(torch.nn.Identity(), queries, ks=(1,), metric="l2")
    {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    return dataset_metrics(*args[:7], **_grouped(args, kwargs))


def distributed_dataset_recall(*args: Any, **kwargs: Any) -> dict[int, float]:
    """:func:`dataset_recall` in shares of all processes of a group, by default of all.

    >>> import torch
    >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> queries = torch.utils.data.TensorDataset(images, torch.tensor([0, 1, 0, 1]))
    >>> distributed_dataset_recall(torch.nn.Identity(), queries, ks=(1, 2, 3), metric="l2")
    {1: 0.0, 2: 0.75, 3: 1.0}
    """
    return dataset_recall(*args[:7], **_grouped(args, kwargs))


def _grouped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of the call with a group, which was its eighth argument."""
    group = args[7] if len(args) > 7 else kwargs.get("group")
    return {**kwargs, "group": default_group() if group is None else group}
