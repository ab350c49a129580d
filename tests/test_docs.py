"""The documents tell the truth, as far as a machine can see."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from phaya import reference
from phaya.catalog import CATALOG
from phaya.catalog.language import ChatRequest
from phaya.settings import Settings, is_secret
from readme import quick_start

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CLIENT_VARIABLES = {"PHAYA_API_KEY", "PHAYA_BASE"}
OPERATORS = {"deploy/.env"}
"""Files that operators make, and that no checkout has."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_QUOTED = re.compile(r"`((?:src|docs|deploy|tests|scripts|bench|skill)/[^`\s]*)`")
_VARIABLE = re.compile(r"\b(?:PHAYA|KIE|OPENROUTER|GEMINI|STRIPE)_[A-Z_]*[A-Z]\b")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """What a link may point at within a document, by GitHub's rule."""
    headings = _HEADING.findall(prose(document))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """The files, and the places in them, that a document's links point at."""
    for address in _LINK.findall(prose(document)):
        if not re.match(r"[a-z]+:", address):
            path, _, anchor = address.partition("#")
            yield (document.parent / unquote(path)).resolve() if path else document, anchor


def test_the_printed_pages_are_in_step_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """`make docs` would change nothing."""
    assert (reference.main(["--check"]), capsys.readouterr().err) == (0, "")


def test_a_stale_page_is_named_and_printed_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main([], tmp_path) == 0
    (tmp_path / "docs/cli.md").write_text("of last year")
    capsys.readouterr()

    assert reference.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    assert [name for name in reference.pages() if name in told] == ["docs/cli.md"]
    assert reference.main([], tmp_path) == 0
    assert reference.main(["--check"], tmp_path) == 0


def test_a_page_of_a_service_that_is_gone_is_removed(tmp_path: Path) -> None:
    reference.main([], tmp_path)
    old = tmp_path / "docs/services/text-to-smell.md"
    old.write_text("it was lovely")

    assert reference.main(["--check"], tmp_path) == 1
    assert reference.main([], tmp_path) == 0
    assert not old.exists()


def test_the_services_page_prices_everything_that_is_sold() -> None:
    page = reference.price_list()

    for service in CATALOG:
        file = f"services/{service.path.replace('/', '-')}.md"
        for what, amount in service.rates.items():
            assert f"| [{service.path}]({file}) | {service.name()} | {what} | {amount} |" in page
    for side, amount in ChatRequest.rates.items():
        assert f"| a million {side} tokens | {amount} |" in page


@pytest.mark.parametrize("path", [service.path for service in CATALOG] + [ChatRequest.path])
def test_the_readme_lists_every_service(path: str) -> None:
    assert f"| `{path}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for path, anchor in links(document):
        assert path.exists(), f"no {path}"
        assert not anchor or anchor in anchors(path), f"no {anchor} in {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = _QUOTED.findall(document.read_text(encoding="utf-8"))

    assert [path for path in named if path not in OPERATORS and not (ROOT / path).exists()] == []


def test_every_document_can_be_found_from_the_readme() -> None:
    found: set[Path] = set()
    ahead = [ROOT / "README.md", ROOT / "CHANGELOG.md"]  # a changelog is looked for by its name
    while ahead:
        document = ahead.pop()
        if document.is_dir():
            document /= "README.md"
        if document.suffix == ".md" and document not in found:
            found.add(document)
            ahead += [path for path, _ in links(document)]

    assert [document for document in DOCUMENTS if document not in found] == []


def test_every_variable_that_is_named_is_a_setting() -> None:
    settings = Settings.model_fields.values()
    files = {f"{field.alias}_FILE" for field in settings if is_secret(field)}
    known = CLIENT_VARIABLES | files | {str(field.alias) for field in settings}

    for document in DOCUMENTS:
        assert set() == set(_VARIABLE.findall(document.read_text(encoding="utf-8"))) - known, document


def test_every_setting_is_explained() -> None:
    page = reference.settings_page()

    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"| `{field.alias}` |" in page


def test_secrets_are_marked_and_never_shown() -> None:
    secrets = {str(field.alias): field for field in Settings.model_fields.values() if is_secret(field)}

    assert {"PHAYA_SECRET", "KIE_API_KEY", "KIE_WEBHOOK_KEY", "OPENROUTER_API_KEY"} <= secrets.keys()
    assert [name for name, field in secrets.items() if field.repr] == []


def test_the_quick_start_is_code() -> None:
    """Shells and Python can read it; the tests of the whole run it."""
    blocks = quick_start()

    assert list(blocks) == ["serve", "key", "image", "film", "chat", "python"]
    ast.parse(blocks.pop("python"))
    for name, code in blocks.items():
        assert subprocess.run(["sh", "-n"], input=code.encode(), timeout=10, check=False).returncode == 0, name


def test_the_documents_that_ship_hold_no_machine_paths() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"(?<!\w)/(?:home|work|root|Users|tmp)/", document.read_text(encoding="utf-8")), document


def test_every_proof_of_a_fault_that_we_do_not_have_exists() -> None:
    named = re.findall(r"`(test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`", (ROOT / "docs/faults.md").read_text())
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()]

    assert len(named) > 25
    assert missing == []


def test_every_line_of_the_threat_model_names_code_and_a_test_that_exist() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assets = page.partition("## Who attacks")[0].splitlines()
    defended = [line for line in lines if line not in assets and not line.endswith(("| Proof |", "| Code |"))]

    assert len(defended) > 60
    for line in defended:
        proofs = re.findall(r"`(test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`", line)
        assert proofs, f"no test: {line}"
        assert re.search(r"`src/phaya/[a-z0-9_/]+\.py`", line), f"no code: {line}"
        for file, test in proofs:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"no {file}::{test}"
