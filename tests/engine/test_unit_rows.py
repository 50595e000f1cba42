"""Rows of norm 1 and the gradient through them, against torch's own."""

import pytest
import torch
from torch.nn.functional import normalize

from pml_gpw.engine.unit_rows import normalized
from pml_gpw.functional import ms_loss
from pml_gpw.value_checks import deferred_checks

from ..tolerances import close


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e20, 1e-20])
@pytest.mark.parametrize("looks", [True, False])
def test_gradient_is_that_of_autograd(scale, looks):
    generator = torch.Generator().manual_seed(0)
    x, upstream = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    if looks:
        unit = normalized(x * scale)
    else:
        with deferred_checks():
            unit = normalized(x * scale)
    close(unit.rows, normalize(x))
    close(unit.gradient(upstream) * scale, expected)


@pytest.mark.parametrize("looks", [True, False])
def test_rows_of_zeros_have_the_gradient_of_normalize(looks):
    """A large one, and not an infinite one, which would spoil all weights."""
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    upstream = torch.tensor([[1.0, 2.0], [1.0, -2.0]])
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    if looks:
        unit = normalized(x)
    else:
        with deferred_checks():
            unit = normalized(x)
    assert unit.rows[1].eq(0).all()
    close(unit.gradient(upstream), expected, 1e-6)


def test_a_batch_with_a_row_of_zeros():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    x[2] = 0
    x.requires_grad_()
    ms_loss(x, torch.arange(8) // 2, epsilon=None).backward()
    assert x.grad.isfinite().all()
