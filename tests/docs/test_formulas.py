"""Formulas of docstrings, plain text between single backticks, become TeX that the site knows."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
convert = pytest.importorskip("latex2mathml.converter").convert
sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_extensions"))
from formulas import tex  # noqa: E402, lies beside the pages

FORMULAS = {
    "S_ij": r"S_{ij}",
    "w⁺_ij": r"w^{+}_{ij}",
    "[S_in + m]_+": r"[S_{in} + m]_{+}",
    "D = √(2 − 2 S)": r"D = \sqrt{2 - 2 S}",
    "Σ_{P_i*} e^{α (S_ij − λ)}": r"\sum\limits _{P_{i*}} e^{α (S_{ij} - λ)}",
    "{ a } Σ_{k ∈ P_i} b": r"\{ a \} \sum\limits _{k \in P_{i}} b",
    "γ softmax_{P_i} x": r"γ\, \text{softmax}_{P_{i}} x",
    "a_ij = b, c_ij = d": r"a_{ij} = b,\quad c_{ij} = d",
    "max(D_ij, cutoff)": r"\max(D_{ij},\, \text{cutoff})",
}


@pytest.mark.parametrize(("plain", "expected"), FORMULAS.items())
def test_a_formula_is_written_as_tex(plain, expected):
    assert " ".join(tex(plain).split()) == expected
    assert "\\" not in convert(tex(plain))
