"""A job as pages show it: in plain words, with its files, its time line and the request that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from phaya.catalog.fields import Input
from phaya.catalog.service import Generation
from phaya.clock import SECOND
from phaya.credits import Credits
from phaya.jobs import ERASED, Job, State
from phaya.telling import dumps
from phaya.web.console.visit import Visit
from phaya.web.jobs import CALLS, told


@dataclass(frozen=True, slots=True)
class File:
    """A result's file: `kind` is image, video or audio."""

    url: str
    kind: str

    @property
    def name(self) -> str:
        """What it is called when it is saved."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True)
class Shown:
    """A job for a template."""

    id: str
    service: str
    name: str
    state: State
    progress: float
    message: str
    error: str | None
    price: Credits
    cost: Credits
    prompt: str
    files: Sequence[File]
    facts: Mapping[str, Any]
    again: bool
    created_at: int
    steps: Sequence[tuple[str, int | None]]
    seconds: float | None
    uses: Sequence[tuple[str, str, str]]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state.ended


def show(visit: Visit, job: Job) -> Shown:
    """A job of the visitor's account."""
    phaya = visit.phaya
    answer = told(phaya, job)
    service = phaya.tariff.services.get(job.service)
    kept = phaya.results.told(job) if service is not None and job.state is State.COMPLETED else None
    files = [File(url, kind) for url, kind in zip(kept.links, kept.kinds, strict=True)] if kept else []
    if kept and kept.sound:
        files.append(File(kept.sound, "audio"))
    asked = cast("dict[str, Any]", orjson.loads(job.request))
    words = asked.get("prompt") or asked.get("url") or ""
    progress = answer["progress"]
    facts = service.answer.spell(kept) if service is not None and kept and not files else {}
    return Shown(
        id=job.id,
        service=job.service,
        name=visit.name_of(job.service),
        state=job.state,
        progress=progress if isinstance(progress, float | int) else 0,
        message=visit.tell_text(str(answer["message"] or "")),
        error=None if answer["error"] is None else visit.tell_text(str(answer["error"])),
        price=job.price,
        cost=job.price - job.returned,
        prompt=words if isinstance(words, str) else "",
        files=files,
        facts={name: value for name, value in facts.items() if value is not None},
        again=service is not None and job.request != ERASED,
        created_at=job.created_at,
        steps=(("created", job.created_at), ("submitted", job.submitted_at), ("ended", job.ended_at)),
        seconds=None if job.ended_at is None else round((job.ended_at - job.created_at) / SECOND, 1),
        uses=_uses(visit, files[0].kind) if files else (),
    )


def _uses(visit: Visit, kind: str) -> list[tuple[str, str, str]]:
    """Services that take such a file: path, the field that takes it, and name."""
    found: list[tuple[str, str, str]] = []
    for path, service in visit.phaya.tariff.services.items():
        takes = (name for name, mark in service.inputs().items() if _takes(mark, kind))
        if (field := next(takes, None)) and visit.signed.key.allows(path, "generate"):
            found.append((path, field, visit.name_of(path)))
    return found


def _takes(mark: Input, kind: str) -> bool:
    return kind in (mark.media, mark.otherwise)


def as_curl(base: str, job: Job, service: type[Generation]) -> str:
    """The request that makes this job again, for a shell."""
    default = {name: info.default for name, info in service.model_fields.items() if not info.is_required()}
    asked: dict[str, Any] = orjson.loads(job.request)
    body = {name: value for name, value in asked.items() if name not in default or value != default[name]}
    return " \\\n  ".join(
        (
            f"curl {base}/api/v1/{service.create_path()}",
            '-H "Authorization: Bearer $PHAYA_API_KEY"',
            '-H "Content-Type: application/json"',
            f"-d {shlex.quote(dumps(body).decode())}",
        )
    )


def is_call(job: Job) -> bool:
    """Whether it was a chat or an embedding, which has no page of its own form."""
    return job.service in CALLS
