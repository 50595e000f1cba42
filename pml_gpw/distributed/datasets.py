"""Recall@K, R-precision and MAP@R of a model on a data set that processes embed shards of."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Subset

from ..evaluation.model_recall import (
    checked_arguments,
    dataset_metrics,
    dataset_recall,
    embed_dataset,
)
from .retrieval import distributed_recall_at_k, distributed_retrieval_metrics
from .status import (
    all_gather_status,
    global_rank,
    must_be_alike,
    propagate_errors,
    several_processes,
)


def distributed_dataset_recall(
    model: nn.Module,
    queries: Any,
    references: Any = None,
    *,
    ks: Iterable[int] | None = None,
    backend: str = "auto",
    metric: str = "cosine",
    batch_size: int = 64,
    workers: int = 0,
    group: dist.ProcessGroup | None = None,
) -> dict[int, float]:
    """:func:`dataset_recall` in shards: each of W processes embeds 1/W of the images.

    Rank r takes the images from r·N // W up to (r + 1)·N // W, each image once, where a
    ``DistributedSampler`` would repeat some; :func:`distributed_recall_at_k` then ranks the
    embeddings of all for the images of each. Its documentation states the cost.

    All processes give the same model and data sets, each on its own device. A
    ``DistributedDataParallel`` is unwrapped and its module is called: shards differ in length, and
    the wrapper would wait for the other processes at every step. As the wrapper does before a
    step, the buffers of rank 0 are sent to all processes first.

    Without a process group, or in a group of one, this is ``dataset_recall``. All processes have to
    make the call.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries are searched in.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        batch_size: images per step and process.
        workers: processes that load images, per process.
        group: the process group; None: the default one.

    Returns:
        The recall in 0..1 for each K, the same on every process.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what
            :func:`dataset_recall` refuses on one, and for any other error of one.

    Example:
        One process without a group; with a group, every rank makes the same call.

        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw.distributed import distributed_dataset_recall
        >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> queries = TensorDataset(images, torch.tensor([0, 1, 0, 1]))
        >>> distributed_dataset_recall(torch.nn.Identity(), queries, ks=(1, 2, 3), metric="l2")
        {1: 0.0, 2: 0.75, 3: 1.0}
    """
    if not several_processes(group):
        return dataset_recall(
            model,
            queries,
            references,
            ks=ks,
            backend=backend,
            metric=metric,
            batch_size=batch_size,
            workers=workers,
        )
    with propagate_errors(group):
        ks = checked_arguments(queries, references, ks, backend, metric, batch_size, workers)
    embedded = _embed_shards(model, queries, references, batch_size, workers, group)
    return distributed_recall_at_k(*embedded, ks, backend, metric, group)


def distributed_dataset_metrics(
    model: nn.Module,
    queries: Any,
    references: Any = None,
    *,
    ks: Iterable[int] | None = None,
    backend: str = "auto",
    metric: str = "cosine",
    batch_size: int = 64,
    workers: int = 0,
    group: dist.ProcessGroup | None = None,
) -> dict[str, float]:
    """:func:`dataset_metrics` in shards: each of W processes embeds 1/W of the images.

    Images, models and wrappers are those of :func:`distributed_dataset_recall`;
    :func:`distributed_retrieval_metrics` measures them.

    Without a process group, or in a group of one, this is ``dataset_metrics``. All processes have
    to make the call.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries are searched in.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        batch_size: images per step and process.
        workers: processes that load images, per process.
        group: the process group; None: the default one.

    Returns:
        ``recall_at_K`` for each K, ``r_precision`` and ``map_at_r``, each in 0..1, the same on
        every process.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what
            :func:`dataset_metrics` refuses on one, and for any other error of one.

    Example:
        One process without a group; with a group, every rank makes the same call.

        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw.distributed import distributed_dataset_metrics
        >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> queries = TensorDataset(images, torch.tensor([0, 0, 1, 1]))
        >>> distributed_dataset_metrics(torch.nn.Identity(), queries, ks=(1,), metric="l2")
        {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    if not several_processes(group):
        return dataset_metrics(
            model,
            queries,
            references,
            ks=ks,
            backend=backend,
            metric=metric,
            batch_size=batch_size,
            workers=workers,
        )
    with propagate_errors(group):
        ks = checked_arguments(queries, references, ks, backend, metric, batch_size, workers)
    embedded = _embed_shards(model, queries, references, batch_size, workers, group)
    return distributed_retrieval_metrics(*embedded, ks, backend, metric, group)


def _embed_shards(
    model: nn.Module,
    queries: Any,
    references: Any,
    batch_size: int,
    workers: int,
    group: dist.ProcessGroup | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    with propagate_errors(group):
        summaries = all_gather_status(group, _must_match(model, queries, references))
    must_be_alike(summaries)
    model = _unwrap_ddp(model, group)
    with propagate_errors(group):
        query, query_labels = _embed_shard(model, queries, batch_size, workers, group)
        reference = reference_labels = None
        if references is not None:
            reference, reference_labels = _embed_shard(
                model, references, batch_size, workers, group
            )
        all_gather_status(group)
    return query, query_labels, reference, reference_labels


def _must_match(model: nn.Module, queries: Any, references: Any) -> dict[str, Any]:
    return {
        "model": type(model).__name__,
        "size of queries": len(queries),
        "size of references": None if references is None else len(references),
    }


def _embed_shard(
    model: nn.Module,
    dataset: Any,
    batch_size: int,
    workers: int,
    group: dist.ProcessGroup | None,
) -> tuple[Tensor, Tensor]:
    """The embeddings (n, D) and labels (n,) of this process's part of the data set."""
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    indices = range(rank * len(dataset) // world, (rank + 1) * len(dataset) // world)
    # An empty shard needs dims and a dtype too: any one image provides them.
    subset = Subset(dataset, [*indices] or [0])
    embeddings, labels = embed_dataset(model, subset, batch_size, workers)
    return embeddings[: len(indices)], labels[: len(indices)]


@torch.no_grad()
def _unwrap_ddp(model: nn.Module, group: dist.ProcessGroup | None) -> nn.Module:
    if not isinstance(model, DistributedDataParallel):
        return model
    if model.broadcast_buffers:
        for buffer in model.module.buffers():
            dist.broadcast(buffer, global_rank(group, 0), group)
    return model.module
