"""Training in several processes: the result of one, and after a kill the same bits."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from . import lives
from .small_runs import SMALL

pytestmark = pytest.mark.exhaustive
OPTIONS = ["--no-frozen-batch-norm", "--memory", "30", "--learning-rate", "0.001"]
EPOCHS = ["--iterations", "6", "--evaluate-every", "2"]
HALF = 10  # images of an evaluation, of which there are 20


@pytest.fixture(scope="module")
def arguments(roots):
    return ["CUB200", "--root", str(roots["CUB200"]), *SMALL, *OPTIONS]


def torchrun(count, *command):
    """A command in ``count`` processes, started."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*run, f"--nproc-per-node={count}", *map(str, command)],
        cwd=lives.ROOT,
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


def group(server, world, folder, arguments, kill=None):
    """The same command in processes of the server; ``kill``: (rank, point, nth). Exit codes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    together = []
    for rank in range(world):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "GLOO_SOCKET_IFNAME": "lo"}
        agent = {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
        environment = {name: str(value) for name, value in (ranks | place | agent).items()}
        life = {"arguments": arguments, "log": str(folder / "log"), "environment": environment}
        if kill is not None and kill[0] == rank:
            life |= {"point": kill[1], "nth": kill[2]}
        together.append(life)
    return server.run(*together)


def weights(folder):
    (path,) = folder.rglob("last.pt")
    parts = torch.load(path, weights_only=True)
    return {f"{part}.{n}": t for part, state in parts.items() for n, t in state.items()}


def equal(one, other):
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


@pytest.fixture(scope="module")
def by_two(arguments, tmp_path_factory):
    """Six iterations in two processes."""
    output = tmp_path_factory.mktemp("two")
    code, text = done(
        torchrun(2, "-m", "benchmarks.paper", *arguments, *EPOCHS, "--output", output)
    )
    assert code == 0, text
    return output, text


def test_two_processes_train_as_one(server, arguments, by_two, tmp_path):
    codes = group(server, 1, tmp_path, [*arguments, *EPOCHS, "--output", str(tmp_path / "runs")])
    assert codes == [0], (tmp_path / "log").read_text()
    one, two = weights(tmp_path), weights(by_two[0])
    # Adam makes a step of the learning rate out of a gradient that is rounding alone
    torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-3)
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


@pytest.mark.parametrize(
    ("rank", "point", "nth", "left"),
    [
        (1, "between_backward_and_the_optimizers", 1, []),
        (1, "while_the_images_of_an_evaluation_are_read", HALF + 3, [1]),
        (0, "before_a_checkpoint_is_renamed", 3, [1]),
        (0, "after_the_result_is_renamed", 1, [3]),
    ],
)
def test_killed_in_one_process_it_ends_in_the_same_bits(
    server, arguments, by_two, tmp_path, rank, point, nth, left
):
    command = [*arguments, *EPOCHS, "--output", str(tmp_path / "runs")]
    codes = group(server, 2, tmp_path, command, (rank, point, nth))
    assert codes[rank] == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert 0 not in codes
    assert sorted(int(path.name) for path in tmp_path.rglob("checkpoints/0*")) == left
    codes = group(server, 2, tmp_path, command)
    assert codes == [0, 0], (tmp_path / "log").read_text()
    equal(by_two[0], tmp_path)


def test_a_process_that_dies_ends_the_job_and_the_run_goes_on(server, arguments, by_two, tmp_path):
    command = [*arguments, *EPOCHS, "--output", str(tmp_path / "runs")]
    point = "between_backward_and_the_optimizers"
    code = f"from {lives.__name__} import kill_rank; kill_rank(1, {point!r}, 3, {command!r})"
    code, text = done(torchrun(2, "--no-python", sys.executable, "-c", code))
    assert code != 0
    assert "SIGKILL" in text or "Signal 9" in text
    assert not [*tmp_path.rglob("result.json")]
    assert len([*tmp_path.rglob("checkpoints/0*")]) == 1
    assert group(server, 2, tmp_path, command) == [0, 0]
    equal(by_two[0], tmp_path)


def test_a_batch_that_cannot_be_shared(server, arguments, tmp_path):
    codes = group(server, 3, tmp_path, [*arguments, "--output", str(tmp_path / "runs")])
    assert 0 not in codes
    assert "must be a multiple of 15" in (tmp_path / "log").read_text()
