"""Every mining as a PML miner: the pairs are PML's where it has the rule."""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import distances, miners

from pml_gpw import GPWLoss, PairMiner
from pml_gpw.mining import (
    BatchHardMining,
    DistanceWeightedMining,
    EasyHardMining,
    MSMining,
    PairMarginMining,
    PairMining,
)
from pml_gpw.weightings import Constant

from ..runs import close_runs

COSINE = distances.CosineSimilarity()
LP = distances.LpDistance()
DOT = distances.DotProductSimilarity(normalize_embeddings=False)
STRATEGIES = ("easy", "hard", "semihard", "all")
RANGES = {True: ((-0.2, 0.9), (-0.5, 0.6)), False: ((0.1, 1.5), (0.3, 1.6))}
MARGINS = {True: (0.6, 0.3), False: (0.3, 1.1)}


def same_rules(distance):
    """Our rules and PML's miners of the same settings."""
    inverted = distance.is_inverted
    margins = MARGINS[inverted]
    yield PairMarginMining(*margins), miners.PairMarginMiner(*margins, distance=distance)
    yield BatchHardMining(), miners.BatchHardMiner(distance=distance)
    yield MSMining(0.2), miners.MultiSimilarityMiner(0.2, distance=distance)
    for pos in STRATEGIES:
        for neg in STRATEGIES:
            if "semihard" in (pos, neg) and (pos == neg or "all" in (pos, neg)):
                continue
            for ranges in ((None, None), RANGES[inverted]):
                yield (
                    EasyHardMining(pos, neg, *ranges),
                    miners.BatchEasyHardMiner(pos, neg, *ranges, distance=distance),
                )


def pair_sets(indices_tuple):
    a1, p, *rest = (index.tolist() for index in indices_tuple)
    a2, n = rest if len(rest) == 2 else (a1, rest[0])
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


@pytest.mark.parametrize("distance", [COSINE, LP, DOT], ids=lambda d: type(d).__name__)
@settings(max_examples=25)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    ref_labels=st.none() | st.lists(st.integers(0, 4), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_pairs_are_those_of_pml(distance, labels, ref_labels, seed, coarse):
    generator = torch.Generator().manual_seed(seed)

    def embed(count):
        x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        return (x * 2).round() / 2 + 0.01 if coarse else x  # many equal similarities

    batch = [embed(len(labels)), torch.tensor(labels)]
    if ref_labels is not None:
        batch += [embed(len(ref_labels)), torch.tensor(ref_labels)]
    for rule, theirs in same_rules(distance):
        ours = PairMiner(rule, distance=distance)(*batch)
        assert pair_sets(ours) == pair_sets(theirs(*batch)), rule


@pytest.mark.parametrize("with_references", [False, True])
def test_distance_weighted_pairs_are_drawn_as_often_as_in_pml(with_references):
    generator, times = torch.Generator().manual_seed(0), 300
    batch = [torch.randn(12, 6, generator=generator), torch.arange(12) // 4]
    if with_references:
        batch += [torch.randn(9, 6, generator=generator), torch.arange(9) // 3]
    rule = DistanceWeightedMining(dim=6)
    every = PairMiner(rule, distance=LP), PairMiner(rule), miners.DistanceWeightedMiner()
    torch.manual_seed(0)
    counts = [Counter() for _ in every]
    for _ in range(times):
        for count, miner in zip(counts, every, strict=True):
            pos, neg = pair_sets(miner(*batch))
            count.update([*(("+", *pair) for pair in pos), *(("-", *pair) for pair in neg)])
    expected = counts.pop()
    assert min(expected.values()) < times / 2, "nothing is random"
    for count in counts:
        for pair in expected | count:
            share = (expected[pair] + count[pair]) / (2 * times)
            deviation = (2 * share * (1 - share) / times) ** 0.5
            assert abs(expected[pair] - count[pair]) / times <= 5 * deviation + 2 / times, pair


def test_one_seed_draws_the_same_pairs_and_calls_differ(batch):
    miner = PairMiner(DistanceWeightedMining(dim=6))
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append([torch.cat(miner(*batch)).tolist() for _ in range(3)])
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_other_rules_leave_the_generator_alone(batch):
    before = torch.get_rng_state()
    for rule in (MSMining(), BatchHardMining(), PairMarginMining()):
        PairMiner(rule)(*batch)
        GPWLoss(Constant(), rule)(*batch)
    assert torch.get_rng_state().equal(before)


@dataclass(frozen=True)
class Some(PairMining):
    """Every second pair, drawn at random."""

    salt: int = 0
    is_random: ClassVar[bool] = True

    def select(self, pos, neg):
        return pos.uniform(self.salt) < 0.5, neg.uniform(self.salt) < 0.5


def test_salts_draw_other_numbers_in_one_call(batch):
    drawn = []
    for salt in (0, 1, 0):
        torch.manual_seed(5)
        drawn.append(torch.cat(PairMiner(Some(salt))(*batch)).tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_parameters_are_attributes_and_records(batch):
    miner = PairMiner(PairMarginMining(0.7, 0.3))
    assert (miner.pos_margin, miner.neg_margin) == (0.7, 0.3)
    miner.neg_margin = 0.1
    assert miner.mining == PairMarginMining(0.7, 0.1)
    assert {"pos_margin", "neg_margin"} <= set(miner._record_these)
    close_runs(copy.deepcopy(miner)(*batch), miner(*batch))


class Own(PairMiner):
    """A user's own ``mine``, with PML's arguments, that leaves out all but some of the pairs."""

    most = None

    def mine(self, embeddings, labels, ref_emb, ref_labels):
        mined = super().mine(embeddings, labels, ref_emb, ref_labels)
        return tuple(index[: self.most] for index in mined)


def test_a_users_own_mine_is_asked(batch):
    own = Own(MSMining(0.5))
    own.most = 1
    mined = own(*batch)
    assert [len(index) for index in mined] == [1] * 4
    close_runs(mined, [index[:1] for index in PairMiner(MSMining(0.5))(*batch)])


def test_places_of_copies_are_honoured_for_a_users_own_mine(batch):
    x, labels = batch
    given = {"ref_emb": torch.cat([x, x + 1]), "ref_labels": labels.repeat(2)}
    given["self_index"] = torch.arange(12)
    mined = Own(PairMarginMining(2, -2))(x, labels, **given)
    close_runs(mined, PairMiner(PairMarginMining(2, -2))(x, labels, **given))
    assert len(mined[0]) == 12 * 5
