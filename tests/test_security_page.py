"""The console's page for an account's own safety, over real HTTP: password, sessions and the second step."""

from __future__ import annotations

import base64
import re

import pytest

from conftest import Phaya
from phaya import authenticators
from phaya.clock import SECOND
from phaya.web.console.devices import device_of
from test_console import PASSWORD, Browser, browsing, invited

pytestmark = pytest.mark.anyio

STEP = authenticators.STEP * SECOND
ANOTHER = "another long password"


async def sign_in(phaya: Phaya, browser: Browser, email: str, password: str = PASSWORD) -> str:
    """Signs in by password; answers the page, which asks for the second step where it is on."""
    data = {"email": email, "password": password, "next": "/jobs"}
    async with browser.session.post(phaya.url + "/sign-in", data=data, allow_redirects=False) as answer:
        page = await answer.text()
    if answer.status == 303:
        await recognize(browser)
    return page


async def recognize(browser: Browser) -> None:
    found = re.search(r'data-csrf="(\w+)"', (await browser.get("/"))[1])
    assert found is not None
    browser.csrf = found[1]


async def send(browser: Browser, path: str, **form: str) -> tuple[int, str]:
    data = {"csrf": browser.csrf, **form}
    async with browser.session.post(browser.url + path, data=data, allow_redirects=False) as answer:
        return answer.status, await answer.text()


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def shown_codes(page: str) -> list[str]:
    return re.findall(r"\w{4}(?:-\w{4}){3}", page[page.index('id="codes"') : page.index("</code>")])


async def set_up(phaya: Phaya, browser: Browser) -> tuple[bytes, list[str]]:
    """Turns the second step of a signed-in account on; answers the app's secret and the recovery codes."""
    status, page = await send(browser, "/security/totp", password=PASSWORD)
    assert status == 200
    secret = page[page.index('id="secret">') + 12 : page.index("</code>")]
    seed = base64.b32decode(secret.replace(" ", ""))
    once = hidden(page, "once")
    status, page = await send(browser, "/security/totp/confirm", code=code_now(phaya, seed, -1), once=once)
    assert status == 200
    return seed, shown_codes(page)


def code_now(phaya: Phaya, seed: bytes, away: int = 0) -> str:
    return authenticators.code_at(seed, phaya.system.clock.now() + away * STEP)


async def test_the_second_step_is_asked_for_after_the_password_and_not_of_a_key(phaya: Phaya) -> None:
    email = "two-steps@phaya.example"
    await invited(phaya, email)
    key = await phaya.new_key(None, account=email)
    async with browsing(phaya) as owner, browsing(phaya) as other, browsing(phaya) as keyed, browsing(phaya) as lost:
        await sign_in(phaya, owner, email)
        seed, recovery = await set_up(phaya, owner)
        asked = await sign_in(phaya, other, email)
        wrong = await send(other, "/sign-in/code", proof=hidden(asked, "proof"), code="000000")
        outside = (await other.get("/jobs"))[0]
        proof, code = hidden(asked, "proof"), code_now(phaya, seed)
        entered = await other.post("/sign-in/code", proof=proof, code=code, next="/jobs")
        used = await lost.post("/sign-in/code", proof=proof, code=code)
        by_key = await keyed.sign_in(key=key)
        inside = (await other.get("/jobs"))[0]
        asked = await sign_in(phaya, lost, email)
        recovered = await lost.post("/sign-in/code", proof=hidden(asked, "proof"), code=recovery[9].lower())

    assert (wrong[0], "This code is not right" in wrong[1], outside) == (401, True, 303)
    assert (entered.status, entered.headers["Location"], inside) == (303, "/jobs", 200)
    assert (used.status, by_key, recovered.status) == (401, 303, 303)


async def test_guessing_codes_is_slowed_like_passwords_and_a_late_one_begins_again(phaya: Phaya) -> None:
    email = "guessed-code@phaya.example"
    await invited(phaya, email)
    async with browsing(phaya) as owner, browsing(phaya) as thief:
        await sign_in(phaya, owner, email)
        await set_up(phaya, owner)
        proof = hidden(await sign_in(phaya, thief, email), "proof")
        tries = [(await thief.post("/sign-in/code", proof=proof, code=str(n))).status for n in range(8)]
        forged = await send(thief, "/sign-in/code", proof=proof[:-1] + "x", code="000000")

    assert tries.count(401) + tries.count(429) == 8
    assert tries[-2:] == [429, 429]
    assert (forged[0], "Sign in again" in forged[1]) == (401, True)


async def test_it_is_turned_off_with_password_and_code_only(phaya: Phaya) -> None:
    email = "off@phaya.example"
    await invited(phaya, email)
    async with browsing(phaya) as owner, browsing(phaya) as again:
        await sign_in(phaya, owner, email)
        seed, recovery = await set_up(phaya, owner)
        operator_sees = (await phaya.operate("accounts show", account=email))["totp"]
        refused = [
            (await owner.post("/security/totp/off", password="not this one", code=code_now(phaya, seed))).status,
            (await owner.post("/security/totp/off", password=PASSWORD, code="000000")).status,
        ]
        still = "proof" in await sign_in(phaya, again, email)
        status, _ = await send(owner, "/security/totp/off", password=PASSWORD, code=recovery[0])
        free = "proof" in await sign_in(phaya, again, email)

    assert (refused, still, status, free) == ([403, 403], True, 200, False)
    assert operator_sees is True
    assert (await phaya.operate("accounts show", account=email))["totp"] is False


async def test_new_recovery_codes_make_the_former_ones_void_and_are_shown_again_to_the_same_form(phaya: Phaya) -> None:
    email = "renewed@phaya.example"
    await invited(phaya, email)
    async with browsing(phaya) as owner:
        await sign_in(phaya, owner, email)
        _, former = await set_up(phaya, owner)
        form = {"password": PASSWORD, "code": former[0], "once": "form-1"}
        first, second = [await send(owner, "/security/totp/codes", **form) for _ in range(2)]
        refused = await send(owner, "/security/totp/codes", password=PASSWORD, code=former[1], once="form-2")

    assert shown_codes(first[1]) == shown_codes(second[1])
    assert set(shown_codes(first[1])).isdisjoint(former)
    assert refused[0] == 403


async def test_a_link_resets_the_password_and_the_second_step_only_where_the_operator_says_so(phaya: Phaya) -> None:
    email = "lost@phaya.example"
    await invited(phaya, email)
    async with browsing(phaya) as owner:
        await sign_in(phaya, owner, email)
        await set_up(phaya, owner)
        kept = await phaya.operate("console link", account=email)
        asked = await send(owner, kept["path"], password=ANOTHER, again=ANOTHER)
    async with browsing(phaya) as owner:
        off = await phaya.operate("console link", account=email, without_totp=True)
        entered = await owner.post(off["path"], password=PASSWORD, again=PASSWORD)
    [line] = [one for one in (await phaya.operate("audit list", action="console link"))["lines"] if one["id"]][:1]

    assert 'name="proof"' in asked[1]
    assert entered.status == 303
    assert (await phaya.operate("accounts show", account=email))["totp"] is False
    assert line["details"]["without_totp"] is True


async def test_a_changed_password_ends_every_other_session_and_keeps_this_one(phaya: Phaya) -> None:
    email = "changing@phaya.example"
    await invited(phaya, email)
    key = await phaya.new_key(None, account=email)
    async with browsing(phaya) as owner, browsing(phaya) as other, browsing(phaya) as keyed:
        await sign_in(phaya, owner, email)
        await sign_in(phaya, other, email)
        await keyed.sign_in(key=key)
        change = {"new": ANOTHER, "again": ANOTHER}
        refused = [
            (await send(owner, "/security/password", password="not this one", **change))[0],
            (await owner.post("/security/password", password=PASSWORD, new=ANOTHER, again="something else")).status,
            (await owner.post("/security/password", password=PASSWORD, new="short", again="short")).status,
        ]
        before = [(await one.get("/jobs"))[0] for one in (owner, other, keyed)]
        changed, _ = await send(owner, "/security/password", password=PASSWORD, **change)
        after = [(await one.get("/jobs"))[0] for one in (owner, other, keyed)]

    assert (refused, before) == ([403, 422, 422], [200, 200, 200])
    assert (changed, after) == (200, [200, 303, 303])


async def test_sessions_are_listed_and_ended_and_another_accounts_are_let_be(phaya: Phaya) -> None:
    email = "sessions@phaya.example"
    await invited(phaya, email)
    await invited(phaya, "stranger@phaya.example")
    key = await phaya.new_key(None, account=email, name="render farm")
    async with (
        browsing(phaya) as owner,
        browsing(phaya) as keyed,
        browsing(phaya) as stranger,
        browsing(phaya) as third,
    ):
        await keyed.sign_in(key=key)
        await sign_in(phaya, owner, email)
        await sign_in(phaya, stranger, "stranger@phaya.example")
        _, page, _ = await owner.get("/security")
        foreign = re.findall(r'name="session" value="(\w+)"', (await stranger.get("/security"))[1])
        theirs = re.findall(r'name="session" value="(\w+)"', page)
        for one in theirs:  # the invitation's own session, and the key's
            await stranger.post("/security/sessions", session=one)
        kept = (await keyed.get("/jobs"))[0]
        for one in theirs:
            await owner.post("/security/sessions", session=one)
        ended = (await keyed.get("/jobs"))[0]
        await sign_in(phaya, third, email)
        await owner.post("/security/sessions")
        states = [(await one.get("/jobs"))[0] for one in (owner, third, stranger)]

    assert ("Key render farm" in page, "this one" in page, len(theirs)) == (True, True, 2)
    assert set(foreign).isdisjoint(theirs)
    assert (kept, ended, states) == (200, 303, [200, 303, 200])


async def test_a_session_of_a_key_may_not_look_after_the_account(phaya: Phaya) -> None:
    async with browsing(phaya) as keyed:
        await keyed.sign_in(key=await phaya.new_key(None))
        _, page, _ = await keyed.get("/security")
        forms = ("password", "sessions", "totp", "totp/confirm", "totp/codes", "totp/off")
        statuses = [(await keyed.post(f"/security/{form}", password="", code="")).status for form in forms]

    assert "You are signed in with a key." in page
    assert statuses == [403] * len(forms)


async def test_what_an_operator_does_to_the_own_account_is_written_down_and_a_customers_is_not(phaya: Phaya) -> None:
    emails = ("careful@phaya.example", "customer@phaya.example")
    for email in emails:
        await invited(phaya, email)
    await phaya.operate("accounts promote", account=emails[0])
    for email in emails:
        async with browsing(phaya) as owner:
            await sign_in(phaya, owner, email)
            await owner.post("/security/sessions")
            _, recovery = await set_up(phaya, owner)
            form = {"password": PASSWORD, "once": "form"}
            await send(owner, "/security/totp/codes", **form, code=recovery[0])
            made = shown_codes((await send(owner, "/security/totp/codes", **form))[1])
            await owner.post("/security/totp/off", password=PASSWORD, code=made[0])
            await owner.post("/security/password", password=PASSWORD, new=ANOTHER, again=ANOTHER)
        async with browsing(phaya) as owner:
            link = await phaya.operate("console link", account=email)
            await owner.post(link["path"], password=PASSWORD, again=PASSWORD)
    written = {email: (await phaya.operate("audit list", actor=email))["lines"] for email in emails}

    assert [line["action"] for line in written[emails[0]]] == [
        "account password", "account password", "account totp off", "account codes", "account totp on",
        "account sessions",
    ]  # fmt: skip
    assert written[emails[0]][0]["details"] == {"by_link": True, "without_totp": False}
    assert written[emails[1]] == []
    assert ANOTHER not in str(written)


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox, Linux"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/150.0 Mobile Safari/537.36", "Chrome, Android"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/150.0 Safari/537.36 Edg/150.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0) AppleWebKit/605 Version/26.0 Mobile Safari/604", "Safari, iPhone"),
        ("curl/8.16", None),
        ("", None),
    ],
)
def test_of_a_browser_only_its_kind_is_kept(agent: str, told: str | None) -> None:
    assert device_of(agent) == told
