import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from contracts import clock
from contracts.access import ca
from contracts.access.ca import LocalCa
from contracts.errors import MmnError


def served(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_server_is_vouched_for_by_the_authority(tmp_path: Path) -> None:
    authority = LocalCa(tmp_path / "tls")
    pair = authority.server("nats", ["127.0.0.1", "nats.example.net"])
    served(pair.cert).verify_directly_issued_by(served(authority.file))
    names = served(pair.cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["127.0.0.1", "nats.example.net"]


def test_only_the_owner_reads_keys(tmp_path: Path) -> None:
    LocalCa(tmp_path / "tls").server("nats", ["127.0.0.1"])
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()} == {0o600}


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    pair = LocalCa(tmp_path / "tls").server("nats", ["127.0.0.1", "a.example"])
    before = pair.cert.read_text()
    assert LocalCa(tmp_path / "tls").server("nats", ["a.example", "127.0.0.1"]) == pair
    assert pair.cert.read_text() == before


def test_other_names_make_another_certificate(tmp_path: Path) -> None:
    authority = LocalCa(tmp_path / "tls")
    before = authority.server("nats", ["127.0.0.1"]).cert.read_text()
    assert authority.server("nats", ["127.0.0.1", "b.example"]).cert.read_text() != before


def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = LocalCa(tmp_path / "tls")
    pair = authority.server("nats", ["127.0.0.1"])
    before, root = pair.cert.read_text(), authority.file.read_text()
    now = clock.wall_ns()
    monkeypatch.setattr(clock, "wall_ns", lambda: now + int(timedelta(days=200).total_seconds() * 1e9))
    assert authority.server("nats", ["127.0.0.1"]).cert.read_text() == before
    monkeypatch.setattr(clock, "wall_ns", lambda: now + int(timedelta(days=300).total_seconds() * 1e9))
    assert authority.server("nats", ["127.0.0.1"]).cert.read_text() != before
    assert authority.file.read_text() == root
    monkeypatch.setattr(clock, "wall_ns", lambda: now + int(timedelta(days=ca.CA_DAYS - 100).total_seconds() * 1e9))
    served(authority.server("nats", ["127.0.0.1"]).cert).verify_directly_issued_by(served(authority.file))
    assert authority.file.read_text() != root


def test_a_damaged_certificate_is_made_anew(tmp_path: Path) -> None:
    authority = LocalCa(tmp_path / "tls")
    pair = authority.server("nats", ["127.0.0.1"])
    pair.cert.write_text("no certificate")
    served(authority.server("nats", ["127.0.0.1"]).cert)


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MmnError, match="host name"):
        LocalCa(tmp_path / "tls").server("nats", ["é.example"])
