"""A run that is killed goes on to the same bits, wherever it was killed."""

import signal
from importlib.metadata import version

import pytest
import torch

from pml_gpw.training import Trainer, run

from ..kills import POINTS
from ..lives import lives
from ..small_runs import SMALL, ok, results, same, state_of

pytestmark = pytest.mark.filterwarnings("ignore:.*published", "ignore:.*lr_scheduler.step")

EPOCHS = ["--iterations", "6", "--evaluate-every", "2"]
OPTIONS = ["--learning-rate", "0.01", "--memory", "30", "--no-frozen-batch-norm"]


def live(roots, folder, epochs, **kill):
    """One life of a run in a process of its own, to its end or its kill."""
    arguments = ["CUB200", "--root", str(roots["CUB200"]), *SMALL, *epochs, *OPTIONS]
    arguments += ["--output", str(folder / "runs")]
    (code,) = lives({"arguments": arguments, "log": str(folder / "log"), **kill})
    assert code == (-signal.SIGKILL if kill else 0), (folder / "log").read_text()


@pytest.mark.exhaustive
def test_killed_in_many_lives_it_ends_in_the_same_bits(roots, tmp_path):
    epochs = ["--iterations", "4", "--evaluate-every", "1"]
    whole, many = tmp_path / "whole", tmp_path / "many"
    for folder in (whole, many):
        folder.mkdir()
    live(roots, whole, epochs)
    first = "after a checkpoint is renamed"  # so that there is one
    for point in dict.fromkeys([first, *POINTS]):
        live(roots, many, epochs, point=point)
    live(roots, many, epochs)
    same(state_of(whole), state_of(many))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_an_interrupted_run_goes_on_from_its_checkpoint(invoke, tmp_path, monkeypatch, workers):
    options = (*EPOCHS, "--workers", workers)
    ok(invoke("CUB200", *options, output=tmp_path / "whole"))
    train, epochs = Trainer.train_epoch, []

    def stopped(self, epoch):
        epochs.append(epoch)
        if epochs == [1, 2, 3]:
            raise KeyboardInterrupt
        train(self, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", stopped)
    first = invoke("CUB200", *options)
    assert first.exit_code == 130
    assert "the same command goes on" in first.output
    ok(invoke("CUB200", *options))
    assert epochs == [1, 2, 3, 3]
    same(state_of(tmp_path / "whole"), state_of(tmp_path / "runs"))
    if not workers:  # a control of the comparison: another seed ends in other bits
        ok(invoke("CUB200", *options, "--seeds", 2, output=tmp_path / "two"))
        one, other = [state_of(p)[1] for p in sorted((tmp_path / "two").rglob("seed*"))]
        with pytest.raises(AssertionError):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def tf32():
    return (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


@pytest.mark.parametrize("options", [(), ("--tf32",)])
def test_tf32_is_off_unless_asked_for_and_versions_are_kept(invoke, tmp_path, monkeypatch, options):
    before, seen = tf32(), []
    step, recall = Trainer.step, run.distributed_dataset_metrics
    monkeypatch.setattr(Trainer, "step", lambda *a: (seen.append(tf32()), step(*a)))

    def evaluate(*args, **kwargs):
        seen.append(tf32())
        return recall(*args, **kwargs)

    monkeypatch.setattr(run, "distributed_dataset_metrics", evaluate)
    ok(invoke("CUB200", "--iterations", 1, *options))
    assert seen == [(bool(options),) * 2] * 2
    assert tf32() == before
    (result,) = results(tmp_path / "runs").values()
    assert result["experiment"]["tf32"] is bool(options)
    for name in ("torch", "torchvision", "pillow", "pytorch-metric-learning"):
        assert f"{name} {version(name)}" in result["environment"]
    assert result["environment"].endswith("; CPU, 1 process")
