"""What the generator's rollout prints of its servers."""

from examples.generator import servers

# Lines of vLLM 0.32's page, of two models behind one server.
PAGE = """\
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.25",model_name="a"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="a"} 4.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="a"} 4.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="a"} 1.0
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="a"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="a"} 3.0
"""


def test_latencies_are_means_of_all_requests_and_missing_ones_are_no_zero():
    assert servers.counts(PAGE) == {
        "answers": "4",
        "first token, mean ms": "250",
        "each further token, mean ms": "-",
    }


def test_pages_of_files_are_no_memory_of_a_server():
    page = "Name:\tvllm\nVmRSS:\t  900 kB\nRssAnon:\t  700 kB\nRssFile:\t  200 kB\n"
    assert servers.resident(page + page) == 1400 * 1024
