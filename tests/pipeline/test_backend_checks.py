from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from PIL import Image

from genixer.config import load_config
from genixer.data import Sample, Verdict
from genixer.errors import ConfigError, ParityError
from genixer.filters import FILTERS
from genixer.filters.base import FilterSettings
from genixer.inference import BACKENDS
from genixer.inference.base import Capabilities
from genixer.pipeline.plan import Plan, make_plan
from genixer.pipeline.run import run
from genixer.registry import Entry

Steps = dict[str, Any]
Make = Callable[..., Plan]


def generate(backend: str = "scripted", model: str = "any", **settings: Any) -> Steps:
    asked = {"images": "pool", "tasks": ["rec"], "modes": {"agnostic": 0, "specific": 1}}
    return {"stage": "generate", "with": {**asked, "model": model, "backend": backend, **settings}}


def write(folder: Path, steps: Steps) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"name": "run", "steps": steps}, sort_keys=False))
    return path


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Plan of the steps given by name, with a folder of three pictures called `pool`."""
    monkeypatch.chdir(tmp_path)
    Path("pool").mkdir()
    for number in range(3):
        Image.new("RGB", (20, 30), (number, 0, 0)).save(f"pool/{number}.png")
    return lambda **steps: make_plan(load_config(write(tmp_path, steps)), Path("out"))


class Mute:
    """Part of a backend of someone else's: it writes, it weighs nothing."""

    can = Capabilities(choose=False, logprobs="none")


class Sure:
    """A filter that reads how sure the generator was."""

    name: ClassVar[str] = "sure"
    reasons: ClassVar[tuple[str, ...]] = ("unsure",)
    asks_generator: ClassVar[tuple[str, ...]] = ("logprobs",)
    Settings = FilterSettings

    def judge(self, samples: list[Sample], images: Path) -> list[Verdict]:
        return [Verdict(keep=True) for _ in samples]


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**dict(BACKENDS.items()), "mute": Entry(f"{__name__}:Mute", "writes only")}
    monkeypatch.setattr(BACKENDS, "_all", known)
    monkeypatch.setattr(
        FILTERS,
        "_all",
        {**dict(FILTERS.items()), "sure": Entry(f"{__name__}:Sure", "reads log-probabilities")},
    )


def test_an_unknown_backend_is_named_with_its_line_before_anything_runs(planned: Make) -> None:
    with pytest.raises(ConfigError, match=r"run.yaml:\d+: steps.ask.with.backend: no backend is "):
        planned(ask=generate("transfomers"))


def test_a_judge_needs_a_backend_that_weighs(planned: Make, mute: None) -> None:
    chain = {"filters": [{"name": "judge", "model": "base", "backend": "mute"}]}
    with pytest.raises(ConfigError) as error:
        planned(
            ask=generate(),
            read={"stage": "decode", "from": ["ask"]},
            judge={"stage": "filter", "from": ["read"], "with": chain},
        )
    message = str(error.value)
    assert "steps.judge.with.filters.0.backend: step judge (stage filter) needs weighing" in message
    assert "(choose), which the backend mute cannot; backends that can: " in message
    assert "scripted" in message.rpartition(":")[2]
    assert "mute" not in message.rpartition(":")[2]


def test_a_filter_of_logprobs_needs_a_generator_that_gives_them(planned: Make, mute: None) -> None:
    def chain(backend: str) -> Steps:
        return {
            "ask": generate(backend),
            "read": {"stage": "decode", "from": ["ask"]},
            "keep": {"stage": "filter", "from": ["read"], "with": {"filters": [{"name": "sure"}]}},
        }

    assert planned(**chain("scripted")).by_name["keep"].depends == ("read",)
    with pytest.raises(ConfigError, match="mute that wrote its rows cannot; backends that can"):
        planned(**chain("mute"))


def test_guided_json_is_for_backends_that_hold_a_form(planned: Make) -> None:
    settings = {"backend_settings": {"guided_json": True}}
    with pytest.raises(ConfigError, match=r"guided_json\), which the backend vlm cannot.*: .*vllm"):
        planned(ask=generate("vlm", **settings))
    assert planned(ask=generate("vllm", **settings))


def halves(parity: Steps | None, second: str = "vlm", **settings: Any) -> Steps:
    """Two generate steps of one model and a filter over what both wrote."""
    steps: Steps = {
        "here": generate("scripted"),
        "there": generate(second, **settings),
        "one": {"stage": "decode", "from": ["here"]},
        "other": {"stage": "decode", "from": ["there"]},
        "both": {
            "stage": "filter",
            "from": ["one", "other"],
            "with": {"filters": [{"name": "rules"}]},
        },
        "behind": {"stage": "dedup", "from": ["both"]},
    }
    return steps if parity is None else {**steps, **parity}


def probes(second: str = "vlm", **settings: Any) -> Steps:
    return {
        "probe": generate("scripted", temperature=0),
        "probe-there": generate(second, temperature=0, **settings),
        "gate": {"stage": "parity", "from": {"first": "probe", "second": "probe-there"}},
    }


def test_rows_of_two_backends_are_not_joined_uncompared(planned: Make) -> None:
    with pytest.raises(ConfigError) as error:
        planned(**halves(None))
    message = str(error.value)
    assert "steps.both.from: step both (stage filter) joins rows that the model any" in message
    assert "on the backends scripted and vlm, and no step has compared them" in message


def test_the_join_waits_for_the_comparison_and_no_step_behind_it_does(planned: Make) -> None:
    plan = planned(**halves(probes()))
    assert plan.by_name["both"].depends == ("one", "other", "gate")
    assert plan.by_name["behind"].depends == ("both",)
    assert plan.by_name["one"].depends == ("here",)


def test_a_comparison_under_other_settings_does_not_count(planned: Make) -> None:
    bf16 = {"backend_settings": {"dtype": "bfloat16"}}
    with pytest.raises(ConfigError, match="no step has compared them with the settings they have"):
        planned(**halves(probes(), **bf16))
    assert planned(**halves(probes(**bf16), **bf16))


def test_two_models_or_one_backend_need_no_comparison(planned: Make) -> None:
    assert planned(**halves(None, model="another")).by_name["both"].depends == ("one", "other")
    alike = halves(None, second="scripted", backend_settings={"malformed": 0.5})
    assert planned(**alike).by_name["both"].depends == ("one", "other")


def test_a_run_stops_before_the_join_where_the_backends_differ(
    planned: Make, tmp_path: Path
) -> None:
    from genixer.models.base import load_preset
    from genixer.models.llava import create
    from genixer.models.tokenizer import train_tokenizer

    preset = Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml"
    words = train_tokenizer(["Ask about the image."] * 3, 800, 2)
    create(load_preset(str(preset)), words, seed=1).save(tmp_path / "any")
    own = {"model": "any", "max_new_tokens": 8}
    steps = {
        **halves(probes("transformers", **own), "transformers", **own),
        "probe": generate("scripted", temperature=0, **own),
    }
    with pytest.raises(ParityError, match=r"same greedy text: 0.0% of 3 requests(.|\n)*second: "):
        run(write(tmp_path, steps), out=tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "both" / "manifest.json").exists()
