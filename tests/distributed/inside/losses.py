"""Value and gradient of every loss, reducer and distance, with and without references."""

import warnings
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning import distances, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, ms_variant
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import VARIANTS
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity, Triplet

from ...cases import CASES
from ...tolerances import close
from ..partition import REF_SIZES, SIZES, equal, partitioned_batch, run

REDUCERS = {
    "mean": reducers.MeanReducer(),
    "sum": reducers.SumReducer(),
    "avg_non_zero": reducers.AvgNonZeroReducer(),
    "threshold": reducers.ThresholdReducer(low=0.1, high=0.9),
    "class_weighted": reducers.ClassWeightedReducer(torch.linspace(1, 3, 9)),
    "divisor": reducers.DivisorReducer(),
    "per_anchor": reducers.PerAnchorReducer(),
    "multiple": reducers.MultipleReducers({"loss": reducers.SumReducer()}),
}
LAYOUTS = ("auto", "sparse rows")
DTYPES = (torch.float64, torch.float32)


def check_every_weighting():
    for case in CASES:
        for mining in (None, MSMining(0.1)):
            for dtype in DTYPES:
                batch = partitioned_batch(dtype=dtype)
                for layout in LAYOUTS:
                    loss = GPWLoss(case.weighting, mining)
                    loss.layout = layout
                    one = run(loss, batch.x, batch.labels)
                    equal(run(DistributedLoss(loss), *batch.part), one, batch.rows)


def check_every_variant():
    for letters in VARIANTS:
        miner, loss = ms_variant(letters)
        for dtype in DTYPES:
            batch = partitioned_batch(dtype=dtype, seed=1)
            for layout in LAYOUTS:
                loss.layout = layout
                mined = None if miner is None else miner(batch.x, batch.labels)
                one = run(loss, batch.x, batch.labels, mined)
                equal(run(DistributedLoss(loss, miner), *batch.part), one, batch.rows)


def check_every_reducer():
    batch = partitioned_batch()
    for reducer in REDUCERS.values():
        for make in (MSWeightedLoss, MSLoss):
            loss = make(reducer=reducer)
            one = run(loss, batch.x, batch.labels, scale=0.3)
            equal(run(DistributedLoss(loss), *batch.part, scale=0.3), one, batch.rows)
    terms = DistributedLoss(MSLoss(reducer=reducers.DoNothingReducer()))(*batch.part)
    assert terms["loss"]["losses"].shape == (24,)


def check_regularizers():
    batch = partitioned_batch()
    for regularizer in (regularizers.LpRegularizer(), regularizers.ZeroMeanRegularizer()):
        loss = MSLoss(embedding_regularizer=regularizer, embedding_reg_weight=0.3)
        one = run(loss, batch.x, batch.labels)
        equal(run(DistributedLoss(loss), *batch.part), one, batch.rows)


def check_distances():
    batch = partitioned_batch()
    for distance in (
        distances.DotProductSimilarity(normalize_embeddings=False),
        distances.LpDistance(),
        distances.LpDistance(p=1, normalize_embeddings=False),
        distances.SNRDistance(),
    ):
        miner, loss = MSMiner(distance=distance), MSWeightedLoss(distance=distance)
        one = run(loss, batch.x, batch.labels, miner(batch.x, batch.labels))
        equal(run(DistributedLoss(loss, miner), *batch.part), one, batch.rows)


def check_equal_parts():
    batch = partitioned_batch((6,) * dist.get_world_size())
    one = run(MSLoss(), batch.x, batch.labels)
    equal(run(DistributedLoss(MSLoss()), *batch.part), one, batch.rows)


def check_references():
    """They have gradients of their own; those that are the anchors again are known as such."""
    batch, refs = partitioned_batch(), partitioned_batch(REF_SIZES, seed=2)
    for miner, loss in ((None, MSLoss()), (MSMiner(), MSWeightedLoss())):
        for other in (refs, batch):
            leaf, mine = (e.clone().requires_grad_() for e in (other.x, other.x[other.rows]))
            mined = None if miner is None else miner(batch.x, batch.labels, leaf, other.labels)
            one = run(loss, batch.x, batch.labels, mined, leaf, other.labels)
            many = DistributedLoss(loss, miner)
            ours = run(many, *batch.part, ref_emb=mine, ref_labels=other.labels[other.rows])
            equal(ours, one, batch.rows)
            equal((ours[0], mine.grad), (one[0], leaf.grad), other.rows)


def check_references_that_are_the_anchors_of_one_process():
    """To the batch of all they are others, so that an anchor and its copy are a positive pair."""
    batch = partitioned_batch()
    n = SIZES[dist.get_world_size()][0]
    refs = partitioned_batch((n,) + (0,) * (dist.get_world_size() - 1))
    x, labels = batch.x[:n][refs.rows], batch.labels[:n][refs.rows]
    one = run(MSLoss(), batch.x, batch.labels, None, batch.x[:n], batch.labels[:n])
    equal(run(DistributedLoss(MSLoss()), *batch.part, None, x, labels), one, batch.rows)


def check_references_without_labels():
    batch = partitioned_batch()
    one = run(MSLoss(), batch.x, batch.labels, ref_emb=batch.x + 1)
    many = DistributedLoss(MSLoss())
    equal(run(many, *batch.part, ref_emb=batch.part[0] + 1), one, batch.rows)


def check_fused():
    """Rows through a compiler, of the anchors of each process against all references."""
    torch._dynamo.reset()
    with patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        batch = partitioned_batch()
        for weighting, mining in ((MultiSimilarity(), MSMining()), (Triplet(), None)):
            one = run(GPWLoss(weighting, mining), batch.x, batch.labels)
            many = DistributedLoss(GPWLoss(weighting, mining, fused=True))
            equal(run(many, *batch.part), one, batch.rows)


def check_half_precision():
    """The loss of float32, and its gradient but for the last digit: summed before it is rounded."""
    for dtype in (torch.bfloat16, torch.float16):
        batch = partitioned_batch(dtype=dtype)
        value, exact = run(MSLoss(), batch.x.float(), batch.labels)
        exact = dist.get_world_size() * exact[batch.rows]
        for context in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
            with context:
                many = run(DistributedLoss(MSLoss()), *batch.part)
            assert many[0].dtype == torch.float32
            assert many[1].dtype == dtype
            close(many[0], value, 1e-5)
            error = (many[1].float() - exact).abs()
            bound = 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-6
            assert (error <= bound).all(), (dtype, (error / bound).max())


def check_without_gradient():
    batch = partitioned_batch()
    with torch.no_grad():
        value = DistributedLoss(MSLoss())(*batch.part)
    assert not value.requires_grad
    assert abs(value - MSLoss()(batch.x, batch.labels)) < 1e-12


def check_gradient_that_only_some_processes_need():
    batch = partitioned_batch()
    x, labels = batch.part
    last = dist.get_rank() == dist.get_world_size() - 1
    x = x.clone().requires_grad_(not last)
    DistributedLoss(MSLoss())(x, labels).backward()
    one = run(MSLoss(), batch.x, batch.labels)
    if last:
        assert x.grad is None
    else:
        equal((one[0], x.grad), one, batch.rows)


def check_no_second_derivative():
    batch = partitioned_batch()
    x, labels = batch.part
    leaf = x.clone().requires_grad_()
    loss = DistributedLoss(MSLoss())(leaf, labels)
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()


def check_statistics_and_warning_are_of_the_whole():
    batch = partitioned_batch()
    alone, loss = MSLoss(collect_stats=True), MSLoss(collect_stats=True)
    alone(batch.x, batch.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # though some process has no pair of its own
        DistributedLoss(loss)(*batch.part)
    assert (loss.num_pos_pairs, loss.num_neg_pairs) == (alone.num_pos_pairs, alone.num_neg_pairs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, grad = run(DistributedLoss(MSLoss()), batch.part[0], batch.part[1] * 0)
    assert ["no pairs" in str(w.message) for w in caught] == [True]
    assert value == 0
    assert grad.eq(0).all()


def check_nothing_at_all():
    empty = torch.zeros(0, 5, requires_grad=True)
    value = DistributedLoss(MSLoss())(empty, torch.zeros(0).long())
    value.backward()
    assert value == 0
    pairs = tuple(torch.zeros(dist.get_rank()).long() for _ in range(4))
    with pytest.raises(ValueError, match=r"^rank 1 .*indices in \[0, 0\), got 0 to 0"):
        DistributedLoss(MSLoss())(empty, torch.zeros(0).long(), pairs)
