"""Distances, reducers and regularizers that are none, when an object is made and when it is set."""

import copy

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import MeanReducer, SumReducer
from pytorch_metric_learning.regularizers import LpRegularizer

from pml_gpw import MSLoss, MSMiner, PairMiner
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import MultiSimilarity

from ..tolerances import close

LOSSES = (MSLoss, PairSimilarityLoss)
MAKERS = {
    "distance": (
        *LOSSES,
        MSMiner,
        lambda **kwargs: PairMiner(MSMining(), **kwargs),
        lambda **kwargs: PairWeightReducer(MultiSimilarity(), **kwargs),
    ),
    "reducer": LOSSES,
    "embedding_regularizer": LOSSES,
    "embedding_reg_weight": LOSSES,
}
NUMBER = "embedding_reg_weight must be a finite number, got"
WRONG = [
    ("distance", "cosine", "distance must be a BaseDistance, got 'cosine'"),
    ("distance", torch.cdist, "distance must be a BaseDistance, got <"),
    ("distance", torch.nn.Linear(2, 2), "distance must be a BaseDistance, got Linear"),
    ("distance", MeanReducer(), "distance must be a BaseDistance, got MeanReducer"),
    ("distance", LpDistance, "distance must be a BaseDistance, got <class"),
    ("distance", ContrastiveLoss(), "distance must be a BaseDistance, got ContrastiveLoss"),
    ("reducer", "mean", "reducer must be a BaseReducer, got 'mean'"),
    ("reducer", torch.mean, "reducer must be a BaseReducer, got <"),
    ("reducer", CosineSimilarity(), "reducer must be a BaseReducer, got CosineSimilarity"),
    ("embedding_regularizer", "l2", "embedding_regularizer must be a BaseRegularizer, got 'l2'"),
    ("embedding_regularizer", MeanReducer(), "embedding_regularizer must be a BaseRegularizer"),
    ("embedding_reg_weight", None, f"{NUMBER} None"),
    ("embedding_reg_weight", "1", f"{NUMBER} '1'"),
    ("embedding_reg_weight", float("nan"), f"{NUMBER} nan"),
    ("embedding_reg_weight", torch.nn.Parameter(torch.ones(())), f"{NUMBER} Parameter"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_what_is_no_part(name, value, message):
    for make in MAKERS[name]:
        with pytest.raises(ValueError, match=message):
            make(**{name: value})
        module = make()
        before = getattr(module, name)
        with pytest.raises(ValueError, match=message):
            setattr(module, name, value)
        assert getattr(module, name) is before


@pytest.mark.skipif(torch.__version__ < (2, 14), reason="older ones may fail to trace PML's parts")
def test_a_loss_can_be_made_in_a_graph():
    """PML sets parts before torch has made the module, which no check may look at."""
    x, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    made = torch.compile(lambda *batch: MSLoss()(*batch), backend="eager")
    close(made(x, labels), MSLoss()(x, labels))


def test_parts_can_be_set():
    loss = MSLoss(embedding_regularizer=LpRegularizer(), embedding_reg_weight=0.5)
    twin = copy.deepcopy(loss)
    twin.distance, twin.reducer, twin.embedding_regularizer = LpDistance(), SumReducer(), None
    assert type(twin.distance) is LpDistance
    with pytest.raises(ValueError, match="distance must be a BaseDistance, got None"):
        twin.distance = None
