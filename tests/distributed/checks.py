"""What every process of a group checks: that all together they are as one process alone."""

import copy
from contextlib import nullcontext

import torch
import torch.distributed as dist
from pytorch_metric_learning import distances, miners, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, ms_variant
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import VARIANTS, CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..cases import CASES
from .shares import REF_SIZES, equal, run, searched, share

REDUCERS = {
    "mean": reducers.MeanReducer(),
    "sum": reducers.SumReducer(),
    "avg_non_zero": reducers.AvgNonZeroReducer(),
    "threshold": reducers.ThresholdReducer(low=0.1, high=0.9),
    "class_weighted": reducers.ClassWeightedReducer(torch.linspace(1, 3, 7)),
    "divisor": reducers.DivisorReducer(),
    "per_anchor": reducers.PerAnchorReducer(),
    "multiple": reducers.MultipleReducers({"loss": reducers.SumReducer()}),
}
LAYOUTS = (nullcontext, searched)
DTYPES = (torch.float64, torch.float32)


def as_in_one_process(loss, mine, whole, dtypes=DTYPES, **kwargs):
    """``loss`` alone on the batch of all, and distributed: ``mine`` of it, ``whole`` of both."""


def check_every_weighting():
    for case in CASES:
        for mining in (None, MSMining(0.1)):
            for dtype in DTYPES:
                batch = share(dtype=dtype)
                for layout in LAYOUTS:
                    with layout():
                        loss = GPWLoss(case.weighting, mining)
                        one = run(loss, batch.x, batch.labels)
                        equal(run(DistributedLoss(loss), *batch.mine), one, batch.own)


def check_every_variant():
    for letters in VARIANTS:
        miner, loss = ms_variant(letters)
        for dtype in DTYPES:
            batch = share(dtype=dtype, seed=1)
            for layout in LAYOUTS:
                with layout():
                    mined = None if miner is None else miner(batch.x, batch.labels)
                    one = run(loss, batch.x, batch.labels, mined)
                    equal(run(DistributedLoss(loss, miner), *batch.mine), one, batch.own)


def check_every_reducer():
    batch = share()
    for reducer in REDUCERS.values():
        for make in (MSWeightedLoss, MSLoss):
            loss = make(reducer=reducer)
            one = run(loss, batch.x, batch.labels, scale=0.3)
            equal(run(DistributedLoss(loss), *batch.mine, scale=0.3), one, batch.own)
    terms = DistributedLoss(MSLoss(reducer=reducers.DoNothingReducer()))(*batch.mine)
    assert terms["loss"]["losses"].shape == (24,)


def check_regularizers():
    batch = share()
    for regularizer in (regularizers.LpRegularizer(), regularizers.ZeroMeanRegularizer()):
        loss = MSLoss(embedding_regularizer=regularizer, embedding_reg_weight=0.3)
        one = run(loss, batch.x, batch.labels)
        equal(run(DistributedLoss(loss), *batch.mine), one, batch.own)


def check_distances():
    batch = share()
    for distance in (
        distances.DotProductSimilarity(normalize_embeddings=False),
        distances.LpDistance(),
        distances.LpDistance(p=1, normalize_embeddings=False),
        distances.SNRDistance(),
    ):
        miner, loss = MSMiner(distance=distance), MSWeightedLoss(distance=distance)
        one = run(loss, batch.x, batch.labels, miner(batch.x, batch.labels))
        equal(run(DistributedLoss(loss, miner), *batch.mine), one, batch.own)


def check_equal_shares():
    batch = share((6,) * dist.get_world_size())
    one = run(MSLoss(), batch.x, batch.labels)
    equal(run(DistributedLoss(MSLoss()), *batch.mine), one, batch.own)


def check_references():
    """They have gradients of their own; those that are the anchors again are known as such."""
    batch, refs = share(), share(REF_SIZES, seed=2)
    for miner, loss in ((None, MSLoss()), (MSMiner(), MSWeightedLoss())):
        for other in (refs, batch):
            leaf, mine = (e.clone().requires_grad_() for e in (other.x, other.x[other.own]))
            mined = None if miner is None else miner(batch.x, batch.labels, leaf, other.labels)
            one = run(loss, batch.x, batch.labels, mined, leaf, other.labels)
            many = DistributedLoss(loss, miner)
            ours = run(many, *batch.mine, ref_emb=mine, ref_labels=other.labels[other.own])
            equal(ours, one, batch.own)
            equal((ours[0], mine.grad), (one[0], leaf.grad), other.own)


def check_references_without_labels():
    batch = share()
    one = run(MSLoss(), batch.x, batch.labels, ref_emb=batch.x + 1)
    many = DistributedLoss(MSLoss())
    equal(run(many, *batch.mine, ref_emb=batch.mine[0] + 1), one, batch.own)


def check_half_precision():
    """No further from float32 than one process is: rounding of the gradient's last digit."""
    world = dist.get_world_size()
    for dtype in (torch.bfloat16, torch.float16):
        batch = share(dtype=dtype)
        one = run(MSLoss(), batch.x, batch.labels)
        for context in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
            with context:
                many = run(DistributedLoss(MSLoss()), *batch.mine)
            assert many[0].dtype == torch.float32
            assert many[1].dtype == dtype
            many = many[0], many[1].float() / world
            one = one[0], one[1].float()
            equal((many[0], many[1] * world), one, batch.own, torch.finfo(dtype).eps)


def check_without_gradient():
    batch = share()
    with torch.no_grad():
        value = DistributedLoss(MSLoss())(*batch.mine)
    assert not value.requires_grad
    assert abs(value - MSLoss()(batch.x, batch.labels)) < 1e-12


def check_gradient_that_only_some_processes_need():
    batch = share()
    x, labels = batch.mine
    last = dist.get_rank() == dist.get_world_size() - 1
    x = x.clone().requires_grad_(not last)
    DistributedLoss(MSLoss())(x, labels).backward()
    one = run(MSLoss(), batch.x, batch.labels)
    assert x.grad is None if last else True
    if not last:
        equal((one[0], x.grad), one, batch.own)


def check_no_second_derivative():
    batch = share()
    x, labels = batch.mine
    leaf = x.clone().requires_grad_()
    loss = DistributedLoss(MSLoss())(leaf, labels)
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    try:
        gradient.sum().backward()
    except RuntimeError as error:
        assert "double backward is not supported" in str(error)
    else:
        raise AssertionError("a second derivative passes silently")


def check_tuple_of_the_local_batch():
    """Each process mines among its own; together that is one tuple of blocks."""
    batch = share()
    miner = miners.PairMarginMiner(0.5, 0.5)
    parts = share_parts(batch)
    tuples = [[i + rows.start for i in miner(batch.x[rows], batch.labels[rows])] for rows in parts]
    together = [torch.cat(parts) for parts in zip(*tuples, strict=True)]
    one = run(MSWeightedLoss(), batch.x, batch.labels, together)
    loss = DistributedLoss(MSWeightedLoss())
    equal(run(loss, *batch.mine, miner(*batch.mine)), one, batch.own)
    equal(run(loss, batch.mine[0], None, miner(*batch.mine)), one, batch.own)


def share_parts(batch):
    """The rows of every process."""
    starts = [None] * dist.get_world_size()
    dist.all_gather_object(starts, (batch.own.start, batch.own.stop))
    return [slice(*bounds) for bounds in starts]


def check_miners_of_pml():
    batch, refs = share(), share(REF_SIZES, seed=2)
    for miner in (miners.PairMarginMiner(0.5, 0.5), miners.TripletMarginMiner(0.2)):
        one = run(MSWeightedLoss(), batch.x, batch.labels, miner(batch.x, batch.labels))
        loss = DistributedLoss(MSWeightedLoss(), miner)
        equal(run(loss, *batch.mine), one, batch.own)
        mined = miner(batch.x, batch.labels, refs.x, refs.labels)
        one = run(MSWeightedLoss(), batch.x, batch.labels, mined, refs.x, refs.labels)
        many = run(loss, *batch.mine, None, *refs.mine)
        equal(many, one, batch.own)


MEMORIES = {
    "mined inside": lambda: CrossBatchMemory(MSLoss(), 5, 60),
    "composed": lambda: CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner()),
    "miner of PML": lambda: CrossBatchMemory(MSWeightedLoss(), 5, 60, miners.PairMarginMiner()),
    "warm-up": lambda: CrossBatchMemory(MSLoss(), 5, 60, warm_up=2, add_batch_loss=True),
    "composed, with batch": lambda: CrossBatchMemory(
        MSWeightedLoss(), 5, 60, MSMiner(), add_batch_loss=True
    ),
}


def check_memory():
    for make in MEMORIES.values():
        alone, memory = make(), make()
        many = DistributedLoss(memory)
        for step in range(10):
            batch = share(seed=step)
            one = run(alone, batch.x, batch.labels)
            equal(run(many, *batch.mine), one, batch.own)
            assert memory.embedding_memory.equal(alone.embedding_memory)
            assert memory.label_memory.equal(alone.label_memory)
            assert memory.get_extra_state() == alone.get_extra_state()


def check_memory_with_mask_and_tuple():
    alone = CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner(0.01))
    memory = copy.deepcopy(alone)
    many = DistributedLoss(memory)
    for step in range(4):
        batch = share(seed=step)
        mask = torch.arange(24) % 3 == 0
        one = run(alone, batch.x, batch.labels, None, mask)
        ours = run(many, *batch.mine, enqueue_mask=mask[batch.own])
        equal(ours, one, batch.own)
        assert memory.embedding_memory.equal(alone.embedding_memory)
        parts = share_parts(batch)
        extra = miners.PairMarginMiner(0.9, 0.1)
        tuples = [[i + r.start for i in extra(batch.x[r], batch.labels[r])] for r in parts]
        together = [torch.cat(each) for each in zip(*tuples, strict=True)]
        one = run(alone, batch.x, batch.labels, together)
        equal(run(many, *batch.mine, extra(*batch.mine)), one, batch.own)


def check_statistics_and_warning_are_of_the_whole():
    import warnings

    batch = share()
    alone, loss = MSLoss(collect_stats=True), MSLoss(collect_stats=True)
    alone(batch.x, batch.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # though some process has no pair of its own
        DistributedLoss(loss)(*batch.mine)
    assert (loss.num_pos_pairs, loss.num_neg_pairs) == (alone.num_pos_pairs, alone.num_neg_pairs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, grad = run(DistributedLoss(MSLoss()), batch.mine[0], batch.mine[1] * 0)
    assert ["no pairs" in str(w.message) for w in caught] == [True]
    assert value == 0
    assert grad.eq(0).all()


def check_nothing_at_all():
    empty = torch.zeros(0, 5, requires_grad=True)
    value = DistributedLoss(MSLoss())(empty, torch.zeros(0).long())
    value.backward()
    assert value == 0


def check_largest_tensor():
    """No process ever holds the N×N matrix, nor its own n×N rows of it."""
    from ..engine.test_streamed import LargestTensor

    world, chunk_size = dist.get_world_size(), 10
    n = 240 // world
    batch = share((n,) * world, torch.float32)
    for mining in (None, MSMining(0.1)):
        for reducer in (reducers.MeanReducer(), reducers.AvgNonZeroReducer()):
            loss = GPWLoss(MultiSimilarity(), mining, chunk_size, reducer=reducer)
            leaf = batch.mine[0].clone().requires_grad_()
            with LargestTensor() as seen:
                DistributedLoss(loss)(leaf, batch.mine[1]).backward()
            assert 0 < seen.numel <= 2 * chunk_size * 240 < n * 240
    with LargestTensor() as seen:
        DistributedLoss(MSLoss(chunk_size=n))(*batch.mine)
    assert n * 240 <= seen.numel < 240 * 240, "the probe sees nothing, or all is walked"


CHECKS = [name for name in list(globals()) if name.startswith("check_")]
