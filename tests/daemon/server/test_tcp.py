"""The tcp endpoint: for clients whose key is listed, and nobody else."""

from __future__ import annotations

import socket

import pytest
import zmq
from support.daemons import Homes, Launch
from support.peer import Peer, question

from glmd import keys, paths
from glmd.errors import Refused, StartFailed
from glmd.facts import DaemonFacts
from glmd.keys import KeyPair
from glmd.wire.replies import Done, Welcome
from glmd.wire.requests import Hello


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_pair() -> KeyPair:
    from zmq.utils import z85

    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


@pytest.fixture
def tcp(launch: Launch) -> DaemonFacts:
    return launch(listen=f"tcp://127.0.0.1:{free_port()}")


def authorise(pair: KeyPair) -> None:
    with (paths.keys_dir() / "authorized_clients").open("a") as file:
        file.write(f"{pair.public.hex()}  a test\n")


def enters(endpoint: str, pair: KeyPair | None, server: bytes) -> bool:
    with Peer(endpoint, greet=False, keys=(pair, server) if pair else None) as peer:
        peer.send(Hello(id="h", protocol=(1, 1), client="test"))
        return peer.hears(5 if pair and pair.public in keys.authorized() else 1)


def test_an_authorised_client_is_served(tcp: DaemonFacts) -> None:
    pair, server = new_pair(), bytes.fromhex(tcp.server_key)
    authorise(pair)
    with Peer(tcp.endpoints[1], keys=(pair, server)) as peer:
        assert isinstance(peer.welcome, Welcome)
        peer.send(question("1", max_tokens=5))
        assert isinstance(peer.until_terminal("1")[-1], Done)
        status = peer.status()
        assert status.endpoints == tcp.endpoints
        assert status.server_key == tcp.server_key


def test_others_are_not(tcp: DaemonFacts) -> None:
    local, endpoint = tcp.endpoints
    server = bytes.fromhex(tcp.server_key)
    stranger = new_pair()
    assert not enters(endpoint, stranger, server)  # nobody is listed
    listed = new_pair()
    authorise(listed)
    assert not enters(endpoint, stranger, server)
    assert not enters(endpoint, None, server)  # without encryption
    assert not enters(endpoint, listed, new_pair().public)  # another daemon's key
    assert enters(endpoint, listed, server)
    log = paths.log_file().read_text()
    assert stranger.public.hex() in log
    with Peer(local) as peer:
        assert peer.status().clients == 1


def test_a_line_counts_at_once_and_no_longer_than_it_stands(tcp: DaemonFacts) -> None:
    pair, server = new_pair(), bytes.fromhex(tcp.server_key)
    assert not enters(tcp.endpoints[1], pair, server)
    authorise(pair)
    assert enters(tcp.endpoints[1], pair, server)
    (paths.keys_dir() / "authorized_clients").write_text("# nobody\n")
    assert not enters(tcp.endpoints[1], pair, server)


def test_the_daemon_keeps_its_key(homes: Homes) -> None:
    one = keys.own("daemon")
    assert keys.own("daemon") == one != keys.own("client")
    for role in ("daemon", "client"):
        assert (paths.keys_dir() / role).stat().st_mode & 0o777 == 0o600
    (paths.keys_dir() / "daemon").chmod(0o644)
    with pytest.raises(StartFailed, match="chmod 600"):
        keys.own("daemon")


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, "zz" * 32])
def test_a_damaged_key_is_told(homes: Homes, text: str) -> None:
    keys.own("daemon")
    (paths.keys_dir() / "daemon").write_text(text)
    with pytest.raises(StartFailed, match="64 hex digits"):
        keys.own("daemon")


def test_a_client_knows_daemons_by_their_lines(homes: Homes) -> None:
    paths.keys_dir().mkdir(parents=True)
    with pytest.raises(Refused, match="known_daemons"):
        keys.daemon_key("tcp://box:5570")
    pair = new_pair()
    (paths.keys_dir() / "known_daemons").write_text(
        f"# mine\ntcp://other:1 zz\ntcp://box:5570   {pair.public.hex()}  # the box\n"
    )
    assert keys.daemon_key("tcp://box:5570") == pair.public


def test_a_port_in_use_is_told_and_leaves_nothing(homes: Homes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartFailed, match=f"{endpoint} cannot be served: Address already"):
            homes.start(listen=endpoint)
    assert homes.processes() == []
