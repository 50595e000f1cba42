"""The identity of a training: settings, loss and miner, labels."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ..mining import PairMining
from ..weightings import PairWeighting
from .environment import function_digest
from .experiment import Experiment

PACKAGE = __name__.partition(".")[0]
RULES = ("weighting", "mining")
PROGRESS = ("queue_idx",)
"""Attributes of a memory that PML records as hyper-parameters and that are none."""
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""The address of a function or object in its repr: in each process another."""


def describe(
    experiment: Experiment, loss: nn.Module, miner: nn.Module | None, datasets: Iterable[Any]
) -> dict[str, Any]:
    """The identity of a training, as it comes back from a JSON file."""
    described = {
        "experiment": {**experiment.settings(), "seed": experiment.seed},
        "loss_func": _hyperparameters(loss),
        "mining_func": _hyperparameters(miner),
        "data": [None if dataset is None else _labels(dataset) for dataset in datasets],
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def refuse_another(folder: Path, found: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Raise a ValueError where a folder holds what was found, and not what is described."""
    theirs, ours = (
        {**one["experiment"], **{name: one.get(name) for name in described}}
        for one in (found, described)
    )
    del theirs["experiment"], ours["experiment"]
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            raise ValueError(
                f"folder must be that of the same training, got {folder} with {name} "
                f"{theirs.get(name)!r}, not {ours.get(name)!r}: give another folder, or remove it"
            )


def parameters(modules: Iterable[nn.Module]) -> str:
    """The count of the numbers in modules, and a digest of names and shapes of their tensors."""
    states = [[*module.state_dict().items()] for module in modules]
    tensors = [(name, t) for state in states for name, t in state if isinstance(t, Tensor)]
    shapes = str([(name, tuple(tensor.shape)) for name, tensor in tensors]).encode()
    return f"{sum(t.numel() for _, t in tensors)} {hashlib.sha256(shapes).hexdigest()[:12]}"


def _labels(dataset: Any) -> str:
    """The number of items, and a digest of the labels where there are labels."""
    labels = getattr(dataset, "labels", None)
    if labels is None:
        return f"{len(dataset)}"
    numbers = torch.as_tensor(labels).cpu().to(torch.int64).numpy().tobytes()
    return f"{len(dataset)} {hashlib.sha256(numbers).hexdigest()[:12]}"


def _hyperparameters(module: nn.Module | None) -> str | None:
    """The classes of a loss or miner and of its parts, with what PML records of them.

    Without tensors, which are trained.
    """
    if module is None:
        return None
    texts = []
    for place, part in module.named_modules():
        names = [*RULES, *(n for n in getattr(part, "_record_these", []) if n not in PROGRESS)]
        found = {name: getattr(part, name) for name in names if hasattr(part, name)}
        values = [f"{n}={v!r}{_formula(v)}" for n, v in found.items() if not isinstance(v, Tensor)]
        texts.append(f"{place and f'{place}: '}{type(part).__name__}({', '.join(values)})")
    return ADDRESS.sub("", "; ".join(texts))


def _formula(rule: Any) -> str:
    """A digest of the methods of a weighting or mining that is not of this package."""
    kinds = [k for k in type(rule).__mro__ if k.__module__.partition(".")[0] != PACKAGE]
    if not isinstance(rule, PairWeighting | PairMining) or kinds == [object]:
        return ""
    members = [*(vars(kind) for kind in kinds[:-1]), getattr(rule, "__dict__", {})]
    named = [(n, m) for some in members for n, m in some.items() if not n.startswith("__")]
    return f" {function_digest(m for _, m in named if isinstance(m, FunctionType))}"
