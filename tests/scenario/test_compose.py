"""The network of compose.yaml: it works, and each container holds and may do no more than it has to."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.kit import containers
from tests.kit.containers import SERVICES, CannotUse, ComposeNetwork
from tests.kit.eventually import eventually_sync
from tests.kit.network import finished, mmn

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

FUNCTIONS = containers.ROOT / "functions"
NODES = ("n1", "n2")


def ready(network: ComposeNetwork) -> None:
    """Wait until the gateway is, and sees both nodes."""

    def seen() -> bool:
        if not httpx.get(f"{network.url}/api/v1/status", trust_env=False).json()["ready"]:
            return False
        with closing(network.api()) as api:
            return {item["node"] for item in api.get("/modules").json() if item["kind"] == "runtime"} >= set(NODES)

    try:
        eventually_sync(seen, within=60, every=0.5)
    except AssertionError as error:
        raise AssertionError(network.logs()) from error


@pytest.fixture(scope="module")
def network() -> Iterator[ComposeNetwork]:
    try:
        containers.prepare(make_base=False)
    except CannotUse as error:
        pytest.skip(str(error))
    with ComposeNetwork() as running:
        ready(running)
        yield running


def test_the_jobs_of_the_demo_are_measured(network: ComposeNetwork, tmp_path: Path) -> None:
    """Deployed and run from outside, by the command line; ICMP needs no capability."""
    password = tmp_path / "password"
    password.write_text(network.password())
    login = mmn("login", network.url, "--password-file", str(password), state=tmp_path)
    assert login.code == 0, login
    key = tmp_path / "author.key"
    key.touch(mode=0o600)
    key.write_text(network.author_key())
    for name in ("echo", "latency-ping"):
        deployed = mmn("deploy", str(FUNCTIONS / name), "--key", str(key), "--url", network.url, state=tmp_path)
        assert deployed.code == 0, (deployed, network.logs())
        assert all(f"{node}: ready" in deployed.out for node in NODES)
    echo = mmn("run", "echo", "text=in containers", "-o", "json", "--url", network.url, state=tmp_path)
    assert echo.json()["data"]["text"] == "in containers"
    for node in NODES:
        ping = ("latency-ping", "target=127.0.0.1", "count=3", "interval_ms=50", "--node", node)
        result = mmn("run", *ping, "-o", "json", "--url", network.url, state=tmp_path).json()
        assert (result["node"], result["data"]["received"]) == (node, 3)
    # An ordinary user without capabilities: no user for each worker, all the rest of the box.
    with closing(network.api()) as api:
        # One that is only starting, in the place of another, has no card yet.
        workers = [module for module in api.get("/modules").json() if module["kind"] == "worker" and module["box"]]
    found = {(worker["node"], worker["box"], worker["egress"]) for worker in workers}
    assert found == {(node, "B1", "advisory") for node in NODES}, workers
    assert all("the runtime lacks CAP_CHOWN" in worker["gaps"][0] for worker in workers)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_healthy(network: ComposeNetwork, service: str) -> None:
    """Asked by hand, since podman needs systemd to ask by itself."""
    containers.podman("healthcheck", "run", network.container(service))


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_nothing_beyond_its_work(network: ComposeNetwork, service: str) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in network.execute(service, "cat", "/proc/self/status").splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1"
    for place in ("/", "/opt/mmn", "/identity"):
        said = network.execute(service, "sh", "-c", f"touch {place}/x 2>&1 || true")
        assert "Read-only file system" in said


def test_a_container_knows_only_its_own_secrets(network: ComposeNetwork) -> None:
    member = {"nats.creds", "ca.crt"}
    node = member | {"signing.key", "measure-account", "authors"}
    # The key of the certificate authority is nobody's here: it stays where `provision` made it.
    known = {
        "authority": set(),
        "nats": {"server.conf", "server.crt", "server.key"},
        "anchor": member,
        "gateway": member | {"password", "authors"},
    }
    for service in SERVICES:
        assert set(network.execute(service, "ls", "/identity").split()) == known.get(service, node), service
        volumes = {mount["Name"].removeprefix(f"{network.project}_") for mount in network.inspect(service)["Mounts"]}
        # The keys of operator, accounts and roles are the authority's, which has nothing else.
        assert volumes <= ({"network"} if service == "authority" else {f"id-{service}", service}), service


def test_a_host_is_invited_joins_and_is_revoked(network: ComposeNetwork, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(network.password())
    assert mmn("login", network.url, "--password-file", str(password), state=tmp_path).code == 0
    token = mmn("node", "invite", "edge1", "-o", "json", state=tmp_path).json()["token"]
    joined = mmn("node", "join", token, "--dir", str(tmp_path / "edge1"), "--no-start", state=tmp_path)
    assert joined.code == 0, (joined, network.logs())
    assert "BEGIN NATS USER JWT" in (tmp_path / "edge1" / "nats.creds").read_text()
    assert mmn("node", "revoke", "edge1", state=tmp_path).code == 0
    members = {one["name"]: one["revoked"] for one in mmn("access", "list", "-o", "json", state=tmp_path).json()}
    assert members == {"n1": False, "n2": False, "edge1": True}


def test_nats_and_the_anchor_reach_nothing_outside(network: ComposeNetwork) -> None:
    for service in ("nats", "authority", "anchor"):
        routes = network.execute(service, "cat", "/proc/net/route").splitlines()[1:]
        assert routes
        assert "00000000" not in {route.split()[1] for route in routes}, "a default route leads outside"


def test_only_the_gateway_is_published_and_only_on_this_machine(network: ComposeNetwork) -> None:
    published = {
        service: sorted(found)
        for service in SERVICES
        if (found := containers.podman("port", network.container(service), check=False).splitlines())
    }
    assert published == {"gateway": [f"8080/tcp -> 127.0.0.1:{network.port}"]}


def test_the_page_is_in_the_image(network: ComposeNetwork) -> None:
    page = httpx.get(f"{network.url}/", trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text):
        assert httpx.get(f"{network.url}{asset}", trust_env=False).status_code == 200


def test_the_image_holds_no_key_and_no_build_tool(network: ComposeNetwork) -> None:
    assert network, "so that the image is there"
    secrets = "find / -xdev -type f ( -name *.nk -o -name *.creds -o -name signing.key -o -name author.key -o -name token.key ) -not -path /usr/*"
    tools = "find / -xdev ( -path /tools -o -path /src -o -path /dist -o -name node_modules -o -name setuptools ) -not -path /usr/*"
    for look in (secrets, tools):
        assert containers.podman("run", "--rm", "--user", "0", containers.IMAGE, *look.split()) == ""
    told = containers.podman("image", "inspect", containers.IMAGE, "--format", "{{.User}} {{.Config.Env}}")
    assert told.startswith("10001:10001 ")
    assert "CERT" not in told, "what the building machine trusts is not the image's affair"


def test_a_network_that_was_taken_down_comes_back_with_all_it_knew(network: ComposeNetwork) -> None:
    """The volumes hold it; provisioning again keeps every key."""
    with closing(network.api()) as api:
        job = api.post("/jobs", json={"function": "echo", "params": {"text": "before"}}).json()["job"]
        assert finished(api, job)["data"]["text"] == "before"
    password = network.password()
    network.down()
    network.up()
    ready(network)
    assert network.password() == password
    with closing(network.api()) as api:
        assert finished(api, job)["data"]["text"] == "before"

        def again() -> bool:
            told = api.post("/jobs", json={"function": "echo", "params": {"text": "after"}})
            return told.status_code == 202 and finished(api, told.json()["job"])["failure"] is None

        eventually_sync(again, within=30, every=0.3)
