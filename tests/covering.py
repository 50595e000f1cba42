"""Few of all combinations of parameters, in which each value meets the others."""

import itertools

import pytest


def covering(*values, one_in, quick=1):
    """One in so many combinations as parameters of a test; all but one in ``quick`` of these are
    exhaustive. Where both numbers are prime to the numbers of values, none is passed over."""
    return [
        pytest.param(*chosen, marks=[pytest.mark.exhaustive] if i % quick else [])
        for i, chosen in enumerate(list(itertools.product(*values))[::one_in])
    ]


def named(value):
    """The name of a case, or what a value shows of itself: for ``ids``."""
    return getattr(value, "name", repr(value))
