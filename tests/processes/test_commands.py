"""`pml` as a process: pipes, signals, terminals, and what is not imported."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizer import write_folder
from trip import be_at, write_documents

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "travel.py"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `trip.pml`, `ask.pml` and `tiny`, a model's folder without weights."""
    folder = tmp_path_factory.mktemp("home")
    write_folder(folder / "tiny")
    write_documents(folder)
    return folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_at(home, monkeypatch)


def start(*arguments: str, setup: str = "", **streams: Any) -> subprocess.Popen[bytes]:
    """`pml` as a process of its own; `setup` runs before it."""
    code = f"{setup}\nimport sys\nfrom pml.cli import main\nsys.argv[0] = 'pml'\nmain()"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "TERM": "dumb"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, **{"cwd": Path.cwd()} | streams
    )


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("check", "trip.pml", "ask.pml"),
        ("check", "trip.pml", "ask.pml", "--model", "tiny"),
        ("map", "trip.pml", "ask.pml", "--model", "tiny"),
    ],
)
def test_what_needs_no_weights_needs_no_torch(arguments: tuple[str, ...]) -> None:
    done = start(*arguments, setup="import sys; sys.modules['torch'] = None", **PIPES)
    out, err = done.communicate(timeout=30)
    assert (done.returncode, err) == (0, b"")
    assert out


def test_nobody_reads_on() -> None:
    wait = "import sys, time; sys.stdin.read()"  # until the reading end is closed
    done = start("check", "trip.pml", "ask.pml", setup=wait, **PIPES)
    assert done.stdin and done.stdout and done.stderr
    done.stdout.close()
    done.stdin.close()
    assert (done.wait(timeout=30), done.stderr.read()) == (141, b"")
    done.stderr.close()


def test_ctrl_c() -> None:
    with start("check", "trip.pml", "-", setup=SLOW_STDIN, **PIPES) as done:
        assert done.stderr
        assert done.stderr.readline() == b"reading\n"
        done.send_signal(signal.SIGINT)
        assert (done.wait(timeout=30), done.stderr.read()) == (130, b"")


@pytest.mark.parametrize("package", ["pml", "minillm"])
def test_ctrl_c_while_it_is_imported(package: str) -> None:
    code = f"{SLOW_IMPORT}\nfrom {package}.__main__ import main\nmain()"
    with subprocess.Popen([sys.executable, "-c", code, "--help"], **PIPES) as done:
        assert done.stderr
        assert done.stderr.readline() == b"importing\n"
        done.send_signal(signal.SIGINT)
        assert (done.wait(timeout=30), done.stderr.read()) == (130, b"")


SLOW_IMPORT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
class Slow:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            print("importing", file=sys.stderr, flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
"""

SLOW_STDIN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts without it
class Slow:
    def read(self, size):
        print("reading", file=sys.stderr, flush=True)
        time.sleep(60)
sys.stdin = type("Stdin", (), {"buffer": Slow()})()
"""


def test_on_a_terminal_the_place_itself_is_shown() -> None:
    terminal, end = pty.openpty()
    bad = '<prompt schema="trip">\n\t<rome><fod/></rome>\n</prompt>'
    done = start("check", "trip.pml", bad, stderr=end, stdout=subprocess.DEVNULL)
    assert done.wait(timeout=30) == 3
    os.close(end)
    line, source, caret = os.read(terminal, 4096).decode().splitlines()
    os.close(terminal)
    assert line.startswith("<prompt>:2:8: ")
    assert source == "   <rome><fod/></rome>"
    assert caret == " " * source.index("<fod") + "^^^^"


def test_neither_torch_nor_the_file_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(f"{EXAMPLE.read_text()}\nraise SystemExit('it ran')\n")
    code = (
        f"import sys; sys.argv = ['pml', 'compile', '{path}:sea']\n"
        "from pml.cli import app; app(standalone_mode=False); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('<schema name="sea">')
