"""Write the fixtures of ``test_golden.py``: a store of every kind of file, and what is said of it.

Run from outside a checkout, with the package that the fixtures are to come from::

    OMP_NUM_THREADS=1 PYTHONPATH=CHECKOUT python tests/golden/make_golden.py [store] [expected]

``store`` is made by extracting, evaluating and distilling a synthetic corpus; ``expected`` holds
what the functions of ``test_golden.py`` observe of the store. Either alone can be written anew. The
fixtures pin the code they were written by: they are written again only where a change of what is
stored is the very purpose of a change.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import test_golden as golden

import probekit

RATE = 16000
LABELS = ("click", "noise", "tone")
CARD = """name: golden
title: Clicks, noises and tones
dataset: golden
module: table
options: {csv: golden.csv}
labels: [tone, noise, click]
protocol: {kind: folds, inner_folds: 2, grouped: true, description: three folds}
metric: accuracy
also: [balanced-accuracy, log-loss]
published:
  - {method: nobody, score: 0.5, metric: accuracy, where: "Somebody, 2020", differs: other clips}
"""


def wave(label: str, number: int, count: int) -> np.ndarray:
    """Return one sound of a label."""
    rng = np.random.default_rng([number, len(label)])
    time = np.arange(count) / RATE
    sound = {
        "click": (np.arange(count) % (1600 // (number + 2)) == 0) * 0.8,
        "noise": rng.uniform(-0.4, 0.4, count),
        "tone": 0.4 * np.sin(2 * np.pi * 150 * (number + 2) * time),
    }[label]
    return sound + rng.uniform(-0.05, 0.05, count)


def corpus(folder: Path) -> None:
    """Write recordings, one of them broken, their table and the task's card."""
    folder.mkdir(parents=True)
    rows = ["clip_id,path,start,end,label,fold,group"]
    for label in LABELS:
        for number, count in ((0, 4800), (1, 5200), (2, 5600), (3, 6000), (4, 9600), (6, 5200)):
            name = f"{label}{number}.wav"
            soundfile.write(folder / name, wave(label, number, count), RATE, "PCM_16")
            group = f"{label}-{number}"
            if number == 4:
                rows.append(f"{label}-4,{name},0,0.3,{label},2,{group}")
                rows.append(f"{label}-5,{name},0.3,0.6,{label},2,{group}")
            else:
                fold = 3 if number == 6 else number % 3 + 1
                rows.append(f"{label}-{number},{name},,,{label},{fold},{group}")
    (folder / "broken.wav").write_text("no sound\n")
    rows.append("broken,broken.wav,,,noise,1,broken")
    (folder / "golden.csv").write_text("\n".join(rows) + "\n")
    (folder.parent / "golden.yaml").write_text(CARD)


def fill(store: Path) -> None:
    """Extract, evaluate and distill the corpus, by the package that is imported."""
    corpus(store / "corpus")
    with golden.inside(store):
        golden.extract("mfcc", "melstats", frames=True)
        for embedding, options, _ in golden.EVALUATED[:-2]:
            probekit.evaluate(golden.TASK, embedding, **options)
        golden.train_taught()
        golden.train_other()
        golden.interrupt_plain()
        golden.extract(golden.STUDENT, streams=["embedding", "hidden"], frames=True)
        for embedding, options, _ in golden.EVALUATED[-2:]:
            probekit.evaluate(golden.TASK, embedding, **options)
    for path in store.rglob(".lock"):
        path.unlink()
    for folder in [store / "cache" / "sound", *store.rglob("tensorboard")]:
        shutil.rmtree(folder)


def main() -> None:
    """Write what is named, or all."""
    print(f"by {probekit.__file__}")  # noqa: T201
    asked = sys.argv[1:] or ["store", "expected"]
    with tempfile.TemporaryDirectory() as name:
        if "store" in asked:
            fill(Path(name) / "store")
            shutil.rmtree(golden.STORE, ignore_errors=True)
            shutil.copytree(Path(name) / "store", golden.STORE)
        if "expected" in asked:
            shutil.rmtree(golden.EXPECTED, ignore_errors=True)
            golden.EXPECTED.mkdir()
            for topic, observe in golden.TOPICS.items():
                folder = Path(name) / topic
                shutil.copytree(golden.STORE, folder)
                with golden.inside(folder):
                    golden.write(topic, observe())


if __name__ == "__main__":
    main()
