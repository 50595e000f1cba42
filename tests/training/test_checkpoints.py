"""The last checkpoint is whole, whatever happens while the next is made."""

import os
import shutil

import pytest
import torch

from pml_gpw.training import Checkpoints, FileError

from ..runs import room_for

STATE = {"step": 3, "weights": torch.arange(4.0)}
BEST = {"weights": torch.ones(4)}


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has logged."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/loss.csv").write_text("1")
    return tmp_path


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def best(run):
    return torch.load(Checkpoints(run).best_weights(), weights_only=True)["weights"].tolist()


def test_the_last_is_kept_with_the_best_weights(run):
    checkpoints = Checkpoints(str(run))
    assert checkpoints.load() is None
    assert checkpoints.last() is None
    checkpoints.save(1, STATE, BEST)
    checkpoints.save(2, {"step": 4})
    for epoch in (1, 2):
        with pytest.raises(ValueError, match=f"must be above 2, the last one's, got {epoch}"):
            checkpoints.save(epoch, STATE)
    assert names(run) == ["00002"]
    assert Checkpoints(run).load() == {"step": 4}
    assert best(run) == [1, 1, 1, 1]
    checkpoints.save(100_000, STATE, STATE)
    checkpoints.save(100_001, STATE)
    assert names(run) == ["100001"]
    assert torch.equal(checkpoints.load()["weights"], STATE["weights"])
    assert best(run) == [0, 1, 2, 3]
    checkpoints.clear()
    assert checkpoints.load() is None
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        checkpoints.best_weights()


def test_logs_go_back_with_it(run):
    checkpoints, log = Checkpoints(run), run / "logs/loss.csv"
    checkpoints.save(1, STATE, BEST)
    log.write_text("1 2")
    (run / "tensorboard").mkdir()
    checkpoints.load()
    assert log.read_text() == "1"
    assert not (run / "tensorboard").exists()
    log.write_text("1 2")
    Checkpoints(run, logs=()).load()
    assert log.read_text() == "1 2"


class Killed(BaseException):
    """As a kill, but for this process, which lives on."""


def killed(*_, **__):
    raise Killed


@pytest.mark.parametrize(
    ("owner", "name", "left"),
    [(torch, "save", 1), (shutil, "copytree", 1), (os, "replace", 1), (shutil, "rmtree", 2)],
)
def test_a_kill_leaves_one_of_the_two(run, monkeypatch, owner, name, left):
    Checkpoints(run).save(1, {"step": 1}, BEST)
    with monkeypatch.context() as patch:
        if name != "rmtree":  # nobody tidies up after a kill
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            Checkpoints(run).save(2, {"step": 2})
    assert Checkpoints(run).load() == {"step": left}
    assert names(run) == [f"{left:05}"]


def test_a_full_disk_or_a_file_for_a_folder_leaves_the_last(run):
    checkpoints = Checkpoints(run)
    checkpoints.save(1, STATE, BEST)
    with room_for(5000), pytest.raises(FileError, match=r"checkpoints cannot be .*make room"):
        checkpoints.save(2, {"large": torch.zeros(5000)})
    assert names(run) == ["00001"]
    assert checkpoints.load()["step"] == 3
    with pytest.raises(FileError, match="cannot be used"):
        Checkpoints(run / "logs/loss.csv").save(1, STATE, BEST)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("best.pt", os.remove, "cannot be read"),
        ("state.pt", os.remove, "cannot be read"),
        ("state.pt", lambda path: path.write_bytes(b""), "is damaged"),
        ("best.pt", lambda path: path.write_bytes(b"hello world"), "is damaged"),
        ("state.pt", lambda path: torch.save({"code": os.getcwd}, path), "is damaged"),
        ("best.pt", lambda path: torch.save([], path), "is damaged"),
    ],
)
def test_a_damaged_one_is_told_and_nothing_is_lost(run, name, damage, said):
    checkpoints = Checkpoints(run, advice="begin again")
    checkpoints.save(1, STATE, BEST)
    (run / "logs/loss.csv").write_text("1 2")
    damage(run / "checkpoints/00001" / name)
    with pytest.raises(FileError, match=rf"{name} {said}.*; begin again"):
        checkpoints.load()
    assert (run / "logs/loss.csv").read_text() == "1 2"


def test_files_of_others_stay(run):
    checkpoints = Checkpoints(run)
    checkpoints.save(1, STATE, BEST)
    (run / "checkpoints/.DS_Store").touch()
    (run / "checkpoints/7 of mine").mkdir()
    (run / "checkpoints/.new-killed").mkdir()
    checkpoints.save(2, STATE)
    assert checkpoints.load()["step"] == 3
    assert names(run) == [".DS_Store", "00002", "7 of mine"]
