"""The share of the anchors of the latest call that had pairs, of losses and miners."""

import copy
import pickle

import pytest
import torch
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import hosts, modules
from pml_gpw.modules.latest_share import anchors_of
from pml_gpw.value_checks import deferred_checks

from ..probes import NoWaiting

every_host = pytest.mark.parametrize("host", [modules, hosts.objects()], ids=lambda h: h.__name__)


def batch(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(9, (n,), generator=generator)
    centres = torch.randn(9, 8, generator=generator)
    return centres[labels] + 0.4 * torch.randn(n, 8, generator=generator), labels


@every_host
def test_it_is_one_less_the_batch_accuracy_of_place_recognition(host):
    """Live projects count the anchors in the tuple of PML's miner."""
    shares = []
    for seed in range(9):
        x, labels = batch(seed)
        mined = MultiSimilarityMiner(0.1)(x, labels)
        accuracy = 1 - len({*mined[0].tolist()}) / len(x)
        for thing in (host.MSMiner(0.1), host.MSLoss(epsilon=0.1)):
            assert torch.isnan(thing.share_of_anchors_with_pairs)
            thing(x, labels)
            assert 1 - float(thing.share_of_anchors_with_pairs) == pytest.approx(accuracy)
        shares.append(accuracy)
    assert len(set(shares)) > 3
    assert 0 < min(shares) < max(shares) < 1


def test_tuples_of_a_loss_and_triplets_of_a_miner_of_ones_own():
    loss, indices = modules.MSWeightedLoss(), ([0, 0], [1, 2], [5], [6])
    loss(*batch(3), tuple(map(torch.tensor, indices)))
    assert float(loss.share_of_anchors_with_pairs) == pytest.approx(2 / 40)
    assert anchors_of(tuple(map(torch.tensor, indices)), 8).nonzero().flatten().tolist() == [0, 5]

    class OwnMiner(hosts.objects().PairMiner):
        def mine(self, embeddings, labels, ref_emb, ref_labels):
            return torch.tensor([3, 3]), torch.tensor([1, 1]), torch.tensor([4, 5])

    miner = OwnMiner(modules.MSMiner().mining)
    miner(*batch(1))
    assert float(miner.share_of_anchors_with_pairs) == pytest.approx(1 / 40)


def test_nothing_waits_and_copies_and_pickles_keep_it():
    loss = modules.MSLoss(fused=False)
    with deferred_checks(), NoWaiting():
        loss(*batch(2))
        share = loss.share_of_anchors_with_pairs
    assert 0 < float(share) < 1
    x, labels = batch(2)
    loss(x.requires_grad_(), labels)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin.share_of_anchors_with_pairs == share


@every_host
def test_the_preset_of_place_recognition(host):
    for made in (host.MSLoss, host.MSWeightedLoss):
        loss = made.preset("place_recognition")
        assert (loss.alpha, loss.beta, loss.base) == (1, 50, 0)
    assert host.MSLoss.preset("paper", chunk_size=7).epsilon == 0.1
