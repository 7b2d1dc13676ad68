"""Bad input, through the API and the command line: the same words, nothing stored, nothing half-deployed."""

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import jwt
import pytest

from contracts.functions import MAX_BUNDLE_BYTES
from tests.kit.network import RunningNetwork
from tests.kit.wheels import build_wheel

NAME = "spoilt"
GOOD = build_wheel(NAME, "1.0.0", code="x = 1")


def changed(path: str, content: bytes | None) -> bytes:
    """The good wheel with one file replaced or left out; RECORD stays what it was."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as good, zipfile.ZipFile(packed, "w") as bad:
        for name in good.namelist():
            if name != path:
                bad.writestr(name, good.read(name))
        if content is not None:
            bad.writestr(path, content)
    return packed.getvalue()


def info(name: str) -> str:
    return f"{NAME}-1.0.0.dist-info/{name}"


BAD_WHEELS: dict[str, tuple[bytes, int, str]] = {
    "not a zip": (b"PK but not really" * 10, 400, "not-a-zip"),
    "empty": (b"", 400, "not-a-zip"),
    "cut off": (GOOD[: len(GOOD) // 2], 400, "not-a-zip"),
    "path upwards": (changed("../outside.py", b""), 400, "unsafe-path"),
    "wrong hash in RECORD": (changed(f"{NAME}/__init__.py", b"x = 2"), 400, "record-mismatch"),
    "no entry point": (changed(info("entry_points.txt"), None), 400, "no-entry-point"),
    "two entry points": (
        build_wheel(NAME, entry=f"{NAME}:measure\nanother = {NAME}:other"),
        400,
        "many-entry-points",
    ),
    "version": (build_wheel(NAME, "1.0"), 400, "bad-version"),
    "manifest": (build_wheel(NAME, manifest='summary = "x"\nneeds = ["root"]\n'), 400, "bad-manifest"),
    "unknown dependencies": (build_wheel(NAME, requires=["leftpad>=1"]), 400, "missing-dependencies"),
    "too large": (b"x" * (MAX_BUNDLE_BYTES + 1), 413, "too-large"),
}


def stored(network: RunningNetwork) -> tuple[Any, Any]:
    """Everything that an upload could leave behind."""
    functions = [item["deployment"] for item in network.api.get("/functions").json()]
    return functions, network.api.get("/bundles").json()


@pytest.mark.parametrize("case", BAD_WHEELS)
def test_a_bad_wheel_is_refused_alike_by_api_and_command_line(
    network: RunningNetwork, tmp_path: Path, case: str
) -> None:
    wheel, status, reason = BAD_WHEELS[case]
    before = stored(network)
    told = network.api.post("/bundles", content=wheel, headers=network.signed(wheel))
    problem = told.json()
    assert told.headers["content-type"] == "application/problem+json"
    assert (told.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert len(problem["detail"]) > 10
    path = tmp_path / f"{NAME}-1.0.0-py3-none-any.whl"
    path.write_bytes(wheel)
    ran = network.mmn("deploy", str(path))
    assert ran.code == 2, ran
    assert problem["detail"] in " ".join(ran.err.split())
    assert stored(network) == before


def test_the_same_version_with_other_content_keeps_what_was_there(network: RunningNetwork) -> None:
    first = build_wheel("samename", "1.0.0", code=CODE)
    other = build_wheel("samename", "1.0.0", code=CODE + "\n# other")
    assert network.api.post("/bundles", content=first, headers=network.signed(first)).status_code == 201
    before = stored(network)
    told = network.api.post("/bundles", content=other, headers=network.signed(other))
    assert (told.status_code, told.json()["reason"]) == (409, "version-exists")
    assert stored(network) == before
    assert network.api.post("/bundles", content=first, headers=network.signed(first)).status_code == 200


CODE = """
from runtime.sdk import Context, Params, Report

class P(Params, frozen=True):
    pass

class R(Report, frozen=True):
    pass

async def measure(params: P, ctx: Context) -> R:
    return R()
"""

BAD_JOBS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "unknown function": ({"function": "nope"}, 404, "unknown-function", None),
    "no function": ({}, 400, "invalid-field", "function"),
    "name that is no name": ({"function": "mmn.>"}, 400, "invalid-field", "function"),
    "wrong type": ({"function": "echo", "params": {"text": 5}}, 400, "bad-params", "params.text"),
    "out of range": (
        {"function": "latency-ping", "params": {"target": "127.0.0.1", "count": 0}},
        400,
        "bad-params",
        "params.count",
    ),
    "misspelt parameter": ({"function": "echo", "params": {"txet": "x"}}, 400, "bad-params", "params.txet"),
    "misspelt field": ({"function": "echo", "parms": {}}, 400, "unknown-field", "parms"),
    "unknown node": ({"function": "echo", "node": "n9"}, 400, "no-such-place", "node"),
    "unknown labels": ({"function": "echo", "match": {"site": "x"}}, 400, "no-such-place", "match"),
    "deadline": ({"function": "echo", "deadline_s": -1}, 400, "invalid-field", "deadline_s"),
    "class": ({"function": "echo", "class": "express"}, 400, "invalid-field", "class"),
}


@pytest.mark.parametrize("case", BAD_JOBS)
def test_a_bad_job_names_the_field_and_the_rule(network: RunningNetwork, case: str) -> None:
    body, status, reason, field = BAD_JOBS[case]
    told = network.api.post("/jobs", json=body)
    problem = told.json()
    assert told.headers["content-type"] == "application/problem+json"
    assert (told.status_code, problem["reason"], problem.get("field")) == (status, reason, field), problem


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"function":"echo","params":' + b"[" * 9999]
)
def test_a_body_that_is_no_job_is_refused(network: RunningNetwork, body: bytes) -> None:
    told = network.api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert told.status_code == 400, told.text
    assert told.json()["status"] == 400


def test_tokens_that_do_not_count(network: RunningNetwork) -> None:
    """Expired, forged, unsigned or missing: 401 each, with what to do next."""
    genuine = network.api.bearer.token
    claims = jwt.decode(genuine, options={"verify_signature": False})
    key = network.folder / "gateway" / "token.key"
    past = claims | {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
    expired = jwt.encode(past, bytes.fromhex(key.read_text()), algorithm="HS256")
    forged = jwt.encode(claims | {"role": "admin"}, "x" * 64, algorithm="HS256")
    unsigned = jwt.encode(claims, "", algorithm="none")
    for token, reason in (
        (expired, "token-expired"),
        (forged, "token-invalid"),
        (unsigned, "token-invalid"),
        ("x", "token-invalid"),
    ):
        told = network.api.get("/jobs", headers={"Authorization": f"Bearer {token}"})
        assert told.status_code == 401
        assert told.headers["www-authenticate"].startswith("Bearer")
        assert told.json()["reason"] == reason, told.json()
    told = network.api.post("/auth/token", auth=("admin", "wrong"))
    assert told.status_code == 401
    ran = network.mmn("login", network.url, "--user", "admin", "--password-stdin", text="wrong\n")
    assert ran.code == 3
    assert told.json()["detail"] in " ".join(ran.err.split())
