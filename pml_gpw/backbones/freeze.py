"""Batch normalization with the running statistics of the pretrained weights."""

from functools import cache
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Module = TypeVar("Module", bound=nn.Module)


def freeze_batch_norm(module: Module) -> Module:
    """Freeze the running statistics of all batch normalizations in ``module``, in place.

    These layers normalize by the running mean and variance and do not update them: they stay in
    evaluation mode, also after ``train()``. Scale and shift are trained as before; freeze them
    with ``requires_grad_(False)``. A module without batch normalization is returned unchanged.

    In fine-tuning on small batches of few classes, as in metric learning, batch statistics are
    noisy and biased; the released Multi-Similarity configuration freezes them.

    Copies, pickles and replicas of the module are frozen too; names in ``state_dict`` do not
    change. Conversion to ``SyncBatchNorm`` undoes it and is not needed, since no batch statistics
    are left to synchronize. Errors: ValueError unless ``module`` is an ``nn.Module``.

    >>> import torch
    >>> from pml_gpw.backbones import freeze_batch_norm
    >>> model = freeze_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    >>> _ = model.train()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> model[0].running_mean
    tensor([0., 0.])
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be an nn.Module, got {type(module).__name__}")
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _FrozenStatistics):
            # With a change of class the layer keeps its name, its parameters and its hooks.
            layer_class: Any = type(layer)
            layer.__class__ = _frozen_class(layer_class)
            layer.eval()
    return module


class _FrozenStatistics:
    """A mixin, before a class of batch normalizations, that is always in evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        return super().train(False)  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made at run time, so a pickle names the class that it was derived from.
        return _new_frozen, (type(self).__mro__[2],), self.__dict__


@cache
def _frozen_class(layer_class: Any) -> Any:
    """Derive from a class of batch normalizations one whose statistics are frozen."""
    return type(f"Frozen{layer_class.__name__}", (_FrozenStatistics, layer_class), {})


def _new_frozen(layer_class: Any) -> Any:
    """Make an object of the frozen class without its attributes, which unpickling sets."""
    frozen_class = _frozen_class(layer_class)
    return frozen_class.__new__(frozen_class)
