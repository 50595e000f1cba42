"""Backbones by name: features, normalization, weights from files, for models of all libraries."""

import copy
import pickle
import sys

import pytest
import torch
from torch import nn

from pml_gpw.backbones import backbone

from .helpers import HALF, features, picture

pytest.importorskip("pytorchcv")
timm = pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize(
    ("name", "pooling", "count"),
    [
        ("timm/test_resnet", "sum", 96),
        ("timm/test_vit", "own", 64),
        ("timm/mobilenetv3_small_050", "max", 1024),
        ("torchvision/resnet18", "max", 512),
        ("torchvision/mobilenet_v3_small", "sum", 576),
        ("torchvision/mobilenet_v3_small", "own", 1024),
        ("torchvision/squeezenet1_1", "average", 512),
        ("torchvision/densenet121", "max", 1024),
        ("torchvision/shufflenet_v2_x0_5", "average", 1024),
        ("torchvision/vit_b_16", "own", 768),
        ("torchvision/swin_t", "average", 768),
    ],
)
def test_features(name, pooling, count):
    trunk = backbone(name, pooling)
    assert trunk.training
    got = features(trunk, picture(name))
    assert trunk.features == count
    assert got.shape == (2, count)
    assert got.isfinite().all()
    assert got[0].ne(got[1]).any()


# Models that end in a global average and one linear layer: cut before the pooling or after it,
# they must have the same features. This sees a layer lost or moved on the way.
@pytest.mark.parametrize(
    "name",
    [
        "timm/test_resnet",
        "timm/test_efficientnet",
        "torchvision/resnet18",
        "torchvision/densenet121",
        "torchvision/mobilenet_v2",
        "torchvision/mnasnet0_5",
        "torchvision/shufflenet_v2_x0_5",
        "torchvision/regnet_y_400mf",
        "torchvision/googlenet",
        "torchvision/inception_v3",
    ],
)
def test_average_is_the_models_own(name):
    own, average = backbone(name, "own"), backbone(name, "average")
    state = own.state_dict()
    average.load_state_dict({n: state[n] for n in average.state_dict()})
    assert torch.equal(features(own, picture(name)), features(average, picture(name)))


def test_conventions():
    convention = backbone("timm/test_resnet").convention
    assert convention.mean.flatten().tolist() == HALF
    convention = backbone("torchvision/squeezenet1_1").convention
    assert convention.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (convention.channels, convention.scale) == ("RGB", 1)


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/resnet18"])
@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_weights_from_a_file(name, classes, tmp_path):
    library, _, model = name.partition("/")
    torch.manual_seed(0)
    options = {"num_classes": classes or 1000}
    made = timm.create_model(model, **options) if library == "timm" else models.resnet18(**options)
    state = made.state_dict()
    if not classes:
        state = {n: t for n, t in state.items() if not n.startswith("fc.")}
    torch.save(state, tmp_path / "w.pth")
    trunk = backbone(name, weights=tmp_path / "w.pth")
    own = trunk.network.state_dict()
    assert own
    assert all(torch.equal(tensor, state[n]) for n, tensor in own.items())

    name_of_one = next(n for n in own if n.endswith("running_mean"))
    torch.save({n: t for n, t in state.items() if n != name_of_one}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match=rf"less\.pth.*missing names: {name_of_one}"):
        backbone(name, weights=tmp_path / "less.pth")
    torch.save(state | {"more.weight": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"unexpected names: more\.weight"):
        backbone(name, weights=tmp_path / "more.pth")


@pytest.mark.parametrize(
    "name", ["timm/test_resnet", "timm/test_efficientnet", "torchvision/resnet18"]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_batch_norm(name, frozen):
    trunk = backbone(name, "max", frozen_batch_norm=frozen)
    for copied in (trunk, copy.deepcopy(trunk), pickle.loads(pickle.dumps(trunk))):
        before = {n: b.clone() for n, b in copied.named_buffers()}
        copied.train()(picture(name)).sum().backward()
        moved = {n for n, b in copied.named_buffers() if not torch.equal(b, before[n])}
        assert moved == (set() if frozen else {n for n in before if not n.startswith("convention")})
        layers = [m for m in copied.modules() if isinstance(m, nn.BatchNorm2d)]
        assert layers
        assert all(layer.weight.grad is not None for layer in layers)


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_mambaout", "torchvision/vit_b_16"])
@pytest.mark.parametrize("pooling", ["average", "max", "sum"])
def test_tokens_have_no_map(name, pooling):
    with pytest.raises(ValueError, match=rf"pooling must be 'own' for .*got '{pooling}'"):
        backbone(name, pooling)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("resnet50",), "'ngram_bag', 'timm/<model>' or 'torchvision/<model>'.*timm/resnet50"),
        (("bninception",), "nearest: 'bn_inception'"),
        (("timm/",), "name must be"),
        ((None,), "name must be"),
        (("timm/resnet5",), "model of timm, got 'resnet5'; nearest: .*'resnet50'"),
        (("torchvision/resnet51",), "of torchvision, got 'resnet51'; nearest: .*'resnet50'"),
        (("torchvision/fasterrcnn_resnet50_fpn",), "classification model"),
        (("torchvision/qqqq",), "got 'qqqq'$"),
        (("timm/resnet50.a1_in1", "max", "pretrained"), "has none.*resnet50.a1_in1k"),
        (("bn_inception", "mean"), "pooling must be one of average, max, sum, own, got 'mean'"),
        (("bn_inception", ["max"]), "pooling must be one of"),
        (("torchvision/squeezenet1_1", "own"), "pooling must be 'average', 'max' or 'sum'"),
        (("torchvision/resnet18", "max", "no/such.pth"), r"got 'no/such\.pth', which is no file"),
        (("torchvision/resnet18", "max", 3), "weights must be None, 'pretrained' or a path, got 3"),
        (("bn_inception", "max", None, "no"), "frozen_batch_norm must be a bool, got 'no'"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        backbone(*arguments)


@pytest.mark.parametrize("name", ["timm/resnet50", "torchvision/resnet50", "bn_inception"])
def test_a_missing_library_says_which_extra(monkeypatch, name):
    for module in list(sys.modules):
        if module.partition(".")[0] in ("timm", "torchvision", "pytorchcv"):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "pml-gpw\[backbones\]"'):
        backbone(name)
