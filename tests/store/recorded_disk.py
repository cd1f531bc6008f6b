"""What a process does to the files of a folder, recorded; and what a power cut may leave of it.

What was synced is there. Of the rest every change may be there or not, in whatever order, and what
was written in sectors of its own; a name is synced with its folder, not with its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from sqlite_calls import watched

SECTOR = 512
ROOT = 0


@dataclass(frozen=True)
class Write:
    node: int
    offset: int
    data: bytes

    def apply(self, disk: Disk) -> None:
        file = disk.files.setdefault(self.node, bytearray())
        file.extend(bytes(max(0, self.offset + len(self.data) - len(file))))
        file[self.offset : self.offset + len(self.data)] = self.data

    def sectors(self) -> Iterator[Write]:
        """The same in parts, each within a sector."""
        start, end = self.offset, self.offset + len(self.data)
        while start < end:
            stop = min(end, (start // SECTOR + 1) * SECTOR)
            yield Write(self.node, start, self.data[start - self.offset : stop - self.offset])
            start = stop


@dataclass(frozen=True)
class Resize:
    node: int
    size: int

    def apply(self, disk: Disk) -> None:
        file = disk.files.setdefault(self.node, bytearray())
        del file[self.size :]
        file.extend(bytes(self.size - len(file)))


@dataclass(frozen=True)
class Rename:
    """Names of a folder, which from now on are those of these nodes, or of none. Without names: the
    folder is a new one."""

    node: int
    names: tuple[tuple[str, int | None], ...]

    def apply(self, disk: Disk) -> None:
        disk.folders.setdefault(self.node, {}).update(self.names)


@dataclass(frozen=True)
class Sync:
    node: int


Change = Write | Resize | Rename


@dataclass
class Disk:
    """Files and folders by their nodes, and what is not yet synced."""

    files: dict[int, bytearray] = field(default_factory=dict)
    folders: dict[int, dict[str, int | None]] = field(default_factory=lambda: {ROOT: {}})
    pending: list[Change] = field(default_factory=list)

    def take(self, event: Change | Sync) -> None:
        if isinstance(event, Rename) and not event.names:
            event.apply(self)
        elif not isinstance(event, Sync):
            self.pending.append(event)
        else:
            self._sync(event.node)

    def _sync(self, node: int) -> None:
        for change in self.pending:
            if change.node == node:
                change.apply(self)
        self.pending = [change for change in self.pending if change.node != node]

    def after_a_power_cut(self, random: Random) -> Disk:
        """One of the disks that there may be when the power is back."""
        left = Disk({node: file[:] for node, file in self.files.items()}, {})
        left.folders = {node: dict(names) for node, names in self.folders.items()}
        kept = random.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for change in _kept(self.pending, kept, random):
            change.apply(left)
        return left

    def build(self, place: Path, node: int = ROOT) -> None:
        """As files and folders in `place`."""
        place.mkdir(mode=0o700)
        for name, child in self.folders.get(node, {}).items():
            if child in self.folders:
                self.build(place / name, child)
            elif child is not None:
                (place / name).write_bytes(self.files.get(child, b""))


def _kept(changes: Iterable[Change], share: float, random: Random) -> Iterator[Change]:
    for change in changes:
        for part in change.sectors() if isinstance(change, Write) else (change,):
            if random.random() < share:
                yield part


class Recorder:
    """The events in a folder, which is empty at first: `os` and SQLite (a `Watcher`) tell them."""

    def __init__(self, root: Path) -> None:
        self.events: list[Change | Sync] = []
        self._root = root
        self._folders: dict[int, dict[str, int | None]] = {ROOT: {}}
        self._handles: dict[int, int] = {}
        self._num_nodes = 1

    @contextmanager
    def recording(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name in ("open", "close", "write", "fsync", "replace", "mkdir", "unlink"):
                wrapped = getattr(self, f"_{name}")(getattr(os, name))
                stack.enter_context(patch.object(os, name, wrapped))
            stack.enter_context(watched(self))
            yield

    def opened(self, path: Path) -> int:
        self._made(path)
        return 0

    def reads(self, path: Path) -> int:
        return 0

    def wrote(self, path: Path, offset: int, data: bytes) -> int:
        self.events.append(Write(self._made(path), offset, data))
        return 0

    def resized(self, path: Path, size: int) -> int:
        self.events.append(Resize(self._made(path), size))
        return 0

    def synced(self, path: Path) -> int:
        self.events.append(Sync(self._made(path)))
        return 0

    def removed(self, path: Path) -> int:
        if self._node(path) is not None:
            self._rename(path.parent, {path.name: None})
        return 0

    def _open(self, real: Any) -> Any:
        def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            handle = int(real(path, flags, *rest, **more))
            if (place := Path(path)).is_relative_to(self._root):
                self._handles[handle] = self._made(place)
            return handle

        return open_

    def _close(self, real: Any) -> Any:
        def close(handle: int) -> None:
            self._handles.pop(handle, None)
            real(handle)

        return close

    def _write(self, real: Any) -> Any:
        def write(handle: int, data: Any) -> int:
            offset = os.lseek(handle, 0, os.SEEK_CUR) if handle in self._handles else 0
            count = int(real(handle, data))
            if handle in self._handles:
                self.events.append(Write(self._handles[handle], offset, bytes(data[:count])))
            return count

        return write

    def _fsync(self, real: Any) -> Any:
        def fsync(handle: int) -> None:
            real(handle)
            if handle in self._handles:
                self.events.append(Sync(self._handles[handle]))

        return fsync

    def _replace(self, real: Any) -> Any:
        def replace(source: Path, target: Path) -> None:
            real(source, target)
            node = self._node(source)
            if source.parent == target.parent:
                self._rename(source.parent, {source.name: None, target.name: node})
            else:
                self._rename(target.parent, {target.name: node})
                self._rename(source.parent, {source.name: None})

        return replace

    def _mkdir(self, real: Any) -> Any:
        def mkdir(path: Any, *rest: Any, **more: Any) -> None:
            real(path, *rest, **more)
            if (place := Path(path)).is_relative_to(self._root):
                self._folders[self._num_nodes] = {}
                self.events.append(Rename(self._num_nodes, ()))
                self._made(place)

        return mkdir

    def _unlink(self, real: Any) -> Any:
        def unlink(path: Any, **more: Any) -> None:
            real(path, **more)
            if (place := Path(path)).is_relative_to(self._root):
                self.removed(place)

        return unlink

    def _made(self, path: Path) -> int:
        """The node of a path, which is new if there was none."""
        node = self._node(path)
        if node is None:
            node, self._num_nodes = self._num_nodes, self._num_nodes + 1
            self._rename(path.parent, {path.name: node})
        return node

    def _node(self, path: Path) -> int | None:
        node: int | None = ROOT
        for part in path.relative_to(self._root).parts:
            node = None if node is None else self._folders.get(node, {}).get(part)
        return node

    def _rename(self, folder: Path, names: dict[str, int | None]) -> None:
        node = self._node(folder)
        assert node is not None, folder
        self._folders[node].update(names)
        self.events.append(Rename(node, (*names.items(),)))
