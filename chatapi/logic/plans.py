"""What a call would be, before it is admitted: for which model, at which upstreams, and what it needs at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from chatapi.domain.calls import OwnKeys, Planned
from chatapi.domain.extras import Extras
from chatapi.domain.limits import Need
from chatapi.domain.model_request import ModelRequest
from chatapi.domain.price_book import Quote
from chatapi.errors import InvalidRequest
from chatapi.logic.pricing import priced, units_of
from chatapi.logic.runtime import Runtime
from chatapi.upstream import tokens
from chatapi.upstream.own_keys import OwnKey
from chatapi.upstream.upstream import Upstream

EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream that may answer a call, what it would be asked, the name that it knows the model by, and the tenant's
    own key for it where there is one."""

    upstream: Upstream
    request: ModelRequest
    model: str
    own: OwnKey | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that may be admitted.

    Args:
        model: that its name stands for.
        candidates: who may answer it, in the order in which they are to be tried; all are asked in the same form.
        units: what it is measured in besides tokens, at most.
        default_cap: its completion's cap in tokens per choice, where the client asked for none.
        quotes: by provider, what the model costs at each candidate when the call is admitted.
        relies_on: what must still hold when the call is admitted.
    """

    model: str
    candidates: tuple[Candidate, ...]
    units: Extras
    default_cap: int
    quotes: Mapping[str | None, Quote]
    relies_on: Planned

    def need(self) -> Need:
        """Its upper bound, by its bytes."""
        return self._priced(self._request.need(self.default_cap, loose=tokens.has_vocabulary(self.model)))

    def counted(self, need: Need) -> Need:
        """The same with its prompt counted by the model's own vocabulary, where that is less than its bytes."""
        prompt = min(tokens.count_prompt(self.model, self._request.prompt()), need.prompt_bound)
        return self._priced(self._request.need(self.default_cap, prompt))

    @property
    def _request(self) -> ModelRequest:
        return self.candidates[0].request

    def _priced(self, need: Need) -> Need:
        return priced((quote.price for quote in self.quotes.values()), need, self.units)


def plan(runtime: Runtime, endpoint: str, request: ModelRequest, tenant_id: str, keys: OwnKeys, at: datetime) -> Plan:
    """Plan a call.

    Args:
        runtime: what to work with.
        endpoint: that is asked.
        request: what it is asked.
        tenant_id: whose call it is.
        keys: the tenant's own keys, sealed.
        at: when it is to be admitted.

    Raises:
        InvalidRequest: no upstream can be asked this.
        UpstreamResting: all upstreams of the model have failed just now.
        Unavailable: an own key cannot be opened.
    """
    model = runtime.upstreams.resolve(request.model)
    described = runtime.upstreams.models.get(model)
    request = request.of_model(
        model,
        thinks=described.reasons if described else None,
        largest_cap=described.largest_completion_tokens if described else None,
    )
    candidates = _candidates(runtime, request, model, runtime.keys.opened(tenant_id, keys))
    providers = {candidate.upstream.prices_of for candidate in candidates}
    good_until = runtime.prices.good_until  # before the quotes: what is read anew in between is no part of them
    quotes = {provider: runtime.prices.quote(model, provider, at) for provider in providers}
    default_cap = (described and described.default_completion_tokens) or runtime.settings.default_completion_tokens
    return Plan(
        model,
        candidates,
        units_of(endpoint, candidates[0].request),
        default_cap,
        quotes,
        _relying_on(keys, quotes.values(), good_until),
    )


def _relying_on(keys: OwnKeys, quotes: Iterable[Quote], until: datetime) -> Planned:
    """What the plan must find when it is admitted: these keys, and an instant of which all these prices are known."""
    since = EVER
    for quote in quotes:
        since, until = max(since, quote.since), min(until, quote.until)
    return Planned(keys, since, until)


def _candidates(
    runtime: Runtime, request: ModelRequest, model: str, own: Mapping[str, OwnKey]
) -> tuple[Candidate, ...]:
    """Of the upstreams that can be asked this at all those that are asked in the same form as the first, because the
    hold covers that one."""
    found, problem = list[Candidate](), None
    for upstream in runtime.upstreams.serving(model, own):
        try:
            asked = request.at(upstream.kind, model)
            found.append(Candidate(upstream, asked, upstream.name_of(model), own.get(upstream.name)))
        except InvalidRequest as error:
            problem = error
    if not found and problem is not None:
        raise problem
    return tuple(candidate for candidate in found if candidate.request.form == found[0].request.form)
