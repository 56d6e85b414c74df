"""A tiny Llama with a chat template whose padding token also ends an answer."""

from tempfile import TemporaryDirectory

import torch
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.texts import conversation
from distill_trainer.training import generating, sequences
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "<end>", "<system>", "<user>", "<assistant>", "</think>", "<think>"]
INSTRUCTION = [*"Answer the question based on context Context Question".split(), ".", ":"]  # noqa: SIM905 - a sentence
WORDS = [*INSTRUCTION, *(f"{kind}{number}" for kind in "abcdef" for number in range(10))]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}<end>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words; `<end>` pads too, as in many published models."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    made = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL[:6]])
    made.add_tokens([AddedToken(word, normalized=False) for word in SPECIAL[6:]])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",  # noqa: S106 - a word of the vocabulary
        bos_token="<s>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
        pad_token="<end>",  # noqa: S106
        chat_template=TEMPLATE,
    )


def model(
    kind: str = "llama",
    *,
    layers: int = 4,
    hidden: int = 32,
    heads: int = 4,
    padded: int = 0,
    seed: int = 0,
    words: list[str] = WORDS,
    **config: object,
) -> Causal:
    """Make a model of random weights. padded: rows of the head beyond the tokenizer's tokens."""
    known = tokenizer(words)
    settings: dict[str, object] = {
        "vocab_size": len(known) + padded,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": hidden // heads,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": known.bos_token_id,
        "eos_token_id": known.eos_token_id,
        "pad_token_id": known.pad_token_id,
    }
    made = AutoConfig.for_model(kind, **settings | config)
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(made, dtype=torch.float32).save_pretrained(folder)
        known.save_pretrained(folder)
        return causal.load(folder)  # type: ignore[arg-type]


def rows(count: int) -> list[dict[str, str]]:
    """Make questions whose answer, one or two words, stands in the context."""
    made = []
    for number in range(count):
        kind, place = "abcdef"[number % 6], number % 10
        other = "abcdef"[(number // 6) % 6]
        context = f"{kind}{place} {other}{(number * 7) % 10} {other}{(number * 3) % 10}"
        answer = f"{other}{(number * 7) % 10} {kind}{place}"
        row = {"query": f"{kind}{place} ?", "context": context, "answer": answer}
        made.append(row | {"group": f"g{number}"})
    return made


def taught(causal: Causal, count: int) -> Causal:
    """Teach a model to answer, so that it is a teacher whose answers end."""
    torch.manual_seed(3)
    known = causal.tokenizer
    sampling = sequences.Sampling(temperature=0)
    examples = [
        sequences.Taught(
            sequences.np.array(
                conversation.prompt_ids(
                    known, conversation.chat(row["query"], row["context"], sampling)
                )
            ),
            sequences.np.array(conversation.target_ids(known, row["answer"])),
        )
        for row in rows(count)
    ]
    adamw = torch.optim.AdamW(causal.model.parameters(), lr=3e-3)
    for step in range(160):
        chosen = [examples[(step * 16 + place) % count] for place in range(16)]
        batch = sequences.pad(chosen, known.pad_token_id, torch.device("cpu"))
        seen = generating.causal_pass.look(causal, batch, generating.Wanted())
        loss = torch.nn.functional.cross_entropy(causal.logits(seen.hidden), batch.labels)
        adamw.zero_grad()
        loss.backward()
        adamw.step()
    causal.model.eval()
    return causal
