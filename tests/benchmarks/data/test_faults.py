"""Faults of files end in one line that names the file, exit code 1, and nothing half-written."""

import errno
import json
import os
import shlex
import sqlite3
import tempfile
from pathlib import Path

import pytest
import torch

from benchmarks import tables
from benchmarks.data import faults, plan
from pml_gpw.training import Trainer

from ...runs import room_for
from ..small_runs import SMALL, ok, run
from ..test_accuracy import FewImages
from ..test_tables import write

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")

SHORT = ("--iterations", 4, "--evaluate-every", 2)


def fault(result, *parts):
    """The one line that is told."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert all(str(part) in lines[0] for part in parts), lines[0]


def fails(number):
    def function(*names, **_):
        raise OSError(number, os.strerror(number), *names[:1])

    return function


def raises(error):
    def function(*_):
        raise error

    return function


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setitem(plan.DATASETS, "Glyphs", FewImages)
    return ("--batch", 20, "--dims", 8, "--losses", "SNP", "--seeds", 1, "--iterations", 1)


WRITING = ("accuracy", "paper", "pair_weight_cost", "scaling", "similarity_usage", "speed")


@pytest.mark.parametrize(
    ("command", "number"),
    [*((name, errno.ENOSPC) for name in WRITING), ("tables", errno.EROFS)],
)
def test_a_folder_that_takes_no_files_is_told_before_any_work(
    monkeypatch, few_images, roots, tmp_path, command, number
):
    monkeypatch.setattr(tempfile, "mkstemp", fails(number))
    paper = ("CUB200", "--root", roots["CUB200"], *SMALL)
    options = {"accuracy": few_images, "paper": paper}.get(command, ())
    result = run(command, *options, "--output", tmp_path)
    fault(result, tmp_path, os.strerror(number), "another folder")
    assert "it/s" not in result.output
    assert [*tmp_path.iterdir()] == []


def test_errors_of_the_program_keep_their_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "ours", raises(KeyError("recall")))
    assert isinstance(run("tables", "--output", tmp_path).exception, KeyError)


OTHERS = [OSError("of no file"), RuntimeError(), sqlite3.OperationalError("no such table: t")]


@pytest.mark.parametrize("error", [*OTHERS, BrokenPipeError(errno.EPIPE, "", "out")])
def test_errors_that_are_not_about_files_are_not_taken_for_such(error):
    @faults.command
    def main():
        with faults.within(Path("folder")):
            raise error

    with pytest.raises(type(error)) as caught:
        main()
    assert caught.value is error


SAID = {"database or disk is full": "make room", "file is not a database": "--fresh"}
SAID["attempt to write a readonly database"] = "another folder"


@pytest.mark.parametrize(("said", "advice"), SAID.items())
def test_faults_of_a_database_of_logs(invoke, monkeypatch, tmp_path, said, advice):
    monkeypatch.setattr(Trainer, "train_epoch", raises(sqlite3.DatabaseError(said)))
    fault(invoke("CUB200", *SHORT), tmp_path / "runs", said, advice)


@pytest.mark.parametrize("work", [raises(MemoryError()), lambda *_: torch.empty(10**16)])
def test_memory_that_does_not_suffice(monkeypatch, tmp_path, work):
    monkeypatch.setattr(tables, "ours", work)
    fault(run("tables", "--output", tmp_path), "memory does not suffice; give smaller numbers")


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(invoke, tmp_path):
    with room_for(5_000):
        fault(invoke("CUB200", *SHORT), tmp_path / "runs", "make room", "another folder")
    assert not [*tmp_path.rglob("result.json"), *tmp_path.rglob(".new-*")]
    ok(invoke("CUB200", *SHORT))


@pytest.fixture
def runs(invoke, tmp_path):
    """Those with a checkpoint after the first of two epochs."""
    train = Trainer.train_epoch

    def stopped(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        train(self, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", stopped)
        assert invoke("CUB200", *SHORT).exit_code == 130
    return tmp_path / "runs"


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def changed_state(change):
    def damage(path):
        state = torch.load(path, weights_only=False)
        change(state)
        torch.save(state, path)

    return damage


DAMAGES = {
    "cut": ("state.pt", cut),
    "the best are gone": ("best.pt", Path.unlink),
    "no model": ("state.pt", changed_state(lambda state: state["models"].pop("trunk"))),
    "epoch": ("state.pt", changed_state(lambda state: state["history"][0].update(epoch=7))),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_told_and_nothing_is_lost(invoke, runs, name, damage):
    (path,) = runs.rglob(f"checkpoints/*/{name}")
    damage(path)
    logs = {p.name for p in runs.rglob("logs/*")}
    fault(invoke("CUB200", *SHORT), path.parent.parent, "--fresh trains the run again")
    assert {p.name for p in runs.rglob("logs/*")} >= logs
    assert not [*runs.rglob("result.json")]
    if damage is cut:
        ok(invoke("CUB200", *SHORT, "--fresh"))


def test_what_fresh_cannot_remove_is_not_gone_on_with(invoke, runs, monkeypatch):
    monkeypatch.setattr(os, "rmdir", fails(errno.EROFS))
    fault(invoke("CUB200", *SHORT, "--fresh"), os.strerror(errno.EROFS), "another folder")


@pytest.mark.parametrize("content", ["", '{"last": {"recall_at_1": 0.5}}', "\x00"])
def test_a_damaged_result_of_the_paper(invoke, runs, content):
    (checkpoints,) = runs.rglob("checkpoints")
    path = checkpoints.parent / "result.json"
    path.write_text(content)
    fault(invoke("CUB200", *SHORT), path, "--fresh")
    fault(run("tables", "--runs", runs, "--output", runs.parent / "tables"), path, "--fresh")
    if not content:
        ok(invoke("CUB200", *SHORT, "--fresh"))


OTHER_SETTINGS = {"dataset": "Birds"}, {"configuration": "mine"}, {"milestones": None}
OTHER_RESULTS = {"last": {}}, {"best": {"recall_at_1": 60}}, {"experiment": []}


@pytest.mark.parametrize(
    ("settings", "changes"),
    [*((given, {}) for given in OTHER_SETTINGS), *(({}, given) for given in OTHER_RESULTS)],
)
def test_a_result_of_something_else_stands_in_no_table(tmp_path, settings, changes):
    path = write(tmp_path, 0.5)
    result = json.loads(path.read_text())
    result["experiment"] |= settings
    path.write_text(json.dumps(result | changes))
    fault(run("tables", "--runs", tmp_path / "runs", "--output", tmp_path), path, "--fresh")


def test_a_command_that_is_printed_can_be_copied(invoke, tmp_path):
    folder = tmp_path / "my runs; $(date) 'x'"
    output = ok(invoke("CUB200", "--iterations", 1, output=folder)).output
    (line,) = [line for line in output.splitlines() if "Compare with: " in line]
    words = shlex.split(line.partition("Compare with: ")[2])
    assert words == ["python", "-m", "benchmarks.tables", "--runs", str(folder)]
