"""At least float32 whatever the embeddings and autocast, and float64 where it is given."""

import pytest
import torch
from pytorch_metric_learning import regularizers

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.functional import ms_loss

from .runs import run
from .tolerances import close


def mined(x, labels):
    return MSWeightedLoss()(x, labels, MSMiner()(x, labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [mined, ms_loss], ids=["modules", "function"])
def test_half_embeddings_under_autocast(batch, loss, dtype):
    half, labels = batch[0].to(dtype), batch[1]
    value, gradient = run(loss, half.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(loss, half, labels)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    close(found[0], value)
    close(found[1].float(), gradient.to(dtype).float(), torch.finfo(dtype).eps)
    regular = MSLoss(embedding_regularizer=regularizers.LpRegularizer())
    assert regular(half, labels).dtype == torch.float32


def test_float64_stays_float64(batch):
    assert MSLoss()(batch[0].double(), batch[1]).dtype == torch.float64
