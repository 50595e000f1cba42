"""Global pooling, by hand."""

import pytest
import torch

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
