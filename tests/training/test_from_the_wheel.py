"""The script of docs/training.md on what the wheel holds: two processes, killed and resumed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
PICTURES, SCRIPT = BLOCKS[:2]
# Rank 1 kills itself between backward and the optimizers of a step after the first checkpoint.
KILLED = """
import os, runpy, signal
import pml_gpw
from pml_gpw.training import Trainer

assert pml_gpw.__file__.startswith(os.getcwd()), "not what the wheel holds"
left, step = [15], Trainer.step_optimizers
def strike(trainer):
    left[0] -= 1
    if os.environ["RANK"] == "1" and not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    step(trainer)
Trainer.step_optimizers = strike
runpy.run_path("script.py")
"""


@pytest.fixture
def folder(tmp_path):
    """Pictures, scripts and the package, without the rest of the checkout."""
    shutil.copytree(ROOT / "pml_gpw", tmp_path / "pml_gpw", ignore=shutil.ignore_patterns("__py*"))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "killed.py").write_text(KILLED)
    subprocess.run([sys.executable, "-c", PICTURES], cwd=tmp_path, check=True)
    return tmp_path


def torchrun(folder, script):
    """Exit code and output of a script in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    own = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, script],
        cwd=folder,
        env={**os.environ, **own, "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def kept(folder):
    """Result and weights, out of the way of the next training."""
    run = folder / "runs" / "first"
    result = json.loads((run / "result.json").read_text())
    weights = torch.load(run / "last.pt", weights_only=True)
    shutil.rmtree(run)
    return result, weights


@pytest.mark.exhaustive
def test_killed_in_two_processes_it_ends_in_the_same_bits(folder):
    assert len(SCRIPT.strip().splitlines()) <= 25
    code, output = torchrun(folder, "script.py")
    assert code == 0, output
    assert output.count("map_at_r") == 2  # each process has the result
    result, weights = kept(folder)
    assert result["environment"].endswith("CPU, 2 processes")
    code, output = torchrun(folder, "killed.py")
    assert code != 0
    assert "SIGKILL" in output or "Signal 9" in output, output
    (checkpoint,) = (folder / "runs/first/checkpoints").glob("0*")
    assert checkpoint.name == "00001"
    code, output = torchrun(folder, "script.py")
    assert code == 0, output
    again, resumed = kept(folder)
    assert again == result
    torch.testing.assert_close(resumed, weights, rtol=0, atol=0)
