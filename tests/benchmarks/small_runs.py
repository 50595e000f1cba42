"""The commands, the paper's experiment in miniature, and all that a run of it leaves."""

import importlib
import json
import sqlite3
from contextlib import closing

import torch
import typer
from typer.testing import CliRunner

SMALL = ["--weights", "random", "--backbone", "timm/test_resnet", "--batch", "20", "--dims", "8"]
SMALL += ["--resize", "34", "--crop", "32", "--device", "cpu", "--workers", "0"]


def run(command, *options):
    """What ``python -m benchmarks.<command>`` ends with."""
    app = typer.Typer()
    app.command()(importlib.import_module(f"benchmarks.{command}").main)
    environment = {"COLUMNS": "100", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [str(option) for option in options], env=environment)


def words(result):
    return " ".join(result.output.replace("│", " ").split())


def ok(result):
    assert result.exit_code == 0, result.output
    return result


def results(folder):
    found = sorted(folder.rglob("result.json"))
    return {path.parent.parent.name: json.loads(path.read_text()) for path in found}


def compared(folder, output):
    """What ``python -m benchmarks.tables`` says of runs."""
    return ok(run("tables", "--runs", folder, "--output", output)).output


def state_of(folder):
    """All that a run leaves, but for times: result, weights, logs."""
    (result,) = folder.rglob("result.json")
    folder = result.parent
    weights = [torch.load(folder / f"{name}.pt", weights_only=True) for name in ("last", "best")]
    with closing(sqlite3.connect(folder / "logs/logs.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        logs = {
            name: database.execute(f"SELECT * FROM [{name}]").fetchall()
            for (name,) in names
            if name not in ("sqlite_sequence", "throughput")
        }
    csvs = {p.name: p.read_text() for p in folder.glob("logs/*.csv") if p.stem != "throughput"}
    return result.read_text(), weights, logs, csvs


def same(one, other):
    assert one[0] == other[0]
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=0)
    assert one[2:] == other[2:]
