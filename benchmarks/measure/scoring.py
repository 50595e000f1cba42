"""One training with a loss, and the metrics of unseen classes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
from torch import Tensor, nn
from torch.utils.data import Dataset

from pml_gpw.training import train_and_evaluate
from pml_gpw.training.experiment import epoch_seed
from pml_gpw.training.trainer import seed_all

from ..data.datasets import Data
from ..data.faults import DivergedError
from ..data.presets import KS, METRICS, BenchmarkExperiment
from .runs import Place, models

Weights = Mapping[str, Mapping[str, Tensor]]
"""Of the parts of a model."""


class Part(Dataset[tuple[Any, int]]):
    """Some images of a data set, with their labels; the labels of ``classes`` from 0 on."""

    def __init__(self, dataset: Any, indices: Tensor) -> None:
        self.dataset, self.indices = dataset, indices.tolist()
        self.labels = torch.as_tensor(dataset.labels)[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[self.indices[index]][0], int(self.labels[index])


def train_and_score(
    miner: nn.Module | None,
    loss: nn.Module,
    experiment: BenchmarkExperiment,
    data: Data,
    place: Place,
    seed: int,
    weights: Weights | None = None,
) -> dict[str, float]:
    """Train with a loss; Recall@K, R-precision and MAP@R of the queries after the last iteration.

    ``weights``: those that the model begins with; where not given, those of the experiment.
    Errors: DivergedError where embeddings or loss are not finite.
    """
    experiment = replace(experiment, seed=seed, evaluate_every=None, checkpoint_every=None)
    seed_all(epoch_seed(seed, 0))
    model = models(experiment, place.weights)
    for part, module in model.items():
        if weights is not None:
            module.load_state_dict(weights[part])
    model["embedder"].register_forward_hook(lambda *call: _finite("embeddings", call[-1]))
    result = train_and_evaluate(
        experiment,
        model,
        loss,
        data.train,
        data.queries,
        miner=miner,
        references=data.references,
        ks=KS,
        device=place.device,
        workers=place.workers,
        random_views=experiment.crop is not None,
        primary_metric="map_at_r",
        backend=place.backend,
        on_iteration=lambda trainer: _finite("loss", trainer.losses["total_loss"]),
    )
    return {name: result["last"][name] for name in METRICS}


def classifier_weights(
    experiment: BenchmarkExperiment, data: Data, place: Place, seed: int
) -> Weights:
    """The weights of a model that has learned to tell the training classes apart.

    By PML's normalized softmax loss, with the iterations and the batches of the experiment.
    """
    experiment = replace(experiment, seed=seed, evaluate_every=None, checkpoint_every=None)
    classes, labels = torch.as_tensor(data.train.labels).unique(return_inverse=True)
    train = Part(data.train, torch.arange(len(labels)))
    train.labels = labels
    seed_all(epoch_seed(seed, 0))
    model = models(experiment, place.weights)
    train_and_evaluate(
        experiment,
        model,
        NormalizedSoftmaxLoss(len(classes), experiment.dims),
        train,
        Part(data.queries, torch.arange(2 * max(KS))),
        device=place.device,
        workers=place.workers,
        random_views=experiment.crop is not None,
        ks=(1,),
        backend=place.backend,
    )
    return {name: part.state_dict() for name, part in model.items()}


def _finite(name: str, values: Any) -> None:
    """DivergedError where one of the values is NaN or Inf."""
    if not bool(torch.as_tensor(values).isfinite().all()):
        raise DivergedError(f"the {name} became NaN or Inf")
