"""BN-Inception: the loaded network is the published function of the checkpoint."""

import pytest
import torch

from pml_gpw.backbones import backbone, load_bn_inception

from . import oracle

pytest.importorskip("pytorchcv")


@pytest.fixture(scope="module")
def state():
    return oracle.checkpoint()


@pytest.fixture(scope="module")
def net(state):
    return load_bn_inception(state).double().eval()


def images(side):
    generator = torch.Generator().manual_seed(side)
    return 50 * torch.randn(1, 3, side, side, generator=generator, dtype=torch.float64)


@torch.no_grad()
def logits(net):
    return net(images(224))


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def rounded(state):
    """What a float32 network keeps of a float64 checkpoint."""
    return {n: t.float().double() if t.is_floating_point() else t for n, t in state.items()}


def test_counts(net):
    assert parameters(net) == 11_295_240
    assert parameters(backbone("bn_inception")) == 10_270_240
    assert {int(b) for n, b in net.named_buffers() if n.endswith("tracked")} == {7}


def test_logits_are_the_published_function(state, net):
    got, want = logits(net), oracle.logits(rounded(state), images(224))
    assert got.shape == want.shape == (1, 1000)
    assert difference(got, want) < 1e-10


def test_variants_of_the_checkpoint(net):
    expected = logits(net)
    for options in ({"rows": True, "prefix": "module."}, {"batches": False, "classifier": "fc"}):
        other = load_bn_inception(oracle.checkpoint(**options)).double().eval()
        assert torch.equal(logits(other), expected), options


def test_a_checkpoint_without_classifier(net):
    other = load_bn_inception(oracle.checkpoint(classifier=None)).double().eval()
    assert parameters(other) == 10_270_240
    assert torch.equal(net.output(logits(other)), logits(net))


def test_backbone_from_a_file_of_the_old_format(state, tmp_path):
    path = tmp_path / "bn_inception-52deb4733.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    trunk = backbone("bn_inception", "max", path, frozen_batch_norm=True).double().train()
    pictures = torch.randint(0, 256, (2, 3, 97, 97), dtype=torch.uint8)
    mean = torch.tensor([104.0, 117.0, 128.0], dtype=torch.float64).reshape(3, 1, 1)
    want = oracle.feature_map(rounded(state), pictures[:, [2, 1, 0]].double() - mean)
    assert (want > 0).double().mean() > 0.1  # a map of zeros would agree with anything
    assert difference(trunk(pictures), want.amax((2, 3))) < 1e-10
    torch.save({"conv2_3x3.bias": torch.zeros(192)}, path)
    with pytest.raises(ValueError, match=rf"{path} .*conv1_7x7_s2\.weight, .* and 405 more;"):
        load_bn_inception(path)


@pytest.mark.parametrize(
    ("without", "extra", "says"),
    [
        ("last_linear.bias", {}, "missing names: last_linear.bias; unexpected names: none"),
        ("", {"fc.bias": torch.ones(1000)}, r"missing names: none; unexpected names: fc\.bias$"),
        ("", {"conv1_7x7_s2_bn.weight": torch.ones(2, 64)}, r"weight \(2, 64\), not \(64,\)"),
        ("", {"conv1_7x7_s2.bias": torch.ones(1, 64)}, r"s2.bias \(1, 64\), not \(64,\)"),
        ("", {"state_dict": {}}, "weights must be a dict of names and tensors, got a state dict"),
    ],
)
def test_a_checkpoint_that_does_not_fit(state, without, extra, says):
    changed = {name: tensor for name, tensor in state.items() if name != without} | extra
    with pytest.raises(ValueError, match=says):
        load_bn_inception(changed)


def test_pytorchcv_weights_bring_their_convention(monkeypatch):
    from pml_gpw.backbones import bn_inception

    random, asked = bn_inception.pytorchcv_network, []
    monkeypatch.setattr(bn_inception, "pytorchcv_network", lambda **o: asked.append(o) or random())
    own = backbone("bn_inception", weights="pretrained").convention
    assert asked == [{"pretrained": True}]
    assert (own.channels, own.scale) == ("RGB", 1)
    assert own.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    convention = backbone("bn_inception").convention
    assert asked[1:] == [{"pretrained": False}]
    assert (convention.channels, convention.scale) == ("BGR", 255)
