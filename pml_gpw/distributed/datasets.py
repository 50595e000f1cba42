"""Recall@K of a model on a data set that several processes embed shards of."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Subset

from ..evaluation.datasets import Gallery, checked_protocol, dataset_recall, embeddings_of
from .exchange import agree, global_rank, in_step, must_be_alike, several_processes
from .recall import distributed_recall_at_k


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

    Rank r takes the images r·N // W to (r + 1)·N // W, each of them once, where a
    ``DistributedSampler`` would repeat some; :func:`distributed_recall_at_k` then searches the
    shards, so that no process holds all embeddings, and says what it costs.

    All processes give the same model and data sets, on devices of their own. The network of a
    ``DistributedDataParallel`` is called without it: shards differ in length, and its forward would
    wait for the others at every step. As in its forward, the buffers of rank 0 come to all before.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: "cosine", "dot" or "l2".
        batch_size: images per step and process.
        workers: processes that load images, per process.
        group: the process group; None: the default one.

    Returns:
        The recall in 0..1 for each K, the same on every process.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what
            :func:`dataset_recall` refuses on one, and any other error of one.
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
    with in_step(group):
        ks = checked_protocol(queries, references, ks, backend, metric, batch_size, workers)
        reports = agree(group, _report(model, queries, references))
    must_be_alike(reports)
    model = _without_ddp(model, group)
    with in_step(group):
        query, labels = _embedded_shard(model, queries, batch_size, workers, group)
        gallery: Gallery = None, None
        if references is not None:
            gallery = _embedded_shard(model, references, batch_size, workers, group)
        agree(group)
    return distributed_recall_at_k(
        query, labels, gallery[0], gallery[1], ks, backend, metric, group
    )


def _report(model: nn.Module, queries: Any, references: Any) -> dict[str, Any]:
    return {
        "model": type(model).__name__,
        "size of queries": len(queries),
        "size of references": None if references is None else len(references),
    }


def _embedded_shard(
    model: nn.Module, split: Any, batch_size: int, workers: int, group: Any
) -> tuple[Tensor, Tensor]:
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    shard = range(rank * len(split) // world, (rank + 1) * len(split) // world)
    # An empty shard has dims and dtype too, which any one image tells.
    picked = Subset(split, [*shard] or [0])
    embeddings, labels = embeddings_of(model, picked, batch_size, workers)
    return embeddings[: len(shard)], labels[: len(shard)]


@torch.no_grad()
def _without_ddp(model: nn.Module, group: Any) -> nn.Module:
    if not isinstance(model, DistributedDataParallel):
        return model
    if model.broadcast_buffers:
        for buffer in model.module.buffers():
            dist.broadcast(buffer, global_rank(group, 0), group)
    return model.module
