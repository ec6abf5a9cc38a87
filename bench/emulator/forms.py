"""What a reply consists of, as the request asks: text, an object of JSON, or the call of a tool with such an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

TOOL_CALL_ID = "call_emulated"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of the reply's words.

    Args:
        tool: the name of the tool that is called with them; None for a reply that says them.
        field: the field of the object that holds them; None for mere text.
    """

    tool: str | None = None
    field: str | None = None

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """A tool that is offered is called, unless its result is there already; then a schema is obeyed."""
        choice, messages = body.get("tool_choice"), body.get("messages") or [{}]
        tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or () if "function" in tool}
        if tools and choice != "none" and messages[-1].get("role") != "tool":
            name = choice["function"]["name"] if isinstance(choice, dict) else next(iter(tools))
            return cls(name, _first_field(tools[name].get("parameters") or {}))
        wanted = body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            return cls(field=_first_field(wanted["json_schema"].get("schema") or {}))
        return cls(field="text") if wanted.get("type") == "json_object" else cls()

    @property
    def finish(self) -> str:
        """The finish reason of a reply that is whole."""
        return "stop" if self.tool is None else "tool_calls"

    def framed(self, texts: list[str], *, whole: bool) -> list[str]:
        """The texts of all events, with what makes them one object of JSON; cut off unless they are the whole reply."""
        if self.field is None:
            return texts
        first, *others = texts or [""]
        framed = [f'{{"{self.field}":"{first}', *others]
        return [*framed[:-1], f'{framed[-1]}"}}'] if whole else framed

    def message(self, text: str) -> dict[str, Any]:
        """The message of a plain reply."""
        if self.tool is None:
            return {"role": "assistant", "content": text}
        return {"role": "assistant", "content": None, "tool_calls": [self._call(text)]}

    def first_delta(self) -> dict[str, Any]:
        """The delta that comes before the texts."""
        if self.tool is None:
            return {"role": "assistant", "content": ""}
        return {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **self._call("")}]}

    def delta(self, text: str) -> dict[str, Any]:
        """The delta that says one of the texts."""
        if self.tool is None:
            return {"content": text}
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}

    def _call(self, arguments: str) -> dict[str, Any]:
        return {"id": TOOL_CALL_ID, "type": "function", "function": {"name": self.tool, "arguments": arguments}}


def _first_field(schema: dict[str, Any]) -> str:
    return str(next(iter(schema.get("properties") or {"text": None})))


TEXT = Form()
