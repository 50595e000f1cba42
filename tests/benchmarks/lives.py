"""Trainings in processes of their own, some of which kill themselves at a named point."""

import os
import signal
import traceback

import torch

from .kills import POINTS
from .small_runs import run


def _live(arguments, log, point=None, nth=1, environment=()):
    """One life of ``python -m benchmarks.paper`` in this process, which it does not outlive."""
    code = 1
    try:
        signal.alarm(120)  # seconds until a life counts as hung
        os.environ.update(environment)
        torch.set_num_threads(1)
        if point is not None:
            POINTS[point].kill_at(nth)
        result = run("paper", *arguments)
        code = result.exit_code
        with open(log, "a") as file:
            file.write(result.output)
            traceback.print_exception(result.exception, file=file)
    finally:
        os._exit(code)


def lives(*together):
    """The exit codes of lives side by side; one that is killed ends the others, as by torchrun."""
    running, codes = {}, [None] * len(together)
    for place, life in enumerate(together):
        pid = os.fork()
        if pid == 0:
            _live(**life)
        running[pid] = place
    while running:
        pid, status = os.waitpid(-1, 0)
        codes[running.pop(pid)] = code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            for other in running:
                os.kill(other, signal.SIGKILL)
    return codes
