"""The tests with the lowest and the newest releases of all dependencies, and without PML.

See CONTRIBUTING.md.

`nox -s lowest`, `nox -s newest` and `nox -s without_pml`; `-P 3.13` takes another Python, and what
follows `--` goes to pytest.
"""

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"

ROOMS = (
    "tests/everywhere",
    *(f"tests/{room}" for room in ("analysis", "backbones", "datasets", "distributed", "engine")),
    *(f"tests/{room}" for room in ("evaluation", "integrations", "mining", "modules", "training")),
    "tests/weightings",
)
"""The tests of what needs no pytorch-metric-learning."""


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Each dependency that pyproject.toml names in the lowest release that it allows.

    Of wheels only: a newer Python passes over releases that are too old to have one for it.
    """
    session.install("--no-build", "--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", *session.posargs, env={"PML_GPW_LOWEST": "1"})


@nox.session(python="3.12")
def newest(session: nox.Session) -> None:
    """Each dependency in its newest release."""
    session.install("--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def without_pml(session: nox.Session) -> None:
    """What runs without pytorch-metric-learning, where it is not installed."""
    session.install("-e", ".[test]")
    session.run("uv", "pip", "uninstall", "pytorch-metric-learning", external=True)
    session.run("pytest", *(session.posargs or ROOMS), env={"PML_GPW_ENVIRONMENT": "none"})
