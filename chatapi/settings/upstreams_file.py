"""Reading the upstreams file, once, at start: format and meaning in docs/models.md, an example in envs/.

Everything that is wrong in it is said at once, each with its line. Keys never stand in the file; they are read from the
environment or from files of their own, and no message and no `repr` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import get_args
from urllib.parse import SplitResult, urlsplit

from chatapi.settings.model_tables import read_model
from chatapi.settings.toml_tables import Problems, Table, read_toml
from chatapi.settings.upstreams import OPENAI_ADDRESS, Breaker, Kind, Model, Retries, Upstream, UpstreamsFile

SANE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
VARIABLE = r"[A-Z][A-Z0-9_]{0,63}"  # no lower case: a key that was put here by mistake must not be taken for a name
AZURE_VERSION = "2024-10-21"
HEAVIEST = 1000
LONGEST_OPEN_S = 3600
KEYS_BELONG = (
    "keys do not belong into this file: put the key into the environment and its variable's name into api_key_env, "
    "or into a file of its own and that file's path into api_key_file; and make a new key if others could read this"
)


def load_upstreams_file(path: Path, environment: Mapping[str, str]) -> UpstreamsFile:
    """Read the upstreams file and the keys that it names.

    Args:
        path: of the file; the paths of key files in it are relative to its folder.
        environment: where keys are looked up.

    Raises:
        ConfigurationError: for each problem a line of file, line number, key, and what to do.
    """
    table, problems = read_toml(path)
    upstreams = [_read_upstream(each, path.parent, environment) for each in table.tables("upstreams")]
    models = [read_model(each) for each in table.tables("models")]
    aliases = table.pairs("aliases")
    retries, breaker = _read_retries(table.table("retries")), _read_breaker(table.table("breaker"))
    table.done()
    _check_upstreams(upstreams, problems)
    _check_models(models, aliases, upstreams, problems)
    _check_aliases(aliases, upstreams, problems)
    problems.raise_if_any()
    return UpstreamsFile(
        upstreams=tuple(upstreams),
        aliases=MappingProxyType(aliases),
        models=MappingProxyType({model.name: model for model in models}),
        retries=retries,
        breaker=breaker,
    )


def _read_upstream(table: Table, folder: Path, environment: Mapping[str, str]) -> Upstream:
    name = table.needed("name", like=SANE_NAME, what="a name of letters, digits, dots, dashes and underscores")
    kind = table.choice("kind", get_args(Kind))
    weight = table.whole("weight", least=0, most=HEAVIEST)
    upstream = Upstream(
        name=name,
        kind=kind or "compatible",  # type: ignore[arg-type]  # a choice is one of the kinds
        base_url=_read_address(table, kind),
        api_key=_read_key(table, kind, folder, environment),
        organisation=_read_only_for(table, "organisation", kind, "openai", "compatible"),
        project=_read_only_for(table, "project", kind, "openai", "compatible"),
        api_version=_read_only_for(table, "api_version", kind, "azure") or (AZURE_VERSION if kind == "azure" else None),
        weight=1 if weight is None else weight,
        models=table.texts("models") or ("*",),
        names=MappingProxyType(table.pairs("names")),
        prices_of=table.text("prices_of", like=SANE_NAME, what="a provider as genai-prices names it, such as groq")
        or {"openai": "openai", "azure": "azure"}.get(kind or ""),
    )
    table.done()
    return upstream


def _read_address(table: Table, kind: str | None) -> str:
    if not table.has("base_url"):
        if kind == "azure":
            table.wrong("base_url", "is missing; set it to the resource's endpoint, https://NAME.openai.azure.com")
        elif kind == "compatible":
            table.wrong("base_url", "is missing; set it to the server's address, with its /v1")
        return OPENAI_ADDRESS
    address = table.text("base_url", what="an address")
    if address is None:
        return OPENAI_ADDRESS
    parts = _split(address)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        table.wrong("base_url", "is no http:// or https:// address")
    elif "@" in parts.netloc:
        table.wrong("base_url", "must not hold a user or a password: " + KEYS_BELONG)
    elif parts.query or parts.fragment:
        table.wrong("base_url", "must end before any ? or #")
    return address.rstrip("/")


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        _ = parts.port  # a port that is no number is found out only when it is asked for
    except ValueError:
        return None
    return None if any(character.isspace() for character in address) else parts


def _read_key(table: Table, kind: str | None, folder: Path, environment: Mapping[str, str]) -> str | None:
    refused = table.refuse("api_key", KEYS_BELONG)
    in_environment, in_file = table.has("api_key_env"), table.has("api_key_file")
    name = table.text("api_key_env", like=VARIABLE, what="the name of a variable (no key), such as OPENAI_API_KEY")
    file = table.text("api_key_file", what="the path of a file")
    if in_environment and in_file:
        table.wrong("api_key_file", "there is api_key_env as well; delete one of them")
    elif not (in_environment or in_file or refused) and kind in {"openai", "azure"}:
        table.wrong("api_key_env", "is missing; set it (or api_key_file) to where this upstream's key is found")
    elif name:
        if key := environment.get(name, "").strip():
            return _checked(table, "api_key_env", key)
        table.wrong("api_key_env", f"the environment variable {name} is not set, or empty; put the key into it")
    elif file:
        try:
            key = (folder / file).read_text("utf-8").strip()
        except (OSError, ValueError):  # the path is not repeated: it may be a key that was put here by mistake
            table.wrong("api_key_file", "that file cannot be read (a path is relative to the folder of this file)")
        else:
            if key:
                return _checked(table, "api_key_file", key)
            table.wrong("api_key_file", "that file is empty; put the key into it")
    return None


def _checked(table: Table, where: str, key: str) -> str | None:
    if key.isascii() and key.isprintable() and " " not in key:
        return key
    table.wrong(where, "what is found there has characters that no key has; was it copied whole, and nothing else?")
    return None


def _read_only_for(table: Table, key: str, kind: str | None, *kinds: str) -> str | None:
    if table.has(key) and kind is not None and kind not in kinds:
        table.wrong(key, f"is only for upstreams of kind {' or '.join(kinds)}; delete it")
    return table.text(key, like=r"[!-~]+", what="a word")  # becomes a header, or a part of an address


def _read_retries(table: Table) -> Retries:
    standard = Retries()
    attempts = table.whole("attempts", least=1, most=100)
    share = table.number("share", least=Decimal(0), most=Decimal(1))
    reserve = table.whole("reserve", least=0, most=1_000_000)
    table.done()
    return Retries(
        attempts=standard.attempts if attempts is None else attempts,
        share=standard.share if share is None else float(share),
        reserve=standard.reserve if reserve is None else reserve,
    )


def _read_breaker(table: Table) -> Breaker:
    standard = Breaker()
    failures = table.whole("failures", least=1, most=1_000_000)
    open_s = table.number("open_s", least=Decimal("0.001"), most=Decimal(LONGEST_OPEN_S))
    table.done()
    return Breaker(failures or standard.failures, standard.open_s if open_s is None else float(open_s))


def _check_upstreams(upstreams: list[Upstream], problems: Problems) -> None:
    if not upstreams and not problems.under(("upstreams",)):
        problems.add(("upstreams",), "there is none; describe at least one under [[upstreams]]")
    for index, upstream in enumerate(upstreams):
        path = ("upstreams", index)
        if upstream.name and any(upstream.name == other.name for other in upstreams[:index]):
            problems.add((*path, "name"), "another upstream has this name; give it one of its own")
        for model in upstream.names:
            if not upstream.serves(model) and not problems.under((*path, "models")):
                problems.add((*path, "names", model), "`models` does not let this upstream serve it; add it there")


def _check_models(
    models: list[Model], aliases: Mapping[str, str], upstreams: list[Upstream], problems: Problems
) -> None:
    for index, model in enumerate(models):
        path = ("models", index, "name")
        if not model.name:
            continue
        if any(model.name == other.name for other in models[:index]):
            problems.add(path, "this model is described above already; put both into one")
        if model.name in aliases:
            problems.add(path, f'is an alias; describe the model that it stands for, "{aliases[model.name]}"')
        elif not _is_served(model.name, upstreams, problems):
            problems.add(path, "no upstream serves this model; add it to the `models` of one, or delete this section")


def _check_aliases(aliases: Mapping[str, str], upstreams: list[Upstream], problems: Problems) -> None:
    for alias, target in aliases.items():
        path = ("aliases", alias)
        if alias == target:
            problems.add(path, "stands for itself; delete it")
        elif target in aliases:
            problems.add(path, f'"{target}" is itself an alias; name the model that is meant in the end')
        elif not _is_served(target, upstreams, problems):
            problems.add(path, f'no upstream serves "{target}"; name a model that one serves')


def _is_served(model: str, upstreams: list[Upstream], problems: Problems) -> bool:
    """Whether any upstream serves it, or may: where the `models` of one are wrong, that cannot be told."""
    unknown = not upstreams or any(problems.under(("upstreams", index, "models")) for index in range(len(upstreams)))
    return unknown or any(upstream.serves(model) for upstream in upstreams)
