"""Named points of a training at which a process kills itself.

Each point is a function that wraps one of the harness's, in the process that is to be killed.
"""

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

    def is_due(self):
        self.left -= 1
        return self.left == 0

    def __call__(self):
        if self.is_due():
            self.kill()

    @staticmethod
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)


def around(owner, name, before=None, after=None):
    """Let ``before`` and ``after`` see the arguments of each call of a function."""
    real = getattr(owner, name)

    def wrapped(*args, **kwargs):
        if before is not None:
            before(*args, **kwargs)
        result = real(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


def between_backward_and_the_optimizers(strike):
    around(Trainer, "step_optimizers", before=lambda *_: strike())


def between_the_steps_of_two_optimizers(strike):
    """The trunk has made its step, the embedding layer has not."""
    steps = []

    def after(*_, **__):
        steps.append(1)
        if len(steps) % 2:
            strike()

    around(torch.optim.Adam, "step", after=after)


def while_the_images_of_an_evaluation_are_read(strike):
    real = run.distributed_dataset_metrics

    def evaluate(*args, **kwargs):
        item = CUB200.__getitem__

        def read(*args):
            strike()
            return item(*args)

        CUB200.__getitem__ = read
        try:
            return real(*args, **kwargs)
        finally:
            CUB200.__getitem__ = item

    run.distributed_dataset_metrics = evaluate


def after_an_evaluation(strike):
    around(run, "distributed_dataset_metrics", after=lambda *_, **__: strike())


def between_the_csv_and_the_database_of_the_logs(strike):
    def before(_, group, *__, **___):
        if group == "evaluation":
            strike()

    around(record_keeper.record_keeper.DBManager, "write", before=before)


def in_the_middle_of_a_checkpoints_file(strike):
    def after(_, path, *__, **___):
        if Path(path).name == "state.pt" and strike.is_due():
            os.truncate(path, Path(path).stat().st_size // 2)
            strike.kill()

    around(torch, "save", after=after)


def _renaming(strike, is_meant, **when):
    def see(_, target):
        if is_meant(Path(target)):
            strike()

    around(os, "replace", **{"before" if when["before"] else "after": see})


def before_a_checkpoint_is_renamed(strike):
    _renaming(strike, lambda path: path.parent.name == "checkpoints", before=True)


def after_a_checkpoint_is_renamed(strike):
    _renaming(strike, lambda path: path.parent.name == "checkpoints", before=False)


def _removing(strike, is_meant):
    """A folder's state is gone and the rest of it is not."""

    def before(path, *_, **__):
        path = Path(path)
        if is_meant(path) and path.exists() and strike.is_due():
            next(path.rglob("state.pt")).unlink()
            strike.kill()

    around(shutil, "rmtree", before=before)


def while_an_earlier_checkpoint_is_removed(strike):
    _removing(strike, lambda path: path.parent.name == "checkpoints")


def while_the_logs_are_put_back(strike):
    """Those of the killed life are removed, those of the checkpoint not yet there."""

    def before(source, target, *_, **__):
        if Path(source).parent.parent.name == "checkpoints" and Path(target).name == "logs":
            strike()

    around(shutil, "copytree", before=before)


def before_the_last_weights_are_renamed(strike):
    _renaming(strike, lambda path: path.name == "last.pt", before=True)


def between_the_last_and_the_best_weights(strike):
    _renaming(strike, lambda path: path.name == "last.pt", before=False)


def before_the_result_is_renamed(strike):
    _renaming(strike, lambda path: path.name == "result.json", before=True)


def after_the_result_is_renamed(strike):
    _renaming(strike, lambda path: path.name == "result.json", before=False)


def while_the_checkpoints_of_a_finished_run_are_removed(strike):
    _removing(strike, lambda path: path.name == "checkpoints")
