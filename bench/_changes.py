"""What administrators do in bench.administered: whatever they may, in any order, to whoever is there."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import httpx2

from tests.support.office import Office
from tests.support.users import PASSWORD

PAUSE_S = 0.02
REFUSED = frozenset({400, 403, 404, 409})
"""What may be answered to changes that come at a bad moment, such as a grant where no limit is any more."""


class Administrators:
    """Change something again and again, until they are told to stop.

    Args:
        offices: tenants, each with its users.
        seed: of what they choose.

    `tokens` has the access tokens that clients use: those of users and those made by name, whether in force or not.
    """

    def __init__(self, offices: list[Office], users: list[str], seed: int) -> None:
        self._offices, self._users = offices, users
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="administrators")
        self._named: list[tuple[Office, str, str, str]] = []
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []
        self.tokens = {(office.name, user): office.enter(user) for office in offices for user in users}
        self.extra: dict[str, str] = {}  # JWTs of named access tokens by id

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let everybody in again."""
        self._over.set()
        self._thread.join()

    def token(self, number: int) -> str:
        """An access token for a call."""
        jwts = [*self.tokens.values(), *self.extra.values()]
        return jwts[number % len(jwts)]

    def _run(self) -> None:
        ways = [self._limit, self._grant, self._make_token, self._revoke, self._ban, self._models, self._password]
        ways += [self._near_limit, self._remove_limit]
        while not self._over.is_set():
            office, user = self._dice.choice(self._offices), self._dice.choice(self._users)
            way = self._dice.choice(ways)
            try:
                way(office, user)
            except (httpx2.HTTPError, KeyError) as error:
                self.problems.append(f"{way.__name__}: {error!r}")
            self._over.wait(PAUSE_S)

    def _ask(self, office: Office, method: str, path: str, **body: object) -> Any:
        answer = office.ask("operator", method, path, json=body or None)
        what = "/".join(part for part in path.partition("?")[0].split("/") if part.isidentifier())
        self.done[f"{method} {what or 'tenant'}: {answer.status_code}"] += 1
        if not answer.is_success and answer.status_code not in REFUSED:
            self.problems.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.is_success and answer.content else None

    def _place(self, office: Office, user: str) -> dict[str, object]:
        scope = self._dice.choice(["tenant", "user"])
        metric = self._dice.choice(["requests", "tokens", "cost"])
        named = {"user_id": office.ids[user]} if scope == "user" else {}
        return {"scope": scope, **named, "metric": metric, "window": self._dice.choice(["day", "month"])}

    def _limit(self, office: Office, user: str) -> None:
        place = self._place(office, user)
        if self._dice.random() < 0.3:
            place["window"] = "minute"
        tight = self._dice.random() < 0.2
        amount = {"requests": 500, "tokens": 50_000, "cost": 30_000_000}[str(place["metric"])]
        self._ask(office, "PUT", "limits", **place, value=amount if tight else amount * 1_000)
        if tight:
            self._over.wait(PAUSE_S * 5)
            self._ask(office, "PUT", "limits", **place, value=amount * 1_000)

    def _remove_limit(self, office: Office, user: str) -> None:
        place = "&".join(f"{name}={value}" for name, value in self._place(office, user).items())
        self._ask(office, "DELETE", f"limits?{place}")

    def _grant(self, office: Office, user: str) -> None:
        made = self._ask(office, "POST", "grants", **self._place(office, user), value=self._dice.randint(1, 100_000))
        if made and self._dice.random() < 0.5:
            self._ask(office, "DELETE", f"grants/{made['id']}")

    def _make_token(self, office: Office, user: str) -> None:
        name = f"program {self._dice.randrange(10**9)}"
        limits = [{"metric": "requests", "window": "day", "value": self._dice.randint(1, 2000)}]
        made = self._ask(office, "POST", f"users/{office.ids[user]}/access_tokens", name=name, limits=limits)
        if made:
            self._named.append((office, office.ids[user], made["id"], made["access_token"]))
            self.extra[made["id"]] = made["access_token"]

    def _revoke(self, office: Office, user: str) -> None:
        if len(self._named) > len(self._offices):
            whose, user_id, identity, _ = self._named.pop(self._dice.randrange(len(self._named)))
            self._ask(whose, "DELETE", f"users/{user_id}/access_tokens/{identity}")
            self._over.wait(PAUSE_S)
            self.extra.pop(identity, None)

    def _ban(self, office: Office, user: str) -> None:
        path = f"users/{office.ids[user]}"
        self._ask(office, "PATCH", path, status="disabled")
        self._over.wait(PAUSE_S * 3)
        self._ask(office, "PATCH", path, status="active")
        self._enter(office, user)

    def _password(self, office: Office, user: str) -> None:
        self._ask(office, "POST", f"users/{office.ids[user]}/password", password=PASSWORD)
        self._enter(office, user)

    def _enter(self, office: Office, user: str) -> None:
        """Log in anew, where all access tokens have been ended."""
        self.tokens[office.name, user] = office.enter(user)
        for whose, user_id, identity, _ in self._named:
            if (whose, user_id) == (office, office.ids[user]):
                self.extra.pop(identity, None)

    def _models(self, office: Office, user: str) -> None:
        path = f"users/{office.ids[user]}/models"
        self._ask(office, "PUT", path, models=["*embedding*", "none-of-these"])
        self._over.wait(PAUSE_S)
        self._ask(office, "PUT", path, models=["*"])

    def _near_limit(self, office: Office, user: str) -> None:
        self._ask(office, "PATCH", office.path, near_limit=self._dice.choice(["clamp", "refuse"]))
