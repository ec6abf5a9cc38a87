"""Decoys: of which parameters there are some, and how often the database is asked for them."""

from __future__ import annotations

from chatapi.domain.password_hashes import HashCost, hash_cost
from chatapi.logic.decoys import MOST_KINDS, Decoys

OWN, DEAR = HashCost(16, 1, 1), HashCost(64, 3, 4)


class Watch:
    """A clock that is set by hand, and a look at the database that takes its time."""

    def __init__(self, took_s: float) -> None:
        self.now = 1000.0
        self.took_s = took_s
        self.looks = 0

    def clock(self) -> float:
        return self.now

    def look(self) -> list[HashCost]:
        self.looks += 1
        self.now += self.took_s
        return [DEAR]


def kinds(decoys: Decoys) -> list[HashCost | None]:
    return [hash_cost(decoy) for decoy in decoys.hashes(but=None)]


def test_the_database_is_asked_at_the_first_login_and_then_once_a_minute() -> None:
    watch = Watch(took_s=0.01)
    decoys = Decoys(OWN, watch.clock)
    assert kinds(decoys) == [OWN]
    decoys.refresh(watch.look)
    assert kinds(decoys) == [OWN, DEAR]
    before = decoys.hashes(but=None)
    for seconds, looks in ((0, 1), (59, 1), (2, 2), (1, 2)):
        watch.now += seconds
        decoys.refresh(watch.look)
        assert watch.looks == looks
    assert decoys.hashes(but=None) == before


def test_where_looking_takes_long_it_is_done_more_seldom() -> None:
    watch = Watch(took_s=0.5)
    decoys = Decoys(OWN, watch.clock)
    for _ in range(10):
        decoys.refresh(watch.look)
        watch.now += 60
    assert watch.looks == 2


def test_what_was_verified_already_is_left_out() -> None:
    decoys = Decoys(OWN)
    decoys.meet(DEAR)
    assert [hash_cost(decoy) for decoy in decoys.hashes(but=DEAR)] == [OWN]
    assert [hash_cost(decoy) for decoy in decoys.hashes(but=OWN)] == [DEAR]


def test_of_very_many_parameters_the_dearest_have_decoys() -> None:
    decoys = Decoys(OWN)
    for memory in range(100, 150):
        decoys.meet(HashCost(memory, 1, 1))
    assert kinds(decoys) == [OWN, *(HashCost(memory, 1, 1) for memory in range(150 - MOST_KINDS + 1, 150))]
