"""The result of a training that is finished, as its folder keeps it."""

import json
from pathlib import Path
from typing import Any

from .checkpoints import TRAIN_AGAIN
from .file_errors import reading_file

RESULT = "result.json"


def finished(folder: Path, advice: str = TRAIN_AGAIN) -> dict[str, Any] | None:
    """The result of a training that is finished; None where there is none."""
    path = folder / RESULT
    return read_result(path, advice) if path.exists() else None


def read_result(path: Path, advice: str = TRAIN_AGAIN) -> dict[str, Any]:
    """A result from its file, or the FileError that it is none."""
    with reading_file(path, advice):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = content["experiment"].keys() | content.keys()
        if not names >= {"milestones", "seed", "history", "environment"}:
            raise ValueError(f"not all there: {sorted(names)}")
        for row in (content["last"], content["best"]):
            metrics = [value for name, value in row.items() if name not in ("epoch", "iteration")]
            if not metrics or not all(0 <= value <= 1 for value in metrics):
                raise ValueError(f"no metrics: {row}")
    return content
