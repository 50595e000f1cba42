"""Which runs a call of ``benchmarks.paper`` stands for: its options looked at, one by one."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import typer

from pml_gpw.datasets import CUB200, Cars196, ImageDataset, ImageFolder, InShop
from pml_gpw.datasets import StanfordOnlineProducts as SOP
from pml_gpw.training import processes

from .contenders import CONTENDERS
from .experiment import Data, finished
from .faults import bad, integers, output_folder, usable_device
from .presets import CONFIGURATIONS, PER_CLASS, Experiment, preset
from .views import evaluation_view, train_view

DATASETS: dict[str, type[ImageDataset]] = {
    dataset.__name__: dataset for dataset in (CUB200, Cars196, SOP, InShop, ImageFolder)
}
MOST_DIMS = 65_536
WITHOUT_HYPERPARAMETERS = ("contrastive", "triplet-semihard", "ntxent")


def chosen_experiment(dataset: str, configuration: str, weights: str, backbone: str) -> Experiment:
    """The preset of a data set, with its backbone and initial weights."""
    for option, value, allowed in (
        ("DATASET", dataset, DATASETS),
        ("--configuration", configuration, CONFIGURATIONS),
    ):
        if value not in allowed:
            raise bad(option, f"must be one of {', '.join(allowed)}, got {value!r}")
    return replace(preset(dataset, configuration), weights=weights, backbone=backbone)


def digest_of_weights(weights: str) -> str:
    """What names the weights in the result."""
    if weights in ("random", "pretrained"):
        return weights
    if not os.path.isfile(weights):
        raise bad("--weights", f"must be a file, 'pretrained' or 'random', got {weights!r}")
    return f"sha256:{hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16]}"


def checked_losses(text: str) -> list[str]:
    """The losses of a comma-separated list, once each."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise bad("--losses", f"must be out of {', '.join(CONTENDERS)}, got {unknown[0]!r}")
    return list(dict.fromkeys(names))


def checked_dims(text: str) -> list[int]:
    """The dimensions of a comma-separated list, once each."""
    return list(dict.fromkeys(integers("--dims", text, 1, MOST_DIMS)))


def plan_of(
    chosen: Experiment, losses: list[str], dims: list[int], seeds: int
) -> Iterator[Experiment]:
    """Seed by seed, so that an early stop leaves whole comparisons."""
    for seed in range(seeds):
        for loss in losses:
            for dimensions in dims:
                one = replace(chosen, loss=loss, dims=dimensions, seed=seed)
                if loss in WITHOUT_HYPERPARAMETERS:  # another ε must not make another run of it
                    plain = preset(one.dataset, one.configuration).hyperparameters
                    one = replace(one, **plain)  # type: ignore[arg-type]
                yield one


def digest_of_images(data: Data, root: Path) -> str:
    """What names the images: runs on others are other runs."""
    digest, whole = hashlib.sha256(), True
    for split in (data.train, data.queries, *([data.references] if data.references else [])):
        whole = whole and split.published.get(split.split) == (len(split.classes), len(split))
        for path, label in zip(split.paths, split.labels, strict=True):
            digest.update(f"{split.split} {os.path.relpath(path, root)} {label}\n".encode())
    return f"{'published ' * whole}{digest.hexdigest()[:12]}"


def check_interrupted(plan: list[Experiment], output: Path, resume: bool, fresh: bool) -> None:
    """Refuse to touch a run that was interrupted without a word on what to do with it."""
    if resume and fresh:
        raise bad("--resume", "must not come with --fresh, which trains from the start")
    output_folder(output)
    if resume and not any((output / e.name).exists() for e in plan):
        typer.echo(f"Nothing to go on with below {output} in these settings; starting.", err=True)
    if fresh:
        return
    begun = [e for e in plan if (output / e.name).exists() and not finished(output / e.name)]
    if begun and not resume:
        raise bad(
            "--resume",
            f"must be given to go on with an interrupted run, or --fresh to train it again: "
            f"{output / begun[0].name}",
        )


def checked_device(name: str) -> torch.device:
    """The device of this process."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(processes.local_device(name))


def splits_of(experiment: Experiment, root: Path) -> Data:
    """The splits, after a look at whether the batch fits."""
    dataset = DATASETS[experiment.dataset]
    try:
        train = dataset(root, "train", train_view(experiment))
        queries, references = dataset.evaluation_splits(root, evaluation_view(experiment))
    except (ValueError, OSError) as error:
        raise bad("--root", str(error)) from error
    most = PER_CLASS * len(train.classes)
    unit = PER_CLASS * processes.launched_processes()  # whole classes for each process
    if experiment.batch % unit or experiment.batch > most:
        raise bad(
            "--batch",
            f"must be a multiple of {unit} and at most {most} ({len(train.classes)} training "
            f"classes x {PER_CLASS}), got {experiment.batch}",
        )
    return Data(train, queries, references)
