"""The scripts that make the tables and figures; see ``benchmarks/README.md`` for the rules."""

from importlib.util import find_spec

from pml_gpw.optional import not_installed

for package in ("typer", "pandas", "matplotlib", "tqdm"):
    if find_spec(package) is None:
        raise not_installed(package, "benchmarks")
