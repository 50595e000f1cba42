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


@pytest.mark.parametrize(("pooling", "count"), [("own", 1024), ("max", 64), ("average", 64)])
def test_any_size(pooling, count):
    trunk = backbone("small_cnn", pooling=pooling)
    assert trunk.features == count
    assert trunk(torch.rand(2, 3, 64, 48)).shape == (2, count)


def test_its_own_pooling_of_a_glyph_is_the_feature_map():
    torch.manual_seed(0)
    own = backbone("small_cnn", pooling="own").eval()
    torch.manual_seed(0)
    average = backbone("small_cnn", pooling="average").eval()
    images = torch.rand(2, 1, 32, 32)
    maps = average.network(images)
    assert torch.equal(own(images), maps.flatten(1))


def test_weights_from_a_file(tmp_path):
    one = backbone("small_cnn", pooling="own")
    torch.save(one.network.state_dict(), tmp_path / "weights.pth")
    other = backbone("small_cnn", weights=tmp_path / "weights.pth")
    images = torch.rand(2, 1, 32, 32)
    expected = one.eval()(images).reshape(2, 64, -1).mean(2)
    torch.testing.assert_close(other.eval()(images), expected)
