"""`chatapi access-tokens`: make named access tokens, list and revoke them."""

from __future__ import annotations

from datetime import datetime

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.access_tokens import AccessTokenLimit, AccessTokenState, NewAccessToken
from chatapi.domain.effective_limits import LimitRow, read_limit
from chatapi.domain.limits import Metric
from chatapi.domain.money import in_dollars
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput, NotFound
from chatapi.logic import access_tokens as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.explain import utc
from chatapi.logic.listed_access_tokens import AccessTokenFilter, ListedAccessToken
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_name
from chatapi.logic.users import user_of_name
from chatapi.signing import sign_with

A_LIMIT = "METRIC/WINDOW[/MODEL]=VALUE"


@click.group("access-tokens", epilog=EXIT_CODES)
def access_tokens() -> None:
    """Make named access tokens, list and revoke them.

    A user has one access token without a name, which POST /token gives, and as many named ones as it needs: one for
    each program, with an expiry, models and limits of its own.
    """


@access_tokens.command(epilog=EXIT_CODES)
@click.argument("username")
@click.argument("name")
@click.option("--days", type=int, help="For how many days; without it as long as those of POST /token.")
@click.option("--until", help="Until when instead, such as 2026-12-31T18:00:00Z.")
@click.option("--model", "models", multiple=True, help="It may ask models of this pattern only; may be repeated.")
@click.option("--limit", "limits", multiple=True, metavar=A_LIMIT, help="A limit of its own; may be repeated.")
@with_runtime
def add(
    runtime: Runtime,
    username: str,
    name: str,
    *,
    days: int | None,
    until: str | None,
    models: tuple[str, ...],
    limits: tuple[str, ...],
) -> None:
    """Make an access token of this NAME for a user, and write the JWT to standard output. It is shown this once.

    \b
    Limits are besides those of the user and its tenant, for example:
      requests/day=100  tokens/minute=20000  cost/month=12.50  tokens/day/gpt-4o=50000  requests/at-once=2
    """
    new = NewAccessToken(
        name, days, None if until is None else _instant(until), models or None, [_limit(text) for text in limits]
    )
    user = user_of_name(runtime, username)
    made = logic.add_access_token(runtime, command_actor(), user.tenant_id, user.id, new)
    click.echo(sign_with(runtime.settings.secret, made.kept.access_token))
    until = utc(made.kept.access_token.expires_at)
    click.echo(
        f"Access token {name} of {username} is valid until {until}. Its id is {made.kept.access_token.jti}.", err=True
    )


@access_tokens.command("list", epilog=EXIT_CODES)
@click.option("--user", help="Of this user.")
@click.option("--tenant", help="Of all users of this tenant.")
@click.option(
    "--state",
    type=click.Choice([*(state.value for state in AccessTokenState), "all"]),
    default=AccessTokenState.LIVE.value,
    show_default=True,
    help="What has become of them.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list; cost in nano-dollars.")
@with_runtime
def list_access_tokens(runtime: Runtime, user: str | None, tenant: str | None, state: str, as_json: bool) -> None:
    """List access tokens, newest first. One without a name is the one that POST /token gives.

    "last used" is the last day, at the tenant's, on which a call was made with it.
    """
    if (user is None) == (tenant is None):
        raise InvalidInput("Name a user or a tenant, and not both.")
    wanted = AccessTokenFilter(None if state == "all" else AccessTokenState(state))
    if user is not None:
        owner = user_of_name(runtime, user)
        found = logic.access_tokens_of(runtime, command_actor(), owner.tenant_id, owner.id, wanted)
    else:
        found = logic.access_tokens_of(runtime, command_actor(), tenant_of_name(runtime, tenant or "").id, None, wanted)
    columns = ("username", "name", "state", "expires_at", "last_used", "models", "limits", "id")
    show([_row(each, as_json=as_json) for each in found], columns, as_json=as_json)


@access_tokens.command(epilog=EXIT_CODES)
@click.argument("username")
@click.argument("name", required=False)
@click.option("--id", "jti", help="Of this id instead of a live one of this name.")
@with_runtime
def revoke(runtime: Runtime, username: str, name: str | None, jti: str | None) -> None:
    """End an access token of a user at once, in every process."""
    if (name is None) == (jti is None):
        raise InvalidInput("Say its NAME, or its --id, and not both.")
    user = user_of_name(runtime, username)
    if name is not None:
        wanted = AccessTokenFilter(AccessTokenState.LIVE, name)
        found = logic.access_tokens_of(runtime, command_actor(), user.tenant_id, user.id, wanted)
        if not found:
            raise NotFound(f"There is no live access token {name!r} of {username!r}.")
        jti = found[0].kept.access_token.jti
    logic.revoke_access_token(runtime, command_actor(), user.tenant_id, user.id, jti or "")
    click.echo(f"Access token {name or jti} of {username} is revoked.", err=True)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("must be an instant, such as 2026-12-31T18:00:00Z", param_hint="--until") from None
    return instant.astimezone() if instant.tzinfo is None else instant  # without a zone: this machine's


def _limit(text: str) -> AccessTokenLimit:
    """Read a limit as `METRIC/WINDOW[/MODEL]=VALUE`; names of models may have slashes and equals signs in them."""
    place, _, value = text.rpartition("=")
    metric, window, model = (*place.split("/", 2), "", "")[:3]
    try:
        read = Metric(metric)
        setting = read_limit(value, read)
        if not isinstance(setting, int):
            raise ValueError(text)
        return AccessTokenLimit(read, Window(window.replace("-", "_")), setting, model)
    except ValueError:
        problem = f"{text!r} is not {A_LIMIT}, such as requests/day=100 or cost/month=12.50"
        raise click.BadParameter(problem, param_hint="--limit") from None


def _row(each: ListedAccessToken, *, as_json: bool) -> dict[str, object]:
    kept = each.kept
    row: dict[str, object] = {
        "username": kept.username,
        "name": kept.name,
        "state": each.state.value,
        "expires_at": utc(kept.access_token.expires_at),
        "last_used": each.last_used,
        "id": kept.access_token.jti,
    }
    if not as_json:
        models = None if kept.models is None else ", ".join(kept.models) or "none"
        return row | {"models": models, "limits": ", ".join(_readable(limit) for limit in each.limits)}
    row |= {"issued_at": utc(kept.access_token.issued_at)}
    row |= {"revoked_at": None if kept.revoked_at is None else utc(kept.revoked_at), "models": kept.models}
    return row | {
        "limits": [
            {"metric": limit.metric, "window": limit.window, "model": limit.model or None, "value": limit.value}
            for limit in each.limits
        ]
    }


def _readable(limit: LimitRow) -> str:
    place = f"{limit.metric}/{limit.window.replace('_', '-')}" + (f"/{limit.model}" if limit.model else "")
    if limit.value is None:
        return f"{place}=unlimited"
    return f"{place}={in_dollars(limit.value) if limit.metric is Metric.COST else limit.value}"
