"""Balanced weightings: the contract of every weighting, and slow loops of their definition."""

import math

import pytest
import torch

from benchmarks.data.balanced import BalancedBinomialDeviance, BalancedConstant, balanced_variant

from ... import contract, oracles
from ...cases import Case
from ...tolerances import close


def balanced(oracle):
    """The weights of another oracle, each side divided by its sum; the loss of eq 3."""

    def divided(weights):
        total = sum(weights)
        return [w / total for w in weights]

    def row(weighting, pos, neg, m=math):
        pos_weights, neg_weights = map(divided, oracle(weighting, pos, neg, m)[1:])
        loss = sum(w * s for w, s in zip(neg_weights, neg, strict=True))
        loss -= sum(w * s for w, s in zip(pos_weights, pos, strict=True))
        return loss, pos_weights, neg_weights

    return row


BINOMIAL = BalancedBinomialDeviance(alpha=2, beta=50, base=0.5)
CASES = [
    Case(BalancedConstant(), balanced(oracles.constant), (0.5 + 0.1) / 2 - 0.8, (1.0, 0.5, 0.5)),
    Case(BINOMIAL, balanced(oracles.binomial_deviance), level="base"),
]
# No loss has these weights of S for its gradient, so no difference quotient of one is.
CHECKS = [check for check in contract.CHECKS if check is not contract.check_numerical_gradient]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_contract(case, check, monkeypatch):
    monkeypatch.setattr(contract, "EVERY_CASE", CASES)
    check(case)


@pytest.mark.parametrize("similarities", ["", "S", "P", "SP"])
def test_the_sides_of_an_anchor_weigh_the_same(similarities):
    x, labels = contract.random_batch(n=30, seed=1)
    sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
    miner, loss = balanced_variant(similarities, alpha=3, beta=20, base=0.4, epsilon=0.3)
    if miner is not None:
        pos, neg = miner.mining(sim, pos, neg)
    weights = loss.weighting.weights(sim, pos, neg)
    one = torch.ones((), dtype=torch.float64)
    for part, mask in zip(weights, (pos, neg), strict=True):
        assert mask.any(dim=1).any()
        close(part.sum(dim=1), torch.where(mask.any(dim=1), one, 0 * one))


def test_bad_variants_are_refused():
    with pytest.raises(ValueError, match='similarities must be "", "S", "P" or "SP", got \'N\''):
        balanced_variant("N")
