"""Training in several processes: the result of one, and after a kill the same bits."""

import json
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ..distributed.processes import by_torchrun
from .lives import lives
from .small_runs import SMALL

pytestmark = pytest.mark.exhaustive

OPTIONS = ["--no-frozen-batch-norm", "--memory", "30", "--learning-rate", "0.001"]
EPOCHS = ["--iterations", "6", "--evaluate-every", "2"]
HALF = 10  # images of an evaluation, of which there are 20


@pytest.fixture(scope="module")
def arguments(roots):
    return ["CUB200", "--root", str(roots["CUB200"]), *SMALL, *OPTIONS, *EPOCHS, "--output"]


def group(world, folder, arguments, kill=None):
    """The same command in processes side by side; ``kill``: (rank, point, nth). Exit codes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    together = []
    for rank in range(world):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "GLOO_SOCKET_IFNAME": "lo"}
        agent = {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
        environment = {name: str(value) for name, value in (ranks | place | agent).items()}
        life = {"arguments": [*arguments, str(folder / "runs")], "log": str(folder / "log")}
        if kill is not None and kill[0] == rank:
            life |= {"point": kill[1], "nth": kill[2]}
        together.append({**life, "environment": environment})
    return lives(*together)


def weights(folder):
    (path,) = folder.rglob("last.pt")
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def by_two(arguments, tmp_path_factory):
    """Six iterations in two processes that torchrun starts."""
    output = tmp_path_factory.mktemp("two")
    said = by_torchrun(Path(__file__).parents[2], "-m", "benchmarks.paper", *arguments, str(output))
    assert said.count("after the last epoch") == 1, "the first alone speaks and writes"
    assert len([*output.rglob("events.out*")]) == 1
    return output


def test_two_processes_train_as_one(arguments, by_two, tmp_path):
    assert group(1, tmp_path, arguments) == [0], (tmp_path / "log").read_text()
    one, two = weights(tmp_path), weights(by_two)
    # Adam makes a step of the learning rate out of a gradient that is rounding alone
    torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-3)
    names = [(part, name) for part in one for name in one[part]]
    changed = [(one[part][n] - two[part][n]).flatten().float().abs() for part, n in names]
    assert torch.cat(changed).median() < 1e-5
    (first,), (second,) = (
        [json.loads(p.read_text())["experiment"] for p in folder.rglob("result.json")]
        for folder in (tmp_path, by_two)
    )
    assert first == second


@pytest.mark.parametrize(
    ("rank", "point", "nth", "left"),
    [
        (1, "between backward and the optimizers", 1, []),
        (1, "while a test image is read", HALF + 3, [1]),
        (0, "before a checkpoint is renamed", 3, [1]),
    ],
)
def test_killed_it_ends_in_the_same_bits(arguments, by_two, tmp_path, rank, point, nth, left):
    codes = group(2, tmp_path, arguments, (rank, point, nth))
    assert codes[rank] == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert 0 not in codes
    assert sorted(int(path.name) for path in tmp_path.rglob("checkpoints/0*")) == left
    assert group(2, tmp_path, arguments) == [0, 0], (tmp_path / "log").read_text()
    torch.testing.assert_close(weights(tmp_path), weights(by_two), rtol=0, atol=0)


def test_a_batch_that_cannot_be_shared(arguments, tmp_path):
    assert 0 not in group(3, tmp_path, arguments)
    assert "must be a multiple of 15" in (tmp_path / "log").read_text()
