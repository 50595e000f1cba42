import pytest
import torch

from pml_gpw import MSLoss

from .batches import embed


def test_double_backward_is_refused():
    x, labels = embed(12, 0, torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(MSLoss()(x, labels), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()
