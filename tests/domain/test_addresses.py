"""By which address logins are counted."""

from __future__ import annotations

import pytest

from chatapi.domain.addresses import counted_address


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:0DB8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("localhost", ""),
        ("x" * 10_000, ""),
    ],
)
def test_an_address_is_counted_as_what_one_subscriber_has(address: str, counted: str) -> None:
    assert counted_address(address) == counted
