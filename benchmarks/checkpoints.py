"""What a run needs to go on where it was killed, in folders that are whole or not there."""

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from .faults import naming, reading

FRESH = "--fresh trains the run again"
KEPT = ("logs", "tensorboard")  # folders of a run that go back with it


class Checkpoints:
    """The checkpoints of one run, of which the last is kept.

    Each is a folder ``checkpoints/00003`` that appears in one step, with the state, the weights
    of the best epoch so far and a copy of the logs: what a run logs after its last checkpoint is
    taken back when it goes on, and logged again.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "checkpoints"

    def save(self, epoch: int, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Write the checkpoint of an epoch; ``best`` where its weights are the best so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.last()
        with naming(self.folder):
            new = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
            try:
                torch.save(state, new / "state.pt")
                if best is not None:
                    torch.save(best, new / "best.pt")
                elif last is not None:
                    shutil.copy2(last / "best.pt", new / "best.pt")
                for name in KEPT:
                    if (self.run / name).exists():
                        shutil.copytree(self.run / name, new / name)
                os.replace(new, self.folder / f"{epoch:05}")
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)  # a full disk gets its room back
                raise
        self._remove_others(epoch)

    def last(self) -> Path | None:
        """The folder of the last checkpoint."""
        names = [p.name for p in self.folder.glob("[0-9]*") if p.name.isdigit()]
        return self.folder / max(names) if names else None

    def load(self) -> dict[str, Any] | None:
        """The last state, on the CPU, the logs put back as they were; None where there is none."""
        last = self.last()
        state = None if last is None else _whole(last)
        for name in KEPT:
            shutil.rmtree(self.run / name, ignore_errors=True)
            if last is not None and (last / name).exists():
                shutil.copytree(last / name, self.run / name)
        if last is not None:
            self._remove_others(int(last.name))
        return state

    def best_weights(self) -> Path:
        """The file of the best epoch's weights."""
        last = self.last()
        if last is None:
            raise FileNotFoundError(f"{self.folder} has no checkpoint")
        return last / "best.pt"

    def clear(self) -> None:
        """Remove all checkpoints, of a run that is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_others(self, epoch: int) -> None:
        """Earlier checkpoints, and what a killed run had begun."""
        for path in self.folder.iterdir():
            if path.name != f"{epoch:05}":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _whole(checkpoint: Path) -> dict[str, Any]:
    """The state in a checkpoint, of which all files can be read."""
    state: dict[str, Any] = {}
    for name in ("best.pt", "state.pt"):
        with reading(checkpoint / name, FRESH):
            with torch.serialization.safe_globals([Counter]):  # the milestones of a schedule
                state = torch.load(checkpoint / name, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(type(state))
    return state
