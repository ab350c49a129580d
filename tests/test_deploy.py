"""The files that install Phaya agree with each other and with the code, as far as can be seen without running them."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from conftest import Phaya
from phaya import __version__
from phaya.cli import app
from phaya.providers.roster import LANES
from phaya.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
_INSTALLED = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_VARIABLE = re.compile(r"\b(?:PHAYA|KIE|OPENROUTER|GEMINI|STRIPE)_[A-Z_]*[A-Z]\b")
_ASKED = re.compile(r"\$\{([A-Z_]+)")
_SHELL = re.compile(r"^```sh.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with its arguments in one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(name, arguments.strip()) for name, arguments in lines]


def said(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def caddyfile() -> str:
    return (DEPLOY / "Caddyfile").read_text()


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def unit(file: Path) -> dict[str, list[str]]:
    """What a unit says; a name may be said several times."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def example(*, uncommented: bool = False) -> dict[str, str]:
    """The variables of the example; with `uncommented` also those that are switched off in it."""
    pattern = r"^#?([A-Z_]+)=(.*)$" if uncommented else r"^([A-Z_]+)=(.*)$"
    return dict(re.findall(pattern, (DEPLOY / "phaya.env.example").read_text(), re.MULTILINE))


def understand(words: list[str]) -> None:
    """Reads a command line as `phaya` would, and carries nothing out. Raises where a word or an option is unknown."""
    command: Any = typer.main.get_command(app)
    name = "phaya"
    words = list(words)
    while hasattr(command, "commands"):
        parent = command.make_context(name, words[:1], resilient_parsing=True)
        name = words.pop(0)
        command = command.get_command(parent, name)
        assert command is not None, f"there is no command {name}"
    command.make_context(name, words)


def command_lines(shell: str) -> Iterator[list[str]]:
    """The words after `phaya` in each line of a script that runs it."""
    for line in shell.replace("\\\n", " ").splitlines():
        if "phaya" not in line:
            continue
        lexer = shlex.shlex(re.sub(r"\$\(|`", " ; ", line), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words = list(lexer)
        for place, word in enumerate(words):
            after = words[place + 1 : place + 2]
            if not (Path(word).name == "phaya" and after and re.fullmatch(r"[a-z]+", after[0])) or after == ["phaya"]:
                continue
            if "systemctl" in words[:place]:
                continue
            rest = words[place + 1 :]
            end = next((at for at, part in enumerate(rest) if part in _ENDS or set(part) <= set("();<>|&")), len(rest))
            yield rest[:end]


def test_all_that_the_image_copies_is_there_and_let_in() -> None:
    rules = [rule for rule in (ROOT / ".dockerignore").read_text().splitlines() if rule and not rule.startswith("#")]
    sources = [word for line in said("COPY") if "--from" not in line for word in line.split()[:-1]]

    assert sources
    assert rules[0] == "*"
    for source in sources:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, rule[1:]) for rule in rules if rule.startswith("!")), source


def test_the_wheel_is_built_from_no_more_than_the_image_copies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {word for line in said("COPY") if "--from" not in line for word in line.split()[:-1]}

    assert {project["project"]["readme"], "pyproject.toml", "requirements.lock"} <= copied
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert package.split("/")[0] in copied


def test_the_image_runs_without_rights_and_writes_to_its_volume_alone() -> None:
    order = [name for name, _ in instructions()]
    settings = dict(part.split("=", 1) for line in said("ENV") for part in line.split())

    assert said("USER") == ["phaya"]
    assert "--uid 10001" in next(line for line in said("RUN") if "useradd" in line)
    assert "RUN" not in order[order.index("USER") :]
    assert said("VOLUME") == said("WORKDIR")[-1:] == [settings["PHAYA_DATA_DIR"]] == [settings["TMPDIR"]]


def test_the_last_stage_builds_nothing() -> None:
    names = instructions()
    last = max(at for at, (name, _) in enumerate(names) if name == "FROM")
    run = " ".join(arguments for name, arguments in names[last:] if name == "RUN")

    assert not re.search(r"\b(pip|apt-get|gcc|make)\b", run)


def test_images_are_named_with_their_version() -> None:
    python = next(line.split("=")[1] for line in said("ARG") if line.startswith("PYTHON="))
    used = [f"python:{python}", *(service["image"] for service in compose()["services"].values())]

    assert {line.split()[0] for line in said("FROM")} == {"python:${PYTHON}"}
    for image in used:
        assert re.fullmatch(r"[a-z/]+:\d[\w.-]*", image), image
    assert f"phaya:{__version__}" in used
    assert f'version="{__version__}"' in " ".join(said("LABEL"))


def test_ports_agree() -> None:
    (port,) = said("EXPOSE")
    services = compose()["services"]

    assert json.loads(said("CMD")[0])[-2:] == ["--port", port]
    assert services["phaya"]["command"][:5] == ["serve", "--host", "0.0.0.0", "--port", port]
    assert re.findall(r"^\s*(name|port) (\S+)$", caddyfile(), re.MULTILINE) == [("name", "phaya"), ("port", port)]
    assert f"http://127.0.0.1:{port}/" in said("HEALTHCHECK")[0]
    assert f"http://sandbox:{services['sandbox']['command'][-1]}" == example(uncommented=True)["PHAYA_SANDBOX_URL"]


@pytest.mark.anyio
async def test_the_paths_of_the_health_check_and_the_proxy_answer(phaya: Phaya) -> None:
    probed = re.search(r"http://127\.0\.0\.1:\d+(/\w+)", said("HEALTHCHECK")[0])
    hidden = re.search(r"@inside path (.+)", caddyfile())
    assert probed is not None
    assert hidden is not None

    for path in (probed[1], *(path.rstrip("*") for path in hidden[1].split())):
        async with phaya.session.get(phaya.url + path) as answer:
            assert answer.status == 200, path


def test_uploads_fit_through_the_proxy() -> None:
    size = re.search(r"max_size (\d+)MB", caddyfile())
    wait = re.search(r"response_header_timeout (\d+)m", caddyfile())
    usual = {name: field.default for name, field in Settings.model_fields.items()}

    assert size is not None
    assert wait is not None
    assert int(size[1]) * 1_000_000 > usual["upload_bytes"]
    assert int(wait[1]) * 60 > usual["openai_wait"]


def test_services_start_after_what_they_need_and_stay_in_bounds() -> None:
    whole = compose()
    services: Mapping[str, Any] = whole["services"]

    for name, service in services.items():
        for other, rule in service.get("depends_on", {}).items():
            assert rule == {"condition": "service_healthy"}
            assert "healthcheck" in services[other] or services[other]["image"].startswith("phaya:"), other
        assert service["restart"] == "unless-stopped", name
        assert service["mem_limit"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert set(service["networks"]) <= whole["networks"].keys(), name
        named = {volume.split(":")[0] for volume in service.get("volumes", ()) if not volume.startswith(".")}
        assert named <= whole["volumes"].keys(), name
        assert all((DEPLOY / file.split(":")[0]).exists() for file in service.get("volumes", ()) if file[0] == ".")
        assert ("ports" in service) == (name == "proxy")
    assert services["phaya"]["depends_on"].keys() == {"postgresql", "valkey"}
    assert whole["networks"]["inside"]["internal"]
    assert {name for name, service in services.items() if "outside" not in service["networks"]} == {
        "postgresql",
        "valkey",
    }


def test_every_lane_is_somebodys() -> None:
    commands = [compose()["services"][name]["command"] for name in ("phaya", "work")]

    assert sorted(word for words in commands for word in words if word in LANES) == sorted(LANES)


def test_what_is_written_into_the_example_is_what_the_files_ask_for() -> None:
    asked = set(_ASKED.findall((DEPLOY / "compose.yaml").read_text()))
    asked |= set(re.findall(r"\{\$([A-Z_]+)\}", caddyfile()))

    assert asked
    assert asked <= example().keys()
    assert example()["PHAYA_SECRET"] == example()["POSTGRES_PASSWORD"] == ""


def test_the_environment_of_the_containers_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container of `phaya` gets it: the file, and over it what compose.yaml sets."""
    given = example() | {"POSTGRES_PASSWORD": "a1b2", "PHAYA_SECRET": "c3d4"}
    over = compose()["services"]["phaya"]["environment"]
    filled = {name: re.sub(r"\$\{([A-Z_]+)[^}]*\}", lambda found: given[found[1]], text) for name, text in over.items()}
    for name, value in (given | filled).items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert settings.database_url == "postgresql://phaya:a1b2@postgresql/phaya"
    assert settings.redis_url == "redis://valkey:6379/0"
    assert (settings.public_url, settings.secret) == ("https://phaya.example", "c3d4")
    assert settings.sandbox


def test_what_the_example_switches_off_can_be_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in example(uncommented=True).items():
        monkeypatch.setenv(name, value)

    assert Settings().sandbox_url == "http://sandbox:8010"


@pytest.mark.parametrize("file", [ROOT / "Dockerfile", *_INSTALLED], ids=lambda file: file.name)
def test_every_variable_of_an_installation_is_a_setting(file: Path) -> None:
    known = {str(field.alias) for field in Settings.model_fields.values()}

    assert set(_VARIABLE.findall(file.read_text())) - known == set()


@pytest.mark.parametrize("file", [ROOT / "Dockerfile", *_INSTALLED], ids=lambda file: file.name)
def test_every_page_that_an_installation_names_exists(file: Path) -> None:
    assert [page for page in re.findall(r"docs/[\w/-]+\.md", file.read_text()) if not (ROOT / page).exists()] == []


@pytest.mark.parametrize("name", ["phaya", "work", "sandbox"])
def test_containers_run_commands_that_exist(name: str) -> None:
    understand(compose()["services"][name]["command"])


def test_the_image_runs_a_command_that_exists() -> None:
    assert json.loads(said("ENTRYPOINT")[0]) == ["phaya"]
    understand(json.loads(said("CMD")[0]))


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_units_run_commands_that_exist(file: Path) -> None:
    (line,) = unit(file)["ExecStart"]
    program, *words = line.split()

    assert program == "/opt/phaya/bin/phaya"
    understand(words)


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_units_give_phaya_one_place_to_write_and_no_rights(file: Path) -> None:
    found = unit(file)
    settings = dict(part.split("=", 1) for part in found["Environment"][0].split())
    folder = f"/var/lib/{found['StateDirectory'][0]}"

    assert settings == {"PHAYA_DATA_DIR": folder, "TMPDIR": folder}
    assert found["WorkingDirectory"] == [folder]
    assert (found["ProtectSystem"], found["NoNewPrivileges"], found["CapabilityBoundingSet"]) == (
        ["strict"],
        ["yes"],
        [""],
    )
    assert found["User"] != ["root"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_systemd_knows_every_word_of_the_units(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / file.name
    copy.write_text(file.read_text().replace("/opt/phaya/bin/phaya", "/bin/true"))

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (checked.returncode, [line for line in checked.stderr.splitlines() if file.name in line]) == (0, [])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_pages_exists(page: Path) -> None:
    for script in _SHELL.findall(page.read_text(encoding="utf-8")):
        for words in command_lines(script):
            understand(words)


def test_the_guides_show_commands() -> None:
    """The test above has something to read."""
    for page in ("README.md", "docs/operating.md", "docs/deploying.md", "docs/upgrading.md"):
        scripts = _SHELL.findall((ROOT / page).read_text(encoding="utf-8"))
        assert [words for script in scripts for words in command_lines(script)], page


def test_a_command_that_does_not_exist_is_seen() -> None:
    script = "PHAYA_DATA_DIR=x .venv/bin/phaya keys create --account a@example.com --colour red | cat"
    (words,) = command_lines(script)

    assert words == ["keys", "create", "--account", "a@example.com", "--colour", "red"]
    with pytest.raises(Exception, match="colour"):
        understand(words)
    with pytest.raises(AssertionError, match="no command burn"):
        understand(["keys", "burn"])


def test_the_site_shows_every_page_in_the_order_of_the_index() -> None:
    site = runpy.run_path(str(ROOT / "scripts/site.py"))
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    project = tomllib.loads(site["configuration"]((ROOT / "zensical.toml").read_text(), index))["project"]

    shown = list(_pages(project["nav"]))
    listed = re.findall(r"^- \[[^\]]*\]\(([^)]+)\)", index, re.MULTILINE)

    assert sorted(shown) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert [page for page in shown if page in listed] == listed


def _pages(entries: Any) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, list):
        for entry in entries:  # pyright: ignore[reportUnknownVariableType] - a table of TOML
            yield from _pages(entry)
    else:
        for inner in entries.values():
            yield from _pages(inner)


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]

    assert project["theme"]["font"] is False
    for script in project["extra"]["polyfills"]:
        assert (ROOT / "docs" / script["path"]).exists()
        assert "iframe-worker" in script["path"], "zensical would add a CDN's"
