import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from probekit import extract
from probekit.cache import embeddings, part
from probekit.extraction import worker

# the command line with 6 parts; killed or slowed down at a point of a commit
DRIVER = """
import os, signal, sys, time
from probekit import cli
from probekit.cache import layout

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell's background job

layout._MIN_PART_CLIPS = 4
last_point, number, pause = sys.argv.pop(1), int(sys.argv.pop(1)), float(sys.argv.pop(1))
count = 0

def at_point(point):
    global count
    if point == "before-digest":
        count += 1
        time.sleep(pause)
    if point == last_point and count == number:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def start(corpus, write_hook):
    """Start an extraction that is killed at a point of the commit of some part, or is slow."""
    running = []

    def run(cache, point="", number=0, pause=0.0):
        command = [
            sys.executable,
            "-c",
            write_hook.source(DRIVER) + "cli.main()",
            point,
            str(number),
            str(pause),
            "extract",
            "-e",
            "melstats",
            "--audio",
            str(corpus),
            "--cache",
            str(cache),
        ]
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def uninterrupted(corpus, tmp_path, small_parts, content):
    extract("melstats", audio=corpus, cache=tmp_path / "whole")
    return content(tmp_path / "whole", "melstats")


def finished(cache):
    return len(list(cache.glob("melstats-*/tiny/part-*.h5")))


def test_killed_and_interrupted_it_goes_on(corpus, tmp_path, start, uninterrupted, content):
    cache = tmp_path / "cache"
    counts = []
    for point, number in (("before-rename", 2), ("after-rename", 2)):
        process = start(cache, point, number)
        assert process.wait(60) == -signal.SIGKILL
        counts.append(finished(cache))
    process = start(cache, pause=1.5)  # and once by the user, at a moment that nobody chose
    while finished(cache) < counts[-1] + 1 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; finished work is saved" in err
    assert "Traceback" not in err
    counts.append(finished(cache))
    assert counts[:2] == [1, 3]
    assert counts[2] in (4, 5)
    [summary] = extract("melstats", audio=corpus, cache=cache)
    assert 0 < summary.done < 24
    assert summary.done + summary.cached == 24
    assert content(cache, "melstats") == uninterrupted
    assert len(embeddings.find_embeddings(cache, "melstats", "tiny").clip_ids) == 24


def test_two_at_once_end_with_one_content(corpus, tmp_path, start, uninterrupted, content):
    cache = tmp_path / "cache"
    both = [start(cache, pause=pause) for pause in (0.0, 0.05)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "melstats: " in out
    assert content(cache, "melstats") == uninterrupted
    [summary] = extract("melstats", audio=corpus, cache=cache)
    assert (summary.done, summary.cached) == (0, 24)
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_is_said_and_costs_nothing(
    main, corpus, tmp_path, monkeypatch, uninterrupted, content, after
):
    cache = tmp_path / "cache"
    write, count = part.write_part, [0]

    def full(path, content):
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(part, "write_part", full)
    done = main("extract", "-e", "melstats", "--audio", corpus, "--cache", cache)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "cannot be written (no space left on device). Finished parts are saved" in line
    assert finished(cache) == after
    monkeypatch.setattr(part, "write_part", write)
    extract("melstats", audio=corpus, cache=cache)
    assert content(cache, "melstats") == uninterrupted


# stops between reading the older part and replacing it, until another has embedded its clips
BETWEEN = """
import sys, time
from pathlib import Path
from probekit import cli

other = Path(sys.argv.pop(1))

def at_point(point):
    if point == "before-digest":
        print("between", flush=True)
        while not other.exists():
            time.sleep(0.01)
        time.sleep(1)
"""


def test_what_another_process_writes_meanwhile_is_kept(
    corpus, tmp_path, content, monkeypatch, write_hook
):
    cache, embedded = tmp_path / "cache", tmp_path / "embedded"
    extract("melstats", audio=corpus, cache=cache, limit=2)
    write = worker.save_part

    def announced(*arguments):
        embedded.touch()
        return write(*arguments)

    command = ["extract", "-e", "melstats", "--audio", corpus, "--cache", cache, "--limit", 5]
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            write_hook.source(BETWEEN) + "cli.main()",
            str(embedded),
            *map(str, command),
        ],
        text=True,
        stdout=subprocess.PIPE,
    )
    monkeypatch.setattr(worker, "save_part", announced)
    try:
        assert other.stdout.readline() == "between\n"
        [summary] = extract("melstats", audio=corpus, cache=cache)
        assert other.wait(60) == 0
    finally:
        other.kill()
        other.communicate()
    assert summary.done == 22  # it knew of two when it planned
    assert len(content(cache, "melstats").rows) == 24
