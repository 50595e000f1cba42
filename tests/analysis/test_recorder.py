"""Recording inside PML's trainers and in a loop of one's own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses, samplers, trainers
from pytorch_metric_learning.utils import logging_presets
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import PairWeightRecorder, pair_weights
from pml_gpw.losses import CrossBatchMemory

from ..hosts.pml2.training import TinyDataset, tiny_network
from ..tolerances import close


def test_beside_the_hooks_of_pml(tmp_path):
    record_keeper, _, _ = logging_presets.get_record_keeper(
        str(tmp_path / "csv"), str(tmp_path / "tensorboard")
    )
    hooks = logging_presets.get_hook_container(record_keeper)
    loss = MSWeightedLoss()
    recorder = PairWeightRecorder(
        loss, every=3, record_keeper=record_keeper, also=hooks.end_of_iteration_hook
    )
    network, dataset = tiny_network(), TinyDataset()
    trainer = trainers.MetricLossOnly(
        models={"trunk": network},
        optimizers={"trunk_optimizer": torch.optim.Adam(network.parameters())},
        batch_size=16,
        loss_funcs={"metric_loss": loss},
        dataset=dataset,
        mining_funcs={"tuple_miner": MSMiner()},
        sampler=samplers.MPerClassSampler(dataset.labels, 4, 16, length_before_new_iter=112),
        dataloader_num_workers=0,
        end_of_iteration_hook=recorder,
    )
    trainer.train(num_epochs=1)
    assert [record["iteration"] for record in recorder.history] == [0, 3, 6]
    record_keeper.save_records()
    logged = record_keeper.query("SELECT * FROM pair_weights")
    assert [row["effective_pairs"] for row in logged] == [
        record["effective_pairs"] for record in recorder.history
    ]
    assert record_keeper.query("SELECT * FROM loss_histories"), "PML's own hook went silent"


def test_in_a_loop_of_ones_own(batch):
    loss = MSLoss()
    recorder = PairWeightRecorder(loss, every=2)
    for iteration in range(1, 6):
        x = batch[0] * iteration
        loss(x.requires_grad_(), labels=batch[1])
        recorder(iteration)
    expected = pair_weights(MSLoss(), batch[0] * 4, batch[1]).summary()
    assert recorder.history[-1] == {"iteration": 4, **expected}
    assert len(recorder.history) == 2
    assert not recorder._listener.last.arguments["embeddings"].requires_grad, (
        "the graph would be kept"
    )
    recorder.close()
    loss(*batch)
    recorder(6)
    assert len(recorder.history) == 2


def test_logs_to_a_function(batch):
    """Beside the history, and with the numbers of the iterations; the loss may be wrapped."""
    loss, logged = MSLoss(), []
    recorder = PairWeightRecorder(
        loss, every=2, name="weights", log=lambda figures, step: logged.append((figures, step))
    )
    for iteration in range(5):
        loss(*batch)
        recorder(np.int64(iteration))
    assert [step for _, step in logged] == [0, 2, 4]
    assert all(type(step) is int for _, step in logged)
    for (figures, _), record in zip(logged, recorder.history, strict=True):
        del record["iteration"]
        assert figures == {f"weights/{name}": value for name, value in record.items()}
        assert all(type(value) is float for value in figures.values())


def test_logs_to_tensorboard(batch, tmp_path):
    loss = MSLoss()
    with SummaryWriter(tmp_path) as writer:
        recorder = PairWeightRecorder(
            loss,
            every=1,
            log=lambda figures, step: [writer.add_scalar(*f, step) for f in figures.items()],
        )
        for iteration in (1, 2):
            loss(*batch)
            recorder(iteration)
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = events.Scalars("pair_weights/effective_pairs")
    assert [event.step for event in scalars] == [1, 2]
    close([event.value for event in scalars], [r["effective_pairs"] for r in recorder.history])


def test_the_loss_can_be_copied_and_saved_while_listened_to(batch, tmp_path):
    loss = MSLoss()
    recorder = PairWeightRecorder(loss, every=1, also=lambda _: None)
    loss(*batch)
    twins = copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))
    torch.save(loss, tmp_path / "loss.pth")
    for twin in twins:
        twin(batch[0] * 2, batch[1])
    recorder(np.int64(1))
    assert recorder.history == [{"iteration": 1, **pair_weights(MSLoss(), *batch).summary()}]


def test_the_loss_inside_a_memory(batch):
    memory = CrossBatchMemory(MSLoss(), 6, memory_size=48)
    recorder = PairWeightRecorder(memory.loss, every=1)
    with torch.no_grad():  # as in a validation
        for step in range(1, 4):
            value = memory(batch[0] + 0.1 * step, batch[1])
            recorder(step)
    table = pair_weights(memory.loss, **recorder._listener.last.arguments)
    close(table.loss, float(value))
    assert table.positives.sum() == 12 * (3 * 3 - 1), "own copies are no positives"


def test_calls_without_labels_are_not_recorded(batch):
    loss = MSWeightedLoss()
    recorder = PairWeightRecorder(loss, every=1)
    loss(batch[0], None, MSMiner(5.0)(*batch))
    recorder(1)
    assert recorder.history == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": None}, "loss must be a loss of pairs"),
        ({"every": None}, "every must be an integer > 0, got None"),
        ({"record_keeper": "logs"}, "record_keeper must be None or a RecordKeeper, got str"),
        ({"also": "hook"}, "also must be an object that can be called, got 'hook'"),
        ({"log": "wandb"}, "log must be an object that can be called, got 'wandb'"),
        ({"name": None}, "name must be a str, got None"),
    ],
)
def test_settings_of_wrong_kinds(options, said):
    loss = MSLoss()
    with pytest.raises(ValueError, match=said):
        PairWeightRecorder(**{"loss": loss, **options})
    assert not loss._forward_pre_hooks


@pytest.mark.parametrize("trainer", [None, "3", 3.5])
def test_what_has_no_iteration(trainer):
    with pytest.raises(ValueError, match="trainer must be a trainer of pytorch-metric-learning or"):
        PairWeightRecorder(MSLoss())(trainer)


def test_bad_settings():
    with pytest.raises(ValueError, match="every must be an integer > 0, got 0"):
        PairWeightRecorder(MSLoss(), every=0)
    with pytest.raises(ValueError, match="the loss inside it"):
        PairWeightRecorder(CrossBatchMemory(MSLoss(), 6))


def test_the_loss_is_that_without_the_recorder(batch):
    loss = losses.ContrastiveLoss()
    expected = loss(*batch)
    recorder = PairWeightRecorder(loss, every=1)
    assert loss(*batch).equal(expected)
    recorder(1)
    assert loss(*batch).equal(expected)
