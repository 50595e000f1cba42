"""Several processes that train together, as ``torchrun`` starts them; or one, as usual.

Functions that know of no group give what is right for one process, so that code needs no branch.
"""

import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .. import checks
from ..distributed import DistributedLoss
from ..hosts import host
from ..modules import CrossBatchMemory, GPWLoss
from .batch_norm import convert_batch_norm

Value = TypeVar("Value")
TIMEOUT = timedelta(minutes=30)  # a process may wait for the first to write or to read


def launched_processes() -> int:
    """The number of processes that ``torchrun`` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def default_device() -> str:
    """The GPU of this process, or the CPU where there is none."""
    return local_device("cuda") if torch.cuda.is_available() else "cpu"


def local_device(name: str) -> str:
    """The name of a device; "cuda" as the GPU of this process among those of its machine."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if name == "cuda" and launched_processes() > 1 and local else name


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The default group of all processes that ``torchrun`` has started, for the time of a block.

    Meanwhile only the first process prints. Without ``torchrun``, and where there is a group
    already, the block runs as it is. A collective that waits for 30 minutes is an error.

    Args:
        device: where this process computes. The group is of NCCL for a GPU, which becomes the
            current one, and of gloo for any other device.

    Errors: ValueError for what is no ``torch.device``.

    Example:
        One process, without ``torchrun``.

        >>> import torch
        >>> from pml_gpw.training import process_group
        >>> with process_group(torch.device("cpu")):
        ...     torch.distributed.is_initialized()
        False
    """
    checks.instance("device", device, torch.device)
    if launched_processes() == 1 or dist.is_initialized():
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    stdout = sys.stdout
    try:
        with open(os.devnull, "w") as nowhere:
            sys.stdout = stdout if is_first() else nowhere
            yield
    finally:
        sys.stdout = stdout
        destroy_process_group()


def destroy_process_group() -> None:
    """End the group of all processes.

    Torch before 2.8 can hang when it frees a gloo group: the group's thread then waits for the GIL
    to free a last tensor, while the one who frees holds the GIL and waits for the thread.
    """
    time.sleep(0.1)  # time for the thread to let go
    dist.destroy_process_group()


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _has_group() else 1


def rank() -> int:
    """The rank of this process among them."""
    return dist.get_rank() if _has_group() else 0


def is_first() -> bool:
    """True in the process that writes."""
    return rank() == 0


def from_first(value: Value) -> Value:
    """The value of the first process, on all of them."""
    if world_size() == 1:
        return value
    held: list[Any] = [value]
    dist.broadcast_object_list(held)
    return held[0]


def read_by_first(read: Callable[[], Value]) -> Value:
    """The value that the first process reads, or the error that it meets, on all of them."""
    outcome: Any = None
    if is_first():
        try:
            outcome = read(), None
        except Exception as error:
            outcome = None, _sendable(error)
    value: Value
    value, failure = from_first(outcome)
    if failure is not None:
        raise failure
    return value


def data_parallel(model: nn.Module) -> nn.Module:
    """The model for training over all processes, in which parameters get the gradient of one.

    Gradients are averaged by ``DistributedDataParallel``, and batch normalization is taken over all
    processes by :func:`convert_batch_norm`, which changes the layers of ``model`` itself. Together
    with :func:`loss_over_processes` a step is that of one process with all images, up to rounding.

    Args:
        model: a model on the device of this process, the same on all processes.

    Returns:
        The wrapped model; the model itself in a group of one, without a group, and where it has
        nothing to train.

    Errors: ValueError for what is no ``nn.Module``.

    Example:
        One process.

        >>> import torch
        >>> from pml_gpw.training import data_parallel
        >>> model = torch.nn.Linear(2, 2)
        >>> data_parallel(model) is model
        True
    """
    checks.instance("model", model, nn.Module)
    if world_size() == 1 or not any(each.requires_grad for each in model.parameters()):
        return model
    model = convert_batch_norm(model)
    with warnings.catch_warnings():
        # Of no use: buffers are alike, since each process has the statistics of the whole batch;
        # and in its way when only the first one evaluates. Its new name is too new.
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False)


def loss_over_processes(
    miner: nn.Module | None, loss: nn.Module
) -> tuple[nn.Module | None, nn.Module]:
    """Miner and loss of the batches of all processes together.

    A loss of this package, also in a ``CrossBatchMemory``, becomes a ``DistributedLoss`` that holds
    the miner. A loss of PML goes into PML's wrapper, which computes all of it in each process.

    Args:
        miner: a miner, or None.
        loss: a loss of this package or of PML.

    Returns:
        Miner, or None, and loss; those given in a group of one or without a group.

    Errors: ValueError for what is no ``nn.Module``.

    Example:
        One process.

        >>> from pml_gpw import MSMiner, MSWeightedLoss
        >>> from pml_gpw.training import loss_over_processes
        >>> miner, loss = loss_over_processes(MSMiner(), MSWeightedLoss())
        >>> type(miner).__name__, type(loss).__name__
        ('MSMiner', 'MSWeightedLoss')
    """
    check_loss_and_miner(loss, miner)
    if world_size() == 1:
        return miner, loss
    within = loss.loss if isinstance(loss, CrossBatchMemory) else loss
    if isinstance(within, GPWLoss):
        return None, DistributedLoss(loss, miner)  # type: ignore[arg-type]
    if host != "pml2":
        raise ValueError(
            f"loss must be a loss of pml_gpw to train over several processes, got "
            f"{type(loss).__name__}: the wrappers of others come with pytorch-metric-learning 2.9, "
            'pip install "pml-gpw[pml]"'
        )
    from ..hosts.pml2.processes import wrapped

    return wrapped(miner, loss)


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _sendable(error: Exception) -> Exception:
    """The error, or its text where it cannot be sent to other processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def check_loss_and_miner(loss: object, miner: object) -> None:
    """Refuse what is no module; a rule by itself with the name of what it belongs into."""
    checks.instance("loss", loss, nn.Module)
    if miner is not None:
        checks.instance("miner", miner, nn.Module)
