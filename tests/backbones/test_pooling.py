"""Global poolings and the head, by hand."""

import math

import pytest
import torch

from pml_gpw.backbones import embedding_head
from pml_gpw.backbones.pooling import POOLINGS

MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-4.0, -3.0], [-2.0, -1.0]]]])


@pytest.mark.parametrize(
    ("pooling", "features", "gradient"),
    [
        ("average", [3.0, -2.5], [[0.25, 0.25], [0.25, 0.25]]),
        ("max", [6.0, -1.0], [[0.0, 0.0], [0.0, 1.0]]),
        ("sum", [9.0, -3.5], [[0.25, 0.25], [0.25, 1.25]]),
    ],
)
def test_by_hand(pooling, features, gradient):
    maps = MAPS.clone().requires_grad_()
    got = POOLINGS[pooling]()(maps)
    assert got.tolist() == [features]
    got.sum().backward()
    assert maps.grad.tolist() == [[gradient, gradient]]


def test_own_leaves_features_as_they_are():
    assert torch.equal(POOLINGS["own"]()(MAPS[..., 0, 0]), MAPS[..., 0, 0])


def test_head_initialisation():
    torch.manual_seed(0)
    head = embedding_head(1024, 512)
    assert head(torch.ones(2, 1024)).shape == (2, 512)
    assert not head.bias.any()
    assert float(head.weight.mean()) == pytest.approx(0, abs=5e-4)  # 5 standard errors are 4e-4
    assert float(head.weight.std()) == pytest.approx(math.sqrt(2 / 512), rel=5e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((0, 512), "features must"), ((1024, -1), "dimensions must"), ((1024, 64.0), "dimensions")],
)
def test_bad_head(arguments, says):
    with pytest.raises(ValueError, match=says):
        embedding_head(*arguments)
