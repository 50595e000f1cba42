"""A small text model from a configuration, with random weights, and texts of some classes."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIMS,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)


def read_model(folder):
    encoder = Transformer(str(folder))
    encoder.auto_model.pooler.requires_grad_(False)  # has no part in the embeddings
    return SentenceTransformer(modules=[encoder, Pooling(DIMS)], device="cpu")
