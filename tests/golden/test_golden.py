"""What is stored or named stays what it is: literals, and files that earlier code wrote.

``store`` holds a corpus with a cache, results, students and a training that was ended early;
``expected`` holds what commands say of them. Both were written by ``make_golden.py``, with the code
before its modules got other names. Fingerprints, run ids, student ids, JSON keys, names of commands
and options, card modules, state-dict keys and files on disk must come out the same, byte for byte
where nothing but the date decides. Only a deliberate addition may change these literals and files,
and then only by what was added; other names of modules, functions and classes never do.

The code is reached by the command line and by ``import probekit``, so that no name inside the
package matters; :func:`frozen` alone looks for two names, of the standard library. What was
computed is compared closely, not exactly, since processors round differently.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import pickletools
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.main import get_command

import probekit

FOLDER = Path(__file__).resolve().parent
STORE = FOLDER / "store"
EXPECTED = FOLDER / "expected"
TASK = "golden.yaml"
CHANGED = 1_700_000_000_000_000_000  # the recordings' time of change, in nanoseconds
BLOCK = 512  # bytes before a part: they hold the digest of the rest

# a student that mfcc taught, one of another kind, and a training that was ended after an epoch
TAUGHT = "78bf53266ebb88eac86af0c7322e9602c8b4997e677dace14df6b72ce513708b"
OTHER = "2e84b0cac12f32dfde267a67f6e3bcfae4e64c4ddc3f05c97e29941c50caca3b"
PLAIN = "f88f7647605e012d1372fb76e2255aa1f078897ec4c24eba863cd0dfe9c1ed8e"
STUDENT = f"runs/{TAUGHT[:12]}"
SMALL = "short-chunk:width=2"

# embedding, options and the ids of the runs
EVALUATED: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "mfcc",
        {},
        [
            "b7ad39b244a7cd3ecf08f4c4c1350694c21bdf08a36d1b21b6beefc28717a380",
        ],
    ),
    (
        "mfcc",
        {"probe": "mlp"},
        [
            "0e62e6430ed966e3ca8d1479b140fb37b476c0e52f961ecf8ce3b21d71a94a61",
        ],
    ),
    (
        "mfcc",
        {"probe": "knn"},
        [
            "e46d8f44661cf6484f4475f5184e68588a690aa4bba9881dde3cea2ce1ad7987",
        ],
    ),
    (
        "mfcc",
        {"probe": "sklearn.linear_model:RidgeClassifier:alpha=1|10"},
        [
            "a85a786bc6603fcb7dfd1f2cf12a52c34e8617c0ec17c7a376b72355ab9b04fc",
        ],
    ),
    (
        "mfcc",
        {"fractions": [0.7], "seeds": 2},
        [
            "1b9788c1913d34b8345e2f305f6abfb17ced7966047f51a82ad676c9b62768f7",
            "6b4170492e57ff1ffbc9b6b7bec02cb7198653c926badbd1cf3aa6116474e18e",
        ],
    ),
    (
        "mfcc:pool=mean+std",
        {},
        [
            "7bdde50ba998ae50296fd7956b659697de33e885f442be5519612be4a1879862",
        ],
    ),
    (
        "melstats",
        {},
        [
            "3dd3e4c1a346be1b33dd96268f8d6437449a32d7d87c0ed1a5c8ccd07481fc07",
        ],
    ),
    (
        "mfcc+melstats",
        {},
        [
            "f6ac625ad560c580a7112cc35e375273455ac2850a396182f45a642f809f9aa5",
        ],
    ),
    (
        STUDENT,
        {},
        [
            "3cb6392b5383be2f69900c2065e2a50747ace18b4d6fc584420e11e490f3c4ec",
        ],
    ),
    (
        STUDENT,
        {"probe": "head"},
        [
            "3e556f3cc55187f2a9b8eb5bf843ed043dad202e881386b50eddfa0694503cd2",
        ],
    ),
]
# the same runs today: intervals are chosen by metric and design, paths of C end early, and of a
# share of the labels each fold draws its own; the stored runs stay readable
RENAMED = {
    0: ["8661b9c6d19b48c570a3e03efccfac45975cde37bab56339af9a730f06ab9709"],
    2: ["47e9ba32932ba4f1a0769ac0f41c7eaa3d56c055e761127649fd0f43ee46d26b"],
    3: ["badbbb07d68ade03dd30a17bfd939788611cba3eccf94fa8ceb59c951cc60e8b"],
    4: [
        "414f47262f9fa35258f5de6997659be75417de9653ca790213fc357b28b0d72b",
        "9755dcafd87a0fc1082162417f673107a2ee8116b33f8cea5066252acf1c60e7",
    ],
    9: ["44c4d9b7d063f6fda09713e9d3e9ed5405e1f3be5653a5eaf9c8a1a159dbaa9b"],
}
LINEAR, KNN, MELSTATS = (EVALUATED[k][2][0] for k in (0, 2, 6))

# extractor and its weights; of a file the hash counts, whatever is in it
FINGERPRINTS: dict[tuple[str, str], str] = {
    ("mfcc", ""): ("fc376bb9b278f162fe95692f7fca099839736c5d0842367536d7418380f19b21"),
    ("melstats", ""): ("5598f7204492dd1a1589cf4977863e66b57b5dbc136bc2517800ed2c4403a6cf"),
    ("cf", "cf=random:0"): ("1888dd4b3c48bfa300c65c7547fa359d8e3442b8f1dbd9fdb0c87a9856345503"),
    ("cf:width=64", "cf=random:0"): (
        "151997292531ade080bd4484cbfbefd7d91e0b294c0456a070f68161d2c106af"
    ),
    ("cnn14", "cnn14=random:0"): (
        "8beff34a366cd3ac3ecd7c832ededf6ced94b4030fa171b5c47595fcb8b8bc70"
    ),
    ("convnet", "convnet=random:0"): (
        "76bbf1d92c13f1ffc680c24b9d0234661b9ea075cac89de0f8f11fdc32dff32f"
    ),
    ("convnet:stream=max5", "convnet=random:1"): (
        "c486cd0f52ceb225dedf44f74804f36bdea1462f59268723626587df60350ce4"
    ),
    ("convnet", "convnet=corpus/broken.wav"): (
        "c3d3ad474dfde60819d63c6f6c818c833bb8bafa1e0a430e9773b33af61a5e2b"
    ),
    ("harmonic-cnn", "harmonic-cnn=random:0"): (
        "a319cf6fca466773479c032135f6bfef99e3934beab10c01ea667f68eef6d8bf"
    ),
    ("openl3", "openl3=random:0"): (
        "e9fd0c82d4e4292ced616c9d772e9fd12ab057fe44891bb46266f94087518390"
    ),
    ("openl3:content=env,input=mel256,size=512,hop=0.5", "openl3=random:0"): (
        "bc094905f1385b65d83974554c033017745a4f7da6e2d938470c1fbd9c7d7eac"
    ),
    ("talnet", "talnet=random:0 talnet.normalizer=random:0"): (
        "e67ddcf1609930ee5ef1f45afc2e30c5db59bd167d7f2318d8212973b42cf0cb"
    ),
    ("vggish", "vggish=random:0"): (
        "63db5b3563588a4e3aa39f2d196fb1a97307296fda9c4f1ec7102bf15799ddbf"
    ),
    ("vggish:stream=pca8", "vggish=random:0 vggish.pca=random:0"): (
        "5276cc83f1b929744b3c7cc0e19b0236c0213d63e29153a5f2d2d40b8659ed07"
    ),
    ("weanet", "weanet=random:0"): (
        "8e33d04c9d96ebfb233c0c59d69e87a1c6af135dfb470f4c603126b35738b36c"
    ),
    (STUDENT, ""): ("23f92141b4e5e0b34ebc464a4e797402fd11c4c52b8f5099d9a652b8af9daf6d"),
    (f"runs/{OTHER[:12]}", ""): (
        "2237dc390f9a672a8247f704bf268910dc23487c667e41de47ba660870d9ab32"
    ),
}

# SHA-256 of each part as it is stored
PARTS = {
    "melstats-5598f720/golden/part-00000.h5": (
        "bc7b66e655519e432db833479efea5f96f11d43af3dd95dd18e0df5c0d2e215a"
    ),
    "mfcc-fc376bb9/golden/part-00000.h5": (
        "9cdde8c00f6157b80f30f6ff4b829acb0254e8d47b92104ab2b3d464d7ec3c7b"
    ),
    "student-78bf53266ebb-23f92141/golden/part-00000.h5": (
        "0add1a5bf2c2ac1197c58209d0f7a4e4ae4e8462a1a6810eca7f5e70248e396f"
    ),
}
# SHA-256 of what open_cache gives for all clips, in the order of their ids
VECTORS = {
    ("mfcc", "mfcc"): "2801e5acf582e046185df671b13805f70f882229ae7874795bf7f1c3ff7aa54c",
    ("melstats", "stats"): "02eb5ec290e8cb50617596800dda8b51d396ae8c34643512d8529d743e5081e0",
    (STUDENT, "embedding"): "566235aa66c9560cc1ce3d8a2bda63fd92b5c164ae8303c15f71c4c687fa6a9c",
    (STUDENT, "hidden"): "74666afebfd8b4e695fa3d1c9258586dbe057d2b343e804a96bb57f9180d7482",
}
# SHA-256 of the frames of a clip by mfcc
FRAMES = "7309375b4f1d0b21fc25dae40102aa4db3206981e42123f5cdea5b21ae120362"
# the first numbers of a student's streams, for a sine
STREAMS = {
    "embedding": [0.33022, 0.11429, 0.1423, 0.14838, 0.02762, 0.18579],
    "hidden": [0.0, 0.0739, 0.02001, 0.0, 0.0, 0.0],
}
# the decoded sound: its file and the SHA-256 of the samples
SOUND = (
    "sound-fdac014682f976e7-2ba6c006d01b75c6",
    "e1a4fee7e4513fe56cebdada1ffa5a9c01d8bdea3a18abed84252ee1dc10649e",
)

COMMANDS = [
    "tasks --json",
    "tasks show fsdd --json",
    "tasks show magnatagatune --json",
    f"tasks show {TASK} --json",
    "extractors --json",
    "extractors show mfcc --json",
    "extractors show vggish --json",
    f"extractors show {STUDENT} --json",
    "weights list --json",
    "weights verify --json",
    "cache ls --json",
    "cache info mfcc golden --json",
    f"cache info {STUDENT} golden --json",
    "cache verify --json",
    "cache gc --json",
    "cache pack mfcc golden -o packed.h5 --json",
    "cache export melstats golden -o vectors.npz --json",
    "cache merge packed.h5 --cache another --json",
    "results ls --json",
    "results ls --task golden --json",
    f"results show {LINEAR[:12]} --json",
    f"results show {TAUGHT[:12]} --json",
    "results best golden --json",
    "results verify --json",
    "results table --task golden --format markdown",
    "results table --task golden --format csv",
    f"compare {LINEAR[:12]} {KNN[:12]} {MELSTATS[:12]} --json",
    f"data check {TASK} --root corpus --decode --json",
    "data check corpus/golden.csv --json",
    f"data leaks {TASK} --root corpus --identical --json",
    f"extract -e mfcc -e melstats --task {TASK} --root corpus --json",
    "extract -e mfcc --audio corpus --dry-run --json",
    f"analyze differences {LINEAR[:12]} {MELSTATS[:12]} --json",
]

# commands with a name that is not known: they answer with all that are
UNKNOWN = [
    f"distill --task {TASK} --student nope",
    f"distill --task {TASK} --student {SMALL} --method nope",
    f"distill --task {TASK} --student {SMALL} --recipe nope",
    f"distill --task {TASK} --student {SMALL} --teacher mfcc --method l2 --alignment nope",
    f"distill --task {TASK} --student {SMALL} --precision nope",
    "distill --task nope --student nope",
    f"evaluate --task {TASK} -e mfcc --probe nope",
    f"evaluate --task {TASK} -e mfcc --preset nope",
    f"evaluate --task {TASK} -e mfcc --solver nope",
    f"evaluate --task {TASK} -e mfcc:pool=nope",
    f"evaluate --task {TASK} -e mfcc:stream=nope",
    f"extract --task {TASK} --root corpus -e mfcc --precision nope",
    f"extract --task {TASK} --root corpus -e mfcc --dtype nope",
    f"extract --task {TASK} --root corpus -e openl3:content=nope",
    f"extract --task {TASK} --root corpus -e openl3:nope=1",
    "extractors show nope",
    "tasks show nope",
    "reproduce nope",
    f"compare {LINEAR[:12]} {KNN[:12]} --metric nope",
    "results table --task golden --format nope",
    f"analyze similarity --task {TASK} -e mfcc -e melstats --measure nope",
    f"analyze confusion {LINEAR[:12]} --order nope",
    f"analyze differences {LINEAR[:12]} {KNN[:12]} --correction nope",
    "data rehearse nope --root x",
]


# ---- how the code is reached


@contextlib.contextmanager
def inside(store: Path) -> Iterator[None]:
    """Work in a store: recordings as old as they were, folders named relative to it."""
    for path in (store / "corpus").iterdir():
        os.utime(path, ns=(CHANGED, CHANGED))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(store)
        for name in ("home", "cache", "reports"):
            patch.setenv(f"PROBEKIT_{name.upper()}", name)
        patch.setenv("PROBEKIT_CARDS", "")
        patch.setenv("COLUMNS", "200")
        yield


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Stop the clocks of the package: each look at the stop watch takes a sixteenth of a second."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    looks = iter(range(1_000_000))
    clocks = {"perf_counter": (time.perf_counter, lambda: next(looks) / 16),
              "datetime": (datetime, Stopped)}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            for clock, (real, stopped) in clocks.items():
                if name.startswith("probekit.") and vars(module).get(clock) is real:
                    patch.setattr(module, clock, stopped)
        yield


def command(line: str) -> SimpleNamespace:
    """Run a command line in this process."""
    from probekit import cli

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["probekit", *line.split()])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def extract(*embeddings: str, cache: str = "cache", **options: Any) -> list[Any]:
    """Embed the corpus with stopped clocks."""
    options = {"task": TASK, "root": "corpus", "device": "cpu", **options}
    probekit.extract(["mfcc"], cache="aside", limit=1, **{**options, "streams": None})  # imports
    shutil.rmtree("aside")
    with frozen():
        return probekit.extract(list(embeddings), cache=cache, **options)


def train(student: str, **options: Any) -> dict[str, Any]:
    """Train a student on the corpus."""
    common = {"root": "corpus", "batch": 4, "epochs": 2, "folds": ["1"], "device": "cpu"}
    [result] = probekit.distill(TASK, student, **{**common, **options})
    return dict(result)


def train_taught(**options: Any) -> dict[str, Any]:
    """Train a student that mfcc teaches."""
    return train(SMALL, teachers="mfcc", method="con-reg", **options)


def train_other() -> dict[str, Any]:
    """Train a student of another kind."""
    return train("cf-net:width=8", epochs=1, batch=16)


def train_plain(**options: Any) -> dict[str, Any]:
    """Train a student without a teacher."""
    return train(SMALL, method="none", **options)


def interrupt_plain(**options: Any) -> None:
    """Train a student without a teacher, and stop after an epoch."""

    class Stop(Exception):
        pass

    def stop(name: str, done: int, total: int, note: str) -> None:
        if note and done == 1:
            raise Stop

    with pytest.raises(Stop):
        train_plain(progress=stop, **options)


# ---- what is observed


def write(topic: str, value: Any) -> None:
    """Keep what was observed."""
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False)
    (EXPECTED / f"{topic}.json").write_text(text + "\n", encoding="utf-8")


def read(topic: str) -> Any:
    """Return what was observed before."""
    return json.loads((EXPECTED / f"{topic}.json").read_text(encoding="utf-8"))


_VOLATILE = {"created", "written", "seconds", "versions", "changed", "written with"}


def steady(value: Any) -> Any:
    """Return a JSON value without what differs from run to run: dates, seconds and versions."""
    if isinstance(value, dict):
        return {
            key: sorted(inner) if key in _VOLATILE and isinstance(inner, dict)
            else "…" if key in _VOLATILE and inner is not None
            else steady(inner)
            for key, inner in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple):
        return [steady(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value


def differences(before: Any, now: Any, at: str = "") -> list[str]:
    """Say where two JSON values differ; numbers may do so by what rounding explains.

    How many steps a fit took, and how near it came to its minimum, depends on rounding.
    """
    if at.endswith((".iterations", ".gap")):
        return [] if (before is None) == (now is None) else [f"{at}: {before!r}, now {now!r}"]
    if isinstance(before, dict) and isinstance(now, dict):
        if list(before) != list(now):
            return [f"{at}: keys {list(before)}, now {list(now)}"]
        pairs = [(f"{at}.{key}", before[key], now[key]) for key in before]
        return [line for place, b, n in pairs for line in differences(b, n, place)]
    if isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return [f"{at}: {len(before)} entries, now {len(now)}"]
        pairs = enumerate(zip(before, now, strict=True))
        return [line for k, (b, n) in pairs for line in differences(b, n, f"{at}[{k}]")]
    if isinstance(before, float) and isinstance(now, float):
        close = math.isclose(before, now, rel_tol=1e-4, abs_tol=1e-6)
        same = close or (math.isnan(before) and math.isnan(now))
    else:
        same = type(before) is type(now) and before == now
    return [] if same else [f"{at}: {before!r}, now {now!r}"]


def options() -> dict[str, list[str]]:
    """Return the options and arguments of every command."""
    from probekit import cli

    command("--version")  # a command must be run for all to be registered
    named: dict[str, list[str]] = {}

    def walk(entry: Any, path: str) -> None:
        named[path] = sorted(text for p in entry.params for text in (*p.opts, *p.secondary_opts))
        for name, inner in getattr(entry, "commands", {}).items():
            walk(inner, f"{path} {name}")

    walk(get_command(cli.app), "probekit")
    return named


def names() -> dict[str, Any]:
    """Return what the package exports, what cards are built by, and what may be named."""
    modules = {}
    for kind, key in (("extractors", "extractor"), ("tasks", "task")):
        for entry in json.loads(command(f"{kind} --json").out):
            card = json.loads(command(f"{kind} show {entry[key]} --json").out)
            card = card.get("card", card)
            modules[f"{kind}/{entry[key]}"] = card["module"]
    answers = {line: command(line) for line in UNKNOWN}
    return {
        "all": sorted(probekit.__all__),
        "modules": modules,
        "unknown": {line: [done.code, done.err] for line, done in answers.items()},
    }


def commands() -> dict[str, Any]:
    """Return what commands print: JSON as values, all else as text."""
    told = {}
    for line in COMMANDS:
        done = command(line)
        out = steady(json.loads(done.out)) if "--json" in line else done.out
        told[line] = {"code": done.code, "out": out, "err": done.err}
    return told


def keys(state: dict[str, Any]) -> dict[str, Any]:
    """Return how many weights a network has, the hash of their names and sizes, and the first."""
    lines = [f"{name} {tuple(array.shape)}" for name, array in sorted(state.items())]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {"count": len(lines), "sha256": digest, "first": lines[:3]}


def networks() -> dict[str, Any]:
    """Return the names and sizes of all networks' weights, and of all students'."""
    built = {}
    for name, weights in FINGERPRINTS:
        if name in ("vggish", "cf:width=64") or weights.endswith((":1", ".wav")):
            continue  # slow, and another one has the same weights
        extractor = probekit.load_extractor(name, weights=weights.split(), device="cpu")
        built[name] = keys(extractor.state_dict())
        if name == "harmonic-cnn":
            state = extractor.state_dict()
    built["student harmonic-cnn"] = keys(_harmonic_student(state).state_dict())
    for run in (TAUGHT, OTHER):
        file = Path("reports/students", run[:12], "weights.pt")
        built[f"file {run[:12]}"] = keys(torch.load(file, weights_only=True))
    return built


def _harmonic_student(state: dict[str, Any]) -> Any:
    """Open a student that has the weights of the extractor harmonic-cnn; too large to be stored."""
    folder = Path("reports/students/harmonic")
    folder.mkdir()
    torch.save(dict(state), folder / "weights.pt")
    card = yaml.safe_load(
        Path("reports/students", OTHER[:12], "card.yaml").read_text(encoding="utf-8")
    )
    sha256 = hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()
    outputs = state["network.dense2.weight"].shape[0]
    card |= {"name": "student-harmonic", "student": "harmonic-cnn", "dim": 256, "hidden": 256,
             "classes": [f"class {k}" for k in range(outputs)], "crop": "5", "hop": "5",
             "first_center": "5/2", "window": "5",
             "weights": {"file": "weights.pt", "sha256": sha256}}  # fmt: skip
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return probekit.load_extractor("runs/harmonic", device="cpu")


def card_of(folder: Path) -> dict[str, Any]:
    """Return the card of a student but for the hash of its weights, which rounding decides."""
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["weights"]["sha256"] = len(card["weights"]["sha256"])
    return dict(card)


def resumed() -> dict[str, Any]:
    """Go on with the training that was ended early, and return what came of it."""
    notes: list[str] = []
    result = train_plain(warn=notes.append)
    folder = Path("reports/students", PLAIN[:12])
    return {
        "notes": notes,
        "result": steady(result),
        "files": sorted(path.name for path in folder.iterdir() if path.is_file()),
        "card": card_of(folder),
    }


def checkpoint(reports: str = "reports") -> dict[str, Any]:
    """Return what the checkpoint of a training that was ended early consists of."""
    path = Path(reports, "students", PLAIN[:12], "last.ckpt")
    content = torch.load(path, weights_only=False)
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        codes = pickletools.genops(archive.read(name))
        classes = {str(value) for code, value, _ in codes if code.name == "GLOBAL"}
    return {
        "classes": sorted(name for name in classes if not name.startswith("torch")),
        "keys": sorted(map(str, content)),
        "nested": {str(key): sorted(map(str, value)) for key, value in sorted(content.items())
                   if isinstance(value, dict)},
    }  # fmt: skip


def frame() -> dict[str, Any]:
    """Return the table of all results."""
    table = probekit.results()
    return {"columns": list(table), "rows": steady(json.loads(table.to_json(orient="records")))}


TOPICS = {
    "options": options,
    "names": names,
    "commands": commands,
    "networks": networks,
    "resumed": resumed,
    "checkpoint": checkpoint,
    "frame": frame,
}


def content(path: Path) -> dict[str, Any]:
    """Return all attributes and arrays of an HDF5 file by their names."""
    held: dict[str, Any] = {}

    def add(name: str, node: Any) -> None:
        held.update({f"{name}@{key}": _plain(value) for key, value in node.attrs.items()})
        if isinstance(node, h5py.Dataset):
            held[name] = node[()]

    with h5py.File(path) as file:
        add("", file)
        file.visititems(add)
    return held


def _plain(value: Any) -> Any:
    """Return an attribute's value; JSON as what it says."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value


def with_class_scores(path: Path) -> dict[str, Any]:
    """Return a stored result of accuracy with what was added since: the rule of class scores.

    They were means over folds; recall is of all test clips now, and the result says so.
    """
    result, arrays = json.loads(path.read_text(encoding="utf-8")), content(path.with_suffix(".h5"))
    target = arrays["predictions/target"]
    right = arrays["predictions/scores"].argmax(axis=1) == target
    changed: dict[str, Any] = {}
    for key, value in result.items():
        if key == "per_class":
            changed["class_scores"] = "all test clips"
            value = {
                name: {**entry, "score": float(right[target == k].mean())}
                for k, (name, entry) in enumerate(value.items())
            }
        changed[key] = value
    return changed


def with_new_intervals(path: Path, now: dict[str, Any]) -> dict[str, Any]:
    """Return a stored result with class scores and intervals as they are now.

    Intervals were of percentiles, with the number of resamples and their seed.
    """
    result = with_class_scores(path)
    assert [*now["interval"], "resamples", "seed"] == list(result["interval"])
    result["interval"] = now["interval"]
    for name, metric in result["also"].items():
        assert [*metric, "method"] == list(now["also"][name])
        result["also"][name] = {**now["also"][name], "score": metric["score"]}
    return result


def assert_same_content(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare two HDF5 files: numbers closely, all else exactly but for the provenance."""
    assert list(before) == list(now)
    for name, value in before.items():
        if name == "@provenance":
            assert list(value) == list(now[name])
        elif name == "@card":  # streams have had an entry for comparisons since
            streams = {
                key: {"compared_on": [], **stream} for key, stream in value["streams"].items()
            }
            assert {**value, "streams": streams} == now[name]
        elif isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (now[name].dtype, now[name].shape), name
            if value.dtype.kind == "f":
                np.testing.assert_allclose(now[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
            else:
                np.testing.assert_array_equal(now[name], value, err_msg=name)
        else:
            assert value == now[name], name


# ---- what stays


@pytest.fixture
def store(tmp_path):
    """Copy the store, and work in the copy."""
    shutil.copytree(STORE, tmp_path / "store")
    with inside(tmp_path / "store"):
        yield tmp_path / "store"


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_what_is_told_stays_the_same(store, topic):
    now = json.loads(json.dumps(TOPICS[topic]()))
    assert differences(read(topic), now) == []


def test_fingerprints_stay_the_same(store):
    now = {}
    for name, weights in FINGERPRINTS:
        [summary] = probekit.extract(
            [name], task=TASK, root="corpus", weights=weights.split(), dry_run=True
        )
        now[name, weights] = summary.fingerprint
    assert now == FINGERPRINTS


def test_a_cache_of_before_opens(store):
    before = {path: path.read_bytes() for path in Path("cache").rglob("*.h5")}
    for (name, stream), digest in VECTORS.items():
        cache = probekit.open_cache(name, "golden")
        assert cache.failures == {"broken": "not audio, or damaged (format not recognised)"}
        ids = sorted(cache.clip_ids)
        vectors = cache.vectors(ids, stream=stream)
        assert hashlib.sha256(vectors.tobytes()).hexdigest() == digest
        short = name.replace("runs/", "student-")
        [path] = Path("cache").glob(f"{short}-????????/golden/part-00000.h5")
        part = content(path)
        array = part.get(f"streams/{stream}/mean", part.get(f"streams/{stream}/clip"))
        assert [text.decode() for text in part["clip_id"]] == ids
        np.testing.assert_array_equal(vectors, array)
    frames = probekit.open_cache("mfcc", "golden").frames("tone-1")
    assert hashlib.sha256(frames.tobytes()).hexdigest() == FRAMES
    [mfcc, melstats] = extract("mfcc", "melstats", frames=True)
    [student] = extract(STUDENT, streams=["embedding", "hidden"], frames=True)
    for summary in (mfcc, melstats, student):
        assert (summary.total, summary.cached, summary.todo) == (22, 21, 0)
    assert {path: path.read_bytes() for path in Path("cache").rglob("*.h5")} == before


def test_a_cache_is_written_as_before(store):
    extract("mfcc", "melstats", frames=True, cache="fresh")
    extract(STUDENT, streams=["embedding", "hidden"], frames=True, cache="fresh")
    names = sorted(path.relative_to("cache") for path in Path("cache").rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to("fresh")
        for path in Path("fresh").rglob("*")
        if path.is_file() and path.name != ".lock"
    )
    for name in names:
        before, now = Path("cache") / name, Path("fresh") / name
        if name.suffix == ".h5":
            assert_same_content(content(before), content(now))
        elif name.suffix == ".parquet":
            a, b = pd.read_parquet(before), pd.read_parquet(now)
            assert list(a) == list(b) and a.dtypes.equals(b.dtypes)
            assert before.parent.name != "manifests" or a.equals(b)
        else:
            assert before.read_bytes() == now.read_bytes(), name
    for name, digest in PARTS.items():
        assert hashlib.sha256((Path("cache") / name).read_bytes()).hexdigest() == digest


def test_a_part_has_the_same_arrays_and_its_hash_first(store):
    extract("mfcc", "melstats", frames=True, cache="fresh")
    for name in PARTS:
        if name.startswith("student-"):
            continue
        before, now = Path("cache") / name, Path("fresh") / name
        a, b = content(before), content(now)
        assert b["@provenance"]["written"] == a["@provenance"]["written"]
        if a["@provenance"] != b["@provenance"]:
            pytest.skip("the part was written with other versions of libraries")
        if any(not np.array_equal(a[key], b[key], equal_nan=a[key].dtype.kind == "f")
               for key in a if isinstance(a[key], np.ndarray)):  # fmt: skip
            pytest.skip("this processor rounds otherwise; the arrays are close")
        assert_same_content(a, b)
        sha256 = hashlib.sha256(now.read_bytes()[BLOCK:]).hexdigest()
        head = f"probekit embedding cache, part, format 1\nsha256 of what follows: {sha256}\n"
        assert now.read_bytes()[:BLOCK] == head.encode().ljust(BLOCK, b"\0")


@pytest.fixture(scope="module")
def linear_run(tmp_path_factory):
    """The first run, computed today: its result, and the folder of its reports."""
    folder = tmp_path_factory.mktemp("linear") / "store"
    shutil.copytree(STORE, folder)
    with inside(folder):
        embedding, options, _ = EVALUATED[0]
        results = probekit.evaluate(TASK, embedding, reports="fresh", **options)
    return results, folder / "fresh"


def compute(k, linear_run):
    """Return what a run gives today; its files lie in ``fresh``."""
    if k == 0:
        results, folder = linear_run
        shutil.copytree(folder, "fresh")
        return results
    embedding, options, _ = EVALUATED[k]
    return probekit.evaluate(TASK, embedding, reports="fresh", **options)


def test_results_of_before_are_gone_on_with(store, linear_run):
    before = {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}
    known = set(probekit.results()["run"])
    assert all(run in known for _, _, runs in EVALUATED for run in runs)
    for k in (0, 4):
        embedding, options, _ = EVALUATED[k]
        results = compute(k, linear_run)
        assert [result["run"] for result in results] == RENAMED[k]
        assert probekit.evaluate(TASK, embedding, reports="fresh", **options) == results
    assert train_taught()["run"] == TAUGHT
    assert train_other()["run"] == OTHER
    now = {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}
    assert {path: now[path] for path in now if path.name != ".lock"} == before


@pytest.mark.parametrize("k", [0, 2, 3, 9])
def test_a_result_is_computed_as_before(store, linear_run, k):
    [run] = EVALUATED[k][2]
    [result] = compute(k, linear_run)
    [now] = Path("fresh/results/golden").glob("*.json")
    [before] = Path("reports/results/golden").glob(f"*-{run[:12]}.json")
    assert [result["run"]] == RENAMED[k]
    b = json.loads(now.read_text())
    a = {**with_new_intervals(before, b), "run": result["run"]}
    if a["probe"] == "linear":
        a["settings"] = {**a["settings"], "version": 3}
        # a refit is one fit that starts near the minimum, not a path up to the selected C
        a["solver"] = {**a["solver"], "fits": 75}
    assert differences(steady(a), steady(b)) == []
    assert list(a["versions"]) == list(b["versions"]) and list(a["seconds"]) == list(b["seconds"])
    assert_same_content(content(before.with_suffix(".h5")), content(now.with_suffix(".h5")))


def test_a_student_is_trained_as_before(store):
    result = train_taught(reports="fresh")
    assert result["run"] == TAUGHT
    [now] = Path("fresh/results/golden").glob("*.json")
    before = Path("reports/results/golden") / now.name
    b = json.loads(now.read_text())
    a = with_new_intervals(before, b)
    assert (a["solver"]["name"], b["solver"]["name"]) == ("lightning", "torch")
    a["solver"]["name"] = "torch"
    a["versions"].pop("lightning")
    assert differences(steady(a), steady(b)) == []
    assert list(content(before.with_suffix(".h5"))) == list(content(now.with_suffix(".h5")))
    folder = Path("reports/students", TAUGHT[:12])
    fresh = Path("fresh/students", TAUGHT[:12])
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert files == sorted(path.name for path in fresh.iterdir() if path.is_file()
                           and path.name != ".lock")  # fmt: skip
    before_card, card = card_of(folder), card_of(fresh)
    assert card.pop("layers") == [2, 4, 8]  # since blocks of students are streams
    assert before_card == card
    assert list(before_card) == list(card)
    assert (folder / "clips.csv").read_bytes() == (fresh / "clips.csv").read_bytes()
    a, b = (torch.load(path / "weights.pt", weights_only=True) for path in (folder, fresh))
    assert list(a) == list(b)
    for name in a:
        torch.testing.assert_close(b[name], a[name], rtol=1e-2, atol=1e-3)
    with (folder / "log.csv").open() as old, (fresh / "log.csv").open() as new:
        assert csv.DictReader(old).fieldnames == csv.DictReader(new).fieldnames
    sound = sorted(path.name for path in Path("cache/sound").iterdir() if path.name != ".lock")
    assert sound == [f"{SOUND[0]}.parquet", f"{SOUND[0]}.raw"]
    samples = Path("cache/sound", f"{SOUND[0]}.raw").read_bytes()
    assert hashlib.sha256(samples).hexdigest() == SOUND[1]


def test_a_student_gives_what_it_gave(store):
    student = probekit.load_extractor(STUDENT, streams=["embedding", "hidden"], device="cpu")
    wave = np.sin(np.arange(8000) / 20).astype(np.float32)
    [streams] = student([torch.from_numpy(wave)])
    for name, values in STREAMS.items():
        row = streams[name].numpy()[0, : len(values)]
        np.testing.assert_allclose(row, values, rtol=1e-3, atol=1e-4)


def test_a_training_is_ended_early_as_before(store):
    interrupt_plain(reports="fresh")
    folder = Path("reports/students", PLAIN[:12])
    fresh = Path("fresh/students", PLAIN[:12])
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert files == sorted(path.name for path in fresh.iterdir() if path.is_file()
                           and path.name != ".lock")  # fmt: skip
    a, b = (json.loads((path / "run.json").read_text()) for path in (folder, fresh))
    assert a == b
    assert checkpoint() == checkpoint("fresh")
