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

from benchmarks import accuracy, paper

from . import kills

ROOT = Path(__file__).parents[2]
PATIENCE = 120
"""Seconds until lives count as hung."""


COMMANDS = {"paper": paper.main, "accuracy": accuracy.main}


def _command(arguments, point, nth, command="paper"):
    if point is not None:
        getattr(kills, point)(kills.Strike(nth))
    app = typer.Typer()
    app.command()(COMMANDS[command])
    if code := app(arguments, standalone_mode=False):
        raise SystemExit(code)


def kill_rank(rank, point, nth, arguments):
    """The command in one of the processes that ``torchrun`` starts; ``rank`` is to be killed."""
    _command(arguments, point if int(os.environ["RANK"]) == rank else None, nth)


def _live(arguments, log, point=None, nth=1, environment=(), command="paper"):
    """One life of ``python -m benchmarks.<command>`` in this process, which it does not outlive."""
    code = 1
    try:
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(environment)
        torch.set_num_threads(1)
        _command(arguments, point, nth, command)
        code = 0
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
