"""What the Ray executor makes of the ways in which Ray says that an answer will not come."""

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_lost_answer_is_no_failure_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which unit is to blame is known once the actor runs again."""
    exceptions = pytest.importorskip("ray.exceptions")
    from genixer.pipeline import ray as executor

    for lost in (
        exceptions.ActorDiedError(),
        exceptions.OutOfMemoryError("the node was low on memory"),
        exceptions.ObjectLostError("0" * 56, None, ""),
    ):

        def get(ref: object, error: Exception = lost) -> Any:
            raise error

        monkeypatch.setattr(executor.ray, "get", get)
        node = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: "runs again"))
        actor = executor._Actor(SimpleNamespace(node=node), None, answer="lost")
        assert list(executor.RayPool.__new__(executor.RayPool)._answered(actor)) == []
        assert actor.cause
        assert (actor.answer, actor.ready) == (None, "runs again")
