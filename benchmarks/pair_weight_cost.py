"""What it costs to see the pair weights, and pictures of them.

python -m benchmarks.pair_weight_cost --help
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import nn
from torch.nn.functional import normalize
from tqdm import tqdm

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import PairWeightRecorder, pair_weights, plots
from pml_gpw.backbones import backbone
from pml_gpw.datasets import Glyphs
from pml_gpw.training.environment import environment
from pml_gpw.weightings import Contrastive, LiftedStructure, Triplet

from .data import options
from .data.faults import command, output_folder
from .data.plan import checked_losses
from .data.presets import PER_CLASS
from .measure.steps import embeddings
from .measure.stopwatch import Marks, now, time_in_turns
from .report.saving import RESULTS, save

USUAL = "MultiSimilarityLoss,ContrastiveLoss,NCALoss,CircleLoss,SN,N"
FIELD = "pml_gpw.losses:NTXentLoss,supcon,circle,sigmoid,tuplet,margin,ranked-list,fast-ap"
"""Losses of the field, as this package has them."""
BATCH, DIMS, EVERY = 80, 128, 50
SIZE = 1024  # of the batch whose pair weights are timed


@command
def main(
    iterations: Annotated[int, typer.Option(min=1, help="Training steps on Glyphs.")] = 500,
    seconds: options.Seconds = 4.0,
    output: options.Output = RESULTS,
    losses: options.Losses = "all",
) -> None:
    """Time pair_weights and the recorder, and draw weights during and after a training.

    With `--losses` the cost and the weights of just these, on a batch after that training.
    """
    output_folder(output)
    usual, name = losses == "all", "pair-weight-cost" + "-losses" * (losses != "all")
    rows = checked_losses(f"{USUAL},{FIELD}" if usual else losses)
    chosen = {row.name: row.make() for row in rows.values()}
    costs = [_cost_of_pair_weights(n, *one, seconds) for n, one in chosen.items()]
    table = pd.DataFrame([*costs, _cost_of_recording(seconds)] if usual else costs)
    text = (
        "### What pair weights cost\n\n"
        f"`pair_weights` of {SIZE:,} embeddings beside forward and backward of the loss alone; "
        f"{EVERY} training steps on Glyphs that `PairWeightRecorder` reads once, beside {EVERY} "
        "without it. "
        f"Medians, in turns.\n\n{table.to_markdown(index=False, floatfmt='.3g')}\n\n"
        f"{environment()}\n"
    )
    save(output, {f"{name}.md": text, f"{name}.csv": table.to_csv(index=False)})
    history, x, y = _train(iterations)
    if not usual:
        shown = {n: (loss, miner) for n, (miner, loss) in chosen.items()}
        draw = partial(plots.plot_weight_against_similarity, shown, x, y)
        save(output, {f"{name}.png": lambda path: _picture(path, lambda ax: draw(ax=ax))})
        typer.echo(text)
        return
    pictures: dict[str, Callable[[Path], None]] = {
        "weights-in-training.png": partial(_training_curves, history),
        "weight-against-similarity.png": partial(_weights_of_losses, x, y),
        "weights-of-the-field.png": partial(_weights_of_the_field, x, y),
        "weight-fields.png": _weight_fields,
        "batch-of-weights.png": partial(_batch, x, y),
    }
    save(output, pictures)
    typer.echo(text)


def _cost_of_pair_weights(
    name: str, miner: nn.Module | None, loss: nn.Module, seconds: float
) -> dict[str, Any]:
    x, y = embeddings("trained-like", SIZE, 128)
    steps: dict[str, Callable[[], Marks]] = {
        "without": partial(_forward_backward, miner, loss, x, y),
        "with": partial(_timed, partial(pair_weights, loss, x, y, miner)),
    }
    return _row(f"pair_weights, {name}", steps, seconds)


def _cost_of_recording(seconds: float) -> dict[str, Any]:
    """One round of ``EVERY`` steps with and without the recorder."""
    plain, watched = _Training(), _Training()
    recorder = PairWeightRecorder(watched.loss, every=EVERY)

    def rounds(training: _Training, hook: Callable[[int], object]) -> Marks:
        begin = now()
        for step in range(1, EVERY + 1):
            training.step()
            hook(step)
        return [begin, now()]

    steps = {
        "without": lambda: rounds(plain, lambda step: None),
        "with": lambda: rounds(watched, recorder),
    }
    return _row(f"{EVERY} training steps, MSLoss", steps, 5 * seconds)


def _row(what: str, steps: dict[str, Callable[[], Marks]], seconds: float) -> dict[str, Any]:
    times = {name: t.summary() for name, t in time_in_turns(steps, seconds).items()}
    return {
        "what": what,
        "step alone, ms": times["without"]["ms"],
        "with pair weights, ms": times["with"]["ms"],
        "ratio": times["with"]["ms"] / times["without"]["ms"],
    }


def _forward_backward(
    miner: nn.Module | None, loss: nn.Module, x: torch.Tensor, y: torch.Tensor
) -> Marks:
    leaf = x.clone().requires_grad_()

    def step() -> None:
        unit = normalize(leaf)
        loss(unit, y, None if miner is None else miner(unit, y)).backward()

    return _timed(step)


def _timed(call: Callable[[], object]) -> Marks:
    begin = now()
    call()
    return [begin, now()]


class _Training:
    """The network of the main job on Glyphs, step by step, without a trainer around it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        data = Glyphs(split="train")
        self.images, self.labels = data.images[:, None] / 255, data.labels
        trunk = backbone("small_cnn", pooling="own")
        self.model = nn.Sequential(trunk, nn.Linear(trunk.features, DIMS))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        self.loss = MSLoss()
        self.sampler = MPerClassSampler(
            self.labels, PER_CLASS, BATCH, length_before_new_iter=1000 * BATCH
        )
        self.batches: Iterator[torch.Tensor] = iter(())

    def batch(self) -> torch.Tensor:
        """Indices of the next batch."""
        chosen = next(self.batches, None)
        if chosen is None:
            self.batches = iter(torch.tensor(list(self.sampler)).split(BATCH))
            chosen = next(self.batches)
        return chosen

    def step(self) -> None:
        """One step of training."""
        chosen = self.batch()
        self.optimizer.zero_grad()
        self.loss(self.model(self.images[chosen]), self.labels[chosen]).backward()
        self.optimizer.step()


def _train(iterations: int) -> tuple[list[dict[str, float]], torch.Tensor, torch.Tensor]:
    """What the recorder saw, and the embeddings and labels of one more batch."""
    training = _Training()
    recorder = PairWeightRecorder(training.loss, every=max(1, iterations // 50))
    for step in tqdm(range(1, iterations + 1), unit="it", disable=False):
        training.step()
        recorder(step)
    chosen = training.batch()
    with torch.no_grad():
        x = copy.deepcopy(training.model)(training.images[chosen])
    return recorder.history, x, training.labels[chosen]


def _training_curves(history: list[dict[str, float]], path: Path) -> None:
    _picture(path, lambda ax: plots.plot_training(history, ax=ax))


def _weights_of_losses(x: torch.Tensor, y: torch.Tensor, path: Path) -> None:
    cosine = {"distance": distances.CosineSimilarity()}
    shown = {
        "contrastive (cosine)": losses.ContrastiveLoss(1, 0.5, **cosine),
        "triplet (cosine)": losses.TripletMarginLoss(**cosine),
        "NT-Xent": losses.NTXentLoss(),
        "lifted structure": GPWLoss(LiftedStructure(2, 50, margin=None)),
        "Multi-Similarity, not mined": MSWeightedLoss(),
        "Multi-Similarity, mined": (MSWeightedLoss(), MSMiner()),
    }
    _picture(path, lambda ax: plots.plot_weight_against_similarity(shown, x, y, ax=ax))


def _weights_of_the_field(x: torch.Tensor, y: torch.Tensor, path: Path) -> None:
    """Four losses a panel."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    shown = [(name, row.make()[1]) for name, row in checked_losses(FIELD).items()]
    for ax, some in zip(figure.subplots(1, 2), (shown[:4], shown[4:]), strict=True):
        plots.plot_weight_against_similarity(dict(some), x, y, ax=ax)
    figure.savefig(path, dpi=130)


def _weight_fields(path: Path) -> None:
    shown = {
        "Contrastive (S)": GPWLoss(Contrastive(0.55)),
        "Lifted structure (N)": GPWLoss(LiftedStructure(2, 10, margin=None)),
        "Triplet (P)": GPWLoss(Triplet(0.1)),
        "Multi-Similarity, mined (S, N, P)": MSLoss(beta=10),
    }
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    for ax, (name, loss) in zip(figure.subplots(2, 2).flat, shown.items(), strict=True):
        plots.plot_weight_field(loss, ax).set_title(name, loc="left", fontsize="medium")
    figure.savefig(path, dpi=130)


def _batch(x: torch.Tensor, y: torch.Tensor, path: Path) -> None:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    table = pair_weights(MSWeightedLoss(), x, y, MSMiner())
    for ax, what in zip(figure.subplots(1, 2), ("similarity", "weight"), strict=True):
        plots.plot_batch(table, what, ax)
    figure.savefig(path, dpi=130)


def _picture(path: Path, draw: Callable[[Any], object]) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    typer.run(main)
