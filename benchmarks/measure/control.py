"""Our Multi-Similarity loss beside that of pytorch-metric-learning, at every step of one training.

Two trainings that differ by rounding drift apart, so recalls may differ by chance. On the same
embeddings the two losses must agree to rounding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pml_gpw.training import Trainer, processes
from pml_gpw.training.file_errors import reading_file

from ..data.faults import AGAIN
from ..data.presets import BenchmarkExperiment
from ..data.rows import CONTROL, CONTROLLED, ROWS, MinerAndLoss

OURS, THEIRS = CONTROLLED, CONTROL
LOG = Path("logs", "control.csv")  # below a run; what is in logs/ goes back with a checkpoint


def is_watched(experiment: BenchmarkExperiment) -> bool:
    """Whether a run is the one in which the losses are compared."""
    in_one = processes.launched_processes() == 1
    return in_one and not experiment.memory and (experiment.loss, experiment.seed) == (OURS, 0)


def watch(
    experiment: BenchmarkExperiment, loss: nn.Module, folder: Path
) -> Callable[[Trainer], None] | None:
    """Let both losses see what the loss of a run sees; what is to be called after each step.

    Neither draws random numbers nor touches what is trained.
    """
    if not is_watched(experiment):
        return None
    pair = [ROWS[name].of_experiment(experiment.hyperparameters) for name in (OURS, THEIRS)]
    last: list[float] = []

    def see(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        last[:] = differences(pair[0], pair[1], inputs[0].detach(), inputs[1])

    def write(trainer: Trainer) -> None:
        path, step = folder / LOG, trainer.get_global_iteration() + 1
        with path.open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write("step,value,gradient\n")
            file.write(",".join(map(str, (step, *last))) + "\n")

    loss.register_forward_hook(see)
    return write


def differences(
    ours: MinerAndLoss, theirs: MinerAndLoss, embeddings: Tensor, labels: Tensor
) -> tuple[float, float]:
    """The relative differences of value and gradient; the latter of its largest entries."""
    (value, gradient), (other_value, other_gradient) = (
        _value_and_gradient(*pair, embeddings, labels) for pair in (ours, theirs)
    )
    return (
        _relative((value - other_value).abs(), other_value.abs()),
        _relative((gradient - other_gradient).abs().max(), other_gradient.abs().max()),
    )


def lines(run: Path, steps: int) -> list[str]:
    """The largest differences of a run, as a paragraph; none where it was not watched to its end.

    Errors: FileError for a log that is none.
    """
    path = run / LOG
    if not path.exists():
        return []
    with reading_file(path, AGAIN):
        log = pd.read_csv(path).astype({"step": int, "value": float, "gradient": float})
    if [*log["step"]] != [*range(1, steps + 1)]:
        return []
    return [
        f"Control: on the same embeddings at each of the {steps} steps of {OURS}, seed 0, loss and "
        f"gradient of {OURS} differ from those of {THEIRS} by at most {log['value'].max():.1e} and "
        f"{log['gradient'].max():.1e}, relative to their size (float32 has 1.2e-07).",
        "",
    ]


def _value_and_gradient(
    miner: nn.Module | None, loss: nn.Module, embeddings: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels, None if miner is None else miner(leaf, labels))
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _relative(difference: Tensor, size: Tensor) -> float:
    return float(difference / size) if size > 0 else float(difference)
