"""The script of docs/own_pictures.md on what the wheel holds, in two processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..docs.blocks import python_blocks

ROOT = Path(__file__).parents[2]


def run(folder, *command):
    """The output of Python in a folder that has the package, without the rest of the checkout."""
    own = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **own, "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.exhaustive
def test_the_script_of_the_documentation_in_two_processes(tmp_path):
    pictures, script = python_blocks(ROOT / "docs" / "own_pictures.md")[:2]
    assert len(script.strip().splitlines()) <= 25
    shutil.copytree(ROOT / "pml_gpw", tmp_path / "pml_gpw", ignore=shutil.ignore_patterns("__py*"))
    (tmp_path / "script.py").write_text(script)
    run(tmp_path, "-c", pictures)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    outputs = [run(tmp_path, *torchrun, "script.py") for _ in range(2)]
    assert [output.count("map_at_r") for output in outputs] == [2, 2]  # each has the result
    result = json.loads((tmp_path / "runs/first/result.json").read_text())
    assert result["environment"].endswith("CPU, 2 processes")
