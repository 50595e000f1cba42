import pytest

from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from .. import contract


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("paper", (2, 50, 1)),
        ("official", (2, 40, 0.5)),
        ("pml", (2, 50, 0.5)),
        ("place_recognition", (1, 50, 0)),
    ],
)
def test_presets(name, values):
    preset = MultiSimilarity.preset(name)
    assert (preset.alpha, preset.beta, preset.base) == values


def test_multi_similarity_tends_to_lifted_structure():
    """Far from λ the 1 does not count: both losses differ by a constant, the weights agree."""
    x, labels = contract.random_batch()
    sim, (pos, neg) = x @ x.T, contract.oracles.pairs_of(labels)
    lifted = LiftedStructure(2, 50, margin=None).weights(sim, pos, neg)
    complete = pos.any(dim=1) & neg.any(dim=1)
    far_above = MultiSimilarity(2, 50, base=20).weights(sim, pos, neg)
    far_below = MultiSimilarity(2, 50, base=-20).weights(sim, pos, neg)
    contract.close(far_above.pos[complete], lifted.pos[complete])
    contract.close(far_below.neg[complete], lifted.neg[complete])
