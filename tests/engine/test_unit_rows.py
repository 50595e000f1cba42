"""Rows of norm 1 and the gradient through them, against torch's own, whatever their size."""

import pytest
import torch
from torch.nn.functional import normalize

from pml_gpw.engine.unit_rows import normalized, unit_rows, within_range
from pml_gpw.functional import ms_loss
from pml_gpw.value_checks import deferred_checks, eager_checks

from ..tolerances import close

looks = pytest.mark.parametrize("looks", [eager_checks, deferred_checks], ids=["looks", "does not"])


def rows(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 9, 5, generator=generator, dtype=torch.float64).to(dtype)


@looks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e20, 3e37, 1e-20, 1e-37])
def test_rows_and_gradients_are_those_of_autograd(scale, dtype, looks):
    x, upstream = rows(dtype)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    with looks():
        unit = normalized(x * scale)
    close(unit.rows, normalize(x))
    close(unit.gradient(upstream).double() * scale, expected.double(), 2e-6)


@looks
def test_rows_of_zeros_have_the_gradient_of_normalize(looks):
    """A large one, and not an infinite one, which would spoil all weights."""
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    upstream = torch.tensor([[1.0, 2.0], [1.0, -2.0]])
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    with looks():
        unit = normalized(x)
    assert unit.rows[1].eq(0).all()
    close(unit.gradient(upstream), expected, 1e-6)


def test_rows_of_ordinary_size_are_left_alone():
    x, _ = rows(torch.float32)
    assert within_range(x) is x
    mixed = torch.cat([x, x[:1] * 1e30, torch.zeros(1, 5)])
    assert unit_rows(mixed)[:9].equal(normalize(x)), "powers of two are exact"
    assert unit_rows(mixed)[-1].eq(0).all()


def test_a_batch_with_a_row_of_zeros():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    x[2] = 0
    x.requires_grad_()
    ms_loss(x, torch.arange(8) // 2, epsilon=None).backward()
    assert x.grad.isfinite().all()
