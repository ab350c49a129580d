"""Programs use Phaya through `phaya.Client` and `phaya.AsyncClient`."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from standardwebhooks import Webhook

from conftest import Phaya
from phaya import AsyncClient, Client, verify_webhook
from phaya.catalog import CATALOG
from phaya.client import BadSignature, Job, JobFailed
from phaya.client.place import NoKey, keep, login_file, place
from phaya.client.refusals import Invalid, NotEnoughCredits, Unauthorized
from readme import named_blocks

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four.").decode()


@asynccontextmanager
async def client_of(phaya: Phaya, key: str | None = None) -> AsyncGenerator[AsyncClient]:
    async with AsyncClient(f"{phaya.url}/api/v1", key or phaya.key) as client:
        yield client


async def test_every_service_has_a_method_whose_example_is_priced(phaya: Phaya) -> None:
    async with client_of(phaya) as client:
        for service in CATALOG:
            assert hasattr(client, service.path.replace("-", "_").replace("/", "_"))
            if not service.inputs() and service.page() is None:
                assert await client.price(service.path, **service.example) > 0


async def test_a_picture_is_bought_waited_for_and_saved(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("10")
    async with client_of(phaya, key) as client:
        job = await client.text_to_image(prompt="A lighthouse", aspect_ratio="16:9")
        file = await job.save(tmp_path)
        left = await client.balance()

    assert (Decimal(1), Decimal(9)) == (job.credits_used, left)
    assert f'<img src="{job.url}"' in job._repr_html_()  # pyright: ignore[reportPrivateUsage] - notebooks call it
    with Image.open(file) as picture:
        assert picture.width / picture.height == pytest.approx(16 / 9, rel=0.01)


async def test_a_file_of_this_machine_is_uploaded_first(phaya: Phaya, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(file)
    async with client_of(phaya) as client:
        job = await (await client.image_to_video(image_url=file, duration=1)).wait(60)

    assert job.url is not None
    assert job.url.endswith(".mp4")


async def test_a_failed_job_is_an_error_with_its_reason(phaya: Phaya) -> None:
    async with client_of(phaya) as client:
        with pytest.raises(JobFailed, match="provider") as failed:
            await (await client.text_to_image(prompt="x [fail]")).wait()

    assert failed.value.status["credits_refunded"] == Decimal(1)


async def test_a_purchase_under_one_name_is_made_once(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    async with client_of(phaya, key) as client:
        jobs = [await client.text_to_image(prompt="A kite", idempotency_key="kite") for _ in range(2)]

    assert jobs[0].id == jobs[1].id
    assert await phaya.balance(key) == 9


async def test_a_job_has_a_time_of_its_own_and_can_be_cancelled(phaya: Phaya) -> None:
    async with client_of(phaya) as client:
        job = await client.text_to_image(prompt="A slow sunrise [slow 60]", cancel_after=600)
        with pytest.raises(TimeoutError):
            await job.wait(0.1)
        assert await job.cancel()

    assert job.state == "cancelled"


async def test_all_jobs_are_listed_over_pages(phaya: Phaya) -> None:
    key = await phaya.new_key("200")
    async with client_of(phaya, key) as client:
        made = [(await client.text_to_image(prompt=f"A boat {number}")).id for number in range(101)]
        found = [job.id async for job in client.jobs(service="text-to-image")]

    assert sorted(made) == sorted(found)


async def test_what_is_refused_says_how(phaya: Phaya) -> None:
    async with client_of(phaya, await phaya.new_key("0.5")) as poor:
        with pytest.raises(NotEnoughCredits) as refused:
            await poor.text_to_image(prompt="A boat")
        with pytest.raises(Invalid, match="prompt: must not be blank"):
            await poor.text_to_image(prompt=" ")
    async with client_of(phaya, "pk_wrong") as stranger:
        with pytest.raises(Unauthorized):
            await stranger.balance()

    assert (Decimal(1), Decimal("0.5")) == (refused.value.needed, refused.value.available)


async def test_a_chat_is_answered_whole_or_word_by_word(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    async with client_of(phaya, key) as client:
        reply = await client.chat("Say hello in Thai.", system="Be brief.")
        words = [word async for word in client.chat_stream([{"role": "user", "content": "Say hello in Thai."}])]

    assert reply.text
    assert len(words) > 1
    assert str(reply.credits_used)[:2] == "0."


async def test_without_an_event_loop_it_is_the_same(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("10")

    def program() -> tuple[Job, list[str], Decimal, list[str], Path]:
        with Client(f"{phaya.url}/api/v1", key) as client:
            job = client.text_to_image(prompt="A lighthouse")
            states = [status["state"] for status in job.iter_events()]
            words = list(client.chat_stream("Say hello in Thai."))
            assert [one.id for one in client.jobs()] == [job.id]
            return job.wait(), states, client.balance(), words, job.save(tmp_path / "a.png")

    job, states, balance, words, file = await asyncio.to_thread(program)

    assert ("completed", "completed") == (job.state, states[-1])
    assert 8 < balance < 9
    assert len(words) > 1
    assert file.stat().st_size > 1000


async def test_the_documented_examples_run(phaya: Phaya, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.jpg")
    for name, code in named_blocks("docs/client.md").items():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", code, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
            env={"PHAYA_BASE": f"{phaya.url}/api/v1", "PHAYA_API_KEY": phaya.key, "PATH": ""},
        )  # fmt: skip
        _, problems = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, f"{name}: {problems.decode()}"


def test_importing_phaya_loads_no_client() -> None:
    code = "import sys, phaya; assert 'aiohttp' not in sys.modules; phaya.Client; assert 'aiohttp' in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def signed(body: bytes, moment: float) -> dict[str, str]:
    sent = datetime.fromtimestamp(int(moment), UTC)
    mark = Webhook(SECRET).sign("msg_1", sent, body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(moment)), "Webhook-Signature": f"v1,x {mark}"}


def test_a_webhook_with_a_right_signature_is_read() -> None:
    body = b'{"type": "job.completed", "data": {"credits_used": 0.1}}'

    event = verify_webhook(SECRET, signed(body, time.time()), body)

    assert event["data"]["credits_used"] == Decimal("0.1")


@pytest.mark.parametrize(
    ("change", "age"),
    [({}, 400), ({"Webhook-Id": "msg_2"}, 0), ({"Webhook-Signature": ""}, 0), ({"Webhook-Timestamp": "now"}, 0)],
)
def test_a_webhook_that_was_changed_or_is_old_is_refused(change: dict[str, str], age: int) -> None:
    headers: dict[str, Any] = signed(b"{}", time.time() - age) | change

    with pytest.raises(BadSignature):
        verify_webhook(SECRET, headers, b"{}")


def test_the_environment_goes_before_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PHAYA_BASE", "PHAYA_BASE_URL", "PHAYA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(NoKey):
        place()

    keep("https://a.example/api/v1", "pk_a")
    assert place() == ("https://a.example/api/v1", "pk_a")
    assert login_file().stat().st_mode & 0o777 == 0o600

    monkeypatch.setenv("PHAYA_API_KEY", "pk_b")
    assert place() == ("https://a.example/api/v1", "pk_b")
    monkeypatch.setenv("PHAYA_BASE", "https://b.example/api/v1")
    assert place() == ("https://b.example/api/v1", "pk_b")
    monkeypatch.delenv("PHAYA_API_KEY")
    with pytest.raises(NoKey):
        place()
