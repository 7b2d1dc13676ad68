"""What the lists themselves must never say; what the server makes of them is tested in integration."""

import pytest

from contracts.access import roles
from contracts.errors import InvalidField

EVERY = (*roles.MANAGE_ROLES, roles.worker("n1"))


@pytest.mark.parametrize("role", EVERY, ids=lambda role: role.name)
def test_no_list_is_empty_since_empty_means_everything(role: roles.Role) -> None:
    assert role.publish
    assert role.subscribe
    assert ">" not in (*role.publish, *role.subscribe)


def test_a_workers_subjects_all_name_its_node_and_instance_or_its_function() -> None:
    worker = roles.worker("n1")
    assert all("n1_{{name()}}" in subject for subject in worker.publish)
    shared = {"$SRV.PING", "$SRV.INFO", "$SRV.STATS"}
    assert all("{{" in subject for subject in worker.subscribe if subject not in shared)
    assert not any("$JS" in subject or "$KV" in subject for subject in (*worker.publish, *worker.subscribe))


def test_a_node_name_cannot_carry_a_wildcard_into_a_template() -> None:
    for node in ("*", ">", "a.b", "N1", "", "{{x}}"):
        with pytest.raises(InvalidField):
            roles.worker(node)


def test_only_anchors_and_administrators_call_workers() -> None:
    callers = [role.name for role in EVERY if any(subject.startswith("mmn.fn.") for subject in role.publish)]
    assert callers == ["anchor", "admin"]


def test_only_a_runtime_announces() -> None:
    for role in (roles.ANCHOR, roles.GATEWAY):
        assert role.publish_deny == ("mmn.node.*.announce",)


def test_only_the_provisioner_makes_streams() -> None:
    for role in EVERY:
        if role is not roles.PROVISIONER:
            assert not any(
                word in subject for subject in role.publish for word in ("STREAM.CREATE", "STREAM.UPDATE", "$JS.API.>")
            )


def test_responses_exist_for_workers_alone_and_outlast_the_longest_job() -> None:
    assert [role.name for role in EVERY if role.responses] == ["worker-n1"]
    responses = roles.worker("n1").responses
    assert responses is not None
    assert responses.ttl_ns > roles.LONGEST_JOB_S * 1e9
