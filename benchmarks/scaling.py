"""Does the loss of a large batch scale over processes? Time and memory of each, beside PML.

python -m benchmarks.scaling --help
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import pandas as pd
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import typer
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.utils.distributed import (
    DistributedLossWrapper,
    DistributedMinerWrapper,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm
from typing_extensions import override

from pml_gpw import MSLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.training.environment import environment
from pml_gpw.training.processes import destroy_process_group

from .data import options
from .data.faults import bad, command, integers, output_folder
from .data.plan import one_of
from .measure import steps
from .measure.stopwatch import peak_here
from .report.saving import RESULTS, save

LossOf = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[], Tensor]
Measure = Callable[["Job", int], dict[str, float]]


def _pml(n: int) -> LossOf:
    miner, loss = MultiSimilarityMiner(), MultiSimilarityLoss()
    if dist.get_world_size() > 1:  # in a group of one, PML's wrapper does not work
        miner, loss = DistributedMinerWrapper(miner), DistributedLossWrapper(loss)
    return lambda x, labels: loss(x, labels, miner(x, labels))


METHODS: dict[str, Callable[[int], LossOf]] = {
    "DistributedLoss, all rows at once": lambda n: DistributedLoss(MSLoss(chunk_size=n)),
    "DistributedLoss, streamed": lambda n: DistributedLoss(MSLoss()),
    "PML's wrapper": _pml,
}


@command
def main(
    batch: Annotated[
        int, typer.Option(min=40, max=10**7, help="Embeddings N of all processes.")
    ] = 4000,
    dims: Annotated[int, typer.Option(help="D, 128 or 512.")] = 128,
    worlds: Annotated[str, typer.Option(help="Numbers of processes.")] = "1,2,4",
    repetitions: Annotated[int, typer.Option(min=1, help="Timed steps of each.")] = 7,
    output: options.Output = RESULTS,
) -> None:
    """Time a loss step in 1, 2, … processes of one thread each, on the CPU of this machine.

    Where there are more processes than cores they take turns: then read the CPU time. The last
    table is a projection to GPUs from counted operations and bytes, not a measurement.
    """
    counts = integers("--worlds", worlds, 1, 1024)
    if any(batch % (steps.PER_CLASS * count) for count in counts):
        raise bad(
            "--worlds",
            f"must be integers >= 1 whose {steps.PER_CLASS}-folds divide {batch}, got {worlds!r}",
        )
    one_of("--dims", str(dims), [*map(str, steps.NOISE)])
    output_folder(output)
    jobs = [(w, n, k) for k in ("random", "trained-like") for w in counts for n in METHODS]
    rows = [
        _row(Job(world, name, kind, batch, dims, repetitions))
        for world, name, kind in tqdm(jobs, unit="job", disable=False)
    ]
    _report(pd.DataFrame(rows), batch, dims, output)


class Job(NamedTuple):
    """A loss step to be measured."""

    world: int
    method: str
    kind: str
    batch: int
    dims: int
    repetitions: int

    def own(self, rank: int) -> slice:
        """The rows of a process."""
        share = self.batch // self.world
        return slice(rank * share, (rank + 1) * share)

    def step(self, rank: int) -> tuple[Tensor, Step]:
        """The embeddings of a process, and its step."""
        x, labels = steps.embeddings(self.kind, self.batch, self.dims)
        x, labels = x[self.own(rank)].clone().requires_grad_(), labels[self.own(rank)].clone()
        loss_of = METHODS[self.method](len(x))

        def step() -> Tensor:
            x.grad = None
            loss = loss_of(x, labels)
            loss.backward()
            return loss.detach()

        return x, step


def _row(job: Job) -> dict[str, Any]:
    """The slowest process's time, the largest one's memory."""
    times = _in_processes(_time, job)
    # Without it, memory that a process has freed may still be its own, and a peak is not seen.
    with mock.patch.dict(os.environ, {"MALLOC_MMAP_THRESHOLD_": "65536"}):
        memory = _in_processes(_memory, job)
    counts = _in_processes(_collectives, job)
    row = {"embeddings": job.kind, "method": job.method, "processes": job.world}
    return {**row, **times, **memory, **counts}


def _in_processes(measure: Measure, job: Job) -> dict[str, float]:
    """The largest figures of all processes."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_joined, (folder, measure, job), nprocs=job.world)
        results = [
            torch.load(Path(folder, str(rank)), weights_only=True) for rank in range(job.world)
        ]
    return {name: max(result[name] for result in results) for name in results[0]}


def _joined(rank: int, folder: str, measure: Measure, job: Job) -> None:
    torch.set_num_threads(1)
    store, patience = Path(folder, "store").as_uri(), timedelta(minutes=10)
    dist.init_process_group("gloo", store, rank=rank, world_size=job.world, timeout=patience)
    torch.save(measure(job, rank), Path(folder, str(rank)))
    dist.barrier()
    destroy_process_group()


def _time(job: Job, rank: int) -> dict[str, float]:
    """Milliseconds of a step, and how exact it is."""
    x, step = job.step(rank)
    value = float(step())
    wall, cpu = [], []
    for _ in range(job.repetitions):
        dist.barrier()
        started, worked = time.perf_counter(), time.process_time()
        step()
        wall.append(1e3 * (time.perf_counter() - started))
        cpu.append(1e3 * (time.process_time() - worked))
    exact, labels = steps.embeddings(job.kind, job.batch, job.dims)
    exact = exact.double().requires_grad_()
    single = MSLoss()(exact, labels)
    single.backward()
    assert x.grad is not None
    assert exact.grad is not None
    expected = exact.grad[job.own(rank)]
    # As DistributedDataParallel averages over processes, each holds world times its share.
    error = (x.grad.double() / job.world - expected).norm() / expected.norm()
    return {
        "ms": statistics.median(wall),
        "cpu_ms": statistics.median(cpu),
        "value": value / float(single.detach()),
        "gradient_error": float(error),
    }


class _Collectives(TorchDispatchMode):
    """Counts the messages that all processes of a group wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def _collectives(job: Job, rank: int) -> dict[str, float]:
    """How many collectives a step takes, after the first, which compares parameters."""
    _, step = job._replace(batch=2 * steps.PER_CLASS * job.world).step(rank)
    step()
    with _Collectives() as seen:
        step()
    return {"collectives": seen.count}


def _memory(job: Job, rank: int) -> dict[str, float]:
    """MiB of a step, beyond the embeddings of the process."""
    _, small = job._replace(batch=2 * steps.PER_CLASS * job.world).step(rank)
    small()  # what libraries allocate once
    _, step = job.step(rank)
    return {"peak_mb": peak_here(step)}


def projection() -> pd.DataFrame:
    """Operations and bytes of a step per process, and the time they take at assumed rates.

    Per process, of N embeddings in W processes: three products (S, and dX and dY of the weights)
    of 2·(N/W)·N·D operations; the gathered embeddings, N·D·2 bytes in bfloat16, and the returned
    gradients, about 2·N·D·4 bytes. Assumed: 100 TFLOP/s in float32 products on tensor cores;
    400 GB/s between GPUs of a node, 50 GB/s for each GPU between nodes.
    """
    rows = []
    for name, world, rate in (("8 GPUs, one node", 8, 400e9), ("32 nodes of 8 GPUs", 256, 50e9)):
        for local in (128, 1024, 8192):
            n, d = world * local, 512
            operations = 3 * 2 * local * n * d
            received, returned = n * d * 2, 2 * n * d * 4
            rows.append(
                {
                    "": name,
                    "batch N": f"{n:,}",
                    "GFLOP": f"{operations / 1e9:,.1f}",
                    "MB moved": f"{(received + returned) / 1e6:,.1f}",
                    "compute, ms": f"{1e3 * operations / 100e12:.3g}",
                    "network, ms": f"{1e3 * (received + returned) / rate:.3g}",
                    "N×N in float32, GB": f"{4 * n * n / 1e9:,.3g}",
                }
            )
    return pd.DataFrame(rows)


def _report(rows: pd.DataFrame, batch: int, dims: int, output: Path) -> None:
    lines = [
        "### A loss step in several processes",
        "",
        f"Multi-Similarity loss with mining of N = {batch:,} embeddings, D = {dims}, forward and "
        "backward, in processes of one thread each on one CPU: medians, of the slowest process; "
        "peak memory of the largest, beyond its own embeddings; collectives of a step. Value: the "
        "reported loss over that of one process; gradient: relative error, as "
        "DistributedDataParallel averages it.",
        "",
    ]
    for kind, table in rows.groupby("embeddings", sort=False):
        lines += [f"**{kind} embeddings**", "", _markdown(table), ""]
    assumptions = (projection.__doc__ or "").split("\n\n")[1]
    lines += ["**Projection, not measured**", "", " ".join(assumptions.split()), ""]
    lines += [projection().to_markdown(index=False, disable_numparse=True), "", environment(), ""]
    text = "\n".join(lines)
    stem = output / f"scaling-{batch}x{dims}"
    save(output, {f"{stem.name}.md": text, f"{stem.name}.csv": rows.to_csv(index=False)})
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md and .csv")


def _markdown(table: pd.DataFrame) -> str:
    table = table.sort_values(["method", "processes"], kind="stable")
    shown = pd.DataFrame(
        {
            "method": table["method"],
            "processes": table["processes"].astype(str),
            "step, ms": table["ms"].map("{:,.0f}".format),
            "CPU of each, ms": table["cpu_ms"].map("{:,.0f}".format),
            "peak MB of each": table["peak_mb"].map("{:,.1f}".format),
            "collectives": table["collectives"].map("{:.0f}".format),
            "value": table["value"].map("{:.6f}".format),
            "gradient": table["gradient_error"].map("{:.1e}".format),
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


if __name__ == "__main__":
    typer.run(main)
