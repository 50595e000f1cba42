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

from .data import options
from .data.faults import bad, command, integers, output_folder, usable_device
from .data.own_losses import row_of
from .data.plan import checked_losses
from .measure import steps
from .measure.counts import MODEL, counted
from .measure.methods import COUNTED, FORMULAS, MEMORIES, MINED, TUPLES, UNMINED
from .measure.stopwatch import PEAK_PROCESSES, PEAK_STEPS, peak_megabytes, time_in_turns
from .report.numbers import number
from .report.plots import plot_counts, plot_speed
from .report.saving import RESULTS

DIMS, MEMORY_DIMS, MEMORY_BATCH = 512, 128, 256
PLACES = ((60, 512), (120, 4096), (60, 8448), (160, 12288))
"""Classes of 4 and dims of live place recognition projects: GSV-Cities, MixVPR, SALAD, BoQ."""
TERMS, TERM_DIMS = 600, 768
"""Names of biomedical terms, two each, of which some 150,000 triplets are mined, as by SapBERT."""
HUGE = "streamed (MSLoss)"
LAYOUTS = ("auto", "dense", "sparse rows", "sparse batch", "fused")
KS = (1, 2, 4, 8, 16, 32)
DEEP_KS = (1, 10, 100, 1000)
MOST = 10**8  # embeddings
COUNTED_TITLE = "Loss step, mined, counted, no GPU"
SAME = 1e-4  # relative difference of the losses of methods, above which the table is refused


@command
def main(
    batches: Annotated[str, typer.Option(help="Batch sizes N.")] = "80,320,1000,4000",
    live: Annotated[
        bool, typer.Option(help="Batches and index tuples of the sizes of live projects.")
    ] = True,
    layouts: Annotated[
        str, typer.Option(help="Batch sizes whose peak is measured in each layout; empty: none.")
    ] = "12000,30000",
    huge: Annotated[
        int, typer.Option(min=0, max=MOST, help="A batch that only streaming holds; 0: none.")
    ] = 100_000,
    columns: Annotated[
        int, typer.Option(min=0, max=MOST, help="Queries, against as many documents; 0: none.")
    ] = 32_768,
    memory: Annotated[str, typer.Option(help="Sizes of the memory; empty: none.")] = "1024,55000",
    retrieval: Annotated[
        int, typer.Option(min=0, max=MOST, help="Embeddings to rank by each method; 0: none.")
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
    output: options.Output = RESULTS,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the tables of the same call that are there.")
    ] = False,
    losses: options.Losses = "all",
) -> None:
    """Time every method in turns, measure its peak memory, and print and save the tables.

    With `--losses` the loss steps of just these, on embeddings as trained ones, beside the floor.
    Methods are compared within a table, and tables are saved one by one: what was interrupted goes
    on with `--resume`. With its defaults it takes more than an hour on two CPU cores. Loss steps
    come first: with `--device cuda` the lines that say whether ours are faster than PML on that
    card are there within a minute or two.
    """
    sizes = _sizes(batches)
    memories = integers("--memory", memory, MEMORY_BATCH, MOST) if memory else []
    layout_sizes = integers("--layouts", layouts, 1, MOST) if layouts else []
    for option, n, ks in (
        ("--retrieval", retrieval, KS),
        ("--deep-retrieval", deep_retrieval, DEEP_KS),
    ):
        if 0 < n <= max(ks):
            raise bad(option, f"must be 0 or more than {max(ks)}, the largest K, got {n}")
    if seconds is not None and not math.isfinite(seconds):
        raise bad("--seconds", f"must be a number of seconds, got {seconds}")
    usable_device(device)
    output_folder(output)
    if seconds is None:
        seconds = 4.0 if device == "cpu" else 0.5
    rows = {} if losses == "all" else checked_losses(losses)
    tasks: list[Task] = [
        *_loss_tasks(sizes, counts, seconds, device),
        *_formula_tasks(sizes, seconds, device),
        *(_live_tasks(seconds, device) if live else []),
        *_memory_tasks(memories, seconds, device),
        *_retrieval_tasks(retrieval, deep_retrieval, seconds, device),
        *(partial(_layout_rows, n) for n in layout_sizes if device == "cpu"),
        *_huge_tasks(huge, device),
        *([partial(_column_rows, columns)] if columns and device == "cpu" else []),
    ]
    stem, text = output / f"speed-{device.replace(':', '')}", ""
    if rows:
        of = [row.source for row in rows.values()]
        batch_of = partial(steps.Batch, "trained-like", dims=DIMS)
        tasks = [partial(_row_rows, seconds, batch_of(n=n), of, device) for n in sizes]
        stem = stem.with_name(f"{stem.name}-losses")
    saved = pd.DataFrame({"table": []})
    if resume and stem.with_name(f"{stem.name}.csv").is_file():
        saved = pd.read_csv(stem.with_name(f"{stem.name}.csv"))
    tables: list[pd.DataFrame] = []
    for task in tqdm(tasks, unit="table", disable=False):
        key = f"{task.func.__name__}{task.args}"
        table = saved[saved["table"] == key]
        if table.empty:
            found = task()
            tqdm.write(verdict(found))
            table = pd.DataFrame(found).assign(table=key)
        tables.append(table)
        text = _saved_tables(pd.concat(tables), stem, device)
    _save_plots(pd.concat(tables), stem)
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md, .csv and plots")


def _sizes(batches: str) -> list[int]:
    # In smaller ones too few pairs are mined: PML takes a single pair for none.
    return integers("--batches", batches, 4 * steps.PER_CLASS, MOST)


Task = partial[list[dict[str, Any]]]


def _loss_tasks(sizes: list[int], counts: bool, seconds: float, device: str) -> list[Task]:
    """Loss steps of each size, counted and timed."""
    tasks: list[Task] = []
    for n in sizes:
        if counts:
            tasks.append(partial(_counted_rows, n))
        for mined, kind in ((True, "trained-like"), (True, "random"), (False, "random")):
            batch = steps.Batch(kind, n, DIMS, mined=mined)
            tasks.append(partial(_loss_rows, seconds, batch, device))
    return tasks


def _formula_tasks(sizes: list[int], seconds: float, device: str) -> list[Task]:
    """Losses that are written as rows, for the largest batch."""
    return [
        partial(
            _formula_rows,
            seconds,
            steps.Batch("random", max(sizes), DIMS, mined=False, formula=formula),
            device,
        )
        for formula in FORMULAS
    ]


def _live_tasks(seconds: float, device: str) -> list[Task]:
    """Loss steps of the sizes of live projects."""
    places = [steps.Batch("rank 48", 4 * classes, dims, 4) for classes, dims in PLACES]
    terms = steps.Batch("rank 48", TERMS, TERM_DIMS, 2, mined=False)
    return [
        *(partial(_loss_rows, seconds, batch, device) for batch in places),
        partial(_tuple_rows, seconds, terms, device),
    ]


def _memory_tasks(sizes: list[int], seconds: float, device: str) -> list[Task]:
    return [
        partial(
            _memory_rows, seconds, steps.Batch(kind, MEMORY_BATCH, MEMORY_DIMS, memory=size), device
        )
        for size in sizes
        for kind in ("trained-like", "random")
    ]


def _retrieval_tasks(retrieval: int, deep: int, seconds: float, device: str) -> list[Task]:
    every, ours = steps.RETRIEVALS, ("torch", "faiss")
    tasks: list[Task] = []
    if retrieval:
        tasks.append(partial(_retrieval_rows, seconds, every, retrieval, KS, device))
    if deep:
        tasks.append(partial(_retrieval_rows, 0, ours, deep, DEEP_KS, device))
    return tasks


def _huge_tasks(n: int, device: str) -> list[Task]:
    batch = steps.Batch("trained-like", n, MEMORY_DIMS)
    return [partial(_huge_rows, batch, device)] if n else []


def _counted_rows(n: int) -> list[dict[str, Any]]:
    """What a step asks of an accelerator, counted on the CPU."""
    labels = {"task": "counts", "title": COUNTED_TITLE, "kind": "random", "mined": True}
    rows = []
    for name in COUNTED:
        counts = counted(steps.counted_step(name, n, DIMS))
        found = {
            "operations": counts.operations,
            "waits": counts.waits,
            "moved_mb": counts.bytes_moved / 1e6,
            "product_share": counts.product_share,
        }
        rows.append({**labels, "N": n, "M": n, "D": DIMS, "method": name, **found})
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """How the rows of one table compare with PML, in a line."""
    first = rows[0]
    compared = [
        f"{row['method']} {row['faster_than_pml']:.2f} ×"
        for row in rows
        if row["method"] != "floor" and row.get("faster_than_pml") and row["method"] != "PML"
    ]
    than = f": faster than PML by {', '.join(compared)}" if compared else ""
    return f"{first['title']}, N = {first['N']:,}{than}"


def _loss_rows(seconds: float, batch: steps.Batch, device: str) -> list[dict[str, Any]]:
    names = [
        name
        for name in (MINED if batch.mined else UNMINED)
        if name != "loop over anchors" or batch.n <= steps.LOOP_LIMIT
    ]
    if batch.mined:
        kept = steps.share_of_negatives_kept(*batch.embeddings(device))
        title = f"Loss step, mined, {batch.kind} ({100 * kept:.1f} % of negatives kept)"
    else:
        title = f"Loss step, not mined, {batch.kind}"
    return _measured("loss", title, batch, names, seconds, device, batch.n >= 1000)


def _formula_rows(seconds: float, batch: steps.Batch, device: str) -> list[dict[str, Any]]:
    title = f"Loss step of {batch.formula} as rows, {batch.kind}"
    return _measured("formula", title, batch, [*FORMULAS[batch.formula]], seconds, device, True)


def _tuple_rows(seconds: float, batch: steps.Batch, device: str) -> list[dict[str, Any]]:
    triplets = len(steps.mined_triplets(*batch.embeddings(device))[0])
    title = f"Loss step of an index tuple of {triplets:,} triplets"
    return _measured("tuple", title, batch, [*TUPLES], seconds, device, True)


def _memory_rows(seconds: float, batch: steps.Batch, device: str) -> list[dict[str, Any]]:
    title = f"Cross-batch memory step, {batch.kind}"
    return _measured("memory", title, batch, [*MEMORIES], seconds, device, True)


def _row_rows(
    seconds: float, batch: steps.Batch, sources: list[str], device: str
) -> list[dict[str, Any]]:
    """Losses that differ, by the sources of their rows."""
    title = "Loss step of each loss with its miner, trained-like"
    labels = {"task": "losses", "title": title, "kind": batch.kind, "mined": False}
    sizes = {"N": batch.n, "M": batch.n, "D": batch.dims}
    rows = _timed(
        {**labels, **sizes},
        seconds,
        sources,
        lambda source: (steps.loss_step, "row", source, batch, device),
        True,
    )
    for row in rows:
        row["method"] = row["method"] if row["method"] == "floor" else row_of(row["method"]).name
    return rows


def _measured(
    task: str,
    title: str,
    batch: steps.Batch,
    names: list[str],
    seconds: float,
    device: str,
    with_memory: bool,
) -> list[dict[str, Any]]:
    """A row for each method, all of which must compute the same loss."""
    values = {name: steps.loss_value(task, name, batch, device) for name in names}
    if max(values.values()) - min(values.values()) > SAME * max(values.values()):
        raise RuntimeError(f"methods do not compute the same loss: {values}")
    sizes = {"N": batch.n, "M": batch.memory or batch.n, "D": batch.dims}
    labels = {"task": task, "title": title, "kind": batch.kind, "mined": batch.mined, **sizes}

    def job(name: str) -> tuple[Any, ...]:
        return steps.loss_step, task, name, batch, device

    return _timed(labels, seconds, names, job, with_memory)


def _retrieval_rows(
    seconds: float, names: tuple[str, ...], n: int, ks: tuple[int, ...], device: str
) -> list[dict[str, Any]]:
    title = f"Recall@K of all among themselves, K to {max(ks)}; floor: one product"
    sizes = {"N": n, "M": n, "D": DIMS}
    return _timed(
        {"task": "retrieval", "title": title, "kind": "trained-like", **sizes},
        seconds,
        list(names),
        lambda name: (steps.retrieval_step, name, n, DIMS, ks, device),
        True,
    )


def _layout_rows(n: int) -> list[dict[str, Any]]:
    batch = steps.Batch("trained-like", n, MEMORY_DIMS)
    title = "Loss step, mined, trained-like: peak of each layout"
    return [_peak_row(title, batch, layout, steps.layout_step, layout, batch) for layout in LAYOUTS]


def _column_rows(n: int) -> list[dict[str, Any]]:
    batch = steps.Batch("random", n, MEMORY_DIMS)
    title = "Loss step of queries against as many documents: peak"
    names = [*steps.COLUMNS]
    return [_peak_row(title, batch, name, steps.column_step, name, batch) for name in names]


def _huge_rows(batch: steps.Batch, device: str) -> list[dict[str, Any]]:
    title, name = f"Loss step, mined, {batch.kind}: a batch that only streaming holds", HUGE
    return [_peak_row(title, batch, name, steps.loss_step, "loss", name, batch, device)]


def _peak_row(title: str, batch: steps.Batch, method: str, *job: Any) -> dict[str, Any]:
    """A row of a step that is not timed."""
    row = {"task": "peak", "title": title, "kind": batch.kind, "mined": True, "method": method}
    sizes = {"N": batch.n, "M": batch.n, "D": batch.dims}
    return {**row, **sizes, "peak_mb": peak_megabytes(*job)}


def _timed(
    labels: dict[str, Any],
    seconds: float,
    names: list[str],
    job: Callable[[str], tuple[Any, ...]],
    with_memory: bool,
) -> list[dict[str, Any]]:
    """One row per method and one for the floor; ratios are of medians."""

    def make(name: str) -> Any:
        function, *arguments = job(name)
        return function(*arguments)

    least = 3 if seconds else 1
    times = time_in_turns({name: make(name) for name in (*names, "floor")}, seconds, least)
    rows = []
    for name, measured in times.items():
        summary = measured.summary()
        row = {**labels, "method": name, **summary}
        row["times_floor"] = summary["ms"] / times["floor"].summary()["ms"]
        if "PML" in times:
            row["faster_than_pml"] = times["PML"].summary()["ms"] / summary["ms"]
        if with_memory:
            row["peak_mb"] = peak_megabytes(*job(name))
        rows.append(row)
    return rows


def _saved_tables(rows: pd.DataFrame, stem: Path, device: str) -> str:
    """The tables in Markdown, which is saved, and as CSV."""
    lines = [
        "### Speed and memory",
        "",
        "Medians, in turns within one call (quartiles of the whole in brackets); the floor is "
        "S = X·Yᵀ and S·Y, without which no loss step gets along. Loss steps normalise, compute "
        f"forward and backward; {steps.PER_CLASS} embeddings per class, of rank 48 four (index "
        "tuple: two). Memory: peak of the process beyond the inputs, backward included, over "
        f"{PEAK_STEPS} steps, the worst of {PEAK_PROCESSES} processes. "
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
    write_atomically(
        stem.with_name(f"{stem.name}.md"), lambda path: path.write_text(text, encoding="utf-8")
    )
    write_atomically(
        stem.with_name(f"{stem.name}.csv"), lambda path: rows.to_csv(path, index=False)
    )
    return text


def _save_plots(rows: pd.DataFrame, stem: Path) -> None:
    plots = {".png": plot_speed}
    if "operations" in rows:
        plots["-counts.png"] = plot_counts
    for ending, plot in plots.items():
        write_atomically(stem.with_name(stem.name + ending), partial(plot, rows))


COLUMNS: dict[str, Callable[[pd.Series], str]] = {
    "method": lambda row: str(row["method"]),
    "forward, ms": lambda row: number(row.get("forward_ms")),
    "backward, ms": lambda row: number(row.get("backward_ms")),
    "whole, ms": lambda row: _whole(row),
    "× floor": lambda row: number(row.get("times_floor")),
    "× faster than PML": lambda row: number(row.get("faster_than_pml")),
    "peak MB": lambda row: number(row.get("peak_mb")),
    "operations": lambda row: number(row.get("operations")),
    "waits": lambda row: number(row.get("waits")),
    "MB moved": lambda row: number(row.get("moved_mb")),
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
    return f"{number(row['ms'])} ({number(row['ms_q1'])}-{number(row['ms_q3'])})"


def _percent(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{100 * value:.0f}"


if __name__ == "__main__":
    typer.run(main)
