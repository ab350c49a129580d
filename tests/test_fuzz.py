"""Whatever is sent to the API's documented routes: no 5xx, no undocumented status, no answer of another shape."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from conftest import running

pytestmark = pytest.mark.anyio

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("paths", ["^/api/v1/[a-m]", "^/api/v1/[n-z]"])
async def test_nothing_that_fits_the_api_or_not_quite_breaks_it(tmp_path: Path, paths: str) -> None:
    many = {"PHAYA_REQUESTS_PER_MINUTE": 1_000_000, "PHAYA_POLLS_PER_MINUTE": 1_000_000, "PHAYA_SANDBOX_PACE": 0.01}
    async with running(tmp_path, **many) as phaya:
        key = await phaya.new_key("1000000", rate=None)
        schemathesis = Path(sys.executable).with_name("schemathesis")
        process = await asyncio.create_subprocess_exec(
            schemathesis, "run", f"{phaya.url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks", CHECKS,
            "--max-examples", "3", "--seed", "1", "--no-color", "--phases", "examples,coverage",
            "--include-path-regex", paths,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        printed, _ = await asyncio.wait_for(process.communicate(), 360)

        assert process.returncode == 0, printed.decode()[-6000:]
        assert await phaya.audit() == []
