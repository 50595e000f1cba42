"""Trainings in processes of their own, some of which kill themselves at a named point.

A server that has imported everything forks a process for each life of a training.
"""

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import timm  # noqa: F401  # so that no life has to import it
import torch
import torch.utils.tensorboard
import typer

from benchmarks import paper

from .kills import POINTS

ROOT = Path(__file__).parents[2]
PATIENCE = 120
"""Seconds until lives count as hung."""


def _live(arguments, log, point=None, nth=1, environment=()):
    """One life of ``python -m benchmarks.paper`` in this process, which it does not outlive."""
    code = 1
    try:
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(environment)
        torch.set_num_threads(1)
        if point is not None:
            POINTS[point].kill_at(nth)
        app = typer.Typer()
        app.command()(paper.main)
        code = app(arguments, standalone_mode=False) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _lives(together):
    """Lives side by side; when one is killed, so are the others, as by ``torchrun``."""
    running, codes = {}, [None] * len(together)
    for place, life in enumerate(together):
        pid = os.fork()
        if pid == 0:
            _live(**life)
        running[pid] = place
    while running:
        pid, status = os.wait()
        codes[running.pop(pid)] = code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            for other in running:
                os.kill(other, signal.SIGKILL)
    return codes


def serve():
    for line in sys.stdin:
        print(json.dumps(_lives(json.loads(line))), flush=True)


class Server:
    """Answers what became of processes: their exit codes."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *together):
        self.process.stdin.write(json.dumps(together) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.stop()
            raise TimeoutError(f"lives that go on after {PATIENCE} seconds")
        return json.loads(self.process.stdout.readline())

    def stop(self):
        """Ends the server and what it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
