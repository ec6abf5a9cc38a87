"""CONTRACT §3: `POST /chatgpt_prompt`, answered with a JSON string."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.faults import SECRET, FaultyUpstream, reply_to
from tests.support.gateway import Gateway
from tests.support.routes import PROMPT, SORRY, refused_string

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is one and one?"},
    {"role": "assistant", "content": "Two."},
]


def ask(gateway: Gateway, text: str, **changes: Any) -> Any:
    body = {
        "model": "some-model", "messages": [*CONVERSATION, {"role": "user", "content": text}],
        "max_tokens": 77, "temperature": 0.25, **changes,
    }  # fmt: skip
    return gateway.http.post("/chatgpt_prompt", json=body, access_token=gateway.somebody)


def test_the_reply_is_a_json_string_that_begins_with_answer(gateway: Gateway, marker: str) -> None:
    answer = ask(gateway, marker)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert answer.json() == f"Answer: {reply_to(marker)}"


def test_all_messages_and_parameters_are_sent_to_the_upstream(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    assert ask(gateway, marker).status_code == 200
    (served,) = faults.about(marker)
    assert served.body["messages"] == [*CONVERSATION, {"role": "user", "content": marker}]
    assert served.body["model"] == "some-model"
    assert served.body["temperature"] == 0.25
    assert served.body.get("max_tokens", served.body.get("max_completion_tokens")) == 77


@pytest.mark.parametrize("fault", ["status-400", "status-401", "status-429", "status-500", "hang", "garbage"])
def test_when_the_upstream_fails_it_is_sorry(gateway: Gateway, fault: str) -> None:
    answer = ask(gateway, f"fault:{fault}")
    assert answer.status_code == 502
    assert answer.json() == SORRY
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": None}, {"messages": "hello"}, {"messages": []}, {"messages": ["hello"]}, {"messages": [{}]},
        {"messages": [{"role": "user"}]}, {"messages": [{"content": "hello"}]},
        {"messages": [{"role": 1, "content": "hello"}]}, {"messages": [{"role": "user", "content": 1}]},
        {"model": 1}, {"max_tokens": "many"}, {"max_tokens": -1}, {"max_tokens": 0}, {"max_tokens": 1.5},
        {"max_tokens": True}, {"temperature": "hot"}, {"temperature": []},
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_with_a_reason(
    gateway: Gateway, faults: FaultyUpstream, marker: str, changes: dict[str, Any]
) -> None:
    answer = ask(gateway, marker, **changes)
    assert answer.status_code == 400
    assert refused_string(answer) != SORRY
    assert not faults.about(marker)


def test_without_an_access_token_it_is_refused(gateway: Gateway) -> None:
    answer = PROMPT.ask(gateway, "hello", None)
    assert answer.status_code == 401
    assert refused_string(answer) != SORRY


def test_a_used_up_quota_is_refused_with_the_time_to_come_back(gateway: Gateway) -> None:
    answer = PROMPT.ask(gateway, "hello", gateway.sign_in("none"))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert refused_string(answer) != SORRY
