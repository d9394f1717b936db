from __future__ import annotations

from urllib.parse import urlparse

from nats.aio.client import Server

from todoku.bus.servers import RECONNECT_WAIT_SECONDS, ServerList


def pool(*hosts: str) -> list[Server]:
    return [Server(uri=urlparse(f"nats://{host}:4222")) for host in hosts]


def test_the_server_just_left_is_tried_last_and_only_a_full_turn_waits() -> None:
    servers = ServerList("nats://a:4222,nats://b:4222,nats://c:4222")
    servers.arrived(urlparse("nats://b:4222"))
    tried = [servers.choose(pool("c", "a", "b"), {}) for _ in range(4)]
    assert [server.uri.hostname for server, _ in tried] == ["c", "a", "b", "c"]
    assert [wait for _, wait in tried] == [0.0, 0.0, RECONNECT_WAIT_SECONDS, RECONNECT_WAIT_SECONDS]
    servers.arrived(urlparse("nats://c:4222"))
    server, wait = servers.choose(pool("a", "b", "c"), {})
    assert (server.uri.hostname, wait) == ("a", 0.0)


def test_a_single_server_is_not_asked_without_a_pause() -> None:
    servers = ServerList("nats://a:4222")
    assert servers.choose(pool("a"), {})[1] == RECONNECT_WAIT_SECONDS


def test_one_user_is_for_all_servers_and_no_password_is_shown() -> None:
    servers = ServerList("nats://us%40er:p%2Fw@a:1, nats://us%40er:p%2Fw@b:2")
    assert (servers.user, servers.password) == ("us@er", "p/w")
    assert str(servers) == "nats://a:1, nats://b:2"
    alone = ServerList("nats://user:secret@a:1")
    assert (alone.urls, alone.user) == (["nats://user:secret@a:1"], None)  # nats-py reads it from the URL itself
