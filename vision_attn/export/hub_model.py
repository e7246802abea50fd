"""Publish and load models on the Hugging Face Hub: safetensors and JSON, no code, no pickle."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin, hf_hub_download

from vision_attn.export.hub_page import page, page_facts
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec

PAGE = "README.md"


class HubClassifier(AttentionClassifier, PyTorchModelHubMixin):
    """A classifier that can be published on the Hugging Face Hub and loaded from it.

    A published folder has `model.safetensors` and `model.json` as a run does, `config.json`
    (scores and settings, for people and for the Hub), and a model card, `README.md`. Only the
    first two are downloaded, and they are untrusted: a pooling that is not part of this package
    is imported only if the caller names it as trusted.

    Examples:
        model = HubClassifier.from_run("runs/mine")
        model.push_to_hub("anna/beetles")
        model = HubClassifier.from_pretrained("anna/beetles")

    Attributes:
        spec: the description of the model: architecture, class names, image size.
    """

    spec: ModelSpec
    _hub_mixin_config: dict[str, Any] | None

    @classmethod
    def from_run(cls, run: str | Path, trusted: Collection[str] = ()) -> Self:
        """Load the model of a run, with the scores and settings for its model card.

        Raises:
            UserError: there is no model, or it names a class that is not trusted.
        """
        folder = RunFolder(Path(run))
        model = cls.from_folder(folder, trusted)
        model._hub_mixin_config = page_facts(folder, model.spec)
        return model

    @classmethod
    def from_folder(cls, folder: RunFolder, trusted: Collection[str] = ()) -> Self:
        """Load the model of a folder, in eval mode."""
        spec = folder.load_spec()
        model = folder.load_as(cls, spec, trusted)
        model.spec = spec
        model._hub_mixin_config = None  # the mixin stored our arguments, which are not settings
        return model

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        # The head of this model is already divided by the temperature.
        RunFolder(save_directory).save_model(self, replace(self.spec, temperature=1.0))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        trusted: Collection[str] = (),
        **ignored: object,
    ) -> Self:
        """Load from a folder or from the Hub; what the mixin read from `config.json` is ignored."""
        del ignored
        folder = RunFolder(Path(model_id))
        if folder.path.is_dir():
            return cls.from_folder(folder, trusted)
        for name in (folder.spec_file.name, folder.weights.name):
            downloaded = hf_hub_download(
                model_id,
                name,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        return cls.from_folder(RunFolder(Path(downloaded).parent), trusted)

    def generate_model_card(
        self, *args: object, name: str = "USER/NAME", **kwargs: object
    ) -> ModelCard:
        """The model card: what the model is, how to use it, scores, data, settings.

        Args:
            args: not used.
            name: the name of the model on the Hub.
            kwargs: not used.
        """
        return ModelCard(page(self.spec, self._hub_mixin_config or {}, name))

    def push_to_hub(  # Any: the options of the mixin, which it declares one by one
        self, repo_id: str, **options: Any
    ) -> str:
        """Publish the model on the Hub; a model card that exists there is not overwritten.

        Args:
            repo_id: USER/NAME.
            options: options of `PyTorchModelHubMixin.push_to_hub`.
        """
        options.setdefault("model_card_kwargs", {"name": repo_id})
        api = HfApi(token=options.get("token"))
        if api.file_exists(repo_id, PAGE, revision=options.get("branch")):
            ignored = options.get("ignore_patterns") or []
            ignored = [ignored] if isinstance(ignored, str) else ignored
            options["ignore_patterns"] = [*ignored, PAGE]  # the author may have edited it
        return super().push_to_hub(repo_id, **options)
