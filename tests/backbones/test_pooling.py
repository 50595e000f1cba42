import pytest
import torch

from pml_gpw.backbones.pooling import POOLINGS


@pytest.mark.parametrize(
    ("pooling", "features", "gradient"),
    [
        ("average", [3.0, -2.5], [[0.25, 0.25], [0.25, 0.25]]),
        ("max", [6.0, -1.0], [[0.0, 0.0], [0.0, 1.0]]),
        ("sum", [9.0, -3.5], [[0.25, 0.25], [0.25, 1.25]]),
    ],
)
def test_by_hand(pooling, features, gradient):
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-4.0, -3.0], [-2.0, -1.0]]]])
    maps.requires_grad_()
    got = POOLINGS[pooling]()(maps)
    assert got.tolist() == [features]
    got.sum().backward()
    assert maps.grad.tolist() == [[gradient, gradient]]
