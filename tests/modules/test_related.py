"""Relations of labels in modules: losses, miners, memories, and what they refuse."""

import pickle
from functools import partial

import pytest
import torch

from pml_gpw import functional, modules
from pml_gpw.analysis import pair_weights
from pml_gpw.distributed import DistributedLoss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.mining import HardestNegatives, MSMining
from pml_gpw.relations import ByClass, ByDistance, SameLevel, WeightedRelations, jaccard
from pml_gpw.weightings import MultiSimilarity

from ..runs import close_runs, run
from ..test_relations import LEVELS, TAGS, TAXA, Graded, embeddings
from ..tolerances import close

RELATIONS = {
    "tags": (jaccard, TAGS),
    "places": (
        ByDistance(lambda metres: (1 - metres / 25).clamp(min=0)),
        40 * torch.rand(12, 2, generator=torch.Generator().manual_seed(3)),
    ),
    "level": (SameLevel(1), TAXA[:12]),
}


@pytest.mark.parametrize(("relation", "labels"), RELATIONS.values(), ids=list(RELATIONS))
@pytest.mark.parametrize("mining", [None, HardestNegatives(3), MSMining()], ids=repr)
def test_a_loss_with_a_relation_is_the_function(relation, labels, mining):
    x, ref = embeddings(12), embeddings(9, seed=4)
    loss = modules.GPWLoss(Graded(), mining, pairs=relation)
    given = {"pairs": relation}
    close_runs(
        run(loss, x, labels),
        run(lambda x: functional.gpw_loss(x, labels, Graded(), mining, **given), x),
    )
    given |= {"references": ref, "reference_labels": labels[:9]}
    close_runs(
        run(loss, x, labels, None, ref, labels[:9]),
        run(lambda x: functional.gpw_loss(x, labels, Graded(), mining, **given), x),
    )


def test_a_hierarchy_as_a_module():
    loss = modules.GPWLoss(MultiSimilarity(), pairs=WeightedRelations(LEVELS))
    expected = functional.gpw_loss(
        embeddings(24), TAXA, MultiSimilarity(), pairs=WeightedRelations(LEVELS)
    )
    close(loss(embeddings(24), TAXA), expected)
    loss.reduction = "mean_of_nonzero"
    with pytest.raises(ValueError, match="reduction of several relations must be one of"):
        loss(embeddings(24), TAXA)


def test_a_miner_with_a_relation():
    x = embeddings(12)
    miner = modules.PairMiner(MSMining(0.3), pairs=jaccard)
    close_runs(miner(x, TAGS), functional.mine(x, TAGS, MSMining(0.3), pairs=jaccard))


def yes_or_no(relation, labels, reference_labels):
    return relation(labels, reference_labels) > 0


@pytest.mark.parametrize(("relation", "labels"), RELATIONS.values(), ids=list(RELATIONS))
@pytest.mark.parametrize("miner", [None, MSMining(0.5)], ids=["all", "mined"])
def test_a_memory_of_labels_of_any_shape(relation, labels, miner):
    """Against a queue that is kept by hand; what a miner mines has no grades."""
    weighting = Graded() if miner is None else MultiSimilarity()
    if miner is not None:
        relation = partial(yes_or_no, relation)
    kept = {"label_shape": labels.shape[1:], "label_dtype": labels.dtype}
    mines = None if miner is None else modules.PairMiner(miner)
    loss = modules.GPWLoss(weighting, pairs=relation)
    memory = modules.CrossBatchMemory(loss, 5, 30, mines, **kept)
    held, held_labels = torch.zeros(0, 5), labels[:0]
    for seed in range(4):
        x = embeddings(12, seed=seed, dtype=torch.float32)
        held, held_labels = torch.cat([held, x])[-30:], torch.cat([held_labels, labels])[-30:]
        own = torch.arange(len(held) - 12, len(held))
        given = {"references": held, "reference_labels": held_labels, "self_index": own}
        slow = functional.gpw_loss(x, labels, weighting, miner, pairs=relation, **given)
        close(memory(x, labels), slow)
    twin = modules.CrossBatchMemory(loss, 5, 30, mines, **kept)
    twin.load_state_dict(memory.state_dict())
    close(twin(x, labels), memory(x, labels))
    with pytest.raises(ValueError, match="label_memory in state_dict must have shape"):
        modules.CrossBatchMemory(loss, 5, 30, label_shape=(7,)).load_state_dict(memory.state_dict())


def test_what_a_memory_with_a_relation_refuses():
    memory = modules.CrossBatchMemory(
        modules.GPWLoss(Graded(), pairs=jaccard), 5, 30, label_shape=(4,)
    )
    x = embeddings(12)
    with pytest.raises(ValueError, match=r"labels must have the label_shape \(4,\)"):
        memory(x, TAGS[:, :3].long())
    with pytest.raises(ValueError, match=r"fit the label_dtype torch\.int64 of the memory"):
        memory(x, TAGS.double())
    with pytest.raises(ValueError, match="indices_tuple must be None where the loss has"):
        memory(x, TAGS, (torch.tensor([0]),) * 4)


@pytest.mark.parametrize("wrong", [3, "jaccard", MultiSimilarity, torch.nn.Identity()])
def test_what_is_no_relation(wrong):
    for make in (
        lambda: modules.GPWLoss(Graded(), pairs=wrong),
        lambda: modules.MSMiner(pairs=wrong),
    ):
        with pytest.raises(ValueError, match="pairs must be a function of labels"):
            make()
    with pytest.raises(ValueError, match="pairs must be a function of labels"):
        modules.MSMiner(pairs=WeightedRelations(LEVELS))


@pytest.mark.parametrize(("relation", "labels"), RELATIONS.values(), ids=list(RELATIONS))
def test_the_pair_weights_of_a_relation(relation, labels):
    x = embeddings(12)
    table = pair_weights(modules.GPWLoss(Graded(), pairs=relation), x, labels)
    function = functional.pair_weights(x, labels, Graded(), pairs=relation)
    close(table.gradient, function.gradient)
    assert table.positives.equal(function.positives)
    assert (table.labels is None) == (labels.ndim > 1)


def test_through_a_gradient_cache():
    network, x = torch.nn.Linear(5, 4).double(), embeddings(12)
    loss = modules.GPWLoss(Graded(), pairs=jaccard)
    GradientCache(network, loss, chunk_size=5)(x, TAGS)
    cached = network.weight.grad.clone()
    network.zero_grad()
    loss(network(x), TAGS).backward()
    close(cached, network.weight.grad)


def test_in_a_users_own_graph():
    x, loss = embeddings(12), modules.GPWLoss(Graded(), pairs=jaccard)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    close_runs(run(compiled, x, TAGS), run(loss, x, TAGS))


def test_what_a_miner_and_a_loss_do_not_share_is_refused():
    x = embeddings(12)
    graded, mines = modules.GPWLoss(Graded(), pairs=jaccard), modules.PairMiner(MSMining())
    with pytest.raises(ValueError, match="pairs must be yes or no beside an index tuple"):
        DistributedLoss(graded, mines)(x, TAGS)
    for several in (graded, modules.GPWLoss(MultiSimilarity(), pairs=WeightedRelations(LEVELS))):
        labels = TAGS if several is graded else TAXA[:12]
        kept = {"label_shape": labels.shape[1:], "label_dtype": labels.dtype}
        memory = modules.CrossBatchMemory(several, 5, 30, mines, **kept)
        with pytest.raises(ValueError, match="let the loss mine"):
            memory(x, labels)
        with pytest.raises(ValueError, match="let the loss mine"):
            pair_weights(several, x, labels, mines)
    own = modules.PairMiner(MSMining(), pairs=SameLevel(0))
    plain = modules.GPWLoss(MultiSimilarity())
    for make in (
        lambda: modules.CrossBatchMemory(plain, 5, 30, own),
        lambda: DistributedLoss(plain, own),
        lambda: pair_weights(plain, x, TAXA[:12, 0], own),
    ):
        with pytest.raises(ValueError, match="miner must have the pairs of the loss"):
            make()
    with pytest.raises(ValueError, match="miner must be a PairMiner for a loss with a relation"):
        DistributedLoss(graded, torch.nn.Identity())
    for make in (
        lambda: modules.ColumnLoss(graded),
        lambda: modules.ColumnLoss(modules.CrossBatchMemory(plain, 5, 30)),
        lambda: modules.SelfSupervisedLoss(graded),
    ):
        with pytest.raises(ValueError, match="without a relation"):
            make()


def test_a_miner_and_a_loss_of_one_relation():
    x, relation = embeddings(12), partial(yes_or_no, jaccard)
    loss = modules.GPWLoss(MultiSimilarity(), pairs=relation)
    miner = modules.PairMiner(MSMining(), pairs=relation)
    expected = functional.gpw_loss(x, TAGS, MultiSimilarity(), MSMining(), pairs=relation)
    close(loss(x, TAGS, miner(x, TAGS)), expected)
    close(DistributedLoss(loss, miner)(x, TAGS), expected)
    close(pair_weights(loss, x, TAGS, miner).loss, float(expected))
    made, variant = modules.ms_variant("SNP", pairs=relation)
    close(variant(x, TAGS, made(x, TAGS)), expected)


def test_labels_of_classes_stay_known():
    """For values a class, and for reducers that ask for labels."""
    x, labels = embeddings(12), torch.arange(12) % 4
    same = ByClass(torch.eye(4))
    given = {"trainable": {"beta": 4}}
    loss = modules.GPWLoss(MultiSimilarity(), pairs=same, **given)
    plain = modules.GPWLoss(MultiSimilarity(), **given)
    close(loss(x, labels), plain(x, labels))
    memories = (modules.CrossBatchMemory(each, 5, 30) for each in (loss, plain))
    close(*(memory(x, labels) for memory in memories))


def test_losses_with_relations_can_be_pickled():
    x = embeddings(24)
    loss = modules.GPWLoss(MultiSimilarity(), pairs=WeightedRelations(LEVELS))
    close(pickle.loads(pickle.dumps(loss))(x, TAXA), loss(x, TAXA))


def test_labels_that_a_memory_would_change():
    for loss, dtype, labels in (
        (modules.GPWLoss(MultiSimilarity(), pairs=SameLevel(0)), torch.int8, TAXA[:12] + 130),
        (modules.GPWLoss(MultiSimilarity(), pairs=SameLevel(0)), torch.int64, TAXA[:12] + 0.5),
    ):
        memory = modules.CrossBatchMemory(loss, 5, 30, label_shape=(3,), label_dtype=dtype)
        with pytest.raises(ValueError, match="label_dtype"):
            memory(embeddings(12), labels)
    with pytest.raises(ValueError, match="for a loss without a relation"):
        modules.CrossBatchMemory(modules.MSLoss(), 5, 30, label_dtype=torch.uint8)
