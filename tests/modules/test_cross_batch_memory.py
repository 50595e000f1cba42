"""The memory against a queue written as a Python list, and PML's defects in it."""

import copy
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import MeanReducer, SumReducer, ThresholdReducer

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, PairMiner
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss
from pml_gpw.mining import MSMining, PairMining
from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from ..runs import close_runs, pairs_of_tuple, run
from ..tolerances import close

DIMS, SIZE = 5, 20
quiet = pytest.mark.filterwarnings("ignore:.*no pairs")


def memory_of(loss, *args, cls=CrossBatchMemory, **kwargs):
    return cls(loss, DIMS, SIZE, *args, **kwargs)


def memory_of_pml(loss, *args):
    return memory_of(loss, *args, cls=losses.CrossBatchMemory)


def batches(number, n=8, dtype=torch.float64, seed=0):
    """Batches of 8 from four classes around their centres; one embedding of each has a class of
    its own, so that its only positive would be its copy."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, DIMS, generator=generator, dtype=torch.float64)
    for step in range(number):
        labels = torch.randint(4, (n,), generator=generator)
        noise = torch.randn(n, DIMS, generator=generator, dtype=torch.float64)
        x = centres[labels] + 0.6 * noise
        labels[-1] = 100 + step
        yield x.to(dtype), labels


EACH = [
    (MSWeightedLoss(), None),
    (MSLoss(epsilon=0.3), None),
    (MSWeightedLoss(), MSMiner(0.3)),
    (GPWLoss(LiftedStructure(2, 50, None), MSMining(0.3)), None),
]


@pytest.mark.parametrize(("loss", "miner"), EACH, ids=["weighted", "mined", "composed", "lifted"])
@pytest.mark.parametrize("layout", ["sparse rows", "dense"])
def test_equals_a_queue_kept_as_a_list(loss, miner, layout):
    """The references are the latest embeddings, oldest first, and anchors know their copies."""
    loss, items = copy.deepcopy(loss), []
    loss.layout = layout
    memory = memory_of(loss, miner)
    plain = loss if miner is None else MSLoss(epsilon=0.3)
    for x, labels in batches(6):
        items = [*items, *zip(x, labels, strict=True)][-SIZE:]
        references = [torch.stack(parts) for parts in zip(*items, strict=True)]
        places = torch.arange(len(items) - len(x), len(items))
        expected = run(plain, x, labels, None, *references, self_index=places)
        close_runs(run(memory, x, labels), expected)


@pytest.mark.parametrize("stop", [1, 3, 5], ids="after {} batches".format)
def test_save_and_restore_in_the_middle(stop, tmp_path):
    """Before and after the queue has come round, in the dtype that it has come to have."""
    straight, resumed = (memory_of(*EACH[2], warm_up=2, add_batch_loss=True) for _ in range(2))
    seen = list(batches(8))
    for x, labels in seen[:stop]:
        straight(x, labels)
    torch.save(straight.state_dict(), tmp_path / "state.pth")
    resumed.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert resumed.embedding_memory.equal(straight.embedding_memory)
    for x, labels in seen[stop:]:
        for a, b in zip(run(straight, x, labels), run(resumed, x, labels), strict=True):
            assert a.equal(b)


@pytest.mark.parametrize(
    "loss", [losses.ContrastiveLoss(), losses.TripletMarginLoss(), losses.NTXentLoss()]
)
@pytest.mark.parametrize("miner", [None, miners.TripletMarginMiner(), miners.BatchHardMiner()])
def test_losses_of_pml_behave_as_in_pmls_memory(loss, miner):
    ours, theirs = memory_of(loss, miner), memory_of_pml(loss, miner)
    for x, labels in batches(5):
        close_runs(run(ours, x, labels), run(theirs, x, labels))
    with pytest.raises(Exception, match="not supported for ProxyAnchorLoss"):
        memory_of(losses.ProxyAnchorLoss(4, DIMS))


@pytest.mark.parametrize("miner", [MSMiner(0.3), miners.TripletMarginMiner(type_of_triplets="all")])
@pytest.mark.parametrize("triplets", [True, False])
def test_tuples_of_the_batch_are_shifted(miner, triplets):
    """What the tuple names in the batch is found at its place in the memory, beside the mined."""
    seen, memories = {"given": [], "mined alone": []}, {}
    for name, batches_seen in seen.items():
        loss = PairSimilarityLoss(reducer=SumReducer())
        loss.register_forward_pre_hook(lambda _, args, s=batches_seen: s.append(args[0]))
        memories[name] = memory_of(loss, miner)
    for x, labels in batches(5):
        a, p = (labels[:, None] == labels).triu(1).nonzero()[:1].T
        n = (labels != labels[a]).nonzero()[0]
        memories["given"](x, labels, (a, p, n) if triplets else (a, p, a, n))
        memories["mined alone"](x, labels)
        batch, alone = (batches_seen[-1] for batches_seen in seen.values())
        named, mined = (pairs_of_tuple(b.pairs.index_tuple()) for b in (batch, alone))
        place = memories["given"].curr_batch_idx
        assert batch.references[place].equal(x)
        for found, before, other in zip(named, mined, (p, n), strict=True):
            assert found == before | {(int(a), int(place[other]))}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("loss", "miner"),
    [(MSLoss(), None), (MSWeightedLoss(), MSMiner()), (losses.ContrastiveLoss(), None)],
)
def test_half_embeddings_under_autocast(dtype, loss, miner):
    memory, exact = memory_of(loss, miner), memory_of(loss, miner)
    for x, labels in batches(4, dtype=dtype):
        with torch.autocast("cpu", dtype=dtype):
            value, gradient = run(memory, x, labels)
        assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
        if isinstance(loss, GPWLoss):
            expected = run(exact, x.float(), labels)
            close(value, expected[0])
            close(gradient, expected[1], 2 * torch.finfo(dtype).eps)


@quiet
def test_enqueue_mask():
    """Those under the mask are references only, the others anchors only, with none of their own."""
    memory = memory_of(MSLoss())
    refs, ref_labels = torch.empty(0, DIMS).double(), torch.empty(0).long()
    mask = torch.tensor([True, False] * 4)
    for x, labels in batches(4):
        refs, ref_labels = torch.cat([refs, x[mask]]), torch.cat([ref_labels, labels[mask]])
        expected = MSLoss()(x[~mask], labels[~mask], ref_emb=refs, ref_labels=ref_labels)
        close(memory(x, labels, enqueue_mask=mask), expected)
    before = memory.embedding_memory.clone()
    memory(x, labels, enqueue_mask=torch.zeros(8).bool())
    assert (memory.queue_idx, memory.has_been_filled) == (16, False)
    assert before.equal(memory.embedding_memory)
    memory(x, labels, enqueue_mask=mask)
    assert (memory.queue_idx, memory.has_been_filled) == (0, True), "full to the last row"
    for options in ({"warm_up": 1}, {"add_batch_loss": True}):
        x = x.detach().requires_grad_()
        memory_of(MSWeightedLoss(), **options)(x, labels, enqueue_mask=mask).backward()
        assert x.grad[~mask].any()
        assert not x.grad[mask].any()


@pytest.mark.parametrize("miner", [None, MSMiner()])
def test_warm_up_and_the_loss_within_the_batch(miner):
    warm, both, cold = (
        memory_of(MSWeightedLoss(), miner, **options)
        for options in ({"warm_up": 2}, {"warm_up": 2, "add_batch_loss": True}, {})
    )

    def within(x, labels):
        return MSWeightedLoss()(x, labels, miner and miner(x, labels))

    for step, (x, labels) in enumerate(batches(5)):
        alone = run(within, x, labels)
        if step < 2:
            close_runs(run(warm, x, labels), alone)
            close_runs(run(both, x, labels), alone)
            continue
        expected = run(cold, x, labels)
        close_runs(run(warm, x, labels), expected)
        total = (a + b for a, b in zip(expected, alone, strict=True))
        close_runs(run(both, x, labels), total)
    warm.reset_queue()
    close_runs(run(warm, x, labels), alone)


def test_a_memory_that_does_not_fit_the_dtype_of_the_anchors():
    (x, labels), (y, other) = batches(2)
    memory = memory_of(MSLoss())
    memory(x * 1e300, labels)
    with pytest.raises(ValueError, match=r"embedding_memory in the torch\.float32 of .* finite"):
        memory(y.float(), other)
    assert (memory.queue_idx, memory.calls) == (8, 1)
    assert memory(y, other) > 0


PLACES = {"queue_idx": 8, "has_been_filled": False, "calls": 1}
MEMORY, LABEL_MEMORY = torch.ones(SIZE, DIMS), torch.zeros(SIZE).long()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_extra_state": None}, "must hold queue_idx, .* as _extra_state of a memory, got None"),
        ({"_extra_state": {"queue_idx": 3}}, r"as _extra_state of a memory, got \['queue_idx'\]"),
        ({"_extra_state": PLACES | {"forward": 1}}, "as _extra_state of a memory, got .*'forward'"),
        ({"_extra_state": PLACES | {"queue_idx": -5}}, "queue_idx in .* integer >= 0, got -5"),
        ({"_extra_state": PLACES | {"queue_idx": 20}}, "queue_idx in .* memory_size 20, got 20"),
        ({"_extra_state": PLACES | {"calls": "7"}}, "calls in .* integer >= 0, got '7'"),
        ({"_extra_state": PLACES | {"has_been_filled": 1}}, "has_been_filled in .* False, got 1"),
        ({"embedding_memory": MEMORY * torch.nan}, "embedding_memory in .* must be finite"),
        ({"embedding_memory": MEMORY[1:]}, r"embedding_memory .* \(20, 5\), got \(19, 5\)"),
        ({"embedding_memory": None}, "embedding_memory .* must be a torch.Tensor, got NoneType"),
        ({"label_memory": LABEL_MEMORY[1:]}, r"label_memory .* \(20,\), .* got \(19,\)"),
        ({"label_memory": LABEL_MEMORY + 0.5}, "label_memory in state_dict must be integers"),
        ({"label_memory": ...}, "must hold embedding_memory, .* got embedding_memory, _extra_st"),
        ({"_extra_state": ..., "label_memory": ...}, "memory, got embedding_memory only"),
        ({"_extra_state": ..., "embedding_memory": ...}, "memory, got label_memory only"),
    ],
)
def test_a_state_that_is_refused_changes_nothing(change, message):
    memory, other = memory_of(MSLoss()), memory_of(MSLoss())
    for each, seed in ((memory, 0), (other, 1)):
        for x, labels in batches(2, dtype=torch.float32, seed=seed):
            each(x, labels)
    before = copy.deepcopy(memory.state_dict())
    spoiled = {**other.state_dict(), **change}
    with pytest.raises(ValueError, match=message):
        memory.load_state_dict({k: value for k, value in spoiled.items() if value is not ...})
    after = memory.state_dict()
    assert all(after[name].equal(before[name]) for name in ("embedding_memory", "label_memory"))
    assert after["_extra_state"] == before["_extra_state"]
    assert "forward" not in vars(memory)


@pytest.mark.parametrize("num_batches", [0, 1, 2, 3, 7])
def test_a_state_of_pmls_memory(num_batches):
    """Rows are what they were; the place of the next one is known until the memory is full."""
    theirs = memory_of_pml(losses.MultiSimilarityLoss())
    ours, twin = memory_of(MSWeightedLoss()), memory_of(MSWeightedLoss())
    (x, labels), *rest = batches(num_batches + 1, dtype=torch.float32)
    for y, other in rest:
        theirs(y, other)
        twin(y, other)
    is_full = num_batches * 8 >= SIZE
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        ours.load_state_dict(theirs.state_dict(), strict=True)
    said = ["does not say which of its rows is the oldest" in str(w.message) for w in seen]
    assert said == [True] * is_full
    close(ours.embedding_memory, twin.embedding_memory)
    assert ours.label_memory.tolist() == twin.label_memory.tolist()
    if is_full:
        assert (ours.queue_idx, ours.has_been_filled) == (0, True)
    else:
        close(ours(x, labels), twin(x, labels))
        assert (ours.queue_idx, ours.has_been_filled) == (twin.queue_idx, twin.has_been_filled)


X, LABELS = next(batches(1))
ONE = torch.tensor([0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[:, :3], LABELS), "embeddings must have the 5 dimensions of the memory, got 3"),
        ((X.repeat(3, 1)[:21], LABELS.repeat(3)[:21]), "at most 20, got 21"),
        ((X * torch.nan, LABELS), "embeddings must be finite"),
        ((X, LABELS[:5]), r"labels must have shape \(8,\)"),
        ((X, LABELS, (ONE, ONE, ONE), LABELS > 2), "None where an enqueue_mask is given"),
        ((X, LABELS, None, LABELS), r"must be a tensor of \(8,\) booleans, got torch.int64"),
        ((X, LABELS, (ONE, ONE + 7, ONE, ONE + 7)), "indices_tuple must agree with the labels"),
        ((X, LABELS, (ONE, ONE, ONE, ONE)), "indices_tuple must agree with the labels"),
        ((X, LABELS, (ONE, ONE, ONE, ONE + 8)), r"negative indices in \[0, 8\)"),
    ],
)
def test_bad_input_leaves_the_memory_as_it_was(arguments, message):
    memory = memory_of(MSLoss())
    with pytest.raises(ValueError, match=message):
        memory(*arguments)
    assert memory.queue_idx == memory.calls == 0
    assert memory.embedding_memory.eq(0).all()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("loss", [MSLoss, losses.ContrastiveLoss])
def test_gradient_accumulation(loss, normalize):
    """Two calls before one backward give what they give one by one."""
    distance = DotProductSimilarity(normalize_embeddings=normalize)
    together, alone = (memory_of(loss(distance=distance)) for _ in range(2))
    (x, labels), (y, other) = batches(2)
    x.requires_grad_(), y.requires_grad_()
    (together(x, labels) + together(y, other)).backward()
    for e, own_labels in ((x, labels), (y, other)):
        close(e.grad, run(alone, e.detach(), own_labels)[1])


@quiet
def test_empty_batches():
    memory, twin = memory_of(MSLoss()), memory_of(MSLoss())
    ((x, labels),) = batches(1)
    assert memory(x[:0], labels[:0]) == 0
    memory(x, labels)
    assert memory(x[:0], labels[:0]) == 0
    twin.load_state_dict(memory.state_dict())
    assert twin(x[:0], labels[:0]) == 0


@pytest.mark.parametrize("warm_up", [0, 1])
def test_keys_equal_to_queries_are_positives(warm_up):
    """Under a mask nothing is an anchor's own copy, however equal."""
    ((x, labels),) = batches(1)
    mask = torch.arange(16) >= 8
    both = torch.cat([x, x]), torch.cat([labels, labels])
    ours = memory_of(MSWeightedLoss(), warm_up=warm_up)
    theirs = memory_of_pml(losses.MultiSimilarityLoss())
    close(ours(*both, enqueue_mask=mask), theirs(*both, enqueue_mask=mask))


def test_first_used_in_inference_mode():
    memory = memory_of(MSLoss())
    (x, labels), (y, other) = batches(2)
    with torch.inference_mode():
        memory(x, labels)
    value, gradient = run(memory, y, other)
    assert value > 0
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("reducer", [MeanReducer(), ThresholdReducer(low=0)])
def test_backward_after_later_calls(reducer):
    """Also where it looks at the labels again, which later calls have overwritten by then."""
    memory, alone = (CrossBatchMemory(MSLoss(reducer=reducer), DIMS, 10) for _ in range(2))
    steps = []
    for x, labels in batches(4):
        leaf = x.clone().requires_grad_()
        steps.append((leaf, memory(leaf, labels), run(alone, x, labels)[1]))
    for leaf, value, gradient in steps:
        value.backward()
        close(leaf.grad, gradient)


@dataclass(frozen=True)
class Half(PairMining):
    is_random: ClassVar[bool] = True

    def select(self, pos, neg):
        return pos.uniform(0) < 0.5, neg.uniform(0) < 0.5


def test_miner_and_loss_of_one_random_rule_draw_apart():
    """Both rules keep half of the pairs, and together a quarter."""
    kept = []
    for miner in (None, PairMiner(Half())):
        torch.manual_seed(0)
        loss = GPWLoss(MultiSimilarity(), Half(), collect_stats=True)
        memory = CrossBatchMemory(loss, DIMS, 400, miner)
        for x, labels in batches(3, n=60):
            memory(x, labels)
        kept.append(loss.num_neg_pairs)
    assert 0.4 < kept[1] / kept[0] < 0.6


exhaustive = pytest.mark.exhaustive


@quiet
@pytest.mark.skipif(torch.__version__ < "2.6", reason="cannot trace PML's distances")
@pytest.mark.parametrize(
    ("make", "fullgraph", "num_batches"),
    [
        (lambda: memory_of(MSLoss()), True, 4),
        pytest.param(lambda: memory_of(MSLoss()), False, 14, marks=exhaustive),
        pytest.param(
            lambda: memory_of(MSWeightedLoss(), MSMiner(), warm_up=2, add_batch_loss=True),
            False,
            14,
            marks=exhaustive,
        ),
        pytest.param(lambda: memory_of(losses.ContrastiveLoss()), False, 14, marks=exhaustive),
    ],
    ids=["one graph", "all pairs", "miner", "PML"],
)
def test_a_compiled_memory_is_the_memory(make, fullgraph, num_batches):
    """As PML's, it is another graph for some places of the queue, and goes on without one."""
    torch._dynamo.reset()
    memory, expected = make(), make()
    compiled = torch.compile(memory, backend="eager", fullgraph=fullgraph)
    for x, labels in batches(num_batches):
        close_runs(run(compiled, x, labels), run(expected, x, labels))
        assert memory.embedding_memory.equal(expected.embedding_memory)
        assert memory.queue_idx == expected.queue_idx
