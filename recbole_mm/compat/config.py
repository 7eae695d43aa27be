"""A RecBole Config from the plain values in a checkpoint."""

from __future__ import annotations

from typing import Any

# config keys whose values are members of an enum of recbole.utils.enum_type
CONFIG_ENUMS = {"MODEL_TYPE": "ModelType", "MODEL_INPUT_TYPE": "InputType", "eval_type": "EvaluatorType"}
# what a Config finds out about the machine it is on; a checkpoint may be read on another
OF_THE_MACHINE = ("device", "single_spec", "local_rank", "nproc", "world_size", "offset", "ip", "port")


def rebuild_config(values: Any) -> Any:
    """A RecBole `Config` with the plain `values` of a checkpoint, on this machine's device."""
    from recbole.config.configurator import Config
    from recbole.utils import enum_type, get_model

    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    final = {key: value for key, value in values.items() if key not in OF_THE_MACHINE}
    for key, enum in CONFIG_ENUMS.items():
        if isinstance(final.get(key), str):
            final[key] = getattr(enum_type, enum)[final[key]]
    config.file_config_dict, config.variable_config_dict, config.cmd_config_dict = {}, dict(final), {}
    config.external_config_dict, config.internal_config_dict = dict(final), {}
    config.final_config_dict = final
    config.model, config.dataset = final["model"], final["dataset"]
    config.model_class = get_model(config.model)
    config._init_device()
    return config
