"""Step 4: unlabelled images to completions, in fixed blocks of requests.

The work items are planned requests: images in the order of their names (or of their archive or
list), and for each the same list of requests, so that those about one image lie side by side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genixer.data import Generation, Request, encode_row
from genixer.errors import ConfigError
from genixer.inference import load_backend, named_files, settings_of_rows
from genixer.models.base import shipped_models, weights_folder
from genixer.sources.unlabelled import find_pools, image_paths
from genixer.stages.answers import Answer, Answers, keyed
from genixer.stages.base import (
    Estimate,
    FileWriter,
    Generator,
    Need,
    RowWriter,
    Stage,
    Step,
)
from genixer.stages.requests import GenerateSettings, RequestPlan
from genixer.store.images import ImageCatalog
from genixer.store.shards import raw_bytes

if TYPE_CHECKING:
    from genixer.inference.base import Backend
    from genixer.tasks.base import Canvas

__all__ = ["GenerateStage"]


class GenerateStage(Stage):
    """Asks a model for completions. Kept rows are `Generation`.

    Requests about an image that cannot be read are quarantined. Files: `plan/*.jsonl`, the images
    in order, so that a resumed run asks about the same ones.
    """

    name = "generate"
    version = 2
    max_deaths = 40
    Settings = GenerateSettings

    def __init__(self, settings: GenerateSettings) -> None:
        """Load nothing yet."""
        super().__init__(settings)
        self._plan = RequestPlan(settings)
        self._backend: Backend | None = None
        self._generator = _public_name(settings.model)

    def items(self, step: Step) -> int:
        """Images there are, readable or not, times requests an image."""
        return self._plan.count(step)

    def external(self) -> list[Path]:
        """Images and weights, where no step of the run makes them."""
        settings = self.settings
        paths = []
        if not settings.images.startswith("@"):
            named = Path(settings.images)
            paths = [pool.path for pool in find_pools(named)] or [named]
        if settings.model in shipped_models() or Path(settings.model).is_dir():
            paths.append(weights_folder(settings.model))
        return [*paths, *named_files(settings.backend_settings)]

    def prepare(self, step: Step, out: FileWriter) -> None:
        """Write the names of the images in order; the shards that need them open them."""
        self._plan.write(step, out)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Ask requests `first` to `first + count`, but for those that are answered already."""
        block = self.settings.block
        if first % block:
            raise ConfigError(
                f"step {step.name}: a shard starts at request {first}, inside a block of {block}; "
                f"set rows_per_shard of the step to a multiple of its block"
            )
        catalog = ImageCatalog(step.images)

        def canvas(width: int, height: int) -> Canvas:
            return self._load(step).canvas(width, height)

        def requests(start: int) -> list[Request]:
            numbers = range(start, min(start + block, first + count))
            return list(self._plan.requests(step, numbers, catalog, out, canvas))

        blocks = keyed(requests(start) for start in range(first, first + count, block))
        with Answers(out.workspace(), out.deaths) as answers:
            answers.ask(blocks, lambda: self._same(step, out), step.images)
            for asked in blocks:
                for key, request in asked.items():
                    self._write(request, answers.known[key], out)

    def needs(self) -> list[Need]:
        """JSON of a given form, where the backend's settings ask for it."""
        guided = self.settings.backend_settings.get("guided_json")
        at = ("backend_settings", "guided_json")
        return [Need("guided_json", self.settings.backend, at)] if guided else []

    def generator(self) -> Generator:
        """Its model on its backend."""
        settings = self.settings
        own = settings_of_rows(settings.backend, settings.backend_settings)
        text = json.dumps(own, sort_keys=True, default=str)
        return Generator(settings.backend, settings.model, text)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 100 completions of 20 tokens a second and core (tiny preset)."""
        folder = Path(self.settings.images)
        if self.settings.images.startswith("@") or not folder.is_dir():
            return Estimate()
        items = self._plan.total(sum(1 for _ in image_paths(folder)))
        return Estimate(items, items, items * 20, items / 100, items * 1200)

    def _write(self, request: Request, answer: Answer, out: RowWriter) -> None:
        """One row of the shard."""
        if answer.completion.finish == "error":
            told = answer.detail or answer.completion.detail
            detail = told or f"{request.image.path} could not be given to the model"
            raw = raw_bytes(answer.raw) or encode_row(request)
            out.quarantine(request.id, answer.reason, detail, raw)
            return
        out.keep(
            Generation(
                request.id,
                request,
                answer.completion,
                answer.frame,
                answer.decimals,
                self._generator,
                answer.revision,
                self.settings.licence,
            )
        )

    def _same(self, step: Step, out: RowWriter) -> Backend:
        """The backend; raises `SettingsChangedError` if it is another model than before."""
        backend = self._load(step)
        out.hold(self.settings.backend, backend.revision)
        return backend

    def _load(self, step: Step) -> Backend:
        """The backend, once a process."""
        if self._backend is None:
            model = self.settings.model
            self._backend = load_backend(
                self.settings.backend,
                str(step.resolve(model)) if model.startswith("@") else model,
                threads=step.threads,
                settings=step.resolve_all(self.settings.backend_settings),
            )
        return self._backend


def _public_name(model: str) -> str:
    """What to call the generator in its rows: no path of this machine."""
    return model if model.startswith("@") else Path(model).name
