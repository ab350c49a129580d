"""One file changes prices, adds models, switches services off or maps them; a mistake in it stops the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conftest import Phaya, running, settings
from phaya.addresses import Fetcher, Guard
from phaya.breaker import Patience
from phaya.calls import KieTask
from phaya.catalog import SERVICES
from phaya.catalog.answers import Answer, Video, Words
from phaya.catalog.service import Generation, Rates
from phaya.catalog.translation import translate
from phaya.credits import Credits, credits
from phaya.decoding.decoder import Decoder
from phaya.jobs import Job, State, Step
from phaya.providers import OutOfOrder, Rejected, Unknown
from phaya.results import Results
from phaya.storage import Storage
from phaya.tariff import Tariff, Terms, write_rates
from phaya.tariff_file import BadTariff, read_tariff, tariff_of
from phaya.ways import Way, Ways, pack_ways, unpack_ways
from test_cli import phaya_command
from test_moves import Bench, bench

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

SORA, SEEDANCE = "sora2-text-to-video", "seedance-video"

FILE = """
[service.sora2-text-to-video]
via = ["sora2-text-to-video", { service = "seedance-video", set = { resolution = "480p", duration = "4" } }]
rates = { film = 7.3 }

[service.sora2-video]
off = true
substitute = "seedance-video"

[service.text-to-image.rates]
picture = "0.1"

[service.phaya-gpt.rates]
input = 1
output = 0.000001

[service.text-to-music]
off = true
reason = "Suno rests until Monday."

[model.my-flux]
base = "text-to-image"
model = "flux/kontext"
name = "My Flux"
summary = "pictures in my style"
rates = { picture = "2.5" }
input = { output_format = "png" }

[model.my-flux.fields.guidance]
kind = "number"
min = 1
max = 20
default = 3.5
description = "How closely to follow."

[model.tall-picture]
model = "acme/tall"
makes = "image"
price_by = "quality"
rates = { plain = 1, fine = "3.25" }
example = { prompt = "A tower" }
seconds = 20

[model.tall-picture.fields]
prompt = { kind = "prompt", max = 300 }
quality = { kind = "choice", options = ["plain", "fine"], default = "plain" }
"""


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    folder = tmp_path_factory.mktemp("shop")
    file = folder / "shop.toml"
    file.write_text(FILE)
    async with running(folder, PHAYA_CONFIG=file, PHAYA_SANDBOX_PAUSED="sora-2-text-to-video") as phaya:
        yield phaya


async def listed(phaya: Phaya) -> dict[str, dict[str, Any]]:
    return {one["service"]: one for one in (await phaya.get("services")).json["services"]}


# ── prices ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_changed_price_is_the_same_on_every_surface(shop: Phaya) -> None:
    key = await shop.new_key("10")
    create = "text-to-image/generate"

    told = (await listed(shop))["text-to-image"]["prices"]
    estimate = await shop.post("text-to-image/estimate", {"prompt": "x"}, key=key)
    dry = await shop.post(create, {"prompt": "x", "dry_run": True}, key=key)
    bought = await shop.post(create, {"prompt": "x"}, key=key)
    document = (await shop.ask("GET", "/openapi.json")).json["paths"][f"/api/v1/{create}"]["post"]

    assert {"picture": 0.1} == told
    assert {Decimal("0.1")} == {estimate.exact("credits"), dry.exact("credits"), bought.exact("credits_used")}
    assert "picture 0.1" in document["description"]
    assert await shop.balance(key) == Decimal("9.9")


async def test_a_chat_is_held_and_settled_at_the_files_rates(shop: Phaya) -> None:
    key = await shop.new_key("10")

    answer = await shop.post("phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, key=key)

    usage = answer.json["usage"]
    units = usage["prompt_tokens"] * 1000 + -(-usage["completion_tokens"] * 1000 // 1_000_000)
    assert answer.exact("credits_used") == Decimal(units) / 1_000_000_000
    assert await shop.balance(key) == 10 - answer.exact("credits_used")


class Metered(Generation):
    """Metered film: costs by what came of it."""

    path: ClassVar[str] = "metered"
    answer: ClassVar[Answer] = Video
    words: ClassVar[Words] = Words.LOWER
    rates: ClassVar[Rates] = {"second": credits(2)}

    def price(self, rates: Rates) -> Credits:
        return rates["second"] * 10

    def cost(self, rates: Rates, facts: Any) -> Credits:
        return rates["second"] * facts["seconds"]

    def call(self) -> KieTask:
        return KieTask("metered", {})


@pytest.mark.parametrize(
    ("rates", "ways", "cost"),
    [
        (None, None, "12"),  # a job from before rates were stored: those in force
        ({"second": credits(2)}, None, "6"),
        ({"second": credits("0.5")}, None, "1.5"),
        ({"second": credits("0.5")}, Ways(SORA), "20"),  # another made it: the price that the user saw stays
    ],
)
async def test_a_finished_job_costs_by_the_rates_of_its_creation(
    bench: Bench, tmp_path: Path, rates: Rates | None, ways: Ways | None, cost: str
) -> None:
    tariff = Tariff({"metered": Metered}, {"metered": Terms({"second": credits(4)})})
    results = Results(Storage(tmp_path.as_uri(), "http://x"), Decoder(), Fetcher(Guard()), tmp_path / "made", tariff)
    job = replace(
        await bench.open("20"),
        service="metered",
        rates=rates and write_rates(rates),
        ways=ways and pack_ways(ways),
    )

    assert str(results.cost(job, '{"facts": {"seconds": 3}}')) == cost


# ── off ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dry", [True, False])
async def test_a_service_that_is_off_says_so_names_a_substitute_and_charges_nothing(shop: Phaya, dry: bool) -> None:
    key = await shop.new_key("50")
    body = {"prompt": "x", "image_urls": ["https://example.com/x.png"], "dry_run": dry}

    answer = await shop.post("sora2-video/create", body, key=key)
    estimate = await shop.post("sora2-video/estimate", body, key=key)

    for one in (answer, estimate):
        assert (one.status, one.headers["Retry-After"]) == (503, "3600")
        assert one.json["message"] == (
            "sora2-video is off at the moment. Use seedance-video instead. Nothing was charged."
        )
    assert await shop.balance(key) == 50


async def test_the_list_says_what_is_off_and_why(shop: Phaya) -> None:
    services = await listed(shop)

    assert {"sora2-video", "text-to-music"} == {name for name, one in services.items() if not one["available"]}
    assert services["sora2-video"]["substitute"] == "seedance-video"
    assert services["text-to-music"]["substitute"] is None
    assert services["text-to-music"]["reason"] == "Suno rests until Monday. Nothing was charged."
    assert "reason" not in services["text-to-image"]


# ── mapped ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_paused_model_is_stood_in_for_at_the_price_the_user_saw(shop: Phaya) -> None:
    key = await shop.new_key("20")
    prompt = "A dragon over snow"
    created = await shop.create(SERVICES[SORA], key, prompt=prompt, aspect_ratio="portrait", n_frames="10")

    status = await shop.finish(SORA, created["job_id"], key)

    assert (status["state"], status["service"], status["made_by"]) == ("completed", SORA, SEEDANCE)
    assert status["video_url"].endswith(".mp4")
    assert (created["credits_used"], status["credits_used"], status["credits_refunded"]) == (7.3, 7.3, 0)
    assert await shop.balance(key) == Decimal("12.7")
    assert await shop.sandbox_tasks(prompt) == 1
    entries = (await shop.get("user/credits/history", key=key)).json["history"]
    assert [entry["reason"] for entry in entries] == ["charge", "grant"]
    assert await shop.audit() == []


async def test_while_the_model_rests_its_stand_in_is_used_and_the_service_stays_open(shop: Phaya) -> None:
    key = await shop.new_key("50")
    for number in range(4):
        job = (await shop.create(SERVICES[SORA], key, prompt=f"A fox in the rain [slow 60] {number}"))["job_id"]
        async with asyncio.timeout(20):
            while (await shop.get(f"{SORA}/status/{job}", key=key)).json.get("made_by") != SEEDANCE:
                await asyncio.sleep(0.05)

    resting = (await shop.ask("GET", "/readyz")).json["providers"]

    assert "kie sora-2-text-to-video" in resting
    assert (await listed(shop))[SORA]["available"] is True


async def test_refused_content_is_offered_to_nobody_else(shop: Phaya) -> None:
    key = await shop.new_key("20")
    prompt = "Something else [reject]"
    created = await shop.create(SERVICES[SORA], key, prompt=prompt)

    status = await shop.finish(SORA, created["job_id"], key)

    assert (status["state"], status["error_code"]) == ("failed", "content_rejected")
    assert (await shop.sandbox_tasks(prompt), await shop.balance(key)) == (1, 20)


async def test_a_lost_answer_is_never_followed_by_another_way(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(
        '[service.text-to-image]\nvia = ["text-to-image", "my-flux"]\n'
        '[model.my-flux]\nbase = "text-to-image"\nmodel = "flux/kontext"'
    )
    async with running(tmp_path, PHAYA_CONFIG=file) as phaya:
        prompt = "A heron in the mist [drop]"
        created = await phaya.create(SERVICES["text-to-image"], prompt=prompt)

        status = await phaya.finish("text-to-image", created["job_id"])

        assert (status["state"], "made_by" in status) == ("completed", False)
        assert await phaya.sandbox_tasks(prompt) == 1


async def with_way(bench: Bench) -> Job:
    """An open job with one other way."""
    job = await bench.open()
    other = '{"model": "other", "input": {}, "kind": "kie-task"}'

    def give(connection: Any) -> None:
        from sqlalchemy import update

        from phaya.schema import jobs

        ways = pack_ways(Ways(SORA, (Way(SEEDANCE, other),)))
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(ways=ways))

    await bench.database.write(give)
    return job


async def test_a_sure_refusal_turns_a_job_once_and_money_stands_still(bench: Bench) -> None:
    bench.provider.submits = [OutOfOrder("Paused."), OutOfOrder("Gone.")]
    await with_way(bench)

    turned = await bench.move()
    assert (turned.step, turned.state, '"other"' in turned.call) == (Step.OPEN, State.QUEUED, True)
    assert unpack_ways(turned.ways) == Ways(SEEDANCE)
    assert (turned.service, await bench.balance()) == (SORA, "92")
    ended = await bench.move()

    assert (ended.state, ended.error, bench.provider.submitted) == (State.FAILED, "Gone.", 2)
    assert await bench.balance() == "100"
    assert await bench.clean()


@pytest.mark.parametrize(
    ("answer", "step"),
    [(Unknown("?", "read timed out"), Step.UNSURE), (Rejected("No.", code="content_rejected"), Step.DONE)],
)
async def test_only_what_surely_created_nothing_and_is_nobodys_fault_turns(
    bench: Bench, answer: Exception, step: Step
) -> None:
    bench.provider.submits = [answer]
    await with_way(bench)

    after = await bench.move()

    assert (after.step, unpack_ways(after.ways)) == (step, Ways(SORA, unpack_ways(after.ways).left))  # type: ignore[union-attr]
    assert bench.provider.submitted == 1


@pytest.mark.parametrize(
    ("source", "given", "target", "fixed", "said"),
    [
        (SORA, {"aspect_ratio": "portrait", "n_frames": "15"}, SEEDANCE, {},
         {"aspect_ratio": "9:16", "duration": "12"}),
        (SORA, {"n_frames": "10"}, SEEDANCE, {"generate_audio": True}, {"duration": "12", "generate_audio": True}),
        ("sora2-video", {"image_urls": ["https://x/1.png", "https://x/2.png"], "aspect_ratio": "square"}, SEEDANCE, {},
         {"input_urls": ["https://x/1.png"], "aspect_ratio": "1:1"}),
        (SEEDANCE, {"aspect_ratio": "21:9", "duration": "4", "prompt": "x" * 2400}, SORA, {},
         {"aspect_ratio": "landscape", "n_frames": "10", "prompt": "x" * 2000}),
    ],
)  # fmt: skip
def test_a_request_is_said_in_the_others_fields(
    source: str, given: dict[str, Any], target: str, fixed: dict[str, Any], said: dict[str, Any]
) -> None:
    request = SERVICES[source].model_validate({"prompt": "A long walk"} | given)

    translated = translate(request, SERVICES[target], fixed)

    assert translated is not None
    assert said == {name: getattr(translated, name) for name in said}


def test_what_cannot_be_said_is_not_said() -> None:
    words_only = SERVICES[SORA].model_validate({"prompt": "x"})

    assert translate(words_only, SERVICES["sora2-video"], {}) is None
    assert translate(words_only, SERVICES[SEEDANCE], {}) is None, "Seedance wants three characters at least"


# ── added ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "verb", "fields", "price", "media"),
    [
        ("my-flux", "generate", {"guidance": 4}, "2.5", "image"),
        ("tall-picture", "create", {"quality": "fine"}, "3.25", "image"),
    ],
)
async def test_an_added_model_is_sold_like_any_other(
    shop: Phaya, path: str, verb: str, fields: dict[str, Any], price: str, media: str
) -> None:
    key = await shop.new_key("10", scopes=[path])
    service = (await listed(shop))[path]

    answer = await shop.post(f"{path}/{verb}", service["example"] | fields, key=key)
    wrong = await shop.post(f"{path}/{verb}", service["example"] | dict.fromkeys(fields, "much"), key=key)
    status = await shop.finish(path, answer.json["job_id"], key)

    assert (answer.exact("credits_used"), answer.json["warnings"]) == (Decimal(price), [])
    assert (wrong.status, next(iter(fields)) in wrong.json["message"]) == (422, True)
    assert (status["state"], bool(status[f"{media}_url"])) == ("completed", True)
    assert f"/api/v1/{path}/{verb}" in (await shop.ask("GET", "/openapi.json")).json["paths"]
    assert await shop.balance(key) == 10 - Decimal(price)


def test_an_added_model_sends_its_own_name_its_fields_and_what_is_fixed(tmp_path: Path) -> None:
    tariff = read(tmp_path, FILE)

    flux = tariff.services["my-flux"].model_validate({"prompt": "x"}).call()

    assert (flux.model, flux.input) == (  # type: ignore[union-attr]
        "flux/kontext", {"prompt": "x", "aspect_ratio": "1:1", "guidance": 3.5, "output_format": "png"},
    )  # fmt: skip


async def test_the_command_line_knows_the_added_models(tmp_path: Path) -> None:
    (tmp_path / "phaya.toml").write_text(FILE)
    folder = {"PHAYA_DATA_DIR": str(tmp_path)}

    code, printed, problems = await phaya_command("generate", "my-flux", "--help", **folder)

    assert code == 0, problems
    assert "--guidance" in printed


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────


def read(folder: Path, text: str) -> Tariff:
    file = folder / "shop.toml"
    file.write_text(text)
    return read_tariff(file)


FLUX = '[model.my-flux]\nbase = "text-to-image"\nmodel = "f"\n'
BLANK = '[model.film]\nmodel = "f"\nmakes = "video"\nexample = { prompt = "x" }\nfields.prompt = { kind = "prompt" }\n'

MISTAKES = [
    ("[service", "is not TOML"),
    ("[servise.x]", "servise: is no key that Phaya knows; did you mean 'service'?"),
    ("[service.seedance-vdieo]", "service.seedance-vdieo: there is no such service; did you mean 'seedance-video'?"),
    ("service = 3", "service: must be a table"),
    ("[service.text-to-image]\nof = true", "service.text-to-image.of: is no key that Phaya knows; did you mean 'off'?"),
    ('[service.text-to-image]\noff = "yes"', "service.text-to-image.off: must be true or false"),
    ("[service.text-to-image.rates]\npictures = 1", "there is no such rate; did you mean 'picture'?"),
    ("[service.text-to-image.rates]\npicture = -1", "rates.picture: must not be negative, and is -1"),
    ('[service.text-to-image.rates]\npicture = "cheap"', "rates.picture: 'cheap' is not an amount of credits"),
    ("[service.text-to-image.rates]\npicture = nan", "rates.picture: "),
    ("[service.text-to-image.rates]\npicture = inf", "rates.picture: "),
    ("[service.text-to-image.rates]\npicture = 0.0000000001", "finer than a billionth"),
    ("[service.text-to-image.rates]\npicture = true", "must be an amount of credits, as a number or a text"),
    ("[service.phaya-gpt.rates]\ninputs = 1", "there is no such rate; did you mean 'input'?"),
    ('[service.text-to-image]\noff = true\nsubstitute = "seedance-vido"', "names no service; did you mean"),
    ('[service.text-to-image]\nsubstitute = "seedance-video"', "means something only beside off = true"),
    ('[service.text-to-image]\noff = true\nsubstitute = "text-to-image"', "'text-to-image' is off itself"),
    (f'[service.{SORA}]\noff = true\nvia = ["seedance-video"]', "via: cannot be beside off = true"),
    (f'[service.{SORA}]\nvia = ["seedence-video"]', "did you mean 'seedance-video'?"),
    (f'[service.{SORA}]\nvia = ["text-to-image"]', "'text-to-image' makes image, not video"),
    (f'[service.{SORA}]\nvia = ["sora2-video"]', "'sora2-video' needs 'image_urls'"),
    (f'[service.{SORA}]\nvia = ["image-to-video"]', "is made on this server"),
    (f'[service.{SORA}]\nvia = ["{SEEDANCE}", "{SEEDANCE}"]', "names a service twice"),
    (f'[service.{SORA}]\nvia = ["{SEEDANCE}"]\n[service.{SEEDANCE}]\noff = true', "'seedance-video' is off"),
    (f'[service.{SORA}]\nvia = [{{ service = "{SEEDANCE}", set = {{ size = 1 }} }}]', "set.size: is no field of"),
    (f"[service.{SORA}]\nvia = [3]", "must list services"),
    ("[service.phaya-gpt]\nvia = ['text-to-image']", "is only for services that make media"),
    ('[model.my-flux]\nbase = "text-to-imge"\nmodel = "x"', "my-flux.base: there is no such service; did you mean"),
    ('[model.my-flux]\nbase = "text-to-image"', "model.my-flux.model: is required"),
    ('[model.text-to-image]\nmodel = "x"', "model.text-to-image: that name is taken already"),
    ('[model."My Flux"]\nmodel = "x"', "lower-case letters, digits and hyphens"),
    (FLUX + "rates = { job = 1 }", "there is no such rate"),
    (FLUX + 'makes = "image"', "comes from the base"),
    (FLUX + 'colour = "red"', "model.my-flux.colour: is no key that Phaya knows"),
    (FLUX + "example = { prompt = 3 }", "model.my-flux.example.prompt: must be a text"),
    (FLUX + "fields.prompt = { kind = 'text' }", "fields.prompt: is a name that is taken already"),
    (FLUX + "fields.grain = { kind = 'colour' }", "fields.grain.kind: must be one of prompt, text"),
    (FLUX + "fields.grain = { kind = 'choice' }", "fields.grain.options: must list what may be chosen"),
    (FLUX + "fields.grain = { kind = 'number', max = 3, default = 9 }", "fields.grain.default: "),
    (FLUX + "fields.grain = { kind = 'number', most = 3 }", "fields.grain.most: is no key that Phaya knows"),
    ('[model.x]\nbase = "text-to-music"\nmodel = "x"', "model.x.base: must be a service of KIE's jobs API"),
    ('[model.x]\nmodel = "x"', "model.x.makes: must be one of image, video, audio"),
    (BLANK, "model.film.rates: must have a price for each of: job"),
    (BLANK + 'price_by = "size"\nrates = { a = 1 }', "price_by: must name a field of kind choice"),
    ("[breaker]\nfailures = 0", "breaker.failures: must be more than 0"),
    ("[breaker]\nrests = 3", "breaker.rests: is no key that Phaya knows; did you mean 'rest'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadTariff) as error:
        read(tmp_path, text)

    sentence = str(error.value)
    assert told in sentence
    assert sentence.startswith(f"{tmp_path / 'shop.toml'}: ")
    assert sentence[-1] in ".?"
    assert "\n" not in sentence


def test_the_example_of_the_documents_is_a_good_file(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[1] / "docs/operating.md").read_text(encoding="utf-8")

    tariff = read(tmp_path, guide.split("```toml\n")[1].split("```")[0])

    assert {"my-flux", "tall-film"} == tariff.services.keys() - SERVICES.keys()
    assert tariff.patience == Patience(), "it shows the defaults"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadTariff, match="cannot be read"):
        tariff_of(settings(tmp_path, PHAYA_CONFIG=tmp_path / "none.toml"))
    assert tariff_of(settings(tmp_path)).paths == (*SERVICES, "phaya-gpt", "embedding")


async def test_a_mistake_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "phaya.toml").write_text("[service.text-to-imag]\noff = true")

    code, _, problems = await phaya_command("serve", "--port", "0", PHAYA_DATA_DIR=str(tmp_path))

    assert code == 1
    assert "service.text-to-imag: there is no such service; did you mean 'text-to-image'?" in problems.replace(
        "\n", " "
    )
    assert "Traceback" not in problems
