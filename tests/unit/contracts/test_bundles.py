"""What a wheel must be to count as a bundle, and that nothing hostile gets past or crashes the check."""

import base64
import contextlib
import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import bundles
from contracts.bundles import BundleInfo, inspect_wheel, missing, unpack_wheel
from contracts.errors import InvalidField, Refused
from contracts.functions import MAX_UNPACKED_BYTES
from tests.kit.memory import at_most

BASE = {"msgspec": "0.22.0", "icmplib": "3.0.4"}
INFO = "demo_fn-1.2.0.dist-info"
Files = dict[str, bytes]


def files_of(*, name: str = "demo-fn", version: str = "1.2.0", requires: tuple[str, ...] = ()) -> Files:
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    return {
        "demo_fn/__init__.py": b"raise SystemExit('was run')\n",
        "demo_fn/function.toml": b'summary = "A demonstration"\nneeds = ["udp"]\n',
        f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}".encode(),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/entry_points.txt": b"[mmn.functions]\ndemo-fn = demo_fn:measure\n",
    }


def record_of(files: Files) -> bytes:
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
        if not name.endswith("/")
    ]
    return "\n".join([*lines, f"{INFO}/RECORD,,", ""]).encode()


def packed(files: Files, *, record: bytes | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{INFO}/RECORD", record_of(files) if record is None else record)
    return out.getvalue()


def inspected(data: bytes, *, filename: str | None = None) -> BundleInfo:
    return inspect_wheel(data, filename=filename, environment=BASE)


def reason_of(data: bytes, *, filename: str | None = None) -> str:
    with pytest.raises(InvalidField) as caught:
        inspected(data, filename=filename)
    assert caught.value.field.startswith("bundle")
    return caught.value.reason


def test_a_good_wheel_is_described() -> None:
    data = packed(files_of(requires=("msgspec>=0.20", "nothing; python_version < '3'")))
    info = inspected(data, filename="demo_fn-1.2.0-py3-none-any.whl")
    assert (info.function, info.version, info.package, info.entry) == (
        "demo-fn",
        "1.2.0",
        "demo_fn",
        "demo_fn:measure",
    )
    assert info.digest == hashlib.sha256(data).hexdigest()
    assert (info.summary, info.manifest.needs, info.size, info.files) == ("A demonstration", ["udp"], len(data), 6)


def test_a_signed_record_needs_no_line_in_the_record() -> None:
    files = files_of()
    record = record_of(files)
    assert inspected(packed({**files, f"{INFO}/RECORD.jws": b"{}"}, record=record)).files == 7


SPOILT: list[tuple[str, bytes | None, str]] = [
    (f"{INFO}/METADATA", None, "no-dist-info"),
    (f"{INFO}/WHEEL", None, "no-dist-info"),
    (f"{INFO}/entry_points.txt", None, "no-entry-point"),
    ("demo_fn/__init__.py", None, "no-package"),
    ("demo_fn/function.toml", None, "no-manifest"),
    ("demo_fn/function.toml", b"summary = 3", "bad-manifest"),
    ("demo_fn/function.toml", b"summary = 'x'\nnedds = []", "bad-manifest"),
    ("demo_fn/function.toml", b"a = " + b"[" * 5000, "bad-manifest"),
    ("other-1.0.0.dist-info/METADATA", b"", "no-dist-info"),
    ("demo_fn-1.2.0.data/purelib/x.py", b"", "data-folder"),
    ("contracts/__init__.py", b"", "reserved-name"),
    ("json.py", b"", "reserved-name"),
    (f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: other\nVersion: 1.2.0\n", "name-mismatch"),
    (f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: demo-fn\nVersion: 1.3.0\n", "name-mismatch"),
    (f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: demo-fn\nVersion: 1.2\n", "bad-version"),
    (f"{INFO}/METADATA", b"Metadata-Version: 2.1\nName: 9\nVersion: 1.2.0\n", "bad-name"),
    (f"{INFO}/METADATA", b"\xff\xfe", "bad-name"),
    (f"{INFO}/WHEEL", b"Root-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n", "wheel-tag"),
    (f"{INFO}/entry_points.txt", b"[console_scripts]\na = b:c\n", "no-entry-point"),
    (f"{INFO}/entry_points.txt", b"no section", "no-entry-point"),
    (f"{INFO}/entry_points.txt", b"[mmn.functions]\na = b:c\nd = e:f\n", "many-entry-points"),
    (f"{INFO}/entry_points.txt", b"[mmn.functions]\nother = demo_fn:measure\n", "name-mismatch"),
    (f"{INFO}/entry_points.txt", b"[mmn.functions]\ndemo-fn = demo_fn\n", "bad-entry-point"),
    (f"{INFO}/entry_points.txt", b"[mmn.functions]\ndemo-fn = elsewhere:measure\n", "no-package"),
    ("../outside.py", b"", "unsafe-path"),
    ("/etc/passwd", b"", "unsafe-path"),
    ("demo_fn\\evil.py", b"", "unsafe-path"),
    ("C:/evil.py", b"", "unsafe-path"),
    ("demo_fn//evil.py", b"", "unsafe-path"),
    ("demo_fn/./evil.py", b"", "unsafe-path"),
    ("demo_fn/a\nb.py", b"", "unsafe-path"),
    ("DEMO_FN/__init__.py", b"", "duplicate-path"),
    ("demo_fn", b"", "duplicate-path"),
]
"""A file, what it holds instead (None: it is not there), and why the wheel is refused then."""


@pytest.mark.parametrize(("name", "content", "reason"), SPOILT, ids=[f"{n}-{row[2]}" for n, row in enumerate(SPOILT)])
def test_each_broken_rule_has_its_own_reason(name: str, content: bytes | None, reason: str) -> None:
    files = files_of()
    if content is None:
        del files[name]
    else:
        files[name] = content
    assert reason_of(packed(files)) == reason


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        b"demo_fn/__init__.py,md5=x,1\n",
        record_of(files_of()).replace(b"sha256=", b"sha256=A", 1),
        record_of(files_of()) + b"demo_fn/ghost.py,sha256=x,1\n",
        record_of(files_of()) * 2,
        record_of({name: data for name, data in files_of().items() if name != "demo_fn/__init__.py"}),
        record_of({**files_of(), "demo_fn/__init__.py": b"pass\n"}),
    ],
    ids=range(8),
)
def test_a_record_that_does_not_fit_is_refused(record: bytes) -> None:
    assert reason_of(packed(files_of(), record=record)) == "record-mismatch"


def test_what_is_no_whole_zip_is_refused() -> None:
    good = packed(files_of())
    assert reason_of(b"") == reason_of(b"PK\x03\x04 and nothing") == reason_of(good[:-30]) == "not-a-zip"
    assert reason_of(b"#!/bin/sh\n" + good) == "not-a-zip"


def test_a_link_is_refused() -> None:
    out = io.BytesIO(packed(files_of()))
    with zipfile.ZipFile(out, "a") as archive:
        link = zipfile.ZipInfo("demo_fn/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert reason_of(out.getvalue()) == "unsafe-path"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused() -> None:
    out = io.BytesIO(packed(files_of()))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("demo_fn/__init__.py", "other")
    assert reason_of(out.getvalue()) == "duplicate-path"


def test_sizes_are_measured_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({**files_of(), "demo_fn/zeros.bin": bytes(3_000_000)})
    assert len(data) < 10_000
    monkeypatch.setattr(bundles, "MAX_UNPACKED_BYTES", 1_000_000)
    assert reason_of(data) == "too-large-unpacked"
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 100)
    assert reason_of(data) == "too-large"


def test_a_header_that_tells_a_smaller_size_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (3_000_000).to_bytes(4, "little")
    data = packed({**files_of(), "demo_fn/zeros.bin": bytes(3_000_000)}).replace(size, (9).to_bytes(4, "little"))
    monkeypatch.setattr(bundles, "MAX_UNPACKED_BYTES", 1_000_000)
    assert reason_of(data) in {"not-a-zip", "record-mismatch"}


def test_a_wheel_that_unpacks_to_much_takes_little_memory() -> None:
    data = packed({**files_of(), "demo_fn/zeros.bin": bytes(2 * MAX_UNPACKED_BYTES)})
    with at_most(4 * 1024 * 1024):
        assert reason_of(data) == "too-large-unpacked"
    text = packed({**files_of(), "demo_fn/function.toml": b" " * (MAX_UNPACKED_BYTES // 2)})
    with at_most(4 * 1024 * 1024):
        assert reason_of(text) == "too-large"


def test_too_many_files_are_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({**files_of(), **{f"demo_fn/f{n}.py": b"" for n in range(50)}})
    monkeypatch.setattr(bundles, "MAX_BUNDLE_FILES", 50)
    assert reason_of(data) == "too-many-files"
    monkeypatch.setattr(bundles, "MAX_BUNDLE_FILES", 10)
    assert reason_of(data) == "too-many-files"


@pytest.mark.parametrize("filename", ["demo_fn-1.3.0-py3-none-any.whl", "other-1.2.0-py3-none-any.whl", "demo.zip", ""])
def test_a_file_name_that_tells_something_else_is_refused(filename: str) -> None:
    assert reason_of(packed(files_of()), filename=filename) == "bad-filename"


def test_dependencies_that_nodes_lack_are_all_named() -> None:
    files = files_of(requires=("msgspec>=99", "icmplib", "scapy>=2"))
    with pytest.raises(InvalidField) as caught:
        inspected(packed(files))
    assert caught.value.reason == "missing-dependencies"
    assert "msgspec>=99" in caught.value.rule
    assert "scapy>=2" in caught.value.rule
    assert "icmplib" not in caught.value.rule


def test_missing_evaluates_markers_and_normalises_names() -> None:
    assert missing(["MsgSpec", "x; sys_platform == 'none'", "y; extra == 'more'"], BASE) == []
    assert missing(["icmplib @ https://example.net/x.whl"], BASE) == ["icmplib @ https://example.net/x.whl"]
    with pytest.raises(InvalidField) as caught:
        missing(["not a requirement!"], BASE)
    assert caught.value.reason == "bad-requirement"


def test_an_older_python_than_asked_for_is_refused() -> None:
    text = b"Metadata-Version: 2.1\nName: demo-fn\nVersion: 1.2.0\nRequires-Python: >=9\n"
    assert reason_of(packed({**files_of(), f"{INFO}/METADATA": text})) == "python-version"


def test_unpacking_writes_plain_files(tmp_path: Path) -> None:
    into = tmp_path / "unpacked"
    unpack_wheel(packed({**files_of(), "demo_fn/sub/": b"", "demo_fn/sub/deep/x.py": b"x = 1\n"}), into)
    assert (into / "demo_fn/sub/deep/x.py").read_bytes() == b"x = 1\n"
    assert {path.stat().st_mode & 0o777 for path in into.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in into.rglob("*") if path.is_dir()} == {0o755}


def test_unpacking_checks_paths_again_and_overwrites_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidField):
        unpack_wheel(packed({**files_of(), "../evil.py": b""}), tmp_path / "a")
    assert not (tmp_path / "evil.py").exists()
    data = packed(files_of())
    unpack_wheel(data, tmp_path / "b")
    with pytest.raises(FileExistsError):
        unpack_wheel(data, tmp_path / "b")


GOOD = packed(files_of())


def judged(data: bytes) -> None:
    with contextlib.suppress(Refused):
        inspected(data)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    judged(data)
    judged(b"PK\x03\x04" + data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_wheel_is_refused_or_good_and_never_crashes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    judged(bytes(data))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(files_of())), st.binary(max_size=200))
def test_any_content_in_a_file_is_refused_or_good(name: str, content: bytes) -> None:
    judged(packed({**files_of(), name: content}))
    judged(packed(files_of(), record=content))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=30))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_path_is_refused_or_stays_inside(name: str) -> None:
    try:
        data = packed({**files_of(), name: b""})
    except (ValueError, IndexError):
        return
    judged(data)
