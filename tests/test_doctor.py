"""The check of an installation: finds what is broken, says what to do, else is content."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from probekit import cards, doctor
from probekit.cards import loader
from probekit.errors import ProbekitError
from probekit.extractors import selftest
from probekit.extractors.weights import source, state_dict

SMALL = ("convnet", "melstats", "mfcc")
PARTS = ["versions", "devices", "decoders", "folders", "extractors", "weights"]


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Only a few extractors, so that a run takes a second."""
    shipped = loader._builtin_folder("extractors")
    folder = tmp_path / "cards"
    folder.mkdir()

    def also(*names):
        for name in names:
            shutil.copy(shipped / f"{name}.yaml", folder)

    also(*SMALL)
    monkeypatch.setattr(loader, "_builtin_folder", lambda kind: folder)
    return also


def states_of(checks, part):
    return {check.name: check.state for check in checks if check.part == part}


def only_error(checks):
    (error,) = [check for check in checks if check.state == "error"]
    assert error.advice
    return error


def change_reference(tmp_path, monkeypatch, change):
    content = json.loads(selftest.FILE.read_text())
    change(content)
    path = tmp_path / "selftest.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(selftest, "FILE", path)


def test_healthy_with_every_shipped_extractor(main):
    done = main("doctor", "--json")
    found = json.loads(done.stdout)
    assert [one for one in found if one["state"] == "wrong"] == []
    assert done.returncode == 0
    assert list(dict.fromkeys(one["part"] for one in found)) == PARTS
    named = {one["name"]: one["state"] for one in found}
    for name in (*doctor.LIBRARIES, *doctor.FORMATS, *SMALL, "python", "cpu", "downloads"):
        assert named[name] == "right", name
    for name in ("cnn14", "openl3", "vggish"):
        assert named[name] == "note"


def test_every_shipped_extractor_has_a_reference():
    known = selftest.load_expected()
    lacking = [
        name
        for name in cards.card_paths("extractors")
        if known.get(name, {}).get("version") != cards.load_extractor_card(name).version
    ]
    assert not lacking, (
        f"{', '.join(lacking)}: extractor added or version raised; run "
        "python scripts/make_selftest.py and check the diff"
    )
    for name, content in known.items():
        assert set(content["streams"]) == set(cards.load_extractor_card(name).streams)


def test_table_and_advice(main, few):
    done = main("doctor")
    assert done.returncode == 0
    assert "0 of " in done.stdout and "checks failed" in done.stdout
    assert "probekit weights get NAME" in done.stdout


def test_a_broken_reference_is_reported_with_exit_code_1(main, few, tmp_path, monkeypatch):
    def shift(content):
        content["mfcc"]["streams"]["mfcc"]["first"][3] += 0.1

    change_reference(tmp_path, monkeypatch, shift)
    done = main("doctor", "--json")
    assert done.returncode == 1
    (fault,) = [one for one in json.loads(done.stdout) if one["state"] == "wrong"]
    assert (fault["part"], fault["name"]) == ("extractors", "mfcc")
    assert "stream mfcc is off by 0.0051 standard deviations" in fault["found"]  # 0.1 / 19.6
    assert "Do not use mfcc" in fault["advice"]
    done = main("doctor")
    assert done.returncode == 1 and "1 of " in done.stdout and "error: mfcc: Do not" in done.stdout


def test_a_reference_that_is_not_there_is_a_fault(few, tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "FILE", tmp_path / "nowhere.json")
    error = only_error(doctor.run_checks())
    assert "nowhere.json: missing or damaged" in error.result


def test_extractors_without_reference_are_no_fault(few, tmp_path, monkeypatch):
    def change(content):
        del content["melstats"]
        content["mfcc"]["version"] += 1

    change_reference(tmp_path, monkeypatch, change)
    found = states_of(doctor.run_checks(), "extractors")
    assert found == {"convnet": "ok", "melstats": "info", "mfcc": "info"}


def test_a_network_that_is_off_by_one_in_a_thousand_is_found(few, monkeypatch):
    real = state_dict.random_init

    def off(network, seed):
        state = real(network, seed)
        for name, value in state.items():
            if name.startswith("conv2d_1."):
                state[name] = value * 1.003
        return state

    monkeypatch.setattr(state_dict, "random_init", off)
    error = only_error(doctor.run_checks())
    assert (error.part, error.name) == ("extractors", "convnet")


def test_an_extractor_that_fails_does_not_hide_the_others(few, monkeypatch):
    def fail(network, seed):
        raise RuntimeError("no kernel for this machine\nand more")

    monkeypatch.setattr(state_dict, "random_init", fail)
    found = doctor.run_checks()
    assert states_of(found, "extractors") == {
        "convnet": "error",
        "melstats": "ok",
        "mfcc": "ok",
    }
    assert only_error(found).result == "no kernel for this machine"


def test_large_networks_run_only_when_asked_for(few, monkeypatch):
    monkeypatch.setattr(doctor, "LARGE", (39_281, 1.0))  # convnet has one parameter more
    assert states_of(doctor.run_checks(), "extractors")["convnet"] == "info"
    assert states_of(doctor.run_checks(everything=True), "extractors")["convnet"] == "ok"
    monkeypatch.setattr(doctor, "LARGE", (1e9, 0.001))
    assert states_of(doctor.run_checks(), "extractors")["convnet"] == "info"


@pytest.mark.parametrize("how", ["raises", "louder", "shorter"])
def test_a_decoder_that_does_not_work(few, monkeypatch, how):
    real = soundfile.write

    def write(path, wave, rate, subtype, format):
        if format == "MP3":
            if how == "raises":
                raise soundfile.LibsndfileError(1, "no MP3 here: ")
            wave = 1.1 * wave if how == "louder" else wave[: len(wave) // 2]
        real(path, wave, rate, subtype, format=format)

    monkeypatch.setattr(soundfile, "write", write)
    error = only_error(doctor.run_checks())
    assert (error.part, error.name) == ("decoders", "mp3")
    assert "pip install" in error.advice


def test_a_library_that_is_missing(few, monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", (*doctor.LIBRARIES, "no_such_library"))
    error = only_error(doctor.run_checks())
    assert (error.part, error.name) == ("versions", "no_such_library")
    assert error.advice.endswith("pip install --upgrade --force-reinstall no_such_library")


@pytest.mark.slow
def test_broken_libraries_are_findings_and_no_crash(cli, few, tmp_path):
    """soundfile as it is where libsndfile is missing, found before the real one."""
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')")
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from probekit import cli\n"
        "from probekit.cards import loader\n"
        f"loader._builtin_folder = lambda kind: pathlib.Path({str(tmp_path / 'cards')!r})\n"
        "cli.main()"
    )
    done = cli("doctor", "--json", code=code)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    wrong = [one for one in found if one["state"] == "wrong"]
    assert (wrong[0]["name"], wrong[0]["found"]) == ("soundfile", "sndfile library not found")
    assert {"decoders"} <= {one["part"] for one in wrong[1:]} <= {"decoders", "folders"}
    assert {one["state"] for one in found if one["part"] == "extractors"} == {"right"}


def test_folders_are_not_made_and_faults_are_named(few, tmp_path, monkeypatch):
    new = tmp_path / "new" / "cache"
    found = doctor.run_checks(cache=new)
    [check] = [check for check in found if check.name == "cache"]
    assert "will be created, writable" in check.result
    assert not new.parent.exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROBEKIT_HOME", str(tmp_path / "file"))
    error = only_error(doctor.run_checks())
    assert (error.part, error.name) == ("folders", "downloads")
    assert "PROBEKIT_HOME" in error.advice
    monkeypatch.undo()


def test_little_room_is_worth_a_note(few, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_FREE", 1e30)
    found = doctor.run_checks()
    assert set(states_of(found, "folders").values()) == {"info"}


def test_weights_that_are_wrong(few):
    path = source.weights_folder() / "weights" / "convnet" / "model_best.hdf5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"short")
    error = only_error(doctor.run_checks())
    assert (error.part, error.name) == ("weights", "convnet/main")
    assert "size must be 1,545,360 bytes as in the card, got 5 bytes" in error.result
    assert "probekit weights get convnet" in error.advice


def test_a_device_that_is_not_there_is_refused(main, few):
    done = main("doctor", "--device", "cuda:99")
    assert done.returncode == 2
    with pytest.raises(ProbekitError):
        doctor.run_checks(device="cuda:99")


def test_the_reference_can_be_made_again(few, tmp_path):
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "make_selftest.py"))
    path = tmp_path / "made.json"
    script["write_reference"](path)
    actual, expected = selftest.load_expected(path), selftest.load_expected()
    assert set(actual) == set(SMALL)
    for name in SMALL:
        deviations = selftest.compare(actual[name]["streams"], expected[name]["streams"])
        assert max(deviations.values()) < 1e-4


def test_compare():
    one = {"shape": [2, 8], "mean": 1.0, "std": 2.0, "first": [0.0] * 8}
    assert selftest.compare({"a": one}, {"a": one}) == {"a": 0.0}
    for change in ({"mean": 1.01}, {"std": 1.99}, {"first": [0.0] * 7 + [-0.01]}):
        assert selftest.compare({"a": one | change}, {"a": one})["a"] == pytest.approx(0.01 / 2.0)
    infinite = [
        ({"a": one | {"shape": [16]}}, {"a": one}),
        ({}, {"a": one}),
        ({"a": one}, {}),
        ({"a": one | {"mean": float("nan")}}, {"a": one}),
        ({"a": one | {"first": [0.0] * 7 + [float("inf")]}}, {"a": one}),
    ]
    for found, expected in infinite:
        assert selftest.compare(found, expected) == {"a": float("inf")}
    still = one | {"std": 0.0}
    assert selftest.compare({"a": still | {"mean": 1.5}}, {"a": still}) == {"a": 0.5}


def test_the_wave_is_the_same_everywhere():
    """First outputs of SplitMix64 for seed 0, as published with it; the tone begins at 0."""
    first = 0xE220A8397B1DCDAF / 2**63 - 1
    for rate in (8000, 48000):
        wave = selftest.make_wave(rate)
        assert wave.dtype == np.float32 and wave.shape == (round(1.2 * rate),)
        assert wave[0] == pytest.approx(0.1 * first, abs=1e-8)
        second = 0x6E789E6AA1B965F4 / 2**63 - 1
        t = 1 / rate
        tone = np.sin(2 * np.pi * (150 * t + 0.125 * rate * t * t))
        assert wave[1] == pytest.approx(0.4 * tone + 0.1 * second, abs=1e-7)
        assert np.abs(wave).max() <= 0.5
