"""Losses by import path: what they become, and what is told of one that is not there."""

import pytest
import torch
from pytorch_metric_learning import losses as theirs

from benchmarks.data.own_losses import row_of
from benchmarks.data.rows import ROWS
from pml_gpw.losses import CircleLoss, MSLoss
from pml_gpw.miners import MSMiner
from pml_gpw.weightings import NTXent, Range

FILE = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated
from torch import nn
from pml_gpw import GPWLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import Contrastive, Positive, Range, RowLoss

@dataclass(frozen=True)
class Softmax(RowLoss):
    """A formula."""
    t: Annotated[Positive, Range(0.01, 1, log=True)] = 0.1
    shift: float = 0.0
    def loss(self, pos, neg):
        hard = neg.logsumexp((neg.sim + self.shift) / neg.expand(self.t), plus_one=True)[0]
        return hard - pos.mean(pos.sim / pos.expand(self.t))

hot = Softmax(t=0.5)
plain = Contrastive()
class Trained(GPWLoss):
    def __init__(self, t: Annotated[float, Range(0.1, 2)] = 0.2):
        super().__init__(Softmax(t), trainable=("t",))
a_loss = MSWeightedLoss()
def mined(epsilon: Annotated[float, Range(0, 2)] = 0.1):
    return MSMiner(epsilon), MSWeightedLoss()
def needs(x): return None
number = 3
wrong_default: Annotated[float, Range(0, 1)] = 2
def no_default(x: Annotated[float, Range(0, 1)] = 2.0): return Softmax()
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "space", "defaults"),
    [
        ("Softmax", {"t": Range(0.01, 1, log=True)}, {"t": 0.1}),
        ("hot", {"t": Range(0.01, 1, log=True)}, {"t": 0.5}),
        ("plain", {}, {}),
        ("Trained", {"t": Range(0.1, 2)}, {"t": 0.2}),
        ("a_loss", {}, {}),
        ("mined", {"epsilon": Range(0, 2)}, {"epsilon": 0.1}),
    ],
)
def test_a_weighting_a_loss_a_class_and_a_function_are_rows(mine, name, space, defaults):
    row = row_of(f"{mine}:{name}")
    assert (row.name, row.space, row.defaults) == (f"mine.py:{name}", space, defaults)
    for found in (defaults, {key: limits.high for key, limits in space.items()}):
        miner, loss = row.make(**found)
        x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        labels = torch.arange(12) // 3
        loss(x, labels, None if miner is None else miner(x, labels)).backward()
        assert x.grad.abs().sum() > 0
        kinds = {"t": getattr(loss, "weighting", None), "epsilon": getattr(miner, "mining", None)}
        for key, value in found.items():
            assert getattr(kinds[key], key) == value
    assert isinstance(miner, MSMiner) is (name == "mined")
    assert [*loss.state_dict()] == (["log_t"] if name == "Trained" else [])
    assert row_of(row.source).name == row.name
    assert row.make()[1] is not row.make()[1], "each training has a loss of its own"


def test_names_of_packages_of_pml_and_of_the_tables():
    assert type(row_of("CircleLoss").make()[1]) is theirs.CircleLoss
    assert type(row_of("pml_gpw.losses:CircleLoss").make()[1]) is CircleLoss
    assert row_of("pml_gpw.weightings:NTXent").make()[1].weighting == NTXent()
    assert row_of("SNP") is ROWS["SNP"]
    assert isinstance(row_of("pml_gpw:MSLoss").make()[1], MSLoss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HardNTXentLoss", "got 'HardNTXentLoss'; nearest: pml_gpw.losses:HardNTXentLoss"),
        ("CirkleLoss", "must be out of none, S, .*got 'CirkleLoss'; nearest: CircleLoss"),
        ("nowhere.py:Circle", "must name a file that is there, got 'nowhere.py'"),
        ("nowhere.losses:Circle", "must name a module that can be imported, got 'nowhere.losses'"),
        ("pml_gpw.losses:Circel", "a name in pml_gpw.losses.*got 'Circel'; nearest: Circle"),
        ("MINE:Softmac", "got 'Softmac'; nearest: Softmax"),
        ("MINE:number", "must be a weighting, a loss, a class of one.*got 3"),
        ("MINE:needs", "missing 1 required positional argument: 'x'"),
        ("MINE:no_default", "must have a default of x in 0..1, got 2.0"),
        ("torch:zeros", "must be a weighting, a loss"),
        ("BAD:Loss", "must name a file of Python"),
    ],
)
def test_what_cannot_be_is_told_by_name(mine, text, message):
    bad = mine.with_name("bad.py")
    bad.write_text("class :")
    with pytest.raises(ValueError, match=message):
        row_of(text.replace("MINE", str(mine)).replace("BAD", str(bad)))


def test_another_formula_has_another_digest_and_another_comment_has_not(mine):
    digests = []
    for text in (FILE, FILE + "# a comment\n", FILE.replace("self.shift", "2 * self.shift")):
        mine.write_text(text)
        row_of.cache_clear()
        digests.append(row_of(f"{mine}:Softmax").digest)
    assert digests[0] == digests[1] != digests[2]
    assert ROWS["SNP"].digest == ""
