"""Tiny models with random weights, saved as checkpoints are, and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ["a", "long", "text", "of", "red", "blue", "shirt", "and", "knife", "the"]


def tokenizer(folder: Path, **special: str) -> None:
    """A word-level tokenizer; `special` names its tokens, of which cls and sep (or eos) wrap a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [special[key] for key in sorted(special)]
    vocabulary = {token: number for number, token in enumerate([*dict.fromkeys(names), *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    inner.normalizer = normalizers.BertNormalizer(clean_text=True)
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    first = special.get("cls_token") or special["bos_token"]
    last = special.get("sep_token") or special["eos_token"]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32, **special)
    fast.save_pretrained(folder)


def tiny_bert(folder: Path, seed: int = 0) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(exist_ok=True)
    tokenizer(folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=14,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            initializer_range=0.5,
        )
        BertModel(config).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path) -> Path:
    import json

    import torch
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(exist_ok=True)
    tokenizer(folder, pad_token="<end>", unk_token="<end>", bos_token="<start>", eos_token="<end>")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(
            text_config={
                **tower,
                "vocab_size": 12,
                "max_position_embeddings": 10,
                "bos_token_id": 1,
                "eos_token_id": 0,
                "pad_token_id": 0,
            },
            vision_config={**tower, "image_size": 16, "patch_size": 8},
            projection_dim=12,
        )
        CLIPModel(config).save_pretrained(folder)
    preset = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "resample": 3}
    preset |= {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    preset |= {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True}
    preset |= {"do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_convert_rgb": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(preset))
    return folder


def save_image(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).convert(mode).save(path)
    return path
