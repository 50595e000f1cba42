import pytest

from pml_gpw.weightings import LiftedStructure


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0}, "beta must be .*, got 0"),
        ({"margin": float("inf")}, "margin must be .*, got inf"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        LiftedStructure(**settings)
