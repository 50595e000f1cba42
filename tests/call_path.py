"""Files of the package on the way of a call: `python -m tests.call_path`."""

import sys
import threading
from collections import Counter
from pathlib import Path

import torch

import pml_gpw

PACKAGE = Path(pml_gpw.__file__).parent


def files_on_the_way(step):
    """How many functions of each file of the package a step calls, backward included."""
    calls = Counter()

    def note(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)):
            calls[str(Path(path).relative_to(PACKAGE))] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def step_of(loss, n=100, dims=32):
    """A step of a loss of embeddings and labels, to its gradient."""
    x = torch.randn(n, dims, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(n) // 5
    loss(x, labels)  # what is made once
    return lambda: loss(x, labels).backward()


if __name__ == "__main__":
    calls = files_on_the_way(step_of(pml_gpw.MSLoss()))
    print(f"MSLoss at N = 100: {len(calls)} files, {sum(calls.values())} calls")
    for path, number in calls.most_common():
        print(f"{number:5}  {path}")
