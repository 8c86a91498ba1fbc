"""What the README shows works as it stands there."""

import re
from pathlib import Path

import probekit

ROOT = Path(__file__).resolve().parent.parent


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_python_example_runs_on_real_recordings(shared, tmp_path, monkeypatch, capsys):
    recordings = tmp_path / "free-spoken-digit-dataset" / "recordings"
    recordings.mkdir(parents=True)
    for path in (shared / "data/fsdd/recordings").glob("*_[0-9].wav"):  # 10 of 50 of each kind
        (recordings / path.name).symlink_to(path)
    assert len(list(recordings.iterdir())) == 600
    monkeypatch.chdir(tmp_path)
    probekit.extract("melstats", task="fsdd", root="free-spoken-digit-dataset")
    (example,) = (block for block in blocks("python") if "KNeighbors" in block)
    exec(compile(example, "README.md", "exec"), {})
    assert 0.9 < float(capsys.readouterr().out) <= 1.0


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
