import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pml_gpw.datasets import CUB200, ImageFolder
from pml_gpw.datasets.rgb import open_rgb


def test_files_that_are_cut_off_or_no_images(copy_of):
    dataset, root = copy_of("InShop")
    path = Path(dataset(root, dataset.queries).paths[3])
    for content in (path.read_bytes()[:300], b"<html>404</html>"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
            dataset(root, dataset.queries)[3]
        problems = dataset.verify(root, progress=False).problems
        assert any(f"{path} cannot be read as an image" in p for p in problems)
        assert not any("be read" in p for p in dataset.verify(root, decode=False).problems)


HIDDEN, SHOWN = (10, 20, 30), (200, 100, 50)


def transparent(path, mode):
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([*HIDDEN, *SHOWN])
    for x, colour in enumerate((HIDDEN, SHOWN)):
        image.putpixel((x, 0), {"P": x, "RGBA": (*colour, 255 * x)}.get(mode, colour))
    image.save(path, **{"P": {"transparency": 0}, "RGB": {"transparency": HIDDEN}}.get(mode, {}))


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_transparency_is_composited_on_the_background(tmp_path, mode):
    path = tmp_path / "transparent.png"
    transparent(path, mode)
    for background in (None, (255, 0, 0)):
        got = open_rgb(str(path), background)
        assert got.mode == "RGB"
        assert got.getpixel((0, 0)) == (background or HIDDEN)
        assert got.getpixel((1, 0)) == SHOWN


RAMP = np.linspace(0, 255, 8).astype(np.uint8)[None]
OF_16_BITS = RAMP.astype(np.uint16) * 257


def tiff_of_12_bits(path):
    """Rows of 12 bits a pixel, which Pillow reads and does not write."""
    values = (RAMP[0] * (4095 / 255)).round().astype(int)
    packed = int("".join(f"{value:012b}" for value in values), 2).to_bytes(12, "big")
    tags = {256: 8, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(packed))
    path.write_bytes(header + packed + struct.pack("<H", len(tags)) + entries + b"\0" * 4)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((f"16.{kind}", OF_16_BITS) for kind in ("png", "tif", "pgm")),
        ("big-endian.tif", OF_16_BITS.astype(">u2")),
        ("12.tif", tiff_of_12_bits),
        ("float.tif", RAMP.astype(np.float32) / 255),
    ],
)
def test_grey_of_more_than_8_bits_is_scaled(tmp_path, name, values):
    """A ramp from black to white stays one, whatever it is kept in: 0, 36, 72, …, 255."""
    path = tmp_path / name
    if callable(values):
        values(path)
    else:
        Image.fromarray(values).save(path)
    pixels = np.asarray(open_rgb(str(path)))
    assert pixels.shape == (1, 8, 3)
    assert (pixels == RAMP[..., None]).all(), pixels[0, :, 0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (OF_16_BITS.astype(np.int32), "its 32-bit integers have no known range: save it with 8"),
        (RAMP.astype(np.float32), r"its grey values must be in 0\.\.1, got 0 to 255"),
        (-RAMP.astype(np.float32), r"its grey values must be in 0\.\.1, got -255 to -?0"),
        (np.full((1, 2), np.nan, np.float32), r"its grey values must be in 0\.\.1, got nan to nan"),
    ],
)
def test_grey_without_a_known_range_is_refused(tmp_path, values, said):
    path = tmp_path / "1.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image: {said}"):
        open_rgb(str(path))


def test_the_transparent_grey_of_16_bits(tmp_path):
    Image.fromarray(OF_16_BITS).save(tmp_path / "1.png", transparency=int(OF_16_BITS[0, 2]))
    pixels = np.asarray(open_rgb(str(tmp_path / "1.png"), (255, 0, 0)))[0]
    assert pixels[2].tolist() == [255, 0, 0]
    assert pixels[3].tolist() == [RAMP[0, 3]] * 3


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_orientation_of_a_camera(tmp_path, miniature_roots, suffix):
    """Pictures of one's own are upright; those that are published, as they were evaluated."""
    (tmp_path / "ash").mkdir()
    picture = Image.new("RGB", (32, 16))
    picture.paste((255, 255, 255), (0, 0, 16, 16))  # white at the left: above, when upright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    picture.save(tmp_path / f"ash/1.{suffix}", exif=exif, quality=95)
    upright, label = ImageFolder(tmp_path)[0]
    assert (upright.size, label) == ((16, 32), 0)
    assert upright.getpixel((8, 4))[0] > 200 > 50 > upright.getpixel((8, 28))[0]
    assert ImageFolder(tmp_path, exif_orientation=False)[0][0].size == (32, 16)
    published = CUB200(miniature_roots["CUB200"])
    published.paths[0] = str(tmp_path / f"ash/1.{suffix}")
    assert published[0][0].size == (32, 16)
