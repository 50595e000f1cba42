"""Data sets for metric learning whose test classes never occur in training."""

from .cars196 import Cars196
from .cub200 import CUB200
from .glyphs import Glyphs
from .image_dataset import ImageDataset
from .image_folder import ImageFolder
from .in_shop import InShop
from .records import ImageRecord
from .split_dataset import SplitDataset
from .stanford_online_products import StanfordOnlineProducts
from .world_names import WorldNames

__all__ = [
    "CUB200",
    "Cars196",
    "Glyphs",
    "ImageDataset",
    "ImageFolder",
    "ImageRecord",
    "InShop",
    "SplitDataset",
    "StanfordOnlineProducts",
    "WorldNames",
]
