"""How many anchors a chunk has."""

import pytest
import torch

from pml_gpw import MSLoss
from pml_gpw.engine import LabelPairs, Plan, StreamedBatch, chunks


def test_chunk_size_is_checked():
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match=f"chunk_size must be an integer > 0, got {wrong}"):
            MSLoss(chunk_size=wrong)


def streamed(n, **kwargs):
    x, labels = torch.zeros(n, 2), torch.zeros(n, dtype=torch.int64)
    return StreamedBatch(x, x, LabelPairs(labels, labels), **kwargs)


def test_chunks_on_a_cpu():
    assert streamed(1000).chunk_size == 2**21 // 1000
    assert streamed(200_000).chunk_size == 16
    assert streamed(200_000, needs_gradient=True).chunk_size == 64
    assert streamed(1000, plan=Plan(7)).chunk_size == 7


@pytest.mark.parametrize(
    "free",
    [80 * 2**30, 2**28, 0],
)
def test_chunks_on_a_gpu_fit_into_half_of_its_free_memory(monkeypatch, free):
    """What torch holds and does not use is free too; a small matrix does not ask the driver."""
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: asked.append(d) or (free, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: 3 * 2**26)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda d: 2 * 2**26)
    gpu = torch.device("cuda")
    assert chunks.chunk_elements(gpu, 2**25) == 2**25
    assert not asked
    bytes_free = free + 2**26
    assert chunks.chunk_elements(gpu, 2**34) == min(2**25, bytes_free // 64)
    assert asked == [gpu]


def test_what_holds_all_its_weights():
    """A batch with itself of up to 64 MB, where the user has not asked for chunks."""
    assert streamed(4096, needs_gradient=True).may_hold_all_weights
    assert not streamed(4097, needs_gradient=True).may_hold_all_weights
    assert not streamed(4096).may_hold_all_weights
    assert not streamed(4096, needs_gradient=True, plan=Plan(64)).may_hold_all_weights
