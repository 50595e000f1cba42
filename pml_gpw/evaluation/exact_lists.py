"""Lists of the nearest references in their exact order: float64, and the index between equals.

Shapes: N queries, C queries of a block, M references, E dims, R references wanted,
L references of a list.
"""

import torch
from torch import Tensor

from .backends import row_blocks
from .exact import FLOAT64_BLOCK_SIZE, TIE_TOLERANCE


def exact_relevance(
    query: Tensor,
    query_labels: Tensor,
    self_index: Tensor,
    length: int,
    reference: Tensor,
    reference_labels: Tensor,
) -> Tensor:
    """Whether each of the ``length`` = R nearest references of each query is relevant, (N, R).

    Shapes: ``query`` (N, E) and ``reference`` (M, E) in float64, ``query_labels`` (N,),
    ``reference_labels`` (M,), ``self_index`` (N,): the query's own row among the references, or
    -1. There must be R references beside the own row.
    """
    columns = torch.arange(len(reference), device=reference.device)
    result = query_labels.new_empty((len(query), length), dtype=torch.bool)
    for rows in row_blocks(len(query), len(reference), FLOAT64_BLOCK_SIZE):
        similarities = query[rows] @ reference.T
        similarities.masked_fill_(columns == self_index[rows, None], -torch.inf)
        nearest = first_largest(similarities, length)
        relevant = reference_labels[nearest] == query_labels[rows, None]
        result[rows] = relevant.gather(1, exact_order(similarities.gather(1, nearest), nearest))
    return result


def first_largest(similarities: Tensor, length: int) -> Tensor:
    """The columns (C, L) of the ``length`` largest similarities of each row (C, M), ascending.

    Of equal ones, up to TIE_TOLERANCE, the first columns are taken.
    """
    if length == 0:
        return similarities.new_empty((len(similarities), 0), dtype=torch.int64)
    smallest = similarities.topk(length, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    larger = similarities > smallest + TIE_TOLERANCE
    equal = (similarities >= smallest - TIE_TOLERANCE) & ~larger
    room = length - larger.sum(dim=1, keepdim=True)
    taken = larger | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return taken.nonzero()[:, 1].view(-1, length)


def exact_order(similarities: Tensor, columns: Tensor) -> Tensor:
    """The order (C, L) by float64 similarity, the largest first, and between equal ones by column.

    Neighbours in that order count as equal where they differ by less than TIE_TOLERANCE.
    """
    descending, order = similarities.sort(dim=1, descending=True)
    # Of two -inf the difference is NaN, and they count as equal.
    differ = descending[:, :-1] - descending[:, 1:] > TIE_TOLERANCE
    if bool(differ.all()):
        return order
    group = torch.nn.functional.pad(differ.cumsum(dim=1), (1, 0))
    columns = columns.gather(1, order)
    num_columns = columns.amax() + 1
    return order.gather(1, (group * num_columns + columns).argsort(dim=1))
