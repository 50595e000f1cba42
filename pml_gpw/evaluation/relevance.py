"""Which queries have a relevant reference, that is one with the label of the query.

Shapes: N queries, M references.
"""

import warnings

import torch
from torch import Tensor

from .retrieval import RetrievalTask


def has_relevant_reference(task: RetrievalTask) -> Tensor:
    """Whether each query (N,) has a relevant reference other than its own row."""
    return count_relevant(task) > 0


def count_relevant(task: RetrievalTask) -> Tensor:
    """The number of relevant references of each query (N,), not counting its own row."""
    same_label = count_same_label(task.query_labels, task.reference_labels)
    return same_label - (task.self_index >= 0).long()


def count_same_label(query_labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The number of references (M,) that have the label of each query (N,)."""
    labels = reference_labels.sort().values
    end = torch.searchsorted(labels, query_labels, right=True)
    return end - torch.searchsorted(labels, query_labels)


def warn_without_relevant(
    has_relevant: Tensor, stacklevel: int, metrics: str = "Recall@K is"
) -> None:
    """Warn once of the queries that ``has_relevant`` (N,) leaves out of the mean, if any.

    ``metrics`` names what is a mean over queries, with its verb.
    """
    count = int((~has_relevant).sum())
    if count:
        consequence = f", which leaves none: {metrics} nan" if count == len(has_relevant) else ""
        names = metrics.rpartition(" ")[0]
        warnings.warn(
            f"{count} of {len(has_relevant)} queries have no relevant reference and are left out "
            f"of {names}{consequence}",
            stacklevel=stacklevel + 1,
        )
