"""The whole report from made-up results: self-contained, complete, honest, small."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up import demo_plan, fake_panel, small_plan, workspace

from rekon.errors import UserError
from rekon.evaluation.panel import write_panels
from rekon.files import read_json
from rekon.reporting import html
from rekon.reporting.figures import curves, panel
from rekon.reporting.figures.style import Drawn, grey, heat, look, write_svg
from rekon.reporting.html import build_report
from rekon.reporting.parts import prints, svg_uri
from rekon.reporting.scorecard import scorecard
from rekon.reporting.sources import Sources
from rekon.reporting.views import View


class Page(HTMLParser):
    """Addresses, identifiers and text of a page; checks that tags close in order."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses, self.ids, self.images, self.words, self.open = [], set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.addresses += [found[key] for key in ("href", "src") if key in found]
        self.ids.add(found.get("id"))
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("report"), demo_plan(), size=32)


@pytest.fixture(scope="module")
def written(sources):
    return build_report(sources, sources.root / "reports")


@pytest.fixture
def no_figures(monkeypatch):
    """For tests of the words: drawing takes longest."""
    monkeypatch.setattr(html, "build_figures", lambda *arguments: [])


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text())


def test_the_page_needs_nothing_else_and_is_well_formed(page, written):
    assert page.open == []
    local = [address for address in page.addresses if not address.startswith(("data:", "#", "https://"))]
    assert all(re.fullmatch(r"(tables|figures)/[\w.-]+", address) for address in local)
    for address in local:
        if address.startswith("figures/"):
            assert (written.parent / address).exists()
    assert all(image["src"].startswith("data:image/") for image in page.images)
    assert "@import" not in written.read_text() and "<script" not in written.read_text()
    assert all(address[1:] in page.ids for address in page.addresses if address.startswith("#"))


def test_every_picture_has_words(page):
    assert all(image.get("alt") for image in page.images)


def test_the_demo_page_stays_below_two_mebibytes(written):
    assert written.stat().st_size < 2 * 2**20


def test_every_claim_and_verdict_is_on_the_page(page, sources):
    text = " ".join(" ".join(page.words).split())
    outcomes = scorecard(sources)
    sections = text[: text.index("Tables, side by side")].split("Where the paper's effect does not appear")[1:]
    for study, section in zip(sources.studies, sections, strict=True):
        absent = section.split("What the paper says")[0]  # there the next study's card begins
        for outcome in outcomes:
            if outcome.study == study:
                assert outcome.claim.text in text and outcome.verdict in text
                assert (outcome.claim.text in absent) == (outcome.verdict != "holds")


def test_simulated_sets_are_called_so_and_old_code_is_marked(page, sources):
    text = " ".join(" ".join(page.words).split())
    assert text.count("simulated") >= len(sources.datasets("ueps"))
    assert "stale" in text and "uncommitted changes" in text


def test_equal_input_gives_equal_bytes(tmp_path):
    sources = workspace(tmp_path, small_plan(), slices=1, size=16)
    first, second = (build_report(sources, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    for path in (tmp_path / "a" / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "figures" / path.name).read_bytes()


def test_text_from_config_is_escaped(tmp_path, no_figures):
    sources = workspace(tmp_path, small_plan(), slices=1, size=16)
    document = sources.plan.document()
    document["studies"]["nas"]["claims"] = [
        {"text": "<script>alert(1)</script>", "source": "x", "better": "distilled", "worse": "base", "datasets": "id"}
    ]
    made = type(sources.plan).from_document(document, "test")
    assert "<script" not in build_report(Sources(made, sources.root), tmp_path / "reports").read_text()


def test_open_scale_shows_sets_without_a_reference(tmp_path, no_figures):
    sources = workspace(tmp_path, demo_plan("open"), subjects=2, size=24)
    text = build_report(sources, tmp_path / "reports").read_text()
    assert "Prospectively undersampled" in text and "only in the paper" in text


def test_a_partial_workspace_still_reports_and_an_empty_one_says_what_to_do(sources, tmp_path, no_figures):
    with pytest.raises(UserError, match="nothing was evaluated"):
        build_report(Sources(sources.plan, tmp_path), tmp_path / "reports")
    source = sources.result("ueps/ueps", "sim-fastmri-brain")
    target = Sources(sources.plan, tmp_path).result("ueps/ueps", "sim-fastmri-brain")
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    text = build_report(Sources(sources.plan, tmp_path), tmp_path / "reports").read_text()
    assert "not measured" in text and "not made yet" in text


def test_figures_are_listed_with_captions_and_svg_is_valid(written, sources):
    folder = written.parent / "figures"
    listed = {study: [Drawn(**entry) for entry in read_json(folder / f"{study}.json")] for study in sources.studies}
    assert {figure.section for figure in listed["ueps"]} == {"panels", "ladder", "inside", "training"}
    assert {figure.section for figure in listed["nas"]} == {"panels", "inside", "training"}
    drawn = [figure for figures in listed.values() for figure in figures]
    assert {figure.file for figure in drawn} | {f"{study}.json" for study in listed} == {
        path.name for path in folder.iterdir()
    }
    for figure in drawn:
        assert figure.caption and figure.alt and (folder / figure.file).stat().st_size > 1000
        if figure.file.endswith(".svg"):
            ElementTree.parse(folder / figure.file)


def test_panels_share_one_scale_and_show_ten_times_the_error(sources):
    found = panel.strip(sources, sources.runs("ueps"), View("sim-fastmri-brain"))
    assert [tile.run for tile in found.tiles][:2] == ["reference", "classical/zero-filled"]
    made = sources.panel("ueps/ueps", "sim-fastmri-brain")
    top = float(np.percentile(made.target, panel.BRIGHTEST))
    tile = found.tiles[-1]
    np.testing.assert_array_equal(tile.image, grey(made.reconstruction, top))
    np.testing.assert_array_equal(tile.error, heat(10 * np.abs(made.reconstruction - made.target), top))


def test_runs_that_pictured_different_slices_are_refused(sources, tmp_path):
    made, runs = Sources(sources.plan, tmp_path), ["ueps/ue-vit", "ueps/ueps"]
    for number, run in enumerate(runs):
        shown = fake_panel("x", run, 16)
        changed = {"equispaced-R4": type(shown)(**{**vars(shown), "slice": 6 + number})}
        write_panels(made.result(run, "sim-ahead-e3", ".npz"), changed)
    with pytest.raises(UserError, match="slice 7"):
        panel.strip(made, runs, View("sim-ahead-e3"))


def test_curves_skip_what_was_not_logged_and_keep_their_mean():
    validated = {"val_mae": 1.0}
    rows = [{"step": step, "loss": float(step)} | (validated if step % 4 == 0 else {}) for step in range(1, 1001)]
    steps, values = curves.series(rows, "val_mae")
    assert len(steps) == 250 and set(values) == {1.0}
    steps, values = curves.thinned(*curves.series(rows, "loss"))
    assert len(steps) == curves.POINTS and (steps[0], values[0]) == (4.0, 4.0) and (np.diff(values) > 0).all()


def test_a_charts_places_are_rounded_and_its_words_are_not(tmp_path):
    from matplotlib import pyplot

    with look():
        figure = pyplot.figure()
        figure.text(0.123456, 0.5, "rate 0.00054321 % < 1 #2")
        write_svg(figure, tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert "rate 0.00054321 % &lt; 1 #2" in text
    assert not re.search(r"\d\.\d{3}", "".join(re.findall("<[^>]*>", text)))
    uri = svg_uri(text)
    assert uri.startswith("data:image/svg+xml,") and not set("<>\"'#&") & set(uri)
    root = ElementTree.fromstring(unquote(uri.partition(",")[2]))
    assert "rate 0.00054321 % < 1 #2" in "".join(root.itertext())


def test_grey_is_clipped_and_survives_empty_images():
    assert grey(np.array([[0.0, 1.0, 9.0, np.nan]]), 2.0).tolist() == [[0, 128, 255, 0]]
    assert grey(np.zeros((2, 2)), 0.0).max() == 0


def test_the_headline_says_how_learning_stands_to_sense(page):
    text = " ".join(" ".join(page.words).split())
    assert "dB above ESPIRiT-SENSE" in text


def test_the_paper_is_quoted_for_claims_that_were_not_measured(sources, tmp_path):
    outcomes = scorecard(Sources(sources.plan, tmp_path))
    assert {outcome.verdict for outcome in outcomes} == {"not measured"}
    printed = {name for name, study in sources.studies.items() if prints(study.published)}
    quoted = [one for one in outcomes if "without numbers" not in one.claim.text and one.study in printed]
    assert all(outcome.paper is not None and outcome.paper > outcome.claim.threshold for outcome in quoted)
