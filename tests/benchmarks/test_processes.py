"""Training in several processes: the batches, the statistics and the result of one."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import nn

from benchmarks import processes
from benchmarks.batch_norm import over_processes
from benchmarks.sampling import ClassBatches, NumberedBatches, SeededViews
from pml_gpw.backbones import freeze_batch_norm

from ..datasets.miniatures import cub200
from ..distributed.processes import Processes

LABELS = [i // 6 for i in range(60)]


# --- batches -------------------------------------------------------------------------------------


def batches(make, monkeypatch, world, rank):
    monkeypatch.setattr(processes, "world", lambda: world)
    monkeypatch.setattr(processes, "rank", lambda: rank)
    np.random.seed(3)  # noqa: NPY002
    return [*make(LABELS, 30, 4)]


@pytest.mark.parametrize("make", [ClassBatches, NumberedBatches])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_shares_are_whole_classes_and_together_the_batch(monkeypatch, make, world):
    whole = batches(make, monkeypatch, 1, 0)
    shares = [batches(make, monkeypatch, world, rank) for rank in range(world)]
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole
    for share in shares:
        for batch in share:
            indices = [item[0] if make is NumberedBatches else item for item in batch]
            labels = [LABELS[index] for index in indices]
            assert all(labels.count(label) == 5 for label in labels)


def test_one_process_draws_what_the_sampler_draws(monkeypatch):
    mine = batches(ClassBatches, monkeypatch, 1, 0)
    np.random.seed(3)  # noqa: NPY002
    assert [*chain(*mine)] == [int(i) for i in MPerClassSampler(LABELS, 5, 30, 120)]


class Noise(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index, torch.rand(3)


def test_a_view_depends_on_seed_epoch_and_place_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    views = SeededViews(Noise(), (0, 1))
    index, first = views[7, 100]
    assert index == 7
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(views[8, 100][1], first)
    for other in (
        views[7, 101],
        SeededViews(Noise(), (1, 1))[7, 100],
        SeededViews(Noise(), (0, 2))[7, 100],
    ):
        assert not torch.equal(other[1], first)


# --- inside processes ----------------------------------------------------------------------------


def norm_and_input():
    generator = torch.Generator().manual_seed(0)
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    nn.init.uniform_(norm[0].weight)
    images = torch.randn(9, 3, 4, 5, generator=generator, dtype=torch.float64) + 2
    target = torch.randn(9, 3, 4, 5, generator=generator, dtype=torch.float64)
    return norm, images, target


def check_batch_norm():
    """As one process with all images, also where another has more of them."""
    torch.manual_seed(0)
    norm, images, target = norm_and_input()
    torch.manual_seed(0)
    mine, _, _ = norm_and_input()
    mine = over_processes(mine)
    share = slice(0, 2) if dist.get_rank() == 0 else slice(2, 9)
    whole, own = images.clone().requires_grad_(), images[share].clone().requires_grad_()
    expected, got = norm(whole), mine(own)
    torch.testing.assert_close(got, expected[share], rtol=1e-12, atol=1e-12)
    ((expected - target) ** 2).sum().backward()
    # the sum over processes of what each returns is the whole
    ((got - target[share]) ** 2).sum().backward()
    torch.testing.assert_close(own.grad, whole.grad[share], rtol=1e-10, atol=1e-10)
    for theirs, ours in zip(norm.parameters(), mine.parameters(), strict=True):
        dist.all_reduce(ours.grad)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)
    for (name, theirs), ours in zip(norm.named_buffers(), mine.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    torch.testing.assert_close(mine.eval()(own), norm.eval()(whole)[share])


def check_frozen_statistics_stay():
    frozen = freeze_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))
    kind = type(frozen[0])
    assert type(over_processes(frozen)[0]) is kind


def check_from_first():
    assert processes.from_first({"rank": dist.get_rank()}) == {"rank": 0}
    assert (processes.world(), processes.is_first()) == (2, dist.get_rank() == 0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    pool = Processes(2, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()


@pytest.mark.parametrize(
    "check", [check_batch_norm, check_frozen_statistics_stay, check_from_first]
)
def test_in_two_processes(pair, check):
    pair.run(__name__, check.__name__)


# --- the commands --------------------------------------------------------------------------------

SMALL = ["--weights", "random", "--backbone", "timm/test_resnet", "--batch", "20", "--dims", "8"]
SMALL += ["--resize", "34", "--crop", "32", "--device", "cpu", "--workers", "0"]
SMALL += ["--no-frozen-batch-norm", "--memory", "30", "--learning-rate", "0.001"]


def torchrun(count, output, root, *options):
    """A command that trains in ``count`` processes, started."""
    store = ["--standalone"] if count > 1 else []
    run = [sys.executable, "-m", "torch.distributed.run", *store, f"--nproc-per-node={count}"]
    run = run if count > 1 else [sys.executable]
    command = [*run, "-m", "benchmarks.paper", "CUB200", "--root", root, *SMALL]
    return subprocess.Popen(
        [*map(str, [*command, "--output", output, *options])],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(process):
    try:
        output, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def weights(folder, name="last.pt"):
    (path,) = folder.rglob(name)
    parts = torch.load(path, weights_only=True)
    return {f"{part}.{n}": t for part, state in parts.items() for n, t in state.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cub")
    cub200(folder)
    return folder


@pytest.fixture(scope="module")
def by_two(root, tmp_path_factory):
    """Six iterations in two processes."""
    output = tmp_path_factory.mktemp("two")
    code, text = done(torchrun(2, output, root, "--iterations", 6, "--evaluate-every", 2))
    assert code == 0, text
    return output, text


def test_two_processes_train_as_one(by_two, root, tmp_path):
    code, text = done(torchrun(1, tmp_path, root, "--iterations", 6, "--evaluate-every", 2))
    assert code == 0, text
    one, two = weights(tmp_path), weights(by_two[0])
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # Adam makes a step of the learning rate out of a gradient that is rounding alone
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-3, msg=name)
    changed = torch.cat([(one[n] - two[n]).flatten().float().abs() for n in one])
    assert changed.median() < 1e-5
    (first,), (second,) = (
        [json.loads(p.read_text()) for p in folder.rglob("result.json")]
        for folder in (tmp_path, by_two[0])
    )
    assert first["experiment"] == second["experiment"]


def test_the_first_alone_speaks_and_writes(by_two):
    output, text = by_two
    assert text.count("after the last epoch") == 1
    assert text.count("Compare with") == 1
    assert len([*output.rglob("events.out*")]) == 1


def test_a_process_that_dies_ends_the_job_and_the_run_goes_on(by_two, root, tmp_path):
    options = ("--iterations", 6, "--evaluate-every", 2)
    process = torchrun(2, tmp_path, root, *options)
    deadline = time.monotonic() + 60
    while not [*tmp_path.rglob("checkpoints/0*")] and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        pid for pid in children if b"benchmarks.paper" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(int(workers[-1]), signal.SIGKILL)
    code, text = done(process)
    assert code != 0
    assert "SIGKILL" in text or "Signal 9" in text
    assert not [*tmp_path.rglob("result.json")]
    code, text = done(torchrun(2, tmp_path, root, *options, "--resume"))
    assert code == 0, text
    for name, tensor in weights(by_two[0]).items():
        assert torch.equal(weights(tmp_path)[name], tensor), name


def test_a_batch_that_cannot_be_shared(root, tmp_path):
    code, text = done(torchrun(3, tmp_path, root, "--iterations", 1))
    assert code != 0
    assert "must be a multiple of 15" in " ".join(text.replace("│", " ").split())
