"""Several processes that train together, as ``torchrun`` starts them; or one, as usual."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from pytorch_metric_learning.utils.distributed import (
    DistributedLossWrapper,
    DistributedMinerWrapper,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import GPWLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from .batch_norm import over_processes
from .faults import Fault

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=30)  # a process may wait for the first to write or to read


def started() -> int:
    """How many processes ``torchrun`` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(name: str) -> str:
    """ "cuda" as the GPU of this process among those of its machine."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if name == "cuda" and started() > 1 and local else name


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """The group of all processes for the time of a command; all but the first are silent."""
    if started() == 1 or dist.is_initialized():
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    stdout = sys.stdout
    try:
        with open(os.devnull, "w") as nowhere:
            sys.stdout = stdout if is_first() else nowhere
            yield
    finally:
        sys.stdout = stdout
        leave()


def leave() -> None:
    """End the group of all processes.

    Torch before 2.8 can hang when it frees a gloo group: the group's thread then waits for the GIL
    to free a last tensor, while the one who frees holds the GIL and waits for the thread.
    """
    time.sleep(0.1)  # time for the thread to let go
    dist.destroy_process_group()


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def from_first(value: Value) -> Value:
    """What the first process has, on all of them."""
    if world() == 1:
        return value
    held: list[Any] = [value]
    dist.broadcast_object_list(held)
    return held[0]


def first_reads(read: Callable[[], Value]) -> Value:
    """What the first process reads, or the fault that it meets, on all of them."""
    held: Any = None
    if is_first():
        try:
            held = read()
        except Fault as fault:
            held = fault
    held = from_first(held)
    if isinstance(held, Fault):
        raise held
    value: Value = held
    return value


def data_parallel(model: nn.Module) -> nn.Module:
    """The model, its gradients averaged and its batch normalisation taken over all processes."""
    if world() == 1:
        return model
    model = over_processes(model)
    with warnings.catch_warnings():
        # Of no use: buffers are alike, since each process has the statistics of the whole batch;
        # and in its way when only the first one evaluates. Its new name is too new.
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


def over_all(miner: nn.Module | None, loss: nn.Module) -> tuple[nn.Module | None, nn.Module]:
    """Miner and loss of the batches of all processes together.

    PML's losses go into PML's wrapper, which computes all of the loss in each process.
    """
    if world() == 1:
        return miner, loss
    within = loss.loss if isinstance(loss, CrossBatchMemory) else loss
    if isinstance(within, GPWLoss):
        return None, DistributedLoss(loss, miner)  # type: ignore[arg-type]
    wrapped = None if miner is None else DistributedMinerWrapper(miner)
    return wrapped, DistributedLossWrapper(loss)
