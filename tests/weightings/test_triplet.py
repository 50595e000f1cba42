import pytest

from pml_gpw.weightings import Triplet


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": float("nan")}, "margin must be .*, got nan"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        Triplet(**settings)
