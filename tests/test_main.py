"""What ``python -m`` says of the package and of the benchmarks."""

import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def test_the_package_lists_its_commands():
    done = python("-m", "pml_gpw")
    for command in ("pml_gpw.datasets verify", "pml_gpw.datasets download", "benchmarks"):
        assert f"python -m {command} " in done.stdout


def test_the_benchmarks_are_listed_with_what_they_measure():
    done = python("-m", "benchmarks")
    listed = [line.split()[0] for line in done.stdout.splitlines()[2:] if line[20:]]
    files = Path(benchmarks.__file__).parent.glob("[!_]*.py")
    assert listed == sorted(path.stem for path in files)


@pytest.mark.parametrize("package", ["typer", "pandas"])
def test_a_benchmark_without_the_extra_names_it(package):
    done = python("-c", f"import sys; sys.modules[{package!r}] = None; import benchmarks.speed")
    said = f'ImportError: {package} is needed here and not installed: pip install "pml-gpw[benchm'
    assert said in done.stderr.splitlines()[-1]
