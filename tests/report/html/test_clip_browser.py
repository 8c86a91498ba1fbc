"""The page in a browser: sorting, the browser of wrong clips, sound, a phone, and no requests."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

NASTY = '<script>document.title = "broken"</script>'
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("there is no chromium with chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for one in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(one)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.get("about:blank")  # away from the browser's own first page
    yield started
    started.quit()


HIDDEN = """return ["[role=listbox]", ".clip", ".keys"].map(
    (name) => document.querySelector(name).offsetParent === null)"""


class Opened:
    """A page in the browser."""

    def __init__(self, chromium, path: Path) -> None:
        self.driver = chromium
        self.path = path
        self.show(1200)

    def show(self, width, height=900, scheme="light"):
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(self.path.as_uri())

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def texts(self, selector):
        """What is shown at all places of a selector."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return self.run(script, selector)

    def press(self, *keys):
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key)).perform()

    def choose(self, which, value):
        script = """
            const select = document.querySelector(`[data-filter=${arguments[0]}]`);
            select.value = arguments[1];
            select.dispatchEvent(new Event("change"));
        """
        self.run(script, which, str(value))

    def requests(self):
        """Addresses that this page has asked for since the last time."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
            and message["params"]["documentURL"].partition("#")[0] == self.path.as_uri()
        ]


@pytest.fixture
def opened(chromium, small, tmp_path):
    """The page of the small store, with the sound of some clips, and one figure."""
    rate = 8000
    for k in range(40):
        wave = 0.3 * np.sin(np.arange(rate // 2) / (3 + k))
        soundfile.write(tmp_path / f"{k:03d}.wav", wave, rate)
    folder = small.reports / "figures"
    folder.mkdir()
    style = "<style>rect { fill: #ff0000 }</style>"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{style}<rect width="40" height="40"/></svg>'  # noqa: E501
    (folder / "red.svg").write_text(svg)
    (folder / "red.json").write_text(json.dumps({"caption": "red", "task": "birds"}))
    chromium.get_log("browser"), chromium.get_log("performance")
    page = Opened(chromium, small.write(audio=[tmp_path]).path)
    yield page
    # whatever a test did: no word in the console, and no request but for the page itself
    assert chromium.get_log("browser") == []
    assert {url for url in page.requests() if not url.startswith("data:")} == {page.path.as_uri()}


def test_other_addresses_would_be_seen(opened):
    """The check behind every test here: an address in the page is refused, and that is told."""
    opened.run(
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))"
    )
    opened.run(
        "document.body.append(Object.assign(new Audio(), {src: 'http://127.0.0.1:9/x.mp3'}))"
    )
    opened.run(
        "const own = document.createElement('script'); own.textContent = 'document.title = 1';"
        "document.body.append(own)"
    )
    wait_for(opened, "true")
    said = [entry["message"] for entry in opened.driver.get_log("browser")]
    assert sum("Content Security Policy" in text for text in said) == 3
    assert opened.driver.title != "1"
    assert "http://127.0.0.1:9/x.png" in opened.requests()
    opened.show(1200)


def test_every_column_sorts_both_ways(opened):
    heads = opened.texts(".board thead button")
    assert len(heads) >= 6

    def values(k):
        return opened.run(
            "return [...document.querySelectorAll('.board tbody tr')].map("
            "(row) => row.children[arguments[0]].getAttribute('data-v'))",
            k,
        )

    for k, head in enumerate(heads):
        button = opened.driver.find_elements("css selector", ".board thead button")[k]
        seen = []
        for _ in range(2):
            button.click()
            order = opened.run(
                "return arguments[0].closest('th').getAttribute('aria-sort')", button
            )
            number = opened.run("return arguments[0].closest('th').dataset.kind", button)
            own = [float(v) if number == "number" else v for v in values(k)]
            assert own == sorted(own, reverse=order == "descending"), head
            seen.append(order)
        assert sorted(seen) == ["ascending", "descending"]
        assert len(opened.run("return [...document.querySelectorAll('.board [aria-sort$=ending]')]")
                   ) == 1  # fmt: skip


def test_sorting_with_the_keyboard(opened):
    opened.run("document.querySelector('.board thead button').focus()")
    before = opened.texts(".board tbody th > bdi")
    assert before == ["good", "poor"]
    opened.press("ENTER", "ENTER")
    assert opened.texts(".board tbody th > bdi") == ["poor", "good"]
    opened.press("SPACE")
    assert opened.texts(".board tbody th > bdi") == ["good", "poor"]


def test_list_of_wrong_clips_and_its_filters(opened, small):
    data = small.data(opened.path)["boards"][0]
    assert len(opened.texts("[role=option]")) == 10
    assert opened.texts(".count") == ["10 of 40 clips are wrong (25.0 %)."]
    sizes = [float(text.rstrip(" %")) for text in opened.texts("[role=option] .n")]
    assert sizes == sorted(sizes, reverse=True)
    opened.choose("run", 1)
    assert len(opened.texts("[role=option]")) == 20
    assert opened.texts(".count") == ["20 of 40 clips are wrong (50.0 %)."]
    opened.choose("label", 3)  # the third class has a nasty name
    shown = opened.texts("[role=option] .confusion")
    expected = [item for item in data["runs"][1]["items"] if item[1] == [2]]
    assert len(shown) == len(expected) == 5
    assert all(text.startswith(NASTY) and text.endswith("雀") for text in shown)
    assert opened.texts(".count")[0].endswith("; 5 shown.")
    opened.choose("predicted", 1)
    assert opened.texts("[role=option]") == []
    assert opened.texts(".count")[0].endswith("; 0 shown. No clip fits.")
    assert opened.run(HIDDEN) == [True, True, True]  # and no empty boxes
    opened.choose("predicted", 0)
    assert opened.run(HIDDEN) == [False, False, False]
    assert opened.driver.title != "broken"


def test_frequent_confusion_is_a_button_that_filters(opened):
    button = opened.driver.find_element("css selector", ".confusions button")
    times = int(button.text.rpartition("×")[2])
    button.click()
    assert len(opened.texts("[role=option]")) == times
    pressed = opened.driver.find_element("css selector", ".confusions [aria-pressed=true]")
    assert opened.run("return document.activeElement === arguments[0]", pressed)
    opened.press("ENTER")
    assert len(opened.texts("[role=option]")) == 10


def test_clips_wrong_in_most_runs_first(opened, small):
    data = small.data(opened.path)["boards"][0]
    opened.choose("run", 1)
    opened.choose("order", 1)
    ids = opened.texts("[role=option] .id")
    often = [data["wrongIn"][data["clips"].index(clip)] for clip in ids]
    assert often == [2] * 10 + [1] * 10


def test_arrow_keys_move_and_enter_plays(opened):
    opened.run("document.querySelector('[role=listbox]').focus()")

    def selected():
        return opened.run(
            """const list = document.querySelector("[role=listbox]");
            const all = [...list.querySelectorAll("[aria-selected=true]")];
            const active = list.getAttribute("aria-activedescendant");
            return [all.length, all[0].id === active, Number(all[0].dataset.place)];"""
        )

    ids = opened.texts("[role=option] .id")
    assert selected() == [1, True, 0]
    opened.press("ARROW_DOWN", "ARROW_DOWN", "ARROW_UP")
    assert selected() == [1, True, 1]
    assert opened.texts(".clip h4") == [ids[1]]
    opened.press("END")
    assert selected() == [1, True, 9]
    opened.press("ARROW_DOWN")
    assert selected() == [1, True, 9]
    inside = opened.run(
        """const [list, one] = [document.querySelector("[role=listbox]"),
        document.querySelector("[aria-selected=true]")].map((e) => e.getBoundingClientRect());
        return one.top >= list.top - 1 && one.bottom <= list.bottom + 1"""
    )
    assert inside  # the list has moved with it
    opened.press("HOME", "ENTER")
    wait_for(opened, "document.querySelector('audio').currentTime > 0.05")
    assert opened.run("return document.querySelector('audio').error") is None
    wait_for(opened, "document.querySelector('audio').ended")
    length = opened.run("return document.querySelector('audio').duration")
    assert length == pytest.approx(0.5, abs=0.12)  # MP3 pads


def wait_for(opened, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(opened.driver, 20).until(lambda driver: opened.run(f"return {condition}"))


def test_tab_reaches_everything_and_shows_where_it_is(opened):
    seen = []
    for _ in range(60):
        opened.press("TAB")
        seen.append(
            opened.run(
                """const own = document.activeElement;
                const list = own.getAttribute("role") === "listbox";
                const style = getComputedStyle(own);
                return [list ? "list" : own.tagName, style.outlineStyle, own.textContent]"""
            )
        )
        if seen[-1][0] == "BODY":
            break
    kinds = [kind for kind, *_ in seen]
    assert kinds[0] == "A"  # past everything, to the results
    assert kinds.count("BUTTON") >= 6 and kinds.count("SELECT") == 4
    assert {"list", "SUMMARY", "AUDIO"} <= set(kinds)
    # a player draws the focus of its own parts
    hidden = [
        text for kind, outline, text in seen if outline == "none" and kind not in ("BODY", "AUDIO")
    ]
    assert hidden == []


def test_style_within_a_figure_is_drawn(opened):
    image = opened.driver.find_element("css selector", ".figures img")
    wait_for(opened, "document.querySelector('.figures img').decode().then(() => true)")
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(image.screenshot_as_png))[..., :3]
    assert (np.abs(pixels - [1, 0, 0]).max(axis=-1) < 0.02).mean() > 0.2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_fits_the_screen_in_both_schemes(opened, width, scheme):
    opened.show(width, scheme=scheme)
    opened.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert opened.run("return document.documentElement.scrollWidth") <= width
    beyond = opened.run(
        """return [...document.querySelectorAll("body *")].filter((e) =>
        !e.closest(".scroll, .hidden, .skip, svg, .confusion *, .confusions button *") &&
        e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    light = (
        opened.run("return getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
    )
    assert light == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(opened, scheme):
    opened.show(1200, scheme=scheme)
    faint = opened.run(
        """const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const luminance = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
          return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        };
        const ground = (e) => {
          for (; e; e = e.parentElement) {
            const own = getComputedStyle(e).backgroundColor;
            if (own !== "rgba(0, 0, 0, 0)") return luminance(own);
          }
          return 1;
        };
        const found = [];
        for (const e of document.querySelectorAll("body *")) {
          if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
          if (e.closest("script, .hidden, .figures, option")) continue;
          const style = getComputedStyle(e);
          const ink = luminance(e instanceof SVGElement ? style.fill : style.color);
          const [a, b] = [ink, ground(e)].sort((x, y) => y - x);
          const ratio = (a + 0.05) / (b + 0.05);
          if (ratio < 4.5) found.push([ratio, e.outerHTML.slice(0, 80)]);
        }
        return found"""
    )
    assert faint == []  # 4.5 is what WCAG 2 asks of small text


def test_long_and_foreign_labels_fit_a_phone(chromium, store):
    names = ["雀の声", "صوت العصفور", "a label of two hundred characters " * 6, "x" * 200, NASTY]
    store.clips("strange", np.arange(20) % 5, names)
    scores = np.eye(5)[(np.arange(20) + 1) % 5] * 0.6 + 0.08
    store.run("strange", "n" * 150, scores, provenance=["p" * 150], title="t" * 150)
    chromium.get_log("browser")
    page = Opened(chromium, store.write().path)
    page.show(360)
    page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.run("return document.documentElement.scrollWidth") <= 360
    assert page.texts(".clip h4") and page.driver.title != "broken"
    assert chromium.get_log("browser") == []


def test_numbers_instead_of_classes(chromium, store):
    targets = np.random.default_rng(0).normal(size=(60, 2))
    store.clips("mood", targets, ["valence", "arousal"], target="regression")
    store.run("mood", "e", targets + np.linspace(0, 1, 60)[:, None], metric="r2")
    chromium.get_log("browser")
    page = Opened(chromium, store.write().path)
    assert len(page.texts("[role=option]")) == 6
    assert page.texts("[role=option] .id")[0] == "mood-059"
    assert "valence" in page.texts(".clip ol")[0]
    page.show(360)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    assert chromium.get_log("browser") == []


def test_a_run_without_errors_is_not_the_first_that_is_shown(chromium, store):
    targets = np.arange(40) % 4
    store.clips("birds", targets, list("abcd"), folds=2)
    for name, wrong in (("perfect", 0), ("flawed", 3)):
        store.run("birds", name, np.eye(4)[(targets + (np.arange(40) < wrong)) % 4])
    page = Opened(chromium, store.write().path)
    run = "return document.querySelector('[data-filter=run]').selectedOptions[0].text"
    assert page.run(run) == "flawed"
    assert page.texts(".count") == ["3 of 40 clips are wrong (7.5 %)."]
    page.choose("run", 0)
    assert page.texts(".count") == ["0 of 40 clips are wrong (0.0 %)."]
    assert page.run(HIDDEN) == [True, True, True]


def test_several_labels_show_what_was_missed_and_what_was_said_instead(chromium, store):
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 1]] * 3)
    scores = np.tile([0.9, 0.2, 0.8, 0.7], (6, 1))
    store.clips("tags", targets, ["drums", "bass", "voice", "piano"], target="multi")
    store.run("tags", "e", scores, metric="f1-samples")
    page = Opened(chromium, store.write().path)
    assert sorted(set(page.texts("[role=option] .confusion"))) == ["bass→voice", "piano→voice"]
    assert page.texts(".confusions button") == ["bass → voice ×3", "piano → voice ×3"]
    facts = page.texts(".clip dd")
    assert facts[0] in ("drums, bass", "drums, piano") and facts[1] == "drums, voice"


def test_many_clips_come_as_the_list_is_scrolled(chromium, store):
    store.clips("many", np.arange(500) % 5, list("abcde"))
    store.run("many", "e", np.eye(5)[(np.arange(500) + 1) % 5] * np.linspace(0.5, 1, 500)[:, None])
    page = Opened(chromium, store.write().path)
    assert len(page.texts("[role=option]")) == 100
    page.run("document.querySelector('[role=listbox]').scrollTop = 1e6")
    wait_for(page, "document.querySelectorAll('[role=option]').length > 100")
    page.run("document.querySelector('[role=listbox]').focus()")
    page.press("END")
    assert page.texts(".clip h4") == ["many-000"]  # the least sure of all
