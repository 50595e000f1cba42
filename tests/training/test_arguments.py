"""Arguments that cannot be are named, with what was got and what is allowed."""

from functools import partial

import pytest
import torch

from pml_gpw import MSLoss
from pml_gpw.training import (
    BatchNormOverProcesses,
    ClassBatches,
    Experiment,
    NumberedBatches,
    RandomClassBatches,
    SeededViews,
    convert_batch_norm,
    data_parallel,
    loss_over_processes,
    process_group,
    train_transform,
)


def batches(rule=RandomClassBatches, labels=tuple(range(10)), batch_size=30, **options):
    return rule(labels, batch_size, **{"per_class": 5, "batches": 4, **options})


class Ends(ClassBatches):
    def draw(self):
        yield from [[0, 1], [0, 1]]


def exhausted():
    [*Ends([0, 0], 2, per_class=2, batches=3)]


STATE = batches().state_dict()
BOTH = "rank and world_size must both be given or neither, got "
LABELS = r"labels must be integers \(N,\), at least one, got "
POSITIVE, NATURAL = "must be an integer > 0, got ", "must be an integer >= 0, got "


@pytest.mark.parametrize(
    ("call", "options", "said"),
    [
        (batches, {"batch_size": 0}, f"batch_size {POSITIVE}0"),
        (batches, {"batch_size": 30.0}, f"batch_size {POSITIVE}30.0"),
        (batches, {"batch_size": 12}, r"must be a multiple of 5 \(per_class x world_size\)"),
        (batches, {"batch_size": 55}, r"at most 50 \(10 classes x 5\), got 55"),
        (batches, {"rank": 0, "world_size": 4}, "batch_size must be a multiple of 20"),
        (batches, {"per_class": 0}, f"per_class {POSITIVE}0"),
        (batches, {"batches": 0}, f"batches {POSITIVE}0"),
        (batches, {"seed": -1}, f"seed {NATURAL}-1"),
        (batches, {"seed": 2**32}, r"seed must be at most 4294967295, 2\*\*32 - 1, got 4294967296"),
        (batches, {"rank": 0}, f"{BOTH}0 and None"),
        (batches, {"world_size": 2}, f"{BOTH}None and 2"),
        (batches, {"rank": 2, "world_size": 2}, "rank must be below world_size, 2, got 2"),
        (batches, {"rank": -1, "world_size": 2}, f"rank {NATURAL}-1"),
        (batches, {"rank": 0, "world_size": 0}, f"world_size {POSITIVE}0"),
        (batches, {"labels": []}, rf"{LABELS}float64 \(0,\)"),
        (batches, {"labels": [0.0, 1.0]}, rf"{LABELS}float64 \(2,\)"),
        (batches, {"labels": [[0], [1]]}, rf"{LABELS}int64 \(2, 1\)"),
        (batches, {"labels": [[0], [1, 2]]}, "got rows of different lengths"),
        (batches, {"labels": [True, False]}, rf"{LABELS}bool \(2,\)"),
        (batches, {"labels": torch.zeros(2).bfloat16()}, rf"{LABELS}float64 \(2,\)"),
        (batches, {"labels": torch.zeros(2, device="meta")}, "labels must hold values"),
        (batches, {"labels": torch.zeros(2).to_sparse()}, "labels must be a dense tensor"),
        (exhausted, {}, "draw must give batches without an end, got no batch 2"),
        (batches().state_dict, {"batches_done": 1.5}, f"batches_done {NATURAL}1.5"),
        (batches().load_state_dict, {"state": None}, "state must be a Mapping, got None"),
        (batches().load_state_dict, {"state": {}}, "state must have the entries .*, got none"),
        (batches(Ends, per_class=10).load_state_dict, {"state": STATE}, "of the same (rule|per_)"),
        (Experiment, {"iterations": 0}, f"iterations {POSITIVE}0"),
        (Experiment, {"batch": 12}, "batch must be a multiple of per_class, 5, got 12"),
        (Experiment, {"evaluate_every": 0}, "evaluate_every must be an integer > 0"),
        (Experiment, {"checkpoint_every": 2.5}, "checkpoint_every must be an integer > 0"),
        (Experiment, {"learning_rate": 0.0}, "learning_rate must be a finite number > 0"),
        (
            Experiment,
            {"loss_learning_rate": -1.0},
            "loss_learning_rate must be a finite number > 0",
        ),
        (Experiment, {"weight_decay": -1.0}, "weight_decay must be a finite number >= 0"),
        (Experiment, {"milestones": [1]}, r"milestones must be a tuple of integers, got \[1\]"),
        (Experiment, {"milestones": (0,)}, "every entry of milestones must be an integer > 0"),
        (Experiment, {"sampler": "pml"}, "sampler must be one of exhaustive, random, got 'pml'"),
        (Experiment, {"amp": 1}, "amp must be a bool, got 1"),
        (Experiment, {"seed": 2**32}, "seed must be at most 4294967295"),
        (train_transform, {"resize": 0}, "resize must be an integer > 0"),
        (train_transform, {"crop": 2.5}, "crop must be an integer > 0"),
        (train_transform, {"smallest_crop": 1.5}, "smallest_crop must be at most 1, got 1.5"),
        (train_transform, {"smallest_crop": 0.0}, "smallest_crop must be a .* > 0"),
        (NumberedBatches, {"batches": [[0, 1]]}, "batches must be a ClassBatches, got"),
        (partial(SeededViews, []), {"entropy": 0}, "entropy must be a tuple of .* >= 0, got 0"),
        (partial(SeededViews, []), {"entropy": ()}, r"entropy must be a tuple .* >= 0, got \(\)"),
        (partial(SeededViews, []), {"entropy": (0, -1)}, f"every entry of entropy {NATURAL}-1"),
        (partial(SeededViews, []), {"entropy": (0.5,)}, f"every entry of entropy {NATURAL}0.5"),
        (data_parallel, {"model": 3}, "model must be a Module, got 3"),
        (loss_over_processes, {"miner": None, "loss": "ms"}, "loss must be a Module, got 'ms'"),
        (
            loss_over_processes,
            {"miner": "ms", "loss": MSLoss()},
            "miner must be a Module, got 'ms'",
        ),
        (lambda: process_group("cuda").__enter__(), {}, "device must be a device, got 'cuda'"),
        (convert_batch_norm, {"module": 3}, "module must be a Module, got 3"),
        (BatchNormOverProcesses(3), {"input": torch.zeros(2, 3)}, "4D"),
    ],
)
def test_arguments_that_cannot_be(call, options, said):
    with pytest.raises(ValueError, match=said):
        call(**options)


def test_without_a_rule_there_is_no_sampler():
    with pytest.raises(TypeError, match="draw"):
        batches(ClassBatches)
