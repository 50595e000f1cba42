"""The names of the page on upgrading are where it says, and those that are gone are gone."""

import pkgutil
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "upgrading.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(pml_gpw[\w.]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE)
assert len(ROWS) > 50
STILL_WORK = ("pml_gpw.checks.", "pml_gpw.distributed.distributed_")


def is_there(name):
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize(("former", "now"), ROWS)
def test_names_are_where_the_page_says(former, now):
    if "hosts.pml2" in now:
        pytest.importorskip("pytorch_metric_learning.losses")
    assert is_there(former) == former.startswith(STILL_WORK)
    for name in re.findall(r"`(pml_gpw[\w.]+)`", now):
        assert is_there(name)
    assert now.startswith("gone") or "`pml_gpw" in now
