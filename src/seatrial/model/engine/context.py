"""What a request may be: how long its texts, and that edits reach its scores.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Sequence

from transformers import PretrainedConfig

from seatrial.errors import SteeringFault
from seatrial.model.tokens import Encoded
from seatrial.steering.intervention import Steering, scope_span
from seatrial.types import Request


def context_limit(config: PretrainedConfig) -> tuple[int | None, str]:
    """How many tokens a model reads at most, and why.

    Families with "longrope" turn all positions of a call by other frequencies as soon as
    one row is long, so that short rows beside it would come out otherwise than alone.
    """
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    tables = [rope, *(table for table in rope.values() if isinstance(table, dict))]
    starts = [
        table["original_max_position_embeddings"]
        for table in tables
        if table.get("rope_type") == "longrope"
        and "original_max_position_embeddings" in table
    ]
    if starts and (limit is None or min(starts) < limit):
        limit = min(starts)
        return limit, f"beyond {limit} this model changes how it turns all positions"
    return limit, f"this model reads {limit} at most"


def check_reach(
    requests: Sequence[Request],
    encoded: Sequence[tuple[Encoded, ...]],
    under: Sequence[Steering],
    n_blocks: int,
) -> None:
    """Refuse edits that cannot reach a scored token (trap T3).

    Raises:
        SteeringFault: naming the scope, the request and the answer.
    """
    end = n_blocks - 1
    # After the last attention nothing carries an edit on to later positions.
    scopes = dict.fromkeys(
        (part.tokens, all(site.layer == end for site in part.edits))
        for intervention, dose in under
        if dose != 0
        for part in intervention.parts
    )
    for scope, is_local in scopes:
        for request, answers in zip(requests, encoded, strict=True):
            for answer, text in zip(request.answers, answers, strict=True):
                start, stop = scope_span(scope, text.n_prompt, len(text.ids))
                if is_local:
                    start = max(start, text.n_prompt - 1)
                if not start < min(stop, len(text.ids) - 1):
                    raise SteeringFault(
                        f"scope {scope!r} edits nothing that a score of answer "
                        f"{answer!r} of request {request.id!r} depends on, so it "
                        "cannot differ from the unsteered one; use scope "
                        "'from_last_prompt', longer answers or, if only the last "
                        "layer is edited, an earlier layer"
                    )
