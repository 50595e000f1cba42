"""How fast, and in how much memory? Loss step, memory step and retrieval beside PML and the floor.

python -m benchmarks.speed --help
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm import tqdm

from pml_gpw.training.environment import environment
from pml_gpw.training.files import write_atomically

from .data.faults import bad, command, integers, output_folder, usable_device
from .measure import steps
from .measure.counts import MODEL, counted
from .measure.stopwatch import peak_megabytes, time_in_turns
from .report.plots import plot_counts, plot_speed

RESULTS = Path(__file__).parent / "results"
DIMS, MEMORY_DIMS, MEMORY_BATCH = 512, 128, 256
KS = (1, 2, 4, 8, 16, 32)
DEEP_KS = (1, 10, 100, 1000)
MOST = 10**8  # embeddings
COUNTED_TITLE = "Loss step, mined, counted, no GPU"
SAME = 1e-4  # relative difference of the losses of contenders, above which the table is refused


@command
def main(
    batches: Annotated[str, typer.Option(help="Batch sizes N.")] = "80,320,1000,4000",
    huge: Annotated[
        int, typer.Option(min=0, max=MOST, help="A batch that only streaming holds; 0: none.")
    ] = 100_000,
    memory: Annotated[
        int, typer.Option(min=0, max=MOST, help="Size of the memory; 0: none.")
    ] = 55_000,
    retrieval: Annotated[
        int, typer.Option(min=0, max=MOST, help="Embeddings to rank by each contender; 0: none.")
    ] = 20_000,
    deep_retrieval: Annotated[
        int,
        typer.Option(
            min=0, max=MOST, help="Embeddings to rank to K = 1000, by ours alone; 0: none."
        ),
    ] = 60_502,
    counts: Annotated[
        bool, typer.Option(help="Count operations, waits and bytes of a loss step.")
    ] = True,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0, max=3600, help="Time for each cell.", show_default="4 on a CPU, else 0.5"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    output: Annotated[Path, typer.Option(help="Folder for tables and plot.")] = RESULTS,
) -> None:
    """Time every contender in turns, measure its peak memory, and print and save the tables.

    All in one call on one machine, so it is not resumed; with its defaults some 20 minutes on two
    CPU cores. Loss steps come first: with `--device cuda` the lines that say whether ours are
    faster than PML on that card are there within a minute or two.
    """
    sizes = _sizes(batches)
    for option, n, ks in (
        ("--retrieval", retrieval, KS),
        ("--deep-retrieval", deep_retrieval, DEEP_KS),
    ):
        if 0 < n <= max(ks):
            raise bad(option, f"must be 0 or more than {max(ks)}, the largest K, got {n}")
    if 0 < memory < MEMORY_BATCH:
        raise bad("--memory", f"must be 0 or at least the batch of {MEMORY_BATCH}, got {memory}")
    if seconds is not None and not math.isfinite(seconds):
        raise bad("--seconds", f"must be a number of seconds, got {seconds}")
    usable_device(device)
    output_folder(output)
    if seconds is None:
        seconds = 4.0 if device == "cpu" else 0.5
    tasks = _tasks(sizes, huge, memory, retrieval, deep_retrieval, counts, seconds, device)
    rows: list[dict[str, Any]] = []
    for task in tqdm(tasks, unit="table", disable=False):
        found = task()
        rows += found
        tqdm.write(verdict(found))
    _report(pd.DataFrame(rows), output / f"speed-{device.replace(':', '')}", device)


def _sizes(batches: str) -> list[int]:
    # In smaller ones too few pairs are mined: PML takes a single pair for none.
    return integers("--batches", batches, 4 * steps.PER_CLASS, MOST)


Task = Callable[[], list[dict[str, Any]]]


def _tasks(
    sizes: list[int],
    huge: int,
    memory: int,
    retrieval: int,
    deep: int,
    counts: bool,
    seconds: float,
    device: str,
) -> list[Task]:
    """One task per table."""
    tasks: list[Task] = []
    for n in sizes:
        if counts:
            tasks.append(partial(_counted_rows, n))
        for mined, kind in ((True, "trained-like"), (True, "random"), (False, "random")):
            tasks.append(partial(_loss_rows, seconds, mined, kind, n, DIMS, device))
    if memory:
        for kind in ("trained-like", "random"):
            tasks.append(
                partial(_memory_rows, seconds, kind, MEMORY_BATCH, memory, MEMORY_DIMS, device)
            )
    if retrieval:
        tasks.append(partial(_retrieval_rows, seconds, steps.RETRIEVALS, retrieval, KS, device))
    if huge:
        for kind in ("trained-like", "random"):
            tasks.append(partial(_huge_rows, kind, huge, device))
    if deep:
        tasks.append(partial(_retrieval_rows, 0, ("torch", "faiss"), deep, DEEP_KS, device))
    return tasks


def _counted_rows(n: int) -> list[dict[str, Any]]:
    """What a step asks of an accelerator, counted on the CPU."""
    labels = {"task": "counts", "title": COUNTED_TITLE, "kind": "random", "mined": True}
    rows = []
    for name in steps.COUNTED:
        counts = counted(steps.counted_step(name, n, DIMS))
        found = {
            "operations": counts.operations,
            "waits": counts.waits,
            "moved_mb": counts.bytes_moved / 1e6,
            "product_share": counts.product_share,
        }
        rows.append({**labels, "N": n, "M": n, "D": DIMS, "contender": name, **found})
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """How the rows of one table compare with PML, in a line."""
    first = rows[0]
    compared = [
        f"{row['contender']} {row['faster_than_pml']:.2f} ×"
        for row in rows
        if row["contender"] != "floor" and row.get("faster_than_pml") and row["contender"] != "PML"
    ]
    than = f": faster than PML by {', '.join(compared)}" if compared else ""
    return f"{first['title']}, N = {first['N']:,}{than}"


def _loss_rows(
    seconds: float, mined: bool, kind: str, n: int, dims: int, device: str
) -> list[dict[str, Any]]:
    names = [
        name
        for name in (steps.MINED if mined else steps.UNMINED)
        if name != "loop over anchors" or n <= steps.LOOP_LIMIT
    ]
    arguments = mined, kind, n, dims, device
    values = {name: steps.loss_value(name, *arguments) for name in names}
    if max(values.values()) - min(values.values()) > SAME * max(values.values()):
        raise RuntimeError(f"contenders do not compute the same loss: {values}")
    if mined:
        kept = steps.share_of_negatives_kept(*steps.embeddings(kind, n, dims, device))
        title = f"Loss step, mined, {kind} ({100 * kept:.1f} % of negatives kept)"
    else:
        title = f"Loss step, not mined, {kind}"
    labels = {"task": "loss", "title": title, "kind": kind, "mined": mined, "N": n, "M": n}
    return _measured(
        labels, dims, seconds, names, lambda name: (steps.loss_step, name, *arguments), n >= 1000
    )


def _memory_rows(
    seconds: float, kind: str, n: int, size: int, dims: int, device: str
) -> list[dict[str, Any]]:
    labels = {"task": "memory", "title": f"Cross-batch memory step, {kind}", "kind": kind}
    return _measured(
        {**labels, "mined": True, "N": n, "M": size},
        dims,
        seconds,
        list(steps.MEMORIES),
        lambda name: (steps.memory_step, name, kind, n, size, dims, device),
        True,
    )


def _retrieval_rows(
    seconds: float, names: tuple[str, ...], n: int, ks: tuple[int, ...], device: str
) -> list[dict[str, Any]]:
    title = f"Recall@K of all among themselves, K to {max(ks)}; floor: one product"
    return _measured(
        {"task": "retrieval", "title": title, "kind": "trained-like", "N": n, "M": n},
        DIMS,
        seconds,
        list(names),
        lambda name: (steps.retrieval_step, name, n, DIMS, ks, device),
        True,
    )


def _huge_rows(kind: str, n: int, device: str) -> list[dict[str, Any]]:
    name = "streamed (MSLoss)"
    peak = peak_megabytes(steps.loss_step, name, True, kind, n, MEMORY_DIMS, device)
    return [
        {
            "task": "huge",
            "title": f"Loss step, mined, {kind}: a batch that only streaming holds",
            "kind": kind,
            "mined": True,
            "N": n,
            "M": n,
            "D": MEMORY_DIMS,
            "contender": name,
            "peak_mb": peak,
        }
    ]


def _measured(
    labels: dict[str, Any],
    dims: int,
    seconds: float,
    names: list[str],
    job: Callable[[str], tuple[Any, ...]],
    with_memory: bool,
) -> list[dict[str, Any]]:
    """One row per contender and one for the floor; ratios are of medians."""

    def make(name: str) -> Any:
        function, *arguments = job(name)
        return function(*arguments)

    least = 3 if seconds else 1
    times = time_in_turns({name: make(name) for name in (*names, "floor")}, seconds, least)
    rows = []
    for name, measured in times.items():
        summary = measured.summary()
        row = {**labels, "D": dims, "contender": name, **summary}
        row["times_floor"] = summary["ms"] / times["floor"].summary()["ms"]
        if "PML" in times:
            row["faster_than_pml"] = times["PML"].summary()["ms"] / summary["ms"]
        if with_memory:
            row["peak_mb"] = peak_megabytes(*job(name))
        rows.append(row)
    return rows


def _report(rows: pd.DataFrame, stem: Path, device: str) -> None:
    """Print the tables, save them as Markdown and CSV, and draw the loss steps."""
    lines = [
        "### Speed and memory",
        "",
        "Medians, in turns within one call (quartiles of the whole in brackets); the floor is "
        "S = X·Yᵀ and S·Y, without which no loss step gets along. Loss steps normalise, compute "
        f"forward and backward; {steps.PER_CLASS} embeddings per class, D = {DIMS} unless said "
        "otherwise. Memory: peak beyond the inputs, backward included, in a process of its own. "
        "Counted steps were not timed: operations that launch work, waits of the host, and bytes "
        "read and written, on the path of accelerators, with the kernels that the compiler wrote "
        f"for a CPU where rows are fused. {MODEL}",
        "",
    ]
    for (title, n, m, d), table in rows.groupby(["title", "N", "M", "D"], sort=False):
        sizes = f"N = {n:,}" + (f", M = {m:,}" if m != n else "") + f", D = {d}"
        lines += [f"**{title}, {sizes}**", "", _markdown(table), ""]
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    text = "\n".join([*lines, f"{environment()}, {where}", ""])
    for ending, write in {
        ".md": lambda path: path.write_text(text, encoding="utf-8"),
        ".csv": lambda path: rows.to_csv(path, index=False),
        ".png": lambda path: plot_speed(rows, path),
        "-counts.png": lambda path: plot_counts(rows, path),
    }.items():
        if ending == "-counts.png" and "operations" not in rows:
            continue
        write_atomically(stem.with_name(stem.name + ending), write)
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md, .csv and plots")


COLUMNS: dict[str, Callable[[pd.Series], str]] = {
    "contender": lambda row: str(row["contender"]),
    "forward, ms": lambda row: _number(row.get("forward_ms")),
    "backward, ms": lambda row: _number(row.get("backward_ms")),
    "whole, ms": lambda row: _whole(row),
    "× floor": lambda row: _number(row.get("times_floor")),
    "× faster than PML": lambda row: _number(row.get("faster_than_pml")),
    "peak MB": lambda row: _number(row.get("peak_mb")),
    "operations": lambda row: _number(row.get("operations")),
    "waits": lambda row: _number(row.get("waits")),
    "MB moved": lambda row: _number(row.get("moved_mb")),
    "share of products, %": lambda row: _percent(row.get("product_share")),
}


def _markdown(table: pd.DataFrame) -> str:
    cells = pd.DataFrame(
        {name: [cell(row) for _, row in table.iterrows()] for name, cell in COLUMNS.items()}
    )
    filled = [name for name in cells if (cells[name] != "").any()]
    return cells[filled].to_markdown(index=False, disable_numparse=True)


def _whole(row: "pd.Series[Any]") -> str:
    if pd.isna(row.get("ms")):
        return ""
    return f"{_number(row['ms'])} ({_number(row['ms_q1'])}-{_number(row['ms_q3'])})"


def _percent(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{100 * value:.0f}"


def _number(value: Any) -> str:
    """Three digits, or nothing where there is no figure."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)
