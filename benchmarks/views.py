"""What a network sees of an image: the crops of the released configuration."""

from typing import Any

from torchvision import transforms

from .presets import Experiment


def train_view(experiment: Experiment) -> Any:
    """Resize, random resized crop, random flip; uint8, which the backbone normalises itself."""
    return transforms.Compose(
        [
            transforms.Resize(experiment.resize),
            transforms.RandomResizedCrop(experiment.crop, (experiment.smallest_crop, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )


def evaluation_view(experiment: Experiment) -> Any:
    """Resize and centre crop; uint8."""
    return transforms.Compose(
        [
            transforms.Resize(experiment.resize),
            transforms.CenterCrop(experiment.crop),
            transforms.PILToTensor(),
        ]
    )
