"""Who acts: found anew for every request, because roles, users and access tokens change while JWTs do not."""

from __future__ import annotations

import os
import pwd

from chatapi.domain.actors import Actor
from chatapi.domain.names import COMMAND
from chatapi.domain.principals import Claims, Role
from chatapi.errors import UnknownAccessToken
from chatapi.logic.runtime import Runtime
from chatapi.storage import me
from chatapi.storage.accounts import Transaction


def find_actor(runtime: Runtime, claims: Claims, address: str) -> Actor:
    """The user that these claims are of, as it is now.

    Raises:
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        return as_it_is(runtime, connection, Actor("", Role.USER, claims, address))


def as_it_is(runtime: Runtime, connection: Transaction, actor: Actor) -> Actor:
    """The same actor with the name and role that it has in this transaction.

    Raises:
        UnknownAccessToken: it is not served any more.
    """
    if actor.claims is None:
        return actor
    person = me.find_person(connection, runtime.database, actor.claims)
    if person is None:
        raise UnknownAccessToken
    return Actor(person.username, person.role, actor.claims, actor.address, person.access_token_name is not None)


def command_actor() -> Actor:
    """Whoever runs a command: who can do that has the database, and may do all.

    By the account that the process runs as; what its environment says (`LOGNAME`) anybody can say.
    """
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no such account on this machine, as in many containers
        account = str(os.getuid())
    return Actor(f"{COMMAND}{account}", Role.OPERATOR)
