"""Named points of a training at which a process kills itself.

Each point wraps a function of the harness, in the process that is to be killed.
"""

import itertools
import os
import shutil
import signal
from pathlib import Path

import record_keeper
import torch

from pml_gpw.datasets import CUB200
from pml_gpw.training import Trainer, run


class Strike:
    """Kills this process at the ``nth`` time that its point is reached."""

    def __init__(self, nth):
        self.left = nth

    def __call__(self, damage=None, *args):
        self.left -= 1
        if self.left == 0:
            if damage is not None:
                damage(*args)
            os.kill(os.getpid(), signal.SIGKILL)


def every(*_, **__):
    return True


def before(owner, name, is_meant=every, damage=None):
    """The point before those calls of a function that are meant, which may leave a damage."""

    def point(strike):
        real = getattr(owner, name)

        def wrapped(*args, **kwargs):
            if is_meant(*args, **kwargs):
                strike(damage, *args)
            return real(*args, **kwargs)

        setattr(owner, name, wrapped)

    return point


def after(owner, name, is_meant=every, damage=None):
    """The point after them."""

    def point(strike):
        real = getattr(owner, name)

        def wrapped(*args, **kwargs):
            result = real(*args, **kwargs)
            if is_meant(*args, **kwargs):
                strike(damage, *args)
            return result

        setattr(owner, name, wrapped)

    return point


def while_the_images_of_an_evaluation_are_read(strike):
    real = run.distributed_dataset_metrics

    def evaluate(*args, **kwargs):
        item = CUB200.__getitem__
        before(CUB200, "__getitem__")(strike)
        try:
            return real(*args, **kwargs)
        finally:
            CUB200.__getitem__ = item

    run.distributed_dataset_metrics = evaluate


def of_an_evaluation(_, group, *__, **___):
    return group == "evaluation"


def to(name):
    """Renames to a path of this name."""
    return lambda _, target: Path(target).name == name


def to_checkpoints(_, target):
    return Path(target).parent.name == "checkpoints"


def a_state(_, path, *__, **___):
    return Path(path).name == "state.pt"


def cut(_, path, *__):
    os.truncate(path, Path(path).stat().st_size // 2)


def an_earlier_checkpoint(path, *_, **__):
    return Path(path).parent.name == "checkpoints" and Path(path).exists()


def all_checkpoints(path, *_, **__):
    return Path(path).name == "checkpoints" and Path(path).exists()


def unlink_state(path, *_):
    """A folder's state is gone and the rest of it is not."""
    next(Path(path).rglob("state.pt")).unlink()


def logs_of_a_checkpoint(source, target, *_, **__):
    return Path(source).parent.parent.name == "checkpoints" and Path(target).name == "logs"


trunk_alone = itertools.cycle([True, False])  # has made its step, the embedding layer has not

between_backward_and_the_optimizers = before(Trainer, "step_optimizers")
between_the_steps_of_two_optimizers = after(torch.optim.Adam, "step", lambda *_: next(trunk_alone))
between_the_csv_and_the_database_of_the_logs = before(
    record_keeper.record_keeper.DBManager, "write", of_an_evaluation
)
in_the_middle_of_a_checkpoints_file = after(torch, "save", a_state, cut)
before_a_checkpoint_is_renamed = before(os, "replace", to_checkpoints)
after_a_checkpoint_is_renamed = after(os, "replace", to_checkpoints)
while_an_earlier_checkpoint_is_removed = before(
    shutil, "rmtree", an_earlier_checkpoint, unlink_state
)
while_the_logs_are_put_back = before(shutil, "copytree", logs_of_a_checkpoint)
between_the_last_and_the_best_weights = after(os, "replace", to("last.pt"))
before_the_result_is_renamed = before(os, "replace", to("result.json"))
after_the_result_is_renamed = after(os, "replace", to("result.json"))
while_the_checkpoints_of_a_finished_run_are_removed = before(
    shutil, "rmtree", all_checkpoints, unlink_state
)
