"""Webhooks as their receivers and owners meet them: over HTTP, verified by the specification's own library."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks import WebhookVerificationError

import servers
from conftest import Phaya, running
from phaya.catalog import CATALOG
from phaya.catalog.service import Generation
from phaya.webhooks import MOST
from receiver import Receiver, receiving

pytestmark = pytest.mark.anyio

CREATE = "text-to-image/generate"


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya]:
    """One that may send to this machine."""
    async with running(tmp_path_factory.mktemp("hooks"), PHAYA_ALLOWED_NETWORKS="127.0.0.0/8") as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as made:
        yield made


async def create(phaya: Phaya, key: str, **fields: Any) -> dict[str, Any]:
    answer = await phaya.post(CREATE, {"prompt": "A lighthouse", **fields}, key=key)
    assert answer.status == 200, answer.content
    return answer.json


async def endpoint(phaya: Phaya, key: str, url: str, *events: str) -> dict[str, Any]:
    answer = await phaya.post("webhooks", {"url": url, "events": events}, key=key)
    assert answer.status == 200, answer.content
    return answer.json


async def log(phaya: Phaya, key: str, query: str = "") -> list[dict[str, Any]]:
    answer = await phaya.get(f"webhooks/deliveries?{query}", key=key)
    assert answer.status == 200, answer.content
    return answer.json["deliveries"]


async def settled(phaya: Phaya, key: str, query: str = "") -> list[dict[str, Any]]:
    """The log, once no first attempt is under way any more."""
    async with asyncio.timeout(30):
        while any(one["last_status"] is None and one["trouble"] is None for one in await log(phaya, key, query)):
            await asyncio.sleep(0.02)
    return await log(phaya, key, query)


async def test_the_end_of_a_job_is_told_to_its_webhook_url_and_to_the_account(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    made = await endpoint(phaya, key, f"{receiver.url}/all")
    own = (await phaya.get("webhooks/secret", key=key)).json["secret"]

    job = await create(phaya, key, webhook_url=receiver.url)
    by_path = {heard.path: heard for heard in await receiver.until(2)}

    assert job["warnings"] == []
    status = await phaya.finish("text-to-image", job["job_id"], key)
    for path, secret in (("/hook", own), ("/hook/all", made["secret"])):
        told = by_path[path].verified(secret)
        assert (told["type"], told["data"]) == ("job.completed", status)
        assert told["timestamp"] == status["completed_at"]
    with pytest.raises(WebhookVerificationError):
        by_path["/hook"].verified(made["secret"])
    rows = await settled(phaya, key, f"job_id={job['job_id']}")
    assert {row["id"] for row in rows} == {heard.id for heard in receiver.heard}
    assert [(row["state"], row["attempts"], row["last_status"]) for row in rows] == [("delivered", 1, 204)] * 2


async def test_the_receiver_in_the_documents_takes_what_is_signed_and_nothing_else(phaya: Phaya) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs/webhooks.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^<!-- receive -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    key, port = await phaya.new_key(), servers.free_port()
    made = await endpoint(phaya, key, f"http://127.0.0.1:{port}/")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={"WEBHOOK_SECRET": made["secret"], "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    forged = await phaya.session.post(f"http://127.0.0.1:{port}/", data=b"{}")
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
        job = await create(phaya, key)
        assert process.stdout is not None
        printed = await asyncio.wait_for(process.stdout.readline(), 30)
    finally:
        process.kill()
        await process.wait()

    assert forged.status == 400
    assert printed.decode().split() == ["job.completed", job["job_id"]]


async def test_a_dry_run_tells_nobody(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()

    dry = await create(phaya, key, webhook_url=receiver.url, dry_run=True)

    assert (dry["dry_run"], dry["warnings"], await log(phaya, key)) == (True, [], [])


async def test_a_failure_is_told_with_its_refund(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key("5")

    await create(phaya, key, prompt="A storm [fail]", webhook_url=receiver.url)
    [heard] = await receiver.until(1)

    assert heard.json["type"] == "job.failed"
    assert heard.json["data"]["credits_refunded"] == heard.json["data"]["credits_used"] == 1
    assert await phaya.balance(key) == 5


async def test_a_cancelled_job_is_told_once(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    job = await create(phaya, key, prompt="A calm sea [slow 30]", webhook_url=receiver.url)

    for _ in range(3):
        await phaya.post(f"text-to-image/cancel/{job['job_id']}", {}, key=key)
    await receiver.until(1)

    assert [row["event"] for row in await settled(phaya, key)] == ["job.cancelled"]
    assert [heard.json["data"]["state"] for heard in receiver.heard] == ["cancelled"]


@pytest.mark.parametrize("service", CATALOG, ids=[service.path for service in CATALOG])
async def test_every_service_takes_a_webhook_url_and_says_what_is_wrong_with_it(
    phaya: Phaya, service: type[Generation]
) -> None:
    key = await phaya.new_key("1000")
    body = await phaya.example(service) | {"webhook_url": "ftp://example.com/hook"}

    wrong = await phaya.post(service.create_path(), body, key=key)

    assert (wrong.status, wrong.json["detail"][0]["loc"]) == (422, ["body", "webhook_url"])
    assert wrong.json["message"] == "webhook_url: is not usable: it is not an http or https address"
    assert await phaya.balance(key) == 1000


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (7, "must be an http or https address"),
        ("", "it is not an http or https address"),
        ("https://user:pass@example.com/", "it must not carry a user name or password"),
        ("http://10.0.0.8/", "the address is not public"),
        ("http://169.254.169.254/latest", "the address is not public"),
        ("https://example.com/" + "x" * 2040, "must have at most 2048 characters"),
    ],
)
async def test_a_url_that_cannot_be_meant_costs_nothing(phaya: Phaya, url: object, reason: str) -> None:
    key = await phaya.new_key("5")

    for answer in (
        await phaya.post(CREATE, {"prompt": "x", "webhook_url": url}, key=key),
        await phaya.post("webhooks", {"url": url}, key=key),
    ):
        assert answer.status == 422
        assert reason in answer.json["message"] or "url: must be a text" in answer.json["message"]
    assert await phaya.balance(key) == 5


async def test_without_the_operators_leave_nothing_is_sent_to_this_machine(tmp_path: Path, receiver: Receiver) -> None:
    async with running(tmp_path) as strict:
        refused = await strict.post(CREATE, {"prompt": "x", "webhook_url": "http://127.0.0.1/hook"})
        # A name can only be judged when it is resolved.
        job = await create(strict, strict.key, webhook_url="http://localhost/hook")
        await strict.finish("text-to-image", job["job_id"])
        [row] = await settled(strict, strict.key)

    assert (refused.status, refused.json["message"]) == (
        422,
        "webhook_url: is not usable: the address is not public",
    )
    assert (row["state"], row["trouble"]) == ("pending", "the address is not public")


async def test_the_other_name_of_webhook_url_is_read_with_a_warning(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()

    job = await create(phaya, key, webhook=receiver.url)
    both = await create(phaya, key, webhook="https://example.com/", webhook_url=receiver.url)
    strict = await phaya.post(CREATE, {"prompt": "x", "webhook": receiver.url}, key=key, Prefer="handling=strict")

    assert job["warnings"] == ["'webhook' was read as 'webhook_url'."]
    assert both["warnings"][0].startswith("Unknown field 'webhook' was ignored.")
    assert strict.status == 422
    assert {heard.json["data"]["job_id"] for heard in await receiver.until(2)} == {job["job_id"], both["job_id"]}


async def test_openais_videos_take_a_webhook_url(phaya: Phaya, receiver: Receiver) -> None:
    film = await phaya.ask("POST", "/v1/videos", {"prompt": "A dragon", "webhook_url": receiver.url})
    [heard] = await receiver.until(1)

    assert (heard.json["data"]["job_id"], film.json["warnings"]) == (film.json["id"], [])


async def test_secrets_are_rotated_without_losing_a_delivery(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    made = await endpoint(phaya, key, receiver.url)
    path = f"webhooks/{made['webhook']['id']}"

    rotated = (await phaya.post(f"{path}/rotate", {}, key=key)).json
    await phaya.post(f"{path}/test", {}, key=key)
    [heard] = await receiver.until(1)

    assert rotated == (await phaya.get(f"{path}/secret", key=key)).json
    assert rotated["secret"] != made["secret"]
    assert rotated["former_until"] is not None
    for secret in (made["secret"], rotated["secret"]):
        assert heard.verified(secret)["type"] == "webhook.test"


async def test_the_accounts_secret_is_rotated_alike(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    first = (await phaya.get("webhooks/secret", key=key)).json
    assert first["former_until"] is None

    second = (await phaya.post("webhooks/secret/rotate", {}, key=key)).json
    await create(phaya, key, webhook_url=receiver.url)
    [heard] = await receiver.until(1)

    assert first["secret"] != second["secret"] == (await phaya.get("webhooks/secret", key=key)).json["secret"]
    assert heard.verified(first["secret"]) == heard.verified(second["secret"])


async def test_a_delivery_is_told_once_more_on_demand(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    job = await create(phaya, key, webhook_url=receiver.url)
    receiver.answer(410)
    await receiver.until(1)
    [row] = await settled(phaya, key)
    assert (row["state"], row["trouble"]) == ("failed", "it answered 410: it wants nothing more")
    receiver.answer(200)

    again = (await phaya.post(f"webhooks/deliveries/{row['id']}/redeliver", {}, key=key)).json["delivery"]
    first, second = await receiver.until(2)

    assert (again["state"], again["job_id"], second.id) == ("pending", job["job_id"], again["id"])
    assert (first.id, first.json) == (row["id"], second.json)
    assert [one["state"] for one in await settled(phaya, key)] == ["delivered", "failed"]


async def test_endpoints_are_listed_changed_tested_and_deleted(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    made = await endpoint(phaya, key, "https://EXAMPLE.com", "job.failed", "job.failed")
    path = f"webhooks/{made['webhook']['id']}"
    assert made["webhook"] | {"url": "https://example.com/", "events": ["job.failed"]} == made["webhook"]
    assert (await phaya.get("webhooks", key=key)).json["webhooks"] == [made["webhook"]]
    assert (await phaya.get(path, key=key)).json["webhook"] == made["webhook"]

    off = (await phaya.post(path, {"enabled": False}, key=key)).json["webhook"]
    untested = await phaya.post(f"{path}/test", {}, key=key)
    on = (await phaya.post(path, {"enabled": True, "url": receiver.url, "events": [], "color": 1}, key=key)).json
    tested = (await phaya.post(f"{path}/test", {}, key=key)).json["delivery"]
    [heard] = await receiver.until(1)
    gone = (await phaya.ask("DELETE", f"/api/v1/{path}", key=key)).json

    assert (off["enabled"], untested.status) == (False, 422)
    assert untested.json["message"] == "webhook: is disabled; enable it first"
    assert (on["webhook"]["enabled"], len(on["webhook"]["events"])) == (True, 4)
    assert on["warnings"] == ["Unknown field 'color' was ignored."]
    assert (heard.id, heard.json["type"]) == (tested["id"], "webhook.test")
    assert gone == {"success": True, "id": made["webhook"]["id"], "deleted": True}
    assert (await phaya.get("webhooks", key=key)).json["webhooks"] == []
    lost = await phaya.post(f"webhooks/deliveries/{tested['id']}/redeliver", {}, key=key)
    assert (lost.status, lost.json["message"]) == (404, f"The webhook of delivery {tested['id']} was deleted.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "url: is required"),
        ({"url": None}, "url: must be a text"),
        ([], "body: must be a JSON object"),
        ({"url": "https://example.com/", "events": "job.failed"}, "events: input should be a valid list"),
        ({"url": "https://example.com/", "events": ["job.done"]}, "events: must be of job.completed, job.failed"),
        ({"url": "https://example.com/", "events": ["webhook.test"]}, "events: must be of job.completed"),
        (b"{", "body: is not JSON"),
    ],
)
async def test_a_wish_that_cannot_be_read_says_what_is_allowed(phaya: Phaya, body: object, message: str) -> None:
    answer = await phaya.post("webhooks", body)

    assert (answer.status, answer.json["message"][: len(message)]) == (422, message)


async def test_an_account_has_at_most_twenty_webhooks(phaya: Phaya) -> None:
    key = await phaya.new_key()
    answers = await asyncio.gather(
        *(phaya.post("webhooks", {"url": f"https://example.com/{n}"}, key=key) for n in range(MOST + 2))
    )

    assert sorted(answer.status for answer in answers) == [200] * MOST + [422] * 2
    assert len((await phaya.get("webhooks", key=key)).json["webhooks"]) == MOST


async def test_the_webhooks_of_others_do_not_exist(phaya: Phaya, receiver: Receiver) -> None:
    owner, stranger = await phaya.new_key(), await phaya.new_key()
    made = await endpoint(phaya, owner, receiver.url)
    path = f"webhooks/{made['webhook']['id']}"
    sent = (await phaya.post(f"{path}/test", {}, key=owner)).json["delivery"]["id"]

    answers = [
        await phaya.get(path, key=stranger),
        await phaya.get(f"{path}/secret", key=stranger),
        await phaya.post(path, {"enabled": False}, key=stranger),
        await phaya.post(f"{path}/rotate", {}, key=stranger),
        await phaya.post(f"{path}/test", {}, key=stranger),
        await phaya.ask("DELETE", f"/api/v1/{path}", key=stranger),
    ]
    unknown = await phaya.get("webhooks/00000000-0000-0000-0000-000000000000", key=stranger)
    redelivery = await phaya.post(f"webhooks/deliveries/{sent}/redeliver", {}, key=stranger)

    assert {(answer.status, answer.json["message"]) for answer in answers} == {
        (404, f"There is no webhook {made['webhook']['id']}.")
    }
    assert unknown.json["message"].startswith("There is no webhook ")
    assert (redelivery.status, redelivery.json["message"]) == (404, f"There is no delivery {sent}.")
    assert await log(phaya, stranger) == []
    assert (await phaya.get(path, key=owner)).json["webhook"] == made["webhook"]


async def test_a_key_needs_the_scope_and_reads_nothing_without(phaya: Phaya) -> None:
    limited = await phaya.new_key(scopes=["generate", "chat"])
    allowed = await phaya.new_key(scopes=["webhooks"])
    paths = ("webhooks", "webhooks/secret", "webhooks/deliveries", "webhooks/x", "webhooks/x/secret")
    posts = ("webhooks", "webhooks/x", "webhooks/x/test", "webhooks/x/rotate", "webhooks/secret/rotate")

    refused = [await phaya.get(path, key=limited) for path in paths]
    refused += [await phaya.post(path, {}, key=limited) for path in (*posts, "webhooks/deliveries/x/redeliver")]
    refused += [await phaya.ask("DELETE", "/api/v1/webhooks/x", key=limited)]

    assert {answer.status for answer in refused} == {403}
    assert {answer.json["message"] for answer in refused} == {
        "This key's scopes do not allow this; it needs 'webhooks'."
    }
    assert (await phaya.get("webhooks", key=allowed)).status == 200
    assert (await phaya.post(CREATE, {"prompt": "x"}, key=allowed)).status == 403


async def test_the_log_is_filtered_and_paged(phaya: Phaya, receiver: Receiver) -> None:
    key = await phaya.new_key()
    made = (await endpoint(phaya, key, receiver.url))["webhook"]["id"]
    for _ in range(5):
        await phaya.post(f"webhooks/{made}/test", {}, key=key)
    job = await create(phaya, key, webhook_url=receiver.url)
    await receiver.until(7)
    whole = await settled(phaya, key)

    assert len(whole) == 7
    assert len(await log(phaya, key, f"endpoint={made}")) == 6
    assert len(await log(phaya, key, f"job_id={job['job_id']}")) == 2
    assert (await log(phaya, key, "state=delivered"), await log(phaya, key, "state=failed")) == (whole, [])
    first = (await phaya.get("webhooks/deliveries?limit=4", key=key)).json
    second = (await phaya.get(f"webhooks/deliveries?limit=4&cursor={first['next_cursor']}", key=key)).json
    assert (first["deliveries"] + second["deliveries"], second["next_cursor"]) == (whole, None)
    for query, field in (("state=lost", "state"), ("limit=0", "limit"), ("cursor=x", "cursor")):
        wrong = await phaya.get(f"webhooks/deliveries?{query}", key=key)
        assert (wrong.status, wrong.json["detail"][0]["loc"]) == (422, ["query", field])
