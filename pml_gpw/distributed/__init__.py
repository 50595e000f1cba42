"""The loss of a batch, and metrics of embeddings, that several processes hold parts of."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .loss import DistributedLoss
    from .retrieval import (
        distributed_dataset_metrics,
        distributed_dataset_recall,
        distributed_recall_at_k,
        distributed_retrieval_metrics,
    )

__all__ = [
    "DistributedLoss",
    "distributed_dataset_metrics",
    "distributed_dataset_recall",
    "distributed_recall_at_k",
    "distributed_retrieval_metrics",
]

__getattr__, __dir__ = lazy_exports(
    __name__, dict.fromkeys(__all__, "retrieval") | {"DistributedLoss": "loss"}
)
