"""What a call would be, before it is admitted: for which model, at which upstreams, and what it needs at most."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.extras import Extras
from chatapi.domain.limits import Need
from chatapi.domain.model_request import ModelRequest
from chatapi.domain.price_book import PriceBook
from chatapi.errors import InvalidRequest
from chatapi.logic.pricing import priced, units_of
from chatapi.logic.runtime import Runtime
from chatapi.upstream import tokens
from chatapi.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream that may answer a call, what it would be asked, and the name that it knows the model by."""

    upstream: Upstream
    request: ModelRequest
    model: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that may be admitted.

    Args:
        model: that its name stands for.
        candidates: who may answer it, in the order in which they are to be tried; all are asked in the same form.
        units: what it is measured in besides tokens, at most.
        default_cap: its completion's cap in tokens per choice, where the client asked for none.
        prices: what models cost.
    """

    model: str
    candidates: tuple[Candidate, ...]
    units: Extras
    default_cap: int
    prices: PriceBook

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
        providers = {candidate.upstream.prices_of for candidate in self.candidates}
        return priced(self.prices, self.model, providers, need, self.units)


def plan(runtime: Runtime, endpoint: str, request: ModelRequest) -> Plan:
    """Plan a call.

    Raises:
        InvalidRequest: no upstream can be asked this.
        UpstreamResting: all upstreams of the model have failed just now.
    """
    model = runtime.upstreams.resolve(request.model)
    described = runtime.upstreams.models.get(model)
    request = request.of_model(
        model,
        thinks=described.reasons if described else None,
        largest_cap=described.largest_completion_tokens if described else None,
    )
    candidates = _candidates(runtime, request, model)
    default_cap = (described and described.default_completion_tokens) or runtime.settings.default_completion_tokens
    return Plan(model, candidates, units_of(endpoint, candidates[0].request), default_cap, runtime.prices)


def _candidates(runtime: Runtime, request: ModelRequest, model: str) -> tuple[Candidate, ...]:
    """Of the upstreams that can be asked this at all those that are asked in the same form as the first, because the
    hold covers that one."""
    found, problem = list[Candidate](), None
    for upstream in runtime.upstreams.serving(model):
        try:
            found.append(Candidate(upstream, request.at(upstream.kind, model), upstream.name_of(model)))
        except InvalidRequest as error:
            problem = error
    if not found and problem is not None:
        raise problem
    return tuple(candidate for candidate in found if candidate.request.form == found[0].request.form)
