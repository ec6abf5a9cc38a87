"""OpenAI's usage and costs: pages of its API (`/v1/organization/usage/…`, `/v1/organization/costs`) as JSON, and what
the dashboard exports as CSV, whose columns are the fields of the same objects.

Sources: OpenAI's API reference, "Usage"; the columns of exported files as they are published. Times are seconds since
1970; buckets and days are UTC's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from chatapi.domain.provider_usage import Export, Figures, decimal_number, whole_number

KIND = "openai"
USAGE = {
    "requests": "num_model_requests",
    "prompt_tokens": "input_tokens",
    "cached_tokens": "input_cached_tokens",
    "completion_tokens": "output_tokens",
}
COST_COLUMNS = ("amount_value", "amount_currency")
LAST_SECOND = 4_102_444_800  # of 2099
A_DAY = timedelta(days=1)


def is_openai(columns: set[str]) -> bool:
    """Whether a CSV of these columns is one of OpenAI's. Days without any usage have the times alone."""
    return {"start_time", "end_time"} <= columns


def add_row(export: Export, row: Mapping[str, str]) -> None:
    """A line of a CSV.

    Raises:
        ValueError: it cannot be understood.
    """
    begin, end = _times(row)
    fields = {name: value for name, value in row.items() if value.strip()}
    if COST_COLUMNS[0] in fields:
        amount = {"value": fields[COST_COLUMNS[0]], "currency": fields.get(COST_COLUMNS[1])}
        _add(export, begin, {"amount": amount, "line_item": fields.get("line_item")})
    elif any(name in fields for name in USAGE.values()):
        _add(export, begin, fields)
    export.be(KIND)
    export.cover(begin, end)


def add_bucket(export: Export, bucket: Any) -> None:
    """A bucket of a page, with all its results.

    Raises:
        ValueError: it cannot be understood.
    """
    results = bucket.get("results", bucket.get("result")) if isinstance(bucket, dict) else None
    if not isinstance(results, list):
        raise ValueError("no bucket with start_time, end_time and results")
    begin, end = _times(bucket)
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"results[{number}] is no object")
        try:
            _add(export, begin, result)
        except ValueError as error:
            raise ValueError(f"results[{number}]: {error}") from None
    export.be(KIND)
    export.cover(begin, end)


def _times(row: Mapping[str, Any]) -> tuple[datetime, datetime]:
    seconds = [whole_number(row.get(name), name) for name in ("start_time", "end_time")]
    begin, end = seconds
    if begin is None or end is None or not begin < end <= LAST_SECOND:
        raise ValueError("start_time and end_time are not the seconds of a time")
    times = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
    if times[1] - times[0] > A_DAY or (times[1] - timedelta(seconds=1)).date() != times[0].date():
        raise ValueError("its time is not within one day (UTC): export it by day, hour or minute (bucket_width)")
    return times


def _add(export: Export, begin: datetime, result: Mapping[str, Any]) -> None:
    day = begin.date().isoformat()
    if "amount" in result:
        _add_cost(export, day, result)
        return
    figures = Figures(**{name: whole_number(result.get(field), field) for name, field in USAGE.items()})  # type: ignore[arg-type]
    if figures == Figures():
        raise ValueError("it has neither usage nor an amount")
    if figures.prompt_tokens is not None and figures.completion_tokens is None:
        figures = figures._replace(completion_tokens=0)  # embeddings and moderations have none to speak of
    if figures.prompt_tokens is not None and figures.cached_tokens is None:
        figures = figures._replace(cached_tokens=0)
    if str(result.get("batch")).lower() == "true":
        export.remark("rows are of the Batch API, which calls through ChatAPI never use")
    export.add(day, _text(result.get("model"), "model"), figures)


def _add_cost(export: Export, day: str, result: Mapping[str, Any]) -> None:
    amount = result["amount"]
    if not isinstance(amount, dict):
        raise ValueError("amount is no object with value and currency")
    value, currency = decimal_number(amount.get("value"), "amount.value"), str(amount.get("currency") or "usd").lower()
    if currency != "usd":
        export.remark(f"amounts are in {currency[:10]!r} and not compared: costs here are US dollars")
        return
    item = _text(result.get("line_item"), "line_item")
    export.add(day, item.partition(",")[0].strip(), Figures(cost=value or Decimal(0)))


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 500:
        raise ValueError(f"{name} is no name")
    return value.strip()
