"""Azure's costs of OpenAI models: exports of Cost Management (CSV; JSON of its query API or of usage details).

There is no row for a call, only one for each meter and day: its quantity says the tokens, its name the model and of
which kind they are ("gpt 4o 0806 cached Inp glbl Tokens"). Nothing says how many requests there were.

Sources: Microsoft's "Cost and usage details file schema", of several agreements; names of meters as the price list has
them. Nobody publishes a grammar of these names: what is not understood is said, and can be given by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from chatapi.domain.provider_usage import Export, Figures, decimal_number, read_day

KIND = "azure"
DATES = ("date", "usagedate", "usagedatetime")
METERS = ("metername", "meter")
QUANTITIES = ("quantity", "usagequantity")
UNITS = ("unitofmeasure", "unit")
DOLLARS = ("costinusd", "costusd", "pretaxcostusd")
COSTS = ("costinbillingcurrency", "pretaxcost", "cost")
CURRENCIES = ("billingcurrency", "billingcurrencycode", "currency", "currencycode")
CATEGORIES = ("metercategory", "metersubcategory", "productname", "product", "servicename", "consumedservice")
OURS = re.compile(r"openai|foundry models", re.IGNORECASE)

_WORDS = re.compile(r"[\s_-]+")
_CACHED = frozenset({"cached", "cchd", "cd"})
_INPUT = frozenset({"inp", "inpt", "input", "in"})
_OUTPUT = frozenset({"out", "outp", "outpt", "output", "opt"})
_MODES = frozenset({"batch", "pp", "std", "shortco", "longco"})
_UNIT = re.compile(r"^([\d.,]+)\s*([KM]?)\b", re.IGNORECASE)
_UNIT_IN_NAME = re.compile(r"\b1([KM])\b", re.IGNORECASE)
_SCALE = {"": 1, "K": 1000, "M": 1_000_000}


class Meter(NamedTuple):
    """What a meter's name says: the model, and whether its tokens are the prompt's, and cached, or the completion's."""

    model: str
    is_prompt: bool
    is_cached: bool


def read_meter(name: str) -> Meter | None:
    """Read a name such as `gpt-4o-mini-0718-Inp-glbl Tokens`; None where it is of no tokens."""
    words = [word for word in _WORDS.split(name.strip().lower()) if word]
    for place, word in enumerate(words):
        cached = word in _CACHED
        kind = words[place + 1] if cached and place + 1 < len(words) else word
        if kind in _INPUT or kind in _OUTPUT:
            model = "-".join(each for each in words[:place] if each not in _MODES)
            return Meter(model, kind in _INPUT, cached) if model else None
    return None


def is_azure(columns: set[str]) -> bool:
    """Whether rows of these columns, in small letters, are Azure's."""
    return bool(columns & set(DATES)) and bool(columns & set(METERS))


def column_name(name: str) -> str:
    """How a column is called here: schemas differ in capitals, and some say where they come from."""
    return re.sub(r"[^a-z]", "", name.lower().rpartition("/")[2])


def add_row(export: Export, row: Mapping[str, Any]) -> None:
    """A row, by `column_name`.

    Raises:
        ValueError: it cannot be understood.
    """
    day = read_day(_first(row, DATES))
    name = str(_first(row, METERS) or "").strip()
    meter = read_meter(name)
    categories = [str(row[column]) for column in CATEGORIES if row.get(column)]
    is_other = bool(categories) and not any(OURS.search(category) for category in categories)
    export.be(KIND)
    if is_other and not (meter and "cognitive" in " ".join(categories).lower()):
        export.remark("rows are of other services and left out")
        return
    export.cover_day(day)
    if meter is None:
        export.remark(f"rows are of the meter {name[:60]!r}, which counts no tokens: only their cost is compared")
    figures = _figures(export, row, meter, name)
    if figures != Figures():
        export.add(day.isoformat(), meter.model if meter else name.lower(), figures)


def add_object(export: Export, found: Any) -> None:
    """A row as JSON: of usage details, whose fields may lie one deeper.

    Raises:
        ValueError: it cannot be understood.
    """
    if not isinstance(found, dict):
        raise ValueError("no object")
    row = flattened(found)
    if not is_azure(set(row)):
        raise ValueError("it has no date and no meter")
    add_row(export, row)


def flattened(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object and of those in it, by `column_name`; the outer ones win."""
    row: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            row = flattened(value) | row
        else:
            row[column_name(name)] = value
    return row


def _figures(export: Export, row: Mapping[str, Any], meter: Meter | None, name: str) -> Figures:
    figures = Figures(cost=_cost(export, row))
    quantity = decimal_number(_first(row, QUANTITIES), "quantity")
    if meter is None or quantity is None:
        return figures
    scale = _scale(str(_first(row, UNITS) or ""), name)
    if scale is None:
        export.remark("rows do not say their unit of measure: their tokens are not compared")
        return figures
    tokens = int((quantity * scale).to_integral_value())
    if not meter.is_prompt:
        return figures._replace(completion_tokens=tokens)
    return figures._replace(prompt_tokens=tokens, cached_tokens=tokens if meter.is_cached else 0)


def _scale(unit: str, meter: str) -> Decimal | None:
    """How many tokens one of a quantity is."""
    found = _UNIT.match(unit.strip())
    if found is not None:
        return Decimal(found[1].replace(",", "")) * _SCALE[found[2].upper()]
    in_name = _UNIT_IN_NAME.search(meter)
    return None if in_name is None else Decimal(_SCALE[in_name[1].upper()])


def _cost(export: Export, row: Mapping[str, Any]) -> Decimal | None:
    """In dollars; None where no column says it in them."""
    exact = decimal_number(_first(row, DOLLARS), "cost")
    if exact is not None:
        return exact
    exact = decimal_number(_first(row, COSTS), "cost")
    currency = str(_first(row, CURRENCIES) or "").strip().upper()
    if exact is not None and currency != "USD":
        what = f"are in {currency[:10]}" if currency else "name no currency"
        export.remark(f"costs {what} and are not compared: costs here are US dollars")
        return None
    return exact


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these columns that says anything."""
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)
