"""Small makers of registry content."""

from contracts.functions import Limits
from contracts.modules import Card

PARAMS = {
    "type": "object",
    "properties": {"target": {"type": "string"}, "count": {"type": "integer", "minimum": 1, "maximum": 10}},
    "required": ["target"],
    "additionalProperties": False,
}


def card(function: str = "ping", *, concurrency: int = 2, digest: str = "d1") -> Card:
    return Card(
        function=function,
        version="1.0.0",
        digest=digest,
        summary="x",
        limits=Limits(concurrency=concurrency),
        needs=[],
        params_schema=PARAMS,
        result_schema={},
        box="B4",
    )
