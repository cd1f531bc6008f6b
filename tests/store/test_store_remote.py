"""Remotes: folders and memory by fsspec, and a real Redis server; nothing they do is an error."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minillm.errors import LoadError
from pml.store import remote
from pml.store.remote import FolderFiles, RedisFiles, Remote, open_remote

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
TIMEOUT = 0.5
SLACK = 1.0  # on a busy machine
LIMIT = 1 << 20


class Server:
    """A Redis server of our own, on a socket in a folder; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        options = f"--port 0 --save '' --appendonly no --unixsocket {self.socket} --dir {folder}"
        command = [str(BINARY), *options.replace("''", "").split(" ")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"unix://{self.socket}"
        files = RedisFiles(self.url, 1.0)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                files.read("ready", 1)
                return
            except Exception:
                time.sleep(0.02)
        raise AssertionError("redis-server did not start within 20 s")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if BINARY is None:
        pytest.skip("no redis-server or valkey-server is installed")
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["folder", "file url", "memory", "redis"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    urls = {
        "folder": str(tmp_path / "shared"),
        "file url": (tmp_path / "shared").as_uri(),
        "memory": f"memory://{tmp_path.name}",
    }
    if request.param == "redis":
        return open_remote(request.getfixturevalue("server").url)
    return open_remote(urls[request.param])


def test_files_are_written_read_and_removed(kept: Remote) -> None:
    data = bytes(range(256)) * 300
    assert kept.read("ab/state", LIMIT) is None
    assert kept.write("ab/state", data)
    assert kept.read("ab/state", LIMIT) == data
    assert (kept.size("ab/state"), kept.size("ab/other")) == (len(data), None)
    assert kept.write("ab/state", data[::-1])
    assert kept.read("ab/state", LIMIT) == data[::-1]
    assert kept.read("ab/other", LIMIT) is None
    assert kept.remove("ab/state")
    assert kept.remove("ab/state")
    assert kept.read("ab/state", LIMIT) is None
    assert kept.failures == 0


def test_what_is_larger_than_it_may_be_is_not_there(kept: Remote) -> None:
    assert kept.write("state", bytes(1001))
    assert kept.read("state", 1001) == bytes(1001)
    assert kept.read("state", 1000) is None
    assert kept.failures == 0


def seconds_of_a_miss(kept: Remote) -> float:
    started = time.monotonic()
    assert kept.read("state", LIMIT) is None
    return time.monotonic() - started


def test_a_server_that_is_gone_is_a_miss_and_is_left_alone_for_a_while(server: Server) -> None:
    kept = open_remote(server.url, timeout=TIMEOUT)
    assert kept.write("state", b"there")
    server.stop()
    assert seconds_of_a_miss(kept) < TIMEOUT + SLACK
    assert kept.failures == 1
    assert not kept.write("state", b"there")
    assert not kept.remove("state")
    assert kept.failures == 1, "asked again at once"


def test_a_server_that_hangs_costs_no_more_than_the_timeout(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it goes on, and the pause is over, it is used again."""
    kept = open_remote(server.url, timeout=TIMEOUT)
    assert kept.write("state", b"there")
    server.process.send_signal(signal.SIGSTOP)
    assert TIMEOUT * 0.9 < seconds_of_a_miss(kept) < TIMEOUT + SLACK
    assert seconds_of_a_miss(kept) < TIMEOUT / 2
    server.process.send_signal(signal.SIGCONT)
    assert kept.read("state", LIMIT) is None, "the pause is not over"
    now = time.monotonic()
    monkeypatch.setattr(remote.time, "monotonic", lambda: now + remote.PAUSE + 60)
    assert kept.read("state", LIMIT) == b"there"


def test_a_host_that_accepts_and_says_nothing_is_a_miss() -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept = open_remote(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=TIMEOUT)
        assert seconds_of_a_miss(kept) < TIMEOUT + SLACK
        assert kept.failures == 1


class Slow(FolderFiles):
    def read(self, name: str, limit: int) -> bytes | None:
        time.sleep(5)
        return super().read(name, limit)


def test_a_library_that_knows_no_deadline_is_held_to_one(tmp_path: Path) -> None:
    assert seconds_of_a_miss(Remote(Slow(str(tmp_path)), TIMEOUT)) < TIMEOUT + SLACK


def test_what_a_folder_cannot_do_is_a_miss(tmp_path: Path) -> None:
    """A file where a folder should be, a folder where a file should be."""
    (tmp_path / "file").write_bytes(b"")
    kept = open_remote(str(tmp_path / "file"))
    assert not kept.write("state", b"there")
    (tmp_path / "state").mkdir()
    kept = open_remote(str(tmp_path))
    assert kept.read("state", LIMIT) is None
    assert kept.failures == 1


@pytest.mark.parametrize(
    ("url", "message"), [("nonesuch://bucket", "nonesuch"), ("redis://host:port/0", "port")]
)
def test_an_address_that_means_nothing_is_one_line(url: str, message: str) -> None:
    with pytest.raises(LoadError, match=r"^remote store: ") as caught:
        open_remote(url)
    assert message in str(caught.value) and "\n" not in str(caught.value)
