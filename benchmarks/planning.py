"""Planning over two million clips: what is cached, and what is left to do."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.timing import table
from probekit.cache import index, layout
from probekit.data import manifest
from probekit.extractors import load

# clips, recordings they are cut from, whether those are there, whether the clips are embedded
CASES = {
    "2,000,000 clips, all cached, recordings away": (2_000_000, 2_000_000, False, True),
    "200,000 clips, each a recording, all cached": (200_000, 200_000, True, True),
    "2,000,000 clips, none cached": (2_000_000, 100_000, True, False),
}

PLAN = """
import json, sys
from pathlib import Path
from time import perf_counter
from probekit.data import manifest
from probekit.extraction import plan
from probekit.extractors import load
begin = perf_counter()
clips = manifest.read_manifest(Path(sys.argv[1]) / "clips.parquet")
read = perf_counter()
spec = load.resolve_spec("melstats")
made = plan.make_plan(clips, len(clips), spec, Path(sys.argv[1]) / "cache", "many")
end = perf_counter()
[peak] = [int(line.split()[1]) / 1e6 for line in open("/proc/self/status") if "VmHWM" in line]
print(json.dumps([read - begin, end - read, peak, made.cached, made.todo]))
"""


def main() -> None:
    rows: list[tuple[object, ...]] = [
        ("", "reading the manifest", "planning", "greatest memory", "cached", "to do")
    ]
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as place:
            prepare(Path(place), *case)
            done = [_plan(place) for _ in range(3 if case[3] else 1)]
        read, make, peak = np.median([one[:3] for one in done], axis=0)
        cached, todo = done[0][3:]
        assert cached + todo == case[0]
        rows.append(
            (name, f"{read:.1f} s", f"{make:.1f} s", f"{peak:.2f} GB", f"{cached:,}", f"{todo:,}")
        )
    table(
        "Planning (one process, from the start of its work; medians of three, the last row once)",
        rows,
    )


def _plan(place: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", PLAN, place], check=True, capture_output=True, text=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def prepare(place: Path, clips: int, recordings: int, there: bool, cached: bool) -> None:
    """Write recordings (empty files), a manifest, and the index of a cache that holds all clips."""
    numbers = np.arange(clips) * recordings // clips
    paths = [f"{k % 1000:03d}/{k:07d}.wav" for k in range(recordings)]
    root = place / "audio"
    if there:
        for folder in range(min(1000, recordings)):
            (root / f"{folder:03d}").mkdir(parents=True)
        for path in paths:
            (root / path).touch()
    ids = [f"{k:011x}" for k in range(clips)]
    start = np.arange(clips, dtype=float)
    rows = (
        {"clip_id": i, "path": paths[k], "start": s, "end": s + 1}
        for i, k, s in zip(ids, numbers, start, strict=True)
    )
    manifest.from_rows("many", rows, root=root).write(place / "clips.parquet")
    spec = load.resolve_spec("melstats")
    where = layout.dataset_folder(place / "cache", spec.name, spec.fingerprint, "many")
    buckets = layout.choose_buckets(clips, 336 * 4)
    settled = layout.Layout(
        spec.name, spec.fingerprint, spec.identity, "many", buckets, "float32", []
    )
    layout.create_or_load_layout(where, settled)
    if not cached:
        return
    names = np.array([layout.part_name(k) for k in range(buckets)])
    parts = {}
    for name in names:  # as if they were parts; planning looks at size and time only
        (where / name).touch()
        parts[str(name)] = {
            "size": 0,
            "mtime": (where / name).stat().st_mtime_ns,
            "streams": {"stats": ["clip"]},
            "places": {"stats/clip": [2048, "<f4", [1024, 336]]},
        }
    times = np.array([(root / path).stat().st_mtime_ns if there else 1 for path in paths])
    facts = {
        "clip_id": ids,
        "part": names[[layout.assign_bucket(clip_id, buckets) for clip_id in ids]],
        "row": np.arange(clips),
        "failed": np.zeros(clips, bool),
        "reason": "",
        "start": start,
        "end": start + 1,
        "duration": 1.0,
        "size": 0,
        "mtime": times[numbers],
        "sha256": [f"{k:064x}" for k in range(clips)],
    }
    known = pd.DataFrame(facts)[list(index.COLUMNS)]
    index.save_index(where, index.Index(known, parts))
