"""Where a pod computes."""

import pytest
import torch
from distill_trainer.errors import BadInput
from distill_trainer.training import runtime


@pytest.mark.parametrize("found", [True, False])
def test_a_pod_without_accelerators_stays_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, *, found: bool
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert runtime.device(0).type == "cpu"


def test_a_pod_with_accelerators_uses_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.device(2).type == "cuda"


def test_accelerators_that_pytorch_cannot_find_are_no_reason_to_use_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match=r"given 1 accelerators .* finds none: use an image"):
        runtime.device(1)
