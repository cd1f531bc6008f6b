"""Reading the file that a module names by `src`, from below the schema's folder and nowhere else.

Each folder on the way is opened relative to the one before it without following links, so that
nothing can be exchanged between a check and its use.
"""

import errno
import os
import stat
from pathlib import Path

from pml.markup import Limits
from pml.source import read_source

_TO_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would wait


class IncludeError(ValueError):
    """Why a file is not read; the caller knows the place in the document."""


class IncludedFiles:
    """The files that one schema may name, and how many bytes they may still have together."""

    def __init__(self, root: Path | None, limits: Limits) -> None:
        self.root = root
        self.most_bytes = limits.file_bytes
        self.bytes_left = limits.all_files_bytes

    def text(self, name: str) -> str:
        """The file's text, its lines ended by LF as XML would have it.

        Raises IncludeError if the file is not to be read, PMLSyntaxError, at the place in the
        file, if it is not UTF-8 or holds a character that no PML can hold.
        """
        if self.root is None:
            raise IncludeError("reading files is off here; put the text into the module")
        data = read_included(self.root, name, min(self.most_bytes, self.bytes_left))
        self.bytes_left -= len(data)
        source = read_source(data, str(self.root / name), len(data))
        return source.data.decode().replace("\r\n", "\n").replace("\r", "\n")


def read_included(root: Path, name: str, most_bytes: int) -> bytes:
    """The bytes of the regular file `name`, a relative path with `/`, below `root`."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise IncludeError("expected a relative path below the schema's folder, without '..'")
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _TO_FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            file = os.open(parts[-1], _TO_FILE, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise IncludeError(_reason(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise IncludeError("it is no regular file")
        with os.fdopen(file, "rb", closefd=False) as opened:
            data = opened.read(most_bytes + 1)
    finally:
        os.close(file)
    if len(data) > most_bytes:
        raise IncludeError(f"it is larger than the {most_bytes:,} bytes that are left of the limit")
    return data


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file below the schema's folder"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a part of the path is a link or no folder; links are not followed"
    return f"it cannot be read: {error.strerror}"
