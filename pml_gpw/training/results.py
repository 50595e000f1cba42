"""The result of a training that is finished, as its folder keeps it."""

import json
from math import nan
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
        for row in (*content["history"], content["last"], content["best"]):
            row |= {name: nan for name, value in row.items() if value is None}
            metrics = [value for name, value in row.items() if name not in ("epoch", "iteration")]
            if not metrics or any(value < 0 or value > 1 for value in metrics):
                raise ValueError(f"no metrics: {row}")
    return content


def as_json(result: dict[str, Any]) -> str:
    """The text of a result, in which null stands for NaN, which JSON does not know."""
    return json.dumps(_without_nan(result), indent=1, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if value != value else value
