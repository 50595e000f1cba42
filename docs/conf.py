"""The documentation site: ``sphinx-build -W docs docs/_build/html``. The build uses no network."""

import sys
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

from pml_gpw import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "pml-gpw"
author = "the pml-gpw authors"
project_copyright = "2026, the pml-gpw authors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "bars",
    "captions",
    "docstring_layout",
    "formulas",
    "loss_figures",
    "mathml",
    "short_names",
]
exclude_patterns = ["_build"]
default_role = "formula"
html_theme = "furo"
html_title = f"pml-gpw {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(HERE / "_static" / "scorer.js")
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks show the outputs that are stored in them
nb_render_markdown_format = "myst"

autodoc_mock_imports = [p for p in ("sentence_transformers", "torchmetrics") if not find_spec(p)]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # an override without words of its own is not repeated
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Errors"]

nitpicky = True
MENTIONED = (
    "T|Archive|CheckedParts|Comparison|ConfigFields|Differentiated|Factors|Keys|LatestShare|Module|PairLoss"
    "|Pairs|PMLPairLoss|Records|RowContext"
    "|SplitSize|TrainedFields|_\\w+"
)
"""What annotations mention and is not public."""

nitpick_ignore_regex = [
    # Names of other packages: their documentation would be looked up over the network.
    ("py:.*", r"(abc|collections|enum|os|pathlib|typing_extensions)(\..*)?"),
    ("py:.*", r"(matplotlib|numpy|pandas|pytorch_metric_learning|torch)(\..*)?"),
    ("py:.*", r"(lightning|sentence_transformers|torchmetrics|transformers)(\..*)?"),
    ("py:.*", r"Axes|pd\.DataFrame"),
    ("py:.*", rf"pml_gpw(\.\w+)*\.({MENTIONED})"),
    ("py:.*", r"CannotFuse|pml_gpw\.engine\.(compiled|fused)|.*\.VerificationReport"),
]

NOTEBOOKS = HERE / "notebooks"
"""Copies of the notebooks, which a source folder has to hold; not in git."""


def copy_notebooks(app: Sphinx) -> None:
    """Copy the repository's notebooks, with links that hold in the place of the copy."""
    NOTEBOOKS.mkdir(exist_ok=True)
    for source in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        text = source.read_text(encoding="utf-8")
        text = text.replace("(../benchmarks/results/similarity-usage.md", "(../similarity_usage.md")
        text = text.replace("](../benchmarks/", "](../../benchmarks/")
        text = text.replace("](../docs/", "](../")
        copy = NOTEBOOKS / source.name
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def link_copies(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead links to notebooks, which hold in the repository, to their pages."""
    source[0] = source[0].replace("](../notebooks/", "](notebooks/")


def skip_aliases(app: Sphinx, what: str, name: str, thing: object, *rest: object) -> bool | None:
    """Leave out the fields of a named tuple of which there is nothing but their number to tell."""
    return True if (thing.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", link_copies)
    app.connect("autodoc-skip-member", skip_aliases)
