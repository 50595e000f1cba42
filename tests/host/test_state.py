"""What a loss or miner object carries: state, hyper-parameters, precision, warnings."""

import copy
import pickle
import warnings
from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning import distances, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss
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
from .runs import run

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
    assert "MultiSimilarity(alpha=7, beta=50, base=0.5), MSMining(epsilon=0.4)" in repr(loss)


def test_another_weighting_or_mining_can_be_assigned(batch):
    loss = MSLoss()
    loss.weighting, loss.mining = BinomialDeviance(alpha=3), None
    close(loss(*batch), GPWLoss(BinomialDeviance(alpha=3))(*batch))
    assert loss.alpha == 3
    assert loss._record_these == ["alpha", "beta", "base"]
    with pytest.raises(ValueError, match="mining must be a PairMining or None"):
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


def test_half_embeddings_under_autocast(batch):
    x, labels = batch
    for dtype in (torch.bfloat16, torch.float16):
        half = x.to(dtype).requires_grad_()
        expected = run(
            MSWeightedLoss(),
            half.detach().float(),
            labels,
            MSMiner()(half.detach().float(), labels),
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = MSWeightedLoss()(half, labels, MSMiner()(half, labels))
        value.backward()
        assert value.dtype == torch.float32
        assert half.grad.dtype == dtype
        close(value, expected[0])
        close(half.grad.float(), expected[1].to(dtype).float(), torch.finfo(dtype).eps)
        regular = MSLoss(embedding_regularizer=regularizers.LpRegularizer())
        assert regular(half, labels).dtype == torch.float32


def test_float64_stays_float64(batch):
    assert MSLoss()(batch[0].double(), batch[1]).dtype == torch.float64


def test_double_backward_is_refused(batch):
    x = batch[0].requires_grad_()
    (gradient,) = torch.autograd.grad(MSLoss()(x, batch[1]), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()


def test_same_bits_every_time(batch):
    first, second = run(MSLoss(), *batch), run(MSLoss(), *batch)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


def test_labels_of_references_that_are_not_given_are_ignored(batch):
    """As PML does."""
    close(MSLoss()(*batch, ref_labels=batch[1].int()), MSLoss()(*batch))


NOTHING = (torch.tensor([], dtype=torch.long),) * 4


@pytest.mark.parametrize(
    ("loss", "args", "reason"),
    [
        (PairSimilarityLoss(), (1, torch.arange(1), None, None), "neither labels nor"),
        (MSWeightedLoss(), (3, torch.arange(3) * 0, NOTHING, None), "the indices_tuple names none"),
        (MSLoss(), (3, torch.zeros(3).long(), None, None), "the mining keeps none"),
        (MSWeightedLoss(), (1, torch.arange(1), None, None), "the labels give none"),
        (MSWeightedLoss(), (0, torch.arange(0), None, None), "0 embeddings"),
        (MSWeightedLoss(), (3, torch.arange(3), None, torch.zeros(0, 5)), "0 references"),
    ],
)
def test_a_batch_without_pairs_is_zero_and_says_so_once(loss, args, reason):
    n, labels, indices, references = args
    x = torch.randn(n, 5, requires_grad=True)
    ref_labels = None if references is None else labels[: len(references)]

    def step():
        value = loss(x, labels, indices, references, ref_labels)
        value.backward()
        assert value == 0
        assert x.grad.eq(0).all()

    with pytest.warns(UserWarning, match=reason):
        step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()


def test_each_loss_object_warns_for_itself():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # Python's own choice: once per place
        for _ in range(2):
            loss = MSLoss()
            loss(torch.randn(1, 3), torch.tensor([0]))
            loss(torch.randn(1, 3), torch.tensor([0]))
    assert len(caught) == 2
