from functools import partial
from time import monotonic, sleep

import pytest

from probekit.cli import output
from probekit.cli.heartbeat import Heartbeat
from probekit.cli.progress import ExtractionProgress


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


def test_plain_lines_are_few_and_say_everything(clock, capsys):
    with ExtractionProgress(terminal=False, clock=clock) as shown:
        shown.begin("vggish", 1000)
        clock.now += 10
        shown.tick("vggish", 99, 990.0, 1)
        assert capsys.readouterr().err == ""
        clock.now += 40
        shown.tick("vggish", 149, 1510.0, 1)
        assert capsys.readouterr().err == (
            "vggish: 250 of 1,000 clips, 50 times real time = 0.014 h/s, 2.5 min left, 2 failed\n"
        )
        clock.now += 29
        shown.tick("vggish", 700, 7000.0, 0)
        assert capsys.readouterr().err == ""
        clock.now += 1
        shown.tick("vggish", 50, 500.0, 0)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("vggish: 1,000 of 1,000 clips, 125 times real time = 0.035 h/s")
        assert line.endswith(", 0.0 s left, 2 failed")


def test_a_long_recording_is_not_silent(clock, capsys):
    with ExtractionProgress(terminal=False, clock=clock) as shown:
        shown.begin("vggish", 1)
        clock.now += 31
        shown.tick("vggish", 0, 7200.0, 0)
    [line] = capsys.readouterr().err.splitlines()
    assert line == "vggish: 0 of 1 clips, 2.0 h of audio, 232 times real time = 0.065 h/s"


@pytest.mark.parametrize(
    ("audio", "elapsed", "said"),
    [
        (0.0, 2.0, "0 times real time = 0 "),
        (0.1, 2.0, "0.05 times real time = 1.4e-05 "),
        (1.0, 3.0, "0.3 times real time = 9.3e-05 "),
        (54.0, 1.0, "54 times real time = 0.015 "),
        (36e6, 100.0, "360,000 times real time = 100 "),
    ],
)
def test_speeds_are_never_rounded_to_nothing(audio, elapsed, said):
    assert output.format_speed(audio, elapsed) == f"{said}hours of audio per second"


def test_two_extractors_have_a_line_each(clock, capsys):
    with ExtractionProgress(terminal=False, clock=clock) as shown:
        shown.begin("a", 10)
        clock.now += 31
        shown.tick("a", 10, 31.0, 0)
        shown.begin("b", 20)
        clock.now += 31
        shown.tick("b", 5, 31.0, 0)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("a: 10 of 10 clips, 1.0 times real time")
    assert second == "b: 5 of 20 clips, 1.0 times real time = 0.00028 h/s, 1.6 min left"


def test_a_terminal_gets_one_moving_line(clock, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ExtractionProgress(terminal=True, clock=clock) as shown:
        shown.begin("vggish", 100)
        clock.now += 10
        shown.tick("vggish", 25, 250.0, 0)
        shown._bar.refresh()
    out, err = capsys.readouterr()
    assert out == ""
    assert "25 of 100 clips, 25 times real time = 0.0069 h/s, 30.0 s left" in err


def test_a_long_step_is_not_silent_without_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr("probekit.cli.output.Heartbeat", partial(Heartbeat, interval=0.05))
    with output.make_progress("folds") as bar:
        wait_for(capfd, "at work for 0.")
        line = bar.add_task("melstats", total=None, note="")
        wait_for(capfd, "melstats, after 0.")
        bar.update(line, completed=2, total=5, note="loss 0.1")
        wait_for(capfd, "melstats: 2 of 5 folds, loss 0.1, after 0.")
        bar.update(line, completed=5)
        wait_for(capfd, "at work for 0.")  # finished steps are not repeated
    capfd.readouterr()
    sleep(0.15)
    assert capfd.readouterr() == ("", "")


def test_short_work_says_nothing(capfd):
    with output.make_progress("folds") as bar:
        bar.add_task("melstats", total=5, note="")
    assert capfd.readouterr() == ("", "")


def wait_for(capfd, text):
    """Read standard error until a whole line begins with a text."""
    end, err = monotonic() + 10, ""
    while monotonic() < end:
        sleep(0.01)
        err += capfd.readouterr().err
        if any(line.startswith(text) for line in err.split("\n")[:-1]):
            return
    raise AssertionError(f"{text!r} is not among the lines {err!r}")
