import pytest
import torch

from pml_gpw import MSMiner


@pytest.mark.parametrize("epsilon", [-0.1, float("nan")])
def test_bad_arguments(epsilon):
    with pytest.raises(ValueError, match=f"epsilon must be a finite number >= 0, got {epsilon}"):
        MSMiner(epsilon=epsilon)


def test_miners_need_labels():
    with pytest.raises(ValueError, match="labels must be given"):
        MSMiner()(torch.randn(4, 3), None)
