"""Distances, reducers and regularizers that are none, when an object is made and when it is set."""

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.reducers import MeanReducer, SumReducer
from pytorch_metric_learning.regularizers import LpRegularizer

from pml_gpw import MSLoss, MSMiner, PairMiner
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import MultiSimilarity

from ...tolerances import close

LOSSES = (MSLoss, PairSimilarityLoss)
WITH_DISTANCE = (
    *LOSSES,
    MSMiner,
    lambda **kwargs: PairMiner(MSMining(), **kwargs),
    lambda **kwargs: PairWeightReducer(MultiSimilarity(), **kwargs),
)
DISTANCE = "distance must be a BaseDistance or called like one, got"
REDUCER = "reducer must be a BaseReducer or called like one, got"
REGULARIZER = "embedding_regularizer must be a BaseRegularizer or called like one, got"
NUMBER = "embedding_reg_weight must be a finite number, got"
WRONG = [
    ("distance", "cosine", f"{DISTANCE} 'cosine'"),
    ("distance", torch.cdist, f"{DISTANCE} <"),
    ("distance", MeanReducer(), f"{DISTANCE} MeanReducer"),
    ("distance", LpDistance, f"{DISTANCE} <class"),
    ("reducer", "mean", f"{REDUCER} 'mean'"),
    ("reducer", CosineSimilarity(), f"{REDUCER} CosineSimilarity"),
    ("embedding_regularizer", "l2", f"{REGULARIZER} 'l2'"),
    ("embedding_reg_weight", None, f"{NUMBER} None"),
    ("embedding_reg_weight", float("nan"), f"{NUMBER} nan"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_what_is_no_part(name, value, message):
    for make in WITH_DISTANCE if name == "distance" else LOSSES:
        with pytest.raises(ValueError, match=message):
            make(**{name: value})
        module = make()
        before = getattr(module, name)
        with pytest.raises(ValueError, match=message):
            setattr(module, name, value)
        assert getattr(module, name) is before


class NegatedEuclidean(torch.nn.Module):
    """A distance that is none of PML's, and has what is asked of one."""

    is_inverted = True
    normalize_embeddings, p, power = False, 2, 1

    def forward(self, x, y):
        return -torch.cdist(x, y)


def test_parts_of_ones_own_as_pml_takes_them():
    x, labels = torch.randn(6, 3), torch.arange(6) // 2
    loss = MSLoss(reducer=lambda terms, *_: terms["loss"]["losses"].sum())
    close(loss(x, labels), MSLoss(reducer=SumReducer())(x, labels))
    assert MSLoss(distance=NegatedEuclidean())(x, labels) > 0
    weight = torch.nn.Parameter(torch.tensor(2.0))
    ours = MSLoss(embedding_regularizer=LpRegularizer(), embedding_reg_weight=weight)
    number = MSLoss(embedding_regularizer=LpRegularizer(), embedding_reg_weight=2.0)
    close(ours(x, labels), number(x, labels))
    ours(x, labels).backward()
    assert weight.grad > 0
