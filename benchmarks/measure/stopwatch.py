"""Time and peak memory of methods that do the same job."""

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Marks = list[float]
Step = Callable[[], Marks]
"""Runs once and returns points in time: begin, after forward (if it has two parts), end."""


def now(device: str = "cpu") -> float:
    """Seconds, once all work that the device was given is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass
class Times:
    """Milliseconds of each repetition."""

    whole: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    def add(self, marks: Marks) -> None:
        """One repetition."""
        self.whole.append(1e3 * (marks[-1] - marks[0]))
        if len(marks) == 3:
            self.forward.append(1e3 * (marks[1] - marks[0]))
            self.backward.append(1e3 * (marks[2] - marks[1]))

    def summary(self) -> dict[str, float]:
        """Medians, and the quartiles of the whole."""
        ends = statistics.quantiles(self.whole, n=4) if len(self.whole) > 1 else [self.whole[0]] * 3
        result = {"ms": statistics.median(self.whole), "ms_q1": ends[0], "ms_q3": ends[2]}
        if self.forward:
            result["forward_ms"] = statistics.median(self.forward)
            result["backward_ms"] = statistics.median(self.backward)
        return {**result, "repetitions": len(self.whole)}


def time_in_turns(steps: dict[str, Step], seconds: float, least: int = 3) -> dict[str, Times]:
    """Each step in turn until each has had ``seconds``, after a warm-up.

    In turns, so that a machine that slows down slows down all. A step that has had its time is
    left out of further turns; each has ``least`` repetitions.
    """
    times = {name: Times() for name in steps}
    for step in steps.values():
        step()
    while left := [
        name
        for name, t in times.items()
        if len(t.whole) < least or (sum(t.whole) < 1e3 * seconds and len(t.whole) < 1000)
    ]:
        for name in left:
            times[name].add(steps[name]())
    return times


PEAK_STEPS, PEAK_PROCESSES = 3, 3
"""An allocator reuses memory in one way or another: the peak of a process grows with its steps, and
another process may take another one."""


def peak_megabytes(make: Callable[..., Step], *arguments: Any) -> float:
    """Peak memory of several steps beyond their inputs, backward included; of processes the worst.

    ``make(*arguments)`` is called in each process and holds the inputs. NaN where the system does
    not tell (Linux tells).
    """
    # One after another: threads of several that wait for each other take many times as long.
    return max(in_a_process(_peak, make, arguments) for _ in range(PEAK_PROCESSES))


def in_a_process(function: Callable[..., float], *arguments: Any) -> float:
    """What a function gives in a process of its own, with as many threads as this one."""
    pool = multiprocessing.get_context("spawn").Pool(
        1, torch.set_num_threads, (torch.get_num_threads(),)
    )
    try:
        return pool.apply(function, arguments)
    finally:  # closed rather than ended, so that the process cleans up behind itself
        pool.close()
        pool.join()


def _peak(make: Callable[..., Step], arguments: Iterable[Any]) -> float:
    return peak_here(make(*arguments))


def peak_here(step: Callable[[], object], repetitions: int = PEAK_STEPS) -> float:
    """Peak memory of steps in this process, in MiB beyond what is held before them."""
    tiny = torch.rand(200, 8, requires_grad=True)  # what torch allocates once, for any product
    (tiny @ tiny.T).sum().backward()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        for _ in range(repetitions):
            step()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    for _ in range(repetitions):
        step()
    return (_status("VmHWM") - before) / 2**10


def _status(name: str) -> float:
    """A figure of this process, in KiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return float(found[1]) if found else float("nan")
