import pytest

from pml_gpw import MSLoss


def test_chunk_size_is_checked():
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match=f"chunk_size must be an integer > 0, got {wrong}"):
            MSLoss(chunk_size=wrong)
