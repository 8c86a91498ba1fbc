"""Whole commands on a task with forty runs of 5,000 clips, and an evaluation that is stored."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.analysis import evaluate_made
from benchmarks.timing import table
from probekit.scores import scoring, store
from probekit.scores.predictions import load_predictions

RUNS, ROUNDS = 40, 5


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_runs(np.random.default_rng(0), folder)
        rows: list[tuple[object, ...]] = [("command", "processor seconds", "seconds")]
        rows += measure(folder)
    table(f"Commands on {RUNS} runs of 5,000 clips, Python's start included", rows)


def make_runs(rng: np.random.Generator, folder: Path) -> None:
    """Score one run by nearest neighbors, and derive the others from its probabilities."""
    evaluate_made(rng, folder, "forty", ["made0"])
    [(path, result)] = store.list_results(folder / "out", "forty")
    predictions = load_predictions(path, result)
    for k in range(1, RUNS):
        noise = rng.exponential(0.01 * (k % 8), predictions.scores.shape)
        scores = (predictions.scores + noise) / (1 + noise.sum(axis=1, keepdims=True))
        derived = replace(predictions, scores=scores)
        report = scoring.score_predictions(
            derived, result["metric"], list(result["also"]), result["classes"]
        )
        name, run = f"made{k}", store.run_id({"run": k})
        sources = [
            {**source, "extractor": name, "fingerprint": run} for source in result["sources"]
        ]
        folds = zip(result["folds"], report["folds"], strict=True)
        changes = {
            **report,
            "folds": [{**fold, "score": score} for fold, score in folds],
            "embedding": name,
            "run": run,
            "sources": sources,
        }
        store.save(
            store.result_path(folder / "out", "forty", name, run),
            {**result, **changes},  # type: ignore[typeddict-item]
            derived.arrays(),
        )


def measure(folder: Path) -> list[tuple[object, ...]]:
    """Return the medians of each command's processor seconds and seconds."""
    task = ["--task", "forty", "--reports", "out"]
    cache = ["--cache", "cache"]
    comparisons = folder / "out" / "comparisons"
    commands = {
        "`probekit compare`, all pairs": ["compare", *(f"made{k}/knn" for k in range(RUNS)), *task],
        "`probekit report`, nothing compared before": ["report", *cache, *task],
        "`probekit report` again": ["report", *cache, *task],
        "`probekit evaluate`, result stored": [
            *("evaluate", "--task", "forty.csv", "-e", "made0", "--probe", "knn"),
            *("--reports", "out", *cache),
        ],
    }
    rows: list[tuple[object, ...]] = []
    for name, command in commands.items():
        times = []
        for _ in range(ROUNDS + 1):  # the first writes bytecode, as an installation does
            if "nothing" in name:
                rmtree(comparisons, ignore_errors=True)
            times.append(_run(command, folder))
        processor, seconds = (median(values) for values in zip(*times[1:], strict=True))
        rows.append((name, f"{processor:.2f}", f"{seconds:.2f}"))
    return rows


def _run(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command in a folder; return its processor seconds, user and system, and seconds."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, begin = os.times(), perf_counter()
    subprocess.run(
        [sys.executable, "-m", "probekit", *command],
        check=True,
        capture_output=True,
        cwd=folder,
        env=environment,
    )
    seconds, after = perf_counter() - begin, os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system, seconds


if __name__ == "__main__":
    main()
