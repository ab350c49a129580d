"""The console's doors without a browser: who gets in, whose forms are taken, and what pages are made of."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from starlette.datastructures import ImmutableMultiDict

from conftest import BOTH, Phaya
from phaya import ledger, logins, passwords, spending
from phaya.catalog import CATALOG
from phaya.catalog.acceptance import accept
from phaya.catalog.service import Generation
from phaya.credits import credits
from phaya.database import Database
from phaya.errors import NotFound, Unauthorized
from phaya.keys import open_account
from phaya.web.console import forms
from phaya.web.console.layout import cookie_name, is_secure
from phaya.web.console.messages import FOLDER, LANGUAGES, messages

pytestmark = pytest.mark.anyio

ENGINES = BOTH
PASSWORD = "a long password"
TEMPLATES = sorted((FOLDER.parent / "templates").glob("*.html"))


@dataclass
class Browser:
    """What a browser keeps and sends."""

    url: str
    session: aiohttp.ClientSession
    csrf: str = ""

    async def get(self, path: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.session.get(self.url + path, allow_redirects=False, headers=headers) as answer:
            return answer.status, await answer.text(), answer

    async def post(self, path: str, *, sent: dict[str, str] | None = None, **form: str) -> aiohttp.ClientResponse:
        headers = {"Origin": self.url} | (sent or {})
        data = {"csrf": self.csrf, **form}
        async with self.session.post(self.url + path, data=data, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return answer

    async def sign_in(self, **form: str) -> int:
        answer = await self.post("/sign-in", sent=None, **form)
        if answer.status == 303:
            found = re.search(r'data-csrf="(\w+)"', (await self.get("/"))[1])
            assert found is not None
            self.csrf = found[1]
        return answer.status


@asynccontextmanager
async def browsing(phaya: Phaya) -> AsyncGenerator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Browser(phaya.url, session)


async def invited(phaya: Phaya, email: str) -> None:
    """Gives an account of its own the password."""
    await phaya.new_key("100", account=email)
    link = await phaya.operate("console link", account=email)
    async with browsing(phaya) as browser:
        assert (await browser.post(link["path"], password=PASSWORD, again=PASSWORD)).status == 303


async def test_who_is_not_signed_in_is_led_to_the_door_and_back(phaya: Phaya) -> None:
    async with browsing(phaya) as browser:
        status, _, answer = await browser.get("/jobs")

        assert (status, answer.headers["Location"]) == (303, "/sign-in?next=/jobs")
        answer = await browser.post("/sign-in", key=phaya.key, next="/jobs")
        assert (answer.status, answer.headers["Location"]) == (303, "/jobs")


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\\b"])
async def test_the_door_leads_to_no_other_site(phaya: Phaya, target: str) -> None:
    async with browsing(phaya) as browser:
        answer = await browser.post("/sign-in", key=phaya.key, next=target)

    assert answer.headers["Location"] == "/"


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(phaya: Phaya) -> None:
    async with browsing(phaya) as browser:
        cookie = (await browser.post("/sign-in", key=phaya.key)).headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_over_https_the_cookie_is_bound_to_the_host(phaya: Phaya) -> None:
    over_https = replace(phaya.system, public_url="https://phaya.example")

    assert cookie_name(over_https) == "__Host-phaya"
    assert is_secure(over_https)


async def test_whatever_is_wrong_the_words_are_the_same(phaya: Phaya) -> None:
    await invited(phaya, "known@phaya.example")
    pages: set[str] = set()
    async with browsing(phaya) as browser:
        for form in (
            {"email": "known@phaya.example", "password": "not this one"},
            {"email": "known@phaya.example", "password": ""},
            {"email": "unknown@phaya.example", "password": PASSWORD},
            {"key": "pk_wrong"},
        ):
            async with browser.session.post(browser.url + "/sign-in", data=form) as answer:
                assert answer.status == 401
                pages.add(re.sub(r'value="[^"]*"|autofocus|\s', "", await answer.text()))

    assert len(pages) == 1


async def test_guessing_a_password_is_slowed(phaya: Phaya) -> None:
    await invited(phaya, "guessed@phaya.example")
    async with browsing(phaya) as browser:
        statuses = [await browser.sign_in(email="guessed@phaya.example", password=str(n)) for n in range(8)]
        assert await browser.sign_in(email="Guessed@phaya.example ", password=PASSWORD) == 429

    assert statuses == [401] * 6 + [429] * 2


async def test_a_form_of_another_site_is_refused_and_buys_nothing(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303
        foreign: list[dict[str, str]] = [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
        for sent in foreign:
            assert (await browser.post("/create/text-to-image", sent=sent, prompt="a")).status == 403
        browser.csrf = "0" * 64
        assert (await browser.post("/create/text-to-image", prompt="a")).status == 403

    assert await phaya.balance(key) == 10


async def test_a_form_that_is_sent_twice_buys_once(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303
        answers = [await browser.post("/create/text-to-image", prompt="a", once="form-1") for _ in range(2)]

    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert await phaya.balance(key) == 9


async def test_a_session_of_a_key_may_what_the_key_may(phaya: Phaya) -> None:
    key = await phaya.new_key("10", scopes=["text-to-music"], cap="1")
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303

        assert (await browser.post("/create/text-to-image", prompt="a")).status == 403
        assert (await browser.post("/create/text-to-music", prompt="a")).status == 402
        assert (await browser.post("/keys", name="more")).status == 403
        assert (await browser.get("/webhooks"))[0] == 403

    assert await phaya.balance(key) == 10


async def test_a_session_ends_with_its_key(phaya: Phaya) -> None:
    email = "ending@phaya.example"
    key = await phaya.new_key("10", account=email)
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303
        for one in (await phaya.operate("keys list", account=email))["keys"]:
            await phaya.operate("keys revoke", account=email, key_id=one["key_id"])

        assert (await browser.get("/jobs"))[0] == 303


async def test_signing_out_everywhere_ends_other_browsers_too(phaya: Phaya) -> None:
    email = "leaving@phaya.example"
    await invited(phaya, email)
    async with browsing(phaya) as one, browsing(phaya) as other:
        assert await one.sign_in(email=email, password=PASSWORD) == 303
        assert await other.sign_in(email=email, password=PASSWORD) == 303
        await one.post("/sign-out", everywhere="1")

        assert [(await browser.get("/jobs"))[0] for browser in (one, other)] == [303, 303]


async def test_jobs_of_others_are_not_there(phaya: Phaya) -> None:
    job = (await phaya.post("text-to-image/generate", {"prompt": "a"})).json["job_id"]
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=await phaya.new_key()) == 303

        for path in (f"/jobs/{job}", f"/jobs/{job}/part", f"/jobs/{job}/events"):
            assert (await browser.get(path))[0] == 404


async def test_a_page_runs_only_what_is_ours_and_assets_are_kept(phaya: Phaya) -> None:
    async with browsing(phaya) as browser:
        _, page, answer = await browser.get("/sign-in")
        policy = answer.headers["Content-Security-Policy"]
        asset = re.search(r"/assets/\w+/console\.js", page)
        assert asset is not None
        _, _, script = await browser.get(asset[0])

    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=|style=|<style|<script(?! type=\"module\" src)", page)
    assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_a_link_is_good_once_and_for_a_day(database: Database) -> None:
    account = await database.write(open_account, "a@phaya.example", 0)
    await database.write(logins.invite, "token", account.id, credits("0"), 0)
    with pytest.raises(NotFound):
        await database.read(logins.invitation, "token", logins.LINK_LASTING)
    await database.write(logins.accept, b"secret", "token", "", passwords.hashed(PASSWORD), 1)

    with pytest.raises(NotFound):
        await database.write(logins.accept, b"secret", "token", "", passwords.hashed(PASSWORD), 2)


async def test_a_session_ends_after_its_time(database: Database) -> None:
    account = await database.write(open_account, "a@phaya.example", 0)
    await database.write(logins.invite, "link", account.id, credits("0"), 0)
    login = await database.write(logins.accept, b"secret", "link", "", passwords.hashed(PASSWORD), 1)
    await database.write(logins.begin, "token", account.id, login.key_id, 1, owner=True)

    assert (await database.read(logins.resume, "token", logins.LASTING)).account.email == "a@phaya.example"
    with pytest.raises(Unauthorized):
        await database.read(logins.resume, "token", logins.LASTING + 1)


async def test_a_new_password_signs_out_who_knew_the_old_one(database: Database) -> None:
    account = await database.write(open_account, "a@phaya.example", 0)
    await database.write(logins.invite, "link", account.id, credits("0"), 0)
    login = await database.write(logins.accept, b"secret", "link", "", passwords.hashed(PASSWORD), 1)
    await database.write(logins.begin, "token", account.id, login.key_id, 1, owner=True)
    await database.write(logins.invite, "next link", account.id, credits("0"), 1)
    await database.write(logins.accept, b"secret", "next link", "", passwords.hashed("another password"), 2)

    with pytest.raises(Unauthorized):
        await database.read(logins.resume, "token", 3)


async def test_an_empty_database_offers_one_account_with_credits(database: Database) -> None:
    first = await database.write(logins.first_command, b"secret", 0, {"credits": "100"})
    token = first["path"].removeprefix("/welcome/")
    login = await database.write(
        logins.accept, b"secret", token, "First@phaya.example", passwords.hashed(PASSWORD), 1
    )  # fmt: skip

    assert await database.read(ledger.balance, login.account_id) == credits("100")
    assert (await database.write(logins.first_command, b"secret", 2, {"credits": "100"}))["path"] is None


async def test_spending_is_told_by_day_and_service(phaya: Phaya) -> None:
    key = await phaya.new_key("100")
    for prompt in ("a", "b", "[fail] c"):
        job = (await phaya.post("text-to-image/generate", {"prompt": prompt}, key=key)).json["job_id"]
        await phaya.finish("text-to-image", job, key)
    user = (await phaya.get("user/credits", key=key)).json["user_id"]
    days = await phaya.system.database.read(spending.by_day, user, 0)

    assert sum(amount.units for _, _, amount in days) == credits("2").units
    assert {service for _, service, _ in days} == {"text-to-image"}


@pytest.mark.parametrize("service", CATALOG, ids=lambda service: service.path)
def test_a_form_means_what_it_shows(service: type[Generation]) -> None:
    """An example that is filled into the form and sent back is the same request."""
    sent: list[tuple[str, str]] = []

    def fill(fields: Iterable[forms.Field]) -> None:
        for one in fields:
            if one.kind == "group":
                fill(one.fields if one.value else ())
            elif one.kind in ("files", "lines"):
                sent.append((one.name, "\n".join(one.value)))
            elif one.value is not None and one.value is not False:
                sent.append((one.name, "1" if one.value is True else str(one.value)))

    fill(forms.fields_of(service, service.example))
    read = forms.read(service, ImmutableMultiDict(sent))

    assert accept(service, read).request == accept(service, service.example).request
    assert accept(service, read).warnings == accept(service, service.example).warnings


def test_all_languages_say_the_same_things() -> None:
    keys = {language: set(messages(language)) for language in LANGUAGES}
    holes = {
        key: {tuple(sorted(re.findall(r"\{\w+\}", messages(language)[key]))) for language in LANGUAGES}
        for key in keys["en"]
    }

    assert keys["en"] == keys["th"]
    assert [key for key, found in holes.items() if len(found) > 1] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_no_template_has_words_of_its_own(template: Path) -> None:
    text = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    spoken = re.findall(r'(?:aria-label|placeholder|title|alt)="([^"]*)"', text)
    bare = re.sub(r"<[^>]*>|&\w+;", "", text)

    assert re.findall(r"\w*[^\W\d_]\w*", bare + " ".join(spoken)) == []
