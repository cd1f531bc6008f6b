"""Files somewhere else: in a shared folder, an object store, Redis or Valkey.

    open_remote("/mnt/shared/states")       any location that fsspec knows: a folder,
    open_remote("s3://bucket/states")       s3, gs, az, sftp, memory, …
    open_remote("redis://host:6379/0")      a server that speaks Redis' protocol (rediss, unix)

Nothing that happens to a remote may hurt a request: a file that is missing or too large, an error,
and silence for longer than `timeout` are all the same to who asks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from minillm.errors import LoadError

log = logging.getLogger("pml")

TIMEOUT = 2.0
PAUSE = 10.0
"""Seconds in which a remote that failed is not asked again: else each request would wait for it."""

Result = TypeVar("Result")


class Files(Protocol):
    """Files by name, without any care for what can go wrong: any exception may come."""

    def read(self, name: str, limit: int) -> bytes | None:
        """The first `limit` bytes of a file; None if there is no such file."""

    def size(self, name: str) -> int | None: ...

    def write(self, name: str, data: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


class FolderFiles:
    """A folder at a location of fsspec's; `options` are those of its protocol."""

    def __init__(self, url: str, **options: Any) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self._fs, self._folder = url_to_fs(url, **options)
        if isinstance(self._fs, LocalFileSystem):
            self._fs.auto_mkdir = True

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self._path(name), start=0, end=limit)
        except FileNotFoundError:
            return None
        return data

    def size(self, name: str) -> int | None:
        try:
            return int(self._fs.size(self._path(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self._fs.pipe_file(self._path(name), data)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


class RedisFiles:
    """Values of a Redis or Valkey server, which evicts by its own rules (`maxmemory-policy`)."""

    PREFIX = "pml:"

    def __init__(self, url: str, timeout: float) -> None:
        import redis

        self._client = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout
        )

    def read(self, name: str, limit: int) -> bytes | None:
        # No value and an empty one look alike; no state is empty.
        data: Any = self._client.getrange(self.PREFIX + name, 0, limit - 1)
        return data or None

    def size(self, name: str) -> int | None:
        length: Any = self._client.strlen(self.PREFIX + name)
        return length or None

    def write(self, name: str, data: bytes) -> None:
        self._client.set(self.PREFIX + name, data)

    def remove(self, name: str) -> None:
        self._client.delete(self.PREFIX + name)


class Remote:
    """`files`, asked for `timeout` seconds at most. `failures` counts what went wrong."""

    def __init__(self, files: Files, timeout: float = TIMEOUT) -> None:
        self.timeout, self.failures = timeout, 0
        self._files = files
        self._paused_until = 0.0

    def read(self, name: str, limit: int) -> bytes | None:
        """A file; None if there is none of at most `limit` bytes, or none to be had."""
        data = self._ask(lambda: self._files.read(name, limit + 1))
        return None if data is None or len(data) > limit else data

    def size(self, name: str) -> int | None:
        """Of a file; None if there is none, or none to be had."""
        return self._ask(lambda: self._files.size(name))

    def write(self, name: str, data: bytes) -> bool:
        """Whether it was written."""
        return self._is_done(lambda: self._files.write(name, data))

    def remove(self, name: str) -> bool:
        """Whether it is gone."""
        return self._is_done(lambda: self._files.remove(name))

    def _is_done(self, work: Callable[[], None]) -> bool:
        def done() -> bool:
            work()
            return True

        return self._ask(done) or False

    def _ask(self, work: Callable[[], Result]) -> Result | None:
        """What `work` returns; in a thread of its own, because few libraries keep a deadline."""
        if time.monotonic() < self._paused_until:
            return None
        answers: SimpleQueue[Result | Exception] = SimpleQueue()

        def run() -> None:
            try:
                answers.put(work())
            except Exception as error:
                answers.put(error)

        threading.Thread(target=run, daemon=True, name="pml remote").start()
        try:
            answer = answers.get(timeout=self.timeout)
        except Empty:
            answer = TimeoutError(f"no answer within {self.timeout:g} s")
        if not isinstance(answer, Exception):
            return answer
        self.failures += 1
        self._paused_until = time.monotonic() + PAUSE
        log.warning(
            "remote store: %s: %s; not asked for %g s", type(answer).__name__, answer, PAUSE
        )
        return None


def open_remote(url: str, *, timeout: float = TIMEOUT, **options: Any) -> Remote:
    """A remote by its address; `options` go to fsspec (credentials, endpoints).

    Nothing is asked yet. Raises `LoadError` for an address that no installed library knows.
    """
    try:
        if url.startswith(("redis://", "rediss://", "unix://")):
            return Remote(RedisFiles(url, timeout), timeout)
        return Remote(FolderFiles(url, **options), timeout)
    except ImportError as error:
        needed = "in the project's folder, pip install -e '.[remote]'"
        raise LoadError(f"remote store: {error}; for folders and Redis: {needed}") from None
    except ValueError as error:
        raise LoadError(f"remote store: {error}") from None
