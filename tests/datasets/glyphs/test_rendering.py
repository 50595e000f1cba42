import numpy as np

from pml_gpw.datasets.glyphs import construction, fonts, rendering


def test_a_distortion_cuts_nothing_off():
    """All of the letter but its outermost pixel stays inside, wherever the corners go."""
    side, margin = rendering.RENDER_SIZE, round((rendering.MARGIN + 1) * rendering.SCALE)
    square = np.zeros((side, side), np.uint8)
    square[margin:-margin, margin:-margin] = 255
    for seed in range(300):
        generator = np.random.default_rng(seed)
        options = {"max_shift": construction.MAX_SHIFT, "max_fade": 0, "noise": 0}
        image = rendering.distort(square, generator, **options)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert border.max() == 0
        assert image.max() == 255


def test_a_blank_letter_is_not_rendered():
    font = rendering.load_font(fonts.font_files()[0])
    assert rendering.render_letter(font, " ") is None
    image = rendering.render_letter(font, "l")
    assert image.shape == (48, 48)
    rows = np.flatnonzero(image.any(axis=1))
    assert (rows[0], rows[-1]) == (6, 41)
