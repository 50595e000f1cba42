"""The layout of docstrings: errors begin a paragraph, and ``Positive`` is written by its name."""

from sphinx.application import Sphinx

ERRORS = "Errors: "
POSITIVE = "~typing.Annotated[float, 'positive']"


def set_errors_apart(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Begin a paragraph where a line begins with errors, in place."""
    for number in reversed(range(len(lines))):
        if lines[number].lstrip().startswith(ERRORS):
            lines[number] = lines[number].replace(ERRORS, f"**{ERRORS.strip()}** ", 1)
            lines.insert(number, "")


def name_positive(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write the annotation of fields that are above 0 by its name."""
    return signature and signature.replace(POSITIVE, "Positive"), returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", set_errors_apart)
    app.connect("autodoc-process-signature", name_positive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
