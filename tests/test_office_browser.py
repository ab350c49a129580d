"""The operator's pages in a real browser, on a phone and a desktop: they work there, and can be read by everybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, expect

from browser import inaccessible, visiting
from conftest import running
from phaya.catalog import SERVICES
from phaya.web.console.layout import OFFICE

pytestmark = pytest.mark.anyio

BOSS, EMAIL, PASSWORD = "boss@phaya.example", "shop@phaya.example", "a long password"
PICTURE = SERVICES["text-to-image"]
SIZES: tuple[ViewportSize, ...] = ({"width": 360, "height": 740}, {"width": 1280, "height": 900})


async def faults(page: Page, path: str) -> list[str]:
    """What is wrong with a page at a phone's and a desktop's size."""
    found: list[str] = []
    for size in SIZES:
        await page.set_viewport_size(size)
        await page.goto(path)
        found += [f"{path} at {size['width']}: {fault}" for fault in await inaccessible(page)]
        if await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append(f"{path} at {size['width']}: is wider than the window")
    return found


async def test_an_operator_works_on_every_page_on_phone_and_desktop(tmp_path: Path) -> None:
    folder = tmp_path / "phaya"
    folder.mkdir()
    (folder / "phaya.toml").write_text("[breaker]\nrest = 900\n")
    async with running(folder) as phaya, visiting(phaya.url, tmp_path / "browser", SIZES[1]) as page:
        key = await phaya.new_key("20", account=EMAIL, name="shop")
        await phaya.new_key(None, account=BOSS)
        await phaya.operate("accounts promote", account=BOSS)
        await phaya.operate("vouchers create", credits="5", by="Ann", count=1, uses=1, note="fair")
        job = (await phaya.create(PICTURE, key, prompt="[slow 600] dawn"))["job_id"]
        lost = (await phaya.create(PICTURE, key, prompt="[lost] sea"))["job_id"]
        async with asyncio.timeout(30):  # a submit that succeeds later would close the circuit
            while None in [(await phaya.get(f"jobs/{one}", key=key)).json["task_id"] for one in (job, lost)]:
                await asyncio.sleep(0.05)
        await phaya.system.breaker.failed("kie z-image", "The model is paused.", limit=1)
        link = await phaya.operate("console link", account=BOSS)
        await page.goto(link["path"])
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_label("Password once more").fill(PASSWORD)
        await page.get_by_role("button", name="Start").click()

        await page.get_by_role("link", name="Queue").click()
        row = page.get_by_role("row").filter(has_text=lost)
        await row.locator("summary").click()
        await row.get_by_label("Reason").fill("asked for")
        await row.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_role("row").filter(has_text=job)).to_have_count(1)
        await expect(row).to_have_count(0)

        wrong = [fault for section in OFFICE for fault in await faults(page, f"/operator/{section}")]
        await page.goto("/operator/accounts?search=shop")
        await page.get_by_role("link", name=EMAIL).click()
        account = page.url.removeprefix(phaya.url)
        grants = page.locator("form", has=page.get_by_role("heading", name="Grant credits"))
        await grants.get_by_label("Credits").fill("2.5")
        await grants.get_by_label("Reason").fill("welcome")
        await grants.get_by_role("button").press("Enter")
        await expect(page.locator(".big").first).to_have_text("21.5")
        wrong += await faults(page, account)

        await page.goto("/operator/providers")
        await page.get_by_role("button", name="Try it now").click()
        await expect(page.get_by_text("The model is paused.")).to_have_count(0)
        await page.goto("/operator/audit")
        await page.get_by_label("By").fill(BOSS)
        await page.get_by_role("button", name="Show").click()
        actions = await page.locator("td:nth-child(3)").all_inner_texts()

    assert wrong == []
    assert actions == ["breaker close", "credits grant", "jobs cancel"]
