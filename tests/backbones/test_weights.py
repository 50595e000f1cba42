"""Files of weights that are damaged or dangerous are refused, by name."""

import pickle

import pytest
import torch
from torch import nn

from pml_gpw.backbones.weights import load_exactly, read_state_dict

ONES = torch.ones(3, 2)


class Code:
    """Would run code when unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(nn.Linear(300, 300).state_dict(), path)
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: cut(path, 0.01), r"weights\.pth.*damaged"),
        (lambda path: cut(path, 0.999), r"weights\.pth.*damaged"),
        (lambda path: torch.save({"x": Code()}, path), r"weights\.pth.*holds more than tensors"),
        (lambda path: path.write_bytes(pickle.dumps(Code(), 2)), "holds more than tensors"),
        (lambda path: torch.save([ONES], path), r"dict of names and tensors, got .*weights\.pth"),
        (lambda path: torch.save({}, path), "dict of names and tensors"),
        (lambda path: torch.save({"epoch": 3}, path), "dict of names and tensors"),
        (lambda path: torch.save({1: ONES}, path), "dict of names and tensors"),
    ],
)
def test_files_that_cannot_be(good, damage, said, capsys):
    assert set(read_state_dict(good)) == {"weight", "bias"}
    damage(good)
    with pytest.raises(ValueError, match=said):
        read_state_dict(good)
    assert "unpickled" not in capsys.readouterr().out


def test_prefixes(good):
    torch.save({"module.a": torch.ones(1), "module.b.module.c": torch.ones(1)}, good)
    assert set(read_state_dict(good)) == {"a", "b.module.c"}
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, good)
    assert set(read_state_dict(good)) == {"module.a", "b"}


def spoiled(value):
    return torch.tensor([[1.0, 1.0], [1.0, value], [1.0, 1.0]], dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (spoiled(torch.nan), "must be finite in torch.float32, got nan in 1 of 6 places"),
        (spoiled(1e300), r"must be finite in torch.float32, got 1e\+300 in 1 of 6"),
        (ONES.cfloat(), "must be floating point of 16, 32 or 64 bits, got torch.complex64"),
        (ONES.bool(), "must be floating point .* got torch.bool"),
        (ONES.to_sparse(), "must be a dense tensor, got the layout torch.sparse_coo"),
        (ONES.to("meta"), "must hold values, got a tensor on the meta device"),
    ],
)
def test_numbers_that_are_no_weights(good, weight, said):
    """The entry is named, and no other one is loaded."""
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in before.items()}
    torch.save({**state, "1.weight": weight}, good)
    with pytest.raises(ValueError, match=rf"^weights\['1.weight'\] of .*weights\.pth {said}"):
        load_exactly(network, read_state_dict(good), str(good))
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    load_exactly(network, {**state, "1.weight": ONES.half()}, "a state dict")
    assert network[1].weight.equal(ONES)


def test_integers_and_infinities_that_belong_to_a_network():
    network = nn.BatchNorm1d(2)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    state = {**network.state_dict(), "mask": torch.tensor([-torch.inf, 0.0])}
    load_exactly(network, state, "x")
    assert network.mask.tolist() == [-torch.inf, 0.0]
    state["num_batches_tracked"] = torch.tensor(0.5)
    with pytest.raises(ValueError, match=r"tracked'\] of x must be integers, got torch.float32"):
        load_exactly(network, state, "x")
