"""The command line, as an operator and a user run it."""

from __future__ import annotations

import asyncio
import os
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


async def test_where_no_server_answers_the_exit_code_is_3(tmp_path: Path) -> None:
    code, _, problems = await phaya_command(
        "generate", "text-to-image", "--prompt", "x", PHAYA_BASE="http://127.0.0.1:9/api/v1", PHAYA_API_KEY="pk_x"
    )

    assert code == 3
    assert "No Phaya answers at http://127.0.0.1:9" in problems


async def test_a_second_server_on_the_same_folder_is_refused(phaya: Phaya) -> None:
    code, _, problems = await phaya_command("serve", "--port", "0", **operator_of(phaya))

    assert code == 1
    assert "Another Phaya runs on" in problems


async def test_services_lists_every_price(phaya: Phaya) -> None:
    code, printed, _ = await phaya_command("services", "--json")

    assert code == 0
    assert {"text-to-image", "phaya-gpt"} <= {service["service"] for service in orjson.loads(printed)}
