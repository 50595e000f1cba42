"""Queries that no reference can answer."""

import warnings

import torch
from torch import Tensor

from .retrieval import Retrieval


def has_relevant(task: Retrieval) -> Tensor:
    """Which queries (N,) have a relevant reference besides their own row."""
    return same_label(task.query_labels, task.reference_labels) > (task.own >= 0)


def same_label(query_labels: Tensor, reference_labels: Tensor) -> Tensor:
    """How many references (M,) have the label of each query (N,)."""
    labels = reference_labels.sort().values
    up_to = torch.searchsorted(labels, query_labels, right=True)
    return up_to - torch.searchsorted(labels, query_labels)


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
