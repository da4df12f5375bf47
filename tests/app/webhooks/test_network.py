"""Where webhooks may go, and where not, whatever a name means and however an address is written."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Sequence

import httpcore
import pytest

from app.webhooks.network import Lookup, Refused, Walls, public

PUBLIC = ("1.1.1.1", "192.88.99.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1")
INSIDE = (
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "255.255.255.255", "224.0.0.1", "224.0.1.1", "240.0.0.1", "198.18.0.1", "192.0.2.1",
    "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b:1::1.1.1.1", "2002:7f00:1::", "2002:101:101::", "2001::1", "fe80::1", "fc00::1",
    "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
)  # fmt: skip


class Wire(httpcore.AsyncNetworkBackend):
    """Connects nowhere, and notes where to."""

    def __init__(self, silent: Iterable[str] = ()) -> None:
        self.asked: list[tuple[str, int]] = []
        self._silent = set(silent)

    async def connect_tcp(self, host: str, port: int, *_: object) -> httpcore.AsyncNetworkStream:
        self.asked.append((host, port))
        if host in self._silent:
            raise httpcore.ConnectError("nobody there")
        return httpcore.AsyncMockStream([])


class Names:
    """A server of names that answers one thing after another."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        answer = self.answers.pop(0)
        if not answer:
            raise OSError("no such name")
        return answer


def connect(
    names: Names, wire: Wire, *, port: int = 443, secure: bool = True, inside: Sequence[str] = ()
) -> httpcore.AsyncNetworkStream:
    walls = Walls([ipaddress.ip_network(one) for one in inside], secure=secure, resolve=names, beneath=wire)
    return asyncio.run(walls.connect_tcp("hooks.example.org", port))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_reached(text: str) -> None:
    assert public(ipaddress.ip_address(text))
    wire = Wire()
    connect(Names([text]), wire)
    assert wire.asked == [(str(ipaddress.ip_address(text)), 443)]


@pytest.mark.parametrize("text", INSIDE)
def test_addresses_of_our_own_are_not(text: str) -> None:
    assert not public(ipaddress.ip_address(text))
    wire = Wire()
    with pytest.raises(Refused) as refusal:
        connect(Names([text]), wire)
    assert wire.asked == []
    assert text not in str(refusal.value)


def test_one_address_of_our_own_among_several_is_enough_to_refuse() -> None:
    wire = Wire()
    with pytest.raises(Refused):
        connect(Names(["1.1.1.1", "10.0.0.1"]), wire)
    assert wire.asked == []


def test_the_connection_goes_to_an_address_that_was_judged() -> None:
    """The name means something else at its second look; there is none."""
    names, wire = Names(["1.1.1.1"], ["127.0.0.1"]), Wire()
    connect(names, wire)
    assert (wire.asked, names.answers) == ([("1.1.1.1", 443)], [["127.0.0.1"]])
    with pytest.raises(Refused):
        connect(names, wire)


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    wire = Wire(silent=["1.1.1.1"])
    connect(Names(["1.1.1.1", "2606:4700::1111"]), wire)
    assert wire.asked == [("1.1.1.1", 443), ("2606:4700::1111", 443)]
    with pytest.raises(httpcore.ConnectError, match="nobody there"):
        connect(Names(["1.1.1.1"]), Wire(silent=["1.1.1.1"]))


@pytest.mark.parametrize("answer", [[], ["1.1.1.1%eth0"]])
def test_names_that_mean_nothing_and_addresses_with_a_zone(answer: Sequence[str]) -> None:
    if answer:
        connect(Names(answer), Wire())
    else:
        with pytest.raises(httpcore.ConnectError, match=r"hooks\.example\.org is not known"):
            connect(Names(answer), Wire())


@pytest.mark.parametrize(("port", "secure"), [(80, False), (443, False), (22, True), (6379, True), (8080, True)])
def test_only_encrypted_and_only_on_the_ports_of_the_web(port: int, secure: bool) -> None:
    with pytest.raises(Refused):
        connect(Names(["1.1.1.1"]), Wire(), port=port, secure=secure)


def test_the_operators_networks_are_reached_as_they_are() -> None:
    wire = Wire()
    connect(Names(["10.1.2.3"]), wire, port=9000, secure=False, inside=["10.1.0.0/16", "fd00::/8"])
    assert wire.asked == [("10.1.2.3", 9000)]
    with pytest.raises(Refused):
        connect(Names(["10.2.0.1"]), wire, port=9000, secure=False, inside=["10.1.0.0/16"])


def test_no_file_is_connected_to() -> None:
    walls = Walls([], secure=True, resolve=Names())
    with pytest.raises(Refused):
        asyncio.run(walls.connect_unix_socket("/run/some.socket"))


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
def test_other_spellings_of_loopback_are_refused(spelling: str) -> None:
    """The system's resolver understands them all."""

    async def reach() -> None:
        lookup = Lookup()
        try:
            await Walls([], secure=True, resolve=lookup, beneath=Wire()).connect_tcp(spelling, 443)
        finally:
            lookup.close()

    with pytest.raises(Refused):
        asyncio.run(reach())
