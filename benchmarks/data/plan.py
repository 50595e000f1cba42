"""Which runs a call of a command stands for: its options looked at, one by one."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pml_gpw.backbones import character_ngrams
from pml_gpw.datasets import ImageFolder
from pml_gpw.training import evaluation_transform, processes, train_transform
from pml_gpw.training.environment import code_digest, versions

from .datasets import CONFIGURATION_OF, DATASETS, Data
from .faults import bad, integers, usable_device
from .options import MOST_DIMS
from .own_losses import row_of
from .presets import CONFIGURATIONS, NGRAM_BAG, BenchmarkExperiment, preset
from .rows import COMPARED, Row

GLYPHS_FILE = "glyphs.cache"
NGRAMS = cache(character_ngrams)
"""Each name is read again and again; its n-grams are kept."""

HERE = Path(__file__).parents[1]
DECISIVE = (HERE / "data" / "rows.py", HERE / "data" / "balanced.py", HERE / "measure" / "runs.py")
"""The files here on which results depend."""


def one_of(option: str, value: str, allowed: Any) -> str:
    """The value, if it is one of the names, in whatever case."""
    for name in allowed:
        if name.lower() == value.lower():
            return str(name)
    raise bad(option, f"must be one of {', '.join(allowed)}, got {value!r}")


def chosen_experiment(option: str, dataset: str, configuration: str | None) -> BenchmarkExperiment:
    """The preset of a data set; by default that of its kind, or the released one."""
    dataset = one_of(option, dataset, DATASETS)
    if configuration is None:
        usual = "pictures" if dataset == "ImageFolder" else "released"
        return preset(dataset, CONFIGURATION_OF.get(dataset, usual))
    return preset(dataset, one_of("--configuration", configuration, CONFIGURATIONS))


def identified(chosen: BenchmarkExperiment, data: Data) -> BenchmarkExperiment:
    """The experiment with what names its images and what computes."""
    code = code_digest(DECISIVE)
    used = versions("torchvision", "pillow", "timm", "pytorchcv")
    return replace(chosen, data=digest_of_data(data), code=code, versions=used)


def digest_of_weights(weights: str) -> str:
    """What names the weights in the result."""
    if weights in ("random", "pretrained"):
        return weights
    if not os.path.isfile(weights):
        raise bad("--weights", f"must be a file, 'pretrained' or 'random', got {weights!r}")
    return f"sha256:{hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16]}"


def checked_losses(text: str, every: Mapping[str, Row] = COMPARED) -> dict[str, Row]:
    """The rows of a comma-separated list by name, once each, or all of ``every``."""
    if text == "all":
        return dict(every)
    found: dict[str, Row] = {}
    for part in text.split(","):
        try:
            row = row_of(part.strip())
        except ValueError as error:
            raise bad("--losses", str(error)) from error
        if found.setdefault(row.name, row).source != row.source:
            raise bad("--losses", f"must have other names, got two of {row.name}")
    return found


def checked_dims(text: str) -> list[int]:
    """The dimensions of a comma-separated list, once each."""
    return list(dict.fromkeys(integers("--dims", text, 1, MOST_DIMS)))


def changed(chosen: BenchmarkExperiment, given: Mapping[str, Any]) -> BenchmarkExperiment:
    """The experiment with the options of a command that are settings of it.

    Options of other names are passed over, and so is None, which stands for one that was not given.
    With another number of iterations, milestones stay at the same shares of them.
    """
    names = {field.name for field in fields(chosen)}
    changes = {k: v for k, v in given.items() if k in names and v is not None}
    iterations = changes.pop("iterations", chosen.iterations)
    batch, unit = changes.get("batch", chosen.batch), chosen.per_class
    if batch % unit:
        raise bad("--batch", f"must be a multiple of {unit}, got {batch}")
    return replace(chosen.shortened(iterations), **changes)


def plan_of(
    chosen: BenchmarkExperiment, rows: Mapping[str, Row], dims: list[int], seeds: int
) -> Iterator[BenchmarkExperiment]:
    """Seed by seed, so that an early stop leaves whole comparisons."""
    plain: Any = preset(chosen.dataset, chosen.configuration).hyperparameters
    for seed in range(seeds):
        for row in rows.values():
            # another ε must not make another run of a loss that has none
            own: Any = {} if row.settings else plain
            for dimensions in dims:
                changes: Any = {"loss": row.name, "loss_code": row.digest, "dims": dimensions}
                yield replace(chosen, seed=seed, **changes, **own)


def checked_device(name: str) -> torch.device:
    """The device of this process."""
    return usable_device(processes.local_device(name) if name else processes.default_device())


def splits_of(
    experiment: BenchmarkExperiment, root: Path | None, train_share: float | None = None
) -> Data:
    """The splits of a data set; ``train_share`` of the classes of an image folder."""
    _check_root(experiment.dataset, root)
    views: tuple[Any, Any] = (None, None)
    dataset = DATASETS[experiment.dataset]
    if (experiment.backbone == NGRAM_BAG) != (experiment.dataset == "WorldNames"):
        raise bad(
            "--backbone",
            f"must be {NGRAM_BAG} for names and only for names, got "
            f"{experiment.backbone!r} for {experiment.dataset}",
        )
    options = {} if train_share is None else {"train_share": train_share}
    if options and dataset is not ImageFolder:
        raise bad("--train-share", f"must be left out for {experiment.dataset}, which has splits")
    if experiment.backbone == NGRAM_BAG:
        views = (NGRAMS, NGRAMS)
    elif experiment.crop is not None:
        sizes = (experiment.resize, experiment.crop)
        views = train_transform(*sizes, experiment.smallest_crop), evaluation_transform(*sizes)
    try:
        train = dataset(root, "train", views[0], **options)
        return Data(train, *dataset.evaluation_splits(root, views[1], **options))
    except (ValueError, OSError) as error:
        option = "--train-share" if str(error).startswith("train_share ") else "--root"
        raise bad(option, str(error)) from error


def _check_root(dataset: str, root: Path | None) -> None:
    """Refuse a folder that Glyphs would write its images into, beside what is there, or none."""
    if dataset not in CONFIGURATION_OF and root is None:
        raise bad("--root", f"must be given for {dataset}")
    if dataset == "Glyphs" and root is not None and root.is_dir():
        there = {path.name for path in root.iterdir()}
        if there and GLYPHS_FILE not in there:
            raise bad(
                "--root",
                f"must be an empty folder, or one with {GLYPHS_FILE}, for Glyphs, which keeps its "
                f"images there, got {str(root)!r}; pictures of yours are --dataset ImageFolder",
            )


def check_batch(experiment: BenchmarkExperiment, data: Data) -> None:
    """Refuse a batch that has not whole classes for each process, or more than there are."""
    classes, unit = len(data.train.classes), experiment.per_class * processes.launched_processes()
    most = experiment.per_class * classes
    if experiment.batch % unit or experiment.batch > most:
        raise bad(
            "--batch",
            f"must be a multiple of {unit} and at most {most} ({classes} training classes x "
            f"{experiment.per_class}), got {experiment.batch}",
        )


def digest_of_data(data: Data) -> str:
    """What names the images: runs on others are other runs."""
    digests = [split.digest() for split in data if split is not None]
    published = all(digest.startswith("published ") for digest in digests)
    names = [digest.removeprefix("published ") for digest in digests]
    return f"{'published ' * published}{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"
