"""The search of the site finds the page of a subject first, as docs/_static/scorer.js orders."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SUBJECTS = {
    "install": "getting_started",
    "recall": "evaluation",
    "supcon": "sup_con",
    "memory": "large_batches",
    "own loss": "your_own",
    "circle": "circle",
    "pictures": "own_pictures",
}


def words(text):
    return re.findall(r"[^\W\d_]+", text.lower())


def titles():
    """The words of the title of each page; the site has notebooks beside its pages."""
    for page in DOCS.glob("*.md"):
        heading = re.search(r"^# (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        yield page.stem, words(heading.group(1)) if heading else []


@pytest.mark.parametrize(("query", "page"), SUBJECTS.items())
def test_the_shortest_title_with_the_words_is_that_of_the_page(query, page):
    found = {
        name: len(title)
        for name, title in titles()
        if all(any(other.startswith(word) for other in title) for word in words(query))
    }
    shortest = min(found.values())
    assert [name for name, length in found.items() if length == shortest] == [page]


def test_links_of_the_front_page_have_the_titles_of_their_pages():
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (\[.*\)) \|$", front, flags=re.MULTILINE)
    links = dict(link for row in rows for link in re.findall(r"\[(.*?)\]\((\w+)\.md\)", row))
    assert len(links) > 10
    for text, page in links.items():
        assert (DOCS / f"{page}.md").read_text(encoding="utf-8").startswith(f"# {text}\n"), text
