"""The messages that the page of questions quotes are those that a reader gets."""

import re
import warnings
from pathlib import Path

import pytest
import torch

from pml_gpw import GPWLoss, modules
from pml_gpw.evaluation import recall_at_k
from pml_gpw.training import RandomClassBatches
from pml_gpw.weightings import MultiSimilarity

PAGE = (Path(__file__).parents[2] / "docs" / "faq.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^> (.+)$", PAGE, flags=re.MULTILINE)
EMBEDDINGS, LABELS = torch.eye(8, 4), torch.arange(8) // 2
loss = modules.MSLoss()


def second_derivative():
    embeddings = EMBEDDINGS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(embeddings, LABELS), embeddings, create_graph=True)
    gradient.sum().backward()


def memory_of_pml():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    losses.CrossBatchMemory(loss, 4)


MISTAKES = [
    lambda: modules.MSLoss(reducer=None),
    lambda: modules.MSLoss()(EMBEDDINGS, torch.arange(8)),
    lambda: loss(EMBEDDINGS / 0, LABELS),
    lambda: loss(EMBEDDINGS, torch.eye(8)),
    lambda: GPWLoss(MultiSimilarity),
    second_derivative,
    lambda: RandomClassBatches(LABELS.tolist(), batch_size=80, per_class=5, batches=2),
    memory_of_pml,
    lambda: recall_at_k(EMBEDDINGS, LABELS, ks=(1, 100)),
    lambda: recall_at_k(EMBEDDINGS, torch.tensor([0, 0, 1, 1, 2, 2, 3, 4]), ks=(1,)),
]


@pytest.mark.parametrize(("quoted", "mistake"), [*zip(QUOTED, MISTAKES, strict=True)])
def test_a_mistake_gives_the_message(quoted, mistake):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception, match=re.escape(quoted)):
            mistake()
