import pytest
import torch


@pytest.fixture
def sixteen():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    return x, torch.arange(16) // 4
