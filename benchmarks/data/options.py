"""Options that commands share, as types of the parameters of their functions.

None stands for an option that was not given: the configuration decides.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from pml_gpw.training.experiment import SAMPLERS

from .presets import PER_CLASS
from .rows import ROWS

CONFIGURED = "by configuration"
MOST_DIMS = 65_536

Losses = Annotated[
    str,
    typer.Option(
        "--losses",
        "--rows",
        help=f"all, or comma-separated out of: {', '.join(ROWS)} (SNP is MS); a class of PML, such "
        "as CircleLoss; or a loss of yours by its import path, such as mine.py:Circle or "
        "package.module:make: a weighting, a loss, a class of one, or a function that makes a loss "
        "or (miner, loss).",
    ),
]


def configured(help: str, **limits: Any) -> Any:
    """An option that the configuration decides where it is not given."""
    return typer.Option(help=help, show_default=CONFIGURED, **limits)


Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the data set.", show_default="for Glyphs, the user's cache"),
]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each loss, with seeds 0, 1, ….")]
Backbone = Annotated[
    str | None,
    configured(
        "small_cnn, bn_inception, timm/<model> or torchvision/<model>; ngram_bag for names."
    ),
]
Dims = Annotated[int | None, configured("Embedding dimensions.", min=1, max=MOST_DIMS)]
Iterations = Annotated[
    int | None,
    configured("Steps; those of the learning rate come at the same shares of them.", min=1),
]
Batch = Annotated[
    int | None, configured(f"Images per step, {PER_CLASS} of each class.", min=PER_CLASS)
]
LearningRate = Annotated[float | None, configured("Of Adam.", min=1e-9, max=1)]
Resize = Annotated[int | None, configured("Shorter side before cropping.", min=8, max=4096)]
Crop = Annotated[int | None, configured("Pixels of the network's image.", min=8, max=4096)]
Sampler = Annotated[
    str | None,
    configured(
        f"{' or '.join(SAMPLERS)}: use groups of {PER_CLASS} images up before any comes again, or "
        "draw each batch from all images."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, max=1024, help="Processes that load images.", show_default="up to 4"),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …", show_default="cuda, else cpu")]
Seconds = Annotated[float, typer.Option(min=0, max=3600, help="Time for each cell.")]
Output = Annotated[Path, typer.Option(help="Folder for tables, pictures and runs.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Train again what is finished or interrupted.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Keep what an earlier call of the same has measured.")
]


def loading(workers: int | None) -> int:
    """The processes that load images."""
    return min(4, os.cpu_count() or 1) if workers is None else workers
