"""Which runs a call of a command stands for: its options looked at, one by one."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pml_gpw.datasets import CUB200, Cars196, Glyphs, ImageFolder, InShop
from pml_gpw.datasets import StanfordOnlineProducts as SOP
from pml_gpw.training import evaluation_transform, processes, train_transform
from pml_gpw.training.environment import code_digest, versions

from . import contenders, runs
from .contenders import CONTENDERS
from .faults import bad, integers, usable_device
from .presets import CONFIGURATIONS, BenchmarkExperiment, preset
from .runs import Data

DATASETS: dict[str, Any] = {
    dataset.__name__: dataset for dataset in (Glyphs, CUB200, Cars196, SOP, InShop, ImageFolder)
}
MOST_DIMS = 65_536
WITHOUT_HYPERPARAMETERS = ("contrastive", "triplet-semihard", "ntxent")


def one_of(option: str, value: str, allowed: Any) -> str:
    """The value, if it is one of the names, in whatever case."""
    for name in allowed:
        if name.lower() == value.lower():
            return str(name)
    raise bad(option, f"must be one of {', '.join(allowed)}, got {value!r}")


def chosen_experiment(option: str, dataset: str, configuration: str) -> BenchmarkExperiment:
    """The preset of a data set, with what computes."""
    dataset = one_of(option, dataset, DATASETS)
    configuration = one_of("--configuration", configuration, CONFIGURATIONS)
    code = code_digest(Path(str(module.__file__)) for module in (contenders, runs))
    return replace(
        preset(dataset, configuration), code=code, versions=versions("torchvision", "pillow")
    )


def digest_of_weights(weights: str) -> str:
    """What names the weights in the result."""
    if weights in ("random", "pretrained"):
        return weights
    if not os.path.isfile(weights):
        raise bad("--weights", f"must be a file, 'pretrained' or 'random', got {weights!r}")
    return f"sha256:{hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16]}"


def checked_losses(text: str) -> list[str]:
    """The losses of a comma-separated list, once each, or all."""
    names = list(CONTENDERS) if text == "all" else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in CONTENDERS]:
        allowed, got = ", ".join(CONTENDERS), ", ".join(map(repr, unknown))
        raise bad("--losses", f"must be all, or out of {allowed}, got {got}")
    return list(dict.fromkeys(names))


def checked_dims(text: str) -> list[int]:
    """The dimensions of a comma-separated list, once each."""
    return list(dict.fromkeys(integers("--dims", text, 1, MOST_DIMS)))


def changed(chosen: BenchmarkExperiment, **given: Any) -> BenchmarkExperiment:
    """The experiment with the options that were given; None stands for one that was not.

    With another number of iterations, milestones stay at the same shares of them.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    iterations = changes.pop("iterations", chosen.iterations)
    batch, unit = changes.get("batch", chosen.batch), chosen.per_class
    if batch % unit:
        raise bad("--batch", f"must be a multiple of {unit}, got {batch}")
    return replace(chosen.shortened(iterations), **changes)


def plan_of(
    chosen: BenchmarkExperiment, losses: list[str], dims: list[int], seeds: int
) -> Iterator[BenchmarkExperiment]:
    """Seed by seed, so that an early stop leaves whole comparisons."""
    for seed in range(seeds):
        for loss in losses:
            for dimensions in dims:
                one = replace(chosen, loss=loss, dims=dimensions, seed=seed)
                if loss in WITHOUT_HYPERPARAMETERS:  # another ε must not make another run of it
                    plain = preset(one.dataset, one.configuration).hyperparameters
                    one = replace(one, **plain)  # type: ignore[arg-type]
                yield one


def checked_device(name: str) -> torch.device:
    """The device of this process."""
    return usable_device(processes.local_device(name) if name else processes.default_device())


def splits_of(experiment: BenchmarkExperiment, root: Path | None) -> Data:
    """The splits, after a look at whether the batch fits."""
    dataset, views = DATASETS[experiment.dataset], (None, None)
    if experiment.crop is not None:
        sizes = (experiment.resize, experiment.crop)
        views = train_transform(*sizes, experiment.smallest_crop), evaluation_transform(*sizes)
    try:
        train = dataset(root, "train", views[0])
        data = Data(train, *dataset.evaluation_splits(root, views[1]))
    except (ValueError, OSError) as error:
        raise bad("--root", str(error)) from error
    classes, unit = len(train.classes), experiment.per_class * processes.launched_processes()
    most = experiment.per_class * classes
    if experiment.batch % unit or experiment.batch > most:  # whole classes for each process
        raise bad(
            "--batch",
            f"must be a multiple of {unit} and at most {most} ({classes} training classes x "
            f"{experiment.per_class}), got {experiment.batch}",
        )
    return data


def digest_of_data(data: Data) -> str:
    """What names the images: runs on others are other runs."""
    digests = [split.digest() for split in data if split is not None]
    published = all(digest.startswith("published ") for digest in digests)
    names = [digest.removeprefix("published ") for digest in digests]
    return f"{'published ' * published}{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
