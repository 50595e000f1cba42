"""Attributes are checked when they are set; state, copies and pickles; hyper-parameters."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning import distances

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import (
    BinomialDeviance,
    LiftedStructure,
    MultiSimilarity,
    PairWeighting,
    PairWeights,
)

from ..tolerances import close


@pytest.mark.parametrize("make", [MSLoss, MSMiner, lambda: GPWLoss(MultiSimilarity())])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chunk_size", -3, "chunk_size must be an integer > 0, got -3"),
        ("chunk_size", 2.5, "chunk_size must be an integer > 0, got 2.5"),
        ("chunk_size", True, "chunk_size must be an integer > 0, got True"),
        (
            "layout",
            "fast",
            "layout must be one of auto, dense, sparse rows, sparse batch, got 'fast'",
        ),
    ],
)
def test_setting(make, name, value, message):
    module = make()
    before = getattr(module, name)
    with pytest.raises(ValueError, match=message):
        setattr(module, name, value)
    assert getattr(module, name) == before


def test_values_are_those_of_one_object():
    one, other = MSLoss(chunk_size=7), MSLoss()
    assert (one.chunk_size, other.chunk_size, other.layout) == (7, None, "auto")
    assert copy.deepcopy(one).chunk_size == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossBatchMemory(MSLoss(), 4, miner="ms"), "miner must be an object that can be"),
        (lambda: MSLoss(chunk_size=0), "chunk_size must be an integer > 0, got 0"),
    ],
)
def test_making(make, message):
    with pytest.raises(ValueError, match=message):
        make()


MODULES = [
    MSMiner(0.3),
    MSWeightedLoss(3, 40, 0.4, collect_stats=True),
    MSLoss(3, 40, 0.4, 0.2, distance=distances.LpDistance()),
    GPWLoss(LiftedStructure(2, 50, None), MSMining(0.2)),
    PairSimilarityLoss(reducer=PairWeightReducer(MultiSimilarity())),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_pickle_copy_and_state(batch, module, tmp_path):
    def outcome(m):
        result = m(*batch)
        return torch.cat(result).tolist() if isinstance(result, tuple) else result.tolist()

    expected = outcome(module)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert outcome(twin) == expected
    torch.save(module.state_dict(), tmp_path / "state.pth")
    module.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert outcome(module) == expected


def test_hyper_parameters_read_and_set_as_attributes(batch):
    loss = MSLoss(alpha=2, epsilon=0.1)
    assert (loss.alpha, loss.beta, loss.base, loss.epsilon) == (2, 50, 0.5, 0.1)
    loss.alpha, loss.epsilon = 7, 0.4
    close(loss(*batch), MSLoss(alpha=7, epsilon=0.4)(*batch))
    with pytest.raises(ValueError, match="alpha must be a finite number > 0, got -1"):
        loss.alpha = -1
    with pytest.raises(AttributeError, match="gamma"):
        _ = loss.gamma
    assert "MultiSimilarity(alpha=7.0, beta=50.0, base=0.5), MSMining(epsilon=0.4)" in repr(loss)


def test_another_weighting_or_mining_can_be_assigned(batch):
    loss = MSLoss()
    loss.weighting, loss.mining = BinomialDeviance(alpha=3), None
    close(loss(*batch), GPWLoss(BinomialDeviance(alpha=3))(*batch))
    assert loss.alpha == 3
    assert loss._record_these == ["alpha", "beta", "base"]
    with pytest.raises(ValueError, match="mining must be a PairMining"):
        loss.mining = 0.1
    assert loss.mining is None


def test_fields_may_have_any_name(batch):
    @dataclass(frozen=True)
    class Awkward(PairWeighting):
        distance: float = 2.0
        type: str = "a"
        fields: int = 3

        def weigh(self, pos, neg):
            return PairWeights(pos.sim + self.distance, neg.sim + self.distance)

    loss = GPWLoss(Awkward(distance=4.0))
    assert isinstance(loss.distance, distances.CosineSimilarity)
    assert torch.isfinite(loss(*batch))
    other = GPWLoss(Awkward(type="b"))
    other.load_state_dict(loss.state_dict())
    assert other.weighting == Awkward(distance=4.0)


STATE = MSLoss(3, 40, 0.4, 0.2).get_extra_state()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "must hold weighting and mining as _extra_state of MSLoss, got NoneType"),
        ({}, r"must hold weighting and mining as _extra_state of MSLoss, got \[\]"),
        (STATE | {"forward": None}, "must hold weighting and mining .* 'forward'"),
        (STATE | {"mining": "x"}, r"must hold the mining MSMining\(epsilon\), got 'x'"),
        (STATE | {"mining": {"type": "MSMining"}}, r"mining MSMining\(epsilon\), got {'type'"),
        (STATE | {"mining": {"type": "MSMining", "fields": {}}}, r"got MSMining\(\)"),
        (STATE | {"mining": {"type": "MSMining", "fields": {"epsilon": None}}}, "epsilon must be"),
    ],
)
def test_a_state_that_is_refused_changes_nothing(state, message):
    loss = MSLoss()
    for restore in (loss.set_extra_state, lambda s: loss.load_state_dict({"_extra_state": s})):
        with pytest.raises(ValueError, match=message):
            restore(state)
        assert (loss.weighting, loss.mining) == (MultiSimilarity(), MSMining())


def test_a_refused_state_of_a_part_changes_nothing():
    loss = GPWLoss(MultiSimilarity(), reducer=PairWeightReducer(MultiSimilarity()))
    state = GPWLoss(
        MultiSimilarity(alpha=7), reducer=PairWeightReducer(BinomialDeviance())
    ).state_dict()
    with pytest.raises(ValueError, match="must hold the weighting MultiSimilarity"):
        loss.load_state_dict(state)
    assert loss.alpha == 2


def test_labels_of_references_that_are_not_given_are_ignored(batch):
    """As PML does."""
    close(MSLoss()(*batch, ref_labels=batch[1].int()), MSLoss()(*batch))
