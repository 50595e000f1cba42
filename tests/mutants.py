"""Faults put into the package, and the tests that notice them: `python -m tests.mutants`.

Places are drawn by seed in proportion to the code lines of the files, and never chosen; those of
``mutants.json``, each with the answer that was found, are looked at as well. A map says which
tests of the suite without ``exhaustive`` pass which line. For each place these tests run until the
first one fails. A run that was stopped goes on, and ``tests/mutants.md`` is written.
"""

import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from tqdm import tqdm

from .code_lines import code_lines
from .mutations import Mutation, mutations

ROOT = Path(__file__).parents[1]
REPORT, ANSWERS = ROOT / "tests" / "mutants.md", ROOT / "tests" / "mutants.json"
ROOMS = ("weightings", "mining", "engine", "modules", "evaluation")
PLACES = (*(f"{room}/**/*.py" for room in ROOMS), "training/sampling.py")
HEAVY = ("torch", "pytorch_metric_learning.losses", "hypothesis", "pandas", "pytest", "sklearn")
"""What all tests import, imported once before the processes that run them are forked."""
LIMIT = 60
"""Seconds after which a mutant counts as one that nobody notices."""
FAILED = re.compile(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", re.MULTILINE)
DURATION = re.compile(r"^([\d.]+)s (?:call|setup)\s+(\S.*?)\s*$", re.MULTILINE)


class Mutant(NamedTuple):
    """A file of the repository with one fault, what the line was and is, and what was found."""

    path: str
    kind: str
    line: int
    before: str
    after: str
    source: str
    answer: str = ""
    is_extra: bool = False  # not drawn

    @property
    def key(self) -> str:
        """What the mutant is called in files: not by its line number, which moves."""
        return f"{self.path}: {self.before} -> {self.after}"


def mutant_of(path: Path, source: bytes, mutation: Mutation) -> Mutant:
    """The mutant that a mutation makes of a file."""
    faulty = mutation.apply(source)
    count = source[mutation.start : mutation.end].count(b"\n")
    changed = mutation.text.count("\n")

    def lines(text: bytes, more: int) -> str:
        whole = text.decode().split("\n")[mutation.line - 1 : mutation.line + more]
        return " ".join(line.strip() for line in whole)

    return Mutant(
        path.relative_to(ROOT).as_posix(),
        mutation.kind,
        mutation.line,
        lines(source, count),
        lines(faulty, changed),
        faulty.decode(),
    )


def drawn(count: int, seed: int) -> list[Mutant]:
    """Mutants of different places: a file by its code lines, then a line, then a fault of it."""
    files = sorted({path for place in PLACES for path in (ROOT / "pml_gpw").glob(place)})
    sources = {path: path.read_bytes() for path in files}
    weights = [code_lines(sources[path].decode()) for path in files]
    left: dict[Path, dict[int, list[Mutation]]] = {path: defaultdict(list) for path in files}
    for path, source in sources.items():
        for mutation in mutations(source):
            left[path][mutation.line].append(mutation)
    made, choice = [], random.Random(seed)
    while len(made) < count:
        path = choice.choices(files, weights)[0]
        if left[path]:
            of_line = left[path].pop(choice.choice(sorted(left[path])))
            made.append(mutant_of(path, sources[path], choice.choice(of_line)))
    return made


def answered() -> dict[str, Mutant]:
    """The mutants of ``mutants.json`` by their keys: the first line that is as it stands there."""
    made = {}
    for entry in json.loads(ANSWERS.read_text(encoding="utf-8")):
        before, after = entry["before"], entry["after"]
        text = (ROOT / entry["path"]).read_text(encoding="utf-8")
        if before not in text:
            raise ValueError(f"{ANSWERS.name}: {entry['path']} must have {before!r}")
        line = text[: text.index(before)].count("\n") + 1
        faulty = text.replace(before, after, 1)
        mutant = Mutant(entry["path"], "chosen", line, before, after, faulty, entry["answer"], True)
        made[mutant.key] = mutant
    return made


def copy_of_repository(folder: Path) -> Path:
    """A copy of what the tests read, at ``folder``, as the index of git has it."""
    command = ["git", "checkout-index", "--all", f"--prefix={folder}/"]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def environment(copy: Path) -> dict[str, str]:
    """The environment of tests of a copy: the same examples in each run, and no compiled files."""
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1", "CI": "1"}


def covering_tests(work: Path) -> dict[str, dict[int, list[str]]]:
    """For each file and line of the package the tests that pass it, quick and unlike ones first.

    Tests that fail in a forked process, before there is a mutant, are left out.
    """
    kept = work / "map.json"
    if not kept.exists():
        copy = copy_of_repository(work / "map")
        command = [sys.executable, "-m", "pytest", "--durations=0", "-vv", "--cov=pml_gpw"]
        command += ["--cov-context=test", "--cov-report="]
        run = subprocess.run(
            command, cwd=copy, env=environment(copy), capture_output=True, text=True
        )
        if run.returncode:
            raise SystemExit(f"the tests fail before there is a mutant:\n{run.stdout[-4000:]}")
        found = _read_map(copy, run.stdout)
        found["unfit"] = _failures(copy, found["tests"], "--maxfail=1000", limit=3600)
        kept.write_text(json.dumps(found), encoding="utf-8")
    stored = json.loads(kept.read_text(encoding="utf-8"))
    tests = dict(enumerate(stored["tests"]))
    fit = {i: test for i, test in tests.items() if test not in stored["unfit"]}
    return {
        path: {int(line): [fit[i] for i in found if i in fit] for line, found in lines.items()}
        for path, lines in stored["lines"].items()
    }


def _read_map(copy: Path, output: str) -> dict[str, list[str] | dict]:
    from coverage import CoverageData

    seconds: Counter[str] = Counter()
    for duration, test in DURATION.findall(output):
        seconds[test] += float(duration)
    data = CoverageData(str(copy / ".coverage"))
    data.read()
    names = {context.rpartition("|")[0] for context in data.measured_contexts()} - {""}
    tests = _unlike_first(names, seconds)
    number = {test: i for i, test in enumerate(tests)}
    lines: dict[str, dict[int, list[int]]] = {}
    for path in data.measured_files():
        lines[Path(path).relative_to(copy).as_posix()] = {
            line: sorted({number[name] for c in contexts if (name := c.rpartition("|")[0])})
            for line, contexts in data.contexts_by_lineno(path).items()
        }
    return {"tests": tests, "lines": lines}


def _unlike_first(names: set[str], seconds: Counter[str]) -> list[str]:
    """The quickest test of each file, then the second one of each, and so on."""
    places: Counter[str] = Counter()
    ranked = []
    for name in sorted(names, key=lambda name: (seconds[name], name)):
        file = name.partition("::")[0]
        ranked.append((places[file], seconds[name], name))
        places[file] += 1
    return [name for _, _, name in sorted(ranked)]


def tests_for(mutant: Mutant, covering: dict[str, dict[int, list[str]]]) -> list[str]:
    """The tests that pass the mutant's line, or, of a line that runs on import, its file.

    Those of the same file come first, then those of the same folder; a test that is the mutant's
    answer is the only one.
    """
    if "::" in mutant.answer:
        return [mutant.answer]
    lines = covering.get(mutant.path, {})
    found = lines.get(mutant.line, [])
    if not found:
        count: Counter[str] = Counter(test for of_line in lines.values() for test in of_line)
        found = [test for test, _ in count.most_common()]
    _, folder, *_ = Path(mutant.path).parts
    own = mutant.path, f"tests/{folder}/test_{Path(mutant.path).stem}.py"
    return sorted(
        found,
        key=lambda test: 2 - test.startswith(own) - test.startswith((f"tests/{folder}/", own[0])),
    )


def judge(mutant: Mutant, tests: list[str], work: str) -> tuple[Mutant, str, float]:
    """What becomes of a mutant: the test that fails, "no test fails" or "no test passes here"."""
    copy = Path(work) / f"copy-{os.getpid()}"
    if not copy.exists():
        copy_of_repository(copy)
    place = copy / mutant.path
    begun, sound = time.monotonic(), place.read_text(encoding="utf-8")
    place.write_text(mutant.source, encoding="utf-8")
    try:
        failed = _failures(copy, tests, "-x", limit=LIMIT) if tests else ["no test passes here"]
        outcome = failed[0] if failed else "no test fails"
    finally:
        place.write_text(sound, encoding="utf-8")
    return mutant, outcome, time.monotonic() - begun


def _failures(copy: Path, tests: list[str], *options: str, limit: float) -> list[str]:
    """The tests that fail within some seconds, in a process of their own; [] where none does."""
    output = copy / "output.txt"
    child = os.fork()
    if not child:
        os.setsid()
        _run_tests(copy, [*tests, *options], output)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return []
    failed = FAILED.findall(output.read_text(errors="replace"))
    return failed or (["the tests cannot begin"] if status else [])


def _run_tests(copy: Path, arguments: list[str], output: Path) -> None:
    """The tests in this process, a copy of one that has imported what they need; never returns."""
    code = 3
    try:
        os.chdir(copy)
        os.environ.update(environment(copy))
        sys.path.insert(0, str(copy))
        for name in [
            n for n in sys.modules if n.partition(".")[0] in ("pml_gpw", "tests", "benchmarks")
        ]:
            del sys.modules[name]
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        import pytest

        code = pytest.main([*arguments, "-n0", "-p", "no:cacheprovider", "--tb=line"])
    finally:
        sys.stdout.flush()
        os._exit(code)


def write_report(mutants: list[Mutant], outcomes: dict[str, str], seed: int, hours: float) -> None:
    """How many are noticed, and the table of those that no test noticed, each with its answer."""
    seen = {m.key: not outcomes[m.key].startswith("no test") for m in mutants}
    at_random = [m for m in mutants if not m.is_extra]
    equal = sum(m.answer.startswith("equal") for m in at_random)
    noticed = sum(seen[m.key] for m in at_random)
    text = f"""# Mutants

`python -m tests.mutants` puts one fault after the other into the package and runs the tests of the
suite without `exhaustive` that pass its line, until one fails.

{len(at_random)} places, drawn by seed {seed} in proportion to code lines, in {hours:.1f} hours:
{noticed} are noticed, {equal} change nothing that the program returns. Of those that differ,
{noticed / max(len(at_random) - equal, 1):.1%} are noticed.

| fault | drawn | noticed |
|---|---|---|
"""
    for kind, number in Counter(m.kind for m in at_random).most_common():
        text += f"| {kind} | {number} | {sum(seen[m.key] for m in at_random if m.kind == kind)} |\n"
    text += "\n## Those that no test noticed at first\n\n"
    text += "| place | before | after | now | answer |\n|---|---|---|---|---|\n"
    for m in mutants:
        if m.answer or not seen[m.key]:
            now = "noticed" if seen[m.key] else "not noticed"
            lines = (f"`{' '.join(t.split())}`".replace("|", "\\|") for t in (m.before, m.after))
            text += f"| {m.path} | {' | '.join(lines)} | {now} | {m.answer or 'none yet'} |\n"
    REPORT.write_text(text, encoding="utf-8")


def main(
    count: Annotated[int, typer.Option(help="Places that are drawn.")] = 240,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    jobs: Annotated[int, typer.Option(help="Mutants at a time.")] = os.cpu_count() or 1,
    work: Annotated[Path, typer.Option(help="Folder of what was found so far.")] = Path(
        "results/mutants"
    ),
) -> None:
    """Run the tests on each mutant, and write tests/mutants.md."""
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for name in HEAVY:
        importlib.import_module(name)
    covering = covering_tests(work)
    answers, at_random = answered(), drawn(count, seed)
    keys = {m.key for m in at_random}
    mutants = [
        m._replace(answer=answers[m.key].answer) if m.key in answers else m for m in at_random
    ]
    mutants += [m for key, m in answers.items() if key not in keys]
    kept = work / "outcomes.jsonl"
    known = {}
    if kept.exists():
        known = dict(json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines())
    tasks = [(m, tests_for(m, covering), str(work)) for m in mutants if m.key not in known]
    # Its processes may have children, as loaders of data are: those of a Pool may not.
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool, kept.open("a") as file:
        futures = [pool.submit(judge, *task) for task in tasks]
        for future in tqdm(as_completed(futures), total=len(futures)):
            mutant, outcome, seconds = future.result()
            known[mutant.key] = [outcome, seconds]
            file.write(json.dumps([mutant.key, known[mutant.key]]) + "\n")
            file.flush()
    hours = sum(seconds for _, seconds in known.values()) / jobs / 3600
    write_report(mutants, {key: outcome for key, (outcome, _) in known.items()}, seed, hours)


if __name__ == "__main__":
    typer.run(main)
