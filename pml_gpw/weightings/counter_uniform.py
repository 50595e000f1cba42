"""Random numbers that depend on what they are for, and not on when they are drawn.

Shapes: C anchors, M references, K pairs.
"""

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The int64 that has the lowest 64 bits of an integer."""
    return (value + 2**63) % 2**64 - 2**63


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
_BITS = {torch.float64: 52, torch.float32: 23}


def counter_uniform(
    key: Tensor, salt: int, anchor: Tensor, reference: Tensor, dtype: torch.dtype
) -> Tensor:
    """Uniform numbers in (0, 1), one for each pair of anchor and reference.

    A hash of key, salt and both indices (the finaliser of SplitMix64): the same pair gets the
    same number in every layout, chunk and process, and another one with another key. float32
    numbers have the first 23 bits of those of float64.

    Shapes: ``key`` () int64; ``anchor`` and ``reference`` int64, (C, 1) and (1, M), or (K,) both.
    """
    # The salt as a tensor, whose products wrap around: a compiled formula keeps it a variable.
    state = _mixed(key + _GOLDEN * (1 + torch.full_like(key, salt)))
    # Indices are only added: a compiled formula multiplies them in 32 bits.
    state = _mixed(state + anchor)
    state = _mixed(state + reference)
    bits = _BITS[dtype]
    return (_shifted(state, 64 - bits).to(dtype) + 0.5) * 2.0**-bits


def _mixed(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * _MIX_1
    state = (state ^ _shifted(state, 27)) * _MIX_2
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """The bits moved right by ``by``, with zeros in their place: ``>>`` repeats the sign."""
    return (state >> by) & (2 ** (64 - by) - 1)
