"""Queries that no reference can answer."""

import warnings

import torch
from torch import Tensor

from .retrieval import Retrieval


def has_relevant(task: Retrieval) -> Tensor:
    """Which queries (N,) have a relevant reference besides their own row."""
    labels, counts = task.reference_labels.unique(return_counts=True)
    place = torch.searchsorted(labels, task.query_labels).clamp(max=len(labels) - 1)
    found = labels[place] == task.query_labels
    return found & (counts[place] > (task.own >= 0))


def warn_of_lone(answerable: Tensor, stacklevel: int) -> None:
    """Say once how many of the queries (N,) are left out of the mean, if any."""
    lone = int((~answerable).sum())
    if lone:
        result = ", which leaves none: Recall@K is nan" if lone == len(answerable) else ""
        warnings.warn(
            f"{lone} of {len(answerable)} queries have no relevant reference and are left out of "
            f"Recall@K{result}",
            stacklevel=stacklevel + 1,
        )
