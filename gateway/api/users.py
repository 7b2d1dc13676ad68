"""Manage those who may use the network."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Struct

from contracts import clock
from contracts.errors import InvalidField, Refused
from gateway.api.auth import MAX_BODY_BYTES
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.audit import note
from gateway.security.identities import User, new_epoch
from gateway.security.roles import API, Role
from gateway.security.tokens import Claims

UserName = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Asked = Request[Any, Claims, Any]

_MISSING = ResponseSpec(Problem, description="There is no such user")
_LAST = ResponseSpec(Problem, description="It is the caller, or the last admin")


class UserView(Struct, frozen=True, kw_only=True):
    """A user, without the password. `logins`: how many there are at present."""

    name: str
    role: Role
    created: str
    logins: int


class UserWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user's role and password; what is left out stays as it is. A new user needs both."""

    role: Role | None = None
    password: str | None = None


class UserController(Controller):
    """Users live in the network; every gateway hears of a change as soon as the network brings it."""

    path = f"{API}/users"
    tags = ("users",)
    request_max_body_size = MAX_BODY_BYTES

    @get(summary="List users", operation_id="users")
    async def users(self, parts: Given) -> list[UserView]:
        return [_view(user, parts) for user in parts.network.users()]

    @put(
        "/{name:str}",
        summary="Create or change a user; a change of role or password ends their logins",
        operation_id="put_user",
        responses={409: _LAST},
    )
    async def put_user(self, name: UserName, data: JSONBody[UserWish], request: Asked, parts: Given) -> UserView:
        changed = [f"role {data.role}"] if data.role else []
        note(request, detail=", ".join([*changed, "new password"] if data.password is not None else changed))
        if name == request.auth.sub and data.role not in {None, Role.ADMIN}:
            raise Refused(409, "own-role", "you cannot take the role of admin from yourself")
        hashed = await parts.passwords.hash(name, data.password) if data.password is not None else None

        def change(before: User | None) -> User:
            if before is None:
                return _made(name, data.role, hashed)
            role, password = data.role or before.role, hashed or before.password
            if role is not Role.ADMIN:
                _keep_an_admin(before, parts)
            same = (role, password) == (before.role, before.password)
            epoch = before.epoch if same else new_epoch()
            return User(name=name, role=role, password=password, created=before.created, epoch=epoch)

        user, _ = await parts.network.change_user(name, change)
        assert user is not None
        return _view(user, parts)

    @delete(
        "/{name:str}",
        summary="Delete a user; tokens and open feeds of theirs end at once",
        operation_id="delete_user",
        responses={404: _MISSING, 409: _LAST},
    )
    async def delete_user(self, name: UserName, request: Asked, parts: Given) -> None:
        if name == request.auth.sub:
            raise Refused(409, "own-user", "you cannot delete yourself")

        def change(before: User | None) -> None:
            if before is None:
                raise Refused(404, "no-such-user", f"there is no user {name}")
            _keep_an_admin(before, parts)

        await parts.network.change_user(name, change)

    @post(
        "/{name:str}/revoke",
        summary="End every login of a user",
        operation_id="revoke_user",
        status_code=204,
        responses={404: _MISSING},
    )
    async def revoke_user(self, name: UserName, parts: Given) -> None:
        await parts.sessions.end_all(name)


def _made(name: str, role: Role | None, hashed: str | None) -> User:
    if role is None:
        raise InvalidField("role", "a new user needs one")
    if hashed is None:
        raise InvalidField("password", "a new user needs one")
    return User(name=name, role=role, password=hashed, created=clock.utc_now(), epoch=new_epoch())


def _keep_an_admin(user: User, parts: Given) -> None:
    if user.role is Role.ADMIN and not any(
        other.role is Role.ADMIN and other.name != user.name for other in parts.network.users()
    ):
        raise Refused(409, "last-admin", f"{user.name} is the last admin")


def _view(user: User, parts: Given) -> UserView:
    logins = sum(one.epoch == user.epoch for one in parts.network.sessions(user.name).values())
    return UserView(name=user.name, role=user.role, created=user.created, logins=logins)
