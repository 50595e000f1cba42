import pytest
import torch

from pml_gpw.backbones import backbone


def test_grey_and_coloured_images_of_one_brightness_are_the_same():
    trunk = backbone("small_cnn", pooling="own").eval()
    grey = torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8)
    features = trunk(grey)
    assert features.shape == (2, trunk.features) == (2, 1024)
    assert sum(p.numel() for p in trunk.parameters()) == 23_664
    torch.testing.assert_close(trunk(grey.expand(2, 3, 32, 32)), features)
    torch.testing.assert_close(trunk(grey / 255), features)


@pytest.mark.parametrize(("pooling", "count"), [("own", 1024), ("max", 64)])
def test_any_size(pooling, count):
    trunk = backbone("small_cnn", pooling=pooling)
    assert trunk.features == count
    assert trunk(torch.rand(2, 3, 64, 48)).shape == (2, count)


def test_its_own_pooling_of_a_glyph_is_the_feature_map():
    own, average = (backbone("small_cnn", pooling).eval() for pooling in ("own", "average"))
    average.load_state_dict(own.state_dict())
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(own(images), average.network(images).flatten(1))
    torch.testing.assert_close(average(images), own(images).reshape(2, 64, -1).mean(2))
