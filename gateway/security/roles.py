"""Roles, and the one table that says which role each route and each topic of the feed needs."""

from __future__ import annotations

from enum import StrEnum

API = "/api/v1"


class Role(StrEnum):
    """Each may do all that the ones before it may."""

    VIEWER = "viewer"
    """Reads jobs, results, functions and who is there."""
    OPERATOR = "operator"
    """Submits and cancels jobs; switches, scales and restarts functions; drains nodes; reads log lines."""
    DEPLOYER = "deployer"
    """Uploads bundles; ends rollouts, goes back to earlier versions; deletes functions."""
    ADMIN = "admin"
    """Manages users, members, and whose bundles the network takes; reads who did what."""

    def covers(self, needed: Role) -> bool:
        """Say whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


OPEN = None
"""Needs no token."""

RIGHTS: dict[tuple[str, str], Role | None] = {
    ("GET", "/"): OPEN,
    ("GET", "/assets/{name}"): OPEN,
    ("GET", "/modules"): OPEN,
    ("GET", "/functions"): OPEN,
    ("GET", "/run"): OPEN,
    ("GET", "/jobs"): OPEN,
    ("GET", "/jobs/{job}"): OPEN,
    ("GET", "/log"): OPEN,
    ("GET", "/schema"): OPEN,
    ("GET", "/schema/{path}"): OPEN,
    ("GET", "/schema/openapi.json"): OPEN,
    ("GET", f"{API}/status"): OPEN,
    ("POST", f"{API}/auth/token"): OPEN,
    ("POST", f"{API}/auth/refresh"): OPEN,
    ("POST", f"{API}/auth/revoke"): Role.VIEWER,
    ("POST", f"{API}/auth/password"): Role.VIEWER,
    ("WEBSOCKET", f"{API}/feed"): Role.VIEWER,
    ("TOPIC", "results"): Role.VIEWER,
    ("TOPIC", "progress"): Role.VIEWER,
    ("TOPIC", "events"): Role.VIEWER,
    ("TOPIC", "health"): Role.VIEWER,
    ("TOPIC", "modules"): Role.VIEWER,
    ("TOPIC", "logs"): Role.OPERATOR,
    ("GET", f"{API}/bundles"): Role.VIEWER,
    ("POST", f"{API}/bundles"): Role.DEPLOYER,
    ("GET", f"{API}/authors"): Role.VIEWER,
    ("PUT", f"{API}/authors/{{key}}"): Role.ADMIN,
    ("DELETE", f"{API}/authors/{{key}}"): Role.ADMIN,
    ("GET", f"{API}/functions"): Role.VIEWER,
    ("GET", f"{API}/functions/{{name}}"): Role.VIEWER,
    ("POST", f"{API}/functions/{{name}}/enable"): Role.OPERATOR,
    ("POST", f"{API}/functions/{{name}}/disable"): Role.OPERATOR,
    ("POST", f"{API}/functions/{{name}}/scale"): Role.OPERATOR,
    ("POST", f"{API}/functions/{{name}}/restart"): Role.OPERATOR,
    ("DELETE", f"{API}/functions/{{name}}"): Role.DEPLOYER,
    ("GET", f"{API}/nodes"): Role.VIEWER,
    ("POST", f"{API}/nodes/{{node}}/drain"): Role.OPERATOR,
    ("POST", f"{API}/nodes/{{node}}/restart"): Role.OPERATOR,
    ("POST", f"{API}/functions/{{name}}/promote"): Role.DEPLOYER,
    ("POST", f"{API}/functions/{{name}}/rollback"): Role.DEPLOYER,
    ("GET", f"{API}/jobs"): Role.VIEWER,
    ("POST", f"{API}/jobs"): Role.OPERATOR,
    ("GET", f"{API}/jobs/{{job}}"): Role.VIEWER,
    ("POST", f"{API}/jobs/{{job}}/cancel"): Role.OPERATOR,
    ("GET", f"{API}/jobs/{{job}}/result"): Role.VIEWER,
    ("GET", f"{API}/results"): Role.VIEWER,
    ("GET", f"{API}/modules"): Role.VIEWER,
    ("GET", f"{API}/access"): Role.ADMIN,
    ("POST", f"{API}/access/invitations"): Role.ADMIN,
    ("POST", f"{API}/access/join"): OPEN,
    ("POST", f"{API}/access/revoke"): Role.ADMIN,
    ("GET", f"{API}/audit"): Role.ADMIN,
    ("GET", f"{API}/users"): Role.ADMIN,
    ("PUT", f"{API}/users/{{name}}"): Role.ADMIN,
    ("DELETE", f"{API}/users/{{name}}"): Role.ADMIN,
    ("POST", f"{API}/users/{{name}}/revoke"): Role.ADMIN,
}
"""Method and path template, or TOPIC and a topic of the feed, to the least role. What is not here is refused."""

TOPICS: dict[str, Role] = {topic: role for (kind, topic), role in RIGHTS.items() if kind == "TOPIC" and role}
"""Topic of the feed to the least role."""
