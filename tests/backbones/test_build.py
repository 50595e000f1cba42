"""Backbones by name: features, normalization, weights from files, for models of all libraries."""

import pickle
import re
import sys
from functools import partial

import pytest
import torch
from torch import nn

from pml_gpw.backbones import (
    InputConvention,
    backbone,
    character_ngrams,
    embedding_head,
    freeze_batch_norm,
    load_bn_inception,
)

from .helpers import HALF, features, picture
from .test_freeze import moved

pytest.importorskip("pytorchcv")
timm = pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize(
    ("name", "pooling", "count"),
    [
        ("timm/test_resnet", "sum", 96),
        ("timm/test_vit", "own", 64),
        ("torchvision/mobilenet_v3_small", "sum", 576),
        ("torchvision/mobilenet_v3_small", "own", 1024),
        ("torchvision/swin_t", "average", 768),
        pytest.param("torchvision/vit_b_16", "own", 768, marks=pytest.mark.exhaustive),
    ],
)
def test_features(name, pooling, count):
    trunk = backbone(name, pooling)
    assert trunk.training
    got = features(trunk, picture(name))
    assert got.shape == (2, trunk.features) == (2, count)
    assert got[0].ne(got[1]).any()


WITH_AN_AVERAGE = "bn_inception timm/test_resnet timm/test_efficientnet torchvision/densenet121 "
WITH_AN_AVERAGE += (
    "torchvision/mobilenet_v2 torchvision/shufflenet_v2_x0_5 torchvision/regnet_y_400mf"
)
MORE = (f"torchvision/{name}" for name in ("resnet18", "googlenet", "inception_v3"))
MORE = [pytest.param(name, marks=pytest.mark.exhaustive) for name in MORE]


# Models that end in a global average and one linear layer: cut before the pooling or after it,
# they must have the same features. This sees a layer lost or moved on the way.
@pytest.mark.parametrize("name", [*WITH_AN_AVERAGE.split(), *MORE])
def test_average_is_the_models_own(name):
    own, average = backbone(name, "own"), backbone(name, "average")
    state = own.state_dict()
    average.load_state_dict({n: state[n] for n in average.state_dict()})
    assert torch.equal(features(own, picture(name)), features(average, picture(name)))


def test_conventions_of_the_libraries_under_autocast():
    trunk = backbone("timm/test_resnet")
    assert trunk.convention.mean.flatten().tolist() == HALF
    with torch.autocast("cpu", torch.bfloat16):
        assert features(trunk, picture("timm/test_resnet")).dtype == torch.bfloat16
    convention = backbone("torchvision/squeezenet1_1").convention
    assert convention.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (convention.channels, convention.scale) == ("RGB", 1)


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/shufflenet_v2_x0_5"])
@pytest.mark.parametrize("classes", [0, 7])
def test_weights_from_a_file(name, classes, tmp_path):
    library, _, model = name.partition("/")
    made = (timm.create_model if library == "timm" else models.get_model)(model, num_classes=7)
    state = {n: t for n, t in made.state_dict().items() if classes or not n.startswith("fc.")}
    torch.save(state, tmp_path / "w.pth")
    own = backbone(name, weights=tmp_path / "w.pth").network.state_dict()
    assert own
    assert all(torch.equal(tensor, state[n]) for n, tensor in own.items())
    torch.save(state | {"more.weight": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"unexpected names: more\.weight"):
        backbone(name, weights=tmp_path / "more.pth")


@pytest.mark.parametrize("name", ["small_cnn", "ngram_bag"])
def test_weights_of_our_own_networks_from_a_file(name, tmp_path):
    one = backbone(name, "own").network.state_dict()
    torch.save(one, tmp_path / "weights.pth")
    other = backbone(name, "own", tmp_path / "weights.pth").network.state_dict()
    assert all(torch.equal(tensor, other[n]) for n, tensor in one.items())


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_efficientnet"])
@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_batch_norm(name, frozen):
    trunk = backbone(name, "max", frozen_batch_norm=frozen)
    names = {n for n, _ in trunk.named_buffers() if not n.startswith("convention")}
    for copied in (trunk, pickle.loads(pickle.dumps(trunk))):
        assert moved(copied, lambda: picture(name)) == (set() if frozen else names)
        layers = [m for m in copied.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {layer.weight.grad is None for layer in layers} == {False}


ONES, INTEGERS = (1, 1, 1), torch.zeros(2, 1, 9, 9).long()


@pytest.mark.parametrize(
    ("function", "bad"),
    [
        (backbone, {"name": ("resnet50", "bninception", "timm/", None)}),
        (partial(backbone, "bn_inception"), {"pooling": ("mean", ["max"])}),
        (partial(backbone, "bn_inception"), {"frozen_batch_norm": ("no",)}),
        (partial(backbone, "timm/test_vit"), {"pooling": ("average",)}),
        (partial(backbone, "timm/test_mambaout"), {"pooling": ("sum",)}),
        (partial(backbone, "torchvision/vit_b_16"), {"pooling": ("max",)}),
        (partial(backbone, "torchvision/squeezenet1_1"), {"pooling": ("own",)}),
        (partial(backbone, "torchvision/resnet18"), {"weights": ("no.pth", 3, "/dev/null")}),
        (partial(backbone, "small_cnn", "own"), {"weights": ("pretrained",)}),
        (partial(backbone, "ngram_bag", "own"), {"weights": ("pretrained",)}),
        (partial(backbone, "ngram_bag"), {"pooling": ("average",)}),
        (load_bn_inception, {"weights": ("pretrained",)}),
        (partial(embedding_head, 4), {"dimensions": (-1, 64.0)}),
        (partial(embedding_head, dimensions=4), {"features": (0,)}),
        (partial(InputConvention, ONES, ONES), {"channels": ("GBR",), "scale": (256,)}),
        (partial(InputConvention, std=ONES), {"mean": ((0.5,),)}),
        (partial(InputConvention, ONES), {"std": ((0.5, 0.5), (0.5, 0.0, 0.5))}),
    ],
)
def test_arguments_that_cannot_be(function, bad):
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"{name} must .*got {re.escape(repr(value))}"):
                function(**{name: value})


@pytest.mark.parametrize(
    ("function", "argument", "says"),
    [
        (backbone, "bninception", "nearest: 'bn_inception'"),
        (backbone, "timm/resnet5", "model of timm, got 'resnet5'; nearest: .*'resnet50'"),
        (backbone, "torchvision/resnet51", "torchvision, got 'resnet51'; nearest: .*'resnet50'"),
        (backbone, "torchvision/fasterrcnn_resnet50_fpn", "classification model"),
        (backbone, "torchvision/qqqq", "got 'qqqq'$"),
        (partial(backbone, "timm/resnet50.a1_in1", "max"), "pretrained", "has none.*50.a1_in1k"),
        (load_bn_inception, {}, "weights must be a dict of names and tensors"),
        (freeze_batch_norm, "resnet50", r"module must be an nn\.Module, got str"),
        (character_ngrams, 3, "text must be a str, got int"),
        (backbone("small_cnn"), torch.rand(2, 2, 9, 9), r"shape \(B, 3, H, W\) or \(B, 1, H, W\)"),
        (backbone("small_cnn"), INTEGERS, "images must be uint8 in 0..255"),
        (backbone("ngram_bag", "own"), ["Peru"], "got list: give the data set transform=char"),
        (backbone("ngram_bag", "own"), torch.rand(2, 64), r"B, L.*got torch.float32 \(2, 64\)"),
        (
            backbone("ngram_bag", "own"),
            INTEGERS[0, 0, 0],
            r"integers \(B, L\), got torch.int64 \(9,\)",
        ),
    ],
)
def test_how_they_cannot_be(function, argument, says):
    with pytest.raises(ValueError, match=says):
        function(argument)


@pytest.mark.parametrize("name", ["timm/resnet50", "torchvision/resnet50", "bn_inception"])
def test_a_missing_library_says_which_extra(monkeypatch, name):
    for module in list(sys.modules):
        if module.partition(".")[0] in ("timm", "torchvision", "pytorchcv"):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "pml-gpw\[backbones\]"'):
        backbone(name)
