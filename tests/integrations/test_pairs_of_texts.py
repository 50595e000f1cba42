"""Columns of texts in the trainer of sentence-transformers, and beside its own loss of pairs."""

import os

import datasets
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from pml_gpw.integrations.sentence_transformers import CachedLoss, PairsLoss
from pml_gpw.mining import HardestNegatives
from pml_gpw.weightings import MultiSimilarity

from ..distributed.processes import Processes
from ..row_losses import NTXent
from ..tolerances import close
from .texts import sentences, tiny_model

BOTH = ("query_to_doc", "doc_to_query")
SCALE = 20


def texts(count=3):
    """Columns of four texts each."""
    every = [f"{text} {word}" for word in ("and", "or", "not") for text in sentences()]
    return [every[4 * column : 4 * column + 4] for column in range(count)]


def features(model, count=3):
    return [model.preprocess(column) for column in texts(count)]


def gradients(model, loss):
    model.zero_grad()
    value = loss()
    value.backward()
    return [value, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def all_close(actual, expected):
    assert len(actual) == len(expected) > 10
    for one, other in zip(actual, expected, strict=True):
        close(one, other, 1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("directions", [BOTH[:1], BOTH], ids="-".join)
def test_nt_xent_is_the_ranking_loss_of_multiple_negatives(tmp_path, count, directions):
    model = tiny_model(tmp_path, dropout=0.0)
    theirs = MultipleNegativesRankingLoss(
        model, scale=SCALE, directions=directions, partition_mode="per_direction"
    )
    ours = PairsLoss(model, NTXent(1 / SCALE), directions=directions)
    given = features(model, count)
    all_close(
        gradients(model, lambda: ours([dict(f) for f in given])),
        gradients(model, lambda: theirs([dict(f) for f in given], None)),
    )


def test_cached_gradients_are_those_without_a_cache(tmp_path):
    model = tiny_model(tmp_path, dropout=0.0).train()
    loss = PairsLoss(model, MultiSimilarity(), HardestNegatives(3), BOTH)
    cached = CachedLoss(model, loss, mini_batch_size=2)
    all_close(
        gradients(model, lambda: cached(features(model))),
        gradients(model, lambda: loss(features(model))),
    )


def test_labels_are_ids_of_queries(tmp_path):
    model = tiny_model(tmp_path, dropout=0.0)
    loss = PairsLoss(model, NTXent(0.1))
    ids = torch.tensor([[0], [1], [0], [2]])
    embeddings = [model(f)["sentence_embedding"] for f in features(model, 2)]
    expected = loss.loss(*embeddings, query_ids=ids[:, 0])
    close(loss(features(model, 2), ids), expected)
    assert float(expected) != pytest.approx(float(loss(features(model, 2))))


def test_a_model_trains_on_pairs_saves_and_reloads(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "WANDB_DISABLED", "true")
    model = tiny_model(tmp_path, dropout=0.0)
    anchors, positives, negatives = texts()
    data = {"anchor": anchors, "positive": positives, "negative": negatives}
    loss = PairsLoss(model, NTXent(0.1), HardestNegatives(3), BOTH, trainable=("temperature",))
    before = float(loss(features(model)))
    trainer = SentenceTransformerTrainer(
        model=model,
        args=Arguments(
            output_dir=str(tmp_path / "run"),
            per_device_train_batch_size=4,
            max_steps=8,
            learning_rate=1e-2,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
        ),
        train_dataset=datasets.Dataset.from_dict(data),
        loss=loss,
    )
    trainer.train()
    assert float(loss(features(model))) < before
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    close(torch.tensor(again.encode(anchors)), torch.tensor(model.encode(anchors)), 1e-5)
    assert "NTXent" in loss.get_config_dict()["loss"]
    assert "wang2019multi" in loss.citation


def check_the_documents_of_all_processes():
    torch.manual_seed(0)
    given = [torch.randn(4, 3, dtype=torch.float64) for _ in range(3)]
    rank = torch.distributed.get_rank()
    rows = (slice(0, 3), slice(3, 4))[rank]
    one = PairsLoss(torch.nn.Identity(), NTXent(0.1), directions=BOTH)
    many = PairsLoss(torch.nn.Identity(), NTXent(0.1), directions=BOTH, gather_across_devices=True)
    whole = one.compute_loss_from_embeddings(given)
    close(many.compute_loss_from_embeddings([column[rows] for column in given]), whole)


def test_over_processes(tmp_path):
    pool = Processes(2, tmp_path)
    pool.run(__name__, check_the_documents_of_all_processes.__name__)
    pool.stop()


def test_what_is_refused(tmp_path):
    model = torch.nn.Identity()
    for options, message in (
        ({"directions": ("query_to_doc", "query_to_query")}, "query_to_query has none"),
        ({"directions": ("query_to_doc", "doc_to_doc")}, "doc_to_doc has none"),
        ({"partition_mode": "joint"}, "partition_mode must be per_direction, .* got 'joint'"),
    ):
        with pytest.raises(ValueError, match=message):
            PairsLoss(model, NTXent(0.1), **options)
    with pytest.raises(ValueError, match="two tensors or more, got 1"):
        PairsLoss(model, NTXent(0.1)).compute_loss_from_embeddings([torch.rand(3, 2)])
