from importlib.metadata import version

import torch

import pml_gpw
from pml_gpw.training.environment import code_digest, device_name, environment, source_digest


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


def test_code_is_named_by_what_it_does(tmp_path):
    def digest(text, digest_of=source_digest):
        (tmp_path / "code.py").write_text(text)
        return digest_of([tmp_path / "code.py"])

    one = digest('"""A text."""\ndef f(x):\n    return x\n')
    assert digest(LAID_OUT_ANEW) == one
    assert digest("def f(x):\n    return -x") != one
    assert digest("def g(x):\n    return x") != one
    assert digest(LAID_OUT_ANEW, code_digest) != code_digest()
