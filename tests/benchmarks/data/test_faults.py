"""Faults of files end in one line that names the file, exit code 1, and nothing half-written."""

import errno
import json
import os
import shlex
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import accuracy, pair_weight_cost, paper, scaling, similarity_usage, speed, tables
from benchmarks.data import faults, plan
from pml_gpw.training import FileError, Trainer
from pml_gpw.training.files import write_atomically

from ...limits import room_for
from ..small_runs import SMALL, ok, tables_app
from ..test_accuracy import FewImages
from ..test_tables import WHOLE, write

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")

# All that train or measure; paper stands below.
COMMANDS = [accuracy, pair_weight_cost, scaling, similarity_usage, speed, tables]
SHORT = ("--iterations", 4, "--evaluate-every", 2)


def run(main, *arguments):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fault(result, *parts):
    """The one line that is told."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert all(str(part) in lines[0] for part in parts), lines[0]
    return lines[0]


def fails(number):
    def function(*names, **_):
        raise OSError(number, os.strerror(number), *names[:1])

    return function


# --- every command -------------------------------------------------------------------------------


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setitem(plan.DATASETS, "Glyphs", FewImages)
    return ("--batch", 20, "--dims", 8, "--losses", "SNP", "--seeds", 1, "--iterations", 1)


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_takes_no_files_is_told_before_any_work(
    monkeypatch, few_images, tmp_path, module, number
):
    monkeypatch.setattr(tempfile, "mkstemp", fails(number))
    options = few_images if module is accuracy else ()
    result = run(module.main, *options, "--output", tmp_path)
    fault(result, tmp_path, os.strerror(number), "another folder")
    assert "it/s" not in result.output
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("long", [False, True])
def test_a_file_for_a_folder_is_an_error_of_the_option(few_images, tmp_path, module, long):
    path = tmp_path / ("a" * 5000 if long else "file")
    if not long:
        path.touch()
    result = run(module.main, *(few_images if module is accuracy else ()), "--output", path)
    assert result.exit_code == 2, result.output
    words = " ".join(result.output.replace("│", " ").split())
    assert "--output: must be a folder to write to, got" in words
    assert len(words) < 800


def test_errors_of_the_program_keep_their_traceback(monkeypatch, tmp_path):
    def wrong(*_):
        raise KeyError("recall")

    monkeypatch.setattr(tables, "ours", wrong)
    result = run(tables.main, "--output", tmp_path)
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    "error",
    [
        OSError("of no file"),
        RuntimeError("of no file"),
        sqlite3.OperationalError("no such table: t"),
        BrokenPipeError(errno.EPIPE, "", "out"),
    ],
)
def test_errors_that_are_not_about_files_are_not_taken_for_such(error):
    @faults.command
    def main():
        with faults.within(Path("folder")):
            raise error

    with pytest.raises(type(error)) as caught:
        main()
    assert caught.value is error


@pytest.mark.parametrize("option", ["--runs", "--root", "--weights"])
def test_very_long_paths_give_short_errors(invoke, option):
    path = "/" + "a" * 5000
    of_tables = option == "--runs"
    result = run(tables.main, option, path) if of_tables else invoke("CUB200", option, path)
    assert result.exit_code == 2
    assert option in result.output
    assert len(result.output) < 2000
    assert "Traceback" not in result.output


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_takes_no_runs(invoke, monkeypatch, tmp_path, number):
    monkeypatch.setattr(tempfile, "mkstemp", fails(number))
    fault(invoke("CUB200", *SHORT), tmp_path / "runs", os.strerror(number), "another folder")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("database or disk is full", "make room"),
        ("attempt to write a readonly database", "another folder"),
        ("file is not a database", "--fresh"),
    ],
)
def test_faults_of_a_database_of_logs(invoke, monkeypatch, tmp_path, said, advice):
    def wrong(*_):
        raise sqlite3.DatabaseError(said)

    monkeypatch.setattr(Trainer, "train_epoch", wrong)
    fault(invoke("CUB200", *SHORT), tmp_path / "runs", said, advice)


def fails_for_memory(*_):
    raise MemoryError


@pytest.mark.parametrize("work", [fails_for_memory, lambda *_: torch.empty(10**16)])
def test_memory_that_does_not_suffice(monkeypatch, tmp_path, work):
    monkeypatch.setattr(tables, "ours", work)
    fault(run(tables.main, "--output", tmp_path), "memory does not suffice; give smaller numbers")


# --- a full disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fill",
    [
        lambda path: path.write_bytes(bytes(5000)),
        lambda path: torch.save({"x": torch.zeros(5000)}, path),
    ],
)
def test_a_file_that_finds_no_room_leaves_the_old_one(tmp_path, fill):
    target = tmp_path / "table.md"
    write_atomically(target, lambda path: path.write_text("one"))
    with room_for(1000), pytest.raises(FileError, match=r"table\.md cannot be .*make room"):
        write_atomically(target, fill)
    assert target.read_text() == "one"
    assert os.listdir(tmp_path) == ["table.md"]


@pytest.mark.parametrize("room", [0, 5_000, 100_000])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(invoke, tmp_path, room):
    with room_for(room):
        fault(invoke("CUB200", *SHORT), tmp_path / "runs", "make room", "another folder")
    assert not [*tmp_path.rglob("result.json"), *tmp_path.rglob(".new-*")]
    ok(invoke("CUB200", *SHORT))


def test_a_comparison_on_a_full_disk_goes_on_when_there_is_room(few_images, tmp_path):
    call = (accuracy.main, *few_images, "--output", tmp_path)
    with room_for(20_000):
        fault(run(*call), tmp_path, "make room", "another folder")
    assert not [*tmp_path.rglob("*.json")]
    ok(run(*call))


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(roots, tmp_path_factory):
    """Runs with a checkpoint after the first of two epochs."""
    folder = tmp_path_factory.mktemp("interrupted")
    train, patch = Trainer.train_epoch, pytest.MonkeyPatch()

    def stopped(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        train(self, epoch)

    patch.setattr(Trainer, "train_epoch", stopped)
    root = str(roots["CUB200"])
    options = ["CUB200", "--root", root, *SMALL, *SHORT, "--output", folder / "runs"]
    assert run(paper.main, *options).exit_code == 130
    patch.undo()
    return folder / "runs"


@pytest.fixture
def runs(interrupted, tmp_path):
    """A copy of them."""
    return Path(shutil.copytree(interrupted, tmp_path / "runs"))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "text": lambda path: path.write_bytes(b"hello world"),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("name", ["state.pt", "best.pt"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint(invoke, runs, name, damage):
    (path,) = runs.rglob(f"checkpoints/*/{name}")
    damage(path)
    logs = {p.name for p in runs.rglob("logs/*")}
    fault(invoke("CUB200", *SHORT), path, "--fresh trains the run again")
    assert {p.name for p in runs.rglob("logs/*")} >= logs, "nothing is lost"
    assert not [*runs.rglob("result.json")]
    if name == "state.pt":
        ok(invoke("CUB200", *SHORT, "--fresh"))


def without_a_model(state):
    del state["models"]["trunk"]


def another_epoch(state):
    state["history"][0]["epoch"] = 7


def another_width(state):
    weights = state["models"]["embedder"]
    for name in weights:
        weights[name] = weights[name][:-1]


@pytest.mark.parametrize("change", [without_a_model, another_epoch, another_width, dict.clear])
def test_a_checkpoint_of_something_else(invoke, runs, change):
    (path,) = runs.rglob("state.pt")
    state = torch.load(path, weights_only=False)
    change(state)
    torch.save(state, path)
    fault(invoke("CUB200", *SHORT), path.parent.parent, "--fresh trains the run again")
    assert not [*runs.rglob("result.json")]


def test_files_of_others_among_the_checkpoints_are_no_fault(invoke, runs):
    (folder,) = runs.rglob("checkpoints")
    (folder / ".DS_Store").touch()
    (folder / "7 of mine").mkdir()
    ok(invoke("CUB200", *SHORT))


def test_what_fresh_cannot_remove_is_not_gone_on_with(invoke, runs, monkeypatch):
    monkeypatch.setattr(os, "rmdir", fails(errno.EROFS))
    fault(invoke("CUB200", *SHORT, "--fresh"), os.strerror(errno.EROFS), "another folder")


# --- results -------------------------------------------------------------------------------------


RESULTS = ["", "{", "null", "[]", "{}", '{"last": {"recall_at_1": 0.5}}', "\x00\x01"]


@pytest.mark.parametrize("content", RESULTS)
def test_a_damaged_result_of_the_paper(invoke, runs, content):
    (checkpoints,) = runs.rglob("checkpoints")
    path = checkpoints.parent / "result.json"
    path.write_text(content)
    fault(invoke("CUB200", *SHORT), path, "--fresh")
    arguments = ["--runs", runs, "--output", runs.parent / "tables"]
    fault(run(tables.main, *arguments), path, "--fresh")
    if content == RESULTS[0]:
        ok(invoke("CUB200", *SHORT, "--fresh"))


def changed(result, **settings):
    return {**result, "experiment": {**result["experiment"], **settings}}


@pytest.mark.parametrize(
    "change",
    [
        lambda result: changed(result, dataset="Birds"),
        lambda result: changed(result, configuration="mine"),
        lambda result: changed(result, milestones=None),
        lambda result: {**result, "last": {}},
        lambda result: {**result, "best": {"recall_at_1": 60}},
        lambda result: {**result, "experiment": []},
    ],
)
def test_a_result_of_something_else_stands_in_no_table(tmp_path, change):
    write(tmp_path / "runs", replace(WHOLE, seed=1), 0.5)
    (path,) = tmp_path.rglob("result.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "tables")]
    fault(CliRunner().invoke(tables_app, arguments), path, "--fresh")


@pytest.mark.parametrize("content", [*RESULTS, '{"recall_at_1": 0.5}'])
def test_a_damaged_result_of_a_comparison(few_images, tmp_path, content):
    call = (accuracy.main, *few_images, "--output", tmp_path)
    ok(run(*call))
    (path,) = tmp_path.rglob("result.json")
    path.write_text(content)
    fault(run(*call), path, "--fresh trains the run again")
    if content == RESULTS[0]:
        ok(run(*call, "--fresh"))


# --- commands to copy ----------------------------------------------------------------------------


def test_a_command_that_is_printed_can_be_copied(invoke, tmp_path):
    folder = tmp_path / "my runs; $(date) 'x'"
    output = ok(invoke("CUB200", "--iterations", 1, output=folder)).output
    (line,) = [line for line in output.splitlines() if "Compare with: " in line]
    words = shlex.split(line.partition("Compare with: ")[2])
    assert words == ["python", "-m", "benchmarks.tables", "--runs", str(folder)]
