"""Captions of figures: the words that stand for a picture are its title on the page as well."""

from docutils import nodes
from sphinx.application import Sphinx


def caption(app: Sphinx, document: nodes.document) -> None:
    """Make a figure of each picture that is a paragraph by itself; one word is a file's name."""
    for paragraph in [*document.findall(nodes.paragraph)]:
        if len(paragraph) == 1 and isinstance(paragraph[0], nodes.image):
            image = paragraph[0]
            title = image.get("alt", "")
            if " " in title:
                figure = nodes.figure("", image, nodes.caption("", title))
                document.set_id(figure)
                paragraph.replace_self(figure)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", caption)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
