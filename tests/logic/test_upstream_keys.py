"""Tenants' own keys: sealing anew may be interrupted, and what a process knew of them yesterday holds nobody up."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from chatapi.domain import chat_request
from chatapi.domain.actors import Actor
from chatapi.domain.principals import Claims, Role
from chatapi.errors import (
    ConfigurationError,
    Forbidden,
    NotFound,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamResting,
)
from chatapi.logic import upstream_keys
from chatapi.logic.actors import command_actor
from chatapi.logic.admission import Admitted, Ask, admit
from chatapi.logic.attempts import first_answer
from chatapi.logic.plans import Candidate
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import SealedElsewhere, Vault
from chatapi.logic.tenants import tenant_of_name
from chatapi.settings import load_settings
from chatapi.storage import leases, sealed
from chatapi.upstream.own_keys import OwnKey
from tests.support import administration
from tests.support.logins import exchange
from tests.support.runtimes import make_runtime

A, B, C = (base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(3))
KEY = "sk-" + "of-the-tenant-0123456789"
FILE = """
[[upstreams]]
name = "one"
kind = "compatible"
base_url = "http://127.0.0.1:9/v1"

[[upstreams]]
name = "two"
kind = "compatible"
base_url = "http://127.0.0.1:9/v1"

[breaker]
failures = 1
open_s = 3600
"""


class Installation:
    """Processes of one installation, each with encryption keys of its own."""

    def __init__(self, url: str, file: Path) -> None:
        self._url, self._file = url, file
        self.made: list[Runtime] = []

    def process(self, *keys: str) -> Runtime:
        settings: dict[str, Any] = {"encryption_keys": ",".join(keys), "upstreams_file": self._file}
        made = make_runtime(self._url, daily_requests=None, **settings)
        leases.renew(made.database, made.running.worker_id)
        self.made.append(made)
        return made


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    path = tmp_path / "upstreams.toml"
    path.write_text(FILE)
    made = Installation(database_url, path)
    administration.add_user(made.process(A), "demo", "secret", tenant="acme")
    yield made
    for runtime in made.made:
        runtime.database.close()


def set_key(runtime: Runtime, tenant: str = "acme", upstream: str = "one", key: str = KEY) -> None:
    upstream_keys.set_key(runtime, command_actor(), tenant_of_name(runtime, tenant).id, upstream, key)


def remove_key(runtime: Runtime, upstream: str = "one") -> None:
    upstream_keys.remove_key(runtime, command_actor(), tenant_of_name(runtime, "acme").id, upstream)


def admitted_to(runtime: Runtime, model: str) -> Admitted:
    token = exchange(runtime).access_token
    request = chat_request.parse({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3})
    return admit(runtime, Ask(Claims(token.tenant_id, token.user_id, token.jti), "/v1/chat/completions", request))


def asked(runtime: Runtime) -> list[tuple[str, OwnKey | None]]:
    """Which upstreams a call would be sent to, and with which keys."""
    admitted = admitted_to(runtime, "m")
    assert admitted.call.held.upstream == admitted.candidate.upstream.name
    admitted.call.release("test")
    return sorted((candidate.upstream.name, candidate.own) for candidate in admitted.plan.candidates)


def places(runtime: Runtime, *keys: str) -> list[bool]:
    """Of every secret, whether these keys open it."""

    def opens(each: sealed.Sealed) -> bool:
        try:
            return Vault(keys).open(each.place, each.content) == KEY
        except SealedElsewhere:
            return False

    with runtime.database.read() as connection:
        return [opens(each) for shelf in sealed.SHELVES for each in sealed.page(connection, shelf, None, 100)]


def test_sealing_anew_goes_on_where_it_was_interrupted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = installation.process(A), installation.process(B, A)
    for number in range(5):
        administration.add_tenant(old, f"tenant-{number}")
        set_key(old, f"tenant-{number}")
    monkeypatch.setattr(upstream_keys, "AT_ONCE", 2)
    progress = list[tuple[int, int]]()

    def interrupt(done: int, total: int) -> None:
        progress.append((done, total))
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upstream_keys.rotate(new, command_actor(), interrupt)
    assert progress == [(2, 5), (4, 5)]
    assert (sum(places(new, A)), sum(places(new, B))) == (1, 4)
    done = upstream_keys.rotate(new, command_actor(), lambda _done, _total: None)
    assert (done.resealed, done.current, done.strange) == (1, 4, [])
    assert places(new, B) == [True] * 5


def test_only_operators_seal_anew_and_what_no_key_opens_is_left_and_told(installation: Installation) -> None:
    set_key(installation.process(C))
    ours = installation.process(B, A)
    with pytest.raises(Forbidden):
        upstream_keys.rotate(ours, Actor("ann", Role.ADMIN), lambda _done, _total: None)
    done = upstream_keys.rotate(ours, command_actor(), lambda _done, _total: None)
    assert done.strange == [f"upstream_keys/{tenant_of_name(ours, 'acme').id}/one"]
    assert places(ours, C) == [True]


def test_a_sealed_key_opens_in_its_own_place_only() -> None:
    """Whoever can write to the database cannot have one tenant's calls paid by another's key."""
    vault = Vault([A])
    kept = vault.seal("upstream_keys/acme/one", KEY)
    assert vault.open("upstream_keys/acme/one", kept) == KEY
    with pytest.raises(SealedElsewhere):
        vault.open("upstream_keys/other/one", kept)
    assert KEY not in repr(OwnKey("id", KEY))


def test_what_a_process_knew_of_a_tenant_s_keys_does_not_keep_it_from_learning_better(
    installation: Installation,
) -> None:
    """Also where by what it knew the call could not even be planned, so that no admission would tell it."""
    ours, theirs = installation.process(A), installation.process(C)
    assert asked(ours) == [("one", None), ("two", None)]
    set_key(theirs)
    for _ in range(2):
        with pytest.raises(Unavailable, match="decrypted"):
            asked(ours)
    remove_key(theirs)
    assert asked(ours) == [("one", None), ("two", None)]
    for upstream in ours.upstreams:  # our own account fails everywhere
        upstream.failed("m", UpstreamFailed("503"))
    with pytest.raises(UpstreamResting):
        asked(ours)
    set_key(ours)
    ((name, own),) = asked(ours)
    assert own is not None
    assert (name, own.key) == ("one", KEY)
    next(iter(ours.upstreams)).failed("m", UpstreamFailed("503"), own)
    with pytest.raises(UpstreamResting):
        asked(ours)
    set_key(ours, upstream="two")
    assert [name for name, _ in asked(ours)] == ["two"]


def test_own_keys_that_are_refused_everywhere_take_nobody_else_s_fallbacks(installation: Installation) -> None:
    ours = installation.process(A)
    for upstream in ("one", "two"):
        set_key(ours, upstream=upstream)
    asked = list[str]()

    def refuse(candidate: Candidate) -> NoReturn:
        asked.append(candidate.upstream.name)
        raise UpstreamRefused("no such key", status=401)

    for number in range(12):  # each model has a breaker of its own
        admitted = admitted_to(ours, f"m-{number}")
        with pytest.raises(UpstreamRefused, match="own key"):
            first_answer(ours, admitted, refuse)
        admitted.call.release("test")
    assert len(asked) > 20
    assert all(ours.upstreams.budget.spend() for _ in range(10))


def test_what_is_not_there_is_not_found(installation: Installation) -> None:
    ours = installation.process(A)
    with pytest.raises(NotFound):
        set_key(ours, upstream="three")
    with pytest.raises(NotFound):
        remove_key(ours)


def test_encryption_keys_are_checked_at_start_and_one_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="encryption_keys") as caught:
        load_settings(encryption_keys=f"{A},{B[:-5]}")
    assert B[:10] not in str(caught.value)
    made = load_settings(var_dir=tmp_path, encryption_keys="").sealing_keys
    assert load_settings(var_dir=tmp_path, encryption_keys="").sealing_keys == made
    assert (tmp_path / "encryption_key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "encryption_key").write_text("cut")
    with pytest.raises(ConfigurationError, match="put back"):
        _ = load_settings(var_dir=tmp_path, encryption_keys="").sealing_keys
    assert load_settings(encryption_keys=f" {A} ,{B},").sealing_keys == (A, B)


def test_a_key_for_an_upstream_that_is_not_configured_any_more_is_told(
    installation: Installation, tmp_path: Path
) -> None:
    ours = installation.process(A)
    set_key(ours)
    (tmp_path / "upstreams.toml").write_text(FILE.replace('"one"', '"renamed"'))
    renamed = installation.process(A)
    (told,) = upstream_keys.keys_of(renamed, tenant_of_name(renamed, "acme").id)
    assert (told.upstream, told.configured) == ("one", False)
    assert asked(renamed) == [("renamed", None), ("two", None)]
