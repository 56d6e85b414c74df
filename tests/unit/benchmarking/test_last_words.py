"""The line of a log that says why a server stopped; vLLM's are from real runs."""

from distill_trainer.benchmarking import last_words

NOT_A_MODEL = """\
(APIServer pid=4862) Traceback (most recent call last):
    s.__pydantic_validator__.validate_python(ArgsKwargs(args, kwargs), self_instance=s)
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Invalid repository ID or local directory specified: '/tmp/vl/t5'.
Please verify the following requirements:
1. Provide a valid Hugging Face repository ID.
 [type=value_error, input_value=ArgsKwargs((), {'model': ...nderer_num_workers': 1}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""  # noqa: E501 - as it was written
DEAD_ENGINE = """\
(EngineCore pid=512) ERROR 11-26 16:18:02 [core.py:1127] RuntimeError: not enough memory
(APIServer pid=471) ERROR 11-26 16:18:03 [async_llm.py:906]     raise self._format_exception(outputs)
(APIServer pid=471) ERROR 11-26 16:18:03 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.
(APIServer pid=471) INFO 11-26 16:18:03 [launcher.py:304] [shutdown] API server: shutting down
INFO:     Application shutdown complete.
"""  # noqa: E501


def test_a_list_of_faults_is_told_with_its_first():
    assert last_words.of_vllm(NOT_A_MODEL.splitlines()) == (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig Value"
        " error, Invalid repository ID or local directory specified: '/tmp/vl/t5'."
    )


def test_the_process_that_has_the_error_goes_before_those_that_heard_of_it():
    assert last_words.of_vllm(DEAD_ENGINE.splitlines()) == "RuntimeError: not enough memory"


def test_where_only_the_echo_is_left_it_is_told():
    told = last_words.of_vllm(DEAD_ENGINE.splitlines()[1:])
    assert told.startswith("vllm.v1.engine.exceptions.EngineDeadError")


def test_without_an_error_the_last_line_is_told():
    assert last_words.of_vllm(["INFO 11-26 16:18:03 [a.py:1] loading", ""]) == "loading"
    assert last_words.of_vllm([]) == last_words.of_ours([]) == "it said nothing"
    assert last_words.of_ours(["ERROR distill_server: no folder"]) == "no folder"


def test_what_argparse_says_is_an_error():
    lines = ["usage: vllm serve [-h]", "vllm serve: error: unrecognized arguments: --maximum"]
    assert last_words.of_vllm(lines) == "vllm serve: error: unrecognized arguments: --maximum"
