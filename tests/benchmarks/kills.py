"""Named points of a training at which a process kills itself."""

import itertools
import os
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import torch
from record_keeper.record_keeper import DBManager

from pml_gpw.datasets import CUB200
from pml_gpw.training import Trainer


class Point(NamedTuple):
    """Before or after those calls of a function that are meant."""

    owner: Any
    name: str
    is_meant: Any = lambda *_, **__: True
    is_after: bool = False
    damage: Any = lambda *_, **__: None  # what is half done

    def kill_at(self, nth):
        """Let this process kill itself when it comes to the point for the ``nth`` time."""
        real, times = getattr(self.owner, self.name), itertools.count(1)

        def strike(*args, **kwargs):
            if self.is_meant(*args, **kwargs) and next(times) == nth:
                self.damage(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)

        def wrapped(*args, **kwargs):
            if not self.is_after:
                strike(*args, **kwargs)
            result = real(*args, **kwargs)
            if self.is_after:
                strike(*args, **kwargs)
            return result

        setattr(self.owner, self.name, wrapped)


def renamed(is_meant, is_after=False):
    return Point(os, "replace", lambda _, target: is_meant(Path(target)), is_after)


def removed(is_meant):
    """A folder's state is gone and the rest of it is not."""
    return Point(
        shutil,
        "rmtree",
        lambda path, *_, **__: is_meant(Path(path)) and Path(path).exists(),
        damage=lambda path, *_, **__: next(Path(path).rglob("state.pt")).unlink(),
    )


def cut(_, path, *__):
    os.truncate(path, Path(path).stat().st_size // 2)


def is_checkpoint(path):
    return path.parent.name == "checkpoints"


one_of_two = itertools.cycle([True, False])
POINTS = {
    "between backward and the optimizers": Point(Trainer, "step_optimizers"),
    "between two optimizers": Point(torch.optim.Adam, "step", lambda *_: next(one_of_two), True),
    "while a test image is read": Point(CUB200, "__getitem__", lambda d, _: d.split == "test"),
    "between CSV and database": Point(DBManager, "write", lambda *of, **_: of[1] == "evaluation"),
    "in the middle of a checkpoint's file": Point(
        torch, "save", lambda _, path, *__: Path(path).name == "state.pt", True, cut
    ),
    "before a checkpoint is renamed": renamed(is_checkpoint),
    "after a checkpoint is renamed": renamed(is_checkpoint, is_after=True),
    "while an earlier checkpoint is removed": removed(is_checkpoint),
    "while the logs are put back": Point(
        shutil, "copytree", lambda source, *_, **__: is_checkpoint(Path(source).parent)
    ),
    "between the last and the best weights": renamed(lambda p: p.name == "last.pt", True),
    "before the result is renamed": renamed(lambda path: path.name == "result.json"),
    "while the checkpoints of a whole run are removed": removed(lambda p: p.name == "checkpoints"),
}
