"""What is counted of answers: by adapter, with the tokens and the tokenizer's time."""

from typing import Any

import pytest

from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.counted import Counted
from kubeembed_runtime.errors import DeviceFailed
from kubeembed_runtime.requests import EncodeRequest, Timing


async def test_answers_are_counted_by_adapter(fake_model: Any) -> None:
    metrics = Metrics("0")
    model = Counted(fake_model, metrics.count_answer)
    assert model.info is fake_model.info
    for adapter in (None, "medical", "medical"):
        await model.encode(EncodeRequest(inputs=["four", "five!"], adapter=adapter))
    text = metrics.text().decode()
    assert 'kubeembed_adapter_requests_total{adapter=""} 1.0' in text
    assert 'kubeembed_adapter_tokens_total{adapter=""} 9.0' in text
    assert 'kubeembed_adapter_requests_total{adapter="medical"} 2.0' in text
    assert 'kubeembed_adapter_tokens_total{adapter="medical"} 18.0' in text
    assert "kubeembed_tokenize_seconds_count 3.0" in text


def test_the_tokenizer_s_time_is_observed() -> None:
    metrics = Metrics("0")
    metrics.count_answer("", 1, Timing(tokenize=0.25))
    assert "kubeembed_tokenize_seconds_sum 0.25" in metrics.text().decode()


async def test_what_fails_is_not_counted(fake_model: Any) -> None:
    metrics = Metrics("0")
    fake_model.failure = DeviceFailed("no")
    with pytest.raises(DeviceFailed):
        await Counted(fake_model, metrics.count_answer).encode(EncodeRequest(inputs=["a"]))
    assert "kubeembed_adapter_requests_total{" not in metrics.text().decode()
