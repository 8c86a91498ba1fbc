"""Distill a teacher into a small student with a tenth of the labels, on synthesized scenes.

Nothing is downloaded. The script

1. synthesizes clips of 12 s: a scene (rain, wind, an engine or footsteps) with up to eight kinds
   of events (melodies, animals, drums) at random times and levels, and noise; a clip's labels are
   all its sounds, and some labels are rare;
2. trains a teacher, a ``short-chunk`` network, on all training labels, and caches its frames;
3. trains smaller ``short-chunk`` students on 10 % of the labels: alone (``none``), with the
   teacher's frames in training only (``con-reg``, ``dis-reg``), and with them always (``film``,
   ``feature-only``), the same seeds for each;
4. tests every method against ``none``: the same test clips, the same seeds.

::

    python examples/distill_synthetic.py runs-of-distillation

writes ``scores.csv``, ``tests.csv`` and ``tables.md`` into the folder, beside the corpus, the cache
and all results. The command can be ended and given again: what is done is not done again.
"""

import argparse
import csv
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import probekit
from probekit.errors import ProbekitError
from probekit.metrics.significance import holm
from probekit.scores import comparison, store
from probekit.scores.groups import RunGroup
from probekit.tasks.standin.sounds import synthesize
from probekit.training import run_folder

RATE, SECONDS = 16000, 12
SCENES = {"rain": 0.4, "wind": 0.3, "engine": 0.2, "footsteps": 0.1}
EVENTS = {
    "organ": 0.4, "pluck": 0.4, "bell": 0.3, "hihat": 0.3, "kick": 0.3, "whistle": 0.2,
    "bird": 0.12, "siren": 0.1,
}  # fmt: skip
LEVELS = (-15, 0)  # dB of an event relative to the scene
METHODS = ("none", "con-reg", "dis-reg", "film", "feature-only")
SHARE = 0.1
CROP = 4.0  # length of the input of both networks, in seconds


def scene(seed: int) -> tuple[np.ndarray, list[str]]:
    """Synthesize a clip; return its samples and its labels."""
    rng = np.random.default_rng([seed, 77])
    labels = [str(rng.choice(list(SCENES), p=list(SCENES.values())))]
    background = synthesize(labels[0], seed=seed, seconds=SECONDS, sr=RATE)
    wave = background / background.std()
    for label, probability in EVENTS.items():
        if rng.uniform() >= probability:
            continue
        labels.append(label)
        level = 10 ** (rng.uniform(*LEVELS) / 20)
        for k in range(int(rng.integers(1, 4))):
            seconds = rng.uniform(2, 4)
            event = synthesize(label, seed=seed * 4 + k, seconds=seconds, sr=RATE)
            start = int(rng.uniform(0, SECONDS - seconds) * RATE)
            wave[start : start + len(event)] += level * event / event.std()
    wave += 10 ** (rng.uniform(-20, -3) / 20) * rng.standard_normal(len(wave))
    return (0.9 / np.abs(wave).max() * wave).astype(np.float32), labels


def write_corpus(folder: Path, clips: int) -> Path:
    """Write the corpus, two thirds of it for training; return its table."""
    table = folder / "scenes.csv"
    if table.exists():
        return table
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(clips):
        wave, labels = scene(i)
        soundfile.write(folder / f"audio/{i:04d}.wav", wave, RATE, "PCM_16")
        split = ("train", "train", "train", "train", "valid", "test")[i % 6]
        rows.append((f"{i:04d}", f"audio/{i:04d}.wav", ";".join(labels), split))
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("clip_id", "path", "labels", "split"), *rows])
    return table


def score_row(name: str, results: Sequence[store.Result]) -> dict[str, Any]:
    """Return a row of the table of scores."""
    scores = [r["score"] for r in results]
    spread = f"{np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "–"
    params = results[0]["settings"]["parameters"]
    return {
        "student": name,
        "macro PR-AUC": f"{np.mean(scores):.3f}",
        "sd over seeds": spread,
        "seeds": len(scores),
        "parameters trained": f"{params['trained']:,}",
        "each": " ".join(f"{score:.3f}" for score in scores),
    }


def group_runs(results: Sequence[store.Result], label: str, reports: Path) -> RunGroup:
    """Group results that differ in their seeds only."""
    paths = (store.result_path(reports, r["task"], r["embedding"], r["run"]) for r in results)
    return RunGroup(label, tuple(results), tuple(paths))


def format_p(p: float) -> str:
    """Return a p-value as text."""
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def write_tables(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write each table as CSV, all as Markdown, and print them."""
    text = ""
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        lines = [list(rows[0]), ["---"] * len(rows[0])]
        lines += [[str(value) for value in row.values()] for row in rows]
        text += "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"
    (folder / "tables.md").write_text(text, encoding="utf-8")
    print(text, end="")  # noqa: T201


def main() -> None:
    """Parse the command line and run all steps."""
    parser = argparse.ArgumentParser(description="Distill a teacher into students, synthesized.")
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument("--clips", type=int, default=960, help="clips to synthesize (960)")
    parser.add_argument("--seeds", type=int, default=5, help="students of each method (5)")
    parser.add_argument("--teacher", default="short-chunk:width=24", help="trained on all labels")
    parser.add_argument("--student", default="short-chunk:width=8", help="has 10 %% of the labels")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40, help="epochs of a student (40)")
    options = parser.parse_args()
    start = time.perf_counter()

    def log(text: str) -> None:
        print(f"{time.perf_counter() - start:5.0f} s  {text}", flush=True)  # noqa: T201

    reports = options.folder / "out"
    os.environ["PROBEKIT_REPORTS"] = str(reports)  # also where runs/ID is looked up
    os.environ["PROBEKIT_CACHE"] = str(options.folder / "cache")
    task = str(write_corpus(options.folder / f"corpus-{options.clips}", options.clips))
    common: dict[str, Any] = {"crop": CROP, "device": "cpu"}
    log("the corpus is written")
    teacher = probekit.distill(
        task, options.teacher, epochs=options.teacher_epochs, name="teacher", **common
    )[0]
    name = run_folder.folder_name(
        teacher["run"], teacher["folds"][0]["fold"], len(teacher["folds"])
    )
    log(f"teacher: {teacher['score']:.3f}")
    probekit.extract(f"runs/{name}", task=task, frames=True, device="cpu")
    log("the teacher's frames are in the cache")
    alone = probekit.distill(
        task, options.student, epochs=options.teacher_epochs, name="alone", **common
    )
    log(f"a student alone, all labels: {alone[0]['score']:.3f}")
    results = {}
    for method in METHODS:
        teachers = () if method == "none" else (f"runs/{name}:stream=embedding",)
        results[method] = probekit.distill(
            task, options.student, teachers, method=method, name=method, fractions=[SHARE],
            seeds=options.seeds, epochs=options.epochs, batch=8, lr=2e-3, **common,
        )  # fmt: skip
        each = ", ".join(f"{r['score']:.3f}" for r in results[method])
        log(f"{method}: {each}")
    groups = {method: group_runs(runs, method, reports) for method, runs in results.items()}
    tests = [comparison.compare_all([groups[m], groups["none"]])[0] for m in METHODS if m != "none"]
    adjusted = holm([test.p for test in tests])
    scores = [
        score_row("teacher", [teacher]),
        score_row("none, all labels", alone),
        *(score_row(f"{m}, 10 % of the labels", runs) for m, runs in results.items()),
    ]
    write_tables(
        options.folder,
        {
            "scores": scores,
            "tests": [
                {
                    "method": test.first,
                    "less none": f"{test.difference:+.3f}",
                    "95 % interval": f"{test.low:+.3f} – {test.high:+.3f}",
                    "p, clips and seeds": format_p(test.p),
                    "p (Holm)": format_p(p),
                }
                for test, p in zip(tests, adjusted, strict=True)
            ],
        },
    )
    log("done")


if __name__ == "__main__":
    try:
        main()
    except ProbekitError as error:
        raise SystemExit(f"error: {error}") from None
