"""What every pair mining promises: each ``check_*`` takes a case and raises AssertionError.

Wrong rules must fail (``mining/test_contract.py``).
"""

import torch

from pml_gpw import mining
from pml_gpw.engine import IndexPairs, InnerProduct, LabelPairs, PairBatch, Plan, anchor_losses
from pml_gpw.engine.anchor_losses import mined_pairs
from pml_gpw.mining.base import mine_rows
from pml_gpw.weightings import DenseRows, MultiSimilarity
from pml_gpw.weightings.pair_rows import RowContext

from . import contract, oracles
from .tolerances import close

KEY = 2**61 - 3**20
PLANS = [
    Plan(size, layout)
    for size in (1, 7, 20)
    for layout in ("auto", "dense", "sparse rows", "sparse batch")
]
SIMILARITY = InnerProduct(normalized=False)


def batches(n=20, coarse=False):
    """Self-comparison, references, references with copies of some anchors, and index pairs."""
    x, labels = contract.random_batch(n, seed=1, per_class=4)
    y, other_labels = contract.random_batch(n + 7, seed=2, per_class=5)
    if coarse:  # many equal similarities
        x, y = ((e * 2).round() / 2 for e in (x, y))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    x, labels = x[order], labels[order]
    itself = torch.arange(n)
    yield PairBatch(x, x, LabelPairs(labels, labels, itself, symmetric=True), key=torch.tensor(KEY))
    yield PairBatch(x, y, LabelPairs(labels, other_labels), key=torch.tensor(KEY))
    copies = torch.where(itself % 3 == 0, itself, -1)
    both, both_labels = torch.cat([x, y]), torch.cat([labels, other_labels])
    yield PairBatch(x, both, LabelPairs(labels, both_labels, copies), key=torch.tensor(KEY))
    generator = torch.Generator().manual_seed(4)
    some = torch.rand(n, n, generator=generator) < 0.7
    pos, neg = (mask & some for mask in oracles.pairs_of(labels))
    listed = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    yield PairBatch(x, x, IndexPairs.of(listed, (n, n)), key=torch.tensor(KEY))


def expected_masks(case, batch):
    sim = SIMILARITY.matrix(batch.anchors, batch.references)
    masks = batch.pairs.masks(slice(0, len(sim)))
    own = batch.pairs.self_index
    return oracles.mined_row_by_row(case.oracle, case.mining, sim, *masks, own, KEY)


def as_masks(indices_tuple, shape):
    a1, p, a2, n = indices_tuple
    pos, neg = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    pos[a1, p], neg[a2, n] = True, True
    assert (len(a1), len(a2)) == (pos.sum(), neg.sum()), "a pair is listed twice"
    return pos, neg


def check_pairs_equal_the_slow_loop(case):
    """Streamed, dense and sparse, in every chunk size, with ties and without."""
    for coarse in (False, True):
        for batch in batches(coarse=coarse):
            expected = expected_masks(case, batch)
            for plan in PLANS:
                mined = mined_pairs(batch, case.mining, SIMILARITY, plan)
                for a, b in zip(as_masks(mined, batch.pairs.shape), expected, strict=True):
                    assert a.equal(b)


def check_losses_and_gradients_are_those_of_the_pairs(case):
    """Also where backward asks again: a random rule then draws the same pairs."""
    weighting = MultiSimilarity()
    for batch in batches():
        pos, neg = expected_masks(case, batch)
        x = batch.anchors.clone().requires_grad_()
        same = batch.references is batch.anchors
        y = x if same else batch.references.clone().requires_grad_()
        leaves = [x] if same else [x, y]
        upstream = torch.linspace(0.5, 2, len(x), dtype=torch.float64)
        reference = weighting.losses(SIMILARITY.matrix(x, y), pos, neg)
        wanted = torch.autograd.grad(reference, leaves, upstream)
        for plan in PLANS:
            found = anchor_losses(
                batch.with_embeddings(x, y), weighting, case.mining, SIMILARITY, plan
            )
            close(found.losses, reference)
            assert found.num_pos.tolist() == pos.sum(dim=1).tolist()
            assert found.num_neg.tolist() == neg.sum(dim=1).tolist()
            for a, b in zip(
                torch.autograd.grad(found.losses, leaves, upstream), wanted, strict=True
            ):
                close(a, b)


def check_the_package_accepts_it(case):
    """Layouts agree, anchors are independent, and the lower bound is kept."""
    mining.check_mining(case.mining)


def check_nothing_is_kept_of_nothing(case):
    for n, m in ((0, 0), (0, 3), (3, 0), (1, 1)):
        x, y = torch.rand(n, 4), torch.rand(m, 4)
        pairs = LabelPairs(torch.arange(n), torch.arange(m) + 100)
        batch = PairBatch(x, y, pairs, key=torch.tensor(KEY))
        for plan in PLANS[-4:]:
            assert len(mined_pairs(batch, case.mining, SIMILARITY, plan)[0]) == 0


def check_levels_are_negated_with_distances(case):
    """On S = −D the rule for negated distances keeps what the oracle of it keeps."""
    negated = case.mining.for_negated_distances()
    for batch in batches():
        distances = 1 - SIMILARITY.matrix(batch.anchors, batch.references)
        masks = batch.pairs.masks(slice(0, len(distances)))
        own = batch.pairs.self_index
        expected = oracles.mined_row_by_row(case.oracle, negated, -distances, *masks, own, KEY)
        context = RowContext(0, torch.tensor(KEY), own)
        rows = (DenseRows(-distances, mask, context) for mask in masks)
        for a, b in zip(mine_rows(*rows, negated), expected, strict=True):
            assert a.mask.equal(b)


def measured_similarities(rule):
    """The letters that what is kept depends on."""
    return contract.measured_similarities(lambda *rows: rule(*rows, torch.tensor(KEY)), trials=60)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
