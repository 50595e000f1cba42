"""Every figure of README and the pages is held by a test or stands in a committed file.

``claims.csv`` lists them: the page, words of the sentence, and what holds it. A file holds the
figures that it has; a test, as ``tests/x.py::test_y``, holds what it names.
"""

import csv
import re
from pathlib import Path

import pytest

from pml_gpw.engine import plan
from pml_gpw.weightings import BinomialDeviance

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
UNIT = r"%|×|x\b|(?:ms|s|MB|GB|KB|kB|MiB|GiB|points?|times|minutes?|seconds?|hours?|bytes)\b"
FIGURE = re.compile(rf"±|\d(?:[\d,.]*\d)?\s*(?:{UNIT})")
NOT_PROSE = re.compile(r"^```.*?^```|\$\$.*?\$\$|^\|.*?$|\$[^$\n]*\$|^!\[.*?$", re.S | re.M)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
with Path(__file__).with_name("claims.csv").open(encoding="utf-8", newline="") as file:
    CLAIMS = [tuple(row) for row in csv.reader(file)][1:]


def plain(text):
    return " ".join(text.split())


def sentences(text):
    """The sentences of the prose of a page, without code, formulas, tables and pictures."""
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", NOT_PROSE.sub("\n\n", text)):
        yield from re.split(r"(?<=[.:;])\s+(?=[A-Z*`(])", plain(paragraph))


def numbers(text):
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def has(known, quoted):
    """True where a number of a file rounds to the quoted one, as it is or in percent."""
    digits = len(quoted.partition(".")[2])
    value = float(quoted.replace(",", ""))
    return any(round(scale * number, digits) == value for number in known for scale in (1, 100))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_of_a_page_is_listed(page):
    name = page.relative_to(ROOT).as_posix()
    listed = [words for place, words, _ in CLAIMS if place == name]
    found = [s for s in sentences(page.read_text(encoding="utf-8")) if FIGURE.search(s)]
    assert [s for s in found if not any(words in s for words in listed)] == []


@pytest.mark.parametrize(("page", "words", "holder"), CLAIMS)
def test_a_listed_figure_is_held(page, words, holder):
    assert words in plain((ROOT / page).read_text(encoding="utf-8"))
    path, _, test = holder.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    if test:
        assert re.search(rf"^def {test}\(", text, re.MULTILINE)
    else:
        known = numbers(text)
        assert [quoted for quoted in NUMBER.findall(words) if not has(known, quoted)] == []


def test_a_figure_that_no_one_holds_is_noticed():
    (found,) = [s for s in sentences("It takes\n12 ms. `x` is fast.") if FIGURE.search(s)]
    assert found == "It takes 12 ms."
    assert has([0.1234], "12")
    assert has([12.34], "12.3")
    assert not has([12.34], "12.4")


def test_what_follows_from_defaults():
    assert BinomialDeviance().beta / BinomialDeviance().alpha == 25
    held = [4 * count / 2**20 for count in (plan.HELD_ELEMENTS, plan.ACCELERATOR_CHUNK_ELEMENTS)]
    assert held == [64, 128], "MB of similarities in float32"
    missed = 20 * (1 - 0.95)
    assert missed == pytest.approx(1), "of twenty intervals of 95 %"
