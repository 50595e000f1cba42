"""Hyper-parameters as attributes; state, copies and pickles."""

import copy
import pickle
import warnings
from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, weightings
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import PairWeightReducer
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights

from ..tolerances import close

MODULES = [
    MSMiner(0.3, chunk_size=7),
    MSWeightedLoss(3, 40, 0.4, collect_stats=True),
    MSLoss(3, 40, 0.4, 0.2, distance=distances.LpDistance()),
    GPWLoss(weightings.LiftedStructure(2, 50, None), MSMining(0.2)),
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
        assert getattr(twin, "chunk_size", None) == getattr(module, "chunk_size", None)
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
    loss.mining = None
    with pytest.raises(AttributeError, match=r"epsilon cannot be set: .*mining is None"):
        loss.epsilon = 0.2


def test_another_weighting_or_mining_can_be_assigned(batch):
    loss = MSLoss()
    loss.weighting, loss.mining = weightings.BinomialDeviance(alpha=3), None
    close(loss(*batch), GPWLoss(weightings.BinomialDeviance(alpha=3))(*batch))
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


OLD = {  # the state of MSLoss(3, 40, 0.4, 0.2) in 0.2
    "weighting": {"type": "MultiSimilarity", "fields": {"alpha": 3, "beta": 40, "base": 0.4}},
    "mining": {"type": "MSMining", "fields": {"epsilon": 0.2}},
}


def test_a_state_of_0_2_is_accepted_and_code_wins():
    """One warning names what was constructed and what was saved."""
    loss = MSLoss(base=0.4)
    loss.load_state_dict({"_extra_state": None})
    loss.load_state_dict({"_extra_state": {}})
    said = (
        r"MSLoss stays with MultiSimilarity\(alpha=2.0, beta=50.0, base=0.4\) and "
        r"MSMining\(epsilon=0.1\); the state_dict is of "
        r"MultiSimilarity\(alpha=3, beta=40, base=0.4\) and MSMining\(epsilon=0.2\)"
    )
    with pytest.warns(UserWarning, match=said) as seen:
        loss.load_state_dict({"_extra_state": OLD})
    assert len(seen) == 1
    with pytest.warns(UserWarning, match="the state_dict is of 'x' and {"):
        loss.load_state_dict({"_extra_state": {"weighting": "x", "mining": {"type": "y"}}})
    assert (loss.weighting, loss.mining) == (MultiSimilarity(base=0.4), MSMining())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MSLoss(3, 40, 0.4, 0.2).load_state_dict({"_extra_state": OLD})
        MSWeightedLoss(3, 40, 0.4).load_state_dict({"_extra_state": {**OLD, "mining": None}})


class Ours(torch.nn.Module):
    """A network with its loss and miner, as frameworks hold them."""

    def __init__(self, epsilon=0.1):
        super().__init__()
        self.net, self.loss, self.miner = torch.nn.Linear(3, 2), MSLoss(), MSMiner(epsilon)


class Theirs(Ours):
    def __init__(self, epsilon=0.1):
        super().__init__()
        self.loss, self.miner = MultiSimilarityLoss(), MultiSimilarityMiner(epsilon)


@pytest.mark.parametrize(("first", "second"), [(Ours, Theirs), (Theirs, Ours), (Ours, Ours)])
def test_checkpoints_cross(first, second):
    """Strictly, and what the code says of the miner stays."""
    saved, loaded = first(epsilon=0.1), second(epsilon=0.3)
    loaded.load_state_dict(saved.state_dict(), strict=True)
    close(loaded.net.weight, saved.net.weight)
    assert loaded.miner.epsilon == 0.3
