"""The tests with the lowest and with the newest releases of all dependencies; see CONTRIBUTING.md.

`nox -s lowest` and `nox -s newest`; `-P 3.13` takes another Python, and what follows `--` goes to
pytest.
"""

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"


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
