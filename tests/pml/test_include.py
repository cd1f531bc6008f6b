"""`src`: the text of a file below the schema's folder, and of no other."""

import os
from pathlib import Path

import pytest

from pml.errors import Location, PMLError
from pml.markup import Limits
from pml.schema import PromptModule, PromptText, parse_schema


def included(root: Path | None, attributes: str, limits: Limits | None = None) -> PromptModule:
    document = f"<schema name='s'>\n<module name='m' {attributes}/></schema>"
    schema = parse_schema(document, "s.pml", limits=limits or Limits(), src_root=root)
    (module,) = schema.children
    assert isinstance(module, PromptModule)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "schemas"
    (folder / "code" / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"\n  Hello\r\n    World & <all>\n")
    (folder / "code" / "deep" / "b c.py").write_bytes(b"\xef\xbb\xbfif x:\r    y()\n")
    (folder / "empty").write_bytes(b" \n")
    (tmp_path / "secret").write_text("secret")
    return folder


def test_the_text_is_as_if_it_stood_in_the_module(root: Path) -> None:
    module = included(root, "src='a.txt'")
    assert module.children == (PromptText("Hello\n  World & <all>"),)
    assert module.children[0].at == Location("a.txt", 2, 3)
    assert included(root, "src='code/deep/b c.py'").children == (PromptText("if x:\n    y()"),)
    assert included(root, "src='empty'").children == ()


def test_space_and_cache_work_with_it(root: Path) -> None:
    module = included(root, "src='code/deep/b c.py' space='preserve' cache='false'")
    assert module == PromptModule("m", False, (PromptText("if x:\n    y()\n"),))


def refusal(root: Path | None, name: str, limits: Limits | None = None) -> str:
    with pytest.raises(PMLError) as caught:
        included(root, f"src='{name}'", limits)
    return str(caught.value)


RELATIVE = "expected a relative path below the schema's folder, without '..'"
LINK = "a part of the path is a link or no folder; links are not followed"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret", RELATIVE),
        ("code/../../secret", RELATIVE),
        ("/etc/passwd", RELATIVE),
        ("./a.txt", RELATIVE),
        ("code//b", RELATIVE),
        ("code/", RELATIVE),
        ("..", RELATIVE),
        ("..\\secret", RELATIVE),
        ("C:\\secret", RELATIVE),
        ("none.txt", "there is no such file below the schema's folder"),
        ("code/none/x", "there is no such file below the schema's folder"),
        ("a.txt/x", LINK),
        ("link", LINK),
        ("linked/b c.py", LINK),
        ("code", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("x" * 300, "it cannot be read: File name too long"),
    ],
)
def test_refused(root: Path, name: str, reason: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root / "linked").symlink_to(root / "code" / "deep")
    os.mkfifo(root / "pipe")
    shown = repr(name) if len(name) < 60 else repr(name[:40] + "…" + name[-19:])
    assert refusal(root, name) == f"s.pml:2:18: src={shown}: {reason}"


def test_off_without_a_folder(root: Path) -> None:
    message = "reading files is off here; put the text into the module"
    assert refusal(None, "a.txt") == f"s.pml:2:18: src='a.txt': {message}"
    assert "no such file" in refusal(root / "none", "a.txt")


def test_limits_of_one_file_and_of_all(root: Path) -> None:
    size = (root / "a.txt").stat().st_size
    included(root, "src='a.txt'", Limits(file_bytes=size, all_files_bytes=size))
    larger = f"it is larger than the {size - 1} bytes that are left of the limit"
    for limits in (Limits(file_bytes=size - 1), Limits(all_files_bytes=size - 1)):
        assert refusal(root, "a.txt", limits) == f"s.pml:2:18: src='a.txt': {larger}"
    twice = "<schema name='s'><module src='a.txt'/><module src='a.txt'/></schema>"
    with pytest.raises(PMLError, match=f"1:47: .*larger than the {size - 1} bytes that are left"):
        parse_schema(twice, limits=Limits(all_files_bytes=2 * size - 1), src_root=root)


def test_a_file_must_be_text_that_pml_can_hold(root: Path) -> None:
    (root / "a.txt").write_bytes(b"one\ntwo \xff")
    assert refusal(root, "a.txt").startswith(f"{root}/a.txt:2:5: byte 0xff is not UTF-8")
    (root / "a.txt").write_bytes(b"page\n\x0cpage")
    assert refusal(root, "a.txt").startswith(
        f"{root}/a.txt:2:1: character U+000C, which XML does not"
    )
