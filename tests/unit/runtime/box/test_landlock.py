"""What is asked of the kernel, for each ABI."""

import pytest

from contracts.functions import Manifest, Need
from runtime.box.landlock import BIND_TCP, CONNECT_TCP, READ, WRITE, Rules, handled, rights
from runtime.box.spec import Spec

CLOSED = Rules(read=[], write=[], connect=[4222], bind=[0])
OPEN = Rules(read=[], write=[], connect=None, bind=None)


@pytest.mark.parametrize(
    ("abi", "files", "net", "scopes", "size"),
    [
        (1, 0x1FFF, 0, 0, 8),
        (2, 0x3FFF, 0, 0, 8),
        (3, 0x7FFF, 0, 0, 8),
        (4, 0x7FFF, 3, 0, 16),
        (5, 0xFFFF, 3, 0, 16),
        (6, 0xFFFF, 3, 3, 24),
        (9, 0xFFFF, 3, 3, 24),
    ],
)
def test_only_what_an_abi_knows_is_asked_of_it(abi: int, files: int, net: int, scopes: int, size: int) -> None:
    found = handled(abi, CLOSED)
    assert (found.files, found.net, found.scopes) == (files, net, scopes)
    assert len(found.packed(abi)) == size


def test_ports_that_are_all_allowed_are_not_handled() -> None:
    assert handled(7, OPEN).net == 0
    assert handled(7, Rules(read=[], write=[], connect=[1], bind=None)).net == CONNECT_TCP
    assert handled(7, Rules(read=[], write=[], connect=None, bind=[0])).net == BIND_TCP


def test_a_file_gets_no_right_that_only_folders_have() -> None:
    every = handled(7, CLOSED).files
    read_file, read_folder, make_file = 4, 8, 1 << 8
    assert rights(READ, every, folder=False) == read_file
    assert rights(READ, every, folder=True) == read_file | read_folder
    assert rights(WRITE, every, folder=True) & make_file
    assert not rights(WRITE, every, folder=False) & make_file


def test_nothing_that_was_written_is_executed_and_no_device_is_made() -> None:
    execute, make_char, make_sock, make_fifo, make_block = 1, 1 << 6, 1 << 9, 1 << 10, 1 << 11
    assert not (READ | WRITE) & (execute | make_char | make_sock | make_fifo | make_block)


def spec(*needs: Need, by_name: bool = False, user: int | None = None) -> Spec:
    return Spec.of(
        Manifest(summary="test", needs=list(needs)),
        name="test",
        scratch="/s",
        code="/c",
        measures=("landlock", "seccomp"),
        user=user,
        bus_ports=(4222, 4223),
        bus_by_name=by_name,
    )


def test_a_bundle_reaches_what_it_asked_for_and_always_nats() -> None:
    rules = spec().rules(["/lib"])
    assert rules == Rules(read=["/lib", "/c"], write=["/s", "/dev/null"], connect=[4222, 4223], bind=[0])
    assert spec("tcp").rules([]).connect is None
    assert spec("icmp", "udp").rules([]).connect == [4222, 4223]
    assert spec("listen").rules([]).bind is None


def test_udp_is_for_those_who_ask_and_those_who_look_up_names() -> None:
    assert not spec().calls.udp
    assert spec(by_name=True).calls.udp
    assert all(spec(need).calls.udp for need in ("udp", "tcp", "icmp"))
    assert [spec(need).calls.listen for need in ("tcp", "listen")] == [False, True]
    assert [spec(user=user).calls.metadata for user in (None, 400_000)] == [False, True]
