"""Weights from files, which must fit a network exactly."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checks

PRETRAINED = "pretrained"
Weights = str | os.PathLike[str] | None


def weights_file(weights: Weights) -> Path | None:
    """Return the file that ``weights`` names; None where it names none.

    Raises a ValueError for another type, and for a file that does not exist.
    """
    if weights is None or weights == PRETRAINED:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(f"weights must be None, 'pretrained' or a path, got {weights!r}")
    if not os.path.isfile(weights):
        raise ValueError(
            f"weights must be None, 'pretrained' or the path of a file, got {str(weights)!r}, "
            "which is no file"
        )
    return Path(weights)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict; the prefixes ``module.`` of DataParallel are removed.

    Raises ValueError, naming the file, if it is damaged, holds code or is no state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise exceptions of every kind
        raise ValueError(
            f"weights must be a state dict, got {str(path)!r}, which is damaged or holds more "
            "than tensors"
        ) from error
    return validate_state_dict(state, str(path))


def validate_state_dict(state: object, source: str) -> dict[str, Tensor]:
    """Return ``state`` without prefixes ``module.``.

    Raises ValueError unless it maps names to dense tensors that hold values.
    """
    if not (
        isinstance(state, Mapping)
        and state
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise ValueError(f"weights must be a dict of names and tensors, got {source}")
    for name, tensor in state.items():
        checks.with_values(f"weights[{name!r}] of {source}", tensor)
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def load_exactly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    rename: Callable[[str], str] = str,
) -> None:
    """Load ``state`` into ``module``, wholly or, after a ValueError, not at all.

    All names and shapes must be the same, and numbers of the same kind: floating point where the
    network has it, and then finite in its precision where its own are. ``rename`` maps a name of
    the module to its name in ``state``. Only ``num_batches_tracked`` may be missing: files older
    than torch 0.4.1 do not have it, and only a batch normalization with momentum None reads it.
    """
    names = {rename(name): name for name in module.state_dict()}
    missing = [n for n in names if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in names]
    if missing or unexpected:
        advice = (
            ". Where the same tensors have other names, save them under these: "
            "torch.save({new[name]: tensor for name, tensor in torch.load(path).items()}, other)"
        )
        raise ValueError(
            f"weights must fill the network, got {source} with missing names: "
            f"{_join_first(missing)}; unexpected names: {_join_first(unexpected)}"
            f"{advice * bool(missing and unexpected)}"
        )
    current = module.state_dict()
    wrong = [
        f"{name} {tuple(tensor.shape)}, not {tuple(current[names[name]].shape)}"
        for name, tensor in state.items()
        if tensor.shape != current[names[name]].shape
    ]
    if wrong:
        raise ValueError(f"weights must fit the network, got {source} with {_join_first(wrong)}")
    for name, tensor in state.items():
        _check_numbers(f"weights[{name!r}] of {source}", tensor, current[names[name]])
    module.load_state_dict({names[n]: tensor for n, tensor in state.items()}, strict=False)


def _check_numbers(name: str, tensor: Tensor, own: Tensor) -> None:
    """Raise a ValueError unless the numbers of ``tensor`` can take the place of ``own``."""
    if not own.is_floating_point():
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f"{name} must be integers, got {tensor.dtype}")
        return
    if tensor.dtype not in checks.FLOATS:
        raise ValueError(f"{name} must be floating point of 16, 32 or 64 bits, got {tensor.dtype}")
    bad = ~tensor.to(own.dtype).isfinite()
    if bad.any() and own.isfinite().all():
        raise ValueError(
            f"{name} must be finite in {own.dtype}, got {tensor[bad][0].item()} in "
            f"{int(bad.sum())} of {tensor.numel()} places"
        )


def _join_first(names: list[str], limit: int = 8) -> str:
    first = ", ".join(names[:limit]) or "none"
    return f"{first} and {len(names) - limit} more" if len(names) > limit else first
