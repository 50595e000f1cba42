from pathlib import Path

import pytest
from PIL import Image

from pml_gpw.datasets.rgb import open_rgb

from .helpers import some_image

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_truncated_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    with open(path, "rb+") as file:
        file.truncate(300)
    data = dataset(root, dataset.queries)
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        data[3]
    report = dataset.verify(root, progress=False)
    assert any(f"{path} cannot be read as an image" in p for p in report.problems)
    assert not any("cannot be read" in p for p in dataset.verify(root, decode=False).problems)


def test_file_that_is_no_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    Path(path).write_text("<html>404</html>")
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        dataset(root, dataset.queries)[3]


HIDDEN, SHOWN = (10, 20, 30), (200, 100, 50)


def two_pixels(mode):
    """A transparent pixel and an opaque one."""
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (*HIDDEN, 0))
    image.putpixel((1, 0), (*SHOWN, 255))
    if mode == "P":
        palette = Image.new("P", (2, 1), 0)
        palette.putpalette([*HIDDEN, *SHOWN])
        palette.putpixel((1, 0), 1)
        return palette, {"transparency": 0}
    if mode == "RGB":
        return image.convert("RGB"), {"transparency": HIDDEN}
    if mode == "L":
        gray = Image.new("L", (2, 1), 10)
        gray.putpixel((1, 0), 200)
        return gray, {"transparency": 10}
    return image.convert(mode), {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize("background", [(255, 255, 255), (255, 0, 0)])
def test_transparency_is_composited_on_the_background(tmp_path, mode, background):
    path = tmp_path / "transparent.png"
    image, options = two_pixels(mode)
    image.save(path, **options)
    with Image.open(path) as file:
        assert file.mode == mode
    got = open_rgb(str(path), background)
    assert got.mode == "RGB"
    assert got.getpixel((0, 0)) == background
    opaque = got.getpixel((1, 0))
    assert opaque == (SHOWN if mode in ("RGBA", "P", "RGB") else opaque[:1] * 3)
    assert opaque != background
    without = open_rgb(str(path)).getpixel((0, 0))  # the colour that the transparency hides
    assert without == (HIDDEN if mode in ("RGBA", "P", "RGB") else without[:1] * 3) != background


def test_half_a_transparency_is_half_a_background(tmp_path):
    Image.new("RGBA", (1, 1), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert open_rgb(str(tmp_path / "half.png"), (255, 255, 255)).getpixel((0, 0)) == (127,) * 3


def test_an_opaque_image_is_the_same_on_every_background(tmp_path):
    Image.new("CMYK", (1, 1), (0, 100, 200, 30)).save(tmp_path / "cmyk.jpg")
    pixels = {open_rgb(str(tmp_path / "cmyk.jpg"), b).getpixel((0, 0)) for b in (None, (0, 0, 9))}
    assert len(pixels) == 1
