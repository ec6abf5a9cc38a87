"""Models that reason know the cap by another name and refuse a temperature; clients of old routes need not know."""

from __future__ import annotations

import pytest

from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway
from tests.support.routes import messages


@pytest.mark.parametrize("gateway", ["sqlite"], indirect=True)
@pytest.mark.parametrize("model", ["o3-mini", "openai/gpt-5", "gpt-4o"])
def test_a_prompt_is_sent_in_the_words_of_its_model(
    gateway: Gateway, faults: FaultyUpstream, marker: str, model: str
) -> None:
    body = {"model": model, "messages": messages(marker), "max_tokens": 77, "temperature": 0.25}
    assert gateway.http.post("/chatgpt_prompt", json=body, access_token=gateway.sign_in()).status_code == 200
    (served,) = faults.about(marker)
    sent = {name: served.body.get(name) for name in ("max_tokens", "max_completion_tokens", "temperature")}
    if model == "gpt-4o":
        assert sent == {"max_tokens": 77, "max_completion_tokens": None, "temperature": 0.25}
    else:
        assert sent == {"max_tokens": None, "max_completion_tokens": 77, "temperature": None}
