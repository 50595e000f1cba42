"""Errors after the embeddings have been gathered, in forward and in backward, reach all."""

from dataclasses import dataclass
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.reducers import MeanReducer, ThresholdReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.distributed import DistributedLoss, exchange
from pml_gpw.engine.reduction import NONE
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.weightings import MultiSimilarity

from ..partition import partitioned_batch
from .errors import THREE, at_fault, from_last, still_in_step


class ReducerFailsOnOne(MeanReducer):
    def element_reduction(self, *args):
        if at_fault():
            raise KeyError("no such class")
        return super().element_reduction(*args)


def check_errors_of_the_second_step():
    x, labels = partitioned_batch(THREE).part
    reducing = MSLoss(reducer=ReducerFailsOnOne())
    for loss in (reducing, CrossBatchMemory(reducing, 5, 40)):
        with pytest.raises(RuntimeError, match=from_last("'no such class'")):
            DistributedLoss(loss)(x, labels)
        still_in_step()
    loss = MSLoss()
    loss.register_forward_hook(_fails)
    with pytest.raises(RuntimeError, match=from_last("a hook")):
        DistributedLoss(loss)(x, labels)
    still_in_step()


def _fails(*_):
    if at_fault():
        raise LookupError("a hook")


@dataclass(frozen=True)
class FailsWhenAskedAgain(MultiSimilarity):
    """In backward, which asks again where the reducer lets upstream gradients differ."""

    def evaluate(self, pos, neg):
        if FailsWhenAskedAgain.asked > 0 and at_fault():
            raise MemoryError("no room left")
        FailsWhenAskedAgain.asked += 1
        return super().evaluate(pos, neg)


FailsWhenAskedAgain.asked = 0


def check_errors_in_backward():
    x, labels = partitioned_batch(THREE).part
    x = x.clone().requires_grad_()
    loss = DistributedLoss(GPWLoss(FailsWhenAskedAgain(), reducer=ThresholdReducer(low=0)))
    FailsWhenAskedAgain.asked = 0
    value = loss(x, labels)
    with pytest.raises(RuntimeError, match=from_last("no room left")):
        value.backward()
    assert x.grad is None
    still_in_step()


def check_no_room_for_what_is_gathered():
    """The room is made before anything is sent, so that the others do not wait in vain."""
    x, labels = partitioned_batch(THREE).part
    original = exchange.Rows.__init__

    def without_memory(self, of, parts):
        if at_fault():
            raise MemoryError("no room left")
        original(self, of, parts)

    with (
        mock.patch.object(exchange.Rows, "__init__", without_memory),
        pytest.raises(RuntimeError, match=from_last("no room left")),
    ):
        DistributedLoss(MSLoss())(x, labels)
    still_in_step()


def check_no_room_for_what_flows_back():
    """Nor there: room for the sums of gradients is made before a message that tells it."""
    x, labels = partitioned_batch(THREE).part
    x = x.clone().requires_grad_()
    original = exchange.Sums.__init__

    def without_memory(self, of, likes):
        if at_fault() and likes[0].ndim == 2:
            raise MemoryError("no room left")
        original(self, of, likes)

    for loss in (MSLoss(), AllAnchors()):
        value = DistributedLoss(loss)(x, labels)
        with (
            mock.patch.object(exchange.Sums, "__init__", without_memory),
            pytest.raises(RuntimeError, match=from_last("no room left")),
        ):
            value.backward()
        assert x.grad is None
        still_in_step()


class AllAnchors(MSLoss):
    def compute_loss(self, *args):
        return super().compute_loss(*args)


def check_long_errors_and_reports():
    """Texts that do not fit into the room of a message."""
    x, labels = partitioned_batch(THREE).part
    loss = MSLoss()
    loss.register_forward_hook(_fails_at_length)
    with pytest.raises(RuntimeError, match=from_last("word " * 2000)):
        DistributedLoss(loss)(x, labels)
    still_in_step()


def _fails_at_length(*_):
    if at_fault():
        raise LookupError("word " * 2000)


def check_errors_about_arguments_are_value_errors():
    x, labels = partitioned_batch(THREE).part
    labels = labels + 0.5 if at_fault() else labels
    with pytest.raises(ValueError, match=from_last("labels must be integers")) as error:
        DistributedLoss(MSLoss())(x, labels)
    assert not isinstance(error.value, RuntimeError)
    still_in_step()


def check_backward_twice():
    """A retained graph gives the same gradient again, on every process."""
    batch = partitioned_batch()
    x = batch.part[0].clone().requires_grad_()
    for reducer in (MeanReducer(), ThresholdReducer(low=0)):
        value = DistributedLoss(MSLoss(reducer=reducer))(x, batch.part[1])
        first, second = (torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(2))
        assert first.equal(second)
    dist.barrier()


class LossesOfAnotherKind(MSLoss):
    def anchor_losses(self, batch, reduction=NONE):
        found = super().anchor_losses(batch, reduction)
        if at_fault():
            return found._replace(losses=found.losses.float())
        return found


def check_losses_of_another_dtype():
    """They would not fit into what the others send."""
    x, labels = partitioned_batch(THREE).part
    message = from_last(r"anchor_losses must return tensors of \(3,\) torch.float64, got .*float32")
    with pytest.raises(ValueError, match=message):
        DistributedLoss(LossesOfAnotherKind())(x, labels)
    still_in_step()


def check_a_memory_needs_labels():
    with pytest.raises(ValueError, match="labels must be given: a memory holds them too"):
        DistributedLoss(CrossBatchMemory(MSLoss(), 5, 40))(partitioned_batch(THREE).part[0])
    still_in_step()
