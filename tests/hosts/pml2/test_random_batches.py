"""MSMiner + MSWeightedLoss against PML's pair and against slow loops, on random batches."""

import random

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss

from ... import oracles
from ...covering import covering
from ...runs import pairs_of_tuple
from ...tolerances import close


def random_case(rng):
    """Embeddings and labels, references (or None), and the miner's and loss's parameters."""
    n, dims = rng.randint(1, 64), rng.choice([2, 3, 8, 32])
    labels = []
    while len(labels) < n:
        labels += [rng.randint(0, 30)] * rng.randint(1, 10)
    generator = torch.Generator().manual_seed(rng.randint(0, 2**31))

    def embed(count):
        x = torch.randn(count, dims, generator=generator, dtype=torch.float64)
        for _ in range(rng.choice([0, 0, 1, 5])):  # exact duplicates
            x[rng.randrange(count)] = x[rng.randrange(count)]
        return x

    batch = embed(n), torch.tensor(labels[:n])
    references = None, None
    if rng.random() < 0.3:
        m = rng.randint(1, 64)
        references = embed(m), torch.tensor([rng.randint(0, 30) for _ in range(m)])
    epsilon = rng.choice([0, 0.1, 1, rng.random()])
    parameters = rng.choice([(2, 50, 0.5), (2, 50, 1), (17.97, 75.66, 0.77)])
    return batch, references, epsilon, parameters


def value_and_gradients(loss, miner, batch, references):
    x, labels = batch
    y, ref_labels = references
    x = x.clone().requires_grad_()
    y = None if y is None else y.clone().requires_grad_()
    indices = None if miner is None else miner(x, labels, y, ref_labels)
    value = loss(x, labels, indices, y, ref_labels)
    value.backward()
    return value.detach(), x.grad, None if y is None else y.grad, indices


def oracle(batch, references, epsilon, loss):
    (x, labels), (y, ref_labels) = batch, references
    own = y is None
    y = x if own else y
    unit_x, unit_y = torch.nn.functional.normalize(x), torch.nn.functional.normalize(y)
    pos, neg = oracles.pairs_of(labels, ref_labels)
    losses, signed = oracles.row_by_row(
        oracles.multi_similarity, loss, unit_x @ unit_y.T, pos, neg, epsilon
    )
    grad_x, grad_y = oracles.through_cosine(signed / len(x), x, y)
    return losses.mean(), grad_x + grad_y if own else grad_x, None if own else grad_y


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
@pytest.mark.parametrize("block", covering(range(16), one_in=1, quick=5))
def test_random_batches(block):
    rng = random.Random(block)
    for _ in range(60):
        batch, references, epsilon, parameters = random_case(rng)
        for dtype in (torch.float64, torch.float32):
            b = batch[0].to(dtype), batch[1]
            r = (None, None) if references[0] is None else (references[0].to(dtype), references[1])
            loss, miner = MSWeightedLoss(*parameters), MSMiner(epsilon)
            ours = value_and_gradients(loss, miner, b, r)
            theirs = value_and_gradients(
                MultiSimilarityLoss(*parameters), MultiSimilarityMiner(epsilon), b, r
            )
            assert pairs_of_tuple(ours[3]) == pairs_of_tuple(theirs[3])
            whole = value_and_gradients(MSLoss(*parameters, epsilon), None, b, r)
            expected = [theirs[:3], whole[:3]]
            if all(len(i) <= 1 for i in theirs[3]):
                expected = expected[1:]  # PML gives 0 for a lone pair of each kind
            if dtype == torch.float64:
                expected.append(oracle(b, r, epsilon, loss))
            for other in expected:
                for mine, its in zip(ours[:3], other, strict=True):
                    assert (mine is None) == (its is None)
                    if mine is not None:
                        close(mine, its)


def test_the_comparison_can_fail():
    batch, references, _, (alpha, beta, base) = random_case(random.Random(1))
    right = value_and_gradients(MSWeightedLoss(alpha, beta, base), None, batch, references)
    wrong = value_and_gradients(MSWeightedLoss(alpha, beta + 0.01, base), None, batch, references)
    with pytest.raises(AssertionError):
        close(right[0], wrong[0])
