"""The soak's own logic: what it takes for growth, and that it would see some."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from readings import BOUNDS, Reading, excess, handles, table
from soak import mix


def reading(**values: float) -> Reading:
    return dict.fromkeys(BOUNDS, 10.0) | values


FLAT = [reading(), reading(), reading()]


def test_what_is_the_same_at_every_rest_has_not_grown_however_high_it_was_in_between() -> None:
    assert excess(FLAT, reading(sockets=200)) == []


def test_a_leak_is_seen() -> None:
    leaking = [reading(), reading(threads=12), reading(threads=14)]

    assert excess(leaking, reading(threads=20)) == ["threads grew by 4.0, more than 2"]


def test_more_at_once_than_the_load_can_need_is_seen() -> None:
    assert excess(FLAT, reading(sockets=2000)) == ["sockets reached 2000, more than 260"]


def test_the_table_tells_each_rest_and_what_may_be() -> None:
    lines = table(reading(), [reading(), reading(sockets=11)], reading(sockets=90), ["early", "late"])

    assert lines[0] == "| Reading | Start | At rest early | At rest late | Growth at rest | Most under load |"
    assert "| sockets | 10 | 10 | 11 | +1.0 of 2 | 90 of 260 |" in lines


def test_a_socket_and_a_file_that_are_open_are_counted(tmp_path: Path) -> None:
    sockets, others = handles(os.getpid())

    with socket.socket(), (tmp_path / "file").open("w"):
        assert handles(os.getpid()) == (sockets + 1, others + 1)

    assert handles(os.getpid()) == (sockets, others)


def test_most_requests_of_the_mix_are_polls_and_each_knows_its_statuses() -> None:
    kinds = mix(["key"], ["job-1"])

    assert max(kinds, key=lambda kind: kind.weight).name == "poll"
    assert all(kind.statuses and max(kind.statuses) <= 503 for kind in kinds)
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert 500 not in frozenset[int]().union(*(kind.statuses for kind in kinds))
