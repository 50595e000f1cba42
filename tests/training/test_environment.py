from importlib.metadata import version

import pytest
import torch

import pml_gpw
from pml_gpw.training.environment import code_digest, device_name, environment


def test_versions_of_the_code_and_of_what_is_installed():
    text = environment("pillow", "no-such-package")
    assert text.startswith(f"pml-gpw {pml_gpw.__version__}, torch ")
    assert f"torch {version('torch')}" in text
    assert f"pillow {version('pillow')}; Python" in text
    assert "no-such-package" not in text
    assert device_name(torch.device("cpu")) == "CPU"


LAID_OUT_ANEW = '''"""Another text."""

def f(x):  # a comment
    """What it does."""

    return x
'''


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (LAID_OUT_ANEW, True),
        ("def f(x):\n    return -x", False),
        ("def g(x):\n    return x", False),
    ],
)
def test_code_is_named_by_what_it_does(tmp_path, text, same):
    path = tmp_path / "code.py"
    path.write_text('"""A text."""\ndef f(x):\n    return x\n')
    one = code_digest([path])
    assert one != code_digest()
    path.write_text(text)
    assert (code_digest([path]) == one) is same
