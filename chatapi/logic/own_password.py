"""One's own password: changed by who knows the one that there is, held against it as a login's is."""

from __future__ import annotations

from chatapi.domain.actors import Actor
from chatapi.domain.passwords import password_problem
from chatapi.errors import InvalidCredentials, InvalidInput, InvalidRequest, Taken
from chatapi.logic.changes import change
from chatapi.logic.logins import log_in
from chatapi.logic.me_access_tokens import own_claims
from chatapi.logic.new_access_tokens import require_password_given
from chatapi.logic.new_passwords import new_hash, put_hash
from chatapi.logic.runtime import Runtime
from chatapi.logic.users import user_to_change


def change_password(runtime: Runtime, actor: Actor, current: str, new: str) -> None:
    """Give the actor another password; all its access tokens end at once, in every process, the one it asks with too.

    A wrong current password is a failed login, and counts as one.

    Raises:
        InvalidInput: the new password cannot be one.
        InvalidRequest: the current password is wrong.
        Forbidden: the actor's access token was made by name.
        TooManyLoginFailures: from this address, or of this user from it.
        Taken: the password has been changed by somebody else meanwhile.
        Overloaded: too many logins are waiting.
    """
    claims = own_claims(actor)
    if problem := password_problem(new):
        raise InvalidInput(f"The new password {problem}.")
    with runtime.database.read() as connection:
        require_password_given(runtime, connection, actor)
    try:
        verified = log_in(runtime, actor.name, current, actor.address, lambda _, user, __: user.password_hash)
    except InvalidCredentials:
        problem = "The current password is wrong."
        raise InvalidRequest(problem, param="current_password", code="wrong_password") from None
    password_hash = new_hash(runtime, actor, new)
    with change(runtime, actor) as made:
        user = user_to_change(made, claims.tenant_id, claims.user_id)
        if user.password_hash != verified:
            raise Taken("The password has been changed meanwhile.")
        put_hash(made, user, password_hash)
        made.record("user.change_password", user.tenant_id, "user", user.username)
