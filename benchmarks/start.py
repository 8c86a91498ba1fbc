"""How long a command takes that has nothing to do."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import interleaved, table
from probekit.tasks.standin.corpus import write_corpus


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        corpus, cache = Path(place) / "corpus", Path(place) / "cache"
        write_corpus(corpus, clips=3000)
        base = [sys.executable, "-m", "probekit", "extract"]
        full = [
            *base,
            "-e",
            "melstats",
            "--task",
            "synth",
            "--root",
            str(corpus),
            "--cache",
            str(cache),
        ]
        seconds = interleaved(
            {
                "probekit extract --help": lambda: _run([*base, "--help"]),
                "probekit extract, 3,000 clips cached": lambda: _run(full),
            }
        )
    rows = [("command", "seconds"), *((name, f"{s:.2f}") for name, s in seconds.items())]
    table("Nothing to do", rows)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
