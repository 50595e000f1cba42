import math

import pytest
import torch

from pml_gpw.backbones import embedding_head


def test_initialization():
    torch.manual_seed(0)
    head = embedding_head(1024, 512)
    assert head(torch.ones(2, 1024)).shape == (2, 512)
    assert not head.bias.any()
    assert float(head.weight.mean()) == pytest.approx(0, abs=5e-4)  # 5 standard errors are 4e-4
    assert float(head.weight.std()) == pytest.approx(math.sqrt(2 / 512), rel=5e-3)
