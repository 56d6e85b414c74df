"""A caller is believed only with a valid token for our audience that is bound to a pod."""

import base64
import json

import pytest
from distill_operator import errors
from distill_operator.effects.callers import Allowance, judge, lifetime

BOUND = {"authentication.kubernetes.io/pod-uid": ["u-1"]}


def review(**status: object) -> dict[str, object]:
    good = {
        "authenticated": True,
        "audiences": ["progress.kubedistill.io"],
        "user": {"extra": BOUND},
    }
    return {"status": good | status}


def test_a_good_review_names_the_pod() -> None:
    assert judge(review()) == ("u-1", "")


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({"authenticated": False, "error": "token has expired"}, "not valid: token has expired"),
        ({"audiences": ["https://kubernetes.default.svc"]}, "not for the audience progress."),
        ({"audiences": None}, "not for the audience progress."),
        ({"user": {"username": "admin"}}, "not bound to a pod"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(status: dict[str, object], sentence: str) -> None:
    pod, complaint = judge(review(**status))

    assert pod is None
    assert sentence in complaint


def test_trust_ends_with_the_token() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1060}).encode()).decode().rstrip("=")

    assert lifetime(f"x.{claims}.y", now=1000) == 60
    assert lifetime(f"x.{claims}.y", now=2000) == 0
    assert lifetime("not a token", now=1000) == 0


def test_an_allowance_is_used_up_and_grows_again() -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0], rate=1.0, burst=2.0)
    allowance.spend("a")
    allowance.spend("a")
    with pytest.raises(errors.TooMany):
        allowance.spend("a")

    allowance.spend("b")
    now[0] = 1.0
    allowance.spend("a")
