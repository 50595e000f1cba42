"""Relations of labels in objects of PML, below distances and reducers of PML."""

import pytest
import torch
from pytorch_metric_learning import distances, reducers

from pml_gpw import modules
from pml_gpw.hosts import pml2
from pml_gpw.relations import WeightedRelations, jaccard, share_a_label
from pml_gpw.weightings import MultiSimilarity

from ...runs import close_runs, run
from ...test_relations import LEVELS, TAGS, TAXA, Graded, embeddings
from ...tolerances import close


class ByPML(pml2.GPWLoss):
    """With a ``compute_loss`` of its own, which is PML's way."""

    def compute_loss(self, *arguments):
        return super().compute_loss(*arguments)


def test_a_compute_loss_of_ones_own_is_given_a_tuple():
    x = embeddings(12)
    loss = ByPML(MultiSimilarity(), pairs=share_a_label)
    plain = modules.GPWLoss(MultiSimilarity(), pairs=share_a_label)
    close_runs(run(loss, x, TAGS), run(plain, x, TAGS))
    for pairs, labels in ((jaccard, TAGS), (WeightedRelations(LEVELS), TAXA[:12])):
        with pytest.raises(ValueError, match="pairs must be yes or no beside"):
            ByPML(MultiSimilarity(), pairs=pairs)(x, labels)


def distances_of(x):
    unit = torch.nn.functional.normalize(x)
    return -torch.cdist(unit, unit).fill_diagonal_(0)


def test_grades_below_a_distance():
    """Euclidean distances are a matrix whose gradient autograd takes."""
    x, labels = embeddings(24), TAGS.repeat(2, 1)
    loss = pml2.GPWLoss(Graded(), pairs=jaccard, distance=distances.LpDistance())
    sim, grades = distances_of(x), jaccard(labels, labels).double()
    rest = grades.clone().fill_diagonal_(float("nan"))
    near = (grades * (1 - sim))[rest > 0].sum() + (sim.clamp(min=0) ** 2)[rest == 0].sum()
    close(loss(x, labels), near / 24, 1e-6)


def test_a_hierarchy_below_a_distance():
    x = embeddings(24)
    weighting, distance = MultiSimilarity(), distances.LpDistance()
    loss = pml2.GPWLoss(weighting, pairs=WeightedRelations(LEVELS), distance=distance)
    total = 0
    for level, (_, weight) in enumerate(LEVELS):
        single = pml2.GPWLoss(weighting, distance=distance)
        total = total + weight * single(x, TAXA[:, level])
    close(loss(x, TAXA), total, 1e-6)


@pytest.mark.parametrize("reducer", [reducers.AvgNonZeroReducer(), reducers.DivisorReducer()])
def test_reducers_that_several_relations_refuse(reducer):
    loss = pml2.GPWLoss(MultiSimilarity(), pairs=WeightedRelations(LEVELS), reducer=reducer)
    with pytest.raises(ValueError, match="reducer of several relations must be a mean or a sum"):
        loss(embeddings(24), TAXA)
