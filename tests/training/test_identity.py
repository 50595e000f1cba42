"""What tells a training from others is the same after it and in another process."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pytorch_metric_learning.losses import MarginLoss, NTXentLoss

from pml_gpw import GPWLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.training import Experiment
from pml_gpw.training.identity import describe
from pml_gpw.weightings import PairWeighting, PairWeights


@dataclass(frozen=True)
class Weighing(PairWeighting):
    of_similarity: Callable[[torch.Tensor], torch.Tensor] = lambda sim: sim.exp()

    def weigh(self, pos, neg):
        return PairWeights(self.of_similarity(-pos.sim), self.of_similarity(neg.sim))


def described(loss, miner=None):
    found = describe(Experiment(), loss, miner, [])
    return found["loss_func"], found["mining_func"]


def test_hyperparameters_of_ours_and_of_pml_count():
    assert described(MSWeightedLoss(beta=50)) == described(MSWeightedLoss(beta=50))
    assert described(MSWeightedLoss(beta=50)) != described(MSWeightedLoss(beta=51))
    assert described(MSWeightedLoss(), MSMiner(0.1)) != described(MSWeightedLoss(), MSMiner(0.2))
    assert described(NTXentLoss(temperature=0.1)) != described(NTXentLoss(temperature=0.2))
    memories = [CrossBatchMemory(MSWeightedLoss(beta=b), 4, 20) for b in (50, 51)]
    assert described(memories[0]) != described(memories[1])


def test_what_training_changes_does_not_count():
    x, labels = torch.randn(8, 4), torch.arange(8) // 2
    memory = CrossBatchMemory(MSWeightedLoss(), 4, 20)
    before = described(memory)
    memory(x, labels)
    assert described(memory) == before
    margin = MarginLoss(learn_beta=True, num_classes=4)
    before = described(margin)
    with torch.no_grad():
        margin.beta += 1
    assert described(margin) == before


def test_the_address_of_a_function_does_not_count():
    loss, _ = described(GPWLoss(Weighing()))
    assert "Weighing(of_similarity=<function Weighing.<lambda>>)" in loss


def test_the_body_of_a_formula_counts_and_its_comments_do_not():
    @dataclass(frozen=True)
    class Power(PairWeighting):
        def weigh(self, pos, neg):
            return PairWeights((1 - pos.sim) ** 2, (1 + neg.sim) ** 2)

    @dataclass(frozen=True)
    class Commented(PairWeighting):
        def weigh(self, pos, neg):
            """With a docstring."""  # and a comment
            return PairWeights((1 - pos.sim) ** 2, (1 + neg.sim) ** 2)

    @dataclass(frozen=True)
    class Cubic(PairWeighting):
        def weigh(self, pos, neg):
            return PairWeights((1 - pos.sim) ** 2, (1 + neg.sim) ** 3)

    for kind in (Commented, Cubic):
        kind.__name__, kind.__qualname__ = Power.__name__, Power.__qualname__
    assert described(GPWLoss(Commented())) == described(GPWLoss(Power()))
    assert described(GPWLoss(Cubic())) != described(GPWLoss(Power()))
