"""All runs of a comparison: what is finished is kept, what is missing is trained."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm import tqdm

import pml_gpw
from pml_gpw.training import processes
from pml_gpw.training.file_errors import reading_file

from . import contenders, networks, training
from .contenders import RAW_PIXELS
from .faults import within
from .files import write_atomically
from .summaries import environment
from .training import RECALLS, Settings, Splits, raw_pixel_recall, train_and_test


def all_runs(
    names: list[str], seeds: int, settings: Settings, splits: Splits, work: Path, fresh: bool
) -> pd.DataFrame:
    """One row per loss and seed (and one for the raw pixels): loss, seed, recalls, seconds.

    Each finished run is a file below ``work``; ``fresh`` trains it again. Goes seed by seed, so
    that an early stop leaves whole seeds.
    """
    work = work / _fingerprint(settings)
    recalls = raw_pixel_recall(splits)
    rows: list[dict[str, object]] = [
        {"loss": RAW_PIXELS, "seed": 0} | {f"recall_at_{k}": v for k, v in recalls.items()}
    ]
    total = seeds * len(names) * settings.iterations
    with tqdm(total=total, unit="it", disable=not processes.is_first(), mininterval=1) as bar:
        for seed in range(seeds):
            for name in names:
                bar.set_description(f"{name}, seed {seed}", refresh=False)
                done = work / f"{name}-{seed}.json"
                result = processes.from_first(None if fresh else _finished(done))
                if result is None:
                    folder, step = done.with_suffix(""), lambda _: bar.update()
                    with within(folder):
                        result = train_and_test(name, seed, settings, splits, folder, step)
                    if processes.is_first():
                        _save(done, result)
                else:
                    bar.update(settings.iterations)
                bar.set_postfix_str(f"R@1 {100 * result['recall_at_1']:.1f}", refresh=False)
                rows.append({"loss": name, "seed": seed, **result})
    runs = pd.DataFrame(rows)
    runs["loss"] = pd.Categorical(runs["loss"], [RAW_PIXELS, *names], ordered=True)
    return runs.sort_values(["loss", "seed"]).astype({"loss": str}).reset_index(drop=True)


def _finished(path: Path) -> dict[str, float] | None:
    if not path.exists():
        return None
    with reading_file(path, "--fresh trains it again"):
        content = json.loads(path.read_text())
        return {name: float(content[name]) for name in (*RECALLS, "seconds")}


def _save(path: Path, result: dict[str, float]) -> None:
    text = json.dumps(result)
    write_atomically(path, lambda temporary: temporary.write_text(text))


def _fingerprint(settings: Settings) -> str:
    """Names the runs by settings, versions and the code that trains: no result is stale."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    digest.update(environment().encode())
    here = [Path(str(module.__file__)) for module in (contenders, networks, training)]
    for source in [*sorted(Path(pml_gpw.__file__).parent.rglob("*.py")), *here]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
