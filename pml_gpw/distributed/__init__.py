"""The loss of a batch, and metrics of embeddings, that several processes hold parts of."""

from .datasets import distributed_dataset_metrics, distributed_dataset_recall
from .loss import DistributedLoss
from .retrieval import distributed_recall_at_k, distributed_retrieval_metrics

__all__ = [
    "DistributedLoss",
    "distributed_dataset_metrics",
    "distributed_dataset_recall",
    "distributed_recall_at_k",
    "distributed_retrieval_metrics",
]
