"""Checks that do not wait: errors come in a later call, a backward or at a flush."""

import re

import pytest
import torch

from pml_gpw import MSLoss, checks, value_checks
from pml_gpw.arguments import pair_batch
from pml_gpw.functional import gpw_loss, ms_loss
from pml_gpw.value_checks import deferred_checks, eager_checks, host_can_read, raise_arrived, report
from pml_gpw.weightings import PairWeighting, PairWeights

LATER = r"\(in call (\d+) of (\d+)\)"
NAN = float("nan")


def batch(spoil=None):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    if spoil is not None:
        x[5, 1] = spoil
    return x.requires_grad_(), torch.arange(8) // 2


@pytest.fixture(autouse=True)
def nothing_unseen():
    yield
    checks.flush()  # what a test has left would be raised


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_the_next_call_raises_with_the_number_of_the_first(value):
    with deferred_checks():
        ms_loss(*batch(value))
        with pytest.raises(ValueError, match="embeddings must be finite") as raised:
            ms_loss(*batch())
    assert "got NaN or Inf in 1 of 8 rows (first: row 5)" in str(raised.value)
    first, now = map(int, re.search(LATER, str(raised.value)).groups())
    assert now == first + 1


def test_a_backward_a_flush_and_leaving_immediately_raise_once():
    """What else is wrong with the batch does not spoil the calls after."""

    def leave(_):
        with checks.immediately():
            pass

    for look in (torch.Tensor.backward, lambda _: checks.flush(), leave):
        with deferred_checks():
            loss = ms_loss(*batch(NAN))
            with pytest.raises(ValueError, match="embeddings must be finite, got NaN"):
                look(loss)
            ms_loss(*batch()).backward()


def test_immediately_raises_at_once():
    with deferred_checks(), eager_checks(), pytest.raises(ValueError, match=r"finite.*row 5\)$"):
        ms_loss(*batch(NAN))


class DividesByZero(PairWeighting):
    def evaluate(self, pos, neg):
        weights = PairWeights(torch.zeros_like(pos.sim), torch.zeros_like(neg.sim))
        return pos.count() / 0, weights


class Negative(PairWeighting):
    def weigh(self, pos, neg):
        return PairWeights(-torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: ms_loss(x, y + 0.5), "labels must be integers, got torch.float32"),
        (
            lambda x, y: ms_loss(x, y, references=x.detach(), self_index=torch.full((8,), 9)),
            r"self_index must lie in \[-1, 8\), got 9 to 9",
        ),
        (
            lambda x, y: gpw_loss(x, y, DividesByZero()),
            "embeddings must give finite losses, got inf from DividesByZero for anchor 0",
        ),
        (lambda x, y: gpw_loss(x, y, Negative(), fused=False), "weighting Negative must give "),
    ],
)
def test_every_check_of_values_has_a_later_twin(call, message):
    with pytest.raises(ValueError, match=message):
        call(*batch())
    with deferred_checks():
        call(*batch())
        with pytest.raises(ValueError, match=f"{message}.* {LATER}"):
            checks.flush()


def test_the_warning_of_an_empty_batch_comes_later_and_once(recwarn):
    loss, (x, labels) = MSLoss(), batch()
    with deferred_checks():
        for before in (0, 1):
            loss(x, labels * 0)
            assert len(recwarn) == before
            checks.flush()
            assert len(recwarn) == 1
    assert re.search("no pairs to weigh .* or the mining keeps none", str(recwarn[0].message))


class Event:
    """An event of a device that is done when somebody waits for it."""

    done = False

    def query(self):
        return self.done

    def synchronize(self):
        self.done = True


def test_what_has_not_arrived_is_left_for_later():
    """No call waits for an event; a flush does."""
    unseen = value_checks._Unseen(1, torch.zeros(1), Event(), lambda _: ValueError("bad"))
    value_checks._unseen.append(unseen)
    raise_arrived()
    ms_loss(*batch()).backward()
    with pytest.raises(ValueError, match=f"bad {LATER}"):
        checks.flush()


def test_what_nobody_can_look_at_is_left_alone():
    """Devices that cannot be asked, and values inside a graph."""
    x = torch.zeros(2, device="meta")
    assert not host_can_read(x)
    report(x, lambda _: ValueError("never"))
    torch.compile(lambda *given: ms_loss(*given), backend="eager", fullgraph=True)(*batch(NAN))
    checks.flush()


def test_batches_of_pairs_look_too():
    """The list does not grow, whatever stands in place of the arguments."""
    loss, pairs = MSLoss(), pair_batch(*batch())
    with deferred_checks(), torch.no_grad():
        for _ in range(100):
            loss(pairs)
            loss.anchor_losses(pairs)
            assert len(value_checks._unseen) <= value_checks.MOST_UNSEEN + 1
