"""stand-in"""

_RES = {
    "epochs",
    "checkpoint_dir",
    "data_path",
    "modality_path",
    "show_progress",
    "state",
    "log_wandb",
    "wandb_project",
    "gpu_id",
    "device",
    "save_last",
    "resume",
    "nproc",
    "topk",
    "metrics",
    "train_epochs",
    "keep_checkpoints",
    "init_from",
}
_PATH = {
    "data_path",
    "modality_path",
    "checkpoint_dir",
    "user_link",
    "item_link",
    "resume",
    "init_from",
    "modalities",
}


def keys_that(flag: str) -> frozenset[str]:
    return frozenset({"resumable": _RES, "path": _PATH}[flag])
