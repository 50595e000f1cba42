from dataclasses import dataclass

import pytest

from pml_gpw.weightings import PairWeighting, PairWeights

from .. import contract


def test_weights_alone_are_enough():
    @dataclass(frozen=True)
    class ByHardness(PairWeighting):
        power: float = 2.0

        def weigh(self, pos, neg):
            return PairWeights((1 - pos.sim) ** self.power, (1 + neg.sim) ** self.power)

    x, labels = contract.random_batch()
    sim, (pos, neg) = x @ x.T, contract.oracles.pairs_of(labels)
    weights = ByHardness().weights(sim, pos, neg)
    losses, signed = contract.signed_gradient(
        lambda s: contract.dense_losses(s, pos, neg, ByHardness()), sim
    )
    contract.close(signed, weights.neg - weights.pos)
    contract.close(losses, ((weights.neg - weights.pos) * sim).sum(dim=1))  # eq 3
    contract.close(
        signed, contract.signed_gradient(lambda s: ByHardness().losses(s, pos, neg), sim)[1]
    )


def test_a_weighting_without_a_formula_is_refused():
    with pytest.raises(TypeError, match="must override weigh or evaluate"):

        class Nothing(PairWeighting):
            pass
