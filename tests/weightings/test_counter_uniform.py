"""The hash against Python's integers."""

import pytest
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_even_in_every_bit(dtype):
    index = torch.arange(300)
    values = counter_uniform(torch.tensor(1), 0, index.unsqueeze(1), index.unsqueeze(0), dtype)
    for bit in range(1, 20):
        share = ((values * 2**bit).long() % 2).double().mean()
        assert abs(share - 0.5) < 5 * 0.5 / 300, bit
