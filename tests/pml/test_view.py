"""The position ruler as text: every row where its positions are, at any width."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from minillm.tokenizer import ByteTokenizer, load_tokenizer
from pml.layout import Layout, lay_out
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import parse_prompt
from pml.resolve import Resolver
from pml.rows import PATTERNS, prompt_rows, schema_rows
from pml.schema import parse_schema
from pml.states import states_of
from pml.svg import svg
from pml.view import printable, prompt_ruler, ruler

REFERENCE = Path(__file__).parent / "data" / "reference_schemas"
TOKENIZER = ByteTokenizer(bos=False)  # a letter is a token, so the drawings can be counted out

TRIP = """<schema name="trip">Plan a journey.
<module name="when">In <param name="month" len="12"/>, for a week.</module>
<union>
  <module name="rome">Rome: the old streets, the good food.
    <union><module name="car">By car.</module><module name="train">By night train</module></union>
  </module>
  <module name="goa">Goa: the beach.</module>
  <module name="oslo">Oslo: the fjord, and snow.</module>
</union>
<module name="cheap" cache="false">Cheaply!</module>
</schema>"""
ASKED = """<prompt schema="trip"><when month="June"/><rome><train/></rome><cheap/>
What first?</prompt>"""

TRIP_RULER = """\
                   at  tokens  0        20       40        60       80
                               ├────────┼────────┼─────────┼────────┼─────────┼─
trip                0      16  ████████─────────────────────────────────────────
  when             16      16         █▒▒▒▒▒▒▒██████
    :month         19      12          ▒▒▒▒▒▒▒
  ╭ rome           44      38                      ███████████████████───────
  │   ╭ car        82       7                                        ████░░░░
  │   ╰ train      82      14                                        ████████
  │ goa            44      15                      ████████░░░░░░░░░░░░░░░░░░
  ╰ oslo           44      26                      █████████████░░░░░░░░░░░░░
  cheap            96       8                                               ▓▓▓▓

█ text   ▒ parameter   ─ modules inside   ░ gap   ▓ never cached   104 positions"""

PROMPT_RULER = """\
                             at  tokens  0     20     40     60    80     100
                                         ├─────┼──────┼──────┼─────┼──────┼─────
the whole prompt              0     108  ██████▓▓░░██████████████████████▓▓▓▓▓▓▓
trip                          0      16  ██████─────────────────────────────
  when                       16      16       █▓▓░░█████
    :month                   19       4        ▓▓░░░
  ╭ rome                     44      38                ██████████████─────
  │   ╭ car                  82                                     ╌╌╌
  │   ╰ train                82      14                             ██████
  ╰ 2 others: goa, oslo      44                        ╌╌╌╌╌╌╌╌╌╌
  cheap                      96       8                                  ▓▓▓
  new text                  104      12                                    ▓▓▓▓▓

█ 84 reused   ▓ 24 computed   ░ 8 empty   ╌ left out   the answer starts at 116"""


def laid_out(text: str | bytes) -> Layout:
    return lay_out(parse_schema(text), TOKENIZER)


def planned(layout: Layout, prompt: str) -> PromptPlan:
    states = states_of(layout, "guaranteed")
    return Resolver(layout, states, "guaranteed", TOKENIZER).resolve(parse_prompt(prompt))


def test_a_schema_is_drawn() -> None:
    assert ruler(laid_out(TRIP), 80) == TRIP_RULER


def test_a_prompt_is_drawn() -> None:
    layout = laid_out(TRIP)
    assert prompt_ruler(layout, planned(layout, ASKED), 80) == PROMPT_RULER


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_a_ruler_is_as_wide_as_asked_and_never_wider(width: int) -> None:
    for path in sorted(REFERENCE.glob("*.xml")):
        if path.name == "code_generation_game.xml":  # not well formed
            continue
        lines = ruler(laid_out(path.read_bytes()), width).splitlines()
        assert max(map(cell_len, lines)) == width
        axis = next(line for line in lines if "├" in line)
        assert cell_len(axis) == width


def test_a_row_covers_exactly_the_columns_that_its_positions_reach_into() -> None:
    layout = laid_out(TRIP)
    goa, rome = layout.sections["goa",], layout.sections["rome",]
    union_end = rome.start + rome.length  # its longest member's
    for width in range(60, 161):
        lines = ruler(layout, width).splitlines()
        first = lines[1].index("├")
        columns = len(lines[1]) - first
        bar = next(line for line in lines if line.startswith("  │ goa"))[first:]

        def reached(start: int, stop: int, columns: int = columns) -> set[int]:
            n = layout.length
            at = range(columns)
            return {c for c in at if (c + 1) * n > start * columns and c * n < stop * columns}

        text, gap = reached(goa.start, goa.start + goa.length), reached(goa.start, union_end)
        assert {column for column, sign in enumerate(bar) if sign == "█"} == text
        assert {column for column, sign in enumerate(bar) if sign == "░"} == gap - text


def test_one_fresh_token_among_thousands_is_seen() -> None:
    layout = laid_out(f'<schema name="s"><module name="m">{"long " * 2000}</module></schema>')
    plan = planned(layout, '<prompt schema="s"><m/>?</prompt>')
    whole = prompt_ruler(layout, plan, 80).splitlines()[2]
    assert whole.endswith("█▓") and whole.count("▓") == 1


def test_the_numbers_stand_over_their_ticks() -> None:
    numbers, axis = ruler(laid_out(TRIP), 120).splitlines()[:2]
    for number in ("0", "20", "40", "60", "80", "100"):
        column = numbers.index(f" {number}") + 1
        assert axis[column] in "├┼", number


def test_in_ascii_nothing_is_lost() -> None:
    layout = laid_out(TRIP)
    drawing = prompt_ruler(layout, planned(layout, ASKED), 80)
    plain = printable(drawing, "ascii")
    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(x) for x in drawing.splitlines()]
    patterns = dict(zip(PATTERNS, printable(PATTERNS, "ascii"), strict=True))
    assert len(set(patterns.values())) == len(PATTERNS)
    assert "  / rome" in plain and "######-----" in plain and "**..." in plain
    assert printable(drawing, "utf-8") == drawing
    assert printable("ä ▓", "latin-1") == "ä *"


def test_names_of_any_script_and_length_keep_the_columns() -> None:
    name = "東京への旅行" * 9
    modules = f'<module name="{name}">there</module><module name="b&#x7f;c">or here</module>'
    lines = ruler(laid_out(f'<schema name="s">{modules}</schema>'), 80).splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    long, short = lines[3], lines[4]
    assert "…" in long
    assert cell_len(long[: long.index("█")]) == cell_len(lines[1][: lines[1].index("├")])
    assert short.startswith("  b?c ")


def test_a_module_whose_name_holds_a_slash_is_found() -> None:
    layout = laid_out(
        '<schema name="s"><module name="a/b">one</module><module name="a">two</module></schema>'
    )
    lines = prompt_ruler(
        layout, planned(layout, '<prompt schema="s"><use module="a/b"/></prompt>'), 80
    )
    assert "  a/b" in lines


def test_schemas_without_modules_or_text_are_drawn() -> None:
    assert "0 positions" in ruler(laid_out('<schema name="s"/>'))
    assert "4 positions" in ruler(laid_out('<schema name="s">text</schema>'))
    layout = laid_out('<schema name="s"><module name="empty"/></schema>')
    drawing = prompt_ruler(layout, planned(layout, '<prompt schema="s"><empty/>hm</prompt>'))
    assert "▓ 2 computed" in drawing and "0 reused" in drawing


def test_a_union_of_one_member_is_drawn() -> None:
    lines = ruler(laid_out('<schema name="s"><union><module name="a">aa</module></union></schema>'))
    assert "\n  ╶ a " in lines


def test_a_packed_prompt_is_drawn_where_it_stands() -> None:
    layout = laid_out(TRIP)
    planner = Planner.of(layout.schema, TOKENIZER, 4096, layout="packed")
    plan = planner.plan(parse_prompt('<prompt schema="trip"><cheap/>hm<rome/></prompt>', "p"))
    drawn = prompt_rows(planner.layout, plan)
    assert drawn.extent == plan.next_position
    paths = [row.label.strip() for row in drawn.rows]
    assert paths == ["the whole prompt", "/", "/cheap", "/rome", "new text"]
    starts = [row.start for row in drawn.rows[:-1]]
    assert starts == sorted(starts)
    painted = sum(mark.stop - mark.start for row in drawn.rows[1:] for mark in row.marks)
    assert painted == plan.num_cached + plan.num_fresh


SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture: str) -> list[tuple[float, float]]:
    """Left and right end of each mark and of each sign of the legend, in the picture's order."""
    rects = ElementTree.fromstring(picture).findall(f"{SVG}rect[@height='14']")
    ends = [(float(rect.get("x", 0)), float(rect.get("width", 0))) for rect in rects]
    return [(x, x + width) for x, width in ends]


def test_the_picture_has_a_box_for_every_mark_in_its_place() -> None:
    layout = laid_out(TRIP)
    rulers = [schema_rows(layout), prompt_rows(layout, planned(layout, ASKED))]
    expected: list[tuple[int, int] | None] = []
    for one in rulers:
        for row in one.rows:
            marks = sorted(row.marks, key=lambda mark: PATTERNS.index(mark.pattern))
            expected += [(mark.start, mark.stop) for mark in marks if mark.start < mark.stop]
        expected += [None for pattern, _ in one.legend if pattern]
    found = boxes(svg(rulers))
    assert len(found) == len(expected)
    pairs = [(place, box) for place, box in zip(expected, found, strict=True) if place]
    left = min(box[0] for place, box in pairs)
    right = max(box[1] for place, box in pairs)
    scale = (right - left) / max(one.extent for one in rulers)
    for (start, stop), (first, end) in pairs:
        assert abs(first - (left + start * scale)) < 0.2
        assert abs(end - (left + stop * scale)) < 0.2


def test_the_picture_tells_its_rows_and_survives_any_name() -> None:
    name = "a<b>&amp;\u202e" * 4
    schema = f'<schema name="s"><module name="{name.replace("<", "&lt;")}">x</module></schema>'
    picture = svg([schema_rows(laid_out(schema))])
    root = ElementTree.fromstring(picture)
    assert root.findtext(f"{SVG}title") == "Positions of schema s"
    assert "a<b>&" in str(root.findtext(f"{SVG}desc")) and "at 0" in picture
    assert ElementTree.fromstring(svg([schema_rows(laid_out('<schema name="s"/>'))])) is not None


def test_the_picture_in_the_readme_is_current() -> None:
    """It is made by: pml map examples/travel/schema.pml examples/travel/prompt.pml --svg"""
    root = Path(__file__).parents[2]
    schema, prompt = (root / "examples" / "travel" / f"{n}.pml" for n in ("schema", "prompt"))
    tokenizer = load_tokenizer(root / "tests" / "golden" / "tokenizers" / "smollm2")
    planner = Planner.of(parse_schema(schema.read_bytes()), tokenizer, 8192)
    plan = planner.plan(parse_prompt(prompt.read_bytes()))
    rulers = [schema_rows(planner.layout), prompt_rows(planner.layout, plan)]
    assert svg(rulers) == (root / "docs" / "ruler.svg").read_text()
