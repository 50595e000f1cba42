"""The exact order of references: float64, and the index between equals.

Shapes: C queries of a block, L references of a list.
"""

import torch
from torch import Tensor

# Similarities of vectors of norm at most 1 that differ by less count as equal. The rounding of a
# float64 product is smaller, so that no kernel's order of summation decides a tie.
TIE_TOLERANCE = 1e-12


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
