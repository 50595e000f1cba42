"""Files of weights that are damaged or dangerous are refused, by name."""

import pickle

import pytest
import torch
from torch import nn

from pml_gpw.backbones.weights import read_state_dict


class Code:
    """Would run code when unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(nn.Linear(300, 300).state_dict(), path)
    return path


def test_a_good_file(good):
    assert set(read_state_dict(good)) == {"weight", "bias"}


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated(good, share):
    content = good.read_bytes()
    good.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"weights\.pth.*damaged"):
        read_state_dict(good)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))]
)
def test_code_is_not_run(good, save, capsys):
    save({"weight": Code()}, good)
    with pytest.raises(ValueError, match=r"weights\.pth.*holds more than tensors"):
        read_state_dict(good)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[torch.ones(2)], {}, {"epoch": 3}, {1: torch.ones(2)}])
def test_not_a_state_dict(good, content):
    torch.save(content, good)
    with pytest.raises(ValueError, match=r"dict of names and tensors, got .*weights\.pth"):
        read_state_dict(good)


def test_prefixes(good):
    torch.save({"module.a": torch.ones(1), "module.b.module.c": torch.ones(1)}, good)
    assert set(read_state_dict(good)) == {"a", "b.module.c"}
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, good)
    assert set(read_state_dict(good)) == {"module.a", "b"}
