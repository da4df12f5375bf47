"""The way to a receiver that a user names: to addresses of the public internet, and to nothing behind our own walls.

A name is resolved once for each connection, every address that it has is judged, and the connection goes to one of
those judged: a name that means something else a moment later leads nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpcore

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text."""

SECURE_PORTS = (443, 8443)
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as hosts behind NAT64 reach them (RFC 6052)."""
_NEVER = tuple(map(IPv6Network, ("::/96", "64:ff9b:1::/48", "fec0::/10", "2001::/32", "2002::/16")))
"""IPv4 in IPv6 of old, local NAT64 (RFC 8215), the old local networks, and the tunnels Teredo and 6to4."""
_LOOKUPS = 64
"""Names that are looked up at once; a server of names that does not answer holds up no more than these."""


class Refused(httpcore.ConnectError):
    """The address is not one that webhooks may reach. What it is, is not told: that would map our network."""


def public(address: Address) -> bool:
    """Whether an address, and the IPv4 address inside it if there is one, belongs to the public internet.

    >>> [public(ipaddress.ip_address(text)) for text in ("1.1.1.1", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1")]
    [True, False, False, False]
    """
    if isinstance(address, IPv6Address):
        if any(address in network for network in _NEVER):
            return False
        if address.ipv4_mapped is not None or address in _TRANSLATED:
            return public(IPv4Address(address.packed[-4:]))
    return address.is_global and not address.is_multicast


class Walls(httpcore.AsyncNetworkBackend):
    """A network that connects only where webhooks may go.

    Args:
        inside: networks that the operator allows beside the public internet, by http and on any port as well.
        secure: whether the connection will be encrypted.
        resolve: how names become addresses.
        beneath: what makes the connections.
    """

    def __init__(
        self,
        inside: Iterable[Network],
        *,
        secure: bool,
        resolve: Resolve,
        beneath: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._inside = tuple(inside)
        self._secure = secure
        self._resolve = resolve
        self._beneath = beneath or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers, if all of them may be reached.

        Raises:
            Refused: one of them may not.
            httpcore.ConnectError: there is none, or none answers.
        """
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known: {error}") from error
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
        if not addresses:
            raise httpcore.ConnectError(f"the name {host} has no address")
        if not all(self._may_reach(address, port) for address in addresses):
            raise Refused(f"{host}:{port} is not an address that webhooks may reach")
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in addresses:
            try:
                return await self._beneath.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address answered")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never.

        Raises:
            Refused: always.
        """
        raise Refused(f"{path} is a file, and no address that webhooks may reach")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._beneath.sleep(seconds)

    def _may_reach(self, address: Address, port: int) -> bool:
        if any(address in network for network in self._inside if network.version == address.version):
            return True
        return self._secure and port in SECURE_PORTS and public(address)


class Lookup:
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of ``host``, in the system's order of preference.

        Raises:
            OSError: it is not known.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def close(self) -> None:
        """Wait for no lookup any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
