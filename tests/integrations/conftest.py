import os
from importlib.util import find_spec

import pytest

# Before the first import of huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

TEXTS = ("sentence_transformers", "accelerate", "datasets")
NEEDED = {
    "test_sentence_transformers.py": TEXTS,
    "test_pairs_of_texts.py": TEXTS,
    "test_torchmetrics.py": ("torchmetrics", "lightning"),
}
collect_ignore = [test for test, packages in NEEDED.items() if not all(map(find_spec, packages))]


@pytest.fixture
def model(tmp_path):
    """A small text model with dropout, in training mode; without progress bars and advice."""
    import datasets
    import transformers

    from .texts import tiny_model

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return tiny_model(tmp_path / "encoder").train()


@pytest.fixture
def steady(model, tmp_path):
    """The same without dropout."""
    from .texts import tiny_model

    return tiny_model(tmp_path / "steady", dropout=0.0).train()
