"""The font faces that matplotlib ships, and which letters each of them has.

DejaVu (Bitstream Vera licence; the DejaVu changes are public domain) and STIX (STIX Font
Licence): both licence texts lie beside the font files in matplotlib. Nothing is downloaded.
"""

import unicodedata
from pathlib import Path

from ...optional import import_optional

# The two "Display" faces and the mathematical sizes have a few dozen characters only, and
# LastResort has a box for everything.
FACES = (
    *(
        f"DejaVu{family}{style}"
        for family, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
        for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
    ),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)


def font_files() -> list[Path]:
    """Return the font file of each face, in the order of ``FACES``."""
    folder = Path(import_optional("matplotlib", "glyphs").get_data_path(), "fonts", "ttf")
    files = [folder / f"{face}.ttf" for face in FACES]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"matplotlib's font folder {folder} lacks {', '.join(missing)}: "
            "Glyphs needs the fonts of an unmodified matplotlib"
        )
    return files


def script(letter: str) -> str:
    """Return the script of a letter, the first word of its Unicode name, such as ``"GREEK"``."""
    return unicodedata.name(letter, "UNNAMED").partition(" ")[0]


def faces_of_letters(scripts: tuple[str, ...], min_faces: int) -> dict[str, list[int]]:
    """Map each letter of ``scripts`` to the faces, as indices into ``FACES``, that have it.

    The order is that of the scripts, as given, then of the code points; letters in fewer than
    ``min_faces`` faces are left out. Digits, marks, symbols and punctuation are not letters, and
    modifier letters (ͺ, ₒ), which are small copies of others, are left out too.
    """
    ft2font = import_optional("matplotlib.ft2font", "glyphs")
    faces: dict[str, list[int]] = {}
    for face, path in enumerate(font_files()):
        for code in ft2font.FT2Font(str(path)).get_charmap():
            faces.setdefault(chr(code), []).append(face)
    letters = [
        letter
        for letter in faces
        if unicodedata.category(letter) in ("Lu", "Ll", "Lt", "Lo")
        and script(letter) in scripts
        and len(faces[letter]) >= min_faces
    ]
    letters.sort(key=lambda letter: (scripts.index(script(letter)), letter))
    return {letter: faces[letter] for letter in letters}
