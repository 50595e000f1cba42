"""PML's cross-batch memory, mended and streamed."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.losses import CrossBatchMemory as PMLCrossBatchMemory
from torch import Tensor
from typing_extensions import override

from ... import modules
from ...modules.cross_batch_memory import check_labels
from .losses import GPWLoss
from .pair_similarity_loss import PairSimilarityLoss


class CrossBatchMemory(modules.CrossBatchMemory, PMLCrossBatchMemory):
    """:class:`pml_gpw.modules.CrossBatchMemory` as PML's class, for its losses and ours.

    Args:
        loss: a loss of this package, or one that PML's class takes.
        embedding_size: and all that follows, as in the plain class.
        memory_size: how many embeddings the memory holds.
        miner: a PML miner, or None for all pairs.
        warm_up: how many calls go by before the memory is used.
        add_batch_loss: whether the loss within the batch is added.
        label_shape: of the label of one item.
        label_dtype: the dtype in which labels are kept.
        **kwargs: as PML's class.

    Errors: as the plain class.

    >>> from pml_gpw.hosts.pml2 import CrossBatchMemory
    >>> from pytorch_metric_learning.losses import ContrastiveLoss
    >>> CrossBatchMemory(ContrastiveLoss(), embedding_size=4, memory_size=100).queue_idx
    0
    """

    reset_stats: Any  # of PML, which says nothing of types

    def __init__(
        self,
        loss: torch.nn.Module,
        embedding_size: int,
        memory_size: int = 1024,
        miner: torch.nn.Module | None = None,
        warm_up: int = 0,
        add_batch_loss: bool = False,
        label_shape: tuple[int, ...] = (),
        label_dtype: torch.dtype = torch.int64,
        **kwargs: Any,
    ) -> None:
        self.check_settings(loss, embedding_size, memory_size, miner, warm_up)
        check_labels(loss, tuple(label_shape), label_dtype)
        self.label_shape, self.label_dtype = tuple(label_shape), label_dtype
        sizes = int(embedding_size), int(memory_size)
        PMLCrossBatchMemory.__init__(self, loss, *sizes, miner, **kwargs)
        self.warm_up = warm_up
        self.add_batch_loss = add_batch_loss

    @override
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Sequence[Tensor] | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Tensor:
        self.reset_stats()
        return super().forward(embeddings, labels, indices_tuple, enqueue_mask)

    @staticmethod
    @override
    def supported_losses() -> list[str]:
        return [*PMLCrossBatchMemory.supported_losses(), *names_of_losses()]


def names_of_losses() -> list[str]:
    """The class names of the losses of this package and of all their subclasses by now."""
    return [PairSimilarityLoss.__name__, *_class_names(GPWLoss)]


def _class_names(cls: type) -> list[str]:
    subclasses: list[type] = cls.__subclasses__()
    return [cls.__name__, *(name for sub in subclasses for name in _class_names(sub))]
