"""Whatever is sent to the API's documented routes: no 5xx, no undocumented status, no answer of another shape."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from conftest import running

pytestmark = pytest.mark.anyio

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


STATEFUL_SCENARIOS = int(os.environ.get("PHAYA_SOAK_SCENARIOS", "48"))
"""Rows of calls. `make soak` makes more of them, about all paths, and as many for each key as for the first."""
WHOLE = STATEFUL_SCENARIOS > 500
STATEFUL_PATHS = "^/api/v1/" if WHOLE else "^/api/v1/(text-to-image|jobs|webhooks)"
SCOPES: dict[str, list[str] | None] = {
    "every scope": [],
    "generate": ["generate"],
    "chat": ["chat"],
    "webhooks": ["webhooks"],
    "one service": ["text-to-image"],
    "no key": None,
}


@pytest.mark.timeout(180 + STATEFUL_SCENARIOS)
async def test_one_call_after_another_breaks_nothing_whatever_the_key_may_do(tmp_path: Path) -> None:
    """What one answer gave goes into the next call, along the links that schemathesis infers from the document."""
    many = {"PHAYA_REQUESTS_PER_MINUTE": 1_000_000, "PHAYA_POLLS_PER_MINUTE": 1_000_000, "PHAYA_SANDBOX_PACE": 0.01}
    async with running(tmp_path, **many) as phaya:
        for name, scopes in SCOPES.items():
            key = "phaya_sk_nobody" if scopes is None else await phaya.new_key("1000", rate=None, scopes=scopes)
            rows = STATEFUL_SCENARIOS if WHOLE or name == "every scope" else STATEFUL_SCENARIOS // 6
            code, printed = await schemathesis(
                tmp_path, f"{phaya.url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks",
                "not_a_server_error,status_code_conformance,response_schema_conformance", "--seed", "1", "--no-color",
                "--phases", "stateful", "--max-examples", str(rows),
                "--include-path-regex", STATEFUL_PATHS,
            )  # fmt: skip

            assert code == 0, f"{name}: {printed[-6000:]}"
            followed = re.search(r"API Links: +(\d+) covered", printed)
            assert followed is not None, f"{name}: {printed[-2000:]}"
            # Without rights nothing is given that could be followed.
            assert name != "every scope" or int(followed[1]) > 0, printed[-2000:]
        assert await phaya.audit() == []


async def schemathesis(folder: Path, *arguments: str) -> tuple[int | None, str]:
    """The exit code of a run of schemathesis, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"), "run", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder,
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(process.communicate(), 360 + STATEFUL_SCENARIOS)
    return process.returncode, printed.decode()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("paths", ["^/api/v1/[a-m]", "^/api/v1/[n-z]"])
async def test_nothing_that_fits_the_api_or_not_quite_breaks_it(tmp_path: Path, paths: str) -> None:
    many = {"PHAYA_REQUESTS_PER_MINUTE": 1_000_000, "PHAYA_POLLS_PER_MINUTE": 1_000_000, "PHAYA_SANDBOX_PACE": 0.01}
    async with running(tmp_path, **many) as phaya:
        key = await phaya.new_key("1000000", rate=None)
        code, printed = await schemathesis(
            tmp_path, f"{phaya.url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks", CHECKS,
            "--max-examples", "3", "--seed", "1", "--no-color", "--phases", "examples,coverage",
            "--include-path-regex", paths,
        )  # fmt: skip

        assert code == 0, printed[-6000:]
        assert await phaya.audit() == []
