"""Submit jobs, follow them, cancel them, read their results."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from contracts import clock
from contracts.errors import InvalidField, Refused
from contracts.jobs import CancelReply, CancelRequest, JobReceipt, JobRequest, shown
from contracts.results import Result
from gateway.errors import Problem
from gateway.parts import Given
from gateway.projection import JobDetail, JobPage, JobState, ResultPage, Wanted
from gateway.security.audit import note
from gateway.security.roles import API
from gateway.security.tokens import Claims

LONGEST_WAIT_S = 60.0

JobId = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Limit = Annotated[int, QueryParameter(ge=1, le=500)]
Wait = Annotated[float, QueryParameter(ge=0, le=LONGEST_WAIT_S, description="seconds to wait for the result")]
Since = Annotated[str | None, QueryParameter(description="RFC 3339: leave out what is older")]
After = Annotated[str | None, QueryParameter(description="`after` of the page before")]


class JobOrder(JobRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for one execution of a function.

    `node` pins a node; `match` asks for any node with these labels; neither means anywhere.
    `deadline_s`: seconds from acceptance after which the job is no longer worth running.
    """


class CancelOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a job is cancelled: kept with it, for people."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class JobController(Controller):
    """One job is one execution with one result."""

    path = f"{API}/jobs"
    tags = ("jobs",)

    @post(
        summary="Submit a job",
        operation_id="submit",
        status_code=202,
        responses={
            200: ResponseSpec(JobReceipt, description="The same request was submitted before under this key"),
            400: ResponseSpec(Problem, description="The job is not well formed; `field` says where"),
            404: ResponseSpec(Problem, description="There is no such function or node"),
            409: ResponseSpec(Problem, description="Nothing can run it at present"),
            429: ResponseSpec(Problem, description="The queue or a budget is full; see Retry-After"),
            503: ResponseSpec(Problem, description="No Anchor answers"),
        },
    )
    async def submit(
        self, data: JSONBody[JobOrder], request: Request[Any, Claims, Any], parts: Given
    ) -> Response[JobReceipt]:
        user = request.auth.sub
        receipt = await parts.network.submit(data, client=user)
        note(request, object=receipt.job, detail=receipt.function)
        await parts.index.accepted(receipt, shown(data), user)
        return Response(
            receipt, status_code=200 if receipt.repeated else 202, headers={"Location": f"{API}/jobs/{receipt.job}"}
        )

    @post(
        "/{job:str}/cancel",
        summary="Cancel a job, whether it waits or runs",
        operation_id="cancel",
        status_code=200,
        responses={
            404: ResponseSpec(Problem, description="There is no such job"),
            503: ResponseSpec(Problem, description="No Anchor answers"),
        },
    )
    async def cancel(
        self, job: JobId, request: Request[Any, Claims, Any], parts: Given, data: JSONBody[CancelOrder | None] = None
    ) -> CancelReply:
        """`cancelled`: its result says so, by this request or an earlier one. `ended`: it had another result before."""
        order = CancelRequest(job=job, reason=data.reason if data else "")
        return await parts.network.cancel(order, client=request.auth.sub)

    @get(summary="List jobs, newest first", operation_id="jobs")
    async def jobs(  # each is one option of the query
        self,
        parts: Given,
        function: FromQuery[str | None] = None,
        node: FromQuery[str | None] = None,
        in_state: Annotated[JobState | None, QueryParameter(name="state")] = None,
        since: Since = None,
        after: After = None,
        limit: Limit = 50,
    ) -> JobPage:
        wanted = Wanted(function=function, node=node, state=in_state, since=instant(since), after=after, limit=limit)
        return await parts.index.jobs(wanted)

    @get("/{job:str}", summary="One job with its events and its result", operation_id="job")
    async def job(self, job: JobId, parts: Given, wait: Wait = 0.0) -> JobDetail:
        if wait:
            await parts.index.until_result(job, within=wait)
        found = await parts.index.detail(job)
        if found is None:
            raise Refused(404, "no-such-job", f"there is no job {job}")
        return found

    @get("/{job:str}/result", summary="The result of one job", operation_id="job_result")
    async def result(self, job: JobId, parts: Given, wait: Wait = 0.0) -> Result:
        found = await parts.index.until_result(job, within=wait) if wait else await parts.index.result(job)
        if found is None:
            if await parts.index.detail(job) is None:
                raise Refused(404, "no-such-job", f"there is no job {job}")
            raise Refused(404, "no-result-yet", f"job {job} has no result yet")
        return found


class ResultController(Controller):
    """Results of all jobs."""

    path = f"{API}/results"
    tags = ("jobs",)

    @get(summary="List results, newest first", operation_id="results")
    async def results(  # each is one option of the query
        self,
        parts: Given,
        function: FromQuery[str | None] = None,
        node: FromQuery[str | None] = None,
        failure: Annotated[str | None, QueryParameter(description="a failure's code, such as timeout")] = None,
        since: Since = None,
        after: After = None,
        limit: Limit = 50,
    ) -> ResultPage:
        wanted = Wanted(function=function, node=node, failure=failure, since=instant(since), after=after, limit=limit)
        return await parts.index.results(wanted)


def instant(text: str | None) -> str | None:
    """The same instant in the one form that the index compares."""
    if text is None:
        return None
    try:
        return clock.rfc3339(clock.epoch_ns(text))
    except (ValueError, OverflowError) as error:
        raise InvalidField("since", f"must be RFC 3339, such as 2030-01-31T12:00:00Z: {error}") from error
