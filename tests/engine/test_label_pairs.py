import pytest
import torch

from pml_gpw.engine.label_pairs import label_masks

from .. import oracles


@pytest.mark.parametrize("labels", [[0, 0, 1], [5], [2, 2, 2, 2], [0, 1, 2], [-3, 2**40, -3]])
def test_label_masks(labels):
    labels = torch.tensor(labels)
    for actual, expected in zip(
        label_masks(labels, labels, torch.arange(len(labels))),
        oracles.pairs_of(labels),
        strict=True,
    ):
        assert actual.equal(expected)
    others = labels.flip(0)
    for actual, expected in zip(
        label_masks(labels, others), oracles.pairs_of(labels, others), strict=True
    ):
        assert actual.equal(expected)
