"""The losses of the field as jobs that are timed: ours, compiled, and PML's classes.

N embeddings, D dims.
"""

import multiprocessing
import resource
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_metric_learning.losses as theirs
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction

from pml_gpw import losses as ours
from pml_gpw.weightings import RowLoss

from . import steps
from .stopwatch import Step, peak_here

PML = "PML"
ARGUMENTS: Mapping[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 5.0}}
"""Of losses that have no defaults."""
LOSSES: Mapping[str, Callable[..., Any]] = {
    "MSWeightedLoss": ours.MSWeightedLoss,
    "NTXentLoss": ours.NTXentLoss,
    "SupConLoss": ours.SupConLoss,
    "DecoupledLoss": ours.DecoupledLoss,
    "HardNTXentLoss": ours.HardNTXentLoss,
    "NPairLoss": ours.NPairLoss,
    "TupletMarginLoss": ours.TupletMarginLoss,
    "CircleLoss": ours.CircleLoss,
    "SigmoidLoss": ours.SigmoidLoss,
    "MarginLoss": ours.MarginLoss,
    "RankedListLoss": ours.RankedListLoss,
    "FastAPLoss": ours.FastAPLoss,
    "GradedContrastiveLoss": ours.GradedContrastiveLoss,
    "GradedSupConLoss": ours.GradedSupConLoss,
}
TWINS: Mapping[str, type[BaseMetricLossFunction]] = {
    "MSWeightedLoss": theirs.MultiSimilarityLoss,
    **{name: getattr(theirs, name) for name in LOSSES if hasattr(theirs, name)},
}
"""PML's classes, by the names of ours."""
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
    pool = multiprocessing.get_context("spawn").Pool(1)
    try:
        found: float = pool.apply(_peak, (limit, torch.get_num_threads(), job))
        return found
    finally:  # closed rather than ended, so that the process cleans up behind itself
        pool.close()
        pool.join()


def _peak(limit: float, threads: int, job: tuple[Any, ...]) -> float:
    torch.set_num_threads(threads)
    run = step(*job)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(limit * 1e9),) * 2)
    try:
        return peak_here(run)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return float("nan")
