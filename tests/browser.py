"""A real browser for the console's tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright

DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 844}
AXE = Path(__file__).parent / "assets/axe.min.js"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium() -> str:
    """Where Chromium is. Without it the tests fail, unless PHAYA_NO_BROWSER=1 says that there is none on purpose."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is not None:
        return found
    if os.environ.get("PHAYA_NO_BROWSER") == "1":
        pytest.skip("PHAYA_NO_BROWSER=1: no browser here")
    pytest.fail("The console's tests need Chromium: 'apt-get install chromium', or set PHAYA_NO_BROWSER=1.")


@asynccontextmanager
async def visiting(url: str, folder: Path, viewport: ViewportSize = DESKTOP) -> AsyncGenerator[Page]:
    """A page of a fresh browser whose addresses begin at `url`; errors of its scripts fail the test at the end."""
    executable, faults = chromium(), list[str]()
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder, executable_path=executable, args=FLAGS, viewport=viewport, base_url=url, accept_downloads=True,
            locale="en-GB", chromium_sandbox=False,
        )  # fmt: skip
        page = context.pages[0]
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
        yield page
        await context.close()
    assert faults == []


async def inaccessible(page: Page) -> list[str]:
    """What axe finds serious or critical on a page."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))  # not as a script tag, which the page's policy refuses
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then((told) => told.violations)")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
