"""Recordings that end the process which reads them."""

import os
from collections import deque

import numpy as np
import pytest
import soundfile

from probekit import extract
from probekit.errors import ProbekitError
from probekit.extraction import executor
from probekit.extraction.crash_recovery import CrashRecovery
from probekit.extraction.plan import Clip, PartJob
from probekit.extractors import load

# a network that dies of clips with an offset
FRAIL = """
import os, signal
import torch

class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = 2
    timestamp_embedding_size = 2

def load_model(model_file_path=""):
    if os.environ.get("DIE_OF") == "anything" and os.environ.get("OMP_NUM_THREADS") == "7":
        os.kill(os.getpid(), signal.SIGKILL)
    return Model()

def get_scene_embeddings(audio, model):
    if os.environ.get("DIE_OF") == "offset" and (audio.mean(1) > 0.6).any():
        os.kill(os.getpid(), signal.SIGSEGV)
    return torch.stack([audio.mean(1), audio.abs().amax(1)], 1)

def get_timestamp_embeddings(audio, model):
    frames = audio[:, : audio.shape[1] // 160 * 160].unfold(1, 160, 160)
    times = (torch.arange(frames.shape[1]) * 10.0).expand(len(audio), -1)
    return torch.stack([frames.mean(2), frames.abs().amax(2)], 2), times
"""


@pytest.fixture
def frail(tmp_path, monkeypatch):
    """The extractor's name; importable here and, through the environment, in workers."""
    name = f"frail_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text(FRAIL)
    monkeypatch.syspath_prepend(tmp_path)
    return f"hear:{name}"


@pytest.fixture
def recordings(tmp_path, small_parts):
    """Ten clips in three parts; the fourth has an offset."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(10):
        wave = 0.2 * rng.uniform(-1, 1, 3200) + 0.75 * (k == 3)
        soundfile.write(folder / f"{k}.wav", wave, 16000)
    return folder


class Crash(BaseException):
    """The end of a process that is none."""


@pytest.fixture(params=["here", pytest.param("in processes", marks=pytest.mark.slow)])
def workers(request, monkeypatch):
    """Worker processes, five of which end; or their work done here, where an exception ends it."""
    if request.param == "in processes":
        return

    def crash(pid, number):
        raise Crash

    def imap(functions, jobs, on_crash):
        queue = deque(jobs)
        while queue:
            job = queue.popleft()
            try:
                yield functions[0](job)
            except Crash:
                queue.appendleft(on_crash(job, "SIGSEGV"))

    monkeypatch.setattr("os.kill", crash)
    monkeypatch.setattr(executor.pool, "imap_unordered", imap)


def test_a_clip_that_kills_its_worker_is_found(
    recordings, frail, tmp_path, monkeypatch, content, main, workers
):
    cache = tmp_path / "c"
    extract(frail, audio=recordings, cache=tmp_path / "healthy")
    monkeypatch.setenv("DIE_OF", "offset")
    [summary] = extract(frail, audio=recordings, cache=cache, jobs=1)
    reason = "decoding or embedding it ended the process (SIGSEGV)"
    assert summary.done == 9
    assert summary.failed == {"3": reason}
    stored = content(cache, "hear", "recordings")
    healthy = content(tmp_path / "healthy", "hear", "recordings")
    assert stored.failed == summary.failed
    for clip_id, row in stored.rows.items():
        for array, value in row.streams["scene"].items():
            np.testing.assert_allclose(
                value, healthy.rows[clip_id].streams["scene"][array], rtol=1e-5, atol=1e-7
            )
    assert set(stored.rows) == set("012456789")
    done = main("extract", "-e", frail, "--audio", recordings, "--cache", cache)
    assert done.returncode == 1
    assert "nothing to do, 9 of 10 clips" in done.stdout
    monkeypatch.delenv("DIE_OF")
    [again] = extract(frail, audio=recordings, cache=cache, retry_failed=True)
    assert (again.done, again.failed) == (1, {})
    assert content(cache, "hear", "recordings") == healthy


@pytest.mark.slow
def test_a_network_that_always_dies_is_an_error(recordings, frail, tmp_path, monkeypatch, main):
    monkeypatch.setenv("DIE_OF", "anything")
    monkeypatch.setenv("PROBEKIT_THREADS", "7")  # so that only the worker dies of it
    done = main(
        "extract", "-e", frail, "--audio", recordings, "--cache", tmp_path / "c", "--jobs", 1
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "worker processes crash repeatedly (SIGKILL, often since memory ran out)" in line
    assert "before the first clip" in line
    assert not list((tmp_path / "c").rglob("part-*"))


@pytest.fixture
def job(tmp_path):
    clips = tuple(Clip(str(k), tmp_path / f"{k}.wav", 0.0, 1.0) for k in range(9))
    return PartJob(
        tmp_path / "part-00000.h5", clips, load.resolve_spec("melstats"), False, "float32"
    )


def died_at(job, *clips):
    """Write the journal of a process that died at the last of these clips."""
    job.journal.write_text("".join(f'"{clip}"\n' for clip in clips) + '"half a li')


def test_a_part_is_tried_as_it_is_before_its_clips_are_suspected(job):
    with CrashRecovery() as rescue:
        assert rescue(job, "SIGKILL") is job
        careful = rescue(job, "SIGKILL")
        assert careful.journal is not None
        assert (careful.clips, careful.skipped) == (job.clips, {})
        died_at(careful, 0, 1)
        assert rescue(careful, "SIGKILL") == careful
        died_at(careful, 0, 1, 2)  # at another clip: somebody else killed it
        assert rescue(careful, "SIGKILL") == careful
        died_at(careful, 0, 1, 2)
        guilty = rescue(careful, "SIGKILL")
        why = "decoding or embedding it ended the process (SIGKILL, often since memory ran out)"
        assert guilty.skipped == {"2": why}
        folder = careful.journal.parent
    assert not folder.exists()


def test_it_gives_up_where_every_clip_is_deadly(job):
    def unlucky(rescue):
        retried = rescue(rescue(job, "SIGSEGV"), "SIGSEGV")
        for clip in range(9):
            for _ in range(2):
                died_at(retried, clip)
                retried = rescue(retried, "SIGSEGV")
        return retried

    with (
        CrashRecovery() as rescue,
        pytest.raises(ProbekitError, match="at each of 5 clips"),
    ):
        unlucky(rescue)
    with CrashRecovery() as rescue:
        rescue.works = True  # other parts could be embedded: so these clips are the reason
        assert len(unlucky(rescue).skipped) == 9
