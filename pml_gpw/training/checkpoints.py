"""The state from which a killed run goes on, in folders that are whole or not there."""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import checks
from .file_errors import naming_file, reading_file

TRAIN_AGAIN = "remove the folder of its run to train from the start"


class Checkpoints:
    """The checkpoints of one run, of which the last is kept.

    Each is a folder ``checkpoints/00003`` that appears in one step, so that a process that is
    killed at any moment leaves the earlier checkpoint or the new one, whole. It holds the state,
    the weights of the best epoch so far and a copy of the folders ``logs``: what a run logs after
    its last checkpoint is taken back when it goes on, and logged again. Of several processes one
    alone saves and loads: ``is_first`` and ``read_by_first`` of ``pml_gpw.training.processes``.
    Nothing waits for the disk, so this is no protection from a power failure.

    Args:
        run: the folder of the run; made where it is not there.
        logs: names of folders in it that go back with it.
        advice: what the error of a damaged checkpoint tells its reader to do.

    Errors: :class:`FileError` where the disk is full or closed, with the earlier checkpoint as it
    was, and where a checkpoint cannot be read.

    Example:
        >>> import tempfile, torch
        >>> from pml_gpw.training import Checkpoints
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(folder)
        ...     checkpoints.load()
        ...     checkpoints.save(1, {"epoch": 1}, best={"weight": torch.zeros(2)})
        ...     checkpoints.save(2, {"epoch": 2})
        ...     best = torch.load(checkpoints.best_weights(), weights_only=True)
        ...     checkpoints.load(), best
        ({'epoch': 2}, {'weight': tensor([0., 0.])})
    """

    def __init__(
        self,
        run: str | Path,
        logs: Sequence[str] = ("logs", "tensorboard"),
        advice: str = TRAIN_AGAIN,
    ) -> None:
        if not isinstance(run, (str, os.PathLike)) or run == "":
            raise ValueError(f"folder of the run must be a path, got {run!r}")
        self.run = Path(run)
        self.folder = self.run / "checkpoints"
        self.logs, self.advice = tuple(logs), advice

    def save(self, epoch: int, state: dict[str, Any], best: dict[str, Any] | None = None) -> None:
        """Write the checkpoint of an epoch, and remove the earlier one.

        ``state`` is what ``load`` returns: tensors, numbers, strings and containers of them.
        ``best``: the weights, where those of this epoch are the best so far.

        Errors: ValueError for an epoch that is not beyond the last checkpoint's, for a ``state``
        that is no dict, and for the first checkpoint without ``best``.
        """
        checks.non_negative_integer("epoch", epoch)
        checks.instance("state", state, dict)
        last = self.last()
        if last is not None and epoch <= int(last.name):
            raise ValueError(f"epoch must be above {int(last.name)}, the last one's, got {epoch}")
        if last is None and best is None:
            raise ValueError("best must be given with the first checkpoint, got None")
        with naming_file(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            new = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
            try:
                torch.save(state, new / "state.pt")
                if best is not None:
                    torch.save(best, new / "best.pt")
                elif last is not None:
                    shutil.copy2(last / "best.pt", new / "best.pt")
                for name in self.logs:
                    if (self.run / name).exists():
                        shutil.copytree(self.run / name, new / name)
                os.replace(new, self.folder / f"{epoch:05}")
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)  # a full disk gets its room back
                raise
        self._remove_others(epoch)

    def last(self) -> Path | None:
        """The folder of the last checkpoint; None where there is none."""
        found = [path for path in self.folder.glob("[0-9]*") if _is_number(path.name)]
        return max(found, key=lambda path: int(path.name)) if found else None

    def load(self) -> dict[str, Any] | None:
        """The last state, on the CPU, the logs put back as they were; None where there is none.

        Logs of a run without a checkpoint are removed. Errors: FileError, with the logs as they
        are, for a checkpoint of which a file is missing or damaged.
        """
        last = self.last()
        state = None if last is None else self._read(last)
        for name in self.logs:
            shutil.rmtree(self.run / name, ignore_errors=True)
            if last is not None and (last / name).exists():
                shutil.copytree(last / name, self.run / name)
        if last is not None:
            self._remove_others(int(last.name))
        return state

    def best_weights(self) -> Path:
        """The file of the best epoch's weights.

        Errors: FileNotFoundError where there is no checkpoint.
        """
        last = self.last()
        if last is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint")
        return last / "best.pt"

    def clear(self) -> None:
        """Remove all checkpoints, of a run that is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, checkpoint: Path) -> dict[str, Any]:
        """The state in a checkpoint, of which all files can be read."""
        state: dict[str, Any] = {}
        for name in ("best.pt", "state.pt"):
            with reading_file(checkpoint / name, self.advice):
                with torch.serialization.safe_globals([Counter]):  # the milestones of a schedule
                    state = torch.load(checkpoint / name, map_location="cpu", weights_only=True)
                if not isinstance(state, dict):
                    raise TypeError(type(state))
        return state

    def _remove_others(self, epoch: int) -> None:
        """Remove earlier checkpoints, and what a killed run had begun."""
        for path in self.folder.iterdir():
            ours = _is_number(path.name) or path.name.startswith(".new-")
            if ours and path.is_dir() and path.name != f"{epoch:05}":
                shutil.rmtree(path)


def _is_number(name: str) -> bool:
    return re.fullmatch("[0-9]{5,}", name) is not None
