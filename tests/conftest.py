import os
import warnings

import hypothesis
import pytest
import torch

# The suite runs in one process per core; more threads each would only fight for them.
torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def batch():
    """Twelve embeddings of four classes of three, in float32."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 6, generator=generator), torch.arange(12) // 3


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
