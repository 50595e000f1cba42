"""Recall@K of a model on a data set."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from torch import Tensor, nn

from .. import checks
from .metrics import METRICS
from .neighbors import BACKENDS, import_faiss
from .recall import recall_at_k
from .retrieval import checked_choice, checked_ks

Gallery = tuple[Tensor, Tensor] | tuple[None, None]  # embeddings (M, D) and labels (M,), or neither


def dataset_recall(
    model: nn.Module,
    queries: Any,
    references: Any = None,
    *,
    ks: Iterable[int] | None = None,
    backend: str = "auto",
    metric: str = "cosine",
    batch_size: int = 64,
    workers: int = 0,
) -> dict[int, float]:
    """Recall@K of a model on a data set, in the data set's own protocol.

    ``dataset_recall(model, *CUB200.evaluation_splits(root, transform))`` is leave-one-out on the
    test classes; the same of ``InShop`` is from its queries to its gallery. Each image goes
    through the model once, in evaluation mode; afterwards the model is in the mode it came in. For
    the equation see :func:`recall_at_k`.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: "cosine", "dot" or "l2".
        batch_size: images per step.
        workers: processes that load images.

    Returns:
        The recall in 0..1 for each K.

    Raises:
        ValueError: as :func:`recall_at_k`; or for an empty data set, or one without ``ks``.
    """
    ks = checked_protocol(queries, references, ks, backend, metric, batch_size, workers)
    query, labels = embeddings_of(model, queries, batch_size, workers)
    gallery: Gallery = None, None
    if references is not None:
        gallery = embeddings_of(model, references, batch_size, workers)
    return recall_at_k(query, labels, gallery[0], gallery[1], ks, backend, metric)


def checked_protocol(
    queries: Any,
    references: Any,
    ks: Iterable[int] | None,
    backend: str,
    metric: str,
    batch_size: int,
    workers: int,
) -> tuple[int, ...]:
    """The ks, or the error that an argument deserves before a model sees any image."""
    checks.positive_integer("batch_size", batch_size)
    checks.non_negative_integer("workers", workers)
    checked_choice("backend", backend, BACKENDS)
    checked_choice("metric", metric, METRICS)
    if backend == "faiss":
        import_faiss()
    if ks is None:
        ks = getattr(queries, "ks", None)
        if ks is None:
            raise ValueError("ks must be given for queries that have no attribute ks")
    for name, split in (("query", queries), ("gallery", references)):
        if split is not None and len(split) == 0:
            raise ValueError(f"{name} data set must not be empty, got one without an image")
    return checked_ks(ks)


def embeddings_of(
    model: nn.Module, split: Any, batch_size: int, workers: int
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, D) and labels (N,) of a data set; the model's modes are left as they came."""
    tester = GlobalEmbeddingSpaceTester(
        normalize_embeddings=False,  # the metric says what is compared
        batch_size=batch_size,
        dataloader_num_workers=workers,
        data_device=_device_of(model),
    )
    training = {module: module.training for module in model.modules()}
    try:
        embeddings, labels = tester.get_all_embeddings(split, model)
    finally:
        for module, mode in training.items():
            module.training = mode
    return embeddings, labels[:, 0]


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
