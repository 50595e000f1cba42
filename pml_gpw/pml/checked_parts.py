"""Distance, reducer and regularizer of a PML module, checked whenever they are set."""

from typing import Any

from pytorch_metric_learning.distances import BaseDistance
from pytorch_metric_learning.reducers import BaseReducer
from pytorch_metric_learning.regularizers import BaseRegularizer

from .. import checks

KINDS: dict[str, type] = {
    "distance": BaseDistance,
    "reducer": BaseReducer,
    "embedding_regularizer": BaseRegularizer,
}


class CheckedParts:
    """Mixin before a PML module: what is no part of its kind is refused with a ValueError.

    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss()
    >>> loss.distance = loss.reducer
    Traceback (most recent call last):
    ValueError: distance must be a BaseDistance, got MeanReducer()
    """

    def __init__(self, **kwargs: Any) -> None:
        for name, kind in KINDS.items():  # PML copies a reducer before it is set
            if kwargs.get(name) is not None:
                checks.instance(name, kwargs[name], kind)
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        # PML has a bool in the place of a regularizer until torch has made the module.
        unset = name == "embedding_regularizer" and (value is None or isinstance(value, bool))
        if name in KINDS and not unset:
            checks.instance(name, value, KINDS[name])
        elif name == "embedding_reg_weight":
            checks.finite(name, value)
        super().__setattr__(name, value)
