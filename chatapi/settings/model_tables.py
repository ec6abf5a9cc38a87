"""Reading [[models]] and their [[models.prices]] from an upstreams file."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from chatapi.settings.toml_tables import Problems, Table
from chatapi.settings.upstreams import ConfiguredPrice, Model

TOKEN_KINDS = {  # each kind of token, and the kind that it is part of and must be priced before it
    "prompt": None,
    "completion": None,
    "cached_prompt": "prompt",
    "cache_write": "prompt",
    "prompt_audio": "prompt",
    "prompt_image": "prompt",
    "reasoning": "completion",
    "completion_audio": "completion",
    "completion_image": "completion",
}
UNITS = ("image", "second", "character", "web_search", "file_search")
DEAREST = Decimal(1_000_000)  # dollars; whoever writes more has mistaken the unit
MOST_TOKENS = 100_000_000
FREE = Decimal(0)


def read_model(table: Table) -> Model:
    """One [[models]]; its name is empty where it has none."""
    name = table.needed("name", what="the model's name, such as gpt-4o-mini")
    default = table.whole("default_completion_tokens", least=1, most=MOST_TOKENS)
    largest = table.whole("largest_completion_tokens", least=1, most=MOST_TOKENS)
    if default and largest and default > largest:
        table.wrong("default_completion_tokens", "must not be more than largest_completion_tokens")
    reasons = table.yes("reasons")
    prices = [(each, _read_price(each)) for each in table.tables("prices")]
    table.done()
    seen = set()
    for each, price in prices:
        if price.since in seen:
            begins = "without `from`" if price.since is None else "from this day on"
            each.wrong("from", f"this model has another price {begins}; delete one of them")
        seen.add(price.since)
    return Model(
        name=name,
        default_completion_tokens=default,
        largest_completion_tokens=largest,
        reasons=reasons,
        prices=tuple(price for _, price in prices),
    )


def read_price(values: Mapping[str, object]) -> tuple[ConfiguredPrice, list[tuple[str, str]]]:
    """A price that stands in no file: the words of [[models.prices]] but for `from`.

    Returns:
        The price, and what is wrong with it, by key; where anything is, the price is of no use.
    """
    problems = Problems(Path(), {})
    price = _read_price(Table(values, (), problems))
    found = [(key, what) for key, what in problems.each() if key != "from"]
    if "from" in values:
        found.append(("from", "does not stand here; begins_at says it"))
    return price, found


def _read_price(table: Table) -> ConfiguredPrice:
    since = table.day("from")
    base = _read_tokens(table)
    levels: dict[int, Mapping[str, Decimal]] = {0: MappingProxyType(base)}
    for longer in table.tables("longer"):
        above = longer.whole("above", least=1, most=MOST_TOKENS)
        if not longer.has("above"):
            longer.wrong("above", "is missing; set it to the tokens of a prompt above which these prices hold")
        if above in levels:
            longer.wrong("above", "there are other prices for prompts of this length; delete one of them")
        tokens = base | _read_tokens(longer, base)
        longer.done()
        if above:
            levels[above] = MappingProxyType(tokens)
    units = {unit: prices for unit in UNITS if (prices := _read_unit(table, unit))}
    request = table.number("per_request", least=FREE, most=DEAREST)
    table.done()
    if not (base or units or request is not None or any(levels.values()) or table.is_wrong):
        table.wrong(
            "prompt", "there is no price here; set prompt and completion (dollars per million tokens), or per_…"
        )
    return ConfiguredPrice(since, MappingProxyType(levels), MappingProxyType(units), request or FREE)


def _read_tokens(table: Table, base: Mapping[str, Decimal] = MappingProxyType({})) -> dict[str, Decimal]:
    """Dollars per million tokens, of the kinds that are there; each needs that of the kind it is part of."""
    prices = {}
    for kind in TOKEN_KINDS:
        price = table.number(kind, least=FREE, most=DEAREST)
        if price is not None:
            prices[kind] = price
    for kind, whole in TOKEN_KINDS.items():
        if kind in prices and whole is not None and whole not in base and not table.has(whole):
            table.wrong(kind, f"needs {whole} beside it, which it is a part of")
    return prices


def _read_unit(table: Table, unit: str) -> Mapping[str, Decimal]:
    """Dollars per unit: one price, or for images a table of prices by size and quality."""
    key = f"per_{unit}"
    if unit != "image" or not table.is_table(key):
        price = table.number(key, least=FREE, most=DEAREST)
        return {} if price is None else MappingProxyType({"": price})
    variants = table.table(key)
    prices = {}
    for name in table.items(key):
        price = variants.number(name, least=FREE, most=DEAREST)
        if price is not None:
            prices["" if name == "other" else name] = price
    return MappingProxyType(prices)
