"""Readers of losses, for their pair weights: of plain modules here, of PML's in its host.

Shapes: N anchors, M references.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from ..engine import PairBatch, Similarity
from ..engine.similarity import GivenSimilarities
from ..hosts import host
from ..modules.copies import copy_of, same_random_numbers
from ..modules.gpw_loss import PairLoss


class LossReader(Protocol):
    """A reader of losses of one kind."""

    def measure(self, loss: Any) -> Similarity:
        """The similarity by which the loss compares pairs."""

    def summing(self, loss: Any) -> Any:
        """A copy of the loss that sums its terms, whatever mean it took."""

    def gradient(
        self, loss: Any, sim: Tensor, batch: PairBatch, indices_tuple: Any = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient (N, M) with respect to the similarities ``sim`` (N, M).

        Losses of this package weigh the pairs of the batch, others those of ``indices_tuple``,
        which is theirs to read. The loss is left as it was. Errors: ValueError for a loss that does
        not act through similarities of pairs alone.
        """


class PlainReader:
    """The reader of the plain modules of this package.

    >>> import torch
    >>> from pml_gpw.modules import MSWeightedLoss
    >>> x, labels = torch.eye(2), torch.tensor([0, 0])
    >>> from pml_gpw.arguments import pair_batch
    >>> PlainReader().gradient(MSWeightedLoss(), x @ x.T, pair_batch(x, labels))[1]
    tensor([[ 0.0000, -0.3655],
            [-0.3655,  0.0000]])
    """

    def measure(self, loss: PairLoss) -> Similarity:
        """The similarity of the loss."""
        return loss.measure()

    def summing(self, loss: Any) -> Any:
        """A copy with the reduction "sum"."""
        twin = copy_of(loss)
        twin.reduction = "sum"
        return twin

    def gradient(
        self, loss: Any, sim: Tensor, batch: PairBatch, indices_tuple: Any = None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`LossReader.gradient`."""
        twin = copy_of(loss)
        twin.pass_silently()
        with torch.inference_mode(False), torch.enable_grad(), same_random_numbers(sim):
            leaf = sim.detach().clone().requires_grad_()
            twin.__dict__["measure"] = lambda: GivenSimilarities(
                leaf, loss.measure().is_negated_distance
            )
            value = twin(batch.detached())
            if value.numel() != 1:
                raise ValueError("loss must have a reduction that gives one number, as the mean")
            (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
        return value.detach(), torch.zeros_like(sim) if gradient is None else gradient


def reader_of(loss: Any) -> LossReader:
    """The reader of a loss; ValueError for what is no loss or a wrapper of one.

    >>> reader_of(None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: loss must be a loss of pairs (for a wrapper such as CrossBatchMemory or ...
    """
    if host == "pml2":
        from ..hosts.pml2.loss_reader import PMLReader, is_loss

        if is_loss(loss):
            return PMLReader()
    if isinstance(loss, PairLoss):
        return PlainReader()
    raise ValueError(
        "loss must be a loss of pairs (for a wrapper such as CrossBatchMemory or "
        f"SelfSupervisedLoss: the loss inside it), got {type(loss).__name__}"
    )
