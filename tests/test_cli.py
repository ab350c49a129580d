"""The command line, as an operator and a user run it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from conftest import Phaya

pytestmark = pytest.mark.anyio


async def phaya_command(*arguments: str, **environment: str) -> tuple[int, str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PHAYA", "KIE", "OPENROUTER"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "phaya", *arguments, env=clean | {"COLUMNS": "200"} | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, problems = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, printed.decode(), problems.decode()


def operator_of(phaya: Phaya) -> dict[str, str]:
    return {"PHAYA_DATA_DIR": str(phaya.system.settings.data_dir)}


def user_of(phaya: Phaya) -> dict[str, str]:
    return {"PHAYA_BASE": f"{phaya.url}/api/v1", "PHAYA_API_KEY": phaya.key}


async def created(folder: dict[str, str], *more: str) -> dict[str, Any]:
    code, printed, problems = await phaya_command(
        "keys", "create", "--account", "a@x.org", "--name", "n", *more, "--json", **folder
    )
    assert code == 0, problems
    return orjson.loads(printed)


async def test_a_key_can_be_made_without_a_server(tmp_path: Path) -> None:
    made = await created({"PHAYA_DATA_DIR": str(tmp_path)}, "--credits", "12.5", "--cap", "3", "--scope", "chat")

    assert made["key"].startswith("pk_")
    assert len(made["key"]) == 51
    assert ("12.5", "3", ["chat"]) == (made["credits_balance"], made["cap"], made["scopes"])


async def test_a_key_made_beside_a_running_server_works_at_once(phaya: Phaya) -> None:
    made = await created(operator_of(phaya), "--credits", "5")

    assert (await phaya.get("user/credits", key=made["key"])).json["credits_balance"] == 5


async def test_a_link_names_the_address_where_the_server_listens(phaya: Phaya) -> None:
    code, link, _ = await phaya_command("console", "link", "--account", "linked@phaya.example", **operator_of(phaya))

    assert (code, link.startswith(f"{phaya.url}/welcome/")) == (0, True)
    async with phaya.session.get(link.strip()) as answer:
        assert answer.status == 200


async def test_a_link_without_a_server_assumes_no_address(tmp_path: Path) -> None:
    arguments = ("console", "link", "--account", "linked@phaya.example")
    _, link, told = await phaya_command(*arguments, PHAYA_DATA_DIR=str(tmp_path))
    _, known, _ = await phaya_command(
        *arguments, PHAYA_DATA_DIR=str(tmp_path), PHAYA_PUBLIC_URL="https://phaya.example"
    )

    assert link.startswith("/welcome/")
    assert "Put your server's address before it" in told
    assert known.startswith("https://phaya.example/welcome/")


async def test_only_the_keys_digest_is_stored(tmp_path: Path) -> None:
    made = await created({"PHAYA_DATA_DIR": str(tmp_path)})

    stored = b"".join(file.read_bytes() for file in tmp_path.glob("phaya.db*"))
    assert made["key"].encode() not in stored
    assert made["key"][4:].encode() not in stored


async def test_a_grant_adds_credits_and_check_finds_them_in_order(phaya: Phaya) -> None:
    folder = operator_of(phaya)
    made = await created(folder)

    code, printed, _ = await phaya_command("credits", "grant", "--account", "a@x.org", "7.25", "--json", **folder)
    checked, _, _ = await phaya_command("check", **folder)

    assert (0, 0) == (code, checked)
    assert str(await phaya.balance(made["key"])) == orjson.loads(printed)["credits_balance"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "create", "--account", "nobody"), "must be an e-mail address"),
        (("keys", "create", "--account", "a@x.org", "--scope", "everything"), "scope: must be one of generate"),
        (("keys", "create", "--account", "a@x.org", "--cap", "lots"), "cap: 'lots' is not an amount"),
        (("credits", "grant", "--account", "a@x.org", "0"), "amount: must be more than 0"),
        (("keys", "list", "--account", "unknown@x.org"), "There is no account unknown@x.org"),
    ],
)
async def test_what_is_wrong_is_said_on_stderr_with_exit_code_1(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    code, printed, problems = await phaya_command(*arguments, PHAYA_DATA_DIR=str(tmp_path))

    assert (1, "") == (code, printed)
    assert told in problems


async def test_a_revoked_key_opens_nothing(phaya: Phaya) -> None:
    folder = operator_of(phaya)
    made = await created(folder)

    code, _, _ = await phaya_command("keys", "revoke", "--account", "a@x.org", made["key_id"], **folder)

    assert (0, 401) == (code, (await phaya.get("user/credits", key=made["key"])).status)


async def test_generate_waits_and_saves_the_result(phaya: Phaya, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"

    code, printed, problems = await phaya_command(
        "generate", "text-to-image", "--prompt", "A red kite", "--aspect-ratio", "9:16", "--wait", "--out", str(out),
        **user_of(phaya),
    )  # fmt: skip

    assert code == 0, problems
    assert printed.strip() == str(out)
    with Image.open(out) as picture:
        assert picture.width / picture.height == pytest.approx(9 / 16, rel=0.01)


async def test_generate_can_only_ask_the_price(phaya: Phaya) -> None:
    before = await phaya.balance()

    code, printed, _ = await phaya_command(
        "generate", "seedance-video", "--prompt", "A boat", "--resolution", "1080p", "--duration", "12",
        "--generate-audio", "--dry-run", "--json", **user_of(phaya),
    )  # fmt: skip

    assert (0, 35) == (code, orjson.loads(printed)["credits"])
    assert await phaya.balance() == before


async def test_a_failed_job_is_exit_code_1_with_the_reason(phaya: Phaya) -> None:
    code, _, problems = await phaya_command(
        "generate", "text-to-image", "--prompt", "x [fail]", "--wait", **user_of(phaya)
    )

    assert code == 1
    assert "provider" in problems


async def test_where_no_server_answers_the_exit_code_is_4(tmp_path: Path) -> None:
    code, _, problems = await phaya_command(
        "generate", "text-to-image", "--prompt", "x", PHAYA_BASE="http://127.0.0.1:9/api/v1", PHAYA_API_KEY="pk_x"
    )

    assert code == 4
    assert "No Phaya answers at http://127.0.0.1:9" in problems


async def test_a_second_server_on_the_same_folder_is_refused(phaya: Phaya) -> None:
    code, _, problems = await phaya_command("serve", "--port", "0", **operator_of(phaya))

    assert code == 1
    assert "Another Phaya runs on" in problems


async def test_services_lists_every_price(phaya: Phaya) -> None:
    code, printed, _ = await phaya_command("services", "--json")

    assert code == 0
    assert {"text-to-image", "phaya-gpt"} <= {service["service"] for service in orjson.loads(printed)}


async def test_a_file_is_uploaded_and_all_results_are_saved_in_a_folder(phaya: Phaya, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "red").save(photo)
    (out := tmp_path / "out").mkdir()

    code, printed, problems = await phaya_command(
        "generate", "image-to-video", "--image-url", str(photo), "--duration", "1", "--out", str(out),
        **user_of(phaya),
    )  # fmt: skip

    assert code == 0, problems
    assert [Path(printed.strip())] == list(out.iterdir())


@pytest.mark.parametrize(
    ("arguments", "changed", "code", "told"),
    [
        (("--prompt", "x"), {"PHAYA_API_KEY": "pk_wrong"}, 3, "This API key is not valid"),
        (("--prompt", "x", "--aspect-ratio", "2:1"), {}, 2, "'2:1' is not one of"),
        (("--prompt", " "), {}, 3, "prompt: must not be blank"),
        (("--prompt", "x"), {"PHAYA_API_KEY": ""}, 2, "Set PHAYA_API_KEY"),
    ],
)
async def test_a_script_can_tell_from_the_exit_code_what_went_wrong(
    phaya: Phaya, tmp_path: Path, arguments: tuple[str, ...], changed: dict[str, str], code: int, told: str
) -> None:
    environment = user_of(phaya) | {"XDG_CONFIG_HOME": str(tmp_path)} | changed

    ended, printed, problems = await phaya_command("generate", "text-to-image", *arguments, **environment)

    assert (code, "") == (ended, printed)
    assert told in problems


async def test_a_file_that_is_not_there_is_misuse(phaya: Phaya) -> None:
    code, _, problems = await phaya_command("generate", "image-to-video", "--image-url", "gone.png", **user_of(phaya))

    assert code == 2
    assert "--image-url: gone.png is no link, and there is no such file." in problems


async def test_jobs_are_listed_waited_for_shown_and_cancelled(phaya: Phaya) -> None:
    user = user_of(phaya) | {"PHAYA_API_KEY": await phaya.new_key("10")}
    _, job, _ = await phaya_command("generate", "text-to-image", "--prompt", "A kite", **user)
    waited = await phaya_command("jobs", "wait", job.strip(), **user)
    _, slow, _ = await phaya_command("generate", "text-to-image", "--prompt", "A slow sunrise [slow 60]", **user)
    cancelled = await phaya_command("jobs", "cancel", slow.strip(), **user)
    again = await phaya_command("jobs", "cancel", slow.strip(), **user)
    _, listed, _ = await phaya_command("jobs", "list", "--json", **user)
    _, table, _ = await phaya_command("jobs", "list", **user, COLUMNS="80")
    _, shown, _ = await phaya_command("jobs", "show", job.strip(), **user)
    strange = await phaya_command("jobs", "show", "nothing", **user)
    _, balance, _ = await phaya_command("balance", **user)

    assert waited[1].strip() == orjson.loads(shown)["image_url"]
    assert (0, 2, 3) == (cancelled[0], again[0], strange[0])
    assert ["cancelled", "completed"] == [one["state"] for one in orjson.loads(listed)["jobs"]]
    assert job.strip() in table
    assert balance.strip() == "9"


async def test_an_interrupted_wait_leaves_the_job_and_says_how_to_go_on(phaya: Phaya) -> None:
    user = user_of(phaya) | {"PHAYA_API_KEY": await phaya.new_key("10")}
    command = ("generate", "text-to-image", "--prompt", "A slow sunrise [slow 60]", "--wait")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "phaya", *command, env=os.environ | user,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        # Tests that are run in the background inherit that nothing interrupts them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not phaya.system.lookout.waiting:  # before, it may not have heard the job's name yet
        await asyncio.sleep(0.05)
    jobs = (await phaya.get("jobs?state=processing", key=user["PHAYA_API_KEY"])).json["jobs"]
    process.send_signal(signal.SIGINT)
    _, problems = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 130
    assert f"phaya jobs wait {jobs[0]['job_id']}" in " ".join(problems.decode().split())


async def test_chat_answers_one_question_or_goes_on(phaya: Phaya) -> None:
    code, answer, problems = await phaya_command(
        "chat", "Say hello in Thai.", "--system", "Be brief.", **user_of(phaya)
    )

    assert code == 0, problems
    assert answer.strip()


async def test_a_login_is_checked_and_then_used(phaya: Phaya, tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    base = f"{phaya.url}/api/v1"
    wrong, _, _ = await phaya_command("login", "--base", base, "--key", "pk_wrong", **home)
    before, _, _ = await phaya_command("balance", **home)
    code, _, told = await phaya_command("login", "--base", base, "--key", phaya.key, **home)
    after, balance, _ = await phaya_command("balance", **home)

    assert (3, 2, 0, 0) == (wrong, before, code, after)
    assert phaya.email in told
    assert float(balance) == float(await phaya.balance())
