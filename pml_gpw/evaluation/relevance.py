"""Which queries have a relevant reference, that is one with the label of the query.

Shapes: N queries, M references.
"""

import warnings

import torch
from torch import Tensor

from .retrieval import RetrievalTask


def has_relevant_reference(task: RetrievalTask) -> Tensor:
    """Whether each query (N,) has a relevant reference other than its own row."""
    return count_same_label(task.query_labels, task.reference_labels) > (task.self_index >= 0)


def count_same_label(query_labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The number of references (M,) that have the label of each query (N,)."""
    labels = reference_labels.sort().values
    end = torch.searchsorted(labels, query_labels, right=True)
    return end - torch.searchsorted(labels, query_labels)


def warn_without_relevant(has_relevant: Tensor, stacklevel: int) -> None:
    """Warn once of the queries that ``has_relevant`` (N,) leaves out of the mean, if any."""
    count = int((~has_relevant).sum())
    if count:
        consequence = ", which leaves none: Recall@K is nan" if count == len(has_relevant) else ""
        warnings.warn(
            f"{count} of {len(has_relevant)} queries have no relevant reference and are left out "
            f"of Recall@K{consequence}",
            stacklevel=stacklevel + 1,
        )
