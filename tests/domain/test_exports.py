"""Exports of providers: what they say, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain import json_stream
from chatapi.domain.azure_export import read_meter
from chatapi.domain.export_files import read_file
from chatapi.domain.json_stream import BadJson, elements
from chatapi.domain.provider_usage import Export, Figures
from chatapi.errors import InvalidInput

DAY = 1_761_523_200  # 2025-10-27
USAGE_COLUMNS = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens"
)
COST_COLUMNS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id"
)


def read(*texts: str | bytes) -> Export:
    export = Export()
    for number, text in enumerate(texts):
        content = text if isinstance(text, bytes) else text.encode()
        read_file(export, f"file-{number}", io.BytesIO(content))
    return export


def page(*results: dict[str, Any], at: int = DAY, width: int = 86_400) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": at, "end_time": at + width, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


RESULT = {
    "object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500,
    "input_cached_tokens": 800, "num_model_requests": 5, "project_id": None, "model": "gpt-4o-2024-08-06",
}  # fmt: skip


def test_openai_usage_of_the_api_is_read_page_by_page() -> None:
    minute = page(RESULT, at=DAY + 86_400 - 60, width=60)
    export = read(json.dumps(page(RESULT, RESULT | {"model": "o3"})) + "\n" + json.dumps(minute, indent=2))
    assert export.problems == [] and export.kind == "openai"
    assert export.cells == {
        ("2025-10-27", "gpt-4o-2024-08-06"): Figures(10, 2000, 1600, 1000),
        ("2025-10-27", "o3"): Figures(5, 1000, 800, 500),
    }
    assert (export.begin, export.end) == (datetime(2025, 10, 27, tzinfo=UTC), datetime(2025, 10, 28, tzinfo=UTC))
    assert read(json.dumps(page(RESULT)["data"])).cells == read(json.dumps(page(RESULT))).cells
    assert "there are more" in next(iter(read(json.dumps(page(RESULT) | {"has_more": True})).remarks))


def test_openai_costs_are_exact_and_named_by_their_line_items() -> None:
    amount = {"value": 0.06, "currency": "usd"}
    results = [
        {"object": "organization.costs.result", "amount": amount, "line_item": "gpt-4o-2024-08-06, input"},
        {"object": "organization.costs.result", "amount": {"value": "1e-9", "currency": "usd"},
         "line_item": "gpt-4o-2024-08-06, cached input"},
        {"object": "organization.costs.result", "amount": {"value": 3, "currency": "eur"}, "line_item": "o3, output"},
    ]  # fmt: skip
    export = read(json.dumps(page(*results)))
    assert export.cells == {("2025-10-27", "gpt-4o-2024-08-06"): Figures(cost=Decimal("0.060000001"))}
    assert list(export.remarks) == ["amounts are in 'eur' and not compared: costs here are US dollars"]


def test_the_dashboards_csv_is_read_with_its_decimal_counts_and_empty_days() -> None:
    usage = "\r\n".join([
        USAGE_COLUMNS,
        f"{DAY},{DAY + 60},x,y,proj,3.0,,key_1,gpt-4o-2024-08-06,False,default,4212,1673,1280,2932",
        f"{DAY},{DAY + 60},x,y,proj,1,,key_2,gpt-4o-2024-08-06,True,default,10,20,0,10",
        f"{DAY + 86_400},{DAY + 2 * 86_400},x,y,,,,,,,,,,,",
    ])  # fmt: skip
    costs = f"\ufeff{COST_COLUMNS}\n{DAY},{DAY + 86_400},x,y,0.8958740000000000,usd,,,org\n"
    export = read(usage, costs)
    assert export.problems == []
    assert export.cells == {
        ("2025-10-27", "gpt-4o-2024-08-06"): Figures(4, 4222, 1280, 1693),
        ("2025-10-27", ""): Figures(cost=Decimal("0.895874")),
    }
    assert export.end == datetime(2025, 10, 29, tzinfo=UTC) and "Batch API" in next(iter(export.remarks))
    assert read(f"start_time,end_time,start_time_iso,end_time_iso\n{DAY},{DAY + 86_400},x,y\n").cells == {}


AZURE = [
    "Date,MeterCategory,MeterSubCategory,MeterName,Quantity,UnitOfMeasure,CostInBillingCurrency,BillingCurrency",
    "10/27/2025,Cognitive Services,Azure OpenAI,gpt 4o 0806 Inp glbl Tokens,12.5,1K,0.03125,USD",
    "10/27/2025,Cognitive Services,Azure OpenAI,gpt 4o 0806 cached Inp glbl Tokens,2,1K,0.0025,USD",
    "2025-10-27,Cognitive Services,Azure OpenAI,gpt-4o-0806-Outp-glbl Tokens,0.003,1M,0.03,USD",
    "2025-10-28,Cognitive Services,Azure OpenAI,Provisioned Managed Global Unit,24,1 Hour,24,USD",
    "2025-10-29,Storage,Blob,Hot LRS Write Operations,5,10K,0.25,USD",
]


def test_azures_costs_are_read_by_meter() -> None:
    export = read("\n".join(AZURE))
    assert export.problems == [] and export.kind == "azure"
    assert export.cells == {
        ("2025-10-27", "gpt-4o-0806"): Figures(None, 14500, 2000, 3000, Decimal("0.06375")),
        ("2025-10-28", "provisioned managed global unit"): Figures(cost=Decimal(24)),
    }
    assert export.end == datetime(2025, 10, 29, tzinfo=UTC), "days of other services do not count"
    assert export.remarks["rows are of other services and left out"] == 1
    query = {"properties": {
        "nextLink": None,
        "columns": [{"name": "PreTaxCost", "type": "Number"}, {"name": "UsageDate", "type": "Number"},
                    {"name": "Meter", "type": "String"}, {"name": "Currency", "type": "String"}],
        "rows": [[0.75, 20251027, "gpt 4o 0806 Inp glbl Tokens", "USD"], [1, 20251028, "o3 0416 Outp glbl", "EUR"]],
    }}  # fmt: skip
    export = read(json.dumps(query))
    assert export.cells == {("2025-10-27", "gpt-4o-0806"): Figures(cost=Decimal("0.75"))}
    assert "costs are in EUR and are not compared: costs here are US dollars" in export.remarks
    details = {"value": [{"properties": {
        "date": "2025-10-27T00:00:00Z", "meterDetails": {"meterName": "o3 0416 Outp glbl", "unitOfMeasure": "1K"},
        "quantity": 2, "costInUSD": 0.016, "product": "Azure OpenAI - o3",
    }}]}  # fmt: skip
    assert read(json.dumps(details)).cells == {
        ("2025-10-27", "o3-0416"): Figures(None, None, None, 2000, Decimal("0.016"))
    }


@pytest.mark.parametrize(
    ("name", "meter"),
    [
        ("gpt-4o-mini-0718-Inp-glbl Tokens", ("gpt-4o-mini-0718", True, False)),
        ("gpt 4.1 mini cached Inp glbl Tokens", ("gpt-4.1-mini", True, True)),
        ("gpt 4o 0513 Output global Tokens", ("gpt-4o-0513", False, False)),
        ("GPT 5 Mini Inpt Glbl 1M Tokens", ("gpt-5-mini", True, False)),
        ("gpt 4o 1120 Batch cchd Inp glbl", ("gpt-4o-1120", True, True)),
        ("Standard Text Records", None),
        ("Inp glbl", None),
    ],
)
def test_meters_say_model_and_kind(name: str, meter: tuple[str, bool, bool] | None) -> None:
    assert read_meter(name) == meter


def test_every_bad_line_is_named_and_nothing_is_compared() -> None:
    text = "\n".join([
        USAGE_COLUMNS,
        f"{DAY},{DAY + 60},x,y,proj,1,,k,gpt-4o,False,,10,20,0,10",
        f"{DAY},{DAY + 60},x,y,proj,-1,,k,gpt-4o,False,,10,20,0,10",
        "yesterday,today,x,y,proj,1,,k,gpt-4o,False,,10,20,0,10",
        f"{DAY},{DAY + 60},too,few",
        f"{DAY},{DAY + 7 * 86_400},x,y,proj,1,,k,gpt-4o,False,,10,20,0,10",
        f"{DAY},{DAY + 60},x,y,proj,1,,k,gpt-4o,False,,1.5,20,0,10",
    ])  # fmt: skip
    export = read(text)
    assert [problem.split(":")[0] for problem in export.problems] == [f"file-0, line {line}" for line in range(3, 8)]
    with pytest.raises(InvalidInput, match=r"input_tokens is no count: '1\.5'"):
        export.check()
    for wrong, what in (
        ("", "it is empty"), ("a,b\n1,2\n", "no export that is known"), ('{"data": [', "line 1"),
        ('{"data": [{"start_time": NaN}]}', "NaN"), ("[" * 5000, "nested too deeply"), ('{"a": 1}', "no export"),
        (f'{USAGE_COLUMNS}\n"unclosed', "line 2"), ("Date,MeterName\n13/13/2025,x\n", "no day"),
        (b"Date,MeterName\n2025-10-27,\xff\n", "is not UTF-8"),
        (json.dumps(page({"object": "x"})), "results[0]: it has neither usage nor an amount"),
        (json.dumps(page(RESULT | {"input_tokens": True})), "no number"),
        ('{"properties": {"rows": [[1]], "columns": []}}', "not as its columns say"),
    ):  # fmt: skip
        problems = read(wrong).problems
        assert len(problems) == 1 and what in problems[0], (wrong, problems)
    mixed = read(json.dumps(page(RESULT)), "\n".join(AZURE[:2]))
    assert "another provider's export" in mixed.problems[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=5), VALUES, st.integers(1, 7), st.sampled_from([None, 2]))
def test_json_that_is_read_in_pieces_says_the_same(data: list[Any], other: Any, chunk: int, indent: int | None) -> None:
    text = json.dumps({"before": other, "data": data, "after": other}, indent=indent)

    class Slow(io.StringIO):
        def read(self, size: int | None = -1) -> str:
            return super().read(chunk)

    found = list(elements(Slow(text), frozenset({("data",)})))
    assert [each.value for each in found if each.path == ("data",)] == data
    assert [each.value for each in found if each.path in {("before",), ("after",)}] == [other, other]
    lines = text.split("\n")
    assert all(1 <= each.line <= len(lines) for each in found)


def test_an_element_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONGEST_ELEMENT", 100_000)
    with pytest.raises(BadJson, match="more than 100,000 characters"):
        list(elements(io.StringIO('{"data": ["' + "x" * 10**6), frozenset({("data",)})))
