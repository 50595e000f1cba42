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


def bounds(*lists):
    """Requirements with their lower bounds; of one that two extras name, both."""
    requirements = [Requirement(line) for lines in lists for line in lines]
    return {
        (requirement, specifier.version)
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }


def test_every_dependency_has_one_lower_bound():
    lines = {line for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines}
    names = {Requirement(line).name for line in lines} - {PROJECT["name"]}
    bounded = [requirement.name for requirement, _ in bounds(lines)]
    assert sorted(bounded) == sorted(names)


def test_contributing_names_the_lowest_environment():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for requirement, lowest in bounds(*tested()):
        assert f"{requirement.name} {lowest}" in text


@pytest.mark.skipif("PML_GPW_LOWEST" not in os.environ, reason="what `nox -s lowest` installs")
@pytest.mark.skipif(sys.version_info >= (3, 11), reason="newer Pythons lift some bounds")
def test_the_lowest_environment_holds_the_bounds():
    for requirement, lowest in bounds(*tested()):
        if requirement.marker is None or requirement.marker.evaluate():
            assert Version(version(requirement.name)).release[:3] == Version(lowest).release
    

def tested():
    return PROJECT["dependencies"], *(lines for name, lines in EXTRAS.items() if name != "dev")
