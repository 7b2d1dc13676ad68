from __future__ import annotations

import pytest

from gateway.cli import alive

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1
   1: 0200590A:C350 0300590A:107E 01 00000000:00000000 00:00000000 00000000 10001        0 4243 1
   2: 0200590A:C352 0300590A:1F90 06 00000000:00000000 00:00000000 00000000 10001        0 4244 1
""".splitlines()


@pytest.mark.parametrize(
    ("port", "open_one"),
    [(4222, True), (8080, False), (50000, False)],
    ids=["open", "closing, and listening", "our own side"],
)
def test_an_open_connection_to_a_port_is_found_in_the_kernels_table(port: int, *, open_one: bool) -> None:
    assert alive.has_connection(TABLE, port) is open_one


@pytest.mark.parametrize("check", ["nats", "gateway"])
def test_where_nobody_listens_one_line_says_so(check: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert alive.main([check, "9"]) == 1
    assert capsys.readouterr().out.startswith(f"{check}: ")
