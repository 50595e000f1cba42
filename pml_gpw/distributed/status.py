"""Messages of the processes of a group before they exchange anything: reports and errors.

Whatever is exchanged comes directly after a status message. A process with an error goes to the
next status message, where the others wait for it, and so the error is raised on all of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..value_checks import eager_checks

T = TypeVar("T")


class GroupError(Exception):
    """An error of some process, raised on all of them."""


class GroupValueError(GroupError, ValueError):
    """A process was given arguments that it refuses."""


class GroupRuntimeError(GroupError, RuntimeError):
    """Something else went wrong on a process."""


def several_processes(group: Any) -> bool:
    """True where the group has others. Errors: ValueError where this process is none of it."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    if dist.get_rank(group) < 0:
        raise ValueError("group must have this process as a member")
    return dist.get_world_size(group) > 1


def global_rank(group: Any, rank: int) -> int:
    """The rank among all processes of the one of that rank in the group."""
    return rank if group is None else dist.get_global_rank(group, rank)


def on_wire(group: Any, values: Tensor) -> Tensor:
    """A contiguous copy where the backend of the group takes it: NCCL, on the current GPU only."""
    nccl = dist.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else values.device
    return values.to(device, copy=True, memory_format=torch.contiguous_format)


def all_gather_status(
    group: Any, report: Any = None, error: BaseException | None = None
) -> list[Any]:
    """The reports of all processes, by rank.

    Errors: on every process where one comes with an ``error``, so that none is left waiting for
    it: GroupValueError where it is a ValueError, else GroupRuntimeError.
    """
    told = None
    if error is not None:
        told = f"{error}" or type(error).__name__, isinstance(error, ValueError)
    everyone: list[Any] = [None] * dist.get_world_size(group)
    # A number first: most calls have nothing to tell, and objects take several messages.
    something = torch.tensor([report is not None or told is not None], dtype=torch.int64)
    something = on_wire(group, something)
    dist.all_reduce(something, dist.ReduceOp.MAX, group)
    if not something.item():
        return everyone
    dist.all_gather_object(everyone, (report, told), group)
    for rank, (_, failure) in enumerate(everyone):
        if failure is not None:
            text, about_arguments = failure
            kind = GroupValueError if about_arguments else GroupRuntimeError
            raise kind(f"rank {rank} of {len(everyone)}: {text}") from error
    return [report for report, _ in everyone]


@contextmanager
def propagate_errors(group: Any) -> Iterator[None]:
    """An error within becomes one of all processes, at the status message they come to next.

    Checks look at values at once, on accelerators too: the messages wait anyway.
    """
    try:
        with eager_checks():
            yield
    except GroupError:
        raise
    except Exception as error:
        all_gather_status(group, error=error)  # where the others wait
        raise


def in_step(group: Any, work: Callable[[], T]) -> T:
    """The result of ``work``, on every process, or an error on all of them where one has one."""
    with propagate_errors(group):
        result = work()
    all_gather_status(group)
    return result


def must_be_alike(reports: list[dict[str, Any]]) -> None:
    """Raise a ValueError, on all processes, for what their reports do not have in common."""
    for what in reports[0]:
        got = [each[what] for each in reports]
        if len(set(got)) > 1:
            every = ", ".join(str(value) for value in got)
            raise GroupValueError(f"{what} must be the same on all ranks, got {every}")
