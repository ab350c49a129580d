"""`/metrics`, who may read it, and what the dashboard and the alerts make of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from conftest import Phaya, running
from phaya import figures
from phaya.catalog.images import TextToImage
from phaya.catalog.language import ChatRequest

pytestmark = pytest.mark.anyio

DEPLOY = Path(__file__).parents[1] / "deploy"
TOKEN = "a-token-for-the-metrics"


Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Series:
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


async def scrape(phaya: Phaya, **headers: str) -> Series:
    async with phaya.session.get(f"{phaya.url}/metrics", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return read(await answer.text())


def of(series: Series, name: str, **labels: str) -> float:
    """The sum of a name's series that carry these labels."""
    return sum(
        value for (found, marks), value in series.items() if found == name and labels.items() <= dict(marks).items()
    )


async def test_jobs_providers_and_requests_are_counted(phaya: Phaya) -> None:
    before = await scrape(phaya)
    made = await phaya.create(TextToImage)
    await phaya.finish("text-to-image", made["job_id"])
    lost = await phaya.create(TextToImage, prompt="[fail] a boat")
    await phaya.finish("text-to-image", lost["job_id"])
    await phaya.post("phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "hello"}]})
    after = await scrape(phaya)

    def more(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    here = "/api/v1/text-to-image/generate"
    assert more("phaya_requests_total", method="POST", route=here, status="200") == 2
    assert more("phaya_request_seconds_count", route="/api/v1/text-to-image/status/{job_id}") >= 2
    assert more("phaya_jobs_opened_total", service="text-to-image") == 2
    assert more("phaya_jobs_ended_total", service="text-to-image", state="completed") == 1
    assert more("phaya_jobs_ended_total", service="text-to-image", state="failed") == 1
    assert more("phaya_jobs_ended_total", service=ChatRequest.path, state="completed") == 1
    assert more("phaya_job_seconds_count", service="text-to-image") == 1
    assert more("phaya_provider_requests_total", provider="kie", kind="submit", outcome="ok") == 2
    assert more("phaya_provider_requests_total", provider="openrouter", kind="chat", outcome="ok") == 1
    assert more("phaya_provider_budget_spent_total", budget="kie creations") == 2
    assert of(after, "phaya_sandbox") == 1


async def test_labels_take_few_values_whatever_is_asked_for(phaya: Phaya) -> None:
    await scrape(phaya)
    before = await scrape(phaya)
    for number in range(20):
        await phaya.get(f"text-to-image/status/{number:036}")
        await phaya.get(f"nowhere/{number}")
        async with phaya.session.request(f"ODD{number}", f"{phaya.url}/api/v1/odd{number}"):
            pass
    after = await scrape(phaya)

    fresh = {labels for name, labels in after.keys() - before.keys() if name == "phaya_requests_total"}
    assert {(dict(labels)["method"], dict(labels)["route"]) for labels in fresh} <= {
        ("GET", "/api/v1/text-to-image/status/{job_id}"),
        ("GET", "unmatched"),
        ("other", "unmatched"),
    }


async def test_a_refusal_by_a_limit_is_counted(phaya: Phaya) -> None:
    key = await phaya.new_key(rate=1)
    before = await scrape(phaya)
    assert [(await phaya.get("user/credits", key=key)).status for _ in range(3)] == [200, 429, 429]
    after = await scrape(phaya)

    assert of(after, "phaya_limits_refused_total", limit="requests") == 2 + of(
        before, "phaya_limits_refused_total", limit="requests"
    )


async def test_waits_have_a_series_of_their_own(phaya: Phaya) -> None:
    made = await phaya.create(TextToImage)
    await phaya.get(f"text-to-image/status/{made['job_id']}?wait=30")

    series = await scrape(phaya)
    assert of(series, "phaya_requests_total", route="/api/v1/text-to-image/status/{job_id} (waiting)") >= 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_a_proxy_on_this_machine_does_not_open_the_metrics(phaya: Phaya, header: str) -> None:
    value = "for=203.0.113.7" if header == "Forwarded" else "203.0.113.7"
    async with phaya.session.get(f"{phaya.url}/metrics", headers={header: value}) as answer:
        told = await answer.json()

    assert answer.status == 403
    assert "PHAYA_METRICS_TOKEN" in told["message"]


async def test_with_a_token_the_metrics_need_it_from_everywhere(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_METRICS_TOKEN=TOKEN) as phaya:
        refused = [
            (await phaya.session.get(f"{phaya.url}/metrics", headers=headers)).status
            for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {phaya.key}"})
        ]
        far = await scrape(phaya, Authorization=f"Bearer {TOKEN}", **{"X-Forwarded-For": "203.0.113.7"})

    assert refused == [403, 403, 403]
    assert ("phaya_sandbox", ()) in far


async def test_a_scrape_counts_the_database_once_in_a_while(phaya: Phaya) -> None:
    """However many ask, one count serves them all."""
    census = figures.Census(phaya.system.database, phaya.system.clock, fresh=3600)
    first, *others = await asyncio.gather(*(census.figures() for _ in range(50)))

    assert first is not None
    assert all(one is first for one in others)


async def test_the_oldest_queued_job_has_an_age(tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        paused = await phaya.create(TextToImage)

        def age(connection: Any) -> None:
            connection.exec_driver_sql(
                "UPDATE jobs SET state='queued', step='open', claimed=0, rev=rev+1, created_at=created_at-90000, "
                f"next_at=9e15 WHERE id='{paused['job_id']}'"
            )

        await phaya.finish("text-to-image", paused["job_id"])
        await phaya.system.database.write(age)
        counted = await phaya.system.database.read(figures.count, phaya.system.clock.now())

    assert counted.open["text-to-image", "queued"] == 1
    assert counted.steps["remote", "open"] == 1
    assert 90_000 <= counted.ages["remote"] < 200_000


# ── dashboard and alerts ─────────────────────────────────────────────────────────────────────────────────

_NAMES = re.compile(r"\b((?:phaya|process|python)_[a-z0-9_]+)")
_LABELS = re.compile(r"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)")
OF_PROMETHEUS = {"instance", "job", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    board = json.loads((DEPLOY / "grafana/phaya.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
            for rule in group["rules"]]  # fmt: skip


def test_every_alert_is_whole() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names)) > 12
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith((".", "list."))
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing)


def test_every_alert_is_explained() -> None:
    page = (DEPLOY.parent / "docs/observability.md").read_text(encoding="utf-8")

    assert [rule["alert"] for rule in rules() if f"| `{rule['alert']}` |" not in page] == []


async def test_every_metric_that_is_looked_at_exists(phaya: Phaya) -> None:
    """After a job, a chat, a refusal and a look at the ledger, all names and labels are there."""
    await test_jobs_providers_and_requests_are_counted(phaya)
    async with asyncio.timeout(20):
        while not await phaya.system.database.read(figures.books):
            await asyncio.sleep(0.05)
    phaya.system.census._again = 0  # pyright: ignore[reportPrivateUsage] - or it would be 15 seconds
    async with phaya.session.get(f"{phaya.url}/metrics") as answer:
        text = await answer.text()
    known: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
            known.setdefault(family.name + suffix, set())
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)

    found = list(expressions())
    assert len(found) > 40
    for where, expression in found:
        for name in _NAMES.findall(expression):
            assert name in known, f"{where}: {name}"
        for selector in re.finditer(r"((?:phaya|process)_[a-z0-9_]+)(\{[^}]*\})", expression):
            labels = set(_LABELS.findall(selector[2])) - OF_PROMETHEUS
            assert not known[selector[1]] or labels <= known[selector[1]], f"{where}: {selector[0]}"
