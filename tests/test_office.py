"""The operator's pages over real HTTP: they are there for operators only, and each form does what it says, once, and is
written into the audit log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web

from conftest import Phaya, running
from phaya.catalog import SERVICES
from phaya.providers.roster import circuits
from phaya.web.console.layout import OFFICE
from test_console import PASSWORD, Browser, browsing, invited

pytestmark = pytest.mark.anyio

BOSS = "boss@phaya.example"
PICTURE = SERVICES["text-to-image"]
CHANGED = """
[service.seedream.rates]
picture = "1.75"
[service.sora2-video]
off = true
substitute = "seedance-video"
"""
PAGES = [f"/operator/{section}" for section in OFFICE]


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya whose tariff file changes something, with an operator."""
    folder = tmp_path_factory.mktemp("phaya")
    changed = (
        '[service.seedream.rates]\npicture = "1.75"\n[service.sora2-video]\noff = true\nsubstitute = "seedance-video"'
    )
    (folder / "phaya.toml").write_text(changed)
    async with running(folder) as shared:
        await invited(shared, BOSS)
        await shared.operate("accounts promote", account=BOSS)
        yield shared


@pytest.fixture(scope="module")
async def boss(phaya: Phaya) -> AsyncGenerator[Browser, None]:
    """The operator's browser."""
    async with browsing(phaya) as browser:
        assert await browser.sign_in(email=BOSS, password=PASSWORD) == 303
        yield browser


@asynccontextmanager
async def customer(phaya: Phaya, email: str) -> AsyncGenerator[tuple[Browser, str]]:
    """A signed-in customer with 100 credits, and the path of the account among the operator's pages."""
    await invited(phaya, email)
    account = (await phaya.operate("accounts show", account=email))["account_id"]
    async with browsing(phaya) as browser:
        assert await browser.sign_in(email=email, password=PASSWORD) == 303
        yield browser, f"/operator/accounts/{account}"


async def seen(boss: Browser, path: str) -> str:
    """The entry that a form of an account's page was drawn by."""
    found = re.search(r'name="seen" value="(\d+)"', (await boss.get(path))[1])
    assert found is not None
    return found[1]


async def log(phaya: Phaya, **wanted: str) -> list[dict[str, object]]:
    """What the console's operator did."""
    return (await phaya.operate("audit list", actor=BOSS, **wanted))["lines"]


async def balance(phaya: Phaya, email: str) -> Decimal:
    return Decimal((await phaya.operate("accounts show", account=email))["credits_balance"])


def unpaged(lines: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(line["action"], line["subject"]) for line in lines]


async def test_for_everybody_else_the_pages_are_not_there(phaya: Phaya) -> None:
    key = await phaya.new_key(None, account=BOSS)
    async with browsing(phaya) as nobody, browsing(phaya) as keyed, customer(phaya, "plain@x.org") as (plain, path):
        assert await keyed.sign_in(key=key) == 303
        for browser in (nobody, keyed, plain):
            statuses = {page: (await browser.get(page))[0] for page in (*PAGES, path)}
            assert statuses == dict.fromkeys(statuses, 404)
        assert "/operator/" not in (await plain.get("/"))[1]


async def test_nobody_else_can_act(phaya: Phaya) -> None:
    before = await phaya.operate("audit list")
    async with browsing(phaya) as nobody, customer(phaya, "grasping@x.org") as (plain, path):
        created = await phaya.operate("audit list")
        for browser in (nobody, plain):
            for form in (f"{path}/grant", f"{path}/promote", "/operator/providers/wake", "/operator/vouchers"):
                answer = await browser.post(form, amount="1000", credits="1000", reason="r", seen="0", circuit="kie")
                assert answer.status == 404

    assert await balance(phaya, "grasping@x.org") == 100
    assert (await phaya.operate("audit list"))["lines"] == created["lines"] != before["lines"]


async def test_an_operators_forms_are_taken_from_our_own_pages_only(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "forged@x.org") as (_, path):
        number = await seen(boss, path)
        for sent, csrf in (({"Origin": "https://evil.example"}, boss.csrf), ({}, "0" * 64)):
            answer = await boss.post(
                f"{path}/grant", sent=sent, amount="5", reason="r", seen=number, csrf=csrf
            )  # fmt: skip
            assert answer.status == 403

    assert await balance(phaya, "forged@x.org") == 100


async def test_accounts_are_found_by_a_part_of_their_address(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "needle_one@x.org"), customer(phaya, "needleXone@x.org"):
        _, page, _ = await boss.get("/operator/accounts?search=NEEDLE_")

    assert "needle_one@x.org" in page
    assert "needlexone@x.org" not in page


async def test_credits_are_granted_and_corrected_once_each(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "rich@x.org") as (_, path):
        number = await seen(boss, path)
        granted = [await boss.post(f"{path}/grant", amount="5.5", reason="fair", seen=number) for _ in range(2)]
        number = await seen(boss, path)
        taken = [await boss.post(f"{path}/adjust", amount="-0.25", reason="twice", seen=number) for _ in range(2)]
        _, page, _ = await boss.get(path)

    assert [answer.status for answer in (*granted, *taken)] == [303, 409, 303, 409]
    assert await balance(phaya, "rich@x.org") == Decimal("105.25")
    assert unpaged(await log(phaya, account="rich@x.org")) == [
        ("credits adjust", "rich@x.org"), ("credits grant", "rich@x.org"),
    ]  # fmt: skip
    assert BOSS in page[page.index('id="statement"') :]


async def test_what_is_wrong_with_an_amount_is_said_on_the_page(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "typo@x.org") as (_, path):
        number = await seen(boss, path)
        answer = await boss.session.post(
            boss.url + f"{path}/adjust", data={"csrf": boss.csrf, "amount": "ten", "reason": "r", "seen": number}
        )
        page = await answer.text()

    assert answer.status == 422
    assert re.search(r'role="alert">amount: ', page)


async def test_a_jobs_credits_are_given_back_by_hand(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "sorry@x.org") as (_, path), customer(phaya, "other@x.org") as (_, other):
        key = await phaya.new_key(None, account="sorry@x.org")
        job = (await phaya.create(PICTURE, key, prompt="blurred"))["job_id"]
        await phaya.finish(PICTURE.path, job, key)
        strange = await boss.post(f"{other}/refund", job=job, amount="0.5", reason="blurred")
        done = await boss.post(f"{path}/refund", job=job, amount="0.5", reason="blurred")

    assert (strange.status, done.status) == (422, 303)
    assert await balance(phaya, "sorry@x.org") == Decimal("99.5")
    assert unpaged(await log(phaya, account="sorry@x.org")) == [("credits refund", job)]


async def test_keys_are_capped_suspended_resumed_and_revoked(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "keyed@x.org") as (_, path):
        made = await phaya.operate(
            "keys create", account="keyed@x.org", name="k", scopes=[], rate=600, credits=None, cap=None
        )
        key, door = made["key"], f"{path}/keys/{made['key_id']}"

        async def works() -> int:
            return (await phaya.post(PICTURE.create_path(), {"prompt": "a"}, key=key)).status

        assert (await boss.post(f"{door}/cap", cap="0.5")).status == 303
        capped = await works()
        assert (await boss.post(f"{door}/suspend")).status == 303
        suspended = await works()
        assert (await boss.post(f"{door}/resume")).status == 303
        assert (await boss.post(f"{door}/cap", cap="")).status == 303
        resumed = await works()
        assert (await boss.post(f"{door}/revoke")).status == 303

        assert (capped, suspended, resumed, await works()) == (402, 401, 200, 401)
    actions = [action for action, _ in unpaged(await log(phaya, account="keyed@x.org"))]
    assert actions == ["keys revoke", "keys cap", "keys resume", "keys suspend", "keys cap"]


async def test_a_suspended_account_is_signed_out_and_told_so_at_the_door(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "fraud@x.org") as (browser, path):
        assert (await boss.post(f"{path}/suspend", reason="chargeback")).status == 303
        assert (await browser.get("/jobs"))[0] == 303
        refused = await browser.sign_in(email="fraud@x.org", password=PASSWORD)
        assert (await boss.post(f"{path}/resume")).status == 303

        assert (refused, await browser.sign_in(email="fraud@x.org", password=PASSWORD)) == (403, 303)


async def test_an_operator_is_made_and_unmade_but_not_by_itself(phaya: Phaya, boss: Browser) -> None:
    own = (await phaya.operate("accounts show", account=BOSS))["account_id"]
    async with customer(phaya, "deputy@x.org") as (deputy, path):
        assert (await boss.post(f"{path}/promote")).status == 303
        inside = (await deputy.get("/operator/audit"))[0]
        assert (await boss.post(f"{path}/demote")).status == 303

        assert (inside, (await deputy.get("/operator/audit"))[0]) == (200, 404)
    assert (await boss.post(f"/operator/accounts/{own}/demote")).status == 409
    assert (await boss.post(f"/operator/accounts/{own}/suspend", reason="r")).status == 409
    assert (await boss.get("/operator/accounts"))[0] == 200


async def test_prices_tell_what_the_file_changes(phaya: Phaya, boss: Browser) -> None:
    _, page, _ = await boss.get("/operator/prices")
    rows = {path: row for row in page.split("<tr>") for path in re.findall(r"<code>([\w/-]+)</code>", row)[:1]}

    assert str(phaya.system.settings.data_dir / "phaya.toml") in page
    assert "<strong>1.75</strong> <s" in rows["seedream"]
    assert ">Off</span>" in rows["sora2-video"]
    assert "seedance-video" in rows["sora2-video"]
    assert ">On sale</span>" in rows["text-to-image"]
    assert set(rows) == set(phaya.system.tariff.paths)


async def test_providers_tell_balances_budgets_and_failures(phaya: Phaya, boss: Browser) -> None:
    key = await phaya.new_key("10")
    job = (await phaya.create(PICTURE, key, prompt="[fail] it"))["job_id"]
    await phaya.finish(PICTURE.path, job, key)
    _, page, _ = await boss.get("/operator/providers")

    assert re.search(r"99\d\d\d\.?\d* KIE left", page)
    assert "no limit on this key, 0 USD spent" in page
    assert re.search(r"\d+ of 20 in 10 s", page)
    assert "text-to-image: provider_error" in page


async def test_a_resting_circuit_is_closed_before_its_time(phaya: Phaya, boss: Browser) -> None:
    service = SERVICES["grok-imagine"]  # no other test asks for it, and closes its circuit by a success
    circuit = circuits(service.model_validate(dict(service.example)).call())[-1]
    await phaya.system.breaker.failed(circuit, "The model is paused.", limit=1)
    _, page, _ = await boss.get("/operator/providers")
    key = await phaya.new_key("10")
    closed = (await phaya.post(service.create_path(), service.example, key=key)).status
    answers = [await boss.post("/operator/providers/wake", circuit=circuit) for _ in range(2)]

    assert "The model is paused." in page
    assert [answer.status for answer in answers] == [303, 409]
    assert (closed, (await phaya.post(service.create_path(), service.example, key=key)).status) == (503, 200)
    assert unpaged(await log(phaya, action="breaker close")) == [("breaker close", circuit)]


async def test_a_job_in_flight_is_cancelled_and_its_credits_return(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "waiting@x.org"):
        key = await phaya.new_key(None, account="waiting@x.org")
        job = (await phaya.create(PICTURE, key, prompt="[slow 600] dawn"))["job_id"]
        _, page, _ = await boss.get("/operator/queue")
        wordless = await boss.post(f"/operator/queue/{job}/cancel", reason="")
        answers = [await boss.post(f"/operator/queue/{job}/cancel", reason="asked for") for _ in range(2)]
        status = (await phaya.get(f"{PICTURE.path}/status/{job}", key=key)).json

    assert job in page
    assert (wordless.status, *(answer.status for answer in answers)) == (422, 303, 409)
    assert (status["state"], status["error"]) == (
        "cancelled", "The operator cancelled the job; its credits were returned.",
    )  # fmt: skip
    assert await balance(phaya, "waiting@x.org") == 100
    assert unpaged(await log(phaya, account="waiting@x.org")) == [("jobs cancel", job)]


async def test_a_job_in_doubt_is_asked_about_and_closed(phaya: Phaya, boss: Browser) -> None:
    async with customer(phaya, "doubt@x.org"):
        key = await phaya.new_key(None, account="doubt@x.org")
        job = (await phaya.create(PICTURE, key, prompt="[lost] sea"))["job_id"]
        async with asyncio.timeout(30):
            while (await phaya.get(f"{PICTURE.path}/status/{job}", key=key)).json["task_id"] is None:
                await asyncio.sleep(0.05)
        await phaya.post(f"jobs/{job}/cancel", {}, key=key)
        _, page, _ = await boss.get("/operator/reconcile")
        looked = await boss.post(f"/operator/reconcile/{job}/look")
        closed = await boss.post(f"/operator/reconcile/{job}/close", reason="KIE gave it back")
        _, after, _ = await boss.get("/operator/reconcile")

    assert (looked.status, closed.status) == (303, 303)
    assert (job in page, job in after) == (True, False)
    assert [action for action, _ in unpaged(await log(phaya, account="doubt@x.org"))] == [
        "reconcile close", "reconcile look",
    ]  # fmt: skip


async def test_vouchers_are_made_shown_once_and_revoked(phaya: Phaya, boss: Browser) -> None:
    form = {"csrf": boss.csrf, "credits": "7", "count": "2", "uses": "1", "note": "fair", "expires": "2030-01-31"}
    async with boss.session.post(boss.url + "/operator/vouchers", data=form) as answer:
        made = await answer.text()
    codes = re.findall(r"\w{4}(?:-\w{4}){3}", made[made.index('id="codes"') : made.index("</code>")])
    _, page, _ = await boss.get("/operator/vouchers")
    [first, second] = [one["id"] for one in (await phaya.operate("vouchers list"))["vouchers"]]
    assert (await boss.post(f"/operator/vouchers/{first}/revoke")).status == 303
    assert (await boss.post("/operator/vouchers", credits="1", count="many")).status == 422
    key = await phaya.new_key(None)
    redeemed = [(await phaya.post("user/vouchers/redeem", {"code": code}, key=key)).status for code in codes]

    assert len(codes) == 2
    assert (codes[0] in page, first in page, second in page) == (False, True, True)
    assert sorted(redeemed) == [200, 404]
    assert [action for action, _ in unpaged(await log(phaya))][:2] == ["vouchers revoke", "vouchers create"]


async def test_a_voucher_form_that_is_sent_twice_makes_them_once_and_shows_them_again(
    phaya: Phaya, boss: Browser
) -> None:
    _, page, _ = await boss.get("/operator/vouchers")
    once = re.search(r'name="once" value="([\w-]{36})"', page)
    assert once is not None
    form = {"csrf": boss.csrf, "once": once[1], "credits": "7", "count": "2", "uses": "1", "note": "double click"}
    shown: list[str] = []
    for _ in range(2):
        async with boss.session.post(boss.url + "/operator/vouchers", data=form) as answer:
            found = await answer.text()
        shown.append(found[found.index('id="codes"') : found.index("</code>")])
    listed = (await phaya.operate("vouchers list"))["vouchers"]
    lines = [line for line in await log(phaya, action="vouchers create") if "double click" in str(line["details"])]

    assert shown[0] == shown[1]
    assert sum(one["note"] == "double click" for one in listed) == 2
    assert len(lines) == 1
    async with boss.session.post(boss.url + "/operator/vouchers", data=form | {"credits": "8"}) as answer:
        assert answer.status == 409


async def test_the_sandbox_page_says_what_follows_from_what(boss: Browser) -> None:
    _, page, _ = await boss.get("/operator/sandbox")

    assert "The sandbox answers" in page
    assert page.count("<dd>not set</dd>") == 3


async def test_the_newest_vouchers_come_first(phaya: Phaya, boss: Browser) -> None:
    for note in ("the older fair", "the newer fair"):
        await phaya.operate("vouchers create", credits="1", by="Ann", count=1, uses=1, note=note)
    _, page, _ = await boss.get("/operator/vouchers")

    assert page.index("the newer fair") < page.index("the older fair")


async def test_what_no_database_can_hold_is_refused(boss: Browser) -> None:
    assert (await boss.post("/operator/vouchers", credits="1", note="a\0b")).status == 422


async def test_the_log_is_read_by_filter_and_page_by_page(phaya: Phaya, boss: Browser) -> None:
    for _ in range(51):
        await phaya.operate("credits grant", account="logged@x.org", amount="1")
    today = (await phaya.operate("audit list"))["lines"][0]["created_at"][:10]
    _, page, _ = await boss.get(f"/operator/audit?account=logged@x.org&action=credits+grant&day={today}")
    older = re.search(r'href="(\?[^"]+before=\d+)"', page)
    assert older is not None
    _, rest, _ = await boss.get("/operator/audit" + older[1].replace("&amp;", "&"))

    assert (page.count("<td>logged@x.org"), rest.count("<td>logged@x.org")) == (50, 1)
    assert (await boss.get("/operator/audit?account=nobody@x.org"))[0] == 404
    assert (await boss.get("/operator/audit?day=yesterday"))[0] == 422
    assert (await boss.get("/operator/audit?before=x"))[0] == 422


async def test_a_provider_that_does_not_answer_does_not_keep_the_page(tmp_path: Path) -> None:
    async def silence(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"code": 401, "message": "No cookie auth credentials found"}}, status=401)

    app = web.Application()
    app.add_routes([web.get("/api/v1/chat/credit", silence), web.get("/credits", refuse), web.get("/key", refuse)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    keyed = {"KIE_API_KEY": "k" * 20, "KIE_BASE_URL": host, "OPENROUTER_API_KEY": "o", "OPENROUTER_BASE_URL": host}
    try:
        async with running(tmp_path, **keyed) as phaya:
            await invited(phaya, BOSS)
            await phaya.operate("accounts promote", account=BOSS)
            async with browsing(phaya) as browser:
                assert await browser.sign_in(email=BOSS, password=PASSWORD) == 303
                status, page, _ = await browser.get("/operator/providers")
                _, switch, _ = await browser.get("/operator/sandbox")
    finally:
        await runner.cleanup()

    assert status == 200
    assert "No answer within 3 s" in page
    assert "No cookie auth credentials found" in page
    assert "GEMINI_API_KEY" in page
    assert "Real providers answer" in switch
    assert "kkkk" not in page + switch
