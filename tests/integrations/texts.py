"""A small text model of random weights from a configuration, texts of classes, a trainer."""

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ..tolerances import close

WORDS = [f"{kind}{number}" for kind in ("cat", "dog", "fish", "bird") for number in range(6)]
LABELS = [kind for kind in range(4) for _ in range(6)]
DIMS = 16


def sentences():
    """24 texts of 4 classes, of one to three words."""
    return [" ".join(WORDS[i : i + 1 + i % 3]) for i in range(len(WORDS))]


def tiny_model(folder, dropout=0.1):
    """A SentenceTransformer of one layer, always the same; ``folder`` for what it is read from."""
    write_encoder(folder, dropout)
    return read_model(folder)


def write_encoder(folder, dropout):
    """A transformer of one layer with its tokenizer of whole words."""
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIMS,
        intermediate_size=32,
        max_position_embeddings=16,
        **{"num_hidden_layers": 1, "num_attention_heads": 2},
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout),
    )
    BertModel(config).save_pretrained(folder)


def read_model(folder):
    encoder = Transformer(str(folder))
    encoder.auto_model.pooler.requires_grad_(False)  # has no part in the embeddings
    return SentenceTransformer(modules=[encoder, Pooling(DIMS)], device="cpu")


def gradients(model, loss, seed=0):
    """Value, and the gradient of each parameter of the model, of ``loss()`` from a seed."""
    model.zero_grad()
    torch.manual_seed(seed)
    value = loss()
    value.backward()
    return [value, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def all_close(actual, expected):
    assert len(actual) == len(expected) > 10
    assert any(gradient.count_nonzero() for gradient in expected[1:])
    for one, other in zip(actual, expected, strict=True):
        close(one, other, 1e-5)


def trainer(model, loss, folder, columns, **options):
    """The trainer of sentence-transformers, of a few quick steps on columns of texts."""
    from datasets import Dataset

    defaults = {"output_dir": str(folder / "run"), "per_device_train_batch_size": 8}
    defaults |= {"max_steps": 3, "learning_rate": 1e-3, "disable_tqdm": True, "use_cpu": True}
    defaults |= {"report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
    args = sentence_transformers.SentenceTransformerTrainingArguments(**{**defaults, **options})
    data = Dataset.from_dict(columns)
    return sentence_transformers.SentenceTransformerTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=data, loss=loss
    )
