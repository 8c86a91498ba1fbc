import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial

import joblib
import numpy as np
import pytest

from probekit.errors import ProbekitError
from probekit.parallel import pool


def describe(unit):
    return unit, os.getpid(), os.environ["OMP_NUM_THREADS"], os.environ["PROBEKIT_THREADS"]


def die_at(wanted, unit):
    if unit == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    if unit == "leave":
        os._exit(3)
    return unit, os.getpid()


def refuse(unit):
    raise ProbekitError(f"{unit}: refused")


def slow(unit):
    time.sleep(unit)
    return unit


def die_beside_another(begun, unit):
    if unit == "long":
        with begun.open("a") as file:
            file.write("long\n")
        time.sleep(3)
    while not begun.exists():
        time.sleep(0.01)
    return die_at(3, unit)[0]


def die_at_three(unit):
    return die_at(3, unit)


def never(unit, how):
    raise AssertionError("no process should have died")


def scaled(values, item):
    return float(values.sum() * item), os.getpid()


def slow_here(seconds):
    time.sleep(seconds)
    return os.getpid()


def kinds(large, small, seconds):
    time.sleep(seconds)
    assert large[-1] == 999_999
    return large.flags.writeable, small.flags.writeable  # what is mapped cannot be changed


def refuse_slowly(seconds):
    time.sleep(seconds)
    if seconds:
        raise ProbekitError(f"{seconds}: refused")
    return seconds


def die(parent, item):
    time.sleep(item)
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def test_items_are_done_here_unless_asked():
    work = partial(scaled, np.ones(3))
    assert list(pool.parallel_map(work, [2, 1])) == [(6.0, os.getpid()), (3.0, os.getpid())]


def test_items_keep_their_order_in_processes():
    work = partial(scaled, np.ones(1_000_000))  # large enough to be mapped, not copied
    results = list(pool.parallel_map(work, range(5), jobs=2))
    assert [value for value, _ in results] == [0.0, 1e6, 2e6, 3e6, 4e6]
    assert len({pid for _, pid in results}) <= 2


def test_this_process_works_beside_others_until_the_last_item():
    results = list(pool.parallel_map(slow_here, [0.02] * 10, jobs=2))
    assert os.getpid() in results
    assert len(set(results)) == 2
    assert results.count(os.getpid()) < 10


def test_large_arrays_are_mapped_into_memory_and_small_ones_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_SHARED_MEMORY", tmp_path)
    work = partial(kinds, np.arange(1_000_000.0), np.zeros(3))
    results = set(pool.parallel_map(work, [0.02] * 10, jobs=2))
    assert results == {(True, True), (False, True)}
    assert not list(tmp_path.iterdir())


def test_arrays_that_are_not_contiguous_are_sent_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_SHARED_MEMORY", tmp_path)
    work = partial(scaled, np.ones((1000, 2000))[:, ::2])
    with pool._share(work) as shared:
        assert sum(file.stat().st_size for file in tmp_path.rglob("?")) >= 8_000_000
        assert len(pickle.dumps(shared)) < 1000
        assert shared(2)[0] == 2e6


def test_joblib_works_before_and_after():
    here = os.getpid()
    for _ in range(2):
        pids = set(joblib.Parallel(n_jobs=2)(joblib.delayed(slow_here)(0.1) for _ in range(4)))
        assert here not in pids
        assert here in set(pool.parallel_map(slow_here, [0.1] * 4, jobs=2))


def test_the_first_error_in_the_order_of_items_is_raised():
    results = pool.parallel_map(refuse_slowly, [0.0, 0.4, 0.1], jobs=2)
    assert next(results) == 0.0
    with pytest.raises(ProbekitError, match=r"0\.4: refused"):
        list(results)


def test_a_process_that_dies_is_a_clear_error():
    with pytest.raises(ProbekitError, match=r"was killed.* Use fewer than --jobs 2"):
        list(pool.parallel_map(partial(die, os.getpid()), [0.02] * 10, jobs=2))


def test_processes_share_the_cores_out(monkeypatch):
    monkeypatch.setenv("PROBEKIT_THREADS", "6")
    found = list(pool.imap_unordered([describe, describe], range(6), never))
    assert sorted(one[0] for one in found) == list(range(6))
    pids = {one[1] for one in found}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {one[2:] for one in found} == {("3", "3")}


def test_results_come_when_they_are_ready():
    assert list(pool.imap_unordered([slow, slow], [1.5, 0.0, 0.1], never)) == [0.0, 0.1, 1.5]


def test_a_death_names_its_unit_and_disturbs_no_other_process(tmp_path):
    deaths = []

    def on_crash(unit, how):
        deaths.append((unit, how))
        return 30

    begun = tmp_path / "begun"
    work = partial(die_beside_another, begun)
    found = list(pool.imap_unordered([work, work], ["long", 3, 4, 5], on_crash))
    assert deaths == [(3, "SIGKILL")]
    assert sorted(map(str, found)) == ["30", "4", "5", "long"]
    assert begun.read_text() == "long\n"  # it was at work when its neighbor died, and went on


def test_an_exit_is_a_death_too():
    deaths = []

    def on_crash(unit, how):
        deaths.append(how)
        return 1

    list(pool.imap_unordered([die_at_three], ["leave"], on_crash))
    assert deaths == ["exit code 3"]


def test_what_a_unit_raises_arrives():
    with pytest.raises(ProbekitError, match="7: refused"):
        list(pool.imap_unordered([refuse], [7], never))


def test_no_process_is_left_when_the_caller_stops():
    results = pool.imap_unordered([describe, slow], [0, 3600], never)
    _, pid, *_ = next(results)
    results.close()  # at once, not in an hour
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_processes_end_with_their_parent_in_the_middle_of_an_item(tmp_path):
    script, shared = tmp_path / "script.py", tmp_path / "shared"
    shared.mkdir()
    script.write_text(
        "import os, pathlib, time\n"
        "from functools import partial\n"
        "import numpy as np\n"
        "from probekit.parallel import pool\n"
        "def wait(parent, array, item):\n"
        "    if os.getpid() != parent:\n"
        "        print(os.getpid(), flush=True)\n"
        "    time.sleep(100)\n"
        "if __name__ == '__main__':\n"
        f"    pool._SHARED_MEMORY = pathlib.Path({str(shared)!r})\n"
        "    work = partial(wait, os.getpid(), np.zeros(1_000_000))\n"
        "    list(pool.parallel_map(work, [1, 2], jobs=2))\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        assert list(shared.iterdir())
        process.kill()
    deadline = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)
    assert not list(shared.iterdir())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
