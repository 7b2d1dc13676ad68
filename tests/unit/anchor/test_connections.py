import msgspec

from anchor.connections import ConnectionEvent, Connections


def event(user: str, number: int, server: str = "A") -> ConnectionEvent:
    advisory = {
        "type": "io.nats.server.advisory.v1.client_disconnect",
        "server": {"id": server, "name": "x", "seq": 7},
        "client": {"id": number, "user": user, "name": "what the client says", "jwt": "x.y.z"},
        "reason": "Client Closed",
    }
    return msgspec.json.decode(msgspec.json.encode(advisory), type=ConnectionEvent)


def test_the_last_connection_of_a_key_counts() -> None:
    known = Connections()
    known.opened(event("U1", 1))
    known.opened(event("U1", 2))
    assert not known.closed(event("U1", 1))
    assert known.closed(event("U1", 2))


def test_a_connection_from_before_this_anchor_counts_too() -> None:
    assert Connections().closed(event("U1", 1))


def test_servers_count_their_connections_each_for_itself() -> None:
    known = Connections()
    known.opened(event("U1", 1, "A"))
    known.opened(event("U1", 1, "B"))
    assert not known.closed(event("U1", 1, "A"))


def test_a_new_connection_before_the_old_one_ends_is_no_loss() -> None:
    known = Connections()
    known.opened(event("U1", 2))
    assert not known.closed(event("U1", 1))


def test_after_missed_events_nothing_is_taken_for_known() -> None:
    known = Connections()
    known.opened(event("U1", 1))
    known.forget()
    assert known.closed(event("U1", 2))
