"""Downloads from a server on this machine that truncates, corrupts, redirects, stalls and lies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from probekit.cards import ExtractorCard, WeightsFile
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.weights import download, inventory
from probekit.extractors.weights import source as source_module
from probekit.utils import locking
from probekit.utils.suggest import UnknownNameError

CONTENT = np.random.default_rng(0).bytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob 400000\0" + CONTENT).hexdigest()


@dataclass
class Server:
    """What the server has, and how it misbehaves; every request's Range is kept."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"v1"'
    ranges: bool = True
    length: bool = True  # says how long the file is
    cuts: list[int] = field(default_factory=list)  # the next answers end after that many bytes
    most: int = 0  # bytes in an answer to a range; 0: up to the end
    pause: float = 0.0  # seconds between the cut and the end of the connection
    drip: float = 0.0  # seconds between pieces
    status: int = 200
    kind: str = "application/octet-stream"
    redirect: str = ""
    asked: list[str | None] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        s = self.state
        if self.path == "/moved" or (self.path == "/loop"):
            self.send_response(302)
            self.send_header("Location", s.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        s.asked.append(wanted)
        start, total = 0, len(s.content)
        fresh = self.headers.get("If-Range") in (None, s.etag)
        if s.status != 200:
            self.send_error(s.status)
            return
        if wanted and s.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.end_headers()
                return
            end = min(total, start + (s.most or total))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
        else:
            end = total
            self.send_response(200)
        if s.length:
            self.send_header("Content-Length", str(end - start))
        if s.etag:
            self.send_header("ETag", s.etag)
        self.send_header("Content-Type", s.kind)
        self.end_headers()
        body = s.content[start:end]
        if s.cuts:
            body = body[: s.cuts.pop(0)]
        for at in range(0, len(body), 20_000):
            self.wfile.write(body[at : at + 20_000])
            if s.drip:
                self.wfile.flush()
                time.sleep(s.drip)
        if s.pause and len(body) < total - start:
            self.wfile.flush()
            s.let_go.wait(s.pause)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()
    handler = type("Handler", (Handler,), {"state": state})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.daemon_threads = True
    made.block_on_close = False
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{made.server_port}/file"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield state
    state.let_go.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROBEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "BLOCK", 10_000)
    return tmp_path / "home"


def a_card(url: str | None, **facts: Any) -> ExtractorCard:
    return ExtractorCard.model_validate(
        {
            "name": "net",
            "title": "A network",
            "version": 1,
            "module": "net",
            "sample_rate": 8000,
            "long_audio": "exact",
            "default_stream": "out",
            "streams": {"out": {"dim": 2, "kind": "clip"}},
            "weights": {"main": {"file": "net.bin", "url": url, **facts}},
        }
    )


def fetch(
    card: ExtractorCard, progress: download.Progress | None = None
) -> source_module.WeightsSource:
    return source_module.resolve_weights(card, "main", card.weights["main"], progress=progress)


def files_in(home: Path) -> set[str]:
    """Names of the files in the folder of the network, besides its lock."""
    folder = home / "weights" / "net"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return names - {locking.NAME}


def settled(path: Path) -> None:
    """Make a file look as if it had not been touched for a minute."""
    at = time.time() - 60
    os.utime(path, (at, at))


@pytest.mark.parametrize(
    "facts",
    [
        {"sha256": SHA256, "size": len(CONTENT)},
        {"sha256_prefix": SHA256[:8]},
        {"sha256_prefix": SHA256[:8].upper()},
        {"git_blob": GIT_BLOB},
        {},
    ],
)
def test_a_file_comes_whole_and_leaves_nothing_else(
    server: Server, home: Path, facts: dict[str, Any]
) -> None:
    seen: list[tuple[int, int | None]] = []
    source = fetch(a_card(server.url, **facts), lambda *now: seen.append(now))
    assert source.path is not None
    assert source.path.read_bytes() == CONTENT
    assert source.sha256 == SHA256
    assert files_in(home) == {"net.bin"}
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen) and len(seen) > 10
    fetch(a_card(server.url, **facts))
    assert server.asked == [None]  # the second time nothing is asked for


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"sha256": SHA256}, SHA256),
        ({"sha256_prefix": SHA256[:8]}, SHA256[:8]),
        ({"git_blob": GIT_BLOB}, GIT_BLOB),
        ({"size": 400_001}, "400,001"),
    ],
)
def test_another_file_is_not_kept(
    server: Server, home: Path, facts: dict[str, Any], expected: str
) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(WeightsError, match=f"not the file of the card, and deleted: .*{expected}"):
        fetch(a_card(server.url, **facts))
    assert files_in(home) == set()


def test_a_connection_that_breaks_is_taken_up_where_it_was(server: Server, home: Path) -> None:
    server.cuts = [100_000, 50_000]
    assert fetch(a_card(server.url, sha256=SHA256)).sha256 == SHA256
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert files_in(home) == {"net.bin"}


def test_an_answer_that_holds_less_than_was_asked_for_is_not_the_end(server: Server) -> None:
    server.cuts, server.most = [100_000], 150_000
    assert fetch(a_card(server.url, sha256=SHA256)).sha256 == SHA256
    assert server.asked == [None, "bytes=100000-", "bytes=250000-"]


def test_a_server_that_always_breaks_is_given_up_and_what_came_is_kept(
    server: Server, home: Path
) -> None:
    server.cuts = [10_000] * 9
    card = a_card(server.url, sha256=SHA256)
    with pytest.raises(
        WeightsError, match=r"50,000 bytes are saved; the next attempt resumes there"
    ):
        fetch(card)
    assert len(server.asked) == download.ATTEMPTS
    assert files_in(home) == {"net.bin.part", "net.bin.part.json"}
    server.cuts = []
    assert fetch(card).sha256 == SHA256
    assert server.asked[-1] == "bytes=50000-"


def test_a_server_that_stalls_is_left_after_the_time_out(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.2)
    server.cuts, server.pause = [100_000] + [0] * 5, 20.0
    with pytest.raises(WeightsError, match=r"no data from 127.0.0.1 for 0.2 s.*are saved"):
        fetch(a_card(server.url, sha256=SHA256))
    assert "net.bin" not in files_in(home)
    server.cuts = []
    assert fetch(a_card(server.url, sha256=SHA256)).sha256 == SHA256
    assert server.asked[-1] not in (None, "bytes=0-")


def test_a_server_that_ignores_ranges_sends_all_again(server: Server) -> None:
    server.cuts, server.ranges = [100_000], False
    assert fetch(a_card(server.url, sha256=SHA256)).path.read_bytes() == CONTENT  # type: ignore
    assert server.asked == [None, "bytes=100000-"]


def test_half_of_an_older_version_is_not_joined_to_the_newer(server: Server) -> None:
    """The server tells by If-Range; where it cannot, the hash does, and all is fetched again."""
    for etag in ('"v1"', ""):
        card = a_card(server.url, file=f"net{len(etag)}.bin", sha256=SHA256)
        server.asked.clear()
        server.etag, server.content, server.cuts = etag, bytes(400_000), [100_000, 0]
        with pytest.raises(WeightsError):
            fetch(card)
        server.etag, server.content = etag and '"v2"', CONTENT
        assert fetch(card).sha256 == SHA256
        again = ["bytes=100000-"] if etag else ["bytes=100000-", None]
        assert server.asked == [None, "bytes=100000-", *again]


def test_without_hash_and_version_nothing_is_resumed(server: Server, home: Path) -> None:
    server.etag, server.cuts = "", [100_000, 0]
    with pytest.raises(WeightsError):
        fetch(a_card(server.url))
    assert fetch(a_card(server.url)).sha256 == SHA256
    assert server.asked[-1] is None


def test_what_came_from_another_address_is_not_used(server: Server) -> None:
    server.cuts = [100_000, 0]
    with pytest.raises(WeightsError):
        fetch(a_card(server.url, sha256=SHA256))
    assert fetch(a_card(server.url + "?other", sha256=SHA256)).sha256 == SHA256
    assert server.asked[-1] is None


@pytest.mark.parametrize("more", [0, 7])
def test_a_partial_file_that_is_whole_or_too_long(server: Server, home: Path, more: int) -> None:
    card = a_card(server.url, sha256=SHA256)
    server.cuts = [100_000, 0]
    with pytest.raises(WeightsError):
        fetch(card)
    (home / "weights/net/net.bin.part").write_bytes(CONTENT + bytes(more))
    assert fetch(card).sha256 == SHA256
    assert len(server.asked) == (3 if more == 0 else 4)


def test_a_file_without_stated_length_is_taken_only_where_it_can_be_recognised(
    server: Server, home: Path
) -> None:
    server.length = False
    with pytest.raises(WeightsError, match="completeness cannot be verified"):
        fetch(a_card(server.url))
    assert "net.bin" not in files_in(home)
    assert fetch(a_card(server.url, sha256=SHA256)).sha256 == SHA256


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_with_status_200_is_not_weights(server: Server, home: Path, kind: str) -> None:
    server.kind, server.content = kind, b"\n<!DOCTYPE html><html>Sign in</html>"
    with pytest.raises(WeightsError, match="a web page"):
        fetch(a_card(server.url))
    assert not {"net.bin", "net.bin.part"} & files_in(home)


def test_a_web_page_does_not_cost_what_had_come(server: Server, home: Path) -> None:
    card = a_card(server.url, sha256=SHA256)
    server.cuts = [100_000, 0]
    with pytest.raises(WeightsError):
        fetch(card)
    server.kind, server.etag = "text/html", '"page"'
    with pytest.raises(WeightsError, match="a web page"):
        fetch(card)
    assert (home / "weights/net/net.bin.part").stat().st_size == 100_000


def test_an_empty_file_is_not_weights(server: Server, home: Path) -> None:
    server.content = b""
    with pytest.raises(WeightsError, match="empty"):
        fetch(a_card(server.url))
    assert files_in(home) == set()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_names_status_address_size_hash_and_place(
    server: Server, home: Path, status: int
) -> None:
    server.status = status
    with pytest.raises(WeightsError) as caught:
        fetch(a_card(server.url, sha256=SHA256, size=400_000))
    for part in (
        str(status),
        server.url,
        "400,000 bytes",
        SHA256,
        "--weights net=PATH",
        str(home / "weights/net/net.bin"),
    ):
        assert part in str(caught.value)
    assert len(server.asked) == 1  # asking again would not help
    assert files_in(home) == set()


def test_offline_says_what_to_do(home: Path) -> None:
    card = a_card("http://127.0.0.1:9/net.bin", sha256_prefix="1234abcd", size=5)
    with pytest.raises(WeightsError) as caught:
        fetch(card)
    for part in (
        "no connection to 127.0.0.1",
        "http://127.0.0.1:9/net.bin",
        "5 bytes",
        "SHA-256 1234abcd",
        str(home / "weights/net/net.bin"),
        "--weights net=random:0",
    ):
        assert part in str(caught.value)


def test_redirects_lead_to_http_only(server: Server, home: Path) -> None:
    moved = server.url.replace("/file", "/moved")
    server.redirect = "/file"
    assert fetch(a_card(moved, sha256=SHA256)).sha256 == SHA256
    secret = home.parent / "secret"
    secret.write_bytes(CONTENT)
    for bad in (secret.as_uri(), "ftp://127.0.0.1/file", "data:,hello"):
        server.redirect = bad
        with pytest.raises(WeightsError, match=r"must be http or https, got (file|ftp|data):"):
            fetch(a_card(moved, file="other.bin"))
    server.redirect = "/loop"
    with pytest.raises(WeightsError, match="more than 10 redirects"):
        fetch(a_card(moved, file="other.bin"))
    assert files_in(home) == {"net.bin"}


def test_a_card_without_public_weights_says_so(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"Ask the author.*--weights net=PATH, or .*random:0"):
        fetch(a_card(None, missing="Ask the author."))
    with pytest.raises(WeightsError) as caught:
        fetch(a_card(None, random=False))
    assert "No public file is known" in str(caught.value)
    assert "random:0" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_named(server: Server, home: Path) -> None:
    home.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"the download failed: .*weights/net"):
        fetch(a_card(server.url, sha256=SHA256))


_CHILD = """
import sys
from probekit.cards import WeightsFile
from probekit.extractors.weights import download
from pathlib import Path
download.BLOCK = 10_000
class Card: name = "net"
facts = WeightsFile(file="net.bin", url=sys.argv[1], sha256=sys.argv[3])
print("go", flush=True)
download.download_weights(Card, "main", facts, Path(sys.argv[2]))
"""


def child(server: Server, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, server.url, str(path), SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_half_way_and_resumed(server: Server, home: Path) -> None:
    path = home / "weights/net/net.bin"
    part = path.with_name("net.bin.part")
    server.drip = 0.05  # a second for all
    running = child(server, path)
    begin = time.perf_counter()
    while not (part.is_file() and part.stat().st_size >= 100_000):
        assert time.perf_counter() - begin < 30
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not path.exists()
    kept = part.stat().st_size
    assert 100_000 <= kept < len(CONTENT)
    server.drip = 0.0
    assert fetch(a_card(server.url, sha256=SHA256)).sha256 == SHA256
    assert server.asked == [None, f"bytes={kept}-"]
    assert files_in(home) == {"net.bin"}


def test_two_processes_do_not_disturb_one_another(server: Server, home: Path) -> None:
    server.drip = 0.02
    path = home / "weights/net/net.bin"
    both = [child(server, path), child(server, path)]
    for one in both:
        one.communicate()
        assert one.returncode == 0
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]  # the second waited, and found the file


def test_a_file_is_read_again_only_when_it_changed(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = a_card(server.url, git_blob=GIT_BLOB)
    path = fetch(card).path
    assert path is not None
    settled(path)
    reads: list[Path] = []
    real = download.compute_digests
    monkeypatch.setattr(download, "compute_digests", lambda path: reads.append(path) or real(path))
    for _ in range(3):
        assert fetch(card).sha256 == SHA256
    assert reads == [path]
    entry = json.loads((home / "hashes.json").read_text())[str(path.resolve())]
    assert entry == {
        "size": 400_000,
        "mtime_ns": path.stat().st_mtime_ns,
        "sha256": SHA256,
        "git_blob": GIT_BLOB,
        "md5": hashlib.md5(CONTENT).hexdigest(),
    }
    changed = path.stat().st_mtime + 1
    path.write_bytes(CONTENT[:-1] + b"!")  # the same size
    os.utime(path, (changed, changed))
    with pytest.raises(
        WeightsError, match=r"hash must be git blob .* got git blob .*Delete the file"
    ):
        fetch(card)
    assert reads == [path, path]
    (home / "hashes.json").write_text("{ damaged")
    with pytest.raises(WeightsError):
        fetch(card)


def test_a_file_that_was_just_written_is_not_trusted_by_its_time_stamp(home: Path) -> None:
    path = home.parent / "own.bin"
    path.write_bytes(b"one")
    assert source_module.file_digests(path).sha256 == hashlib.sha256(b"one").hexdigest()
    assert source_module.cached_digests(path) is None
    settled(path)
    source_module.file_digests(path)
    assert source_module.cached_digests(path) is not None


def test_an_override_is_hashed_once_too(home: Path) -> None:
    path = home.parent / "own.bin"
    path.write_bytes(b"own")
    settled(path)
    card = a_card(None)
    source = source_module.resolve_weights(card, "main", card.weights["main"], str(path))
    assert source.sha256 == hashlib.sha256(b"own").hexdigest()
    assert source_module.cached_digests(path).sha256 == source.sha256  # type: ignore[union-attr]


# the commands, on cards of a folder of their own


@pytest.fixture
def own_cards(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()

    def write(name: str, parameters: str, files: str) -> None:
        (folder / f"{name}.yaml").write_text(
            f"{{name: {name}, title: T, version: 1, module: m, sample_rate: 8000, "
            "long_audio: exact, default_stream: out, streams: {out: {dim: 2, kind: clip}, "
            f"extra: {{dim: 2, kind: clip}}}}, parameters: {parameters}, weights: {files}}}"
        )

    write(
        "aa",
        "{}",
        f"{{main: {{file: a.bin, url: '{server.url}', sha256: {SHA256}}}, "
        f"more: {{file: b.bin, url: '{server.url}', streams: [extra]}}}}",
    )
    write(
        "bb",
        "{kind: {default: x, choices: [x, y]}}",
        f"{{main/x: {{file: x.bin, url: '{server.url}', when: {{kind: x}}}}, "
        f"main/y: {{file: y.bin, url: '{server.url}', when: {{kind: y}}}}}}",
    )
    write("cc", "{}", "{main: {file: c.bin, missing: Ask the author.}}")
    write("dd", "{}", "{}")
    monkeypatch.setenv("PROBEKIT_CARDS", str(folder))
    monkeypatch.setattr("probekit.cards.loader._builtin_folder", lambda kind: tmp_path / "nowhere")
    return folder


def command(*arguments: str) -> tuple[int, str]:
    from probekit.cli.weights import app

    done = CliRunner().invoke(app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("aa", ["main", "more"]),
        ("aa:stream=out", ["main"]),
        ("aa:stream=extra", ["main", "more"]),
        ("bb", ["main/x", "main/y"]),
        ("bb:kind=y", ["main/y"]),
        ("dd", []),
    ],
)
def test_which_files_belong_to_a_name(own_cards: Path, text: str, names: list[str]) -> None:
    assert [role for _, role, _ in inventory.select_files(text)] == names


@pytest.mark.parametrize("text", ["ab", "bb:kind=z", "bb:size=1", "aa:stream=outer"])
def test_a_misspelt_name_downloads_nothing(own_cards: Path, server: Server, text: str) -> None:
    with pytest.raises(ProbekitError):
        command("get", "aa", text)
    assert server.asked == []
    with pytest.raises(UnknownNameError, match="Did you mean 'aa'"):
        inventory.select_files("aaa")


def test_openl3_has_a_file_for_each_content_and_input() -> None:
    assert len(inventory.select_files("openl3")) == 6
    ((_, role, facts),) = inventory.select_files("openl3:content=env,input=linear")
    assert role == "main/linear-env" and facts.file == "openl3_audio_linear_env-v0_4_0.h5.gz"
    assert [role for _, role, _ in inventory.select_files("openl3:content=env")] == [
        "main/mel256-env"
    ]


def test_list_get_and_verify(own_cards: Path, server: Server, home: Path) -> None:
    code, out = command("list", "--json")
    rows = {(r["extractor"], r["role"]): r for r in json.loads(out)}
    assert code == 0 and len(rows) == 5
    assert rows["aa", "main"]["state"] == "absent" and rows["cc", "main"]["state"] == "not public"

    code, out = command("get", "aa")
    assert code == 0 and out.count("fetched") == 2 and SHA256 in out
    code, out = command("get", "aa", "bb:kind=y", "--json")
    got = {(r["extractor"], r["role"]): r["state"] for r in json.loads(out)}
    assert code == 0
    assert got == {
        ("aa", "main"): "was here",
        ("aa", "more"): "was here",
        ("bb", "main/y"): "fetched",
    }
    code, out = command("get", "cc")
    assert code == 1 and "Ask the author." in out
    code, out = command("get", "dd")
    assert code == 0 and "no weights to get" in out
    code, out = command("get", "--all")  # cc cannot be had by anybody: no failure of this command
    assert code == 0 and "Ask the author." in out
    with pytest.raises(ProbekitError, match="--all"):
        command("get")

    code, out = command("verify")
    assert code == 0 and "4 files present: 1 ok, 3 no hash known" in out
    a = home / "weights/aa/a.bin"
    settled(a)
    assert json.loads(command("list", "--json")[1])[0]["state"] == "not checked"
    command("verify")
    assert json.loads(command("list", "--json")[1])[0]["state"] == "right"
    stamp = a.stat()
    a.write_bytes(CONTENT[:-1] + b"!")
    os.utime(a, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as damage on the disk would
    code, out = command("verify")
    assert code == 1 and "aa/main: mismatch" in out and "probekit weights get aa" in out
    code, out = command("verify", "--json")
    assert code == 1 and json.loads(out)[0]["state"] == "wrong"
    assert "mismatch" in command("list")[1]
    server.status = 404
    (home / "weights/bb/x.bin").unlink()
    assert command("get", "--all")[0] == 1


def test_a_stated_size_is_compared_without_reading(server: Server, home: Path) -> None:
    facts = WeightsFile(file="f", size=5, sha256=SHA256)
    assert download.digest_mismatch(facts, 5, None) == ""
    assert "must be 5 bytes as in the card, got 4 bytes" in download.digest_mismatch(facts, 4, None)


def test_show_says_what_a_network_costs_and_whether_its_weights_are_here(main: Any) -> None:
    done = main("extractors", "show", "vggish", "--json")
    told = json.loads(done.stdout)
    assert (told["parameter_count"], told["gflop_per_second"]) == (72_141_184, 1.8)
    assert [told["weights_here"][role]["here"] for role in ("main", "pca")] == [False, False]
    path = Path(told["weights_here"]["main"]["path"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something")
    text = main("extractors", "show", "vggish").stdout
    assert "parameters of the network: 72,141,184" in text
    assert "GFLOP per second of audio: 1.8\n" in text
    assert f"main: present yes, state not checked, path {path}" in text
    assert "pca: present no, state absent" in text
