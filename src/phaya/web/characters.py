"""The characters that an account has made, for films to come."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query

from phaya import jobs
from phaya.catalog.actors import SoraCharacter
from phaya.jobs import Search, State
from phaya.web.answers import Json
from phaya.web.caller import Phaya, Requesting
from phaya.web.openapi import plain_docs
from phaya.web.paths import API


def routes() -> APIRouter:
    """`GET sora2-character/list`."""
    router = APIRouter(prefix=API)

    @router.get(
        f"/{SoraCharacter.path}/list",
        tags=[SoraCharacter.name()],
        name="Characters",
        operation_id="list_sora2_character",
        responses=plain_docs(),
    )
    async def characters(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya, caller: Requesting, limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> Json:
        """The account's finished characters, newest first."""
        done = (State.COMPLETED,)
        found = await phaya.database.read(jobs.history, caller.account_id, Search.of([SoraCharacter.path], done), limit)
        listed = [
            {
                **SoraCharacter.answer.spell(phaya.results.told(job)),
                "job_id": job.id,
                "character_prompt": orjson.loads(job.request).get("character_prompt", ""),
                "created_at": phaya.written(job.created_at),
            }
            for job in found
            if job.results is not None
        ]
        return Json({"success": True, "characters": listed})

    return router
