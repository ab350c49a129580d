"""The benchmark's logic: medians, tables, what makes a figure void, goals, the page and its chart. Nothing is timed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import orjson
import pytest

import goals
import load
import page
import patience
import run
import upstream
from chart import WIDTH, Bar, Panel, drawn
from figures import Part, Row, replaced
from phaya.providers.openrouter_stream import Usage, usage_in
from phaya.telling import poll_after


def told(**readings: float) -> str:
    """What wrk prints, with the script's line."""
    usual = {"requests": 1000, "microseconds": 2_000_000, "bytes": 500_000, "refused": 0, "broken": 0, "late": 0}
    return "Running 2s test\nRESULT " + orjson.dumps(usual | {"p50": 900.0, "p99": 4000.0} | readings).decode() + "\n"


def test_a_row_tells_the_middle_of_its_readings_and_how_far_they_lie_apart() -> None:
    row = Row("polls")
    for rate in (90.0, 400.0, 100.0):
        row.add(rate=rate)
    assert row.median("rate") == 100
    assert row.spread == 3.1


def test_a_void_row_has_no_figure_and_says_why() -> None:
    row = Row("polls", {"rate": [100.0]}, void="3 answers of 400 and more")
    assert math.isnan(row.median("rate"))
    table = Part("status", "Polls", [row, Row("floor", {"rate": [200.0]})]).table()
    assert "100" not in table
    assert "void: 3 answers of 400 and more" in table


def test_a_table_has_the_columns_that_were_measured_in_a_fixed_order() -> None:
    rows = [Row("a", {"p99": [2.0], "rate": [1234.5, 1200.0]}), Row("b | c", {"rate": [7.0, 7.0]}, note="with\na note")]
    assert Part("x", "X", rows).table().splitlines() == [
        "|  | requests/s | p99 ms | spread |  |",
        "| --- | --: | --: | --: | --- |",
        "| a | 1,217 | 2.00 | 3 % |  |",
        "| b / c | 7 |  | 0 % | with a note |",
    ]


def test_a_part_comes_back_from_its_saved_readings() -> None:
    part = Part("x", "X", [Row("a", {"rate": [1.0, 2.0]}, "note")], "yesterday")
    again = Part.of(orjson.loads(orjson.dumps(part.plain())))
    assert (again.rows, again.stamp) == (part.rows, part.stamp)
    assert math.isnan(again.others)


def test_a_good_run_is_read_in_seconds_and_milliseconds() -> None:
    burst = load.read(told(), 500, 64)
    assert (burst.rate, burst.p50, burst.p99) == (500, 0.9, 4)


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (told(refused=1), "1 answers of 400"),
        (told(broken=2), "2 broken"),
        (told(late=3), "3 late"),
        (told(requests=0), "no answer"),
        (told(bytes=300_000), "300 bytes on average"),
        (told(bytes=700_000), "700 bytes on average"),
        ("unable to connect", "wrk failed"),
    ],
)
def test_a_run_with_a_wrong_answer_gives_no_figure(printed: str, why: str) -> None:
    with pytest.raises(load.Void, match=why):
        load.read(printed, 500, 64)


def test_answers_that_were_under_way_at_the_end_are_no_fault() -> None:
    assert load.read(told(requests=50, bytes=50_000), 500, 64).requests == 50


def test_the_upstream_answers_what_phaya_bills() -> None:
    usage = Usage(upstream.PROMPT_TOKENS, upstream.COMPLETION_TOKENS, "0.0000133")
    assert usage_in(orjson.loads(upstream.whole())) == usage
    events = [event.removeprefix(b"data: ") for event in upstream.events()]
    assert usage_in(orjson.loads(events[-2])) == usage
    assert events[-1] == b"[DONE]\n\n"


def test_a_run_replaces_what_is_between_its_markers_and_nothing_else() -> None:
    before = "# Words\n<!-- measured: a -->\nold\n<!-- end: a -->\nkept\n<!-- measured: b -->\n<!-- end: b -->\n"
    after = replaced(before, "a", "| new |")
    assert after == before.replace("\nold\n", "\n\n| new |\n\n")
    assert replaced(after, "a", "| new |") == after
    with pytest.raises(ValueError, match="'c'"):
        replaced(before, "c", "| new |")


def test_the_page_has_a_place_for_every_part() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    for name in ("goals", "machine", *run.PARTS):
        assert replaced(text, name, "| new |") != text


def test_the_goals_on_the_page_are_those_of_the_saved_readings() -> None:
    assert goals.table(page.load(page.RESULTS)) in page.PAGE.read_text(encoding="utf-8")
    assert page.CHART.read_text(encoding="utf-8") == page.chart({part.name: part for part in page.load(page.RESULTS)})


def test_every_goal_was_measured() -> None:
    assert "not measured" not in goals.table(page.load(page.RESULTS))


@pytest.mark.parametrize(
    ("memory", "line"),
    [
        (80.4, ("memory", "80", "at most 90", "yes")),
        (90.6, ("memory", "91", "at most 90", "no")),
        (math.nan, ("memory", "not measured", "at most 90", "")),
    ],
)
def test_a_goal_says_whether_it_was_reached(memory: float, line: tuple[str, ...]) -> None:
    assert goals.Goal("memory", lambda parts: memory, 90, most=True).told({}) == line


def test_gateways_are_compared_at_their_best() -> None:
    rows = [
        Row("Phaya, plain", {"connections": [16.0], "each": [2000.0]}),
        Row("Phaya, plain", {"connections": [64.0], "each": [4000.0]}),
        Row("LiteLLM 1.2, plain", {"connections": [16.0], "each": [100.0]}),
        Row("LiteLLM 1.2, plain", {"connections": [64.0], "each": [50.0]}),
    ]
    table = goals.table([Part("chat", "Chats", rows)])
    assert "| chats per CPU-second ÷ LiteLLM's, each at its best | 40.0 | at least 40.0 | yes |" in table
    assert "| chats per CPU-second ÷ Portkey's, each at its best | not measured |" in table


def test_a_chart_is_an_image_by_itself_for_light_and_dark_pages() -> None:
    picture = drawn(
        [Panel("polls & more", [Bar("bare", 200), Bar("ours", 100, ours=True), Bar("lost", math.nan)])], "d"
    )
    root = ET.fromstring(picture)
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    lengths = [float(bar.get("width", "0")) for bar in bars]
    assert lengths[0] == 2 * lengths[1]
    assert all(float(bar.get("x", "0")) + length < WIDTH for bar, length in zip(bars, lengths, strict=True))
    assert "not measured" in picture
    assert "prefers-color-scheme: dark" in picture
    assert picture.count("http") == 1  # the namespace: nothing is fetched


def test_a_client_that_follows_the_advice_asks_less_and_sees_the_end() -> None:
    asked = patience.advised(180, 180)
    assert asked < 180 / 4
    assert patience.advised(180, 0.5) == 1 + math.ceil(0.5 / poll_after(0, 180))
