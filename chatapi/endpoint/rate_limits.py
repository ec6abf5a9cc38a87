"""The x-ratelimit headers of OpenAI's API: the tightest limit on requests and on tokens, where there is one."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response

from chatapi.domain.limits import Metric, Standing, tightest


def add_rate_limits(response: Response, standings: Iterable[Standing]) -> None:
    """Say what is left of the tightest limits. The reset is a duration as OpenAI writes it, such as 3h5m12s."""
    for metric, standing in tightest(standings).items():
        if metric is Metric.COST:
            continue
        response.headers[f"x-ratelimit-limit-{metric}"] = str(standing.limit.value)
        response.headers[f"x-ratelimit-remaining-{metric}"] = str(standing.left)
        response.headers[f"x-ratelimit-reset-{metric}"] = duration(standing.resets_after_s)


def add_clamp(response: Response, cap: int | None) -> None:
    """Say that a limit shortened the completion: to so many tokens per choice."""
    if cap is not None:
        response.headers["x-chatapi-clamped"] = str(cap)


def duration(seconds: int) -> str:
    """Whole seconds as OpenAI writes durations: `6m0s`, `1s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
