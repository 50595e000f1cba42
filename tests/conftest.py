import os
import warnings

# The suite runs in one process per core; more threads each would only fight for them. Before the
# first import of torch or faiss, which read it once.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import torch

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
