"""Recall@K of a model on a data set."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from torch import nn

from .. import checks
from .calculator import RecallCalculator

QUERIES, REFERENCES = "query", "gallery"


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
    checks.positive_integer("batch_size", batch_size)
    checks.non_negative_integer("workers", workers)
    if ks is None:
        ks = getattr(queries, "ks", None)
        if ks is None:
            raise ValueError("ks must be given for queries that have no attribute ks")
    splits = (
        {QUERIES: queries} if references is None else {QUERIES: queries, REFERENCES: references}
    )
    for name, split in splits.items():
        if len(split) == 0:
            raise ValueError(f"{name} data set must not be empty, got one without an image")
    ks = tuple(ks)
    tester = GlobalEmbeddingSpaceTester(
        normalize_embeddings=False,  # the metric says what is compared
        batch_size=batch_size,
        dataloader_num_workers=workers,
        data_device=_device_of(model),
        accuracy_calculator=RecallCalculator(ks, backend, metric),
        end_of_testing_hook=lambda tester: None,
    )
    training = {module: module.training for module in model.modules()}
    try:
        against = QUERIES if references is None else REFERENCES
        found = tester.test(splits, 0, model, splits_to_eval=[(QUERIES, [against])])[QUERIES]
    finally:
        for module, mode in training.items():
            module.training = mode
    return {k: float(found[f"recall_at_{k}_level0"]) for k in ks}


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
