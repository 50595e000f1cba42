"""Every mining over processes: the pairs and gradients of one process, random rules included."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist

from pml_gpw import GPWLoss, MSMiner, MSWeightedLoss, PairMiner
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import DistanceWeightedMining, PairMining
from pml_gpw.weightings import MultiSimilarity

from ... import oracles
from ...cases import MINING_CASES
from ...tolerances import close
from ..partition import REF_SIZES, equal, partitioned_batch, run


@dataclass(frozen=True)
class NearerThanTheMean(PairMining):
    """A user's own rule: negatives above the mean of the anchor's, all positives."""

    def select(self, pos, neg):
        mean = neg.sum(neg.sim) / neg.count().clamp(min=1)
        return torch.ones_like(pos.sim, dtype=torch.bool), neg.sim > neg.expand(mean)


@dataclass(frozen=True)
class AtRandom(PairMining):
    """A user's own random rule: each pair with a probability, by a seed of its own."""

    probability: float = 0.5
    seed: int = 3
    is_random: ClassVar[bool] = True

    def select(self, pos, neg):
        keep = (rows.uniform(self.seed) < self.probability for rows in (pos, neg))
        return tuple(keep)


def seeded(loss, *args, **kwargs):
    """Each call draws its key from the same state of the generator, as in one process."""
    torch.manual_seed(11)
    return run(loss, *args, **kwargs)


def check_every_mining():
    batch, refs = partitioned_batch(), partitioned_batch(REF_SIZES, seed=2)
    rules = [case.mining for case in MINING_CASES] + [NearerThanTheMean(), AtRandom()]
    for rule in rules:
        for layout in ("auto", "sparse rows", "sparse batch"):
            loss = GPWLoss(MultiSimilarity(), rule, chunk_size=7)
            loss.layout = layout
            one = seeded(loss, batch.x, batch.labels)
            equal(seeded(DistributedLoss(loss), *batch.part), one, batch.rows)
        one = seeded(loss, batch.x, batch.labels, None, refs.x, refs.labels)
        equal(seeded(DistributedLoss(loss), *batch.part, None, *refs.part), one, batch.rows)


def check_every_miner():
    batch, refs = partitioned_batch(), partitioned_batch(REF_SIZES, seed=2)
    for case in MINING_CASES:
        miner, loss = PairMiner(case.mining), MSWeightedLoss()
        for others, mine in (((), ()), (refs[:2], refs.part)):
            torch.manual_seed(11)
            mined = miner(batch.x, batch.labels, *others)
            one = run(loss, batch.x, batch.labels, mined, *others)
            many = DistributedLoss(loss, miner)
            equal(seeded(many, *batch.part, None, *mine), one, batch.rows)


def check_only_the_first_generator_counts():
    """Processes with other seeds draw the same pairs, those of rank 0."""
    batch = partitioned_batch()
    loss = GPWLoss(MultiSimilarity(), DistanceWeightedMining(dim=5))
    one = seeded(loss, batch.x, batch.labels)
    torch.manual_seed(11 + dist.get_rank())
    equal(run(DistributedLoss(loss), *batch.part), one, batch.rows)


def check_own_rules_against_a_slow_loop():
    """Pairs, losses and gradients in float64, in self-comparison and against references."""
    for references in (False, True):
        batch, refs = partitioned_batch(), partitioned_batch(REF_SIZES, seed=2)
        x = batch.x / batch.x.norm(dim=1, keepdim=True)
        y = refs.x / refs.x.norm(dim=1, keepdim=True) if references else x
        labels = refs.labels if references else None
        torch.manual_seed(11)
        key = int(torch.randint(2**62, ()))
        for rule, keeps in ((NearerThanTheMean(), above_the_mean), (AtRandom(), by_number)):
            pos, neg = keeps(rule, x @ y.T, *oracles.pairs_of(batch.labels, labels), key)
            losses, signed = oracles.row_by_row(
                oracles.multi_similarity, MultiSimilarity(), x @ y.T, pos, neg
            )
            others = refs.x if references else batch.x
            grad_x, grad_y = oracles.through_cosine(signed / len(x), batch.x, others)
            wanted = grad_x if references else grad_x + grad_y
            loss = DistributedLoss(GPWLoss(MultiSimilarity(), rule, chunk_size=5))
            given = (None, *refs.part) if references else ()
            torch.manual_seed(11)
            value, gradient = run(loss, *batch.part, *given)
            close(value, losses.mean())
            close(gradient, dist.get_world_size() * wanted[batch.rows])


def above_the_mean(rule, sim, pos, neg, key):
    kept = torch.zeros_like(neg)
    for i, row in enumerate(sim.tolist()):
        columns = neg[i].nonzero().flatten().tolist()
        mean = sum(row[j] for j in columns) / max(len(columns), 1)
        for j in columns:
            kept[i, j] = row[j] > mean
    return pos, kept


def by_number(rule, sim, pos, neg, key):
    kept = torch.zeros_like(pos), torch.zeros_like(neg)
    for mask, out in zip((pos, neg), kept, strict=True):
        for i, j in mask.nonzero().tolist():
            out[i, j] = oracles.uniform(key, rule.seed, i, j) < rule.probability
    return kept


class Doubled(GPWLoss):
    """A user's own ``compute_loss`` on top of ours, and one more loss inside."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        terms = super().compute_loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        extra = MSWeightedLoss()(embeddings, labels)
        terms["loss"]["losses"] = 2 * terms["loss"]["losses"] * self.scale(labels) + extra
        return terms

    def scale(self, labels):
        return 1 + labels.to(torch.float64)  # so that upstream gradients differ


def check_a_loss_inside_a_loss_inside_a_memory():
    seen = []
    for rule in (None, AtRandom(0.7)):
        alone = CrossBatchMemory(Doubled(MultiSimilarity(), rule), 5, 60, add_batch_loss=True)
        many = CrossBatchMemory(Doubled(MultiSimilarity(), rule), 5, 60, add_batch_loss=True)
        many.loss.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for step in range(4):
            batch = partitioned_batch(seed=step)
            one = seeded(alone, batch.x, batch.labels)
            equal(seeded(DistributedLoss(many), *batch.part), one, batch.rows)
            assert many.embedding_memory.equal(alone.embedding_memory)
    assert len(seen) == 16, "forward hooks of the loss fire once for each batch"
    assert all(len(batch.anchors) == 24 for batch in seen)


def check_random_rules_of_a_memorys_miner():
    alone, memory = (
        CrossBatchMemory(MSWeightedLoss(), 5, 60, PairMiner(AtRandom(0.6))) for _ in range(2)
    )
    for step in range(4):
        batch = partitioned_batch(seed=step)
        one = seeded(alone, batch.x, batch.labels)
        equal(seeded(DistributedLoss(memory), *batch.part), one, batch.rows)


class ReadsThePairs(GPWLoss):
    """A user's own ``compute_loss`` that changes embeddings, or reads the pairs themselves."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        same = ref_emb is embeddings
        moved = embeddings * 2 + 1
        others = moved if same else ref_emb * 2 + 1
        terms = super().compute_loss(moved, labels, indices_tuple, others, ref_labels)
        a1, p, a2, n = indices_tuple
        extra = (moved[a1] * others[p]).sum() - (moved[a2] * others[n]).sum()
        terms["loss"]["losses"] = terms["loss"]["losses"] + 1e-3 * extra
        return terms


def check_pairs_reach_a_users_own_loss():
    """Mined ones and those of tuples, of all processes, plain and in a memory."""
    batch = partitioned_batch()
    miner = PairMiner(DistanceWeightedMining(dim=5))
    loss = ReadsThePairs(MultiSimilarity())
    torch.manual_seed(11)
    one = run(loss, batch.x, batch.labels, miner(batch.x, batch.labels))
    equal(seeded(DistributedLoss(loss, miner), *batch.part), one, batch.rows)
    alone, memory = (CrossBatchMemory(loss, 5, 60, miner) for _ in range(2))
    for step in range(3):
        batch = partitioned_batch(seed=step)
        one = seeded(alone, batch.x, batch.labels)
        equal(seeded(DistributedLoss(memory), *batch.part), one, batch.rows)


def check_hooks_see_the_pairs_of_all():
    """Where a hook listens on one process only, too."""
    batch = partitioned_batch()
    miner, loss, seen = MSMiner(0.3), MSWeightedLoss(), []
    if dist.get_rank() == 0:
        loss.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    DistributedLoss(loss, miner)(*batch.part)
    if dist.get_rank() == 0:
        expected = miner(batch.x, batch.labels)
        assert all(a.equal(b) for a, b in zip(seen[0].pairs.index_tuple(), expected, strict=True))


def check_a_random_miner_beside_a_random_mining():
    batch = partitioned_batch()
    miner, loss = PairMiner(AtRandom()), GPWLoss(MultiSimilarity(), AtRandom())
    torch.manual_seed(11)
    one = run(loss, batch.x, batch.labels, miner(batch.x, batch.labels))
    equal(seeded(DistributedLoss(loss, miner), *batch.part), one, batch.rows)
    alone, memory = (CrossBatchMemory(loss, 5, 60, miner) for _ in range(2))
    for step in range(2):
        batch = partitioned_batch(seed=step)
        one = seeded(alone, batch.x, batch.labels)
        equal(seeded(DistributedLoss(memory), *batch.part), one, batch.rows)
