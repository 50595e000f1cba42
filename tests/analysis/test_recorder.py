"""Recording inside PML's trainers and in a loop of one's own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils import logging_presets

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import PairWeightRecorder, pair_weights
from pml_gpw.losses import CrossBatchMemory

from ..hosts.pml2.training import train
from ..tolerances import close

LOSS = MSLoss()


def test_beside_the_hooks_of_pml(tmp_path):
    keeper, _, _ = logging_presets.get_record_keeper(*(str(tmp_path / n) for n in ("csv", "board")))
    hook = logging_presets.get_hook_container(keeper).end_of_iteration_hook
    loss = MSWeightedLoss()
    recorder = PairWeightRecorder(loss, every=3, record_keeper=keeper, also=hook)
    train(loss, MSMiner(), recorder)
    assert [record["iteration"] for record in recorder.history] == [*range(0, 20, 3)]
    keeper.save_records()
    logged = [row["effective_pairs"] for row in keeper.query("SELECT * FROM pair_weights")]
    assert logged == [record["effective_pairs"] for record in recorder.history]
    assert keeper.query("SELECT * FROM loss_histories"), "PML's own hook went silent"


def test_in_a_loop_of_ones_own_until_it_is_closed(batch):
    loss = MSLoss()
    recorder = PairWeightRecorder(loss, every=2)
    for iteration in range(1, 6):
        loss((batch[0] * iteration).requires_grad_(), labels=batch[1])
        recorder(iteration)
    expected = pair_weights(MSLoss(), batch[0] * 4, batch[1]).summary()
    assert recorder.history[-1] == {"iteration": 4, **expected}
    assert len(recorder.history) == 2
    assert not recorder._listener.last.arguments["embeddings"].requires_grad, "a graph is kept"
    recorder.close()
    loss(*batch)
    recorder(6)
    assert len(recorder.history) == 2


def test_logs_to_a_function(batch):
    loss, logged = MSLoss(), []
    recorder = PairWeightRecorder(loss, every=2, name="weights", log=lambda *f: logged.append(f))
    for iteration in range(5):
        assert loss(*batch).equal(MSLoss()(*batch))
        recorder(np.int64(iteration))
    assert [step for _, step in logged] == [0, 2, 4]
    assert all(type(step) is int for _, step in logged)
    for (figures, _), record in zip(logged, recorder.history, strict=True):
        del record["iteration"]
        assert figures == {f"weights/{name}": value for name, value in record.items()}
        assert all(type(value) is float for value in figures.values())


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
        ({"loss": CrossBatchMemory(MSLoss(), 6)}, "the loss inside it"),
        ({"every": 0}, "every must be an integer > 0, got 0"),
        ({"record_keeper": "logs"}, "record_keeper must be None or a RecordKeeper, got str"),
        ({"also": "hook"}, "also must be an object that can be called, got 'hook'"),
        ({"log": "wandb"}, "log must be an object that can be called, got 'wandb'"),
        ({"name": None}, "name must be a str, got None"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        PairWeightRecorder(**{"loss": LOSS, **options})
    assert not LOSS._forward_pre_hooks


@pytest.mark.parametrize("trainer", [None, "3", 3.5])
def test_what_has_no_iteration(trainer):
    with pytest.raises(ValueError, match="trainer must be a trainer of pytorch-metric-learning or"):
        PairWeightRecorder(MSLoss())(trainer)
