"""The input normalization: what the network sees of an RGB image."""

import pickle

import pytest
import torch

from pml_gpw.backbones import InputConvention

CAFFE = ((104, 117, 128), (1, 1, 1), "BGR", 255)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_red_goes_in_first_for_rgb():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    want = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert InputConvention(*IMAGENET)(red)[0, :, 1, 2].tolist() == pytest.approx(want)
    assert red[0, :, 0, 0].tolist() == [1, 0, 0]  # as it was


@pytest.mark.parametrize("arguments", [CAFFE, IMAGENET], ids=["caffe", "imagenet"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_uint8_and_float_agree(arguments, dtype):
    convention = InputConvention(*arguments)
    levels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    levels = levels.to(memory_format=torch.channels_last)
    got, want = convention(levels.double().div(255).to(dtype)), convention(levels)
    assert got.dtype == want.dtype == torch.float32
    tolerance = 1e-5 if dtype != torch.float16 else 1e-3
    assert (got - want).abs().max() <= tolerance * want.abs().max()
    for result in (got, want):
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_dtype_follows_the_parameters():
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert InputConvention(*CAFFE).double()(images).dtype == torch.float64
    assert InputConvention(*CAFFE).bfloat16()(images)[0, :, 0, 0].tolist() == [-104, -117, -128]


def test_gradients_reach_the_images_of_a_copy():
    images = torch.rand(1, 3, 2, 2, requires_grad=True)
    copy = pickle.loads(pickle.dumps(InputConvention(*CAFFE)))
    assert not copy.state_dict()
    copy(images).sum().backward()
    assert torch.equal(images.grad, torch.full_like(images, 255))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([[1.0]], "got list"),
        (torch.zeros(3, 4, 4), r"shape \(B, 3, H, W\), RGB, got \(3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), "got torch.int64"),
        (torch.full((2, 3, 4, 4), 200.0), "in 0..1 .*got 200 to 200; grey levels"),
        (torch.full((2, 3, 4, 4), -0.5), "got -0.5 to -0.5"),
        (torch.full((2, 3, 4, 4), float("nan")), "got nan to nan"),
    ],
)
def test_bad_images(images, says):
    with pytest.raises(ValueError, match=f"images must (be|have) .*{says}"):
        InputConvention(*IMAGENET)(images)


def test_values_are_checked_once():
    convention = InputConvention(*IMAGENET)
    bright = torch.full((1, 3, 2, 2), 2.0)
    convention(torch.zeros(0, 3, 2, 2))  # nothing to see
    convention(bright.byte())
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        convention(bright)
    convention(bright / 2)
    convention(bright)
    with pytest.raises(ValueError, match="shape"):
        convention(bright[0])
