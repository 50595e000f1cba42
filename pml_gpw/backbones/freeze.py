"""Batch normalisation with the statistics of pretraining."""

from functools import cache
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Module = TypeVar("Module", bound=nn.Module)


def freeze_batch_norm(module: Module) -> Module:
    """Freeze the running statistics of all batch normalisations in ``module``, in place.

    Their layers normalise by the running mean and variance and leave them as they are: they stay
    in evaluation mode, also after ``train()``. Scale and shift are trained as before; freeze them
    with ``requires_grad_(False)``. A module without batch normalisation is returned as it came.

    Fine-tuning on small batches of few classes, as in metric learning, has noisy and biased batch
    statistics; the released Multi-Similarity configuration freezes them.

    Copies, pickles and replicas of the module are frozen too; names in ``state_dict`` do not
    change. Conversion to ``SyncBatchNorm`` undoes it, and has no use after it: nothing is left to
    synchronise. Errors: ValueError unless ``module`` is an ``nn.Module``.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be an nn.Module, got {type(module).__name__}")
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _Frozen):
            # A layer that knows by its class keeps its name, its parameters and its hooks.
            layer_class: Any = type(layer)
            layer.__class__ = _frozen(layer_class)
            layer.eval()
    return module


class _Frozen:
    """In front of a batch normalisation's class: always in evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        return super().train(False)  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        # Its class is made on the fly, so a pickle names the class that it was made from.
        return _new, (type(self).__mro__[2],), self.__dict__


@cache
def _frozen(layer_class: Any) -> Any:
    return type(f"Frozen{layer_class.__name__}", (_Frozen, layer_class), {})


def _new(layer_class: Any) -> Any:
    made = _frozen(layer_class)
    return made.__new__(made)
