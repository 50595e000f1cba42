"""This package's names in the modules of pytorch-metric-learning (PML)."""

from types import TracebackType
from typing import Any

import pytorch_metric_learning.losses
import pytorch_metric_learning.miners
import pytorch_metric_learning.reducers
from typing_extensions import Self

from . import losses, miners, named_losses
from .anchor_reducer import AnchorReducer
from .cross_batch_memory import CrossBatchMemory, names_of_losses
from .pair_similarity_loss import PairSimilarityLoss
from .pair_weight_reducer import PairWeightReducer
from .self_supervised_loss import SelfSupervisedLoss

CLASSES: dict[Any, tuple[type, ...]] = {
    pytorch_metric_learning.losses: (
        CrossBatchMemory,
        losses.GPWLoss,
        losses.MSLoss,
        losses.MSWeightedLoss,
        named_losses.CircleLoss,
        named_losses.DecoupledLoss,
        named_losses.FastAPLoss,
        named_losses.GradedContrastiveLoss,
        named_losses.GradedSupConLoss,
        named_losses.HardNTXentLoss,
        named_losses.MarginLoss,
        named_losses.NPairLoss,
        named_losses.NTXentLoss,
        named_losses.RankedListLoss,
        named_losses.SigmoidLoss,
        named_losses.SupConLoss,
        named_losses.TupletMarginLoss,
        PairSimilarityLoss,
        SelfSupervisedLoss,
    ),
    pytorch_metric_learning.miners: (miners.MSMiner, miners.PairMiner),
    pytorch_metric_learning.reducers: (AnchorReducer, PairWeightReducer),
}
WRAPPERS = (
    pytorch_metric_learning.losses.CrossBatchMemory,
    pytorch_metric_learning.losses.SelfSupervisedLoss,
)
"""Classes of PML that take the losses whose names they list, and no others."""
_ABSENT = object()


class Registration:
    """The names that a call of :func:`register` has put into PML; a context that removes them.

    >>> from pml_gpw.hosts.pml2 import register
    >>> with register() as names:
    ...     type(names).__name__
    'Registration'
    """

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def put(self, holder: Any, name: str, value: Any) -> None:
        """Set an attribute, and remember what was there."""
        self._before.append((holder, name, vars(holder).get(name, _ABSENT)))
        setattr(holder, name, value)

    def undo(self) -> None:
        """Leave PML as it was before."""
        while self._before:
            holder, name, value = self._before.pop()
            if value is _ABSENT:
                delattr(holder, name)
            else:
                setattr(holder, name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


def register(replace: bool = False) -> Registration:
    """Add the losses, miners and reducers of this package to the modules of PML, by their names.

    It is meant for frameworks that build an object by ``getattr(pytorch_metric_learning.losses,
    name)``. PML's own ``CrossBatchMemory`` and ``SelfSupervisedLoss`` keep lists of names; they
    then take the losses of this package, and subclasses of them that exist at the time of the call.

    Args:
        replace: True: ``CrossBatchMemory`` and ``SelfSupervisedLoss``, which PML has as well,
            become those of this package.

    The names stay until the returned object's ``undo()``, or until it is left as a context.

    >>> import pytorch_metric_learning.losses as theirs
    >>> from pml_gpw.hosts.pml2 import register
    >>> with register():
    ...     getattr(theirs, "MSLoss")(alpha=3.0).alpha
    3.0
    >>> hasattr(theirs, "MSLoss")
    False
    """
    done = Registration()
    for theirs, ours in CLASSES.items():
        for one in ours:
            if replace or not hasattr(theirs, one.__name__):
                done.put(theirs, one.__name__, one)
    for wrapper in WRAPPERS:
        supported = sorted({*wrapper.supported_losses(), *names_of_losses()})
        done.put(wrapper, "supported_losses", staticmethod(supported.copy))
    return done
