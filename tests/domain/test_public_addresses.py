"""Where webhooks may go: URLs that are taken, and addresses that are public, however they are written."""

from __future__ import annotations

import ipaddress

import pytest

from chatapi.domain.public_addresses import is_public, read_url

PUBLIC = [
    "8.8.8.8",
    "192.0.1.1",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_asked(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://alerts.example", "alerts.example", 443, "/", "alerts.example"),
        ("https://Alerts.Example:8443/a/b?c=d", "alerts.example", 8443, "/a/b?c=d", "alerts.example:8443"),
        ("https://[2606:4700::1111]/x", "2606:4700::1111", 443, "/x", "[2606:4700::1111]"),
        ("https://8.8.8.8?x", "8.8.8.8", 443, "/?x", "8.8.8.8"),
    ],
)
def test_a_url_says_where_to(url: str, host: str, port: int, target: str, authority: str) -> None:
    place = read_url(url)
    assert (place.host, place.port, place.target, place.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "alerts.example",
        "http://alerts.example/",
        "file:///etc/passwd",
        "https:///x",
        "https://u@alerts.example/",
        "https://u:p@alerts.example/",
        "https://alerts.example/#x",
        "https://alerts.example/#",
        "https://alerts.example:0/",
        "https://alerts.example:65536/",
        "https://alerts.example:x/",
        "https://[::1/",
        "https://alerts.example/a b",
        "https://alerts.example/\r\nX: y",
        "https://alerts.example\\@evil.example/",
        "https://ünïcode.example/",
        "https://alerts.example/" + "x" * 2048,
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
    ],
)
def test_what_is_no_url_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|is no URL"):
        read_url(url)


def test_private_places_may_be_allowed_without_tls_too() -> None:
    assert read_url("http://127.0.0.1:8080/x", private=True).port == 8080
    with pytest.raises(ValueError, match="must begin"):
        read_url("ftp://127.0.0.1/", private=True)
