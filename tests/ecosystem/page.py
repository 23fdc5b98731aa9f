"""Opens report.html in Chromium, as a person would: table, charts, filters, search, keyboard, phone, dark, no network.

    page.py DUET [SCREENSHOT.png]

The samples are made here, with texts that pages break on. Skips, visibly, without Chromium and its driver.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

NASTY = ["</script><script>document.title='owned'</script>", "<img src=x onerror=\"document.title='owned'\">", "a\u2028b\u2029c & < >", "\\boxed{\\frac{1}{2}} \U0001f986 \u4f60\u597d",
         "tab\there\nline", "{{{{" * 50]


def samples():
    """1,200 samples of two modes on two sets; which are right, cut or silent is known."""
    for data in ("one.jsonl", "two.jsonl"):
        for mode in ("M", "duet"):
            for i in range(300):
                right, silent, cut = i % 3 != 0, i % 50 == 7, i % 40 == 5
                boxed = f"\\boxed{{{i if right else i + 1}}}"
                answer = "" if silent else NASTY[i % len(NASTY)] + (f" so the answer is {i}." if i % 25 == 1 else " " + boxed)
                yield {"data": data, "mode": mode, "variant": "", "id": f"q{i}", "repeat": 0, "key": i, "seed_M": 0, "seed_m": 0,
                       "question": None if i == 3 else f"What is {i}? needle{i}x", "truth": str(i), "style": "boxed", "signal": NASTY[(i + 1) % len(NASTY)] * (1 + i % 9), "answer": answer,
                       "score": 0, "handoff": "end", "signal_status": "closed", "truncated": cut, "M_tokens": (60 if mode == "M" else 20) + i % 37, "m_tokens": 0 if mode == "M" else 5,
                       "m_prompt_tokens": 9, "strict": {"extraction": None, "right": False}, "lenient": {"extraction": None, "right": False}}


def make(duet, folder):
    with open(f"{folder}/samples.jsonl", "w", encoding="utf-8") as f:
        for s in samples():
            f.write(json.dumps(s, ensure_ascii=False) + "\n")
    head = {"settings": {"M": "models/M", "m": "models/m", "grader": "exact"}, "fingerprint": {"duet": "test"},
            "sets": [{"data": "one.jsonl", "questions": 300, "instructions": ["\n\nPut it in a box."], "n_faults": 1, "faults": ["one.jsonl: line 9 lacks question or answer"]}]}
    with open(f"{folder}/results.json", "w", encoding="utf-8") as f:
        json.dump(head, f)
    subprocess.run([duet, "eval", "--rescore", folder], check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in open(f"{folder}/samples.jsonl", encoding="utf-8")]
    return rows, json.load(open(f"{folder}/results.json", encoding="utf-8"))


class Page:
    def __init__(self, browser, url):
        self.b, self.url = browser, url
        self.checks = 0

    def js(self, code, *arguments):
        return self.b.execute_script(code, *arguments)

    def same(self, got, want, what):
        self.checks += 1
        if got != want:
            sys.exit(f"page: {what}: {got!r}, wanted {want!r}")

    def found(self):
        from selenium.webdriver.support.ui import WebDriverWait
        WebDriverWait(self.b, 20).until(lambda b: "searching" not in b.find_element("id", "found").text)
        return int(self.b.find_element("id", "found").text.split()[0].replace(",", ""))

    def filter(self, **wanted):
        """Sets the form's fields, as choosing and typing would, and gives how many samples are left."""
        self.js("""const f = document.getElementById('filters').elements, w = arguments[0];
            for (const k of ['data', 'mode', 'verdict', 'order', 'q']) f[k].value = w[k] || '';
            for (const k of ['disputed', 'silent', 'cut']) f[k].checked = !!w[k];
            f.q.dispatchEvent(new Event('change', {bubbles: true}));""", wanted)
        return self.found()


def check(page, rows, results):
    from selenium.webdriver.common.keys import Keys
    b, js, same = page.b, page.js, page.same
    b.get(page.url)
    same(js("return document.querySelectorAll('#table tbody tr:not(.group)').length"), len(results["rows"]), "rows of the table")
    for i, r in enumerate(results["rows"]):
        shown = js("return document.querySelectorAll('#table tbody tr:not(.group)')[arguments[0]].children[1].firstChild.textContent", i)
        same(shown, f"{100 * r['avg@k']['value']:.1f} %", f"accuracy of row {i}")
    same(js("return document.querySelectorAll('#frontier svg').length"), 2, "charts of accuracy")
    same(js("return document.querySelectorAll('#frontier circle').length"), 4, "points in them")
    bars = js("return [...document.querySelectorAll('#histogram rect title')].map(t => Number(t.textContent.match(/: (\\d+)/)[1])).reduce((a, b) => a + b, 0)")
    same(bars, 300, "samples in the histogram")
    same(js("return document.querySelector('#problems').textContent.includes('line 9 lacks question')"), True, "problems")

    wrong = lambda r: r["score"] == 0
    same(page.filter(), len(rows), "all samples")
    same(page.filter(verdict="wrong"), sum(map(wrong, rows)), "wrong samples")
    same(page.filter(data="two.jsonl", mode="pair", verdict="right"), sum(not wrong(r) and r["data"] == "two.jsonl" and r["mode"] == "duet" for r in rows), "right ones of the pair on one set")
    same(page.filter(disputed=True), sum(r["strict"]["right"] != r["lenient"]["right"] for r in rows), "disputed samples")
    same(page.filter(silent=True), sum(not r["answer"] for r in rows), "silent samples")
    same(page.filter(cut=True, mode="M end to end"), sum(r["truncated"] and r["mode"] == "M" for r in rows), "cut samples")
    same(page.filter(q="needle42x"), 4, "samples with a text")
    same(page.filter(q="no such text"), 0, "samples with another")

    for i in range(len(NASTY)):  # every text as it is
        page.filter(q=f"needle{i + 60}x", data="one.jsonl", mode="pair")
        js("document.querySelector('details.sample').open = true")
        want = next(r for r in rows if r["id"] == f"q{i + 60}" and r["mode"] == "duet")
        b.implicitly_wait(5)
        b.find_element("css selector", "details.sample .body pre")
        texts = js("return [...document.querySelectorAll('details.sample .body pre')].map(p => p.textContent)")
        same(texts, [want["question"], want["signal"], want["answer"]] if want["answer"] else [want["question"], want["signal"]], f"texts of sample {i}")
    same(js("return document.querySelectorAll('main script, main img').length"), 0, "tags made of texts")
    same("owned" in b.title, False, "a text ran")
    page.filter(q="q3", data="one.jsonl", mode="pair", order="long")
    js("for (const d of document.querySelectorAll('details.sample')) d.open = true")
    same(js("return new Promise(r => setTimeout(() => r(document.body.textContent.includes('its owner asks')), 200))"), True, "a hidden question")

    b.get("about:blank")  # keys
    b.get(page.url)
    body = b.find_element("tag name", "body")
    body.send_keys("j")
    first = js("return document.activeElement.closest('details').dataset.i")
    b.switch_to.active_element.send_keys("j")
    same(js("return document.activeElement.closest('details').dataset.i") != first, True, "j goes on")
    b.switch_to.active_element.send_keys("k")
    same(js("return document.activeElement.closest('details').dataset.i"), first, "k goes back")
    b.switch_to.active_element.send_keys(Keys.ENTER)
    same(js("return document.activeElement.closest('details').open"), True, "Enter opens")
    b.switch_to.active_element.send_keys("n")
    same(b.find_element("id", "where").text.split()[1], "2", "n turns the page")
    b.switch_to.active_element.send_keys("/")
    same(js("return document.activeElement.name"), "q", "/ searches")
    b.switch_to.active_element.send_keys("needle9x" + Keys.ENTER)
    same(page.found(), 4, "typed search")
    address = b.current_url
    b.get("about:blank")
    b.get(address)
    same(page.found(), 4, "the address keeps the view")

    light = js("return getComputedStyle(document.body).backgroundColor")
    b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    dark = js("return getComputedStyle(document.body).backgroundColor")
    same(light != dark, True, "dark")
    b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]})
    b.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True})
    b.get("about:blank")
    b.get(page.url)
    same(js("return document.documentElement.scrollWidth <= 360"), True, f"fits a phone ({js('return document.documentElement.scrollWidth')} wide)")
    b.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    same(js("return performance.getEntriesByType('resource').length"), 0, "loads of anything")
    same([e for e in b.get_log("browser") if e["level"] == "SEVERE"], [], "errors in the console")


def chromium(name, size):
    """A browser without a window, driven; None, said aloud, where there is none."""
    found, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not found or not driver:
        print(f"skipped: {name}: no chromium with chromedriver; Debian: apt-get install chromium chromium-driver")
        return None
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={size}", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def main():
    duet, picture = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    browser = chromium("page", "1200,1500")
    if not browser:
        return
    folder = tempfile.mkdtemp()
    try:
        rows, results = make(duet, folder)
        page = Page(browser, f"file://{folder}/report.html")
        check(page, rows, results)
        if picture:
            browser.set_window_size(1200, 1500)
            browser.get("about:blank")
            browser.get(page.url)
            browser.save_screenshot(picture)
        print(f"page: report.html in Chromium: {page.checks} checks")
    finally:
        browser.quit()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
