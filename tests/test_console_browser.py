"""The console in a real browser: each page's main action, its accessibility, size and speed."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Response, expect

import receiver
from browser import PHONE, inaccessible, visiting
from conftest import Phaya, running
from phaya import authenticators

pytestmark = pytest.mark.anyio

EMAIL, PASSWORD = "maker@phaya.example", "a long password"
PAGES = ("/", "/create/text-to-image", "/create/sora2-text-to-video", "/create/image-to-video", "/gallery", "/jobs",
         "/chat", "/keys", "/credits", "/webhooks", "/reference", "/security")  # fmt: skip
LARGEST = 150_000
FOCUS = """() => {
  const here = document.activeElement;
  const style = (one) => one ? getComputedStyle(one) : {outlineStyle: "none"};
  const outlined = (one) => style(one).outlineStyle !== "none" && parseFloat(style(one).outlineWidth) > 0;
  const box = here.getBoundingClientRect();
  const inside = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  if (here === document.body) return { name: "", mark: "", seen: false };
  return {
    name: (here.labels?.[0]?.innerText || here.ariaLabel || here.innerText || here.name || "").trim(),
    mark: here.dataset.walked ??= String(Math.random()),
    seen: inside && [here, here.nextElementSibling, here.closest(".pick")].some(outlined),
  };
}"""
"""Where the keyboard is, and whether that can be seen: on the element, or on what is drawn in its place."""


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya whose webhooks may go to this machine."""
    async with running(tmp_path_factory.mktemp("phaya"), PHAYA_ALLOWED_NETWORKS="127.0.0.0/8") as shared:
        yield shared


@pytest.fixture(scope="module")
async def page(phaya: Phaya, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Page, None]:
    """A browser that has signed in by the operator's link."""
    await phaya.new_key("100", account=EMAIL)
    link = await phaya.operate("console link", account=EMAIL)
    async with visiting(phaya.url, tmp_path_factory.mktemp("browser")) as shared:
        await shared.goto(link["path"])
        await shared.get_by_label("Password", exact=True).fill(PASSWORD)
        await shared.get_by_label("Password once more").fill(PASSWORD)
        await shared.get_by_role("button", name="Start").click()
        await expect(shared.get_by_role("heading", level=1)).to_have_text("What do you want to make?")
        yield shared


async def test_a_film_is_made_and_downloaded(page: Page) -> None:
    await page.goto("/")
    await page.get_by_role("link", name="Sora 2 text to video").click()
    await page.get_by_label("Prompt").fill("A dragon over snow")
    await expect(page.get_by_text("Costs 8 credits")).to_be_visible()
    await expect(page.get_by_text("92 left after it")).to_be_visible()
    await page.get_by_role("button", name="Create").dblclick()

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    saved = await (await download.value).path()

    assert saved.read_bytes()[4:8] == b"ftyp"
    await expect(page.locator("#balance")).to_have_text("92")


async def test_a_film_that_fails_gives_its_credits_back_in_plain_words(page: Page) -> None:
    await page.goto("/create/text-to-image")
    before = await page.locator("#balance").inner_text()
    await page.get_by_label("Prompt").fill("[fail] a picture")
    await page.get_by_role("button", name="Create").click()

    await expect(page.get_by_text("Given back: 1 credit.")).to_be_visible()
    await expect(page.locator("#balance")).to_have_text(before)


async def test_a_picture_of_the_gallery_becomes_the_input_of_a_film(page: Page) -> None:
    await page.goto("/create/text-to-image")
    await page.get_by_label("Prompt").fill("A lighthouse")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("link", name="Download").wait_for()
    await page.goto("/gallery?kind=image")
    whole = page.viewport_size
    assert whole is not None
    await page.set_viewport_size(PHONE)
    await page.get_by_text("Use in…").first.click()
    menu = await page.locator(".actions .menu[open] > div").bounding_box()
    assert menu is not None
    assert (menu["x"] >= 0, menu["x"] + menu["width"] <= PHONE["width"]) == (True, True)
    await page.set_viewport_size(whole)
    await page.get_by_role("link", name="Image to video", exact=True).first.click()
    await page.get_by_role("button", name="Create").click()

    await expect(page.locator("#stage video")).to_be_visible(timeout=20_000)  # a render takes its time beside others


async def test_a_file_is_uploaded_and_a_song_has_a_waveform(page: Page) -> None:
    await page.goto("/create/text-to-music")
    await page.get_by_label("Prompt").fill("A slow river")
    await page.get_by_role("button", name="Create").click()
    await page.locator("#stage audio").first.wait_for()
    pixels = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
    drawn = f"() => {{ const c = document.querySelector('canvas'); return {pixels}.some(Boolean) }}"
    await page.wait_for_function(drawn)
    sound = await (await page.request.get(await page.locator("#stage audio").first.get_attribute("src") or "")).body()
    await page.goto("/create/media/merge-audio")
    files = [{"name": f"{n}.mp3", "mimeType": "audio/mpeg", "buffer": sound} for n in "ab"]
    await page.locator("input[type=file]").set_input_files(files)  # pyright: ignore[reportArgumentType] - a list of its payloads

    await expect(page.get_by_text("Costs 0.5 credits")).to_be_visible()


async def test_a_job_is_cancelled_and_told(page: Page) -> None:
    await page.goto("/create/text-to-image")
    await page.get_by_label("Prompt").fill("[slow 60] a picture")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("button", name="Cancel").click()
    await page.wait_for_url("**/jobs/*")

    await expect(page.locator("[data-state]")).to_have_text("Cancelled")
    await expect(page.locator("#curl")).to_contain_text("/api/v1/text-to-image/generate")
    await page.goto("/jobs?state=cancelled")
    await expect(page.get_by_role("listitem").filter(has_text="[slow 60]")).to_have_count(1)


async def test_a_chat_is_streamed_and_says_its_cost(page: Page) -> None:
    await page.goto("/chat")
    await page.get_by_label("Your message").fill("Say hello in Thai.")
    await page.keyboard.press("Enter")

    await expect(page.locator(".turn.they small")).to_contain_text("credits")
    assert len(await page.locator(".turn.they").inner_text()) > 20


async def test_a_talk_stays_in_its_tab_and_ends_when_it_is_asked_to(page: Page) -> None:
    await page.goto("/jobs")
    await page.goto("/chat")
    await expect(page.locator(".turn.you")).to_have_text("Say hello in Thai.")
    await page.get_by_label("Your message").press_sequentially("One")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("Two")
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn.they small")).to_have_count(2)
    assert await page.locator(".turn.you").last.inner_text() == "One\nTwo"
    await page.get_by_role("button", name="New talk").click()
    await page.reload()

    await expect(page.get_by_text("Ask anything.")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)


async def test_an_answer_is_stopped_half_way(page: Page) -> None:
    await page.goto("/chat")
    await page.get_by_label("Your message").fill("[slow 8] Tell me a long story.")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Stop").click()

    await expect(page.get_by_text("Stopped. What was said until here is charged.")).to_be_visible()
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_an_error_of_the_chat_gives_the_message_back(page: Page) -> None:
    await page.goto("/chat")
    await page.get_by_role("button", name="New talk").click()
    await page.get_by_label("Your message").fill("[fail] hello")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Your message")).to_have_value("[fail] hello")


async def test_everything_is_reached_by_keyboard(page: Page) -> None:
    await page.goto("/create/sora2-text-to-video")
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    reached: list[str] = []
    for _ in range(8):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate("(document.activeElement.name || document.activeElement.textContent).trim()")
        )

    wanted = [
        "← All services",
        "Fill in an example",
        "prompt",
        "aspect_ratio",
        "n_frames",
        "More settings (2)",
        "Create",
    ]
    assert [one for one in reached if one in wanted] == wanted


async def tab_to(page: Page, name: str) -> None:
    """Presses Tab until an element of this name has the focus, which is in view and marked at every step on the way."""
    last = ""
    for _ in range(100):
        await page.keyboard.press("Tab")
        here: dict[str, Any] = await page.evaluate(FOCUS)
        if not here["mark"]:
            continue  # round once, through the browser's own bars
        assert here["seen"], f"the focus on {here['name']!r} cannot be seen"
        assert here["mark"] != last, f"the focus is trapped on {here['name']!r}"
        last = here["mark"]
        if here["name"].startswith(name):
            return
    raise AssertionError(f"Tab does not come to {name!r}")


async def test_a_picture_and_a_key_are_made_without_a_mouse_and_the_focus_is_always_seen(page: Page) -> None:
    await page.goto("/")
    await tab_to(page, "Skip to the content")
    await page.keyboard.press("Enter")
    await tab_to(page, "Find a service")
    await page.keyboard.type("z-image")
    await tab_to(page, "Z-Image")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/create/text-to-image")
    await tab_to(page, "Prompt")
    await page.keyboard.type("A pier at dawn")
    await tab_to(page, "Create")
    for _ in range(2):  # the first one of this name is in the navigation
        if await page.evaluate("document.activeElement.tagName") != "BUTTON":
            await tab_to(page, "Create")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Download").wait_for()
    await tab_to(page, "Download")
    await tab_to(page, "Skip to the content")

    await tab_to(page, "Keys")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/keys")
    await tab_to(page, "Name")
    await page.keyboard.type("by hand")
    await tab_to(page, "Make the key")
    await page.keyboard.press("Enter")
    await expect(page.locator("#made")).to_contain_text("pk_")
    await tab_to(page, "Copy")
    page.once("dialog", lambda dialog: dialog.accept())
    await tab_to(page, "Revoke")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("row", name="by hand")).to_contain_text("ended")
    await tab_to(page, "Skip to the content")


async def test_the_second_step_is_set_up_by_what_the_page_shows_and_asked_for(page: Page, phaya: Phaya) -> None:
    await page.goto("/")
    await page.get_by_text("Account", exact=True).click()
    await page.get_by_role("link", name="Security").click()
    await page.locator("#begin-password").fill(PASSWORD)
    await page.get_by_role("button", name="Set it up").click()
    secret = await page.locator("#secret").inner_text()
    drawn = await page.evaluate("document.querySelector('.qr').naturalWidth")
    address = await page.get_by_role("link", name="Open it in an app").get_attribute("href") or ""
    serious = await inaccessible(page)
    code = authenticators.code_at(base64.b32decode(secret.replace(" ", "")), phaya.system.clock.now())
    await page.get_by_label("Code from the app").fill(code)
    await page.get_by_role("button", name="Turn it on").click()
    recovery = (await page.locator("#codes").inner_text()).split()
    serious += await inaccessible(page)

    await page.get_by_text("Account", exact=True).click()
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").first.click()
    await page.get_by_label("Code from the app").wait_for()
    serious += await inaccessible(page)
    await page.get_by_label("Code from the app").fill(recovery[0])
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What do you want to make?")
    await page.goto("/security")
    await expect(page.locator("#totp")).to_contain_text("Recovery codes left: 9.")
    await page.get_by_text("Turn it off").first.click()
    await page.locator("#stop-password").fill(PASSWORD)
    await page.locator("#stop-code").fill(recovery[1])
    await page.get_by_role("button", name="Turn it off").click()

    await expect(page.get_by_role("status")).to_have_text("Two-step verification is off.")
    assert (drawn > 0, serious) == (True, [])
    assert secret.replace(" ", "") in address
    assert address.startswith(f"otpauth://totp/Phaya%20%28127.0.0.1%29:{EMAIL}?".replace("@", "%40"))


async def test_a_key_is_made_works_within_its_cap_and_is_revoked(page: Page, phaya: Phaya) -> None:
    await page.goto("/keys")
    await page.get_by_label("Name").fill("batch")
    await page.get_by_label("Cap in credits").fill("0.5")
    await page.get_by_label("Good for days").fill("30")
    await page.get_by_role("button", name="Make the key").click()
    key = await page.locator("#made").inner_text()

    assert (await phaya.get("user/credits", key=key)).status == 200
    assert (await phaya.post("text-to-image/generate", {"prompt": "a"}, key=key)).status == 402
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("row", name="batch").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_role("row", name="batch")).to_contain_text("ended")
    assert (await phaya.get("user/credits", key=key)).status == 401


async def test_the_statement_names_every_charge(page: Page) -> None:
    await page.goto("/credits")

    await expect(page.get_by_role("row").filter(has_text="Sora 2 text to video").first).to_contain_text("-8")
    await expect(page.get_by_role("img", name="Spent by day")).to_be_visible()


async def test_a_webhook_is_made_tested_and_told_again(page: Page) -> None:
    async with receiver.receiving() as heard:
        await page.goto("/webhooks")
        await page.get_by_label("Address").fill(heard.url)
        await page.get_by_role("button", name="Make the webhook").click()
        await expect(page.locator("#secret")).to_contain_text("whsec_")
        await page.get_by_role("button", name="Send a test").click()
        await page.get_by_role("button", name="Send again").first.click()
        await expect(page.get_by_role("row").filter(has_text="webhook.test")).to_have_count(2)


async def test_the_reference_tells_the_routes_of_a_group(page: Page) -> None:
    await page.goto("/reference")
    await page.get_by_label("Group").select_option("Z-Image")
    await page.wait_for_url("**/reference?group=*")

    await expect(page.get_by_text("/api/v1/text-to-image/generate")).to_be_visible()
    await expect(page.get_by_text("What to make, in any language.").first).to_be_visible()


async def test_the_console_speaks_thai_and_goes_dark(page: Page) -> None:
    await page.goto("/")
    await page.get_by_text("Account").click()
    await page.get_by_role("button", name="ไทย").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("คุณอยากสร้างอะไร?")
    await page.get_by_text("บัญชี").click()
    await page.get_by_role("button", name="มืด").click()
    assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    assert await inaccessible(page) == []
    await page.get_by_text("บัญชี").click()
    await page.get_by_role("button", name="English").click()
    await page.get_by_text("Account").click()
    await page.get_by_role("button", name="Light").click()


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_accessible_small_and_fits_a_phone(page: Page, phaya: Phaya, path: str) -> None:
    sizes: list[int] = []
    elsewhere: list[str] = []

    async def weigh(answer: Response) -> None:
        if not answer.url.startswith(phaya.url):
            elsewhere.append(answer.url)
        if "/media/" not in answer.url:
            sizes.append(len(await answer.body()))

    await page.goto("about:blank")
    page.on("response", weigh)
    await page.goto(path, wait_until="networkidle")
    page.remove_listener("response", weigh)
    whole = page.viewport_size
    serious = await inaccessible(page)
    await page.set_viewport_size(PHONE)
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    serious += await inaccessible(page)
    assert whole is not None
    await page.set_viewport_size(whole)

    assert serious == []
    assert elsewhere == []
    assert sum(sizes) < LARGEST
    assert wider <= 0


async def test_the_door_is_accessible_and_a_key_opens_it(phaya: Phaya, tmp_path: Path) -> None:
    async with visiting(phaya.url, tmp_path, PHONE) as page:
        await page.goto("/jobs")
        assert await inaccessible(page) == []
        await page.get_by_text("Sign in with an API key instead").click()
        await page.get_by_label("API key").fill(phaya.key)
        await page.get_by_role("button", name="Sign in").last.click()
        await page.wait_for_url("**/jobs")
        await page.goto("/keys")

        await expect(page.get_by_text("You are signed in with a key.")).to_be_visible()
