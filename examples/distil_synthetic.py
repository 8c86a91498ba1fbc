"""Distil a teacher into a small student that has a tenth of the labels, on synthesized scenes.

Nothing is downloaded. The script

1. synthesizes clips of 12 s: a scene throughout (rain, wind, an engine or footsteps), on it up to
   eight kinds of melodies, animals and drums at their own times and levels, and noise; a clip's
   labels are all that sounds in it, and some labels are rare;
2. trains a teacher, a ``short-chunk`` network, on all training labels, and caches its frames;
3. trains smaller ``short-chunk`` students on 10 % of the labels: alone (``none``), with the
   teacher's frames in training only (``con-reg``, ``dis-reg``), and with them always (``film``,
   ``feature-only``), the same seeds for each;
4. tests every method against ``none``: the same test clips, the same seeds.

::

    python examples/distil_synthetic.py runs-of-distillation

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
LEVELS = (-15, 0)  # dB of an event, beside the scene
METHODS = ("none", "con-reg", "dis-reg", "film", "feature-only")
SHARE = 0.1
CROP = 4.0  # seconds that both networks hear at once


def scene(seed: int) -> tuple[np.ndarray, list[str]]:
    """Synthesize a clip; return its samples and its labels."""
    rng = np.random.default_rng([seed, 77])
    labels = [str(rng.choice(list(SCENES), p=list(SCENES.values())))]
    made = synthesize(labels[0], seed=seed, seconds=SECONDS, sr=RATE)
    wave = made / made.std()
    for label, often in EVENTS.items():
        if rng.uniform() >= often:
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


def write(where: Path, clips: int) -> Path:
    """Write the corpus, two thirds of it to train on; return its table."""
    table = where / "scenes.csv"
    if table.exists():
        return table
    (where / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(clips):
        wave, labels = scene(i)
        soundfile.write(where / f"audio/{i:04d}.wav", wave, RATE, "PCM_16")
        split = ("train", "train", "train", "train", "valid", "test")[i % 6]
        rows.append((f"{i:04d}", f"audio/{i:04d}.wav", ";".join(labels), split))
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("clip_id", "path", "labels", "split"), *rows])
    return table


def row(name: str, found: Sequence[store.Result]) -> dict[str, Any]:
    """Return a line of the table of scores."""
    scores = [r["score"] for r in found]
    spread = f"{np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "–"
    params = found[0]["settings"]["parameters"]
    return {
        "student": name,
        "macro PR-AUC": f"{np.mean(scores):.3f}",
        "sd over seeds": spread,
        "seeds": len(scores),
        "parameters trained": f"{params['trained']:,}",
        "each": " ".join(f"{score:.3f}" for score in scores),
    }


def entry(found: Sequence[store.Result], label: str, reports: Path) -> RunGroup:
    """Gather results that differ in their seeds alone."""
    paths = (store.result_path(reports, r["task"], r["embedding"], r["run"]) for r in found)
    return RunGroup(label, tuple(found), tuple(paths))


def small(p: float) -> str:
    """Return a p-value as text."""
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def report(where: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write each table as CSV, all as Markdown, and print them."""
    text = ""
    for name, rows in tables.items():
        with (where / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        lines = [list(rows[0]), ["---"] * len(rows[0])]
        lines += [[str(value) for value in one.values()] for one in rows]
        text += "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"
    (where / "tables.md").write_text(text, encoding="utf-8")
    print(text, end="")  # noqa: T201


def main() -> None:
    """Read the command line, and do it all."""
    parser = argparse.ArgumentParser(description="Distil a teacher into students, synthesized.")
    parser.add_argument("where", type=Path, help="a folder for everything")
    parser.add_argument("--clips", type=int, default=960, help="to synthesize (960)")
    parser.add_argument("--seeds", type=int, default=5, help="students of each method (5)")
    parser.add_argument("--teacher", default="short-chunk:width=24", help="trained on all labels")
    parser.add_argument("--student", default="short-chunk:width=8", help="has 10 %% of the labels")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40, help="of a student (40)")
    asked = parser.parse_args()
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {text}", flush=True)  # noqa: T201

    reports = asked.where / "out"
    os.environ["PROBEKIT_REPORTS"] = str(reports)  # also where runs/ID is looked for
    os.environ["PROBEKIT_CACHE"] = str(asked.where / "cache")
    task = str(write(asked.where / f"corpus-{asked.clips}", asked.clips))
    common: dict[str, Any] = {"crop": CROP, "device": "cpu"}
    say("the corpus is there")
    taught = probekit.distillation(
        task, asked.teacher, epochs=asked.teacher_epochs, name="teacher", **common
    )[0]
    name = run_folder.folder_name(taught["run"], taught["folds"][0]["fold"], len(taught["folds"]))
    say(f"teacher: {taught['score']:.3f}")
    probekit.extract(f"runs/{name}", task=task, frames=True, device="cpu")
    say("its frames are in the cache")
    alone = probekit.distillation(
        task, asked.student, epochs=asked.teacher_epochs, name="alone", **common
    )
    say(f"a student alone, all labels: {alone[0]['score']:.3f}")
    found = {}
    for method in METHODS:
        teacher = () if method == "none" else (f"runs/{name}:stream=embedding",)
        found[method] = probekit.distillation(
            task, asked.student, teacher, method=method, name=method,
            fractions=[SHARE], seeds=asked.seeds, epochs=asked.epochs, batch=8, lr=2e-3, **common,
        )  # fmt: skip
        each = ", ".join(f"{r['score']:.3f}" for r in found[method])
        say(f"{method}: {each}")
    entries = {m: entry(of, m, reports) for m, of in found.items()}
    tests = [
        comparison.compare_all([entries[m], entries["none"]])[0] for m in METHODS if m != "none"
    ]
    adjusted = holm([one.p for one in tests])
    scores = [
        row("teacher", [taught]),
        row("none, all labels", alone),
        *(row(f"{m}, 10 % of the labels", of) for m, of in found.items()),
    ]
    report(
        asked.where,
        {
            "scores": scores,
            "tests": [
                {
                    "method": one.first,
                    "less none": f"{one.difference:+.3f}",
                    "95 % interval": f"{one.low:+.3f} – {one.high:+.3f}",
                    "p, bootstrap over clips": small(one.p_bootstrap),
                    "p, t-test over seeds": "–" if one.p_t is None else small(one.p_t),
                    "p (Holm, the greater)": small(p),
                }
                for one, p in zip(tests, adjusted, strict=True)
            ],
        },
    )
    say("done")


if __name__ == "__main__":
    try:
        main()
    except ProbekitError as error:
        raise SystemExit(f"error: {error}") from None
