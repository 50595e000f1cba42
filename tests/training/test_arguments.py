"""Arguments that cannot be are named, with what was got."""

import re
from functools import partial

import pytest
import torch

from pml_gpw import MSLoss, training
from pml_gpw.training import ClassBatches, Experiment, SeededViews, train_transform


def batches(rule=training.RandomClassBatches, labels=tuple(range(10)), batch_size=30, **options):
    return rule(labels, batch_size, **{"per_class": 5, "batches": 4, **options})


def checkpoint(**options):
    training.Checkpoints("nowhere").save(**{"epoch": 1, "state": {}, "best": {}, **options})


class Ends(ClassBatches):
    def draw(self):
        yield from [[0, 1], [0, 1]]


def exhausted():
    [*Ends([0, 0], 2, per_class=2, batches=3)]


@pytest.mark.parametrize(
    ("call", "bad"),
    [
        (batches, {"batch_size": (0, 30.0, 12, 55), "per_class": (0,), "batches": (0,)}),
        (batches, {"seed": (-1, 2**32)}),
        (partial(batches, world_size=2), {"rank": (2, -1)}),
        (partial(batches, rank=0), {"world_size": (0, 1.5)}),
        (partial(batches, rank=0, world_size=4), {"batch_size": (30,)}),
        (batches().state_dict, {"batches_done": (1.5, -1)}),
        (batches().load_state_dict, {"state": (None,)}),
        (Experiment, {"iterations": (0,), "batch": (12,), "sampler": ("pml",), "seed": (2**32,)}),
        (Experiment, {"evaluate_every": (0,), "checkpoint_every": (2.5,), "milestones": ([1],)}),
        (Experiment, {"learning_rate": (0.0,), "weight_decay": (-1.0,), "amp": (1,)}),
        (Experiment, {"loss_learning_rate": (-1.0,)}),
        (checkpoint, {"epoch": (-1,), "state": (3,), "best": (None,)}),
        (train_transform, {"resize": (0,), "crop": (2.5,), "smallest_crop": (1.5, 0.0)}),
        (training.NumberedBatches, {"batches": ([[0, 1]],)}),
        (partial(SeededViews, []), {"entropy": (0, ())}),
        (training.data_parallel, {"model": (3,)}),
        (partial(training.loss_over_processes, None), {"loss": ("ms",)}),
        (partial(training.loss_over_processes, loss=MSLoss()), {"miner": ("ms",)}),
        (training.convert_batch_norm, {"module": (3,)}),
    ],
)
def test_arguments_that_cannot_be(call, bad):
    for name, values in bad.items():
        for value in values:
            said = rf"{name}.* must .*got {re.escape(repr(value))}"
            with pytest.raises(ValueError, match=said):
                call(**{name: value})


BOTH = "rank and world_size must both be given or neither, got "
LABELS = r"labels must be integers \(N,\), at least one, got "


@pytest.mark.parametrize(
    ("call", "options", "said"),
    [
        (batches, {"rank": 0}, f"{BOTH}0 and None"),
        (batches, {"world_size": 2}, f"{BOTH}None and 2"),
        (batches, {"labels": []}, rf"{LABELS}float64 \(0,\)"),
        (batches, {"labels": [0.0, 1.0]}, rf"{LABELS}float64 \(2,\)"),
        (batches, {"labels": [[0], [1]]}, rf"{LABELS}int64 \(2, 1\)"),
        (batches, {"labels": [[0], [1, 2]]}, "got rows of different lengths"),
        (batches, {"labels": [True, False]}, rf"{LABELS}bool \(2,\)"),
        (batches, {"labels": torch.zeros(2).bfloat16()}, rf"{LABELS}float64 \(2,\)"),
        (batches, {"labels": torch.zeros(2, device="meta")}, "labels must hold values"),
        (batches, {"labels": torch.zeros(2).to_sparse()}, "labels must be a dense tensor"),
        (exhausted, {}, "draw must give batches without an end, got no batch 2"),
        (batches().load_state_dict, {"state": {}}, "state must have the entries .*, got none"),
        (Experiment, {"milestones": (0,)}, "every entry of milestones must be an integer > 0"),
        (partial(SeededViews, []), {"entropy": (0, 0.5)}, "every entry of entropy must .*got 0.5"),
        (
            lambda: training.process_group("cuda").__enter__(),
            {},
            "device must be a device, got 'cu",
        ),
        (training.BatchNormOverProcesses(3), {"input": torch.zeros(2, 3)}, "4D"),
    ],
)
def test_how_they_cannot_be(call, options, said):
    with pytest.raises(ValueError, match=said):
        call(**options)


def test_without_a_rule_there_is_no_sampler():
    with pytest.raises(TypeError, match="draw"):
        batches(ClassBatches)
