"""Losses and batches in the trainer of sentence-transformers, on a model without a download."""

import copy
import pickle
import re
import tempfile
from functools import partial

import datasets
import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import ProxyAnchorLoss, TripletMarginLoss
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
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
from pml_gpw.mining import MSMining
from pml_gpw.training import ExhaustiveClassBatches, RandomClassBatches
from pml_gpw.weightings import MultiSimilarity

from ..cases import CASES, MINING_CASES
from ..distributed.processes import Processes
from ..tolerances import close
from .texts import DIMS, LABELS, read_model, sentences, tiny_model, write_encoder

RULES = [(case.weighting, None) for case in CASES]
RULES += [(MultiSimilarity(), case.mining) for case in MINING_CASES]
LABEL_TENSOR = torch.tensor(LABELS)


def features(model):
    return [model.preprocess(sentences())]


def ms_loss(model):
    return PairWeightingLoss(model, MultiSimilarity(), MSMining())


def gradients(model, loss, seed=0):
    """Value, and the gradient of each parameter of the model, of ``loss()`` from a seed."""
    model.zero_grad()
    torch.manual_seed(seed)
    value = loss()
    value.backward()
    return [value, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def all_close(actual, expected):
    assert len(actual) == len(expected) > 10
    assert any(gradient.count_nonzero() for gradient in expected[1:])
    for one, other in zip(actual, expected, strict=True):
        close(one, other, 1e-5)


def dataset(column=False):
    labels = [[label] for label in LABELS] if column else LABELS
    return datasets.Dataset.from_dict({"text": sentences(), "label": labels})


def trainer(model, loss, folder, **options):
    arguments = {
        "per_device_train_batch_size": 8,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "batch_sampler": BatchSamplers.GROUP_BY_LABEL,
    }
    train = options.pop("train_dataset", None) or dataset()
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder / "run"), **{**arguments, **options}
        ),
        train_dataset=train,
        eval_dataset=dataset(),
        loss=loss,
    )


@pytest.mark.parametrize(("weighting", "mining"), RULES, ids=repr)
def test_gradients_are_those_of_the_plain_loss(model, weighting, mining):
    texts, plain = features(model), GPWLoss(weighting, mining)

    def expected():
        return plain(model(dict(texts[0]))["sentence_embedding"], LABEL_TENSOR)

    loss = PairWeightingLoss(model, weighting, mining)
    all_close(
        gradients(model, lambda: loss(features(model), LABEL_TENSOR)), gradients(model, expected)
    )


@pytest.mark.parametrize(("weighting", "mining"), [RULES[1], *RULES[-3:-1]], ids=repr)
def test_cached_gradients_are_those_without_a_cache(quiet, tmp_path, weighting, mining):
    model = tiny_model(tmp_path, dropout=0.0).train()
    loss = PairWeightingLoss(model, weighting, mining)
    cached = CachedLoss(model, loss, mini_batch_size=5)
    by_tokens = CachedLoss(model, loss, mini_batch_num_tokens=7)
    expected = gradients(model, lambda: loss(features(model), LABEL_TENSOR))
    for other in (cached, by_tokens):
        all_close(gradients(model, lambda o=other: o(features(model), LABEL_TENSOR)), expected)


def test_parameters_of_a_loss_below_a_cache(quiet, tmp_path):
    """Scaled by the upstream gradient, which is known in backward alone, and added up."""
    model = tiny_model(tmp_path, dropout=0.0).train()
    trained = MetricLearningLoss(model, MSLoss(trainable=("beta", "base")))
    proxies = MetricLearningLoss(model, ProxyAnchorLoss(num_classes=10, embedding_size=DIMS))
    for loss in (trained, proxies):
        own = [p for p in loss.parameters() if all(p is not q for q in model.parameters())]
        results = []
        for other in (loss, CachedLoss(model, loss, mini_batch_size=5)):
            for parameter in own:
                parameter.grad = None
            for factor in (1.0, 3.0):
                (other(features(model), LABEL_TENSOR) * factor).backward()
            results.append([parameter.grad.clone() for parameter in own])
        for cached, expected in zip(*results, strict=True):
            assert expected.count_nonzero()
            close(cached, expected, 1e-5)


def test_the_cache_replays_dropout(model):
    """The gradient is that of the embeddings that the loss saw, which random masks have changed."""
    texts = features(model)[0]
    cached = CachedLoss(model, ms_loss(model), mini_batch_size=12)

    def by_hand():
        parts = [
            {name: x[part] for name, x in texts.items()} for part in (slice(12), slice(12, 24))
        ]
        embeddings = [model(part)["sentence_embedding"] for part in parts]
        return MSLoss()(torch.cat(embeddings), LABEL_TENSOR)

    texts = {name: x for name, x in texts.items() if isinstance(x, torch.Tensor)}
    all_close(
        gradients(model, lambda: cached([dict(texts)], LABEL_TENSOR)), gradients(model, by_hand)
    )


def test_labels_may_be_a_column(model):
    model.eval()
    loss = ms_loss(model)
    value = loss(features(model), LABEL_TENSOR)
    assert loss(features(model), LABEL_TENSOR[:, None]).equal(value)
    assert loss.compute_loss_from_embeddings(
        [model(features(model)[0])["sentence_embedding"]], LABEL_TENSOR
    ).equal(value)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "sampler",
    [
        BatchSamplers.GROUP_BY_LABEL,
        ClassBatchSampler,
        partial(ClassBatchSampler, per_class=2, rule=ExhaustiveClassBatches),
    ],
    ids=["grouped", "random", "exhaustive"],
)
def test_trains_saves_and_is_cited(model, tmp_path, cached, sampler):
    before = copy.deepcopy(model.state_dict())
    loss = inner = ms_loss(model)
    if cached:
        loss = CachedLoss(model, inner, mini_batch_size=3)
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


def test_training_is_that_of_a_loop_by_hand(quiet, tmp_path):
    """The trainer's steps with our batches, against the plain loss and the same optimizer."""
    model = tiny_model(tmp_path, dropout=0.0)
    twin = copy.deepcopy(model)
    sampler = partial(ClassBatchSampler, per_class=2)
    options = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "seed": 3}
    trainer(model, ms_loss(model), tmp_path, batch_sampler=sampler, **options).train()

    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)
    batches = RandomClassBatches(LABELS, 8, per_class=2, batches=3, seed=3)
    for batch in batches:
        texts = twin.preprocess([sentences()[i] for i in batch])
        optimizer.zero_grad()
        MSLoss()(twin(texts)["sentence_embedding"], LABEL_TENSOR[batch]).backward()
        optimizer.step()
    for name, value in twin.state_dict().items():
        close(model.state_dict()[name], value)


def test_a_resumed_training_is_the_same(model, tmp_path):
    """Four epochs and two batches; the second training begins at a checkpoint inside an epoch."""
    seen = []

    class Watched(PairWeightingLoss):
        def forward(self, sentence_features, labels=None):
            seen.append(sentence_features[0]["input_ids"].tolist())
            return super().forward(sentence_features, labels)

    def run(**options):
        seen.clear()
        twin = copy.deepcopy(model)
        training = trainer(
            twin,
            Watched(twin, MultiSimilarity()),
            tmp_path,
            batch_sampler=partial(ClassBatchSampler, per_class=2),
            max_steps=14,
            save_strategy="steps",
            save_steps=5,
        )
        training.train(**options)
        return [*seen], twin.state_dict()

    whole, expected = run()
    rest, weights = run(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-5"))
    assert len(whole) == 14
    assert rest == whole[5:]
    for name, value in expected.items():
        close(weights[name], value)


@pytest.mark.parametrize("cached", [False, True])
def test_a_resumed_training_has_the_fields_that_were_trained(model, tmp_path, cached):
    def run(with_state=True, **options):
        twin = copy.deepcopy(model)
        loss = GPWLoss(MultiSimilarity(), trainable=("alpha", "base"))
        wrapped = MetricLearningLoss(twin, loss)
        training = trainer(
            twin,
            CachedLoss(twin, wrapped, mini_batch_size=3) if cached else wrapped,
            tmp_path,
            max_steps=6,
            learning_rate=0.05,
            save_strategy="steps",
            save_steps=3,
        )
        if with_state:
            training.add_callback(LossCheckpoints(loss))
        training.train(**options)
        return loss.current_weighting()

    expected = run()
    assert abs(expected.base - 0.5) > 1e-3
    checkpoint = tmp_path / "run" / "checkpoint-3"
    resumed = run(resume_from_checkpoint=str(checkpoint))
    close(resumed.alpha, expected.alpha)
    close(resumed.base, expected.base)
    (checkpoint / "loss.pt").unlink()
    with pytest.warns(UserWarning, match=r"loss\.pt is not there: the loss goes on as it was made"):
        forgot = run(resume_from_checkpoint=str(checkpoint))
    assert abs(forgot.base - expected.base) > 1e-4, "the state makes no difference"


@pytest.mark.parametrize("cached", [False, True])
def test_a_memory_advances_once_a_step(model, tmp_path, cached):
    memory = CrossBatchMemory(MSLoss(), embedding_size=DIMS, memory_size=100)
    loss = MetricLearningLoss(model, memory)
    training = trainer(
        model,
        CachedLoss(model, loss, mini_batch_size=3) if cached else loss,
        tmp_path,
        eval_strategy="steps",
        eval_steps=1,
    )
    training.train()
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


def test_losses_and_miners_of_pml(model):
    model.eval()
    loss = MetricLearningLoss(model, TripletMarginLoss(), MSMiner())
    x = model(features(model)[0])["sentence_embedding"]
    expected = TripletMarginLoss()(x, LABEL_TENSOR, MSMiner()(x, LABEL_TENSOR))
    close(loss(features(model), LABEL_TENSOR), expected)
    assert "PyTorch Metric Learning" in loss.citation
    assert loss.get_config_dict() == {
        "loss": "TripletMarginLoss(margin=0.05)",
        "miner": "MSMiner(mining=MSMining(epsilon=0.1))",
    }


def test_the_card_names_the_miner_of_a_memory(model):
    memory = CrossBatchMemory(MSWeightedLoss(), DIMS, memory_size=100, miner=MSMiner(0.3))
    said = MetricLearningLoss(model, memory).get_config_dict()["loss"]
    assert said.endswith("memory_size=100, miner=MSMiner(mining=MSMining(epsilon=0.3)))")


def test_a_whole_loss_in_the_place_of_another_is_told_its_own(model):
    """A loss of embeddings as that of a trainer, and a loss or rule as part of another."""
    with pytest.raises(ValueError, match=r"got list, features .*: .*MetricLearningLoss\(model, l"):
        MSLoss()(features(model), LABEL_TENSOR)
    for loss in (MSLoss(), TripletMarginLoss()):
        said = f"weighting must be .*, got a {type(loss).__name__}: .*MetricLearningLoss"
        with pytest.raises(ValueError, match=said):
            PairWeightingLoss(model, loss)
    with pytest.raises(ValueError, match=r"miner must be .* give PairMiner\(MSMining\("):
        MetricLearningLoss(model, MSLoss(), MSMining())


def test_in_a_matryoshka_loss(quiet, tmp_path):
    model = tiny_model(tmp_path, dropout=0.0).train()
    parts = (DIMS, 4)

    def by_hand():
        x = model(features(model)[0])["sentence_embedding"]
        return sum(MSLoss()(x[:, :dims], LABEL_TENSOR) for dims in parts)

    expected = gradients(model, by_hand)
    for inner in (ms_loss(model), CachedLoss(model, ms_loss(model), mini_batch_size=5)):
        loss = theirs.MatryoshkaLoss(model, inner, parts)
        all_close(gradients(model, lambda o=loss: o(features(model), LABEL_TENSOR)), expected)


def test_a_cached_loss_of_theirs(model):
    loss = CachedLoss(model, theirs.BatchAllTripletLoss(model), mini_batch_size=5)
    loss(features(model), LABEL_TENSOR).backward()
    assert model[0].auto_model.embeddings.word_embeddings.weight.grad.count_nonzero()


def test_the_trainer_puts_its_wrapped_model_into_the_loss(model, tmp_path):
    wrapped = torch.nn.Sequential()
    loss = CachedLoss(model, ms_loss(model))
    training = trainer(model, loss, tmp_path)
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


def test_two_processes(quiet, tmp_path):
    pool = Processes(2, tmp_path, patience=240)  # the libraries take long to import
    try:
        pool.run(__name__, check_two_processes.__name__)
    finally:
        pool.stop()


BAD_CALLS = {
    "two columns": (lambda loss, x: loss.compute_loss_from_embeddings([x, x], LABEL_TENSOR)),
    "no labels": (lambda loss, x: loss.compute_loss_from_embeddings([x])),
    "wide labels": (
        lambda loss, x: loss.compute_loss_from_embeddings([x], LABEL_TENSOR[:, None].expand(-1, 2))
    ),
    "few labels": (lambda loss, x: loss.compute_loss_from_embeddings([x], LABEL_TENSOR[:5])),
    "columns of texts": (lambda loss, _: loss([{}, {}], LABEL_TENSOR)),
}
SAID = {
    "two columns": "sentence_features must be one column of texts beside the labels, got 2",
    "no labels": 'labels must be given: the data set needs a column "label", got None',
    "wide labels": r"labels must have shape (24,), one label per embedding, got (24, 2)",
    "few labels": r"labels must have shape (24,), one label per embedding, got (5,)",
    "columns of texts": "sentence_features must be one column of texts beside the labels, got 2",
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_data_is_named(name):
    loss = ms_loss(torch.nn.Identity())
    with pytest.raises(ValueError, match=re.escape(SAID[name])):
        BAD_CALLS[name](loss, torch.randn(24, 4))


def test_bad_arguments_are_named(model):
    with pytest.raises(ValueError, match="loss must be a Module, got 'ms'"):
        MetricLearningLoss(model, "ms")
    with pytest.raises(ValueError, match="weighting must be"):
        PairWeightingLoss(model, "ms")
    with pytest.raises(ValueError, match="loss must have compute_loss_from_embeddings"):
        CachedLoss(model, MSLoss())
    with pytest.raises(ValueError, match="mini_batch_size must be an integer > 0, got 0"):
        CachedLoss(model, ms_loss(model), mini_batch_size=0)
    words = StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_dim=DIMS)
    static = SentenceTransformer(modules=[words], device="cpu")
    with pytest.raises(ValueError, match="model must take batches that can be cut"):
        CachedLoss(static, ms_loss(static))


def sampler(**options):
    return ClassBatchSampler(dataset(), 8, valid_label_columns=["label"], **options)


def test_the_sampler_gives_classes_of_k():
    batches = [*sampler(per_class=2)]
    assert len(batches) == len(sampler()) == 3
    for batch in batches:
        counts = LABEL_TENSOR[batch].unique(return_counts=True)[1]
        assert counts.tolist() == [2, 2, 2, 2]
    assert len(sampler(per_class=2, batches=7)) == 7


def test_an_epoch_has_its_own_batches():
    whole = sampler(per_class=2, seed=5)
    epochs = [[*whole] for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for number in (2, 0, 1):
        whole.set_epoch(number)
        assert [*whole] == epochs[number]
    assert [*sampler(per_class=2, seed=6)] != epochs[0]
    generator = torch.Generator().manual_seed(5)
    assert [*sampler(per_class=2, generator=generator)] == epochs[0]


def test_the_sampler_takes_labels_in_lists_of_one():
    one = ClassBatchSampler(dataset(column=True), 8, valid_label_columns=["score", "label"])
    assert [*one] == [*sampler()]


def test_the_sampler_can_be_saved_with_the_arguments():
    made = pickle.loads(pickle.dumps(partial(ClassBatchSampler, per_class=2)))
    assert [*made(dataset(), 8, valid_label_columns=["label"])] == [*sampler(per_class=2)]


def test_bad_data_of_the_sampler_is_named():
    with pytest.raises(ValueError, match=r"dataset must have a column of labels, one of \['score'"):
        ClassBatchSampler(dataset(), 8, valid_label_columns=["score"])
    with pytest.raises(ValueError, match="batch_size must be a multiple of 3"):
        sampler(per_class=3)


def test_parameters_of_a_loss_are_trained(model, tmp_path):
    loss = ProxyAnchorLoss(num_classes=4, embedding_size=DIMS)
    before = loss.proxies.detach().clone()
    trainer(model, MetricLearningLoss(model, loss), tmp_path).train()
    assert not loss.proxies.equal(before)
