"""Exact metrics of retrieval: of embeddings, of a model, an accuracy calculator of PML.

The calculator needs pytorch-metric-learning 2.9: ``pip install "pml-gpw[pml]"``.
"""

from typing import TYPE_CHECKING

from ..hosts import former_modules
from ..lazy import lazy_exports
from .metrics import map_at_r, r_precision, recall_at_k, retrieval_metrics
from .model_recall import dataset_metrics, dataset_recall

if TYPE_CHECKING:
    from ..hosts.pml2 import RecallCalculator

__all__ = [
    "RecallCalculator",
    "dataset_metrics",
    "dataset_recall",
    "map_at_r",
    "r_precision",
    "recall_at_k",
    "retrieval_metrics",
]

__getattr__, __dir__ = lazy_exports(__name__, {"RecallCalculator": ".hosts.pml2"})

former_modules(__name__, {"calculator": "calculator", "knn": "knn"})
