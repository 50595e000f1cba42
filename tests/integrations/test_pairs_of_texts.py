"""Columns of texts in the trainer of sentence-transformers, and beside its own loss of pairs."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from pml_gpw.integrations.sentence_transformers import CachedLoss, PairsLoss
from pml_gpw.mining import HardestNegatives
from pml_gpw.weightings import MultiSimilarity, NTXent

from ..tolerances import close
from .texts import all_close, gradients, sentences, trainer

BOTH = ("query_to_doc", "doc_to_query")
SCALE = 20


def texts(count=3):
    """Columns of four texts each."""
    every = [f"{text} {word}" for word in ("and", "or", "not") for text in sentences()]
    return [every[4 * column : 4 * column + 4] for column in range(count)]


def features(model, count=3):
    return [model.preprocess(column) for column in texts(count)]


@pytest.mark.parametrize(("count", "directions"), [(2, BOTH), (3, BOTH[:1]), (4, BOTH)])
def test_nt_xent_is_the_ranking_loss_of_multiple_negatives(steady, count, directions):
    theirs = MultipleNegativesRankingLoss(
        steady, scale=SCALE, directions=directions, partition_mode="per_direction"
    )
    ours = PairsLoss(steady, NTXent(1 / SCALE), directions=directions)
    all_close(
        gradients(steady, lambda: ours(features(steady, count))),
        gradients(steady, lambda: theirs(features(steady, count), None)),
    )


def test_cached_gradients_are_those_without_a_cache(steady):
    loss = PairsLoss(steady, MultiSimilarity(), HardestNegatives(3), BOTH)
    cached = CachedLoss(steady, loss, mini_batch_size=2)
    expected = gradients(steady, lambda: loss(features(steady)))
    all_close(gradients(steady, lambda: cached(features(steady))), expected)


def test_labels_are_ids_of_queries(steady):
    loss = PairsLoss(steady, NTXent(0.1))
    ids = torch.tensor([[0], [1], [0], [2]])
    embeddings = [steady(f)["sentence_embedding"] for f in features(steady, 2)]
    expected = loss.loss(*embeddings, query_ids=ids[:, 0])
    close(loss(features(steady, 2), ids), expected)
    assert float(expected) != pytest.approx(float(loss(features(steady, 2))))


def test_a_model_trains_on_pairs_saves_and_reloads(steady, tmp_path):
    data = dict(zip(("anchor", "positive", "negative"), texts(), strict=True))
    loss = PairsLoss(steady, NTXent(0.1), HardestNegatives(3), BOTH, trainable=("temperature",))
    before = float(loss(features(steady)))
    options = {"per_device_train_batch_size": 4, "max_steps": 8, "learning_rate": 1e-2}
    trainer(steady, loss, tmp_path, data, **options).train()
    assert float(loss(features(steady))) < before
    steady.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    anchors = data["anchor"]
    close(torch.tensor(again.encode(anchors)), torch.tensor(steady.encode(anchors)), 1e-5)
    assert "NTXent" in loss.get_config_dict()["loss"]
    assert "wang2019multi" in loss.citation


def check_the_documents_of_all_processes():
    torch.manual_seed(0)
    given = [torch.randn(4, 3, dtype=torch.float64) for _ in range(3)]
    rows = (slice(0, 3), slice(3, 4))[torch.distributed.get_rank()]
    one = PairsLoss(torch.nn.Identity(), NTXent(0.1), directions=BOTH)
    many = PairsLoss(torch.nn.Identity(), NTXent(0.1), directions=BOTH, gather_across_devices=True)
    whole = one.compute_loss_from_embeddings(given)
    close(many.compute_loss_from_embeddings([column[rows] for column in given]), whole)


@pytest.mark.exhaustive
def test_over_processes(pair):
    pair.run(__name__, check_the_documents_of_all_processes.__name__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": ("query_to_doc", "query_to_query")}, "query_to_query has none"),
        ({"partition_mode": "joint"}, "partition_mode must be per_direction, .* got 'joint'"),
        ({}, "two tensors or more, got 1"),
    ],
)
def test_bad_arguments_are_named(options, message):
    def loss():
        return PairsLoss(torch.nn.Identity(), NTXent(0.1), **options)

    with pytest.raises(ValueError, match=message):
        loss().compute_loss_from_embeddings([torch.rand(3, 2)])
