"""The data sets of the commands, by name."""

from typing import Any, NamedTuple

from pml_gpw.datasets import CUB200, Cars196, Glyphs, ImageFolder, InShop, WorldNames
from pml_gpw.datasets import StanfordOnlineProducts as SOP

DATASETS: dict[str, Any] = {
    dataset.__name__: dataset
    for dataset in (Glyphs, WorldNames, CUB200, Cars196, SOP, InShop, ImageFolder)
}
CONFIGURATION_OF = {"Glyphs": "small", "WorldNames": "names"}
"""Of the data sets that need no download: the configuration that trains on them in seconds."""


class Data(NamedTuple):
    """Training images; what is searched for, and in what (None: in itself)."""

    train: Any
    queries: Any
    references: Any = None
