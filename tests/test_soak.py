"""The soak's own logic: what it takes for growth, and that it would see some."""

from __future__ import annotations

from soak import GROWTH, Samples, excess, mix


def sampled(memory: list[float]) -> Samples:
    samples = Samples([2.0 * number for number in range(len(memory))])
    samples.readings = {name: [10.0] * len(memory) for name in GROWTH} | {"memory": memory}
    return samples


def test_what_is_flat_after_the_first_quarter_has_not_grown() -> None:
    warming = [float(number) for number in range(25)] + [100.0] * 75

    grown = sampled(warming).grown()

    assert grown == {"memory": 0.0, "handles": 0.0, "threads": 0.0}
    assert excess(grown) == []


def test_a_leak_is_seen() -> None:
    grown = sampled([100 + 0.5 * number for number in range(100)]).grown()

    assert round(grown["memory"]) == 37
    assert excess(grown) == ["memory grew by 37.0, more than 12"]


def test_most_requests_of_the_mix_are_polls_and_each_knows_its_statuses() -> None:
    kinds = mix(["key"], ["job-1"])

    assert max(kinds, key=lambda kind: kind.weight).name == "poll"
    assert all(kind.statuses and max(kind.statuses) <= 503 for kind in kinds)
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert 500 not in frozenset[int]().union(*(kind.statuses for kind in kinds))
