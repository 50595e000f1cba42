"""Every dependency has a lower bound, and ``nox -s lowest`` runs the tests with exactly those."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
USED = PROJECT["dependencies"] + [r for name in EXTRAS if name != "dev" for r in EXTRAS[name]]


def bounds(lines):
    """Each requirement with its lower bounds."""
    requirements = [Requirement(line) for line in lines]
    return [
        (requirement, [s.version for s in requirement.specifier if s.operator == ">="])
        for requirement in requirements
        if requirement.name != PROJECT["name"]
    ]


def test_every_dependency_has_one_lower_bound():
    found = {}
    for requirement, lowest in bounds(USED + EXTRAS["dev"]):
        assert len(lowest) == 1, requirement
        assert found.setdefault(requirement.name, lowest) == lowest, requirement


def test_contributing_names_the_lowest_releases():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for requirement, (lowest,) in bounds(USED):
        assert f"{requirement.name} {lowest}" in text


@pytest.mark.skipif("PML_GPW_LOWEST" not in os.environ, reason="for `nox -s lowest`")
@pytest.mark.skipif(sys.version_info >= (3, 11), reason="a newer Python may lift bounds")
def test_the_lowest_environment_holds_the_bounds():
    for requirement, (lowest,) in bounds(USED):
        if requirement.marker is None or requirement.marker.evaluate():
            found = Version(version(requirement.name)).public
            assert Version(found) == Version(lowest), requirement
