"""Requests made from the OpenAPI document, good and bad, by every role: nothing breaks, nobody gets further than the table."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from gateway.security.roles import API, RIGHTS, Role
from tests.kit.network import ROOT, ApiClient, RunningNetwork

pytestmark = pytest.mark.timeout(180)
PASSWORD = "correct horse battery"
EXAMPLES = 4
"""Of each operation, some as documented and some not; each is sent by everybody."""
BRIEFLY_AFTER_S = 30.0
"""On a busy machine the operations that are left are tried once each: all are tried, within a minute."""
KNOWN = {"name": "echo", "node": "n1"}
LAST = ("revoke", "own_password", "revoke_user")
"""These may end the login that asks."""
OPEN_BUT_JUDGED = {"token", "refresh", "join_network"}
"""These need no token of ours, yet refuse who brings nothing that counts."""
Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    with RunningNetwork(tmp_path_factory.mktemp("openapi") / "net", "--nodes", "1") as running:
        assert running.mmn("deploy", str(ROOT / "functions" / "echo"), "--wait").code == 0
        yield running


def tokens(network: RunningNetwork) -> dict[Role, str]:
    """A token of every role."""
    found: dict[Role, str] = {}
    for role in Role:
        assert network.api.put(f"/users/a-{role}", json={"role": role, "password": PASSWORD}).status_code == 200
        client = ApiClient(network.url, f"a-{role}", PASSWORD)
        found[role] = client.bearer.token
        client.close()
    return found


def operations(url: str) -> list[Operation]:
    """Every operation of the document; those that end logins at the end."""
    document = requests.get(f"{url}/schema/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(document)
    found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    return sorted(found, key=lambda one: one.definition.raw["operationId"] in LAST)


def asked(case: Case[Any]) -> Case[Any]:
    """The same request, about something that is there, and without the long waits that may be asked for."""
    if case.method != "DELETE" and not case.path.startswith(f"{API}/users"):
        case.path_parameters = {**case.path_parameters, **{k: v for k, v in KNOWN.items() if k in case.path_parameters}}
    if "wait" in (case.query or {}):
        case.query = {**case.query, "wait": 0}
    return case


def test_no_request_breaks_the_gateway_and_no_role_gets_further_than_the_table(network: RunningNetwork) -> None:
    bearers: dict[Role | None, dict[str, str]] = {None: {}}
    bearers |= {role: {"Authorization": f"Bearer {token}"} for role, token in tokens(network).items()}
    told: Counter[int] = Counter()
    seen: set[tuple[str, str]] = set()
    late = time.monotonic() + BRIEFLY_AFTER_S
    with requests.Session() as session:
        for operation in operations(network.url):
            seen.add((operation.method.upper(), operation.path))
            judge(operation, network.url, session, bearers, told, examples=EXAMPLES if time.monotonic() < late else 1)
    documented = {route for route in RIGHTS if route[1].startswith(API) and route[0] not in {"TOPIC", "WEBSOCKET"}}
    assert seen == documented
    # Not all was refused at the door: requests of each kind came through.
    assert {200, 400, 401, 403, 404} <= set(told), told


def judge(
    operation: Operation,
    url: str,
    session: requests.Session,
    bearers: Mapping[Role | None, Mapping[str, str]],
    told: Counter[int],
    *,
    examples: int,
) -> None:
    name = operation.definition.raw["operationId"]
    needed = RIGHTS[operation.method.upper(), operation.path]
    modes = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]

    @given(case=st.one_of(modes))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Case[Any]) -> None:
        case = asked(case)
        for role, bearer in bearers.items():
            # The document's own idea of credentials, such as none at all, must not stand in for the role's.
            sent = case.as_transport_kwargs(base_url=url)
            made = {k: v for k, v in dict(sent.pop("headers", None) or {}).items() if k.lower() != "authorization"}
            answer = session.request(**sent, headers={**made, **bearer}, timeout=30)
            status = answer.status_code
            told[status] += 1
            at = f"{role} {case.as_curl_command()}: {status} {answer.content[:300]!r}"
            assert status < 500, at
            if needed is None:
                assert name in OPEN_BUT_JUDGED or status not in {401, 403}, at
            elif role is None:
                assert status == 401, at
            elif not role.covers(needed):
                assert status in {401, 403} if name in LAST else status == 403, at
            else:
                assert status != 403, at

    run()
