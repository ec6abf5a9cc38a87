"""Changing one's own password: every access token ends, and guesses are counted as logins are."""

from __future__ import annotations

from tests.support.access_tokens import Caller, is_served, trail_of
from tests.support.gateway import Gateway
from tests.support.users import PASSWORD, User


def test_a_new_password_ends_every_access_token_of_its_user(
    gateway: Gateway, user: User, me: Caller, operator: Caller, admin: Caller
) -> None:
    named = me.add()["access_token"]
    body = {"current_password": PASSWORD, "new_password": "another pässword"}
    me("POST", "/v1/me/password", 204, json=body)
    assert not is_served(gateway, named) and not is_served(gateway, me.token)
    assert gateway.exchange(user.name, address=gateway.address()).status_code == 401
    answer = gateway.exchange(user.name, "another pässword")
    assert answer.status_code == 201
    assert is_served(gateway, answer.json()["message"]["token"]) and is_served(gateway, admin.token)
    (entry,) = [each for each in trail_of(gateway, operator, user.name) if each["actor"] == user.name]
    assert (entry["action"], entry["before"], entry["after"]) == ("user.change_password", None, None)


def test_a_wrong_current_password_changes_nothing_and_counts_as_a_failed_login(
    gateway: Gateway, user: User, me: Caller
) -> None:
    here = {"X-Forwarded-For": gateway.address()}
    wrong = {"current_password": "wrong", "new_password": "another password"}
    for bad in ("", "bell\a", "x" * 5000):
        me("POST", "/v1/me/password", 400, json={"current_password": PASSWORD, "new_password": bad}, headers=here)
    for number in range(5):
        answer = me.ask("POST", "/v1/me/password", json=wrong | {"current_password": f"wrong {number}"}, headers=here)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "current_password")
    answer = me.ask("POST", "/v1/me/password", json=wrong, headers=here)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_failed_logins")
    assert int(answer.headers["retry-after"]) > 0
    assert gateway.exchange(user.name, address=here["X-Forwarded-For"]).status_code == 429, "it is the same count"
    again = gateway.exchange(user.name, address=gateway.address())
    assert (again.status_code, again.json()["message"]["token"]) == (200, me.token)
