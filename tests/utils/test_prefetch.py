import threading
import time
from itertools import islice

import pytest

from probekit.utils import prefetch


def readers():
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_reading_ahead_stops_with_its_consumer_and_does_not_run_away():
    made = []

    def endless():
        while True:
            made.append(1)
            yield len(made)

    walk = prefetch.prefetch(endless(), 3)
    assert list(islice(walk, 5)) == [1, 2, 3, 4, 5]
    time.sleep(0.3)
    assert 5 <= len(made) <= 5 + 3 + 1
    assert readers()
    walk.close()
    assert not readers()
    after = len(made)
    time.sleep(0.1)
    assert len(made) == after


def test_the_next_is_made_while_one_is_worked_with():
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    walk = prefetch.prefetch(items())
    assert next(walk) == 1
    assert second.wait(20)  # nobody has asked for it yet
    assert list(walk) == [2]


def test_threads_keep_the_order():
    def work(k):
        time.sleep(0.002 * (k % 3))
        return -k

    assert list(prefetch.ordered_map(work, range(20), 3)) == [(k, -k) for k in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(prefetch.ordered_map(lambda k: 1 // (k - 3), range(20), 2))
