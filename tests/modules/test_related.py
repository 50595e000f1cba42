"""Relations of labels in modules: losses, miners, memories, and what they refuse."""

import pickle
from functools import partial

import pytest
import torch

from pml_gpw import functional, hosts, modules
from pml_gpw.analysis import pair_weights
from pml_gpw.distributed import DistributedLoss
from pml_gpw.mining import HardestNegatives, MSMining
from pml_gpw.relations import ByClass, ByDistance, SameLevel, WeightedRelations, jaccard
from pml_gpw.weightings import MultiSimilarity

from ..runs import close_runs, run
from ..test_relations import LEVELS, TAGS, TAXA, Graded, embeddings
from ..tolerances import close


def within_25_metres(metres):
    return (1 - metres / 25).clamp(min=0)


RELATIONS = {
    "tags": (jaccard, TAGS),
    "places": (
        ByDistance(within_25_metres),
        40 * torch.rand(12, 2, generator=torch.Generator().manual_seed(3)),
    ),
    "level": (SameLevel(1), TAXA[:12]),
}
every_relation = pytest.mark.parametrize(
    ("relation", "labels"), RELATIONS.values(), ids=list(RELATIONS)
)
MS, HIERARCHY = MultiSimilarity(), WeightedRelations(LEVELS)


def graded(**options):
    return modules.GPWLoss(Graded(), pairs=jaccard, **options)


def memory_of(loss, miner=None, labels=None, size=30):
    like = TAGS if labels is None else labels
    kept = {"label_shape": like.shape[1:], "label_dtype": like.dtype}
    return modules.CrossBatchMemory(loss, 5, size, miner, **kept)


@every_relation
@pytest.mark.parametrize("mining", [None, HardestNegatives(3), MSMining()], ids=repr)
@pytest.mark.parametrize("host", [modules, hosts.objects()], ids=lambda host: host.__name__)
def test_a_loss_with_a_relation_is_the_function(relation, labels, mining, host):
    x, ref = embeddings(12), embeddings(9, seed=4)
    loss = pickle.loads(pickle.dumps(host.GPWLoss(Graded(), mining, pairs=relation)))

    def function(x, **references):
        return functional.gpw_loss(x, labels, Graded(), mining, pairs=relation, **references)

    close_runs(run(loss, x, labels), run(function, x))
    references = {"references": ref, "reference_labels": labels[:9]}
    close_runs(run(loss, x, labels, None, ref, labels[:9]), run(function, x, **references))


def test_a_hierarchy_as_a_module():
    loss, x = modules.GPWLoss(MS, pairs=HIERARCHY), embeddings(24)
    close(loss(x, TAXA), functional.gpw_loss(x, TAXA, MS, pairs=HIERARCHY))
    loss.reduction = "mean_of_nonzero"
    with pytest.raises(ValueError, match="reduction of several relations must be one of"):
        loss(x, TAXA)


def test_a_miner_with_a_relation():
    x = embeddings(12)
    miner = modules.PairMiner(MSMining(0.3), pairs=jaccard)
    close_runs(miner(x, TAGS), functional.mine(x, TAGS, MSMining(0.3), pairs=jaccard))


def yes_or_no(relation, labels, reference_labels):
    return relation(labels, reference_labels) > 0


@every_relation
@pytest.mark.parametrize("mining", [None, MSMining(0.5)], ids=["all", "mined"])
def test_a_memory_of_labels_of_any_shape(relation, labels, mining):
    """Against a queue that is kept by hand; what a miner mines has no grades."""
    weighting, miner = Graded(), None
    if mining is not None:
        weighting, relation = MS, partial(yes_or_no, relation)
        miner = modules.PairMiner(mining)
    loss = modules.GPWLoss(weighting, pairs=relation)
    memory = memory_of(loss, miner, labels)
    held, held_labels = torch.zeros(0, 5), labels[:0]
    for seed in range(4):
        x = embeddings(12, seed=seed, dtype=torch.float32)
        held, held_labels = torch.cat([held, x])[-30:], torch.cat([held_labels, labels])[-30:]
        own = torch.arange(len(held) - 12, len(held))
        given = {"references": held, "reference_labels": held_labels, "self_index": own}
        slow = functional.gpw_loss(x, labels, weighting, mining, pairs=relation, **given)
        close(memory(x, labels), slow)
    twin = memory_of(loss, miner, labels)
    twin.load_state_dict(memory.state_dict())
    close(twin(x, labels), memory(x, labels))
    with pytest.raises(ValueError, match="label_memory in state_dict must have shape"):
        memory_of(loss, labels=torch.zeros(0, 7)).load_state_dict(memory.state_dict())


X = embeddings(12)
PLAIN, HIERARCHICAL = modules.GPWLoss(MS), modules.GPWLoss(MS, pairs=HIERARCHY)
ANY_MINER, OWN = modules.PairMiner(MSMining()), modules.PairMiner(MSMining(), pairs=SameLevel(0))
SAME_LEVEL = modules.GPWLoss(MS, pairs=SameLevel(0))
SHAPE = r"labels must have the label_shape \(4,\)"


@pytest.mark.parametrize(
    ("memory", "arguments", "message"),
    [
        (memory_of(graded(), labels=TAGS.long()), (TAGS[:, :3].long(),), SHAPE),
        (memory_of(graded(), labels=TAGS.long()), (TAGS.double(),), "label_dtype torch.int64 of"),
        (memory_of(graded()), (TAGS, (torch.tensor([0]),) * 4), "indices_tuple must be None where"),
        (memory_of(SAME_LEVEL, labels=TAXA.to(torch.int8)), (TAXA[:12] + 130,), "label_dtype"),
        (memory_of(SAME_LEVEL, labels=TAXA), (TAXA[:12] + 0.5,), "label_dtype"),
        (memory_of(graded(), ANY_MINER), (TAGS,), "let the loss mine"),
        (memory_of(HIERARCHICAL, ANY_MINER, TAXA), (TAXA[:12],), "let the loss mine"),
    ],
)
def test_what_a_memory_with_a_relation_refuses(memory, arguments, message):
    with pytest.raises(ValueError, match=message):
        memory(embeddings(12), *arguments)


OTHER_PAIRS = "miner must have the pairs of the loss"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (lambda make=make, wrong=wrong: make(wrong), "pairs must be a function of labels")
            for make in (lambda p: modules.GPWLoss(MS, pairs=p), lambda p: modules.MSMiner(pairs=p))
            for wrong in (3, "jaccard", MultiSimilarity, torch.nn.Identity())
        ),
        (lambda: modules.MSMiner(pairs=HIERARCHY), "pairs must be a function of labels"),
        (lambda: memory_of(modules.MSLoss(), labels=TAGS[:, 0]), "for a loss without a relation"),
        (lambda: DistributedLoss(graded(), ANY_MINER)(X, TAGS), "yes or no beside an index tuple"),
        (lambda: pair_weights(graded(), X, TAGS, ANY_MINER), "let the loss mine"),
        (lambda: pair_weights(HIERARCHICAL, X, TAXA[:12], ANY_MINER), "let the loss mine"),
        (lambda: modules.CrossBatchMemory(PLAIN, 5, 30, OWN), OTHER_PAIRS),
        (lambda: DistributedLoss(PLAIN, OWN), OTHER_PAIRS),
        (lambda: pair_weights(PLAIN, X, TAXA[:12, 0], OWN), OTHER_PAIRS),
        (lambda: DistributedLoss(graded(), torch.nn.Identity()), "miner must be a PairMiner for a"),
        (lambda: modules.ColumnLoss(graded()), "without a relation"),
        (lambda: modules.ColumnLoss(modules.CrossBatchMemory(PLAIN, 5, 30)), "without a relation"),
        (lambda: modules.SelfSupervisedLoss(graded()), "without a relation"),
    ],
)
def test_what_does_not_go_together(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_relation
def test_the_pair_weights_of_a_relation(relation, labels):
    table = pair_weights(modules.GPWLoss(Graded(), pairs=relation), X, labels)
    function = functional.pair_weights(X, labels, Graded(), pairs=relation)
    close(table.gradient, function.gradient)
    assert table.positives.equal(function.positives)
    assert (table.labels is None) == (labels.ndim > 1)


def test_in_a_users_own_graph():
    compiled = torch.compile(graded(), backend="aot_eager", fullgraph=True)
    close_runs(run(compiled, X, TAGS), run(graded(), X, TAGS))


def test_a_miner_and_a_loss_of_one_relation():
    relation = partial(yes_or_no, jaccard)
    loss = modules.GPWLoss(MS, pairs=relation)
    miner = modules.PairMiner(MSMining(), pairs=relation)
    expected = functional.gpw_loss(X, TAGS, MS, MSMining(), pairs=relation)
    close(loss(X, TAGS, miner(X, TAGS)), expected)
    close(DistributedLoss(loss, miner)(X, TAGS), expected)
    close(pair_weights(loss, X, TAGS, miner).loss, float(expected))
    made, variant = modules.ms_variant("SNP", pairs=relation)
    close(variant(X, TAGS, made(X, TAGS)), expected)


def test_labels_of_classes_stay_known():
    """For values a class, and for reducers that ask for labels."""
    labels, given = torch.arange(12) % 4, {"trainable": {"beta": 4}}
    loss = modules.GPWLoss(MS, pairs=ByClass(torch.eye(4)), **given)
    plain = modules.GPWLoss(MS, **given)
    close(loss(X, labels), plain(X, labels))
    memories = (modules.CrossBatchMemory(each, 5, 30) for each in (loss, plain))
    close(*(memory(X, labels) for memory in memories))
