"""Losses and batches in the trainer of sentence-transformers, on a model without a download."""

import copy
import pickle
import tempfile
from functools import partial

import pytest
import torch
import torch.distributed as dist
from datasets import Dataset
from pytorch_metric_learning.losses import ProxyAnchorLoss, TripletMarginLoss
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer import losses as theirs
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.integrations.sentence_transformers import (
    CachedLoss,
    ClassBatchSampler,
    LossCheckpoints,
    MetricLearningLoss,
    PairWeightingLoss,
)
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import HardestNegatives, MSMining
from pml_gpw.training import ExhaustiveClassBatches, RandomClassBatches
from pml_gpw.weightings import Contrastive, MultiSimilarity

from ..tolerances import close
from .texts import DIMS, LABELS, all_close, gradients, read_model, sentences, write_encoder
from .texts import trainer as trainer_of_columns

LABEL_TENSOR = torch.tensor(LABELS)
COLUMNS = {"text": sentences(), "label": LABELS}
PER_CLASS = partial(ClassBatchSampler, per_class=2)
EXHAUSTIVE = partial(PER_CLASS, rule=ExhaustiveClassBatches)


def features(model):
    return [model.preprocess(sentences())]


def ms_loss(model):
    return PairWeightingLoss(model, MultiSimilarity(), MSMining())


def trainer(model, loss, folder, **options):
    options = {"batch_sampler": BatchSamplers.GROUP_BY_LABEL} | options
    return trainer_of_columns(model, loss, folder, COLUMNS, **options)


MS = MultiSimilarity()
RULES = [(MS, MSMining()), (Contrastive(), None), (Contrastive(), HardestNegatives(3))]


@pytest.mark.parametrize(("weighting", "mining"), RULES, ids=repr)
def test_gradients_are_those_of_the_plain_loss(steady, weighting, mining):
    plain, loss = GPWLoss(weighting, mining), PairWeightingLoss(steady, weighting, mining)
    x = features(steady)[0]
    expected = gradients(steady, lambda: plain(steady(x)["sentence_embedding"], LABEL_TENSOR))
    by_texts = CachedLoss(steady, loss, mini_batch_size=5)
    by_tokens = CachedLoss(steady, loss, mini_batch_num_tokens=7)
    for each in (loss, by_texts, by_tokens):
        found = gradients(steady, lambda e=each: e(features(steady), LABEL_TENSOR))
        all_close(found, expected)


def test_parameters_of_a_loss_below_a_cache(steady):
    """Scaled by the upstream gradient, which is known in backward alone, and added up."""
    trained = MetricLearningLoss(steady, MSLoss(trainable=("beta", "base")))
    proxies = MetricLearningLoss(steady, ProxyAnchorLoss(num_classes=10, embedding_size=DIMS))
    for loss in (trained, proxies):
        own = [p for p in loss.parameters() if all(p is not q for q in steady.parameters())]
        results = []
        for other in (loss, CachedLoss(steady, loss, mini_batch_size=5)):
            for parameter in own:
                parameter.grad = None
            for factor in (1.0, 3.0):
                (other(features(steady), LABEL_TENSOR) * factor).backward()
            results.append([parameter.grad.clone() for parameter in own])
        for cached, expected in zip(*results, strict=True):
            assert expected.count_nonzero()
            close(cached, expected, 1e-5)


def test_the_cache_replays_dropout(model):
    """The gradient is that of the embeddings that the loss saw, which random masks have changed."""
    texts = {name: x for name, x in features(model)[0].items() if isinstance(x, torch.Tensor)}
    cached = CachedLoss(model, ms_loss(model), mini_batch_size=12)

    def by_hand():
        halves = slice(12), slice(12, 24)
        parts = [{name: x[half] for name, x in texts.items()} for half in halves]
        embeddings = [model(part)["sentence_embedding"] for part in parts]
        return MSLoss()(torch.cat(embeddings), LABEL_TENSOR)

    found = gradients(model, lambda: cached([dict(texts)], LABEL_TENSOR))
    all_close(found, gradients(model, by_hand))


@pytest.mark.parametrize(
    ("cached", "sampler"),
    [
        (True, EXHAUSTIVE),
        pytest.param(False, BatchSamplers.GROUP_BY_LABEL, marks=pytest.mark.exhaustive),
        pytest.param(True, ClassBatchSampler, marks=pytest.mark.exhaustive),
    ],
)
def test_trains_saves_and_is_cited(model, tmp_path, cached, sampler):
    before = copy.deepcopy(model.state_dict())
    loss = ms_loss(model)
    if cached:
        loss = CachedLoss(model, loss, mini_batch_size=3)
    training = trainer(model, loss, tmp_path, batch_sampler=sampler, save_strategy="epoch")
    training.train()
    assert training.state.global_step == 3
    assert any(not value.equal(before[name]) for name, value in model.state_dict().items())
    assert training.evaluate()["eval_loss"] > 0

    model.save_pretrained(tmp_path / "saved")
    restored = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    close(restored.encode(sentences()[:3]), model.encode(sentences()[:3]))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "Multi-Similarity Loss with General Pair Weighting" in card
    assert "MSMining(epsilon=0.1)" in card
    assert ("Scaling Deep Contrastive Learning Batch Size" in card) == cached


def test_training_is_that_of_a_loop_by_hand(steady, tmp_path):
    twin = copy.deepcopy(steady)
    options = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "seed": 3}
    trainer(steady, ms_loss(steady), tmp_path, batch_sampler=PER_CLASS, **options).train()

    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)
    for batch in RandomClassBatches(LABELS, 8, per_class=2, batches=3, seed=3):
        texts = twin.preprocess([sentences()[i] for i in batch])
        optimizer.zero_grad()
        MSLoss()(twin(texts)["sentence_embedding"], LABEL_TENSOR[batch]).backward()
        optimizer.step()
    for name, value in twin.state_dict().items():
        close(steady.state_dict()[name], value)


def test_a_resumed_training_is_the_same(model, tmp_path):
    """Its batches, weights and trained fields, from a checkpoint inside an epoch."""
    seen = []

    class Watched(CachedLoss):
        def forward(self, sentence_features, labels=None):
            seen.append(sentence_features[0]["input_ids"].tolist())
            return super().forward(sentence_features, labels)

    def run(**options):
        seen.clear()
        twin = copy.deepcopy(model)
        loss = GPWLoss(MultiSimilarity(), trainable=("alpha", "base"))
        wrapped = Watched(twin, MetricLearningLoss(twin, loss), mini_batch_size=3)
        saving = {"max_steps": 7, "learning_rate": 0.05, "save_strategy": "steps", "save_steps": 4}
        training = trainer(twin, wrapped, tmp_path, batch_sampler=PER_CLASS, **saving)
        training.add_callback(LossCheckpoints(loss))
        training.train(**options)
        return [*seen], [*twin.state_dict().values(), *loss.parameters()], loss.base

    whole, expected, base = run()
    assert (len(whole), abs(base - 0.5) > 1e-3) == (7, True)
    checkpoint = tmp_path / "run" / "checkpoint-4"
    rest, weights, _ = run(resume_from_checkpoint=str(checkpoint))
    assert rest == whole[4:]
    for one, other in zip(weights, expected, strict=True):
        close(one, other)
    (checkpoint / "loss.pt").unlink()
    with pytest.warns(UserWarning, match=r"loss\.pt is not there: the loss goes on as it was made"):
        *_, forgot = run(resume_from_checkpoint=str(checkpoint))
    assert abs(forgot - base) > 1e-4, "the state makes no difference"


@pytest.mark.parametrize("cached", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_a_memory_advances_once_a_step(model, tmp_path, cached):
    memory = CrossBatchMemory(MSLoss(), embedding_size=DIMS, memory_size=100)
    loss = MetricLearningLoss(model, memory)
    wrapped = CachedLoss(model, loss, mini_batch_size=3) if cached else loss
    trainer(model, wrapped, tmp_path, eval_strategy="steps", eval_steps=1).train()
    assert (memory.queue_idx, memory.calls) == (24, 3), "three steps, and evaluation counts nothing"
    assert "Cross-Batch Memory" in loss.citation
    assert loss.get_config_dict()["loss"].endswith("memory_size=100)")


def test_in_evaluation_the_loss_is_that_within_the_batch(model):
    model.eval()
    miner, inner = MSMiner(), MSWeightedLoss()
    memory = CrossBatchMemory(inner, embedding_size=DIMS, memory_size=100, miner=miner)
    MetricLearningLoss(model, memory)(features(model), LABEL_TENSOR)
    with torch.no_grad():
        embeddings = model(features(model)[0])["sentence_embedding"]
        expected = inner(embeddings, LABEL_TENSOR, miner(embeddings, LABEL_TENSOR))
        for held in (memory, DistributedLoss(memory)):
            close(MetricLearningLoss(model, held)(features(model), LABEL_TENSOR), expected)
    assert memory.calls == 1


def test_losses_and_miners_of_pml_and_labels_in_a_column(model):
    model.eval()
    loss = MetricLearningLoss(model, TripletMarginLoss(), MSMiner())
    x = model(features(model)[0])["sentence_embedding"]
    expected = TripletMarginLoss()(x, LABEL_TENSOR, MSMiner()(x, LABEL_TENSOR))
    close(loss(features(model), LABEL_TENSOR[:, None]), expected)
    close(loss.compute_loss_from_embeddings([x], LABEL_TENSOR), expected)
    assert "PyTorch Metric Learning" in loss.citation
    assert loss.get_config_dict() == {
        "loss": "TripletMarginLoss(margin=0.05)",
        "miner": "MSMiner(mining=MSMining(epsilon=0.1))",
    }
    memory = CrossBatchMemory(MSWeightedLoss(), DIMS, memory_size=100, miner=MSMiner(0.3))
    said = MetricLearningLoss(model, memory).get_config_dict()["loss"]
    assert said.endswith("memory_size=100, miner=MSMiner(mining=MSMining(epsilon=0.3)))")


def test_in_a_matryoshka_loss(steady):
    parts = (DIMS, 4)

    def by_hand():
        x = steady(features(steady)[0])["sentence_embedding"]
        return sum(MSLoss()(x[:, :dims], LABEL_TENSOR) for dims in parts)

    expected = gradients(steady, by_hand)
    for inner in (ms_loss(steady), CachedLoss(steady, ms_loss(steady), mini_batch_size=5)):
        loss = theirs.MatryoshkaLoss(steady, inner, parts)
        all_close(gradients(steady, lambda o=loss: o(features(steady), LABEL_TENSOR)), expected)


def test_a_cached_loss_of_theirs(model):
    loss = CachedLoss(model, theirs.BatchAllTripletLoss(model), mini_batch_size=5)
    loss(features(model), LABEL_TENSOR).backward()
    assert model[0].auto_model.embeddings.word_embeddings.weight.grad.count_nonzero()


def test_the_trainer_puts_its_wrapped_model_into_the_loss_and_trains_parameters(model, tmp_path):
    proxies = ProxyAnchorLoss(num_classes=4, embedding_size=DIMS)
    before = proxies.proxies.detach().clone()
    loss, wrapped = CachedLoss(model, MetricLearningLoss(model, proxies)), torch.nn.Sequential()
    training = trainer(model, loss, tmp_path, max_steps=1)
    training.train()
    assert not proxies.proxies.equal(before)
    training.override_model_in_loss(loss, wrapped)
    assert loss.model is loss.loss.model is wrapped


def check_two_processes():
    """Of two processes, run in each: the loss of all texts, also cached, as one process has it."""
    rank, world = dist.get_rank(), dist.get_world_size()
    with tempfile.TemporaryDirectory() as mine:
        folder = [mine]
        if rank == 0:  # transformers writes files in the first process only
            write_encoder(mine, dropout=0.0)
        dist.broadcast_object_list(folder)
        model = read_model(folder[0]).train()
        dist.barrier()
    expected = gradients(model, lambda: ms_loss(model)(features(model), LABEL_TENSOR))
    mine = slice(rank * 24 // world, (rank + 1) * 24 // world)
    loss = MetricLearningLoss(model, DistributedLoss(MSLoss()))
    cached = CachedLoss(model, loss, mini_batch_size=5)
    loss.model = cached.model = DistributedDataParallel(model)
    for each in (loss, cached):
        texts = [model.preprocess(sentences()[mine])]
        all_close(gradients(model, lambda e=each, t=texts: e(t, LABEL_TENSOR[mine])), expected)


@pytest.mark.exhaustive
def test_two_processes(pair):
    pair.run(__name__, check_two_processes.__name__)


X, STATIC = torch.randn(24, 4), torch.nn.Identity()
SHAPE = r"labels must have shape \(24,\), one label per embedding, got "
REFUSED = [
    (lambda: of_embeddings([X, X], LABEL_TENSOR), "sentence_features must be one column .* got 2"),
    (lambda: of_embeddings([X]), 'labels must be given: .* a column "label", got None'),
    (lambda: of_embeddings([X], torch.zeros(24, 2).long()), SHAPE + r"\(24, 2\)"),
    (lambda: of_embeddings([X], LABEL_TENSOR[:5]), SHAPE + r"\(5,\)"),
    (lambda: ms_loss(STATIC)([{}, {}], LABEL_TENSOR), "sentence_features must be one column .* 2"),
    (lambda: MetricLearningLoss(STATIC, "ms"), "loss must be a Module, got 'ms'"),
    (lambda: PairWeightingLoss(STATIC, "ms"), "weighting must be"),
    (lambda: PairWeightingLoss(STATIC, MSLoss()), "weighting .* a MSLoss: .*MetricLearningLoss"),
    (lambda: MetricLearningLoss(STATIC, MSLoss(), MSMining()), r"miner .* give PairMiner\(MSMini"),
    (lambda: MSLoss()([{}], LABEL_TENSOR), r"got list, features .*: .*MetricLearningLoss\(model"),
    (lambda: CachedLoss(STATIC, MSLoss()), "loss must have compute_loss_from_embeddings"),
    (lambda: CachedLoss(STATIC, ms_loss(STATIC), 0), "mini_batch_size must be an integer > 0, got"),
    (lambda: batches(valid_label_columns=["score"]), r"a column of labels, one of \['score'"),
    (lambda: batches(per_class=3), "batch_size must be a multiple of 3"),
]


def of_embeddings(*args):
    return ms_loss(STATIC).compute_loss_from_embeddings(*args)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_static_embeddings_are_not_cut(model):
    words = StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_dim=DIMS)
    static = SentenceTransformer(modules=[words], device="cpu")
    with pytest.raises(ValueError, match="model must take batches that can be cut"):
        CachedLoss(static, ms_loss(static))


def batches(labels=LABELS, **options):
    options = {"valid_label_columns": ["label"], **options}
    data = Dataset.from_dict({"text": sentences(), "label": labels})
    return ClassBatchSampler(data, 8, **options)


def test_the_sampler_gives_classes_of_k_and_each_epoch_its_own():
    """From a seed or a generator; it can be saved with the arguments of the trainer."""
    whole = batches(per_class=2, seed=5)
    epochs = [[*whole] for _ in range(3)]
    for batch in epochs[0]:
        assert LABEL_TENSOR[batch].unique(return_counts=True)[1].tolist() == [2, 2, 2, 2]
    assert len(whole) == len(epochs[0]) == 3
    assert len(batches(per_class=2, batches=7)) == 7
    assert epochs[0] != epochs[1] != epochs[2]
    for number in (2, 0, 1):
        whole.set_epoch(number)
        assert [*whole] == epochs[number]
    assert [*batches(per_class=2, seed=6)] != epochs[0]
    assert [*batches(per_class=2, generator=torch.Generator().manual_seed(5))] == epochs[0]
    made = pickle.loads(pickle.dumps(PER_CLASS))
    data = Dataset.from_dict(COLUMNS)
    assert [*made(data, 8, valid_label_columns=["label"], seed=5)] == epochs[0]
    in_lists = batches([[label] for label in LABELS], valid_label_columns=["score", "label"])
    assert [*in_lists] == [*batches()]
