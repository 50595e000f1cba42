"""Distance, reducer and regularizer of a PML module, checked whenever they are set."""

from typing import Any

from pytorch_metric_learning.distances import BaseDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.miners import BaseMiner
from pytorch_metric_learning.reducers import BaseReducer
from pytorch_metric_learning.regularizers import BaseRegularizer
from torch import Tensor

from ... import checks
from ...modules.attributes import refuse_unknown

KINDS: dict[str, type] = {
    "distance": BaseDistance,
    "reducer": BaseReducer,
    "embedding_regularizer": BaseRegularizer,
}


def checked_part(name: str, value: Any) -> None:
    """Raise a ValueError for what cannot be a distance, a reducer or a regularizer.

    As in PML a module, or a function, of one's own will do that is called as PML's are.
    """
    kind = KINDS[name]
    if isinstance(value, kind):
        return
    is_other = isinstance(value, (*KINDS.values(), BaseMetricLossFunction, BaseMiner))
    has_what_it_needs = name != "distance" or isinstance(getattr(value, "is_inverted", None), bool)
    if isinstance(value, type) or is_other or not callable(value) or not has_what_it_needs:
        raise ValueError(f"{name} must be a {kind.__name__} or called like one, got {value!r}")


class CheckedParts:
    """Mixin before a PML module: what is no part of its kind is refused with a ValueError.

    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss()
    >>> loss.distance = loss.reducer
    Traceback (most recent call last):
    ValueError: distance must be a BaseDistance or called like one, got MeanReducer()
    """

    # Of PML's base classes, which say nothing of types.
    add_embedding_regularization_to_loss_dict: Any
    distance: Any
    reducer: Any
    reset_stats: Any
    zero_loss: Any
    zero_losses: Any

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown(self, kwargs)
        for name in KINDS:  # PML copies a reducer before it is set
            if kwargs.get(name) is not None:
                checked_part(name, kwargs[name])
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        # PML has a bool in the place of a regularizer until torch has made the module.
        unset = name == "embedding_regularizer" and (value is None or isinstance(value, bool))
        if name in KINDS and not unset:
            checked_part(name, value)
        elif name == "embedding_reg_weight" and not isinstance(value, Tensor):
            checks.finite(name, value)
        super().__setattr__(name, value)
