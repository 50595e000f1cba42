"""The metrics of a model on a data set, which several processes may embed shares of."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from .. import checks
from ..distributed.exchange import Exchange, must_be_alike
from ..optional import progress
from .items import collate, to_device
from .metrics import by_k, task_metrics
from .options import Options
from .retrieval import checked_retrieval

PATIENCE = 2  # seconds until a bar shows how far it is


def dataset_metrics(
    model: nn.Module,
    queries: Any,
    references: Any = None,
    *,
    ks: Iterable[int] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    group: Any = None,
    **options: Any,
) -> dict[str, float]:
    """The metrics of a model on a data set, in its own protocol, from one pass and one search.

    ``dataset_metrics(model, *CUB200.evaluation_splits(root, transform))`` is leave-one-out on the
    test classes; the same call for ``InShop`` searches its gallery for its queries. Each image goes
    through the model once, in evaluation mode; afterwards every module has the mode it had before.
    :func:`retrieval_metrics` states the equations.

    **Several processes.** With a ``group``, rank r of W embeds the images from r·N // W up to
    (r + 1)·N // W, each image once, where a ``DistributedSampler`` would repeat some. All processes
    make the same call, with the same model and data sets, each on its own device. A
    ``DistributedDataParallel`` is unwrapped and its module is called: shares differ in length, and
    the wrapper would wait for the other processes at every step. As the wrapper does before a step,
    the buffers of rank 0 are sent to all processes first.

    Args:
        model: maps a batch of images to embeddings (B, D), on the device where its parameters are.
        queries: a data set of (image tensor, label), or of other items that torch's ``DataLoader``
            makes batches of and ``model`` takes: texts, or dicts of tensors.
        references: a data set to search in. Without it, the queries are searched in.
        ks: the K to compute; ``queries.ks`` where not given.
        batch_size: images per step and process.
        workers: processes that load images, per process.
        group: a process group, such as ``torch.distributed.group.WORLD``; None: this process alone.
        options: those of :func:`retrieval_metrics`: ``backend``, ``metric``, ``metrics``,
            ``relevant`` and ``ignore``. Lists and matrices are of all queries and references; a
            relation is told their labels, which may have any shape then.

    Returns:
        ``recall_at_1`` and so on for each name and K, each in 0..1, the same on every process.

    Raises:
        ValueError: as :func:`retrieval_metrics`; or for an empty data set, or one without ``ks``.
            With a group on all processes, naming the first rank at fault.
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
    exchange = Exchange(group)
    with exchange.errors():
        batch_size = checks.positive_integer("batch_size", batch_size)
        workers = checks.non_negative_integer("workers", workers)
        ks = getattr(queries, "ks", None) if ks is None else ks
        if ks is None:
            raise ValueError("ks must be given for queries that have no attribute ks")
        checked = Options(ks, **options)
        datasets = {"queries": queries} | ({} if references is None else {"references": references})
        sizes = {f"size of {name}": checked_size(name, of) for name, of in datasets.items()}
        alike = exchange.tell({"model": type(model).__name__, **sizes})
    must_be_alike(alike)
    if exchange.world > 1 and isinstance(model, DistributedDataParallel):
        for buffer in model.module.buffers() if model.broadcast_buffers else ():
            dist.broadcast(buffer, dist.get_global_rank(group, 0), group)
        model = model.module
    with exchange.errors():
        embedded: list[Any] = []
        for dataset in datasets.values():
            share = exchange.share(len(dataset))
            # An empty share needs dims and a dtype too: any one image provides them.
            subset = Subset(dataset, [*share] or [0])
            found = embed_dataset(model, subset, batch_size, workers)
            embedded += (rows[: len(share)] for rows in found)
        task = checked_retrieval(*embedded, relevant=checked.relevant, parts=exchange.world)
        own = exchange.share(len(queries))
        for name in ("relevant", "ignore"):
            rule = getattr(checked, name)
            if hasattr(rule, "__len__") and len(rule) == len(queries):
                setattr(checked, name, rule[own.start : own.stop])
    return task_metrics(exchange, task, checked)


def dataset_recall(
    model: nn.Module, queries: Any, references: Any = None, **options: Any
) -> dict[int, float]:
    """Recall@K of a model on a data set, in the data set's own protocol.

    The options, errors and processes are those of :func:`dataset_metrics`.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from pml_gpw.evaluation import dataset_recall
    >>> images = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> queries = TensorDataset(images, torch.tensor([0, 1, 0, 1]))
    >>> dataset_recall(torch.nn.Identity(), queries, ks=(1, 2, 3), metric="l2")
    {1: 0.0, 2: 0.75, 3: 1.0}
    """
    return by_k(dataset_metrics(model, queries, references, metrics=("recall_at_k",), **options))


def checked_size(name: str, dataset: Any) -> int:
    """The number of items of a data set, or a ValueError for what is none, or empty."""
    kind = type(dataset)
    if not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")):
        raise ValueError(
            f"{name} must be a data set with a length and items (image, label), got {kind.__name__}"
        )
    if len(dataset) == 0:
        raise ValueError(f"{name} must have at least one image, got an empty data set")
    return len(dataset)


def embed_dataset(
    model: nn.Module, dataset: Any, batch_size: int, workers: int
) -> tuple[Tensor, Tensor]:
    """The embeddings (N, D) and labels (N,) of a data set; all modules keep their modes.

    Errors: ValueError for a model that is no module, or that gives something else than (B, D) of
    B images.
    """
    checks.instance("model", model, nn.Module)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    pin = device.type == "cuda"
    data = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=collate, pin_memory=pin)
    training = {module: module.training for module in model.modules()}
    embeddings, labels = [], []
    try:
        model.eval()
        with torch.no_grad():
            for images, batch_labels in progress(data, "embedding", PATIENCE):
                # Copies: model and loader may use the memory again for the next batch.
                output = model(to_device(images, device))
                embeddings.append(_checked_output(output, len(batch_labels)).clone())
                labels.append(batch_labels.clone())
    finally:
        for module, mode in training.items():
            module.training = mode
    return torch.cat(embeddings), torch.cat(labels)


def _checked_output(output: Any, n: int) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != n:
        got = checks.described(output)
        raise ValueError(f"model must map {n} items to embeddings ({n}, D), got {got}")
    return output
