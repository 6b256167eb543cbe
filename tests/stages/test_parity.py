import msgspec
import pytest

from genixer.data import Completion, Generation, ImageRef, Quarantined, Request, Sampling
from genixer.errors import ConfigError, ParityError
from genixer.inference.parity import Compared, ParityReport
from genixer.stages.parity import ParitySettings, ParityStage


def row(number: int, text: str = "cat", prompt: str = "Ask.", **sampling: float) -> Generation:
    image = ImageRef("cat.png", 64, 48, "ab12")
    request = Request.of(image, "common_vqa", "specific", number, prompt, Sampling(**sampling))
    return Generation(request.id, request, Completion(request.id, text, (), (), "stop"))


def stage(**settings: object) -> ParityStage:
    return ParityStage(ParitySettings.model_validate(settings))


def test_a_good_comparison_leaves_its_rows_and_its_report(run_stage, memory_step) -> None:
    first = memory_step([row(0), row(1), row(2), row(3, temperature=0.7)])
    second = memory_step([row(2), row(3, temperature=0.7), row(0), row(1, prompt="Say.")])
    done = run_stage(stage(), {"first": [first], "second": [second]})
    assert [one.id for one in done.rows(Compared)] == [row(0).id, row(2).id]
    assert [(one.id, one.reason) for one in done.rejects] == [
        (row(1).id, "other_request"),
        (row(3).id, "sampled"),
    ]
    report = msgspec.json.decode((done.files / "parity.json").read_bytes(), type=ParityReport)
    assert (report.requests, report.same_text, report.failures) == (2, 1.0, ())
    assert report.bar["requests"] == 100


def test_a_bad_one_raises_and_leaves_no_report(run_stage, memory_step, tmp_path) -> None:
    first, second = memory_step([row(0), row(1)]), memory_step([row(0, "dog")])
    with pytest.raises(ParityError, match=r"0.0% of 2 requests(.|\n)*second: (None|'dog')"):
        run_stage(stage(), {"first": [first], "second": [second]})
    assert not list(tmp_path.rglob("parity.json"))


def test_no_more_is_compared_than_asked_for(run_stage, memory_step) -> None:
    first = memory_step([row(number) for number in range(9)])
    done = run_stage(stage(requests=4), {"first": [first], "second": [first]}, shard=3)
    assert done.rows_kept == 4


def test_both_roles_are_needed(run_stage, memory_step) -> None:
    with pytest.raises(ConfigError, match="parity needs the role 'second'"):
        run_stage(stage(), {"first": [memory_step([row(0)])]})


def test_a_first_that_fails_at_most_requests_is_no_equal(run_stage, memory_step) -> None:
    first, second = memory_step([row(0)]), memory_step([row(number) for number in range(9)])
    first.quarantines = [Quarantined(row(number).id, "backend_error") for number in range(1, 9)]
    with pytest.raises(ParityError, match=r"the first gave, too: 11.1% of 9"):
        run_stage(stage(), {"first": [first], "second": [second]})
