"""A batch as the model has it: ends first, then admissions in their order, while the database fails as told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chatapi.domain.calls import Admission, Decision, Grant, Refusal, Settlement
from chatapi.domain.limits import Denial, DenialKind
from tests.concurrency.model import Call, Model

TRIES = 3


@dataclass
class Pending:
    """An end on its way, and how often the database has not taken it."""

    call: Call
    state: str
    figures: tuple[int, int, int]
    tries: int = 0


@dataclass
class Batch:
    """What the writer does with a batch.

    Args:
        model: what the database must say.
        ends: the ends in it.
        asking: the admissions in it.
        new_call: makes the model's call of an admission that is granted so much completion.
    """

    model: Model
    ends: list[Pending]  # also of admissions that were in doubt before
    asking: list[Admission]
    new_call: Callable[[Admission, int], Call]
    owed: list[Pending] = field(default_factory=list)
    expected: list[str | int] = field(default_factory=list)

    def play(self, faults: list[str]) -> None:
        """Play it until the database has taken it, or what is left is owed. Nothing is expected of what is in doubt."""
        for fault in [*faults, *[""] * 3 * TRIES]:
            if fault in ("", "done"):
                self._apply()
            if fault == "":
                return
            for end in self.ends:
                end.tries += 1
            self.owed += [end for end in self.ends if end.tries == TRIES]
            self.ends = [end for end in self.ends if end.tries < TRIES]
            if fault != "refused":
                self._doubt()

    def _apply(self) -> None:
        for end in self.ends:
            self.model.calls.setdefault(end.call.id, end.call)
            self.model.settle(end.call.id, end.state, *end.figures)
        self.expected = []
        for admission in self.asking:
            answer = self.model.expected(admission.claims, admission.worker_id, admission.need, admission.model)
            self.expected.append(answer)
            if isinstance(answer, int):
                self.model.admit(self.new_call(admission, answer))

    def _doubt(self) -> None:
        """The commit failed: every admission in it is abandoned."""
        for admission in self.asking:
            call = self.model.calls.get(admission.call_id) or self.new_call(admission, 0)
            self.ends.append(Pending(call, "abandoned", (0, 0, 0)))
        self.asking, self.expected = [], []


def said(decision: Decision) -> str | int:
    """A decision in the model's words."""
    if isinstance(decision, Grant):
        return decision.call.completion_granted
    if isinstance(decision, Denial):
        return "held" if decision.kind is DenialKind.HELD else "used_up"
    assert isinstance(decision, Refusal)
    return decision.value


def figures_of(settlement: Settlement) -> tuple[int, int, int]:
    """Requests, prompt tokens and completion tokens that a settlement charges."""
    usage = settlement.charge.usage
    return int(settlement.charge.answered), usage.prompt_tokens, usage.completion_tokens
