"""Value and gradient of every loss, reducer, distance and relation, with and without references."""

import warnings
from contextlib import nullcontext
from functools import partial
from itertools import product
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning import distances, reducers, regularizers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, losses, modules, ms_variant
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import VARIANTS, CrossBatchMemory
from pml_gpw.mining import HardestNegatives, MSMining
from pml_gpw.modules import contrastive_losses, margin_losses, ranking_losses
from pml_gpw.relations import ByClass, SameLevel, WeightedRelations, jaccard
from pml_gpw.weightings import GradedContrastive, LiftedStructure, MultiSimilarity

from ...cases import CASES
from ...probes import LargestTensor
from ...tolerances import close
from ..partition import REF_SIZES, SIZES, compare, compare_memories, composed, equal, run, sharded

REDUCERS = [
    reducers.SumReducer(),
    reducers.AvgNonZeroReducer(),
    reducers.ThresholdReducer(low=0.1, high=0.9),
    reducers.ClassWeightedReducer(torch.linspace(1, 3, 9)),
    reducers.DivisorReducer(),
    reducers.PerAnchorReducer(),
    reducers.MultipleReducers({"loss": reducers.SumReducer()}),
]
LAYOUTS = ("auto", "sparse rows")
DTYPES = (torch.float64, torch.float32)
ROOMS = contrastive_losses, margin_losses, ranking_losses
NAMED = [n for m in ROOMS for n, v in vars(m).items() if getattr(v, "__module__", "") == m.__name__]


def check_every_weighting():
    for number, (case, mining) in enumerate(product(CASES, (None, MSMining(0.1)))):
        loss = GPWLoss(case.weighting, mining)
        loss.layout = LAYOUTS[number // 2 % 2]
        compare(loss, sharded(dtype=DTYPES[number // 4 % 2]))


def check_every_variant():
    for number, letters in enumerate(VARIANTS):
        miner, loss = ms_variant(letters)
        loss.layout = LAYOUTS[number % 2]
        batch = sharded(seed=1)
        compare(composed(loss, miner), batch, DistributedLoss(loss, miner))


def check_every_loss_of_the_field():
    assert len(NAMED) == 13
    for number, name in enumerate(NAMED):
        options = {"margin": 0.4, "Tn": 5.0} if name == "RankedListLoss" else {}
        for mining in (None, MSMining(0.3))[:: 1 - 2 * (number % 2)]:
            loss = getattr(losses, name)(**options, mining=mining).double()
            compare(loss, sharded())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compare_memories(CrossBatchMemory(loss, 5, 60), 2)


def check_reducers_regularizers_and_distances():
    batch, loss = sharded(), None
    for reducer in REDUCERS:
        compare(MSLoss(reducer=reducer), batch, scale=0.3)
    terms = DistributedLoss(MSLoss(reducer=reducers.DoNothingReducer()))(*batch.part)
    assert terms["loss"]["losses"].shape == (24,)
    for regularizer in (regularizers.LpRegularizer(), regularizers.ZeroMeanRegularizer()):
        compare(MSLoss(embedding_regularizer=regularizer, embedding_reg_weight=0.3), batch)
    dot = distances.DotProductSimilarity(normalize_embeddings=False)
    of_one = distances.LpDistance(p=1, normalize_embeddings=False)
    for distance in (dot, of_one, distances.LpDistance(), distances.SNRDistance()):
        miner, loss = MSMiner(distance=distance), MSWeightedLoss(distance=distance)
        compare(composed(loss, miner), batch, DistributedLoss(loss, miner))


def check_references():
    """They have gradients of their own; those that are the anchors again are known as such."""
    batch, refs = sharded(), sharded(REF_SIZES, seed=2)
    for miner, loss in ((None, MSLoss()), (MSMiner(), MSWeightedLoss())):
        for other in (refs, batch):
            leaf, mine = (e.clone().requires_grad_() for e in (other.x, other.x[other.rows]))
            one = run(composed(loss, miner), batch.x, batch.labels, None, leaf, other.labels)
            many = DistributedLoss(loss, miner)
            ours = run(many, *batch.part, ref_emb=mine, ref_labels=other.labels[other.rows])
            equal(ours, one, batch.rows)
            equal((ours[0], mine.grad), (one[0], leaf.grad), other.rows)
    one = run(MSLoss(), batch.x, batch.labels, ref_emb=batch.x + 1)
    ours = run(DistributedLoss(MSLoss()), *batch.part, ref_emb=batch.part[0] + 1)
    equal(ours, one, batch.rows)


def check_references_that_are_the_anchors_of_one_process():
    """To the batch of all they are others, so that an anchor and its copy are a positive pair."""
    batch = sharded()
    n = SIZES[dist.get_world_size()][0]
    refs = sharded((n,) + (0,) * (dist.get_world_size() - 1))
    compare(MSLoss(), batch, refs=refs._replace(x=batch.x[:n], labels=batch.labels[:n]))


def check_relations_of_labels():
    batch = sharded()
    n = len(batch.x)
    tags = torch.rand(n, 5, generator=torch.Generator().manual_seed(2)) < 0.4
    taxa = torch.stack([torch.arange(n) // 2, torch.arange(n) // 4, torch.arange(n) // 8], dim=1)
    levels = WeightedRelations(tuple((SameLevel(i), 1.0 / 2**i) for i in range(3)))
    graded, similar = GradedContrastive(), MultiSimilarity()
    by_class = {"pairs": ByClass(torch.eye(5)), "trainable": {"beta": 5}}
    for loss, labels in (
        (modules.GPWLoss(graded, pairs=jaccard), tags),
        (modules.GPWLoss(graded, HardestNegatives(3), pairs=jaccard), tags),
        (modules.GPWLoss(similar, pairs=levels), taxa),
        (modules.GPWLoss(similar, **by_class).double(), batch.labels % 5),
    ):
        compare(loss, batch, labels=labels)
    refs = sharded(REF_SIZES, seed=2)
    compare(loss, batch, refs=refs._replace(labels=refs.labels % 5), labels=labels)
    kept = {"label_shape": (5,), "label_dtype": torch.bool}
    memory = modules.CrossBatchMemory(modules.GPWLoss(graded, pairs=jaccard), 5, 60, **kept)
    compare_memories(memory, 3, tags)


def check_columns_of_queries_and_documents():
    """Those of all processes are references of each query, with ids of queries or without."""
    batch, generator = sharded(), torch.Generator().manual_seed(0)
    rows, n = batch.rows, len(batch.x)
    x = torch.randn(4, n, 5, generator=generator, dtype=torch.float64).transpose(0, 1)
    for loss, ids in (
        (modules.GPWLoss(LiftedStructure()), None),
        (modules.GPWLoss(MultiSimilarity(), trainable=("base",)), None),
        (modules.GPWLoss(MultiSimilarity(), HardestNegatives(3)), torch.arange(n) // 2),
    ):

        def of_columns(x, within=loss, rows=slice(None), ids=ids):
            both = modules.ColumnLoss(within, ("query_to_doc", "doc_to_query"))
            return both(*x.unbind(1), **({} if ids is None else {"query_ids": ids[rows]}))

        many = run(of_columns, x[rows], DistributedLoss(loss), rows)
        equal(many, run(of_columns, x), rows)


def check_parameters_of_a_loss():
    for loss in (
        MSLoss(trainable=("alpha", "beta", "base")),
        losses.NTXentLoss(trainable=("temperature",)),
        CrossBatchMemory(MSLoss(trainable=("beta",)), 5, 40),
    ):
        compare(loss.double(), sharded())


def check_a_warning_of_parameters_that_began_apart():
    batch = sharded()
    for is_apart in (False, True):
        loss = DistributedLoss(MSLoss(trainable=("base",)).double())
        loss.loss.base = 0.5 + 0.1 * is_apart * dist.get_rank()
        for is_first in (True, False):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                run(loss, *batch.part)
            said = [w for w in seen if "parameters of the loss differ" in str(w.message)]
            assert len(said) == (is_apart and is_first)


def check_fused():
    """Rows through a compiler, of the anchors of each process against all references."""
    torch._dynamo.reset()
    with patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        one, many = (GPWLoss(MultiSimilarity(), MSMining(), fused=on) for on in (False, True))
        compare(one, sharded(), DistributedLoss(many))


def check_half_precision():
    """The loss of float32, and its gradient but for the last digit: summed before it is rounded."""
    for dtype in (torch.bfloat16, torch.float16):
        batch = sharded(dtype=dtype)
        value, exact = run(MSLoss(), batch.x.float(), batch.labels)
        exact = dist.get_world_size() * exact[batch.rows]
        for context in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
            with context:
                many = run(DistributedLoss(MSLoss()), *batch.part)
            assert [each.dtype for each in many] == [torch.float32, dtype]
            close(many[0], value, 1e-5)
            error = (many[1].float() - exact).abs()
            bound = 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-6
            assert (error <= bound).all(), (dtype, (error / bound).max())


def check_gradients_that_some_or_none_need():
    batch = sharded()
    one, loss = run(MSLoss(), batch.x, batch.labels), DistributedLoss(MSLoss())
    with torch.no_grad():
        value = loss(*batch.part)
    assert not value.requires_grad
    assert abs(value - one[0]) < 1e-12
    last = dist.get_rank() == dist.get_world_size() - 1
    x = batch.part[0].clone().requires_grad_(not last)
    loss(x, batch.part[1]).backward()
    assert (x.grad is None) == last
    if not last:
        equal((one[0], x.grad), one, batch.rows)


def check_backward_twice():
    """A retained graph gives the same gradient again; a second derivative is refused."""
    batch = sharded()
    x = batch.part[0].clone().requires_grad_()
    for reducer in (reducers.MeanReducer(), reducers.ThresholdReducer(low=0)):
        value = DistributedLoss(MSLoss(reducer=reducer))(x, batch.part[1])
        first, second = (torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(2))
        assert first.equal(second)
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()


def check_statistics_and_warning_are_of_the_whole():
    batch = sharded()
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


def check_largest_tensor():
    """No process ever holds the N×N matrix, nor its own n×N rows of it."""
    world, chunk_size = dist.get_world_size(), 10
    n = 240 // world
    batch = sharded((n,) * world, torch.float32)
    leaf = batch.part[0].clone().requires_grad_()

    def seen(loss, miner=None):
        with LargestTensor() as largest:
            DistributedLoss(loss, miner)(leaf, batch.part[1]).backward()
        return largest.numel

    for mining in (None, MSMining(0.1)):
        for reducer in (reducers.MeanReducer(), reducers.ThresholdReducer(low=0)):
            loss = GPWLoss(MultiSimilarity(), mining, chunk_size, reducer=reducer)
            assert 0 < seen(loss) <= 2 * chunk_size * 240 < n * 240
    for loss, miner in ((MSLoss(), None), (MSWeightedLoss(), MSMiner())):
        loss.chunk_size = 240
        assert n * 240 <= seen(loss, miner) < 240 * 240, "the probe sees nothing, or too much"
