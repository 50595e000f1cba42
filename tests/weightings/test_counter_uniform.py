"""The hash against Python's integers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.weightings.counter_uniform import counter_uniform

from .. import oracles

INDEX = st.integers(0, 2**31)


@given(key=st.integers(0, 2**62 - 1), salt=st.integers(0, 2**40), anchor=INDEX, reference=INDEX)
def test_equals_integers_of_python(key, salt, anchor, reference):
    arguments = torch.tensor(key), salt, torch.tensor([anchor]), torch.tensor([reference])
    (double,) = counter_uniform(*arguments, torch.float64).tolist()
    (single,) = counter_uniform(*arguments, torch.float32).tolist()
    assert double == oracles.uniform(key, salt, anchor, reference)
    assert abs(single - double) <= 2**-23
    assert 0 < single < 1
