"""A training of seconds on images that lie in memory, and the metrics of unseen classes."""

from collections.abc import Callable, Mapping
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
Weights = Mapping[str, Tensor]


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
    classes apart (:func:`classifier_weights`).
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
    weights: Weights | None = None,
) -> dict[str, float]:
    """Train with a loss; Recall@K, R-precision and MAP@R of the other images.

    ``weights``: those that the trunk begins with; random ones where not given.
    Errors: DivergedError where embeddings or loss are not finite.
    """
    torch.manual_seed(seed)
    trunk, features = small_cnn()
    network = nn.Sequential(trunk, nn.Linear(features, training.dims))
    if weights is not None:
        trunk.load_state_dict(weights)

    def loss_of(embeddings: Tensor, labels: Tensor) -> Tensor:
        _finite("embeddings", embeddings)
        pairs = None if miner is None else miner(embeddings, labels)
        value: Tensor = loss(embeddings, labels, pairs)
        return _finite("loss", value)

    _descend(network, loss_of, training, train, seed)
    embeddings = _finite("embeddings", _embed(network, validation.images))
    return retrieval_metrics(embeddings, validation.labels, ks=KS, backend="torch")


def classifier_weights(training: Training, train: Images, seed: int) -> Weights:
    """The weights of a trunk that has learned to tell the training classes apart.

    By cross entropy, with as many iterations as the training and with its batches.
    """
    torch.manual_seed(seed)
    trunk, features = small_cnn()
    classes, targets = train.labels.unique(return_inverse=True)
    network = nn.Sequential(trunk, nn.Linear(features, len(classes)))
    as_classes = Images(train.images, targets)
    _descend(network, nn.functional.cross_entropy, training, as_classes, seed)
    return trunk.state_dict()


class DivergedError(ArithmeticError):
    """A training has left the finite numbers."""


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
