"""Limits: set, lifted, removed; and where each one in force comes from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatapi.domain.effective_limits import EffectiveLimit, LimitSource, Unset
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput
from chatapi.logic import limits
from chatapi.logic.runtime import Runtime
from tests.support import administration
from tests.support.runtimes import make_runtime


@pytest.fixture
def runtime(database_url: str) -> Iterator[Runtime]:
    made = make_runtime(database_url)
    yield made
    made.database.close()


def daily(runtime: Runtime, username: str) -> dict[str, tuple[int | None, str]]:
    return {limit.metric: (limit.value, limit.source) for limit in limits.user_limits(runtime, username)}


def test_limits_are_set_lifted_and_removed(runtime: Runtime) -> None:
    administration.add_user(runtime, "demo", "secret", tenant="acme")
    each = limits.LimitTarget.of(each_user_of="acme")
    own = limits.LimitTarget.of(user="demo")
    limits.set_limit(runtime, each, Metric.REQUESTS, Window.DAY, 20)
    assert daily(runtime, "demo") == {"requests": (20, "each_user")}
    limits.set_limit(runtime, own, Metric.REQUESTS, Window.DAY, Unset.UNLIMITED)
    assert daily(runtime, "demo") == {"requests": (None, "own")}
    limits.set_limit(runtime, own, Metric.REQUESTS, Window.DAY, 0)
    assert daily(runtime, "demo") == {"requests": (0, "own")}
    for target in (own, each):
        limits.set_limit(runtime, target, Metric.REQUESTS, Window.DAY, Unset.INHERIT)
        limits.set_limit(runtime, target, Metric.REQUESTS, Window.DAY, Unset.INHERIT)
    assert daily(runtime, "demo") == {"requests": (10, "default")}
    limits.set_limit(runtime, limits.LimitTarget.of(tenant="acme"), Metric.TOKENS, Window.MONTH, 10**15)
    whole = EffectiveLimit(Scope.TENANT, Metric.TOKENS, Window.MONTH, 10**15, LimitSource.OWN)
    assert whole in limits.user_limits(runtime, "demo")
    assert whole in limits.tenant_limits(runtime, "acme")
    assert len(limits.default_limits(runtime)) == 1


def test_a_limit_needs_one_target(runtime: Runtime) -> None:
    administration.add_user(runtime, "demo", "secret")
    for names in ({}, {"user": "demo", "tenant": "default"}):
        with pytest.raises(InvalidInput):
            limits.LimitTarget.of(**names)
