"""How close is equal, per dtype; every comparison of the suite takes its numbers from here."""

import torch

FLOAT32 = 1e-6
FLOAT64 = 1e-10


def close(actual, expected, tolerance=None):
    """Assert that two tensors agree to the tolerance of the coarser dtype, relative above 1."""
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    if tolerance is None:
        both_double = actual.dtype == expected.dtype == torch.float64
        tolerance = FLOAT64 if both_double else FLOAT32
    actual, expected = actual.detach().double(), expected.detach().double()
    assert actual.shape == expected.shape, f"shape {actual.shape} is not {expected.shape}"
    assert torch.isfinite(actual).all(), "not finite"
    error = (actual - expected).abs() / expected.abs().clamp(min=1)
    worst = error.max().item() if error.numel() else 0.0
    assert worst <= tolerance, f"off by {worst:.3e}, allowed {tolerance:.0e}"
