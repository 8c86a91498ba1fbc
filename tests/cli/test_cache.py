import json
import shutil
import sys

import numpy as np
import pytest

from probekit.cache import embeddings


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    from probekit import extract

    cache = tmp_path_factory.mktemp("made") / "cache"
    extract("melstats", audio=corpus, cache=cache)
    return cache


@pytest.fixture
def cache(made, tmp_path):
    return shutil.copytree(made, tmp_path / "cache")


def test_info_says_size_clips_failures_and_provenance(main, cache):
    found = json.loads(main("cache", "info", "melstats", "tiny", "--cache", cache, "--json").stdout)
    size = sum(path.stat().st_size for path in cache.glob("*/*/part-*.h5"))
    assert (found["size"], found["clips"], found["failures"]) == (size, 24, {})
    assert found["written with"]["torch"]
    assert "size: " in main("cache", "info", "melstats", "tiny", "--cache", cache).stdout


def test_verify_and_repair(main, cache):
    assert main("cache", "verify", "--cache", cache).returncode == 0
    done = main("cache", "repair", "melstats", "tiny", "--cache", cache)
    assert (done.returncode, done.stdout) == (
        0,
        "melstats: every part of tiny is intact\n",
    )
    before = embeddings.find_embeddings(cache, "melstats", "tiny")
    expected = before.vectors(sorted(before.clip_ids))
    [path] = cache.glob("*/*/part-*.h5")
    path.unlink()
    done = main("cache", "verify", "--cache", cache)
    assert done.returncode == 1
    assert f"{path}: not found; 24 clips belong in it" in done.stdout
    found = json.loads(main("cache", "verify", "--cache", cache, "--json").stdout)
    assert list(found["missing"]) == [str(path)]
    done = main("cache", "repair", "melstats", "tiny", "--cache", cache)
    assert done.returncode == 0, done.stderr
    assert "1 files of tiny written again, 24 clips embedded" in done.stdout
    after = embeddings.find_embeddings(cache, "melstats", "tiny")
    np.testing.assert_array_equal(after.vectors(sorted(before.clip_ids)), expected)
    assert main("cache", "verify", "--cache", cache).returncode == 0


def test_repair_says_what_it_cannot_do(main, cache):
    [path] = cache.glob("*/*/part-*.h5")
    path.unlink()
    done = main("cache", "repair", "melstats", "tiny", "--cache", cache, "--root", cache)
    assert done.returncode == 2
    assert "24 of the 24 recordings were not found" in done.stderr
    assert main("cache", "repair", "melstat", "tiny", "--cache", cache).returncode == 2


class Terminal:
    """Standard input at which somebody sits."""

    def isatty(self):
        return True


def test_gc_lists_asks_and_removes(main, cache, monkeypatch):
    assert "nothing to remove" in main("cache", "gc", "--cache", cache).stdout
    [folder] = cache.glob("melstats-*/tiny")
    stray = folder / ".part-00000.h5.elsewhere-1-abcd1234.tmp"
    stray.write_bytes(b"x" * 2000)
    import os

    os.utime(stray, (0, 0))
    done = main("cache", "gc", "--cache", cache)  # no terminal: nobody can be asked
    assert done.returncode == 0
    assert f"{stray} (2.0 kB): unfinished for" in done.stdout
    assert "nothing was removed; --yes frees 2.0 kB" in done.stdout
    [listed] = json.loads(main("cache", "gc", "--cache", cache, "--json").stdout)
    assert (listed["path"], listed["removed"]) == (str(stray), False)
    for answer, there in (("n\n", True), ("y\n", False)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", Terminal())
            patch.setattr(
                "typer.confirm", lambda text, answer=answer: "1 of these" in text and "y" in answer
            )
            assert main("cache", "gc", "--cache", cache).returncode == 0
        assert stray.exists() == there
    done = main("cache", "gc", "melstats", "--cache", cache, "--yes")
    assert "24 clips): named" in done.stdout
    assert not folder.exists()


def test_merge_pack_and_export(main, cache, tmp_path):
    packed = tmp_path / "m.h5"
    done = main("cache", "pack", "melstats", "tiny", "-o", packed, "--cache", cache)
    assert (done.returncode, done.stderr) == (0, "")
    done_text = done.stdout
    assert f"{packed}: 24 clips" in done_text
    done = main(
        "cache", "pack", "melstats", "tiny", "-o", tmp_path / "j.h5", "--cache", cache, "--json"
    )
    told = json.loads(done.stdout)
    assert (told["file"], told["clips"], told["failed"]) == (str(tmp_path / "j.h5"), 24, 0)
    assert told["size"] == (tmp_path / "j.h5").stat().st_size
    assert told["clip_tables"] == ["tiny"] and "clip tables: tiny" in done_text
    other = tmp_path / "other"
    done = main("cache", "merge", packed, cache, "--cache", other)
    assert "24 clips added, 0 already present" in done.stdout  # though two sources hold them
    [merged] = json.loads(main("cache", "merge", packed, "--cache", other, "--json").stdout)
    assert (merged["added"], merged["known"]) == (0, 24)
    assert main("cache", "verify", "--cache", other).returncode == 0
    mine = embeddings.find_embeddings(cache, "melstats", "tiny")
    ids = sorted(mine.clip_ids)
    table = tmp_path / "m.npz"
    done = main("cache", "export", "melstats", "tiny", "-o", table, "--cache", other)
    assert f"{table}: 24 clips" in done.stdout
    done = main("cache", "export", "melstats", "tiny", "-o", table, "--cache", other, "--json")
    assert json.loads(done.stdout)["clips"] == 24
    with np.load(table) as found:
        np.testing.assert_array_equal(found["embedding"], mine.vectors(ids))
    done = main(
        "cache", "export", "melstats", "tiny", "-o", table, "--stream", "stat", "--cache", other
    )
    assert done.returncode == 2
    assert "Did you mean 'stats'" in done.stderr
    done = main(
        "cache", "export", "melstats", "tiny", "-o", table, "--pool", "max", "--cache", other
    )
    assert done.returncode == 2
    assert "stream stats has one vector per clip; leave out the pooling" in done.stderr
    done = main("cache", "merge", tmp_path / "gone", "--cache", other)
    assert done.returncode == 2
    assert "neither a cache with embeddings nor a packed file" in done.stderr


def test_export_with_labels_and_of_one_task(main, cache, tmp_path):
    command = ("cache", "export", "melstats", "tiny", "--cache", cache, "-o", tmp_path / "e.csv")
    done = main(*command)
    assert done.returncode == 0, done.stderr
    assert "with label of tiny" in done.stdout
    head, first = (tmp_path / "e.csv").read_text().splitlines()[:2]
    assert head.startswith('"clip_id","label","dim_0"') and first.split(",")[1] == '"click"'
    (tmp_path / "few.csv").write_text("clip_id,path,label\ntone/tone1,a.wav,x\ngone,b.wav,y\n")
    done = main(*command, "--task", tmp_path / "few.csv", "--json")
    told = json.loads(done.stdout)
    assert (told["clips"], told["task"], told["omitted"]) == (1, "few", 23)
    done = main(*command, "--frames")
    assert done.returncode == 2 and "stream stats has one vector per clip" in done.stderr
    done = main(*command, "--frames", "--pool", "max")
    assert done.returncode == 2 and "leave out --pool, or --frames" in done.stderr
    shutil.rmtree(cache / "manifests")
    assert "without labels: no clip table" in main(*command).stdout


def test_a_colleague_evaluates_what_was_packed(main, cache, tmp_path):
    packed, other = tmp_path / "m.h5", tmp_path / "other"
    main("cache", "pack", "melstats", "tiny", "-o", packed, "--cache", cache)
    shutil.rmtree(cache)
    assert main("cache", "merge", packed, "--cache", other).returncode == 0
    done = main("evaluate", "--task", "tiny", "-e", "melstats", "--probe", "knn", "--cache", other)
    assert done.returncode == 0, done.stderr
    assert "24 of 24" in done.stdout


def test_a_cache_without_clip_table_is_packed_with_a_word(main, cache, tmp_path):
    shutil.rmtree(cache / "manifests")
    done = main("cache", "pack", "melstats", "tiny", "-o", tmp_path / "m.h5", "--cache", cache)
    assert done.returncode == 0 and "no clip table: none is saved in this cache" in done.stdout


def test_notes_and_failures_are_told(main, corpus, tmp_path):
    audio = shutil.copytree(corpus / "tone", tmp_path / "audio")
    (audio / "tone0.wav").write_text("no")
    cache = tmp_path / "cache"
    main(
        "extract", "-e", "convnet", "--weights", "convnet=random:0", "--audio", audio,
        "--limit", 2, "--cache", cache,
    )  # fmt: skip
    done = main("cache", "pack", "convnet", "audio", "-o", tmp_path / "c.h5", "--cache", cache)
    assert "random weights (seed 0)" in done.stdout
    assert "clips without an embedding: 1 (probekit cache info)" in done.stdout


def test_the_readme_s_lines_read_a_packed_file(main, cache, tmp_path, monkeypatch):
    import re
    from pathlib import Path

    text = (Path(__file__).parents[2] / "cache" / "README.md").read_text()
    [code] = [c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "packed.h5" in c]
    main("cache", "pack", "melstats", "tiny", "-o", tmp_path / "packed.h5", "--cache", cache)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code.replace("relu/mean", "stats/clip"), found)
    mine = embeddings.find_embeddings(cache, "melstats", "tiny")
    np.testing.assert_array_equal(found["vectors"], mine.vectors(found["ids"]))
    assert len([line for line in code.splitlines() if line]) <= 6
