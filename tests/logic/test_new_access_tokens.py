"""Named access tokens leave rows and entries in the trail for ever, so there is an end to making them."""

from __future__ import annotations

import pytest

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.domain.principals import Claims
from chatapi.errors import Taken
from chatapi.logic import me_access_tokens, new_access_tokens
from chatapi.logic.actors import find_actor
from chatapi.logic.runtime import Runtime
from tests.support.logins import HERE, exchange
from tests.support.runtimes import HandClock


def test_making_and_revoking_access_tokens_over_and_over_ends_for_a_day(
    runtime: Runtime, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_access_tokens, "MOST_A_DAY", 3)
    given = exchange(runtime).access_token
    actor = find_actor(runtime, Claims(given.tenant_id, given.user_id, given.jti), HERE)
    for _ in range(3):
        made = me_access_tokens.add_own(runtime, actor, NewAccessToken("ci"))
        me_access_tokens.revoke_own(runtime, actor, made.kept.access_token.jti)
    with pytest.raises(Taken, match="24 hours"):
        me_access_tokens.add_own(runtime, actor, NewAccessToken("ci"))
    clock.advance(86_401)
    assert me_access_tokens.add_own(runtime, actor, NewAccessToken("ci")).kept.name == "ci"
