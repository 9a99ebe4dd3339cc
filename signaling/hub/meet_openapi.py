"""What the hub's OpenAPI document says of `POST /v1/meet`."""

from typing import Any, Final

_TEXT: Final = {"type": "string", "minLength": 1}


def _json(description: str, *, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_MESSAGE: Final = {"MESSAGE": {"type": "string"}}
_SENTENCE: Final = {"text/plain": {"schema": {"type": "string"}}}

OPERATION: Final[dict[str, Any]] = {
    "summary": "Be brought together with whoever else asks for this namespace.",
    "description": (
        "The first one's CONNECT is held. The second one's is answered DEMOTE, with the first one's SIGNAL; "
        "it sends CONNECT with that NONCE and its answer as SIGNAL, and hears DELIVERED, while the first "
        "one's request returns ANSWER. BOUNCE gives a NONCE back for somebody else, with a new SIGNAL. In "
        "the signed form SIGNED_NAMESPACE, SIGNED_SIGNAL and PUBLIC_KEY stand for NAMESPACE and SIGNAL."
    ),
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["TYPE"],
                    "properties": {
                        "TYPE": {"enum": ["CONNECT", "BOUNCE"]},
                        "NAMESPACE": {**_TEXT, "maxLength": 512},
                        "NONCE": {**_TEXT, "maxLength": 64},
                        "SIGNAL": {**_TEXT, "maxLength": 8192},
                        "SIGNED_NAMESPACE": {**_TEXT, "maxLength": 512},
                        "SIGNED_SIGNAL": {**_TEXT, "maxLength": 8192},
                        "PUBLIC_KEY": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    },
                }
            }
        },
    },
    "responses": {
        "200": _json(
            "What became of it.",
            properties={
                "TYPE": {"enum": ["DEMOTE", "ANSWER", "DELIVERED"]},
                "NONCE": _TEXT,
                "SIGNAL": _TEXT,
                "SIGNED_SIGNAL": _TEXT,
                "PUBLIC_KEY": _TEXT,
            },
            required=["TYPE"],
        ),
        "297": _json(
            "Too fast; see Retry-After.",
            properties={**_MESSAGE, "RETRY_AFTER": {"type": "number"}},
            required=["MESSAGE", "RETRY_AFTER"],
        ),
        "298": _json(
            "Nobody came; somebody waits, but in another namespace only.",
            properties=_MESSAGE,
            required=["MESSAGE"],
        ),
        "299": _json(
            "Nobody came.",
            properties=_MESSAGE,
            required=["MESSAGE"],
        ),
        "400": _json("The body is no JSON object.", properties=_MESSAGE, required=["MESSAGE"]),
        "499": _json(
            "A parameter is missing, or is not what it has to be.",
            properties={**_MESSAGE, "PARAMETER": {"type": "string"}},
            required=["MESSAGE", "PARAMETER"],
        ),
        "503": {"description": "Too many wait, or the hub stops. Ask again soon.", "content": _SENTENCE},
    },
}
