"""What the package brings is pinned and hashed, and every rule of security that is set aside says why."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])

_SET_ASIDE = re.compile(r"#\s*(?:noqa|nosec)\b(?P<codes>[^-(]*)(?P<reason>.*)")


def pinned(text: str) -> dict[str, str]:
    """The versions that a file of requirements pins, by the packages' names as indexes compare them."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def locked() -> dict[str, str]:
    return pinned((ROOT / "requirements.lock").read_text())


def test_the_lock_pins_what_was_tested() -> None:
    tested = pinned((ROOT / "constraints.txt").read_text())

    assert len(locked()) > 60
    assert {name: tested.get(name) for name in locked()} == locked()


def test_the_lock_holds_all_that_the_package_asks_for() -> None:
    asked = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        asked += extra

    for one in map(Requirement, asked):
        assert one.specifier.contains(locked()[canonicalize_name(one.name)]), one.name


def test_what_developers_ask_for_is_pinned_as_well() -> None:
    tested = pinned((ROOT / "constraints.txt").read_text())

    for group in PROJECT["dependency-groups"].values():
        for one in map(Requirement, group):
            assert one.specifier.contains(tested[canonicalize_name(one.name)]), one.name


def test_every_line_of_the_lock_has_hashes_and_none_an_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]

    assert len(entries) == len(locked())
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert re.search(r"://|--(?:extra-)?index|--find-links|file:", text) is None


def test_the_image_installs_nothing_without_a_hash() -> None:
    install = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")

    for line in re.findall(r"pip --python .*", install):
        assert {"--require-hashes", "--constraint requirements.lock", "--only-binary :all:"} <= {
            option for option in ("--require-hashes", "--constraint requirements.lock", "--only-binary :all:")
            if option in " ".join(line.split())
        }  # fmt: skip
    assert "pip --python" in install


def test_an_audit_that_asked_nobody_is_not_called_clean() -> None:
    verdict = runpy.run_path(str(ROOT / "scripts/audit.py"))["verdict"]
    clean: dict[str, object] = {"name": "a", "version": "1", "vulns": []}
    faulty = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    lost = {"name": "c", "skip_reason": "not found"}

    def judged(*packages: object) -> tuple[int, str]:
        return verdict(json.dumps({"dependencies": packages}))

    assert judged(clean)[0] == 0
    assert judged(clean, faulty) == (1, "b 2: PYSEC-1, mended in 3")
    assert judged(clean, lost)[0] == 2
    assert judged(faulty, lost)[0] == 1
    assert "NOTHING WAS AUDITED" in judged(lost)[1]
    assert verdict("")[0] == 2


def test_an_audit_leaves_out_no_package_of_another_platform() -> None:
    everywhere = runpy.run_path(str(ROOT / "scripts/audit.py"))["everywhere"]

    asked = everywhere((ROOT / "requirements.lock").read_text())

    assert pinned(asked) == locked()
    assert "sys_platform" in (ROOT / "requirements.lock").read_text()
    assert ";" not in asked


def test_ruffs_rules_of_security_are_on_for_the_product() -> None:
    lint = PROJECT["tool"]["ruff"]["lint"]

    assert "S" in lint["select"]
    assert {code for code in lint["ignore"] if re.fullmatch(r"S\d+", code)} == {"S101", "S610"}
    assert [path for path, codes in lint["per-file-ignores"].items() if "S" in codes] == ["tests/**", "bench/**"]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_rule_that_is_set_aside_says_which_and_why(file: Path) -> None:
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if found := _SET_ASIDE.search(line):
            assert re.search(r"[A-Z]+\d", found["codes"]), f"line {number} names no rule"
            assert len(found["reason"].strip(" -()")) >= 8, f"line {number} gives no reason"
