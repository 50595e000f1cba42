"""The script of docs/own_pictures.md on what the wheel holds, in two processes."""

import json
import shutil
from pathlib import Path

import pytest

from ..distributed.processes import by_torchrun
from ..docs.blocks import python_blocks

ROOT = Path(__file__).parents[2]


@pytest.mark.exhaustive
def test_the_script_of_the_documentation_in_two_processes(tmp_path, monkeypatch):
    pictures, script = python_blocks(ROOT / "docs" / "own_pictures.md")[:2]
    assert len(script.strip().splitlines()) <= 25
    shutil.copytree(ROOT / "pml_gpw", tmp_path / "pml_gpw", ignore=shutil.ignore_patterns("__py*"))
    (tmp_path / "script.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    exec(pictures, {})
    outputs = [by_torchrun(tmp_path, "script.py") for _ in range(2)]
    assert [output.count("map_at_r") for output in outputs] == [2, 2]  # each has the result
    result = json.loads((tmp_path / "runs/first/result.json").read_text())
    assert result["environment"].endswith("CPU, 2 processes")
