"""What the hyper-parameters of models may hold, beyond the type of their default, by name and by model.

A range stands here where a value outside of it fails late, with a message about something else, or does nothing a
person could mean. Weights of a loss that work with either sign have none.
"""

from __future__ import annotations

from collections.abc import Collection

from recbole_mm.run.key import KEYS
from recbole_mm.run.key_type import Key

_SIZES = """
    attention_size block_num cin_layer_size class_num cnn_channels cnn_kernels cnn_strides conv_kernel_size
    critic_layers cross_layer_num depth dilations dims_dnn edge_min_count encoder_hidden_size expert_num
    gcn_output_dim hidden_dimension hidden_size hidden_size_list high_layers_num high_order history_len
    history_length history_num_per_term in_dims inner_size input_size interest_size item_embedding_size
    item_hidden_size_list k k_interests kernel_size kfac kg_embedding_size kge_interval latent_dimension layers
    lgb_num_boost_round low_rank m_step map_channels map_length metrics_k mf_embedding_size min_common
    mlp_embedding_size mlp_hidden_size n_cate n_dec_epochs n_enc_epochs n_facet n_facet_all n_facet_context
    n_facet_emb n_facet_hidden n_facet_reranker n_factors n_heads n_iterations n_memory neigh_embedding_size
    n_experts neigh_num neighbor_sample_size nh num_basis_functions num_clusters num_conv_kernel num_heads num_layers nv
    order_len order_list out_dims pool_kernel_size pretrain_epochs prototype_size rank save_step shared_size
    short_item_length steps t_cin t_depth token_num_threhold token_num_threshold total_anneal_steps train_kg_step
    train_rec_step ui_embedding_size user_embedding_size user_hidden_size_list vae_anneal_steps weight_size
    xgb_num_boost_round n_hyperedges
"""
_COUNTS = """
    anneal_steps context_hops hyper_layers item_agg_layer lightgcn_layer low_layers_num n_hop n_hops n_iter n_layers
    sampling_steps split_to step warm_up_step n_item_layers n_modal_layers
"""
_SHARES = """
    adaptor_dropout_prob attn_dropout_prob corruption_ratio drop_ex drop_im drop_ratio dropout dropout_prob
    dropout_probs eta ft_ratio global_ratio hidden_dropout_prob item_drop_ratio item_dropout l1_ratio mask_ratio
    mess_dropout mess_dropout_rate message_dropout modality_dropout node_dropout node_dropout_rate sess_dropout
    spatial_ratio frozen_share
"""
_WEIGHTS = """
    aap_weight align_weight anneal_cap cl_weight cor_weight feature_noise id_std initializer_range kg_weight lambda1
    lambda2 lambda3 ls_weight map_weight mip_weight mixture_weights modal_align_weight negative_weight noise_max
    noise_min noise_scale noise_std proto_reg reg_loss_ratio reg_weight reg_weight_1 reg_weight_2 reg_weights
    second_order_loss_weight shrink sim_regularity sp_weight ssl_reg ssl_weight vae_anneal_cap w_max w_min modal_weight
"""
_SCALES = "layer_norm_eps logit_scale resolution rho ssl_tau ssl_temp tau tau_ratio temperature topk_factor"
_SHARE, _WEIGHT = Key(low=0, high=1), Key(low=0)
_ACTIVATION = Key(choices=("sigmoid", "tanh", "relu", "leakyrelu", "dice", "none"), folded=True)
_FREQUENCIES = Key((str,), choices=("us", "un", "su", "us_x", "none"), folded=True)

#: by the name of the key, for any model of RecBole's or ours that declares it
NAMED: dict[str, Key] = {
    **dict.fromkeys(_SIZES.split(), Key(low=1, whole=True)),
    **dict.fromkeys(_COUNTS.split(), Key(low=0, whole=True)),
    **dict.fromkeys(_SHARES.split(), _SHARE),
    **dict.fromkeys(_WEIGHTS.split(), _WEIGHT),
    **dict.fromkeys(_SCALES.split(), Key(low=0, open=True)),
    **dict.fromkeys(
        ["mf_pretrain_path", "mlp_pretrain_path", "pre_model_path", "pretrain_path", "warm_up", "xgb_model"],
        Key((str,), path=True, optional=True),  # an empty text is RecBole's own default of some
    ),
    **dict.fromkeys(["ae_act_func", "mlp_act_func"], _ACTIVATION),
    **dict.fromkeys(["context_norm", "post_remove_context", "use_proj_bias"], Key(low=0, high=1, whole=True)),
    **dict.fromkeys(["n_facet_MLP", "n_facet_window"], Key(low=-99, high=0, whole=True)),
    **dict.fromkeys(["lgb_early_stopping_rounds", "xgb_early_stopping_rounds"], Key((int,), low=1)),
    **dict.fromkeys(["pooling_type", "pooling_type_layer_1", "pooling_type_layer_2"], Key(choices=("max", "average"))),
    **dict.fromkeys(["contrast", "fredom_type"], _FREQUENCIES),
    **dict.fromkeys(["has_residual", "norm", "pruning", "use_filter"], Key((bool,))),
    **dict.fromkeys(["xgb_silent", "xgb_verbose_eval"], Key((bool, int))),
    "accum": Key(choices=("stack", "sum")),
    "aggregator_type": Key(choices=("gcn", "graphsage", "bi")),
    "algorithm": Key(choices=("concat", "prod")),
    "content_weight": _SHARE,
    "dnn_type": Key(choices=("trm", "ave")),
    "combination": Key(choices=("max", "mean", "concat")),
    "connect_way": Key(choices=("concat", "mean")),
    "domain_loss": Key(choices=("mse", "mse_norm", "infonce")),
    "domain_weights": Key((dict,), each=Key((int, float), low=0)),
    "feature_learning_rate": Key((int, float), low=0, open=True),
    "dense_memory_mib": Key((int, float), low=0),
    "fields": Key((dict,), each=Key((list, tuple), each=Key((str,)))),
    "fusion": Key(choices=("sum", "concat", "gate", "weight", "none")),
    "genre_field": Key((str,)),
    "gru_type": Key(choices=("GRU", "AIGRU", "AGRU", "AUGRU")),
    "head": Key(choices=("dot", "mlp")),
    "hid_activation": Key(choices=("sigmoid", "relu", "tanh")),
    "hidden_act": Key(choices=("gelu", "relu", "swish", "tanh", "sigmoid")),
    "graph_k": Key(low=1, whole=True),
    "ind": Key(choices=("mi", "distance", "cosine")),
    "id_source": Key(choices=("clip_sum", "table")),
    "inter_agg": Key(choices=("attention", "mean", "concat")),
    "inter_matrix_type": Key((str,), choices=("01", "rating")),
    "intra_agg": Key(choices=("attention", "mean")),
    "item_attribute": Key((str,)),
    "knn_method": Key(choices=("item", "user")),
    "loss_function": Key(choices=("inner_product", "transe")),
    "loss_type": Key(choices=("BPR", "CE")),
    "map_users": Key(choices=("cold", "all")),
    "mapping_function": Key(choices=("linear", "non_linear")),
    "mean_type": Key(choices=("x0", "eps")),
    "modality_weights": Key((dict,), each=_SHARE),
    "n_routing": Key(low=0, whole=True),
    "neigh_info_method": Key(choices=("random", "knn", "louvain")),
    "noise_schedule": Key(choices=("linear", "linear-var", "cosine", "binomial")),
    "order": Key(low=1, high=2, whole=True),
    "out_activation": Key(choices=("sigmoid", "relu")),
    "partition_merging_mode": Key(choices=("replace", "add", "half")),
    "phase": Key(choices=("teacher_training", "distillation", "finetuning")),
    "pretrain_hold_out": Key(low=0, high=1),
    "pretrain_valid": Key(choices=("loss", "probe")),
    "precision": Key(choices=("float32", "float64")),
    "pooling_mode": Key(choices=("mean", "max", "sum")),
    **dict.fromkeys(["reg_exponent", "unobserved_weight"], _WEIGHT),
    "reranker_CAN_NUM": Key(
        (int, str), test=lambda value: all(each.strip().isdecimal() for each in str(value).split(",")),
        form="whole numbers such as 100 or 100,20",
    ),
    "reranker_merging_mode": Key(choices=("replace", "add")),
    "sansa_density": Key((int, float), low=0, high=1, open=True),
    "selected_features": Key((list,), each=Key((str,))),
    "sim": Key((str,), choices=("dot", "cos")),
    "softmax_over": Key(choices=("negatives", "domain")),
    "ssl_task": Key(choices=("fac", "fd", "fm")),
    "ssl_similarity": Key(choices=("product", "cosine")),
    "structure": Key(choices=("parallel", "stacked")),
    "teacher": Key(choices=("CrossNet", "CINComp")),
    "train_stage": Key(choices=("pretrain", "inductive", "transductive")),
    "train_method": Key(choices=("after_pretrain", "no_pretrain")),
    "user_graph_k": Key(low=1, whole=True),
    "user_text": Key(choices=("items", "reviews")),
    "weight_mode": Key(choices=("", "dynamic", "static", "max_logits")),
    "xgb_nthread": Key((int,), low=-1),
}  # fmt: skip

#: where the same name is something else
OF_MODEL: dict[tuple[str, str], Key] = {
    **dict.fromkeys([("AsymKNN", "alpha"), ("AsymKNN", "beta")], _SHARE),
    **dict.fromkeys([("BiTGCF", "lambda"), ("CMC", "lambda"), ("UniCDR", "lambda")], _SHARE),
    **dict.fromkeys([("KGCN", "aggregator"), ("KGNNLS", "aggregator")], Key(choices=("sum", "neighbor", "concat"))),
    ("SimpleX", "aggregator"): Key(choices=("mean", "user_attention", "self_attention")),
    ("CDAE", "loss_type"): Key(choices=("MSE", "BCE")),
    ("CMC", "user_id"): Key(choices=("per_domain", "shared", "both")),
    ("CORE", "loss_type"): Key(choices=("CE",)),
    ("FPMC", "loss_type"): Key(choices=("BPR",)),
    ("KD_DAGFM", "type"): Key(choices=("inner", "outer")),
    ("MCCLK", "loss_type"): Key(choices=("BPR", "BCE"), folded=True),
    ("MMT", "loss"): Key(choices=("bce", "gbce", "softmax")),
    ("MacridVAE", "std"): _WEIGHT,
    ("RaCT", "train_stage"): Key(choices=("actor_pretrain", "critic_pretrain", "finetune")),
    ("S3Rec", "train_stage"): Key(choices=("pretrain", "finetune")),
    ("SGL", "type"): Key(choices=("ND", "ED", "RW")),
    ("SINE", "loss_type"): Key(choices=("BPR", "CE", "NLL")),
}  # fmt: skip


def describe(key: str, model: str = "", own: Collection[str] = ()) -> Key:
    """What ``key`` may hold.

    Args:
        key: its name.
        model: the model whose defaults a run starts from.
        own: the hyper-parameters of this model; what a person's own model reads has names of its own.
    """
    if key in KEYS:
        return KEYS[key]
    if key not in own:
        return Key()
    return OF_MODEL.get((model, key)) or NAMED.get(key, Key())
