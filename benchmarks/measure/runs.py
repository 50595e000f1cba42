"""The trainings of a plan: what is finished is kept, what was interrupted goes on."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from torch import nn
from tqdm import tqdm

from pml_gpw.backbones import backbone, embedding_head
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.training import Checkpoints, Trainer, processes, train_and_evaluate
from pml_gpw.training.experiment import epoch_seed
from pml_gpw.training.results import RESULT, finished
from pml_gpw.training.trainer import seed_all

from ..data.datasets import Data
from ..data.faults import AGAIN, within
from ..data.presets import BenchmarkExperiment
from ..data.rows import MinerAndLoss, Row

HEADS: dict[str, Callable[[int, int], nn.Module]] = {"he": embedding_head, "torch": nn.Linear}

Watch = Callable[[BenchmarkExperiment, nn.Module, Path], Callable[[Trainer], object] | None]


class Place(NamedTuple):
    """Where runs lie and compute: nothing that their results depend on."""

    output: Path
    weights: str | None
    device: torch.device
    backend: str = "auto"
    workers: int = 0


def train_all(
    plan: Sequence[BenchmarkExperiment],
    rows: Mapping[str, Row],
    data: Data,
    place: Place,
    fresh: bool,
    watch: Watch = lambda *_: None,
) -> list[dict[str, Any]]:
    """The results of a plan, in its order; all processes of a group call it.

    ``rows``: the losses by the names that the plan has. Each run has a folder, below
    ``place.output``; ``fresh`` trains it again. ``watch`` may look at a loss before it is trained,
    and give what is to be called after each step.
    """
    results = []
    total = sum(experiment.iterations for experiment in plan)
    with tqdm(total=total, unit="it", disable=not processes.is_first(), mininterval=1) as bar:
        for experiment in plan:
            folder, end = place.output / experiment.name, bar.n + experiment.iterations
            bar.set_description(f"{experiment.loss}, {experiment.dims}d, seed {experiment.seed}")
            with within(folder), _told(bar):
                if fresh and processes.is_first():
                    _remove(folder)
                result = processes.read_by_first(partial(finished, folder, AGAIN))
                how = "trained" if result is None else "read from an earlier call"
                if result is None:
                    row = rows[experiment.loss]
                    result = train(experiment, row, data, place, folder, bar, watch)
                elif processes.is_first():
                    Checkpoints(folder).clear()  # which a kill at the very end has left
            bar.update(end - bar.n)
            results.append(result)
            last, best = (f"{100 * result[row]['recall_at_1']:.1f}" for row in ("last", "best"))
            with bar.external_write_mode():
                typer.echo(
                    f"{experiment.name}, {how}: R@1 {last} after the last epoch, {best} in the best"
                )
    return results


def train(
    experiment: BenchmarkExperiment,
    row: Row,
    data: Data,
    place: Place,
    folder: Path,
    bar: "tqdm[Any]",
    watch: Watch,
) -> dict[str, Any]:
    """The result of one run, which moves the bar."""
    seed_all(epoch_seed(experiment.seed, 0))
    model = models(experiment, place.weights)
    miner, loss = miner_and_loss(experiment, row)
    begun, see = bar.n, watch(experiment, loss, folder)

    def on_iteration(trainer: Trainer) -> None:
        if see is not None:
            see(trainer)
        speed = trainer.throughput()
        evaluating = trainer.get_global_iteration() + 1 in experiment.stops
        bar.set_postfix_str(
            f"loss {float(trainer.losses['total_loss'].detach()):.3f}, "
            f"{speed['images_per_second']:.0f} images/s, "
            f"{speed['waiting_share']:.0%} of the time waiting for data"
            + ", evaluating"
            * evaluating,
            refresh=False,
        )
        bar.update(begun + trainer.get_global_iteration() + 1 - bar.n)

    return train_and_evaluate(
        experiment,
        model,
        loss,
        data.train,
        data.queries,
        miner=miner,
        references=data.references,
        folder=folder,
        device=place.device,
        workers=place.workers,
        random_views=experiment.crop is not None,
        backend=place.backend,
        on_iteration=on_iteration,
        advice=AGAIN,
    )


def models(experiment: BenchmarkExperiment, weights: str | None) -> dict[str, nn.Module]:
    """Trunk and embedding layer; what is random in them is drawn from torch's generator."""
    trunk = backbone(
        experiment.backbone,
        pooling=experiment.pooling,
        weights=weights,
        frozen_batch_norm=experiment.frozen_batch_norm,
    )
    trunk = trunk.to(memory_format=torch.channels_last)
    head = HEADS[experiment.head](trunk.features, experiment.dims)
    return {"trunk": trunk, "embedder": head}


def miner_and_loss(experiment: BenchmarkExperiment, row: Row) -> MinerAndLoss:
    """Miner, or None, and loss; with a memory, the loss holds the miner."""
    miner, loss = row.of_experiment(experiment.hyperparameters)
    if experiment.memory:
        return None, CrossBatchMemory(loss, experiment.dims, experiment.memory, miner)
    return miner, loss


def _remove(folder: Path) -> None:
    (folder / RESULT).unlink(missing_ok=True)  # first: without it, nothing is finished
    if folder.exists():  # what cannot be removed must not be gone on with
        shutil.rmtree(folder)


@contextmanager
def _told(bar: "tqdm[Any]") -> Iterator[None]:
    """End the command in one line where a run is interrupted or its settings cannot be."""
    try:
        yield
    except KeyboardInterrupt:
        bar.close()
        typer.echo("Interrupted: the same command goes on.", err=True)
        raise typer.Exit(130) from None
    except (ValueError, ImportError) as error:
        bar.close()
        # a loading process puts its whole traceback before what was wrong
        typer.echo(f"Error: {str(error).strip().splitlines()[-1]}", err=True)
        raise typer.Exit(2) from error
