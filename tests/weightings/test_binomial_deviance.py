import pytest

from pml_gpw.weightings import BinomialDeviance


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0}, "alpha must be .*, got 0"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        BinomialDeviance(**settings)
