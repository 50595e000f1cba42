"""Pair weights during training, logged at the end of iterations."""

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .. import checks
from ..engine import PairBatch
from .pair_weights import pair_weights
from .readers import reader_of

ARGUMENTS = ("embeddings", "labels", "indices_tuple", "ref_emb", "ref_labels", "self_index", "own")
"""Of a loss, in their order."""


class PairWeightRecorder:
    """An ``end_of_iteration_hook`` of PML's trainers that logs where a loss puts its weight.

    Every ``every`` iterations it takes the batch that the loss has just seen, with what was mined
    from it, and records the summary of its pair weights. In your own loop, call it with the
    number of the iteration. The records are also kept in ``history``. Calls of the loss without
    labels are not recorded; a loss that draws triplets at random draws others for the record.

    Args:
        loss: the loss in training, one that :func:`pair_weights` takes.
        every: iterations from one record to the next.
        record_keeper: of record-keeper, which PML's ``logging_presets`` make; None: history only.
        also: another hook to call as well, such as ``hooks.end_of_iteration_hook`` of PML's
            ``HookContainer``.
        name: of the table of records, and what the names of logged figures begin with.
        log: called as ``log(figures, iteration)`` with each summary, a dict of floats by names such
            as "pair_weights/effective_pairs": ``wandb.log``, ``mlflow.log_metrics`` or a function.

    Errors: ValueError for ``every`` < 1, a wrapper of losses, and arguments of another kind.

    >>> import torch
    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss()
    >>> recorder = PairWeightRecorder(loss, every=2)
    >>> for step in range(1, 5):
    ...     value = loss(torch.rand(8, 3), torch.arange(8) % 2)
    ...     recorder(step)
    >>> [record["iteration"] for record in recorder.history]
    [2, 4]

    A logger of your own:

    >>> def log(figures, step):
    ...     print(step, *figures)
    >>> recorder = PairWeightRecorder(loss, every=1, log=log)
    >>> value = loss(torch.rand(8, 3), torch.arange(8) % 2)
    >>> recorder(5)  # doctest: +ELLIPSIS
    5 pair_weights/effective_pairs pair_weights/effective_share ... pair_weights/total
    """

    def __init__(
        self,
        loss: nn.Module,
        every: int = 50,
        record_keeper: Any = None,
        also: Callable[[Any], Any] | None = None,
        name: str = "pair_weights",
        log: Callable[[dict[str, float], int], Any] | None = None,
    ) -> None:
        reader_of(loss)
        checks.positive_integer("every", every)
        checks.module_like("also", also)
        checks.module_like("log", log)
        checks.instance("name", name, str)
        if record_keeper is not None and not hasattr(record_keeper, "update_records"):
            raise ValueError(
                f"record_keeper must be None or a RecordKeeper, got {type(record_keeper).__name__}"
            )
        self.loss, self.every, self.record_keeper = loss, every, record_keeper
        self.also, self.name, self.log = also, name, log
        self.history: list[dict[str, float]] = []
        self._listener = _Listener()
        self._handle = loss.register_forward_pre_hook(self._listener, with_kwargs=True)
        # torch asks whether the hook is in this dict and not for its value; PML's logging records
        # the values of all dicts of a loss, and fails on the number that is the key of a True.
        kept: dict[int, Any] = loss._forward_pre_hooks_with_kwargs
        kept[self._handle.id] = None

    def __call__(self, trainer: Any) -> None:
        """The hook; ``trainer`` of PML, or the number of the iteration."""
        if self.also is not None:
            self.also(trainer)
        iteration = _iteration_of(trainer)
        seen = self._listener.last.arguments
        if iteration % self.every or not _has_labels(seen):
            return
        summary = pair_weights(self.loss, **seen).summary()
        self.history.append({"iteration": iteration, **summary})
        if self.record_keeper is not None:
            self.record_keeper.update_records(summary, iteration, parent_name=self.name)
        if self.log is not None:
            figures = {f"{self.name}/{figure}": value for figure, value in summary.items()}
            self.log(figures, iteration)

    def close(self) -> None:
        """Stop listening to the loss."""
        self._handle.remove()
        self._listener.last = _Call()


def _iteration_of(trainer: Any) -> int:
    """The number of the iteration, given by itself or by a trainer."""
    try:
        return operator.index(trainer)
    except TypeError:
        pass
    if not hasattr(trainer, "get_global_iteration"):
        raise ValueError(
            "trainer must be a trainer of pytorch-metric-learning or the number of the iteration, "
            f"got {trainer!r}"
        )
    iteration: int = trainer.get_global_iteration()
    return iteration


class _Call:
    """The arguments of a call. Not a plain dict, into which PML's logging would look."""

    def __init__(self, arguments: dict[str, Any] | None = None) -> None:
        self.arguments = arguments or {}


class _Listener:
    """The latest arguments of a loss. A copy of a loss has a listener that does not listen."""

    def __init__(self, listens: bool = True) -> None:
        self.listens = listens
        self.last = _Call()

    def __call__(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.listens:
            return
        given = {**dict(zip(ARGUMENTS, args, strict=False)), **kwargs}
        self.last = _Call({name: _detached(given[name]) for name in ARGUMENTS if name in given})

    def __reduce__(self) -> tuple[type["_Listener"], tuple[bool]]:
        return _Listener, (False,)


def _has_labels(arguments: dict[str, Any]) -> bool:
    batch = arguments.get("embeddings")
    labels = batch.labels if isinstance(batch, PairBatch) else arguments.get("labels")
    return labels is not None


def _detached(value: Any) -> Any:
    """A value without its graph, which would otherwise be kept until the next call."""
    if isinstance(value, PairBatch):
        return value.detached()
    return value.detach() if isinstance(value, Tensor) else value
