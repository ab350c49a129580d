"""What clients of the API send and expect: words, fields and prices of every service."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from yarl import URL

from conftest import BOTH, Phaya
from material import clip, picture
from phaya.catalog import CATALOG, SERVICES
from phaya.catalog.service import Generation

pytestmark = pytest.mark.anyio

ENGINES = BOTH

# The published price list, as clients budget by it.
PRICES: list[tuple[str, dict[str, Any], str]] = [
    ("text-to-image", {}, "1"),
    ("text-to-image", {"aspect_ratio": "9:16"}, "1"),
    ("sora2-text-to-video", {"n_frames": "15"}, "8"),
    ("sora2-video", {"n_frames": "20"}, "8"),
    ("text-to-music", {}, "3"),
    ("image-to-video", {"duration": 60}, "0.5"),
    ("seedream", {"quality": "high"}, "1.5"),
    *(("nano-banana", {"resolution": size}, price) for size, price in (("1K", "2"), ("2K", "3"), ("4K", "4"))),
    *(
        (f"gpt-image-2-{kind}-to-image", {"resolution": size, "aspect_ratio": "16:9"}, price)
        for kind in ("text", "image")
        for size, price in (("1K", "1"), ("2K", "2"), ("4K", "3"))
    ),
    ("veo31-video", {}, "15"),
    ("veo31-video", {"model": "veo3"}, "50"),
    ("sora2-character", {}, "0.5"),
    ("kling-motion-control", {"video_urls": [clip(3.2)]}, "4.84"),
    ("kling-motion-control", {"video_urls": [clip(12)], "mode": "1080p"}, "21.84"),
    ("kling-motion-control", {"video_urls": [clip(12)], "character_orientation": "image"}, "12.1"),
    ("flux-2", {"resolution": "2K"}, "1.25"),
    ("grok-imagine", {}, "0.75"),
    ("seedream-4-5", {"quality": "high"}, "1.25"),
    ("remove-background", {}, "0.25"),
    ("elevenlabs-speech", {"prompt": "x" * 101}, "0.25"),
    ("text-to-speech", {}, "0.07966"),
    ("media/merge-audio-video", {}, "0.5"),
    ("media/merge-video", {}, "0.5"),
    ("media/merge-audio", {}, "0.5"),
    ("media/overlay-gif", {}, "0.5"),
    ("media/extract-last-frame", {}, "0.1"),
    ("video-download", {}, "5"),
    *(
        ("seedance-video", {"resolution": size, "duration": length, "generate_audio": sound}, price)
        for size, row in {
            "480p": ("2", "3", "3", "6", "4", "8"),
            "720p": ("3", "6", "6", "12", "9", "18"),
            "1080p": ("6", "12", "12", "23", "18", "35"),
        }.items()
        for (length, sound), price in zip(
            [(length, sound) for length in ("4", "8", "12") for sound in (False, True)], row, strict=True
        )
    ),
]
WORDS = {
    "text-to-image": ("PENDING", "QUEUED", "PROCESSING", "COMPLETED", "FAILED"),
    "text-to-music": ("PENDING", "QUEUED", "PROCESSING", "COMPLETED", "FAILED"),
    "text-to-speech": ("PENDING", "PROCESSING", "COMPLETED", "FAILED"),
    "sora2-text-to-video": ("processing", "completed", "failed", "cancelled"),
    "sora2-video": ("processing", "completed", "failed", "cancelled"),
    "seedance-video": ("processing", "completed", "failed", "cancelled"),
    "image-to-video": ("processing", "completed", "failed"),
    "seedream": ("processing", "completed", "failed"),
    "nano-banana": ("processing", "completed", "failed"),
    "gpt-image-2-text-to-image": ("processing", "completed", "failed"),
    "gpt-image-2-image-to-image": ("processing", "completed", "failed"),
    "veo31-video": ("processing", "completed", "failed", "cancelled"),
    "kling-motion-control": ("processing", "completed", "failed", "cancelled"),
    "sora2-character": ("processing", "completed", "failed", "cancelled"),
    "flux-2": ("processing", "completed", "failed"),
    "grok-imagine": ("processing", "completed", "failed"),
    "seedream-4-5": ("processing", "completed", "failed"),
    "remove-background": ("processing", "completed", "failed"),
    "elevenlabs-speech": ("processing", "completed", "failed"),
    "media/merge-audio-video": ("processing", "completed", "failed"),
    "media/merge-video": ("processing", "completed", "failed"),
    "media/merge-audio": ("processing", "completed", "failed"),
    "media/overlay-gif": ("processing", "completed", "failed"),
    "media/extract-last-frame": ("processing", "completed", "failed"),
    "media/transcribe": ("processing", "completed", "failed"),
    "thai-subtitle": ("PENDING", "PROCESSING", "COMPLETED", "FAILED"),
    "video-download": ("processing", "completed", "failed"),
}
RESULT_FIELDS = {
    "text-to-image": {"image_url"},
    "text-to-music": {"audio_url", "audio_urls"},
    "text-to-speech": {"audio_url"},
    "sora2-text-to-video": {"video_url"},
    "sora2-video": {"video_url"},
    "seedance-video": {"video_url", "audio_url"},
    "image-to-video": {"video_url"},
    "seedream": {"image_url"},
    "nano-banana": {"image_url", "image_urls"},
    "gpt-image-2-text-to-image": {"image_url"},
    "gpt-image-2-image-to-image": {"image_url"},
    "veo31-video": {"video_url", "origin_url", "resolution"},
    "kling-motion-control": {"video_url"},
    "sora2-character": {"character_id"},
    "flux-2": {"image_url"},
    "grok-imagine": {"image_url", "image_urls"},
    "seedream-4-5": {"image_url"},
    "remove-background": {"image_url"},
    "elevenlabs-speech": {"audio_url"},
    "media/merge-audio-video": {"video_url"},
    "media/merge-video": {"video_url"},
    "media/merge-audio": {"audio_url"},
    "media/overlay-gif": {"video_url"},
    "media/extract-last-frame": {"image_url"},
    "media/transcribe": {"text", "segments"},
    "thai-subtitle": {"video_url"},
    "video-download": {"download_url", "video_url", "audio_url"},
}
CREATE = {
    "text-to-image": "text-to-image/generate",
    "text-to-music": "text-to-music/generate",
    "text-to-speech": "text-to-speech/generate",
    "sora2-text-to-video": "sora2-text-to-video/create",
    "sora2-video": "sora2-video/create",
    "seedance-video": "seedance-video/create",
    "image-to-video": "image-to-video/create",
    "seedream": "seedream/create",
    "nano-banana": "nano-banana/create",
    "gpt-image-2-text-to-image": "gpt-image-2-text-to-image/create",
    "gpt-image-2-image-to-image": "gpt-image-2-image-to-image/create",
    "veo31-video": "veo31-video/create",
    "kling-motion-control": "kling-motion-control/create",
    "sora2-character": "sora2-character/create",
    "flux-2": "flux-2/create",
    "grok-imagine": "grok-imagine/create",
    "seedream-4-5": "seedream-4-5/create",
    "remove-background": "remove-background/create",
    "elevenlabs-speech": "elevenlabs-speech/create",
    "media/merge-audio-video": "media/merge-audio-video",
    "media/merge-video": "media/merge-video",
    "media/merge-audio": "media/merge-audio",
    "media/overlay-gif": "media/overlay-gif",
    "media/extract-last-frame": "media/extract-last-frame",
    "media/transcribe": "media/transcribe",
    "thai-subtitle": "thai-subtitle/generate",
    "video-download": "video-download/create",
}
by_path = pytest.mark.parametrize("service", CATALOG, ids=[service.path for service in CATALOG])


@by_path
async def test_every_service_is_where_clients_look_for_it(service: type[Generation]) -> None:
    assert CREATE[service.path] == service.create_path()


@pytest.mark.parametrize(("path", "fields", "price"), PRICES)
async def test_prices_are_those_of_the_price_list(phaya: Phaya, path: str, fields: dict[str, Any], price: str) -> None:
    body = await phaya.example(SERVICES[path]) | fields

    quote = await phaya.post(f"{path}/estimate", body)

    assert (200, Decimal(price)) == (quote.status, quote.exact("credits"))


@pytest.mark.parametrize("service", CATALOG, ids=[one.path for one in CATALOG])
async def test_a_dry_run_costs_and_starts_nothing(phaya: Phaya, service: type[Generation]) -> None:
    key = await phaya.new_key("50")

    body = await phaya.example(service) | {"dry_run": True}
    answer = await phaya.post(service.create_path(), body, key=key)

    assert answer.json["dry_run"] is True
    assert answer.exact("credits_used") == 0
    assert await phaya.balance(key) == 50
    assert (await phaya.get(f"{service.home()}/history", key=key)).json["history"] == []


@pytest.mark.parametrize("path", ["text-to-image", "seedance-video", "text-to-music", "sora2-text-to-video"])
async def test_a_create_answers_with_all_that_clients_read(phaya: Phaya, path: str) -> None:
    key = await phaya.new_key("100")

    created = await phaya.create(SERVICES[path], key)

    assert UUID(created["job_id"]).version == 7
    assert created["id"] == created["job_id"]
    assert created["success"] is True
    assert created["task_id"] is None
    assert created["status"] in WORDS[path]
    assert created["state"] == "queued"
    assert created["credits_used"] + created["credits_balance"] == 100
    assert created["warnings"] == []
    assert created["status_url"] == f"{phaya.url}/api/v1/{path}/status/{created['job_id']}"
    assert not {"image_url", "video_url", "audio_url", "url", "output_url", "result_url"} & created.keys()


@pytest.mark.parametrize("path", ["text-to-image", "sora2-text-to-video", "seedance-video", "text-to-music"])
async def test_a_job_speaks_its_routes_words_until_its_result_is_there(phaya: Phaya, path: str) -> None:
    created = await phaya.create(SERVICES[path], prompt=f"A quiet harbour, for {path}")
    first = (await phaya.get(f"{path}/status/{created['job_id']}")).json
    if first["state"] != "completed":
        assert all(first[name] is None for name in RESULT_FIELDS[path]), "no result before the end"
        assert first["result_url"] is None

    last = await phaya.finish(path, created["job_id"])

    assert first["status"] in WORDS[path]
    assert last["status"] == WORDS[path][3 if path.startswith("text") else 1]
    assert last["result_url"].startswith(f"{phaya.url}/media/")
    assert last["error"] is None
    assert last["progress"] == 1
    assert last["completed_at"] >= last["created_at"]
    assert last["sandbox"] is True


async def test_a_client_can_poll_any_services_status_path(phaya: Phaya) -> None:
    created = await phaya.create(SERVICES["text-to-image"], prompt="A stone bridge")
    await phaya.finish("text-to-image", created["job_id"])

    told = (await phaya.get(f"sora2-video/status/{created['job_id']}")).json

    assert (told["status"], told["service"]) == ("completed", "text-to-image")
    assert told["video_url"] == told["result_url"] is not None
    assert "image_url" not in told


async def test_a_strangers_job_is_as_unknown_as_none(phaya: Phaya) -> None:
    created = await phaya.create(SERVICES["text-to-image"])
    stranger = await phaya.new_key()
    unknown = "3f0c9a52-0000-4000-8000-000000000000"

    of_another = await phaya.get(f"text-to-image/status/{created['job_id']}", key=stranger, X_Request_Id="same")
    of_nobody = await phaya.get(f"text-to-image/status/{unknown}", key=stranger, X_Request_Id="same")

    assert of_another.status == of_nobody.status == 404
    assert of_another.content.replace(created["job_id"].encode(), unknown.encode()) == of_nobody.content


@pytest.mark.parametrize(
    ("path", "status"), [("text-to-image/status/%00", 404), ("jobs/a%00b", 404), ("jobs?service=%00", 422)]
)
async def test_an_address_with_a_nul_names_nothing(phaya: Phaya, path: str, status: int) -> None:
    async with phaya.session.get(
        URL(f"{phaya.url}/api/v1/{path}", encoded=True), headers={"Authorization": f"Bearer {phaya.key}"}
    ) as answer:
        assert answer.status == status


async def test_history_is_newest_first_and_filtered_by_any_word(phaya: Phaya) -> None:
    key = await phaya.new_key("20")
    made = [(await phaya.create(SERVICES["text-to-image"], key))["job_id"] for _ in range(3)]
    failed = (await phaya.create(SERVICES["text-to-image"], key, prompt="no [refuse]"))["job_id"]
    for job in (*made, failed):
        await phaya.finish("text-to-image", job, key)

    history = (await phaya.get("text-to-image/history?limit=10", key=key)).json["history"]
    only_failed = (await phaya.get("text-to-image/history?status_filter=FAILED", key=key)).json["history"]
    other = (await phaya.get("sora2-video/history", key=key)).json["history"]

    assert [job["job_id"] for job in history] == [failed, *reversed(made)]
    assert [job["job_id"] for job in only_failed] == [failed]
    assert other == []


async def test_a_strange_status_filter_is_told_what_is_allowed(phaya: Phaya) -> None:
    answer = await phaya.get("text-to-image/history?status_filter=done")

    assert answer.status == 422
    assert "COMPLETED" in answer.json["message"]


SLIPS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("text-to-image", {"text": "a cat"}, {"prompt": "a cat"}, "'text' was read as 'prompt'."),
    ("text-to-image", {"prompt": "x", "aspect_ratio": "landscape"}, {"aspect_ratio": "16:9"}, "'16:9'"),
    ("sora2-text-to-video", {"prompt": "x", "aspect_ratio": "9:16"}, {"aspect_ratio": "portrait"}, "'portrait'"),
    ("sora2-text-to-video", {"prompt": "x", "n_frames": 15}, {"n_frames": "15"}, "15 was read as '15'"),
    ("seedance-video", {"prompt": "boats", "duration": 4}, {"duration": "4"}, "4 was read as '4'"),
    ("veo31-video", {"prompt": "x", "quality": "fast"}, {"model": "veo3_fast"}, "model 'veo3_fast'"),
    ("veo31-video", {"prompt": "x", "quality": "quality"}, {"model": "veo3"}, "model 'veo3'"),
    ("veo31-video", {"prompt": "x", "aspect_ratio": "portrait"}, {"aspect_ratio": "9:16"}, "'9:16'"),
    (
        "kling-motion-control",
        {"image_url": picture(), "video_url": clip(), "resolution": "1080p"},
        {"mode": "1080p", "input_urls": [picture()], "video_urls": [clip()]},
        "read as mode '1080p'",
    ),
    ("nano-banana", {"prompt": "x", "image_url": picture()}, {"image_input": [picture()]}, "read as 'image_input'"),
    ("seedream", {"prompt": "a kite", "image_input": [picture()]}, {"image_urls": [picture()]}, "as 'image_urls'"),
    ("text-to-image", {"prompt": "x", "aspect": "1:1"}, {"aspect_ratio": "1:1"}, "Unknown field 'aspect' was ignored."),
]


@pytest.mark.parametrize(("path", "body", "meant", "warning"), SLIPS)
async def test_known_slips_are_mended_and_named(
    phaya: Phaya, path: str, body: dict[str, Any], meant: dict[str, Any], warning: str
) -> None:
    from phaya.catalog.acceptance import accept

    accepted = accept(SERVICES[path], body)
    answer = await phaya.post(f"{path}/estimate", body)

    assert answer.status == 200
    assert any(warning in told for told in answer.json["warnings"])
    assert {name: getattr(accepted.request, name) for name in meant} == meant


async def test_strict_handling_turns_warnings_into_refusals(phaya: Phaya) -> None:
    body = {"prompt": "x", "colour": "red"}

    strict = await phaya.post("text-to-image/generate", body, Prefer="handling=strict")

    assert strict.status == 422
    assert "Unknown field 'colour'" in strict.json["message"]


async def test_of_many_unknown_fields_some_are_named_and_the_rest_counted(phaya: Phaya) -> None:
    """To look for what each was meant to be would hold everybody up."""
    body = {"prompt": "x"} | {f"promp{number}" + "t" * 100: 1 for number in range(50)}

    warnings = (await phaya.post("text-to-image/estimate", body)).json["warnings"]

    assert len(warnings) == 21
    assert max(map(len, warnings)) < 150
    assert warnings[-1] == "30 more unknown fields were ignored."


FAULTS: list[tuple[str, Any, str]] = [
    ("text-to-image", {}, "prompt: is required"),
    ("text-to-image", {"prompt": "  "}, "prompt: must not be blank"),
    ("text-to-image", {"prompt": "x" * 1001}, "prompt: must have at most 1000 characters, not 1001"),
    ("text-to-image", {"prompt": "x", "aspect_ratio": "5:5"}, "must be one of 1:1, 4:3, 3:4, 16:9, 9:16, not '5:5'"),
    ("sora2-video", {"prompt": "x", "image_urls": []}, "image_urls: must have at least 1 items"),
    ("sora2-video", {"prompt": "x", "image_urls": ["ftp://x/y.png"]}, "must be an http or https address"),
    ("seedream", {"prompt": "xy"}, "prompt: must have at least 3 characters, not 2"),
    ("seedream", {"prompt": "kite", "image_urls": ["https://x/1.png", "https://x/2.png"]}, "image_urls: must have at"),
    ("nano-banana", {"prompt": "x", "resolution": "8K"}, "resolution: must be one of 1K, 2K, 4K"),
    ("gpt-image-2-text-to-image", {"prompt": "x", "aspect_ratio": "auto", "resolution": "2K"}, "offered at resolution"),
    ("gpt-image-2-text-to-image", {"prompt": "x", "aspect_ratio": "1:1", "resolution": "4K"}, "not at 4K"),
    ("gpt-image-2-image-to-image", {"prompt": "x"}, "input_urls: is required"),
    ("veo31-video", {"prompt": "x", "seeds": 9999}, "seeds: "),
    ("veo31-video", {"prompt": "x", "generation_type": "REFERENCE_2_VIDEO"}, "takes 1 to 3 image_urls, not 0"),
    ("veo31-video", {"prompt": "x", "image_urls": ["https://x/y.png"] * 3, "model": "veo3"}, "veo3_fast only"),
    (
        "kling-motion-control",
        {"input_urls": [picture()], "video_urls": [clip(2)]},
        "must last 3 to 30 seconds, not 2.0",
    ),
    ("kling-motion-control", {"input_urls": [picture()], "video_urls": [picture()]}, "video_urls: must be a video"),
    ("kling-motion-control", {"input_urls": [picture()]}, "video_urls: is required"),
    ("sora2-character", {"character_file_url": clip(5)}, "character_file_url: must last 1 to 4 seconds, not 5.0"),
    ("sora2-character", {"character_file_url": "data:video/mp4;base64,AAAA"}, "character_file_url: is not usable"),
    ("seedance-video", {"prompt": "xy"}, "prompt: must have at least 3 characters"),
    ("image-to-video", {"image_url": "https://x/y.png", "duration": 61}, "duration"),
    ("image-to-video", {"image_url": "https://x/y.png", "zoom": {"mode": "spin"}}, "zoom.mode: must be one of center"),
    ("text-to-image", [1], "body: must be a JSON object"),
    ("text-to-image", b"{", "body: is not JSON"),
    ("text-to-image", {"prompt": "x", "dry_run": "maybe"}, "dry_run: must be true or false"),
]


@pytest.mark.parametrize(("path", "body", "told"), FAULTS)
async def test_bad_input_is_named_and_costs_nothing(phaya: Phaya, path: str, body: Any, told: str) -> None:
    key = await phaya.new_key("9")

    answer = await phaya.post(CREATE[path], body, key=key)

    assert answer.status == 422
    assert told in answer.json["message"]
    assert answer.json["success"] is False
    assert answer.json["error"] == "invalid_request"
    assert isinstance(answer.json["detail"], list)
    assert {"loc", "msg", "type"} <= {*answer.json["detail"][0]}
    assert await phaya.balance(key) == 9


@pytest.mark.parametrize(
    "headers", [{"Authorization": ""}, {"Authorization": "Bearer nonsense"}, {"X-API-Key": "pk_x"}]
)
async def test_without_a_good_key_nothing_opens(phaya: Phaya, headers: dict[str, str]) -> None:
    async with phaya.session.get(f"{phaya.url}/api/v1/user/credits", headers=headers) as answer:
        body = await answer.json()

    assert answer.status == 401
    assert body["error"] == "unauthorized"
    assert body["message"] == body["detail"]


async def test_both_headers_carry_a_key(phaya: Phaya) -> None:
    async with phaya.session.get(f"{phaya.url}/api/v1/user/credits", headers={"X-API-Key": phaya.key}) as answer:
        assert answer.status == 200


async def test_too_few_credits_are_told_with_needed_and_available(phaya: Phaya) -> None:
    key = await phaya.new_key("7.5")

    answer = await phaya.post("sora2-text-to-video/create", {"prompt": "x"}, key=key)

    assert answer.status == 402
    assert answer.json["error"] == "insufficient_credits"
    assert (answer.exact("needed"), answer.exact("available")) == (Decimal(8), Decimal("7.5"))
    assert "8 needed" in answer.json["message"]
    assert "7.5" in answer.json["message"]


async def test_a_key_does_only_what_its_scopes_allow(phaya: Phaya) -> None:
    key = await phaya.new_key("50", scopes=["text-to-image"])

    allowed = await phaya.post("text-to-image/generate", {"prompt": "x"}, key=key)
    refused = await phaya.post("sora2-text-to-video/create", {"prompt": "x"}, key=key)
    chat = await phaya.post("phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, key=key)

    assert (allowed.status, refused.status, chat.status) == (200, 403, 403)
    assert "sora2-text-to-video" in refused.json["message"]


async def test_a_keys_cap_is_part_of_the_charge(phaya: Phaya) -> None:
    key = await phaya.new_key("50", cap="2.5")

    answers = [await phaya.post("text-to-image/generate", {"prompt": "x"}, key=key) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 402]
    assert "cap leaves 0.5" in answers[2].json["message"]
    assert await phaya.balance(key) == 48


async def test_every_answer_tells_the_remaining_quota_and_429_when_to_come_back(phaya: Phaya) -> None:
    key = await phaya.new_key("1", rate=3)

    answers = [await phaya.get("user/credits", key=key) for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [int(answer.headers["RateLimit"].split("r=")[1].split(";")[0]) for answer in answers] == [2, 1, 0, 0]
    assert answers[0].headers["RateLimit-Policy"] == '"requests";q=3;w=60'
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    assert answers[3].json["error"] == "rate_limited"


async def test_polls_have_a_quota_of_their_own(phaya: Phaya) -> None:
    key = await phaya.new_key("1", rate=2)
    job = (await phaya.create(SERVICES["text-to-image"], key))["job_id"]
    await phaya.get("user/credits", key=key)

    statuses = {(await phaya.get(f"text-to-image/status/{job}", key=key)).status for _ in range(30)}

    assert {200} == statuses


async def test_an_unknown_path_names_the_nearest_one(phaya: Phaya) -> None:
    answer = await phaya.post("text-to-imge/generate", {"prompt": "x"})

    assert answer.status == 404
    assert "/api/v1/text-to-image/generate" in answer.json["message"]


async def test_a_wrong_method_is_told_the_right_one(phaya: Phaya) -> None:
    answer = await phaya.get("text-to-image/generate")

    assert answer.status == 405
    assert "POST" in answer.json["message"]


async def test_openapi_has_the_exact_values_of_every_field(phaya: Phaya) -> None:
    document = (await phaya.ask("GET", "/openapi.json")).json

    for service in CATALOG:
        route = document["paths"][f"/api/v1/{service.create_path()}"]["post"]
        fields = route["requestBody"]["content"]["application/json"]["schema"]["properties"]
        for name, field in service.model_json_schema()["properties"].items():
            assert fields[name].get("enum") == field.get("enum"), (service.path, name)
        status = document["paths"][f"/api/v1/{service.home()}/status/{{job_id}}"]["get"]
        words = status["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["status"]["enum"]
        assert set(words) <= set(WORDS[service.path])
        assert service.answer.fields.keys() == RESULT_FIELDS[service.path]
    assert "$defs" not in str(document["paths"])


async def test_the_list_of_services_needs_no_key_and_says_it_all(phaya: Phaya) -> None:
    async with phaya.session.get(f"{phaya.url}/api/v1/services") as answer:
        services = {service["service"]: service for service in (await answer.json())["services"]}

    assert services.keys() == {*SERVICES, "phaya-gpt", "embedding"}
    for service in services.values():
        assert {"name", "summary", "create", "prices", "schema", "example", "makes"} <= service.keys()


async def test_account_routes_answer_with_the_agreed_fields(phaya: Phaya) -> None:
    key = await phaya.new_key("12.5")

    profile = (await phaya.get("user/profile", key=key)).json
    credits = (await phaya.get("user/credits", key=key)).json
    history = (await phaya.get("user/credits/history?limit=5", key=key)).json
    cache = await phaya.post("user/credits/invalidate-cache", {}, key=key)

    assert profile["credits_balance"] == credits["credits_balance"] == 12.5
    assert profile["user_id"] == credits["user_id"]
    assert "@" in profile["email"]
    assert (credits["currency"], credits["cached"]) == ("THB", False)
    assert credits["credits_balance_formatted"] == "12.5 THB"
    assert [(entry["reason"], entry["amount"]) for entry in history["history"]] == [("grant", 12.5)]
    assert cache.status == 200


async def test_pages_of_other_origins_may_call_the_api(phaya: Phaya) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with phaya.session.options(f"{phaya.url}/api/v1/text-to-image/generate", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_marks_on_optional_fields_are_seen() -> None:
    service = SERVICES["image-to-video"]

    assert {"image_url", "music_url"} == service.inputs().keys()
    assert "music_url" == service.spellings()["audio_url"]
