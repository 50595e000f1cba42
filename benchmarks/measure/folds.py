"""Class-disjoint folds of a training split."""

from typing import NamedTuple

import torch
from torch import Tensor


class Fold(NamedTuple):
    """Indices of images: to train on, (n,), and of the classes that are left out, (m,)."""

    train: Tensor
    validation: Tensor


def contiguous_folds(labels: Tensor, folds: int) -> list[Fold]:
    """Cut the sorted classes into contiguous parts of equal size, each left out once.

    Where classes do not divide evenly, the first parts have one more. ``labels``: integers (N,).
    Errors: ValueError for fewer than 2 folds, and for fewer classes than folds.

    Source: Musgrave, Belongie, Lim, A metric learning reality check, 2020.

    >>> fold = contiguous_folds(torch.tensor([3, 1, 2, 1, 0]), 2)[1]
    >>> fold.train.tolist(), fold.validation.tolist()
    ([1, 3, 4], [0, 2])
    """
    classes = labels.unique()
    if not 2 <= folds <= len(classes):
        raise ValueError(f"folds must be in 2..{len(classes)}, the number of classes, got {folds}")
    left_out = [torch.isin(labels, part) for part in classes.tensor_split(folds)]
    return [Fold((~mask).nonzero().flatten(), mask.nonzero().flatten()) for mask in left_out]
