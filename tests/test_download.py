"""Downloads from a server on this machine: only what the card pins is kept."""

from __future__ import annotations

import gc
import http.server
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probing.data.readers.download import fetch, git_blob_id
from probing.errors import DataError

CONTENT = "tr\tI\té one\nva\tO\ttwo\nte\tI\tthree\n".encode()


@contextmanager
def server(files: dict[str, bytes], cut: int = 0):
    """Serves `files` by path and yields the address and the list of the paths asked for; `cut` bytes are held back."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: len(content or b"") - cut])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", asked
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def card(source: str, content: bytes = CONTENT, file: str = "task.txt") -> dict[str, str]:
    return {"name": "task", "file": file, "source": source, "git_blob": git_blob_id(content), "licence": "none"}


def said(*args) -> str:
    with pytest.raises(DataError) as caught:
        fetch(*args)
    return str(caught.value)


def test_the_blob_id_of_known_contents():
    """The ids that git itself documents: the empty blob, and 'test content' of the Git book."""
    assert git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_id(b"test content\n") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"


@pytest.mark.needs("git")
@settings(deadline=None, max_examples=8)
@given(st.binary(max_size=300))
def test_the_blob_id_is_gits(content):
    answer = subprocess.run(["git", "hash-object", "--no-filters", "--stdin"], input=content, capture_output=True, check=True)
    assert git_blob_id(content) == answer.stdout.decode().strip()


def test_a_verified_file_is_kept_and_not_fetched_again(tmp_path):
    """Two cards, two requests; the second time none; a file that was changed on disk is fetched anew, the other is not."""
    root = tmp_path / "new" / "folder"
    other = CONTENT + b"te\tO\tfour\n"
    with server({"/a.txt": CONTENT, "/b.txt": other}) as (address, asked):
        cards = [card(f"{address}/a.txt", CONTENT, "a.txt"), card(f"{address}/b.txt", other, "b.txt")]
        fetch(cards, root)
        assert asked == ["/a.txt", "/b.txt"]
        assert (root / "a.txt").read_bytes() == CONTENT and (root / "b.txt").read_bytes() == other
        fetch(cards, root)
        assert asked == ["/a.txt", "/b.txt"]
        (root / "b.txt").write_bytes(b"broken off")
        fetch(cards, root)
        assert asked == ["/a.txt", "/b.txt", "/b.txt"] and (root / "b.txt").read_bytes() == other
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "b.txt"]


def test_another_content_is_refused_and_nothing_is_kept(tmp_path):
    """The message names both ids; what was verified before stays."""
    wrong = CONTENT.replace(b"one", b"two")
    with server({"/a.txt": CONTENT, "/b.txt": wrong}) as (address, _):
        message = said([card(f"{address}/a.txt", CONTENT, "a.txt"), card(f"{address}/b.txt", CONTENT, "b.txt")], tmp_path)
        assert f"{address}/b.txt" in message
    for part in (git_blob_id(wrong), git_blob_id(CONTENT), "nothing was kept"):
        assert part in message
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_another_content_leaves_the_file_that_was_there(tmp_path):
    (tmp_path / "task.txt").write_bytes(b"someone's own")
    with server({"/task.txt": b"wrong"}) as (address, _):
        said([card(f"{address}/task.txt")], tmp_path)
    assert (tmp_path / "task.txt").read_bytes() == b"someone's own"


def without_network(message: str, address: str) -> None:
    for part in (address, "cannot be reached", "Without a network", "copy task.txt", "data.root=FOLDER"):
        assert part in message


def test_no_server_says_what_to_do_without_a_network(tmp_path):
    with socket.socket() as taken:  # bound and not listening: a port where surely nothing answers
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/task.txt"
        without_network(said([card(address)], tmp_path), address)
    assert list(tmp_path.iterdir()) == []


def test_a_file_the_server_does_not_have_is_named(tmp_path):
    with server({}) as (address, _):
        message = said([card(f"{address}/task.txt")], tmp_path)
    without_network(message, f"{address}/task.txt")
    assert "Not Found" in message and list(tmp_path.iterdir()) == []
    gc.collect()  # a connection left open would warn here, and a warning is an error


def test_a_connection_that_breaks_off_is_no_traceback(tmp_path):
    """Fewer bytes than announced: the same advice, nothing kept."""
    with server({"/task.txt": CONTENT}, cut=5) as (address, _):
        message = said([card(f"{address}/task.txt")], tmp_path)
        assert f"{address}/task.txt" in message
    assert list(tmp_path.iterdir()) == []
    gc.collect()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    message = said([card("http://127.0.0.1:9/task.txt")], tmp_path / "file")
    assert str(tmp_path / "file") in message and "--root" in message
