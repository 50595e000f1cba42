"""Names in PML's modules, for frameworks that look them up there."""

import pytest
import torch
from pytorch_metric_learning import losses, miners, reducers

from pml_gpw import MSLoss, MSMiner
from pml_gpw.hosts.pml2 import register
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.reducers import AnchorReducer

from ...tolerances import close


def state():
    """All that a registration may change."""
    modules = [dict(vars(module)) for module in (losses, miners, reducers)]
    lists = [w.supported_losses() for w in (losses.CrossBatchMemory, losses.SelfSupervisedLoss)]
    return modules, lists


def test_by_name_and_back():
    before = state()
    assert not hasattr(losses, "MSLoss"), "nobody else registers"
    with register():
        built = getattr(losses, "MSLoss")(alpha=3.0)  # noqa: B009  # as frameworks do
        assert type(built) is MSLoss
        assert miners.MSMiner is MSMiner
        assert reducers.AnchorReducer is AnchorReducer
        assert losses.CrossBatchMemory is not CrossBatchMemory
        with register():
            assert losses.MSLoss is MSLoss
        assert losses.MSLoss is MSLoss
    assert state() == before
    with pytest.raises(KeyError), register():
        raise KeyError
    assert state() == before


def test_a_name_of_pml_is_replaced_only_if_asked():
    theirs = losses.CrossBatchMemory
    registration = register(replace=True)
    assert losses.CrossBatchMemory is CrossBatchMemory
    registration.undo()
    registration.undo()
    assert losses.CrossBatchMemory is theirs


def test_pmls_memory_takes_our_losses():
    x, labels = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    with pytest.raises(Exception, match="not supported for MSLoss"):
        losses.CrossBatchMemory(MSLoss(), 4)
    with register():
        memory, views = losses.CrossBatchMemory(MSLoss(), 4), losses.SelfSupervisedLoss(MSLoss())
    close(memory(x, labels), MSLoss()(x, labels))
    close(views(x, x), MSLoss()(torch.cat([x, x]), torch.arange(12).repeat(2)))
