"""What an upstream is left alone for, and what is none of its faults."""

from __future__ import annotations

import httpx2
import pytest

from chatapi.domain.routing import Breaker, Breakers
from chatapi.errors import UpstreamError, UpstreamRefused
from chatapi.settings import Settings
from chatapi.settings.upstreams import Upstream as Described
from chatapi.upstream.targets import build_target
from chatapi.upstream.translate import translate
from chatapi.upstream.upstream import Upstream


@pytest.mark.parametrize(
    ("error", "rests"),
    [
        (translate(httpx2.ConnectError("refused")), True),
        (translate(httpx2.ReadTimeout("silent")), True),
        (translate(httpx2.PoolTimeout("as many calls as there may be are under way")), False),
        (UpstreamRefused("the request is at fault", status=400), False),
        (UpstreamRefused("the key is refused", status=401), True),
    ],
)
def test_an_upstream_is_left_alone_for_faults_of_its_own(error: UpstreamError, *, rests: bool) -> None:
    url = "http://127.0.0.1:9/v1"
    target = build_target(Settings(openai_base_url=url))
    breakers = Breakers(lambda: Breaker(1, 60))
    upstream = Upstream(Described(name="only", kind="compatible", base_url=url), target, breakers)
    assert upstream.take("a")
    upstream.failed("a", error)
    assert (upstream.rests_s("a") > 0) is rests
    assert upstream.take("a") is not rests
    assert upstream.take("b"), "another model may be as well as ever"
