"""``recbole-mm extract``: texts and images of items, or texts of reviews, through an encoder into stores."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from recbole_mm.errors import WrongUse
from recbole_mm.extract.checkpoint import NoCheckpoint
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.engine import Engine, LocalEngine, available_cores
from recbole_mm.extract.items import IMAGE, REVIEW, TOKEN, Items, read_images, read_texts, with_keys
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.report import Report
from recbole_mm.extract.settings import DEFAULTS, MissingPackage, build_encoder, build_encoders, read_settings
from recbole_mm.files import check_folder, dataset_folder
from recbole_mm.modality import reviews_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``text``, ``image`` and ``clip``."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    text = kinds.add_parser("text", help="any Hugging Face encoder, or TF-IDF")
    image = kinds.add_parser("image", help="any torchvision classifier, or EfficientNet-Lite0")
    clip = kinds.add_parser("clip", help="both towers of CLIP, into two stores")
    for name, kind in (("text", text), ("image", image), ("clip", clip)):
        kind.add_argument("--dataset", required=True, metavar="NAME")
        kind.add_argument("--items", metavar="FILE", help="default: dataset/NAME/items.parquet")
        kind.add_argument("--modality-path", metavar="FOLDER", default="modality/", help="default: modality/")
        default = "default: " + " or else ".join(DEFAULTS[name])
        kind.add_argument("--encoder", metavar="NAME|FOLDER|FILE.yaml", help=default)
        kind.add_argument(
            "--batch-size", type=_positive, help="items encoded at once, in both towers of CLIP"
        )
        kind.add_argument("--shard-size", type=_positive, help="items between two savings")
        kind.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of the store")
        kind.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
        kind.add_argument("--precision", default="auto", help="auto (float16 on a GPU), float32, bfloat16 …")
        kind.add_argument("--workers", type=_positive, help="threads that load; default: all cores")
        kind.add_argument("--engine", choices=("local", "ray"), default="local")
        kind.add_argument("--actors", type=_positive, default=1, help="Ray: number of processes")
        kind.add_argument("--actor-cores", type=_positive, default=1, help="Ray: cores of each")
        kind.add_argument("--actor-gpus", type=float, default=0, help="Ray: GPUs of each, such as 0.5")
        kind.add_argument("--overwrite", action="store_true", help="replace a store of another origin")
        kind.add_argument("--json", action="store_true", help="print the report as JSON")
    for kind, name in ((text, "text"), (image, "image")):
        kind.add_argument("--modality", default=name, help=f"name of the store; default: {name}")
    clip.add_argument("--text-modality", default="clip_text", help="default: clip_text")
    clip.add_argument("--image-modality", default="clip_image", help="default: clip_image")
    fields, reviews = "columns, joined in this order; default: all of text", "dataset/NAME/reviews.parquet"
    for kind in (text, clip):
        kind.add_argument("--fields", metavar="A,B", help=fields)
        kind.add_argument("--separator", default=". ", help="between two fields; default: '. '")
    text.add_argument("--reviews", action="store_true", help=f"the texts of {reviews} instead")
    text.add_argument("--pooling", choices=("cls", "mean", "max"), help="default: as the encoder says")
    text.add_argument("--max-length", type=_positive, help="tokens")
    text.add_argument("--width", type=_positive, help="of TF-IDF")
    for kind in (image, clip):
        kind.add_argument("--image-root", metavar="FOLDER", help="of relative paths; default: where items is")
        kind.add_argument("--image-column", default=IMAGE, help=f"default: {IMAGE}")
        kind.add_argument("--augment", type=_positive, help="views of each image that are averaged")
        kind.add_argument("--seed", type=int, help="of those views")
    image.add_argument("--weights", metavar="NAME|FILE", help="default: as the encoder says")


def main(args: argparse.Namespace) -> int:
    """Encode what is new or changed; errors are raised."""
    reviews = getattr(args, "reviews", False)
    source = "reviews.parquet" if reviews else "items.parquet"
    name, around = dataset_folder(args.dataset, "dataset")
    items_file = Path(args.items or Path(around or "dataset") / name / source)
    inputs: dict[str, Items] = {}
    if args.kind in ("text", "clip"):
        fields = [field for field in args.fields.split(",") if field] if args.fields else None
        named_by = REVIEW if reviews else (TOKEN,)
        inputs["text"], taken = read_texts(items_file, fields, args.separator, named_by)
        if not args.json:
            print(f"text: {', '.join(taken)}")
    if args.kind in ("image", "clip"):
        images = Path(args.image_root) if args.image_root else items_file.parent
        inputs["image"] = read_images(items_file, images, args.image_column)

    root = Path(args.modality_path)
    check_folder("--modality-path", root)
    settings, encoders = _encoders(args, inputs)
    if reviews and settings["family"] == "tfidf":
        remedy = "use --encoder minilm or another checkpoint"
        raise WrongUse(f"tfidf learns from all reviews, those of the test set too; {remedy}")
    stores = reviews_folder(root, name) if reviews else root / name
    workers = args.workers or available_cores()
    options: dict[str, Any] = {"dtype": args.dtype, "overwrite": args.overwrite}
    reports = []
    for reads, items in inputs.items():
        encoder = encoders[reads]
        modality = getattr(args, f"{reads}_modality", None) or args.modality
        keyed = with_keys(items, encoder.identity, are_files=reads == "image", workers=workers)
        engine = _engine(args, settings, reads, workers)
        report = extract(keyed, encoder, stores / modality, modality=modality, engine=engine, **options)
        reports.append(report)
        if not args.json:
            print(describe(report))
    if args.json:
        print(json.dumps([asdict(report) for report in reports], indent=2, ensure_ascii=False))
    return 0


def describe(report: Report) -> str:
    """A report in a few words."""
    share = report.present / report.items if report.items else 0.0
    done = f"{report.encoded:,} encoded"
    done += f", {report.resumed:,} from the run before" if report.resumed else ""
    done += f", {report.reused:,} kept" if report.reused else ""
    done += f" in {report.seconds:.1f} s ({report.items_per_second:,.0f} items/s)"
    done = done if report.changed else "unchanged, nothing to do"
    told = [f"{count:,} {reason}" for reason, count in report.reasons.items()]
    told += [f"{report.cut:,} cut at {report.identity.get('max_length')} tokens"] if report.cut else []
    notes = "".join(f"; {each}" for each in told)
    return (
        f"{report.modality}: {report.present:,} of {report.items:,} items ({share:.1%}), {report.encoder}, "
        f"{report.width}-d{notes}; {done}\n{report.store}"
    )


def _encoders(
    args: argparse.Namespace, inputs: Mapping[str, Items]
) -> tuple[dict[str, Any], dict[str, Encoder]]:
    """The encoder asked for; without one, the first default whose weights can be had, said aloud."""
    keys = ("batch_size", "shard_size", "pooling", "max_length", "width", "augment", "seed", "weights")
    overrides = {key: getattr(args, key, None) for key in keys}
    if args.kind == "clip":  # one flag for both towers; a yaml can give each its own
        overrides |= {"text_batch_size": args.batch_size, "text_shard_size": args.shard_size}
    texts = inputs["text"].raws if "text" in inputs else ()
    names = (args.encoder,) if args.encoder else DEFAULTS[args.kind]
    for name in names:
        try:
            settings = read_settings(args.kind, name, overrides)
            return settings, build_encoders(settings, args.device, args.precision, texts)
        except (NoCheckpoint, MissingPackage) as error:
            if name == names[-1]:
                raise
            print(f"{name} cannot be had here ({str(error)[:200]}); trying the next default", file=sys.stderr)
    raise AssertionError("there is a default for every kind")


def _engine(args: argparse.Namespace, settings: Mapping[str, Any], reads: str, workers: int) -> Engine:
    if args.engine == "local":
        return LocalEngine(workers)
    if settings["family"] == "tfidf":
        raise WrongUse("tfidf needs the whole catalogue in one place; use --engine local")
    from recbole_mm.extract.ray_engine import RayEngine

    build = partial(build_encoder, dict(settings), reads, args.device, args.precision)
    return RayEngine(build, args.actors, args.actor_cores, args.actor_gpus)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value
