"""Log in, and manage those who may."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Struct

from contracts import clock
from contracts.errors import InvalidField, Refused
from gateway.errors import Problem
from gateway.network import User
from gateway.parts import Given
from gateway.security.guard import basic
from gateway.security.roles import API, Role
from gateway.security.tokens import Claims

UserName = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Asked = Request[Any, Claims, Any]


class AccessToken(Struct, frozen=True, kw_only=True):
    """Send it as `Authorization: Bearer`. `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    role: Role
    token_type: str = "Bearer"  # noqa: S105  # the name of the scheme


class UserView(Struct, frozen=True, kw_only=True):
    """A user, without the password."""

    name: str
    role: Role
    created: str


class UserWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user's role, and a password; without one, the user keeps theirs."""

    role: Role
    password: str | None = None


class TokenController(Controller):
    """Name and password in, a short-lived token out."""

    path = f"{API}/auth"
    tags = ("users",)

    @post(
        "/token",
        summary="Exchange name and password (HTTP Basic) for an access token",
        operation_id="token",
        status_code=200,
        security=[{"basic": []}],
        responses={401: ResponseSpec(Problem, description="Wrong name or password")},
    )
    async def token(self, request: Request[Any, Any, Any], parts: Given) -> Response[AccessToken]:
        name, password = basic(request.headers.get("authorization"))
        user = parts.network.user(name)
        right = await parts.passwords.check(user.password if user else None, password)
        if user is None or not right:
            raise Refused(401, "wrong-credentials", "the name or the password is wrong")
        found = AccessToken(
            access_token=parts.tokens.issue(user.name, user.role),
            expires_in=parts.tokens.lifetime_s,
            role=user.role,
        )
        return Response(found, headers={"Cache-Control": "no-store"})


class UserController(Controller):
    """Users live in the network; every gateway hears of a change as soon as the network brings it."""

    path = f"{API}/users"
    tags = ("users",)

    @get(summary="List users", operation_id="users")
    async def users(self, parts: Given) -> list[UserView]:
        return [_view(user) for user in parts.network.users()]

    @put("/{name:str}", summary="Create or change a user", operation_id="put_user")
    async def put_user(self, name: UserName, data: JSONBody[UserWish], request: Asked, parts: Given) -> UserView:
        if name == request.auth.sub and data.role is not Role.ADMIN:
            raise Refused(409, "own-role", "you cannot take the role of admin from yourself")
        hashed = await parts.passwords.hash(data.password) if data.password is not None else None

        def change(before: User | None) -> User:
            password = hashed or (before.password if before else None)
            if password is None:
                raise InvalidField("password", "a new user needs one")
            created = before.created if before else clock.utc_now()
            return User(name=name, role=data.role, password=password, created=created)

        user, _ = await parts.network.change_user(name, change)
        return _view(user)

    @delete(
        "/{name:str}",
        summary="Delete a user; tokens and open feeds of theirs end within seconds",
        operation_id="delete_user",
    )
    async def delete_user(self, name: UserName, request: Asked, parts: Given) -> None:
        if name == request.auth.sub:
            raise Refused(409, "own-user", "you cannot delete yourself")
        if parts.network.user(name) is None:
            raise Refused(404, "no-such-user", f"there is no user {name}")
        await parts.network.delete_user(name)


def _view(user: User) -> UserView:
    return UserView(name=user.name, role=user.role, created=user.created)
