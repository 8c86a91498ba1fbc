"""Extractions that are killed, interrupted, doubled, or out of room: nothing is lost."""

import errno
import multiprocessing
import os
import signal
import sys
import time

import pytest

from probekit import cli, extract
from probekit.cache import embeddings, layout, part
from probekit.extraction import worker
from probekit.utils import atomic

# a fork: a process of its own to be killed, in which everything is imported already
FORK = multiprocessing.get_context("fork")


def run_command(arguments, output, at_point):
    """Run the command line with 6 parts in a child process; its output goes into a file."""
    sys.stdout = sys.stderr = output.open("w")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    layout._MIN_PART_CLIPS = 4
    atomic._test_hook = at_point
    sys.argv = ["probekit", *map(str, arguments)]
    try:
        cli.main()
    finally:
        sys.stdout.flush()


@pytest.fixture
def start(corpus, tmp_path):
    """Start an extraction that is killed at a point of the commit of some part, or is slow."""
    running = []

    def run(cache, at_point, *more):
        arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", cache, *more]
        output = tmp_path / f"output-{len(running)}.txt"
        process = FORK.Process(target=run_command, args=(arguments, output, at_point))
        process.output = output
        process.start()
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.join()


def killed_at(last_point, number):
    """Kill the process at a point of the commit of its part of this number."""
    points = []

    def at_point(point):
        points.append(point)
        if point == last_point and points.count("before-digest") == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_point


def slowed_by(seconds):
    return lambda point: time.sleep(seconds) if point == "before-digest" else None


def wait(process):
    process.join(60)
    return process.exitcode


def finished(cache):
    return len(list(cache.glob("melstats-*/tiny/part-*.h5")))


def test_killed_and_interrupted_it_goes_on(corpus, tmp_path, start, uninterrupted, content):
    cache = tmp_path / "cache"
    counts = []
    for point in ("before-rename", "after-rename"):
        assert wait(start(cache, killed_at(point, 2))) == -signal.SIGKILL
        counts.append(finished(cache))
    process = start(cache, slowed_by(0.5))  # and once by the user, at a moment that nobody chose
    while finished(cache) < counts[-1] + 1 and process.is_alive():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert wait(process) == 130
    said = process.output.read_text()
    assert "interrupted; finished work is saved" in said
    assert "Traceback" not in said
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
    for process in [start(cache, slowed_by(seconds)) for seconds in (0.0, 0.05)]:
        assert wait(process) == 0, process.output.read_text()
        assert "melstats: " in process.output.read_text()
    assert content(cache, "melstats") == uninterrupted
    [summary] = extract("melstats", audio=corpus, cache=cache)
    assert (summary.done, summary.cached) == (0, 24)
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_is_said_and_costs_nothing(
    main, corpus, tmp_path, monkeypatch, small_parts, uninterrupted, content, after
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


def test_what_another_process_writes_meanwhile_is_kept(
    corpus, tmp_path, content, monkeypatch, start
):
    cache = tmp_path / "cache"
    between, embedded = FORK.Event(), FORK.Event()
    extract("melstats", audio=corpus, cache=cache, limit=2)
    write = worker.save_part

    def announced(*arguments):
        embedded.set()
        return write(*arguments)

    def at_point(point):
        """Stop between reading the older part and replacing it, until the clips are embedded."""
        if point == "before-digest":
            between.set()
            embedded.wait(60)
            time.sleep(1)

    other = start(cache, at_point, "--limit", 5)
    assert between.wait(60)
    monkeypatch.setattr(worker, "save_part", announced)
    [summary] = extract("melstats", audio=corpus, cache=cache)
    assert wait(other) == 0
    assert summary.done == 22  # it knew of two when it planned
    assert len(content(cache, "melstats").rows) == 24
