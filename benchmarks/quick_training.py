"""A training of seconds on images that lie in memory, and the metrics of unseen classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.training import RandomClassBatches

from .networks import small_cnn
from .presets import PER_CLASS

KS = (1, 2, 4, 8)
METRICS = (*(f"recall_at_{k}" for k in KS), "r_precision", "map_at_r")
INITIALS = ("random", "classifier")


class Images(NamedTuple):
    """Images (n, 1, 32, 32) of 0..1 and their labels (n,)."""

    images: Tensor
    labels: Tensor

    def at(self, indices: Tensor) -> "Images":
        """Some of them."""
        return Images(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Training:
    """What a training is beside its loss, images and seed.

    ``initial``: "random", or "classifier": a network that has first learned to tell the training
    classes apart by cross entropy, for as many iterations.
    """

    iterations: int
    batch: int
    dims: int
    learning_rate: float
    initial: str = "random"


def train_and_score(
    miner: nn.Module | None,
    loss: nn.Module,
    training: Training,
    train: Images,
    validation: Images,
    seed: int,
) -> dict[str, float]:
    """Train with a loss; Recall@K, R-precision and MAP@R of the other images.

    Errors: DivergedError where embeddings or loss are not finite.
    """
    torch.manual_seed(seed)
    trunk, features = small_cnn()
    if training.initial == "classifier":
        _classify(trunk, features, training, train, seed)
    network = nn.Sequential(trunk, nn.Linear(features, training.dims))

    def loss_of(embeddings: Tensor, labels: Tensor) -> Tensor:
        _finite("embeddings", embeddings)
        pairs = None if miner is None else miner(embeddings, labels)
        value: Tensor = loss(embeddings, labels, pairs)
        return _finite("loss", value)

    _descend(network, loss_of, training, train, seed)
    embeddings = _finite("embeddings", _embed(network, validation.images))
    return retrieval_metrics(embeddings, validation.labels, ks=KS, backend="torch")


class DivergedError(ArithmeticError):
    """A training has left the finite numbers."""


def _classify(
    trunk: nn.Module, features: int, training: Training, train: Images, seed: int
) -> None:
    """Let the trunk learn to tell the training classes apart."""
    classes, targets = train.labels.unique(return_inverse=True)
    network = nn.Sequential(trunk, nn.Linear(features, len(classes)))
    as_classes = Images(train.images, targets)
    _descend(network, nn.functional.cross_entropy, training, as_classes, seed)


def _descend(
    network: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    training: Training,
    train: Images,
    seed: int,
) -> None:
    """Train a network for as many iterations, with the batches of a seed."""
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    batches = RandomClassBatches(
        train.labels,
        training.batch,
        per_class=PER_CLASS,
        batches=training.iterations,
        seed=seed,
    )
    network.train()
    for batch in batches:
        optimizer.zero_grad()
        loss_of(network(train.images[batch]), train.labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def _embed(network: nn.Module, images: Tensor) -> Tensor:
    """The embeddings of all images."""
    network.eval()
    return torch.cat([network(part) for part in images.split(512)])


def _finite(name: str, values: Tensor) -> Tensor:
    """The values; DivergedError where one is NaN or Inf."""
    if not bool(values.isfinite().all()):
        raise DivergedError(f"the {name} became NaN or Inf")
    return values
