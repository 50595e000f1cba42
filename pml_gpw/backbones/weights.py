"""Weights from files: every tensor has its place and every place its tensor."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

PRETRAINED = "pretrained"
Weights = str | os.PathLike[str] | None


def checked_weights(weights: Weights) -> Path | None:
    """The file that ``weights`` names, if it names one; raises unless that exists."""
    if weights is None or weights == PRETRAINED:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(f"weights must be None, 'pretrained' or a path, got {weights!r}")
    if not Path(weights).is_file():
        raise ValueError(
            f"weights must be None, 'pretrained' or the path of a file, got {str(weights)!r}, "
            "which is no file"
        )
    return Path(weights)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict's file; prefixes ``module.`` of DataParallel are left out.

    Raises ValueError, naming the file, if it is damaged, holds code or is no state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in a dozen ways, by where it is damaged
        raise ValueError(
            f"weights must be a state dict, got {str(path)!r}, which is damaged or holds more "
            "than tensors"
        ) from error
    return checked_state_dict(state, str(path))


def checked_state_dict(state: object, source: str) -> dict[str, Tensor]:
    """``state`` as a flat dict of names and tensors, without prefixes ``module.``."""
    if not (
        isinstance(state, Mapping)
        and state
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise ValueError(f"weights must be a dict of names and tensors, got {source}")
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    rename: Callable[[str], str] = str,
) -> None:
    """Load ``state`` into ``module``: the same names and shapes, or a ValueError naming them.

    ``rename`` maps a name of the module to the name in ``state``. Only ``num_batches_tracked``
    may be missing: files older than torch 0.4.1 do not have it, and only a batch normalisation
    with momentum None reads it.
    """
    own = {rename(name): name for name in module.state_dict()}
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        raise ValueError(
            f"weights must fill the network, got {source} with missing names: "
            f"{_some(missing)}; unexpected names: {_some(unexpected)}"
        )
    places = module.state_dict()
    wrong = [
        f"{name} {tuple(tensor.shape)}, not {tuple(places[own[name]].shape)}"
        for name, tensor in state.items()
        if tensor.shape != places[own[name]].shape
    ]
    if wrong:
        raise ValueError(f"weights must fit the network, got {source} with {_some(wrong)}")
    module.load_state_dict({own[n]: tensor for n, tensor in state.items()}, strict=False)


def _some(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
