"""The site builds without a warning, has every public name, and its links lead somewhere."""

import importlib
import re
import shutil
import subprocess
import sys
import zlib
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ..test_docstrings import SUBPACKAGES
from .test_search import SUBJECTS

DOCS = Path(__file__).parents[2] / "docs"
ANY_PAGE = {"", "top"}  # fragments that every page has


def build(folder):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", DOCS, folder / "html"]
    return subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)


def broken_links(html):
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(html.rglob("*.html"))}
    anchors = {path: {*re.findall(r' (?:id|name)="(.*?)"', text)} for path, text in pages.items()}
    for path, text in pages.items():
        for link in map(unescape, re.findall(r' (?:href|src)="(.+?)"', text)):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            found = anchors.get(target, {url.fragment}) | ANY_PAGE
            if not target.exists() or unquote(url.fragment) not in found:
                yield f"{path.name}: {link}"


def scripts_and_styles_from_elsewhere(html):
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for tag in ('src="http', "src='http", 'rel="stylesheet" type="text/css" href="http'):
            if tag in text:
                yield f"{path.name}: {tag}"


def documented_objects(html):
    *_, packed = (html / "objects.inv").read_bytes().split(b"\n", 4)
    for line in zlib.decompress(packed).decode().splitlines():
        name, kind = line.split()[:2]
        if kind in ("py:class", "py:function", "py:data", "py:exception"):
            module, _, own = name.rpartition(".")
            yield getattr(importlib.import_module(module), own)


def found_first(html, query):
    """The page that a browser shows first for a query."""
    address = f"{(html / 'search.html').as_uri()}?q={query.replace(' ', '+')}"
    options = ("--headless", "--no-sandbox", "--virtual-time-budget=8000", "--dump-dom")
    shown = subprocess.run(["chromium", *options, address], capture_output=True, text=True)
    (first, *_) = re.findall(r'<li class="kind-\w+"><a href="(\w+)\.html', shown.stdout)
    return first


def test_the_site(tmp_path):
    for package in ("sphinx", "furo", "myst_nb", "sphinx_copybutton", "latex2mathml"):
        pytest.importorskip(package)
    built = build(tmp_path)
    assert built.returncode == 0, built.stderr
    html = tmp_path / "html"
    assert list(broken_links(html)) == []
    assert list(scripts_and_styles_from_elsewhere(html)) == []
    documented = {id(thing) for thing in documented_objects(html)}
    assert len(documented) > 80
    for subpackage in SUBPACKAGES:
        module = importlib.import_module(subpackage)
        things = {name: getattr(module, name) for name in module.__all__ if name != "host"}
        missing = [name for name, thing in things.items() if id(thing) not in documented]
        assert missing == [], f"{subpackage}: no page of docs/api has these"
    if shutil.which("chromium"):
        assert {query: found_first(html, query) for query in SUBJECTS} == SUBJECTS


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html">b</a> <a href="#here">x</a> <a id="there">')
    assert list(broken_links(tmp_path)) == ["a.html: b.html", "a.html: #here"]
