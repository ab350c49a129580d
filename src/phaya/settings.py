"""Every setting, read from the environment once and handed on as a value. docs/settings.md is printed from here."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from phaya.credits import Credits, credits

Network = IPv4Network | IPv6Network


def is_postgresql(url: str) -> bool:
    """Whether an address of a database is one of PostgreSQL."""
    return url.partition("://")[0] in ("postgresql", "postgres")


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown. Each of these may be read from a file instead."""
    return not field.repr or str(field.alias).endswith(("_KEY", "_SECRET"))


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets in files, as Docker, Kubernetes and systemd hand them over: `KIE_API_KEY_FILE` names the file that holds
    KIE_API_KEY, and so for every secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """The content of a secret's file without the last newline; None where no file is named.

        Raises ValueError where the file cannot be read, or the secret itself is given beside it.
        """
        alias = str(field.alias)
        name = os.environ.get(f"{alias}_FILE")
        if not name or not is_secret(field):
            return None, alias, False
        if os.environ.get(alias):
            raise ValueError(f"{alias} and {alias}_FILE are both given; one of them is enough")
        try:
            return Path(name).read_text().rstrip("\r\n"), alias, False
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ValueError(f"{alias}_FILE: {name} cannot be read: {why}") from None

    def __call__(self) -> dict[str, str]:
        """Every secret that is in a file."""
        values = (self.get_field_value(field, name)[:2] for name, field in self.settings_cls.model_fields.items())
        return {alias: value for value, alias in values if value is not None}


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _amount(value: object) -> object:
    if isinstance(value, Credits):
        return value
    try:
        amount = credits(str(value))
    except ValueError:
        amount = None
    if amount is None or amount.units < 0:
        raise ValueError("must be an amount of credits such as 5 or 0.5")
    return amount


class Settings(BaseSettings):
    """What an operator may choose. Names of variables are the fields' aliases."""

    # A message about a mistake names the variable and what is allowed, never the value: it may be a secret.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code first, then the environment, then the files that it names."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    data_dir: Path = Field(
        default=Path("data"),
        alias="PHAYA_DATA_DIR",
        description="Folder of the database, the results and the secret.",
    )
    database_url: str | None = Field(
        default=None,
        alias="PHAYA_DATABASE_URL",
        repr=False,
        description="A PostgreSQL that any number of nodes share, as postgresql://user:password@host/database. "
        "Unset: SQLite in the data folder, for one process.",
    )
    database_connections: int = Field(
        default=16,
        ge=2,
        alias="PHAYA_DATABASE_CONNECTIONS",
        description="Connections of one node to PostgreSQL that write at the most; half as many more only read.",
    )
    config: Path | None = Field(
        default=None,
        alias="PHAYA_CONFIG",
        description="The operator's file of prices, services that are off, and added models. "
        "Unset: `phaya.toml` in the data folder, if it is there.",
    )
    public_url: str | None = Field(
        default=None,
        alias="PHAYA_PUBLIC_URL",
        description="Where clients and providers reach this Phaya; result links and callbacks start with it. "
        "Unset: the address that `phaya serve` listens on.",
    )
    redis_url: str | None = Field(
        default=None,
        alias="PHAYA_REDIS_URL",
        repr=False,
        description="A Redis or Valkey, such as redis://:password@redis.example:6379/0 or rediss://…, where several "
        "nodes share limits, provider budgets and the circuit breaker. Unset: they share them in PostgreSQL.",
    )
    secret: str | None = Field(
        default=None,
        alias="PHAYA_SECRET",
        repr=False,
        description="Secret that keys and callback tokens are hashed with. Unset: made once, kept in the data folder.",
    )
    allowed_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        alias="PHAYA_ALLOWED_NETWORKS",
        description="Networks that inputs and results may be fetched from, and webhooks sent to, besides public ones, "
        "comma-separated.",
    )
    deadline_scale: float = Field(
        default=1.0,
        gt=0,
        alias="PHAYA_DEADLINE_SCALE",
        description="A factor on all service deadlines and grace times.",
    )
    storage_url: str | None = Field(
        default=None,
        alias="PHAYA_STORAGE_URL",
        description="Where results and inputs lie: `file:///folder` or `s3://bucket/prefix`, with credentials from the "
        "`AWS_…` variables. Unset: the folder `media` in the data folder.",
    )
    storage_links: Literal["served", "signed", "public"] = Field(
        default="served",
        alias="PHAYA_STORAGE_LINKS",
        description="Links of results: `served` by Phaya, `signed` by the bucket for seven days at the most, or "
        "`public` at PHAYA_STORAGE_PUBLIC_URL.",
    )
    storage_public_url: str | None = Field(
        default=None,
        alias="PHAYA_STORAGE_PUBLIC_URL",
        description="Address of the stored files, such as a CDN before the bucket; a file's key is appended to it.",
    )
    media_days: float = Field(
        default=14, gt=0, alias="PHAYA_MEDIA_DAYS", description="Days for which results are kept and served."
    )
    job_days: float = Field(
        default=365,
        gt=0,
        alias="PHAYA_JOB_DAYS",
        description="Days after a job's end for which its contents are kept: request, results, errors. The job itself, "
        "its price and its entries stay.",
    )
    requests_per_minute: int = Field(
        default=60, ge=1, alias="PHAYA_REQUESTS_PER_MINUTE", description="Requests a minute for each key."
    )
    polls_per_minute: int = Field(
        default=600,
        ge=1,
        alias="PHAYA_POLLS_PER_MINUTE",
        description="Status requests a minute for each key.",
    )
    wrong_keys_per_minute: int = Field(
        default=30,
        ge=1,
        alias="PHAYA_WRONG_KEYS_PER_MINUTE",
        description="Wrong keys that may come from one network address in a minute; after that only keys that were "
        "good before are looked up from there. Each process counts for itself.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        alias="PHAYA_TRUSTED_PROXIES",
        description="Networks of the reverse proxies before Phaya, comma-separated. Only what comes from them is asked "
        "by `X-Forwarded-For` and `X-Forwarded-Proto` who the client is; from anywhere else these are ignored.",
    )
    open_waits: int = Field(
        default=100,
        ge=1,
        alias="PHAYA_OPEN_WAITS",
        description="Waiting requests and event streams that each key may have open at a time in one process.",
    )
    account_jobs: int = Field(
        default=20_000,
        ge=1,
        alias="PHAYA_ACCOUNT_JOBS",
        description="Jobs and calls of one account that may be under way or wait, together.",
    )
    account_queue: int = Field(
        default=10_000,
        ge=1,
        alias="PHAYA_ACCOUNT_QUEUE",
        description="Jobs of one account that may wait to be begun. However many do, those of others are not kept "
        "waiting for them.",
    )
    account_storage_mb: int = Field(
        default=100_000,
        ge=1,
        alias="PHAYA_ACCOUNT_STORAGE_MB",
        description="Millions of bytes of results and uploads that may be stored for one account.",
    )
    account_waits: int = Field(
        default=500,
        ge=1,
        alias="PHAYA_ACCOUNT_WAITS",
        description="Waiting requests and event streams that the keys of one account may have open together in one "
        "process.",
    )
    late_seconds: float = Field(
        default=2.0,
        gt=0,
        alias="PHAYA_LATE_SECONDS",
        description="Seconds that a process may be behind with its work before new requests are refused with 503; "
        "reading has twice that.",
    )
    requests_at_once: int = Field(
        default=1000,
        ge=1,
        alias="PHAYA_REQUESTS_AT_ONCE",
        description="Requests that one process works on at a time, without those that only wait for a job; more are "
        "answered 503 at once. Reading has twice the room.",
    )
    openai_wait: float = Field(
        default=240,
        gt=0,
        alias="PHAYA_OPENAI_WAIT",
        description="Seconds that the OpenAI routes for pictures and speech wait for their job before they answer 504.",
    )
    strict: bool = Field(
        default=False,
        alias="PHAYA_STRICT",
        description="Refuse requests with unknown or misspelt fields instead of warning.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",), alias="PHAYA_CORS_ORIGINS", description="Web origins whose pages may call the API."
    )
    currency: str = Field(default="THB", alias="PHAYA_CURRENCY", description="Label of one credit's worth.")
    low_balance: Annotated[Credits, BeforeValidator(_amount), NoDecode] = Field(
        default=credits("5"),
        alias="PHAYA_LOW_BALANCE",
        description="Credits below which the console tells an account that its balance is low. 0 never does.",
    )
    renders: int | None = Field(
        default=None,
        ge=1,
        alias="PHAYA_RENDERS",
        description="FFmpeg renders at a time. Unset: half of the cores.",
    )
    download_platforms: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(
            "youtube", "tiktok", "facebook", "instagram", "twitter", "vimeo",
            "dailymotion", "bilibili", "soundcloud", "twitch", "reddit", "pinterest",
        ),
        alias="PHAYA_DOWNLOAD_PLATFORMS",
        description="Sites that films may be downloaded from: these names, names of yt-dlp's extractors, and `generic` "
        "for any other page. Empty turns downloads off.",
    )  # fmt: skip
    download_max_mb: int = Field(
        default=500, ge=1, alias="PHAYA_DOWNLOAD_MAX_MB", description="Largest download, in millions of bytes."
    )
    download_seconds: float = Field(
        default=600, gt=0, alias="PHAYA_DOWNLOAD_SECONDS", description="Seconds that a download may take."
    )
    downloads: int = Field(default=2, ge=1, alias="PHAYA_DOWNLOADS", description="Downloads at a time.")
    download_proxy: str | None = Field(
        default=None,
        alias="PHAYA_DOWNLOAD_PROXY",
        repr=False,
        description="Proxy that downloads go through, such as http://user:password@proxy.example:3128; they then "
        "connect nowhere else.",
    )
    download_cookies: Path | None = Field(
        default=None,
        alias="PHAYA_DOWNLOAD_COOKIES",
        description="Cookie file (Netscape format) for sites that ask for a sign-in. It is read, never written.",
    )
    chat_model: str = Field(
        default="google/gemini-2.5-flash",
        alias="PHAYA_CHAT_MODEL",
        description="The OpenRouter model that answers as Phaya-GPT.",
    )
    chat_tokens: int = Field(
        default=8192,
        ge=16,
        alias="PHAYA_CHAT_TOKENS",
        description="Most tokens that a chat answer may have, and what is held for when the caller names no bound.",
    )
    speech_model: str = Field(
        default="gemini-3.8-flash-tts",
        alias="PHAYA_SPEECH_MODEL",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="The Gemini model that reads texts aloud.",
    )
    transcribe_url: str | None = Field(
        default=None,
        alias="PHAYA_TRANSCRIBE_URL",
        description="A server with OpenAI's transcription route, such as https://api.openai.com/v1. "
        "Unset: the sandbox hears while it answers, else speech is not transcribed.",
    )
    transcribe_key: str | None = Field(
        default=None, alias="PHAYA_TRANSCRIBE_KEY", repr=False, description="The transcription server's key, if any."
    )
    transcribe_model: str = Field(
        default="whisper-1", alias="PHAYA_TRANSCRIBE_MODEL", description="The model that transcribes."
    )
    upload_bytes: int = Field(
        default=200_000_000, ge=1, alias="PHAYA_UPLOAD_BYTES", description="Bytes of an uploaded file at the most."
    )
    sandbox_url: str | None = Field(
        default=None,
        alias="PHAYA_SANDBOX_URL",
        description="Address of a `phaya sandbox` that answers instead of one in this process, so that several nodes "
        "share it.",
    )
    sandbox_pace: float = Field(
        default=1.0,
        ge=0,
        alias="PHAYA_SANDBOX_PACE",
        description="A factor on how long the sandbox's tasks take.",
    )
    sandbox_keys: int = Field(
        default=1,
        ge=1,
        le=100,
        alias="PHAYA_SANDBOX_KEYS",
        description="KIE keys that the sandbox plays. Each takes 20 creations in 10 seconds, as KIE's do; others wait.",
    )
    sandbox_paused: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        alias="PHAYA_SANDBOX_PAUSED",
        description="KIE models that the sandbox plays as paused, comma-separated; `suno` and `veo` are whole routes.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", alias="PHAYA_LOG_LEVEL", description="debug, info, warning or error."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        alias="PHAYA_LOG_FORMAT",
        description="How log lines are written: `json`, `console` for people, or `auto`: for people on a terminal.",
    )
    log_requests: Literal["none", "notable", "all"] = Field(
        default="notable",
        alias="PHAYA_LOG_REQUESTS",
        description="Which requests get a line in the log: `none`, `all`, or `notable`, which are those that failed on "
        "our side, were slow, or changed something.",
    )
    log_slow_seconds: float = Field(
        default=2.0,
        gt=0,
        alias="PHAYA_LOG_SLOW_SECONDS",
        description="From how many seconds on a request is slow. Those that asked to wait never are.",
    )
    log_sample: float = Field(
        default=0.0,
        ge=0,
        le=1,
        alias="PHAYA_LOG_SAMPLE",
        description="The share of all other requests that get a line too, from 0 to 1.",
    )
    metrics_token: str | None = Field(
        default=None,
        min_length=16,
        alias="PHAYA_METRICS_TOKEN",
        repr=False,
        description="Bearer token with which `/metrics` may be read from elsewhere. Unset: from this machine only.",
    )
    otel: bool = Field(
        default=False,
        alias="PHAYA_OTEL",
        description="Send traces by OpenTelemetry. Where to is told by the standard variables `OTEL_…`; needs the "
        "extra `phaya[otel]`.",
    )
    digest_webhook: str | None = Field(
        default=None,
        alias="PHAYA_DIGEST_WEBHOOK",
        repr=False,
        description="Address that is told once a day what needs an operator's eyes, such as an incoming webhook of "
        "Slack. Unset: nobody.",
    )
    digest_hour: int = Field(
        default=6, ge=0, le=23, alias="PHAYA_DIGEST_HOUR", description="The hour (UTC) from which the digest is sent."
    )
    digest_always: bool = Field(
        default=False,
        alias="PHAYA_DIGEST_ALWAYS",
        description="Send the digest also on days on which nothing needs eyes.",
    )
    kie_low_credits: float = Field(
        default=1000,
        ge=0,
        alias="PHAYA_KIE_LOW_CREDITS",
        description="Below so many of its credits left, the digest warns of KIE.ai.",
    )

    kie_api_key: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        alias="KIE_API_KEY",
        repr=False,
        description="KIE.ai keys, comma-separated; several widen the budget.",
    )
    kie_base_url: str = Field(default="https://api.kie.ai", alias="KIE_BASE_URL", description="Where KIE.ai is.")
    kie_webhook_key: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        alias="KIE_WEBHOOK_KEY",
        repr=False,
        description="KIE.ai's webhook HMAC keys, comma-separated during a rotation. Unset: only the token is checked.",
    )
    veo_route: Literal["dedicated", "unified"] = Field(
        default="dedicated",
        alias="PHAYA_VEO_ROUTE",
        description="KIE.ai's route for Veo films. `unified` goes through createTask, where no tier can be chosen.",
    )
    suno_route: Literal["dedicated", "unified"] = Field(
        default="dedicated",
        alias="PHAYA_SUNO_ROUTE",
        description="KIE.ai's route for songs. `unified` goes through createTask and needs a model of the V6 family.",
    )
    suno_model: str | None = Field(
        default=None,
        min_length=1,
        alias="PHAYA_SUNO_MODEL",
        description="The Suno model that is sent whatever callers ask for, such as V6. "
        "Unset: the caller's on the dedicated route, V6 on the unified one.",
    )
    openrouter_api_key: str | None = Field(
        default=None, alias="OPENROUTER_API_KEY", repr=False, description="OpenRouter key."
    )
    openrouter_base_url: str = Field(
        default="https://openrouter.ai/api/v1",
        alias="OPENROUTER_BASE_URL",
        description="Where OpenRouter is.",
    )

    gemini_api_key: str | None = Field(
        default=None, alias="GEMINI_API_KEY", repr=False, description="Google Gemini key, for speech."
    )
    gemini_base_url: str = Field(
        default="https://generativelanguage.googleapis.com",
        alias="GEMINI_BASE_URL",
        description="Where Google Gemini is.",
    )

    stripe_secret_key: str | None = Field(
        default=None,
        alias="STRIPE_SECRET_KEY",
        repr=False,
        description="Stripe key by which customers buy the packs of the tariff file. Unset: nothing is sold.",
    )
    stripe_webhook_secret: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        alias="STRIPE_WEBHOOK_SECRET",
        repr=False,
        description="Secrets of Stripe's webhook endpoint, comma-separated during a rotation. Unset: every event is "
        "refused, and nothing is sold.",
    )
    stripe_base_url: str = Field(
        default="https://api.stripe.com", alias="STRIPE_BASE_URL", description="Where Stripe is."
    )

    _lists = field_validator(
        "allowed_networks",
        "trusted_proxies",
        "cors_origins",
        "sandbox_paused",
        "kie_api_key",
        "kie_webhook_key",
        "stripe_webhook_secret",
        "download_platforms",
        mode="before",
    )(_split)

    @field_validator("allowed_networks", "trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        parts = _split(value)
        return [ip_network(part, strict=False) if isinstance(part, str) else part for part in parts]  # type: ignore[union-attr]

    @field_validator(
        "public_url",
        "kie_base_url",
        "openrouter_base_url",
        "gemini_base_url",
        "transcribe_url",
        "sandbox_url",
        "storage_public_url",
        "stripe_base_url",
        "digest_webhook",
    )
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https address such as https://phaya.example")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value is not None and not is_postgresql(value):
            raise ValueError("must be the address of a PostgreSQL such as postgresql://user:password@host/database")
        return value

    @field_validator("metrics_token", "digest_webhook", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # an environment file names what it leaves empty

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("redis_url", mode="before")
    @classmethod
    def _redis(cls, value: object) -> object:
        if not value:
            return None
        try:
            parts = urlsplit(str(value))
            known = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"/?\d*", parts.path)
        except ValueError:  # its port is no number
            known = False
        if not known or not str(value).startswith(("redis://", "rediss://")):
            raise ValueError("must be an address such as redis://redis.example:6379/0, or rediss://… with TLS")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be read by nobody, word for word."""
        values: list[str | tuple[str, ...] | None] = [
            getattr(self, name) for name, field in Settings.model_fields.items() if not field.repr
        ]
        return tuple(
            part for value in values for part in (value if isinstance(value, tuple) else (value or "",)) if part
        )

    @property
    def sandbox(self) -> bool:
        """Whether the sandbox answers: so long as no provider key at all is given."""
        return not (self.kie_api_key or self.openrouter_api_key or self.gemini_api_key)
