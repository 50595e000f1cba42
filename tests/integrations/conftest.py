import os
from importlib.util import find_spec

import pytest

os.environ["HF_HUB_OFFLINE"] = (
    "1"  # before the first import of huggingface_hub, which reads it once
)

NEEDED = {
    "test_sentence_transformers.py": ("sentence_transformers", "accelerate", "datasets"),
    "test_torchmetrics.py": ("torchmetrics", "lightning"),
}
collect_ignore = [
    test for test, packages in NEEDED.items() if not all(find_spec(name) for name in packages)
]


@pytest.fixture
def quiet():
    """No progress bars and no advice of transformers and datasets."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture
def model(quiet, tmp_path):
    """A small text model with dropout, in training mode."""
    from .texts import tiny_model

    return tiny_model(tmp_path / "encoder").train()
