"""The report: one page that needs nothing else, shows what was found, and believes no name it is given."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from steersman.bundle.manifest import Manifest, Provenance
from steersman.bundle.specs import BoxAction, DiscreteAction
from steersman.export.report.data import ReportData, describe_host
from steersman.export.report.page import write_report
from support.sample_manifests import CONTRACTS, Sample, contract, report_data, sample, vector

EVIL = "<script>alert(1)</script>\"'&\u202e\x1b[31m$x^2$|`"
UNCLOSED = {"meta", "br"}


class Page(HTMLParser):
    """What a browser makes of the page: elements, texts, and whether every one was closed."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(data.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in UNCLOSED:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def report(shown: Sample) -> bytes:
    return write_report(shown.manifest, shown.references, shown.data)


@cache
def page_of(name: str) -> Page:
    return Page(report(sample(name)))


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_kind_of_policy_has_its_page(name: str) -> None:
    shown = sample(name)
    page = page_of(name)
    for words in ("Policy sample", "Verdict", "Proven equal to SB3 in 10,076 states", "static_qdq", "487.00"):
        assert words in page.text
    for spec in shown.manifest.contract.observations:
        assert spec.input_name in page.text
    assert shown.manifest.contract_digest in page.text


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_page_stands_alone_and_every_figure_has_words(name: str) -> None:
    page = page_of(name)
    references = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in {"src", "href", "xlink:href", "action"} and not (value or "").startswith("#")
    ]
    assert references == []
    assert {"script", "link", "iframe", "img"}.isdisjoint(name for name, _ in page.elements)
    assert all(attributes.get("aria-label") for name, attributes in page.elements if name == "svg")
    assert page.count("svg") == page.count("figure") > 0
    assert page.count("caption") == page.count("table") > 0
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert {name for name, times in ids.items() if times > 1} == set()


def test_the_same_export_is_the_same_page() -> None:
    shown = sample("continuous")
    assert report(shown) == report(sample("continuous"))


def test_a_page_stays_small_and_draws_only_so_many_features() -> None:
    data = report(sample("many features"))
    assert len(data) < 600_000
    page = Page(data)
    assert "24 of 64 features are drawn" in page.text
    assert "obs_63" in page.text


def test_names_are_never_markup() -> None:
    hostile = contract(
        vector(2, key=EVIL, feature_names=(EVIL, "b"), units=(EVIL, "m")),
        action=DiscreteAction(n=2, names=(EVIL, "wait")),
        inside=(EVIL,),
    )
    shown = sample("", hostile, algorithm=EVIL, run=EVIL, trusted_code=(EVIL,), libraries={"trained.x": EVIL})
    data = report(Sample(shown.manifest, shown.references, report_data(hostile, notes=(EVIL,), host=EVIL)))
    page = Page(data)
    assert page.count("script") == 0
    assert "<script>alert(1)</script>" in page.text
    assert "\\u202e\\x1b[31m" in page.text
    assert not {"\u202e", "\x1b"} & set(data.decode())


def test_a_synthetic_reference_is_said_loudly() -> None:
    text = Page(report(sample("many features", synthetic=True))).text
    assert text.index("Read this first. Synthetic reference") < text.index("Proven equal")
    assert "Not measured: no environment" in text
    assert "samples of the observation space" in text
    assert "Synthetic" not in page_of("many features").text


def test_what_callers_must_do_comes_first() -> None:
    text = page_of("recurrent").text
    assert text.index('frame_stack {"frames": 4}: Give the last four') < text.index("Proven equal")
    assert "3,200 steps of recurrent sequences" in text


def test_code_that_was_trusted_is_named() -> None:
    assert (
        "my_package.policies" in Page(report(sample("discrete", trusted_code=("my_package.policies",)))).text
    )


def only(manifest: Manifest, *names: str) -> Manifest:
    kept = {name: variant for name, variant in manifest.variants.items() if name in names}
    return manifest.model_copy(update={"variants": kept})


def test_fp32_alone_says_why() -> None:
    shown = sample("discrete")
    text = Page(report(Sample(only(shown.manifest, "fp32"), shown.references, shown.data))).text
    assert "none of 2 schemes passed its gates" in text
    assert "the gate is 0.50%" in text


def test_a_page_of_next_to_nothing_is_still_a_page() -> None:
    made = sample("deterministic").manifest
    bare = only(made, "fp32").model_copy(
        update={
            "rejected_variants": (),
            "parity": made.parity.model_copy(update={"returns": None}),
            "provenance": Provenance(algorithm="ARS", zip_sha256="0" * 64),
            "variants": {
                "fp32": made.variants["fp32"].model_copy(update={"returns": None, "latency_us": {}})
            },
        }
    )
    page = Page(write_report(bare, {}, ReportData({})))
    assert "the bundle has fp32 only" in page.text
    assert page.count("svg") == 0


def test_images_have_no_histograms_but_their_actions_do() -> None:
    page = page_of("dict")
    assert "too many elements for a distribution of each" in page.text
    assert "Share of the steps with each choice of gear" in page.text


@pytest.mark.parametrize("size", [1, 40])
def test_actions_of_any_size_are_shown(size: int) -> None:
    action = BoxAction(shape=(size,), low=(-np.inf,) * size, high=(np.inf,) * size)
    page = Page(report(sample("", contract(vector(2), action=action, distribution="gaussian"))))
    assert f"action_{size - 1}" in page.text
    assert "∞" in page.text


def test_features_that_reach_infinity_are_in_the_table_only() -> None:
    shown = sample("continuous")
    references = {}
    for mode, reference in shown.references.items():
        reference.feature_edges[0, -1] = np.inf
        references[mode] = reference
    text = Page(write_report(shown.manifest, references, shown.data)).text
    assert "2 of 3 features are drawn" in text


def test_differences_of_every_size_are_drawn() -> None:
    shown = sample("discrete")
    extremes = {
        "none": np.zeros(10),
        "one": np.array([3e-5]),
        "empty": np.zeros(0),
        "wide": np.array([1e-300, 1e5, np.inf, np.nan]),
    }
    page = Page(write_report(shown.manifest, shown.references, ReportData(extremes, {"one": 1e-5})))
    described = [attributes["aria-label"] for name, attributes in page.elements if name == "svg"]
    assert "Histogram of the differences of none: 100 % are exactly 0, the largest is 0." in described


def test_settings_of_matplotlib_s_user_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    expected = report(sample("discrete"))
    with mpl.rc_context({"font.size": 40, "axes.grid": True, "svg.fonttype": "path"}):
        assert report(sample("discrete")) == expected
        assert mpl.rcParams["font.size"] == 40


def test_the_host_is_described_in_a_line() -> None:
    assert re.fullmatch(r".+, \d+ cores?, \w+", describe_host())
