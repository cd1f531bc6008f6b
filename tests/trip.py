"""A schema of a journey and prompts for it, and `pml` called over them. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pml.cli import app

SCHEMA = """<schema name="trip">
  <system>You plan travel.
    <module name="when">We go in <param name="month" len="6" default="May"/>, by train.</module>
    <union>
      <module name="rome">To Rome: the old streets.
        <module name="food">And the food.</module></module>
      <module name="goa">To Goa: the sea and the sun.</module>
    </union>
  </system>
</schema>
"""
PROMPT = """<prompt schema="trip"><when month="June"/><rome><food/></rome>
<user>Where do we go when it rains?</user></prompt>"""
TOO_LONG = '<prompt schema="trip"><when month="the month that follows upon June"/></prompt>'

EDITED_SCHEMA = """<schema name="trip">
  <system>You plan travel.
    <module name="when">We go in <param name="month" len="6" default="May"/>, by train.</module>
    <union scaffold="goa">
      <module name="rome">To Rome. <module name="food">And the food.</module></module>
      <module name="goa">To Goa, to <param name="what" len="9"/>.</module>
    </union>
    <module name="a &lt;b&gt;"/>
  </system>
  <scaffold modules="when rome/food"/>
</schema>
"""
EDITED_PROMPT = """<prompt schema="trip">
  <when month="June"/><goa><arg name="what">swim</arg></goa><use module="a &lt;b&gt;"/>
  <user>Where to?</user>
</prompt>
"""
"""What stands in an editor: more of the language, and names that must be escaped."""


def write_documents(folder: Path) -> None:
    (folder / "trip.pml").write_text(SCHEMA)
    (folder / "ask.pml").write_text(PROMPT)


def be_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in `home`, on a terminal of 100 columns."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "100")


def pml(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def told(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json, which must be all that it prints on stdout."""
    done = pml(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content
