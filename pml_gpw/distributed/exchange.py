"""Messages between the processes of a group in one call, by which all hear the error of one.

All of them send the same messages in the same order, and each message has room for a flag. A
process with an error sends the message that the others wait for, with the flag set; only then do
all exchange what went wrong, and raise it. Room is made before the message that precedes it.

Shapes: N rows of all processes, in the order of ranks; n of them are this process's.
"""

import math
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..value_checks import eager_checks

STATUS_BYTES = 1024
"""Room for the report of a process; longer ones take some more messages."""


Part = tuple[Sequence[int], Tensor]
"""The rows of each process, counted by rank, and those (n, …) of this one, or some like them."""


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


def default_group() -> Any:
    """The group of all processes; None where there is none."""
    return dist.group.WORLD if dist.is_available() and dist.is_initialized() else None


class Exchange:
    """The messages of one call, of the processes of a group, or of this one alone for None.

    ``error`` is what went wrong here; the next message tells it. ``expected`` is the message that
    the other processes wait for next, where it is none of :meth:`tell`.
    """

    def __init__(self, group: Any) -> None:
        self.group, self.rank, self.world = group, 0, 1
        if group is not None and several_processes(group):
            self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        self.error: Exception | None = None
        self.expected: Rows | None = None
        self.sums: dict[int, Sums] = {}

    def local(self, sizes: Sequence[int]) -> slice:
        """The place of this process's rows among those of all, which have ``sizes`` of them."""
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def share(self, size: int) -> range:
        """The rows that are this process's where all divide ``size`` of them."""
        return range(self.rank * size // self.world, (self.rank + 1) * size // self.world)

    @contextmanager
    def errors(self, keep: bool = False) -> Iterator[None]:
        """An error within becomes one of all processes, with the message that they wait for.

        ``keep``: this process goes on until its next message. Checks look at values at once, on
        accelerators too: the messages wait anyway.
        """
        try:
            with eager_checks():
                yield
        except GroupError:
            raise
        except Exception as error:
            if self.world == 1:
                raise
            self.error = error
            if keep:
                return
            if self.expected is not None:
                self.expected.send()
            self.tell()

    def tell(self, report: Any = None) -> list[Any]:
        """The reports of all processes, by rank.

        Errors: on every process where one has an ``error``: GroupValueError where it is a
        ValueError, else GroupRuntimeError.
        """
        if self.world == 1:
            return [report]
        failure = None
        if (error := self.error) is not None:
            failure = f"{error}" or type(error).__name__, isinstance(error, ValueError)
        told = report, failure
        pickled = pickle.dumps(told)
        fits = len(pickled) <= STATUS_BYTES
        padded = bytearray((pickled if fits else pickle.dumps(None)).ljust(STATUS_BYTES, b"\0"))
        room = self.on_wire(torch.frombuffer(padded, dtype=torch.uint8))
        received = [torch.empty_like(room) for _ in range(self.world)]
        dist.all_gather(received, room, self.group)
        everyone = [pickle.loads(each.cpu().numpy().tobytes()) for each in received]
        if None in everyone:
            dist.all_gather_object(everyone, told, self.group)
        for rank, (_, failure) in enumerate(everyone):
            if failure is not None:
                text, about_arguments = failure
                kind = GroupValueError if about_arguments else GroupRuntimeError
                raise kind(f"rank {rank} of {self.world}: {text}") from error
        return [report for report, _ in everyone]

    def expect(self, *parts: Part) -> "Rows":
        """The next message, with rows of all processes."""
        self.expected = Rows(self, parts)
        return self.expected

    def gather(self, *parts: Part) -> list[Tensor]:
        """The rows (N, …) of all processes, from those of this one, of each part.

        Room is made before anything is sent, so that a process without memory is heard.
        """
        if self.world == 1:
            return [rows for _, rows in parts]
        message = Rows(self, parts)
        self.tell()
        self.expected = message
        return message.send(*(rows for _, rows in parts))

    def on_wire(self, values: Tensor) -> Tensor:
        """The values where the backend of the group takes them: NCCL, on the current GPU only."""
        nccl = self.world > 1 and dist.get_backend(self.group) == "nccl"
        return values.to(torch.device("cuda", torch.cuda.current_device()) if nccl else values)


class Rows:
    """A message with the rows of all processes, as bytes behind a flag."""

    def __init__(self, exchange: Exchange, parts: Sequence[Part]) -> None:
        self.exchange, self.parts = exchange, parts
        widths = [like[:0].element_size() * math.prod(like.shape[1:]) for _, like in parts]
        self.lengths = [  # of the flag and of each part, by rank
            [1, *(part[0][rank] * width for part, width in zip(parts, widths, strict=True))]
            for rank in range(exchange.world)
        ]
        longest = max(map(sum, self.lengths))
        self.room = exchange.on_wire(parts[0][1].new_empty(longest, dtype=torch.uint8))
        self.received = [torch.empty_like(self.room) for _ in self.lengths]

    def send(self, *rows: Tensor) -> list[Tensor]:
        """The rows (N, …) of all processes, of each tensor (n, …); an error is raised on all."""
        exchange = self.exchange
        if exchange.world == 1:
            return [*rows]
        flag = self.room.new_tensor([exchange.error is not None])
        raw = (values.detach().contiguous().view(-1).view(torch.uint8) for values in rows)
        room = self._split(self.room, exchange.rank)
        for target, values in zip(room, (flag, *raw), strict=False):
            target.copy_(values)
        exchange.expected = None
        dist.all_gather(self.received, self.room, exchange.group)
        flags, *columns = zip(*map(self._split, self.received, range(exchange.world)), strict=True)
        if bool(torch.cat(flags).any()):
            exchange.tell()
        return [
            torch.cat(column).to(like.device).view(like.dtype).view(-1, *like.shape[1:])
            for column, (_, like) in zip(columns, self.parts, strict=True)
        ]

    def _split(self, room: Tensor, rank: int) -> tuple[Tensor, ...]:
        lengths = self.lengths[rank]
        return room[: sum(lengths)].split(lengths)


class Sums:
    """A message with sums over processes of tensors of the same shapes on all, and a flag."""

    def __init__(self, exchange: Exchange, likes: Sequence[Tensor]) -> None:
        self.exchange, self.likes = exchange, likes
        size = sum(like.numel() for like in likes)
        widest = reduce(torch.promote_types, [like.dtype for like in likes])
        self.room = exchange.on_wire(likes[0].new_zeros(size + 1, dtype=widest))

    def send(self, *tensors: Tensor) -> list[Tensor]:
        """The sums, on every process; an error is raised on all of them."""
        start = 0
        for values in tensors:
            self.room[start : start + values.numel()] = values.reshape(-1)
            start += values.numel()
        self.room[-1] = self.exchange.error is not None
        dist.all_reduce(self.room, group=self.exchange.group)
        if bool(self.room[-1]):
            self.exchange.tell()
        parts = self.room[:-1].split([like.numel() for like in self.likes])
        return [
            part.view(like.shape).to(like) for part, like in zip(parts, self.likes, strict=True)
        ]


def kind_of(values: Any) -> str:
    """The kind of the rows of an argument, which has to be the same on all processes."""
    if not isinstance(values, Tensor):
        return "None" if values is None else "given"
    return f"{values.dtype} (n, {', '.join(map(str, values.shape[1:]))})"


def must_be_alike(reports: list[dict[str, Any]]) -> None:
    """Raise a ValueError, on all processes, for what their reports do not have in common."""
    for what in reports[0]:
        if len({each[what] for each in reports}) > 1:
            got = ", ".join(str(each[what]) for each in reports)
            raise GroupValueError(f"{what} must be the same on all ranks, got {got}")
