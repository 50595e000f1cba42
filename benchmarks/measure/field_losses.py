"""The losses of the field as jobs that are timed: ours, compiled, and PML's classes.

N embeddings, D dims.
"""

import resource
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_metric_learning.losses as theirs
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction

from pml_gpw import losses as ours
from pml_gpw.weightings import RowLoss

from . import steps
from .stopwatch import Step, in_a_process, peak_here

PML = "PML"
ARGUMENTS: Mapping[str, dict[str, Any]] = {"ranked-list": {"margin": 0.4, "Tn": 5.0}}
"""Of losses that have no defaults."""
LOSSES: Mapping[str, Callable[..., Any]] = {
    "SN": ours.MSWeightedLoss,
    "ntxent": ours.NTXentLoss,
    "supcon": ours.SupConLoss,
    "decoupled": ours.DecoupledLoss,
    "hard-ntxent": ours.HardNTXentLoss,
    "n-pair": ours.NPairLoss,
    "tuplet": ours.TupletMarginLoss,
    "circle": ours.CircleLoss,
    "sigmoid": ours.SigmoidLoss,
    "margin": ours.MarginLoss,
    "ranked-list": ours.RankedListLoss,
    "fast-ap": ours.FastAPLoss,
    "graded-contrastive": ours.GradedContrastiveLoss,
    "graded-supcon": ours.GradedSupConLoss,
}
"""Ours, by the names of rows."""
TWINS: Mapping[str, type[BaseMetricLossFunction]] = {
    "SN": theirs.MultiSimilarityLoss,
    **{n: getattr(theirs, c.__name__) for n, c in LOSSES.items() if hasattr(theirs, c.__name__)},
}
"""PML's classes of the same names as ours."""
METHODS: Mapping[str, tuple[str, ...]] = {
    name: ("streamed", "fused", *((PML,) if name in TWINS else ())) for name in LOSSES
}
BY_HAND = [
    name
    for name, make in LOSSES.items()
    if not isinstance(make(**ARGUMENTS.get(name, {})).weighting, RowLoss)
]


def step(name: str, method: str, n: int, dims: int) -> Step:
    """Forward and backward of random embeddings; or the floor."""
    batch = steps.Batch("random", n, dims, mined=False)
    x, labels = batch.embeddings("cpu")
    if method == "floor":
        unit = torch.nn.functional.normalize(x)
        return steps.floor_of(unit, unit)
    arguments = ARGUMENTS.get(name, {})
    if method == PML:
        loss: Any = TWINS[name](**arguments)
    else:
        loss = LOSSES[name](**arguments, fused=method == "fused")
        if method == "fused":
            loss.warm_up()
    x.requires_grad_()
    return lambda: steps.forward_and_backward(x, lambda: loss(x, labels), "cpu")


def peak_within(limit: float, *job: Any) -> float:
    """The peak memory, MB beyond the inputs, of a step in a process; NaN beyond a limit in GB."""
    return in_a_process(_peak, limit, job)


def _peak(limit: float, job: tuple[Any, ...]) -> float:
    run = step(*job)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(limit * 1e9),) * 2)
    try:
        return peak_here(run)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return float("nan")
