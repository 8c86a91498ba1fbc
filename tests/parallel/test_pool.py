import os
import signal
import subprocess
import sys
import time
from functools import partial

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


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_items_are_done_here_unless_asked():
    work = partial(scaled, np.ones(3))
    assert list(pool.parallel_map(work, [2, 1])) == [(6.0, os.getpid()), (3.0, os.getpid())]


def test_items_keep_their_order_in_processes():
    work = partial(scaled, np.ones(1_000_000))  # large enough to be mapped, not copied
    results = list(pool.parallel_map(work, range(5), jobs=2))
    assert [value for value, _ in results] == [0.0, 1e6, 2e6, 3e6, 4e6]
    assert os.getpid() not in {pid for _, pid in results}


def test_a_process_that_dies_is_a_clear_error():
    with pytest.raises(ProbekitError, match=r"was killed.* Use fewer than --jobs 2"):
        list(pool.parallel_map(die, [1, 2], jobs=2))


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
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from probekit.parallel import pool\n"
        "def name(item):\n    time.sleep(item)\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for pid in pool.parallel_map(name, [0, 100, 100], jobs=2):\n"
        "        print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
