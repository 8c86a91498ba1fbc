"""Wherever parts are done, in whatever mixture, the cache is the same."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import probekit
from probekit import extract
from probekit.cache import embeddings
from probekit.errors import ProbekitError
from probekit.extraction import executor

SLOW_DOWN = """
import time

def at_point(point):
    if point == "before-digest":
        time.sleep(0.5)
"""
MAIN = """
from probekit import cli
from probekit.cache import layout
layout._MIN_PART_CLIPS = 4
cli.main()
"""


@pytest.fixture
def here(small_parts, uninterrupted):
    """What an extraction in one process makes."""
    return uninterrupted


def whole(corpus, cache, here, content):
    """Check that a cache is complete, as another extraction sees it, and as expected."""
    [summary] = extract("melstats", audio=corpus, cache=cache)
    assert (summary.done, summary.cached, summary.failed) == (0, 24, {})
    assert content(cache, "melstats") == here
    assert not list(cache.rglob("*.tmp"))
    return True


@pytest.mark.parametrize("devices", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.slow)])
def test_a_process_for_each_device(corpus, tmp_path, here, content, main, monkeypatch, devices):
    monkeypatch.chdir(tmp_path)  # paths relative to a folder in which no worker need be
    arguments = ["--audio", os.path.relpath(corpus), "--cache", "c", "--devices", devices]
    done = main("extract", "-e", "melstats", *arguments)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "left" not in line] == []  # its progress
    assert "24 clips embedded" in done.stdout
    assert whole(corpus, tmp_path / "c", here, content)


def test_shares(corpus, tmp_path, here, content, main):
    arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", tmp_path / "c"]
    assert "to embed (share 1/4)" in main(*arguments, "--share", "1/4", "--dry-run").stdout
    done = [
        extract("melstats", audio=corpus, cache=tmp_path / "c", share=f"{k}/4")[0].done
        for k in (3, 1, 4, 2)
    ]
    assert sum(done) == 24
    assert sum(count > 0 for count in done) >= 3
    assert "nothing to do (share 2/4)" in main(*arguments, "--share", "2/4").stdout
    assert whole(corpus, tmp_path / "c", here, content)


@pytest.mark.slow
def test_mixed_stopped_and_started_with_another_number(corpus, tmp_path, here, content, write_hook):
    cache = tmp_path / "c"
    command = ["extract", "-e", "melstats", "--audio", str(corpus), "--cache", str(cache)]
    process = subprocess.Popen(
        [sys.executable, "-c", write_hook.source(SLOW_DOWN) + MAIN, *command]
    )
    while not list(cache.glob("*/*/part-*.h5")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = len(embeddings.find_embeddings(cache, "melstats", "tiny").clip_ids)
    assert 0 < left < 24
    [share] = extract("melstats", audio=corpus, cache=cache, share="2/3")
    ticks = []

    def progress(name, clips, seconds, failures):
        ticks.append((clips, seconds, failures))

    [two] = extract("melstats", audio=corpus, cache=cache, jobs=2, limit=22, progress=progress)
    assert len(ticks) >= 2 and sum(failures for _, _, failures in ticks) == 0
    assert sum(clips for clips, _, _ in ticks) == two.done
    assert sum(seconds for _, seconds, _ in ticks) == pytest.approx(two.audio_seconds)
    [rest] = extract("melstats", audio=corpus, cache=cache)
    assert left + share.done + two.done + rest.done == 24
    for path in cache.rglob("*.tmp"):  # of the process that was killed
        path.unlink()
    assert whole(corpus, cache, here, content)


def run_code(code):
    exec(code, {})  # workers are other processes: nothing is patched there from here


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker(corpus, tmp_path, here, content, write_hook):
    distributed = pytest.importorskip("distributed")
    cache = tmp_path / "c"
    killed = []

    def progress(name, clips, seconds, failures):
        if not killed:
            killed.append(pids.popitem()[1])
            os.kill(killed[0], signal.SIGKILL)

    with (
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(run_code, write_hook.source(SLOW_DOWN))
        pids = client.run(os.getpid)
        assert len(set(pids.values()) - {os.getpid()}) == 3
        address = cluster.scheduler_address
        [summary] = extract("melstats", audio=corpus, cache=cache, dask=address, progress=progress)
    assert (summary.done, summary.failed) == (24, {})
    assert len(killed) == 1
    assert whole(corpus, cache, here, content)


@pytest.mark.slow
def test_a_cluster_of_this_machine(corpus, tmp_path, here, content, main):
    pytest.importorskip("distributed")
    extract("melstats", audio=corpus, cache=tmp_path / "c", limit=6)
    arguments = ["--audio", corpus, "--cache", tmp_path / "c", "--dask", "local", "--jobs", 2]
    done = main("extract", "-e", "melstats", *arguments)
    assert done.returncode == 0
    assert set(done.stderr.splitlines()) == {x for x in done.stderr.splitlines() if "left" in x}
    assert "18 clips embedded" in done.stdout
    assert whole(corpus, tmp_path / "c", here, content)


def test_no_scheduler_is_a_clear_error(corpus, tmp_path, main, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refuse(*_, **__):
        raise OSError("Timed out trying to connect")

    arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", tmp_path, "--dask"]
    done = main(*arguments, "nonsense://here")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --dask nonsense://here: no Dask scheduler answers")
    monkeypatch.setattr(distributed, "Client", refuse)
    done = main(*arguments, "tcp://127.0.0.1:1")
    assert done.stderr.startswith("error: --dask tcp://127.0.0.1:1: no Dask scheduler answers")
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = main(*arguments, "local")
    assert done.stderr == "error: --dask needs Dask: pip install 'probekit[cluster]'\n"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"jobs": 0}, "jobs must be >= 1, got 0"),
        ({"jobs": 2, "devices": ["cpu"]}, "leave out jobs=, or devices="),
        ({"dask": "local", "devices": ["cpu"]}, "leave out dask=, or devices="),
        ({"device": "cpu", "devices": ["cpu"]}, "leave out device=, or devices="),
        ({"devices": ["cpu", ""]}, "devices must be names with commas"),
        ({"jobs": 2, "dask": "tcp://node:1"}, "dask=tcp://node:1 has the workers"),
        ({"share": "0/4"}, "share must be I/N with I from 1 to N, such as 3/16, got 0/4"),
        ({"share": "5/4"}, "share must be I/N .* got 5/4"),
        ({"share": "1of4"}, "share must be I/N .* got 1of4"),
    ],
)
def test_what_contradicts_is_an_error(corpus, tmp_path, asked, message):
    with pytest.raises(ProbekitError, match=message):
        probekit.extract("melstats", audio=corpus, cache=tmp_path / "c", **asked)
    assert not (tmp_path / "c").exists()


def test_a_place_is_checked_though_nothing_is_to_be_done(corpus, tmp_path, main):
    arguments = ["extract", "-e", "melstats", "--audio", corpus, "--cache", tmp_path, "--limit", 2]
    assert main(*arguments).returncode == 0
    device = "--device must be auto, cpu or a torch device such as cuda:0, got 'gpu'"
    for option, value, message in (
        ("--device", "gpu", device),
        ("--devices", "cpu,gpu", device),
        ("--dask", "tcp://127.0.0.1:1", "--dask tcp://127.0.0.1:1: no Dask scheduler answers"),
        ("--dask", "127.0.0.1:1", "--dask 127.0.0.1:1: no Dask scheduler answers"),
    ):
        done = main(*arguments, option, value)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {message}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without CUDA")
def test_a_device_is_checked_where_torch_is_loaded(corpus, tmp_path, cli):
    probekit.extract("melstats", audio=corpus, cache=tmp_path, limit=2)
    again = {"audio": corpus, "cache": tmp_path, "limit": 2}
    with pytest.raises(ProbekitError, match="device=cuda: this machine has 0 CUDA devices"):
        probekit.extract("melstats", device="cuda", **again)
    [plan] = probekit.extract("melstats", device="cuda", dry_run=True, **again)
    assert (plan.cached, plan.todo) == (2, 0)  # a plan is also made where the device is not
    code = (
        "import probekit, sys; probekit.extract('melstats', audio=sys.argv[1], cache=sys.argv[2],"
        " limit=2, device='cuda'); assert 'torch' not in sys.modules"
    )
    done = cli(corpus, tmp_path, code=code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_error_in_a_worker_is_one_line(corpus, tmp_path, main):
    arguments = ["--audio", corpus, "--cache", tmp_path / "c", "--devices", "cuda:99"]
    done = main("extract", "-e", "melstats", *arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: --device cuda:99: ")


def test_a_place_knows_its_processes(monkeypatch):
    monkeypatch.setenv("PROBEKIT_THREADS", "5")
    asked = [("auto", None, [], None), ("auto", 3, [], None), ("auto", None, ["cpu"] * 2, None)]
    asked += [("auto", None, [], "local"), ("auto", 2, [], "local"), ("auto", None, [], "tcp://a")]
    assert [executor.parse_config(*arguments, None).processes for arguments in asked] == [
        1,
        3,
        2,
        5,
        2,
        1,
    ]
