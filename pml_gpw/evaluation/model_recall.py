"""Recall@K, R-precision and MAP@R of a model on a data set."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .. import checks
from ..optional import progress
from .backends import import_faiss
from .metrics import recall_at_k, retrieval_metrics
from .options import check_backend_and_metric, checked_ks

PATIENCE = 2  # seconds until a bar shows how far it is


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
    test classes; the same call for ``InShop`` searches its gallery for its queries. Each image goes
    through the model once, in evaluation mode; afterwards every module has the mode it had before.
    :func:`recall_at_k` states the equation.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries are searched in.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        batch_size: images per step.
        workers: processes that load images.

    Returns:
        The recall in 0..1 for each K.

    Raises:
        ValueError: as :func:`recall_at_k`; or for an empty data set, or one without ``ks``.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw.evaluation import dataset_recall
        >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> queries = TensorDataset(images, torch.tensor([0, 1, 0, 1]))
        >>> dataset_recall(torch.nn.Identity(), queries, ks=(1, 2, 3), metric="l2")
        {1: 0.0, 2: 0.75, 3: 1.0}
    """
    ks = checked_arguments(queries, references, ks, backend, metric, batch_size, workers)
    embedded = _embed_datasets(model, queries, references, batch_size, workers)
    return recall_at_k(*embedded, ks, backend, metric)


def dataset_metrics(
    model: nn.Module,
    queries: Any,
    references: Any = None,
    *,
    ks: Iterable[int] | None = None,
    backend: str = "auto",
    metric: str = "cosine",
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, float]:
    """Recall@K, R-precision and MAP@R of a model on a data set, from one pass and one search.

    Images, modes and protocols are those of :func:`dataset_recall`; :func:`retrieval_metrics` says
    where the equations are.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, integer label).
        references: a data set to search in. Without it, the queries are searched in.
        ks: the K to compute; ``queries.ks`` where not given.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" or "l2".
        batch_size: images per step.
        workers: processes that load images.

    Returns:
        ``recall_at_K`` for each K, ``r_precision`` and ``map_at_r``, each in 0..1.

    Raises:
        ValueError: as :func:`retrieval_metrics`; or for an empty data set, or one without ``ks``.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw.evaluation import dataset_metrics
        >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> queries = TensorDataset(images, torch.tensor([0, 0, 1, 1]))
        >>> dataset_metrics(torch.nn.Identity(), queries, ks=(1,), metric="l2")
        {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    ks = checked_arguments(queries, references, ks, backend, metric, batch_size, workers)
    embedded = _embed_datasets(model, queries, references, batch_size, workers)
    return retrieval_metrics(*embedded, ks, backend, metric)


def checked_arguments(
    queries: Any,
    references: Any,
    ks: Iterable[int] | None,
    backend: str,
    metric: str,
    batch_size: int,
    workers: int,
) -> tuple[int, ...]:
    """Check the arguments before the model sees an image, and return the ks to compute."""
    checks.positive_integer("batch_size", batch_size)
    checks.non_negative_integer("workers", workers)
    check_backend_and_metric(backend, metric)
    if backend == "faiss":
        import_faiss()
    if ks is None:
        ks = getattr(queries, "ks", None)
        if ks is None:
            raise ValueError("ks must be given for queries that have no attribute ks")
    _check_dataset("queries", queries)
    if references is not None:
        _check_dataset("references", references)
    for name, dataset in (("query", queries), ("gallery", references)):
        if dataset is not None and len(dataset) == 0:
            raise ValueError(f"{name} data set must not be empty, got one without an image")
    return checked_ks(ks)


def _check_dataset(name: str, dataset: Any) -> None:
    kind = type(dataset)
    if not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")):
        raise ValueError(
            f"{name} must be a data set with a length and items (image, label), got {kind.__name__}"
        )


def _embed_datasets(
    model: nn.Module, queries: Any, references: Any, batch_size: int, workers: int
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    query = embed_dataset(model, queries, batch_size, workers)
    if references is None:
        return *query, None, None
    return *query, *embed_dataset(model, references, batch_size, workers)


def embed_dataset(
    model: nn.Module, dataset: Any, batch_size: int, workers: int
) -> tuple[Tensor, Tensor]:
    """The embeddings (N, D) and labels (N,) of a data set; all modules keep their modes.

    Errors: ValueError for a model that is no module, or that gives something else than (B, D) of
    B images.
    """
    checks.instance("model", model, nn.Module)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    loader = DataLoader(dataset, batch_size, num_workers=workers, pin_memory=device.type == "cuda")
    training = {module: module.training for module in model.modules()}
    check = model.register_forward_hook(_check_output)
    embeddings, labels = [], []
    try:
        model.eval()
        with torch.no_grad():
            for images, batch_labels in progress(loader, "embedding", PATIENCE):
                embeddings.append(model(images.to(device)))
                labels.append(batch_labels)
    finally:
        check.remove()
        for module, mode in training.items():
            module.training = mode
    return torch.cat(embeddings), torch.cat(labels)


def _check_output(_: nn.Module, inputs: Any, output: Any) -> None:
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"model must map images to embeddings (B, D), got {got}")
    images = inputs[0] if inputs else None
    if isinstance(images, Tensor) and len(images) != len(output):
        raise ValueError(
            f"model must give one embedding per image, got {len(output)} of {len(images)} images"
        )
