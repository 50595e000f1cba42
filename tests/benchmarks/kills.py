"""Trainings that kill themselves at named points, in processes of their own.

A server that has imported everything forks a process for each life of a training; the point at
which a life ends is wrapped around a function of the harness before it starts.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import record_keeper
import timm  # noqa: F401  # so that no life has to import it
import torch
import torch.utils.tensorboard
import typer

from benchmarks import experiment, paper
from benchmarks.trainer import Trainer
from pml_gpw.datasets import CUB200

ROOT = Path(__file__).parents[2]
PATIENCE = 120
"""Seconds until lives count as hung."""


class Strike:
    """Kills this process at the ``nth`` time that its point is reached."""

    def __init__(self, nth):
        self.left = nth

    def is_due(self):
        self.left -= 1
        return self.left == 0

    def __call__(self):
        if self.is_due():
            self.kill()

    @staticmethod
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)


def around(owner, name, before=None, after=None):
    """Let ``before`` and ``after`` see the arguments of each call of a function."""
    real = getattr(owner, name)

    def wrapped(*args, **kwargs):
        if before is not None:
            before(*args, **kwargs)
        result = real(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


# --- points: each installs its strike ------------------------------------------------------------


def between_backward_and_the_optimizers(strike):
    around(Trainer, "step_optimizers", before=lambda *_: strike())


def between_the_steps_of_two_optimizers(strike):
    """The trunk has made its step, the embedding layer has not."""
    steps = []

    def after(*_, **__):
        steps.append(1)
        if len(steps) % 2:
            strike()

    around(torch.optim.Adam, "step", after=after)


def while_the_images_of_an_evaluation_are_read(strike):
    real = experiment.distributed_dataset_recall

    def evaluate(*args, **kwargs):
        item = CUB200.__getitem__

        def read(*args):
            strike()
            return item(*args)

        CUB200.__getitem__ = read
        try:
            return real(*args, **kwargs)
        finally:
            CUB200.__getitem__ = item

    experiment.distributed_dataset_recall = evaluate


def after_an_evaluation(strike):
    around(experiment, "distributed_dataset_recall", after=lambda *_, **__: strike())


def between_the_csv_and_the_database_of_the_logs(strike):
    def before(_, group, *__, **___):
        if group == "recall":
            strike()

    around(record_keeper.record_keeper.DBManager, "write", before=before)


def in_the_middle_of_a_checkpoints_file(strike):
    def after(_, path, *__, **___):
        if Path(path).name == "state.pt" and strike.is_due():
            os.truncate(path, Path(path).stat().st_size // 2)
            strike.kill()

    around(torch, "save", after=after)


def _renaming(strike, is_meant, **when):
    def see(_, target):
        if is_meant(Path(target)):
            strike()

    around(os, "replace", **{"before" if when["before"] else "after": see})


def before_a_checkpoint_is_renamed(strike):
    _renaming(strike, lambda path: path.parent.name == "checkpoints", before=True)


def after_a_checkpoint_is_renamed(strike):
    _renaming(strike, lambda path: path.parent.name == "checkpoints", before=False)


def _removing(strike, is_meant):
    """A folder's state is gone and the rest of it is not."""

    def before(path, *_, **__):
        path = Path(path)
        if is_meant(path) and path.exists() and strike.is_due():
            next(path.rglob("state.pt")).unlink()
            strike.kill()

    around(shutil, "rmtree", before=before)


def while_an_earlier_checkpoint_is_removed(strike):
    _removing(strike, lambda path: path.parent.name == "checkpoints")


def while_the_logs_are_put_back(strike):
    """Those of the killed life are removed, those of the checkpoint not yet there."""

    def before(source, target, *_, **__):
        if Path(source).parent.parent.name == "checkpoints" and Path(target).name == "logs":
            strike()

    around(shutil, "copytree", before=before)


def before_the_last_weights_are_renamed(strike):
    _renaming(strike, lambda path: path.name == "last.pt", before=True)


def between_the_last_and_the_best_weights(strike):
    _renaming(strike, lambda path: path.name == "last.pt", before=False)


def before_the_result_is_renamed(strike):
    _renaming(strike, lambda path: path.name == "result.json", before=True)


def after_the_result_is_renamed(strike):
    _renaming(strike, lambda path: path.name == "result.json", before=False)


def while_the_checkpoints_of_a_finished_run_are_removed(strike):
    _removing(strike, lambda path: path.name == "checkpoints")


# --- lives ---------------------------------------------------------------------------------------


def _command(arguments, point, nth):
    if point is not None:
        globals()[point](Strike(nth))
    app = typer.Typer()
    app.command()(paper.main)
    app(arguments, standalone_mode=False)


def kill_rank(rank, point, nth, arguments):
    """The command in one of the processes that ``torchrun`` starts; ``rank`` is to be killed."""
    _command(arguments, point if int(os.environ["RANK"]) == rank else None, nth)


def _live(arguments, log, point=None, nth=1, environment=()):
    """One life of ``python -m benchmarks.paper`` in this process, which it does not outlive."""
    code = 1
    try:
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(environment)
        torch.set_num_threads(1)
        _command(arguments, point, nth)
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
