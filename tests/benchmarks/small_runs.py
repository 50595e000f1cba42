"""The paper's experiment in miniature, and all that a run of it leaves."""

import json
import sqlite3
from contextlib import closing

import torch
import typer
from typer.testing import CliRunner

from benchmarks import paper, tables

SMALL = ["--weights", "random", "--backbone", "timm/test_resnet", "--batch", "20", "--dims", "8"]
SMALL += ["--resize", "34", "--crop", "32", "--device", "cpu", "--workers", "0"]

app, tables_app = typer.Typer(), typer.Typer()
app.command()(paper.main)
tables_app.command()(tables.main)


def ok(result):
    assert result.exit_code == 0, result.output
    return result


def results(folder):
    return {
        path.parent.parent.name: json.loads(path.read_text())
        for path in sorted(folder.rglob("result.json"))
    }


def compared(folder, output):
    """What ``python -m benchmarks.tables`` says of runs."""
    arguments = ["--runs", str(folder), "--output", str(output)]
    return ok(CliRunner().invoke(tables_app, arguments)).output


def state_of(folder):
    """All that a run leaves, but for times."""
    (result,) = folder.rglob("result.json")
    run = result.parent
    weights = {
        f"{file} {part} {name}": tensor
        for file in ("last.pt", "best.pt")
        for part, state in torch.load(run / file, weights_only=True).items()
        for name, tensor in state.items()
    }
    with closing(sqlite3.connect(run / "logs/logs.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        logs = {
            name: database.execute(f"SELECT * FROM [{name}]").fetchall()
            for (name,) in names
            if name not in ("sqlite_sequence", "throughput")
        }
    csvs = {p.name: p.read_text() for p in run.glob("logs/*.csv") if p.stem != "throughput"}
    return result.read_text(), weights, logs, csvs


def same(one, other):
    assert one[0] == other[0]
    assert len(one[1]) > 100
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=0)
    assert one[2:] == other[2:]
