"""An encoder-decoder that writes by its graphs, as it is served once it is quantised."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from distill_trainer.exporting import running
from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.students import seq2seq
from distill_trainer.teachers import local_generator
from distill_trainer.teachers.local_generator import Heard
from distill_trainer.teachers.local_seq2seq import LocalSeq2Seq


@dataclass(frozen=True, slots=True)
class OnnxSeq2Seq(LocalSeq2Seq):
    """Graphs in ONNX Runtime, on the processor; they write without chance."""

    graphs: Seq2SeqGraphs = field(kw_only=True)

    def write(
        self, sources: Sequence[list[int]], seeds: Sequence[int], heard: Heard | None = None
    ) -> list[list[int]]:
        """Return the token ids that are written for each source, their end included.

        Nothing is drawn, and what is told of a batch is told when it is done.
        """
        del seeds, heard
        pad, ends = self.seq2seq.tokenizer.pad_token_id, self.seq2seq.ends
        ids, mask = seq2seq.padded(sources, pad, torch.device("cpu"))
        rows = running.greedy(
            self.graphs, ids.numpy(), mask.numpy(), ends=ends, most=self.sampling.max_tokens
        )
        return [local_generator.until_end(row, ends) for row in rows.tolist()]
