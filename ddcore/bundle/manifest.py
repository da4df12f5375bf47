"""``manifest.json``: everything about a distilled set that is not a tensor, as a versioned schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ddcore.augment.training import strategy_of
from ddcore.bundle.content import DatasetReference, Distilled
from ddcore.spec.evaluation import EvaluationConfig
from ddcore.spec.results import Results

SCHEMA_VERSION: Literal[1] = 1


class _Part(BaseModel):
    """Frozen; fields of later minor additions are ignored."""

    model_config = ConfigDict(frozen=True)


class Source(_Part):
    """The dataset that was distilled."""

    name: str
    digest: str = Field(description="SHA-256 of class names, pixels and labels of both splits.")
    flip: bool = Field(description="Whether a mirrored image keeps its class.")
    train_images: int
    test_images: int
    class_digests: tuple[str, ...] = Field(
        (), description="Of each class, SHA-256 over the sorted SHA-256 of its training images. Empty in older bundles."
    )


class Images(_Part):
    """The tensor `images` of `distilled.safetensors`."""

    count: int
    per_class: tuple[int, ...]
    shape: tuple[int, int, int] = Field(description="Channels, height, width.")
    units: Literal["pixel"] = Field("pixel", description="0 to 1 nominally; values outside are kept.")


class Normalization(_Part):
    """Networks are trained on (image - mean) / std, per channel, unless the images are whitened."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitened: bool = Field(
        False,
        description="Whether it is (image - whitening_mean) @ whitening_matrix on flattened pixels instead, with the "
        "tensors of these names in `distilled.safetensors`.",
    )


class Decoder(_Part):
    """What made `images` of what `stored.safetensors` holds; `identity` where the images are stored themselves.

    `mosaic` makes them of `images`, in pixel units; `addressed` of `coefficients` @ `bases`, enlarged, in normalised
    units.
    """

    model_config = ConfigDict(extra="allow")

    name: str = "identity"


class Staging(_Part):
    """How the images are divided into stages that networks learn one after the other; `stages` says which is whose."""

    sizes: tuple[int, ...] = Field(description="Stored images of each class of each stage, in order.")
    learning_rates: tuple[float, ...] = Field(description="To train networks with up to the end of each stage.")


class Teacher(_Part):
    """The network that labels every batch after it was augmented and mixed, or whose features a head is put on."""

    file: str = Field(description="Its parameters and buffers by name; `files` has the SHA-256.")
    network: dict[str, Any] = Field(description="Architecture, with the values that the images decide.")
    dtype: str = Field(
        description="Of the weights, which were rounded to it before they labelled anything. Running statistics are "
        "float32."
    )
    mode: str = Field(description="What its batch normalisation takes: running statistics (`eval`), or of the batch.")


class Backbone(_Part):
    """The network under a head that others trained; this bundle does not hold it."""

    weights: str = Field(description="What its file was called, without `.safetensors`.")
    sha256: str | None = Field(description="Of that file.")
    network: dict[str, Any] | None = Field(description="Its architecture; null for one of timm.")
    timm: str | None = Field(description="Its name in timm; null for an architecture of ddservice.")
    shape: tuple[int, int, int] | None = Field(
        description="Channels, height and width of the images that it sees: others are resized (bilinear, antialiased)."
    )
    mean: tuple[float, ...] | None = Field(description="It sees (image - mean) / std, per channel, in pixel units.")
    std: tuple[float, ...] | None


class LabelsOfEpochs(_Part):
    """A teacher's logits of every batch of some epochs, after it was augmented and mixed."""

    file: str = Field(
        description="`logits`, (epochs, images, classes), in the order in which an epoch takes the images. Where only "
        "the highest are stored: `logits` and `classes`, (epochs, images, top), and `rest`, (epochs, images). `files` "
        "has the SHA-256."
    )
    epochs: int = Field(description="Trainings of more epochs begin with the first again.")
    dtype: str = Field(description="Of `logits` and `rest`.")
    seed: int = Field(description="From which shuffling, augmentation and mixing of each epoch follow.")
    top: int | None = Field(None, description="How many logits of each image are stored; null for all.")
    reading: str | None = Field(None, description="How the tensors are read; null in older bundles, which store all.")


class Recipe(_Part):
    """How to train on the images; the fields of ``evaluation`` in a job specification, resolved."""

    protocol: str = "standard"
    networks: tuple[dict[str, Any], ...] = Field(
        description="Architectures, with the values that the images decide. Older bundles have null for a `depth` that "
        "was not given: see its description in the job."
    )
    epochs: int
    schedule: str = Field("drop_once", description="How the learning rate falls over the epochs.")
    optimizer: str = "sgd"
    lr: float | None = Field(description="Learning rate; null where it should have been learned, but was not.")
    momentum: float
    weight_decay: float
    batch_size: int
    augmentation: tuple[str, ...] = Field(description="Operations on the training images.")
    augmenter: str = Field("siamese", description="How they are applied; `siamese`: one, drawn for a batch.")
    cutmix: float = Field(0.0, description="Probability that a batch is mixed.")
    staging: str = Field("together", description="Whether networks learn the stages of the set in turn, and how.")
    labels: Literal["hard", "soft", "online", "stored"]
    temperature: float = Field(1.0, description="What logits are divided by before they meet soft labels.")
    label_loss: str | None = Field(
        None, description="With `online` labels, what is minimised: `kl`, at the temperature, or `mse_logits`."
    )
    teacher: Teacher | None = Field(None, description="Who gives `online` labels, and the features under a `head`.")
    backbone: Backbone | None = Field(None, description="Whose features are under a `head`, where no `teacher` is.")
    stored_labels: LabelsOfEpochs | None = Field(None, description="`stored` labels.")
    trains: str = Field(
        "network",
        description="`network`: all parameters, from scratch. `head`: a fresh classifier on the features of `teacher` "
        "or `backbone`, in evaluation mode, whose other parameters stay as they are.",
    )


class FileFacts(_Part):
    """Size and content of one file of the bundle."""

    bytes: int
    sha256: str


class Manifest(_Part):
    """The whole of ``manifest.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    dataset: Source
    classes: tuple[str, ...]
    images: Images
    normalization: Normalization
    decoder: Decoder = Decoder()
    recipe: Recipe
    learning_rate: float | None = Field(None, description="To train networks with, where the set learned one.")
    stages: Staging | None = Field(None, description="Where the set was learned in stages.")
    results: Results
    spec: dict[str, Any] = Field(description="The full job specification.")
    seed: int
    compute: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, FileFacts] = Field(description="Every other file of the bundle.")

    def reference(self) -> DatasetReference:
        """The dataset in the form the engine speaks of it."""
        return DatasetReference(
            name=self.dataset.name,
            digest=self.dataset.digest,
            shape=self.images.shape,
            classes=self.classes,
            mean=self.normalization.mean,
            std=self.normalization.std,
            flip=self.dataset.flip,
            train_images=self.dataset.train_images,
            test_images=self.dataset.test_images,
            class_digests=self.dataset.class_digests,
        )


def manifest_of(content: Distilled, files: Mapping[str, FileFacts]) -> Manifest:
    """Describe a distilled set and the files written for it."""
    dataset = content.dataset
    return Manifest(
        dataset=Source(
            name=dataset.name,
            digest=dataset.digest,
            flip=dataset.flip,
            train_images=dataset.train_images,
            test_images=dataset.test_images,
            class_digests=dataset.class_digests,
        ),
        classes=dataset.classes,
        images=Images(
            count=len(content.images),
            per_class=tuple(content.labels.bincount(minlength=len(dataset.classes)).tolist()),
            shape=dataset.shape,
        ),
        normalization=Normalization(mean=dataset.mean, std=dataset.std, whitened=content.whitening is not None),
        decoder=Decoder(**content.spec.decoder.model_dump(mode="json")),
        recipe=_recipe(content),
        learning_rate=content.learning_rate,
        stages=_staging(content),
        results=content.results,
        spec=content.spec.model_dump(mode="json"),
        seed=content.spec.seed,
        compute=dict(content.compute),
        versions=dict(content.versions),
        files=dict(files),
    )


def _staging(content: Distilled) -> Staging | None:
    stages = content.stages
    return None if stages is None else Staging(sizes=stages.sizes, learning_rates=stages.rates)


def _recipe(content: Distilled) -> Recipe:
    spec = content.spec
    evaluation = spec.evaluation
    own = "hard" if content.soft_labels is None else "soft"
    return Recipe(
        protocol=evaluation.protocol,
        networks=tuple(
            network.resolved(content.dataset.shape).model_dump(mode="json")
            for network in evaluation.architectures(spec.network)
        ),
        epochs=evaluation.epochs,
        schedule=evaluation.schedule,
        optimizer=evaluation.optimizer,
        lr=content.learning_rate if evaluation.lr is None else evaluation.lr,
        momentum=evaluation.momentum,
        weight_decay=evaluation.weight_decay,
        batch_size=evaluation.batch_size,
        augmentation=strategy_of(evaluation, spec.augmentation, content.dataset.flip),
        augmenter=evaluation.augmenter,
        cutmix=evaluation.cutmix,
        staging=evaluation.staging,
        labels=evaluation.labels if evaluation.labels_batches else own,
        temperature=evaluation.temperature,
        label_loss=evaluation.label_loss if evaluation.labels_batches else None,
        stored_labels=_stored_labels(content),
        teacher=_teacher(content),
        backbone=_backbone(content),
        trains=evaluation.trains,
    )


def _stored_labels(content: Distilled) -> LabelsOfEpochs | None:
    found = content.epoch_labels
    if found is None:
        return None
    return LabelsOfEpochs(
        file="labels.safetensors",
        epochs=found.epochs,
        dtype="float16",
        seed=found.seed,
        top=found.top,
        reading=_reading(content.spec.evaluation),
    )


def _reading(evaluation: EvaluationConfig) -> str:
    """How the labels of epochs are read, for whoever has no other description."""
    if evaluation.stored_top is None:
        return "`logits[e, i, c]` is the logit of class c, of the image that epoch e takes as number i; all from 0."
    rest = "the mean of their logits, which has the least squared error"
    if evaluation.label_loss == "kl":
        rest = (
            f"such that softmax(logits / {evaluation.temperature:g}) gives the stored classes the probabilities of the "
            "teacher and all others equal ones, at this temperature alone"
        )
    return (
        "`logits[e, i, j]` is the logit of class `classes[e, i, j]`, of the image that epoch e takes as number i; all "
        f"from 0, and the highest logit first. Every other class has the logit `rest[e, i]`: {rest}."
    )


def _backbone(content: Distilled) -> Backbone | None:
    found = content.results.backbone
    return None if found is None else Backbone.model_validate(found.model_dump(mode="json"))


def _teacher(content: Distilled) -> Teacher | None:
    if content.teacher is None:
        return None
    evaluation = content.spec.evaluation
    return Teacher(
        file="teacher.safetensors",
        network=evaluation.teacher.network.resolved(content.dataset.shape).model_dump(mode="json"),
        dtype=str(content.teacher["classifier.weight"].dtype).removeprefix("torch."),
        mode=evaluation.teacher_mode,
    )
