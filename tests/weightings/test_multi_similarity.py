import pytest

from pml_gpw.weightings import MultiSimilarity


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("paper", (2, 50, 1)),
        ("official", (2, 40, 0.5)),
        ("pml", (2, 50, 0.5)),
        ("place_recognition", (1, 50, 0)),
    ],
)
def test_presets(name, values):
    preset = MultiSimilarity.preset(name)
    assert (preset.alpha, preset.beta, preset.base) == values
