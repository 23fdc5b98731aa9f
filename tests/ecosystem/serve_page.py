"""Uses the page of `duet serve` in Chromium, as a person would: ask, watch, stop, budget, hand over, history, key, phone, dark.

    serve_page.py DUET [SCREENSHOT.png]

The models are those in models/. They are fast, so a proxy stands between browser and server: it slows streams down, plays
answers of its own (cut anywhere, wrong, hostile), and notes what was asked. Skips, visibly, without Chromium and its driver.
"""
import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
import time

from page import Page, chromium

QUESTION = "c? c=d+1 d=e-3 a=6 e=a+4"
NASTY = "caf\u00e9 \U0001f986 \u4f60\u597d <img src=x onerror=\"document.title='owned'\"></script>&amp;\n\ttab \u2028 \"quoted\" \\frac{1}{2}"


class Serve:
    """A duet serve on a free port."""

    def __init__(self, duet, *options, env=None):
        self.p = subprocess.Popen([duet, "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        for line in self.p.stderr:
            if "listening on" in line:
                self.port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
                break
        else:
            sys.exit("serve_page: duet serve did not start")

    def end(self):
        self.p.terminate()
        self.p.wait(20)


class Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), Way)
        self.behind = port
        self.pace = 0.0    # seconds for each 40 bytes of a stream
        self.script = None # bodies for the next questions instead: a function of the handler
        self.props = None  # instead of the server's
        self.asked, self.ends, self.verbs, self.left = [], {}, [], 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # browsers leave; that is what is tested


class Way(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **more):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def say(self, data, step=None):
        """A piece of a stream, in writes of `step` bytes."""
        for at in range(0, len(data), step or len(data)):
            self.wfile.write(data[at:at + (step or len(data))])
            self.wfile.flush()
            if step:
                time.sleep(0.001)

    def begin(self, answer="chatcmpl-test"):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Duet-Answer", answer)
        self.end_headers()

    def forward(self, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        keep = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "authorization", "if-none-match")}
        c.request(self.command, self.path, body, keep)
        r = c.getresponse()
        self.send_response(r.status)
        for k, v in r.getheaders():
            if k.lower() not in ("connection", "transfer-encoding"):
                self.send_header(k, v)
        self.end_headers()
        seen = b""
        try:
            while piece := r.read(40) if self.server.pace else r.read():
                self.wfile.write(piece)
                seen += piece
                time.sleep(self.server.pace)
        except OSError:
            self.server.left += 1
        c.close()
        return seen

    def do_GET(self):
        if self.path == "/props" and self.server.props is not None:
            self.answer(200, json.dumps(self.server.props).encode())
        elif self.server.behind:
            self.forward()
        else:
            self.answer(200, b'{"object":"list","data":[{"id":"far","object":"model"}]}')

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/v1/answers/"):
            self.server.verbs.append(self.path)
            if self.server.script:
                self.answer(200, b"{}")
                return
        else:
            self.server.asked.append(json.loads(body))
            if self.server.script:
                try:
                    self.server.script(self)
                except OSError:
                    self.server.left += 1
                return
        seen = self.forward(body)
        for event in seen.decode("utf-8", "replace").split("\n\n"):
            if event.startswith("data: {") and '"duet":{' in event:
                self.server.ends[json.loads(body)["model"]] = json.loads(event[6:])["duet"]


def chunk(**delta):
    return ("data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, ensure_ascii=False) + "\n\n").encode()


class Desk(Page):
    """The page, and what a person does with it."""

    def wait(self, what, code, *arguments, seconds=40):
        self.checks += 1
        end = time.time() + seconds
        while time.time() < end:
            got = self.js(code, *arguments)
            if got:
                return got
            time.sleep(0.02)
        sys.exit(f"serve_page: {what}: not within {seconds} s; the page says: {self.js('return document.body.innerText')!r}")

    def open(self):
        self.b.get("about:blank")
        self.b.get(self.url)
        self.wait("the models are there", "return /^[Mm]/.test(document.getElementById('models').textContent)")

    def ask(self, text, beside=True):
        from selenium.webdriver.common.keys import Keys
        self.js("const b = document.getElementById('beside'); if (b.checked !== arguments[0]) b.click()", beside)
        box = self.b.find_element("id", "question")
        self.js("arguments[0].value = ''", box)
        box.send_keys(text)
        box.send_keys(Keys.CONTROL, Keys.ENTER)

    def lane(self, model="duet"):
        return self.js("""const l = document.querySelector(`.lane[data-model="${arguments[0]}"]`);
            if (!l) return null;
            const t = s => l.querySelector(s).textContent;
            return {signal: t('.signal .text'), answer: t('.answer .text'), state: t('.state'), fault: t('.fault'), why: t('.why'), busy: l.querySelector('.state').classList.contains('busy'),
                    rows: [...l.querySelectorAll('.ledger tbody tr')].map(r => [...r.children].map(c => c.firstChild ? c.firstChild.textContent : ''))};""", model)

    def ended(self, model="duet"):
        self.wait("the answer ends", "const s = document.querySelector(`.lane[data-model=\"${arguments[0]}\"] .state`); return s && !s.classList.contains('busy')", model)
        self.wait("all answers end", "return document.getElementById('stop').disabled")
        return self.lane(model)

    def budget(self, key):
        self.b.find_element("id", "budget").send_keys(key)

    def severe(self):
        return [e["message"] for e in self.b.get_log("browser") if e["level"] == "SEVERE" and "/props" not in e["message"]]


def watch(d, proxy):
    """Two answers at once, seen while they come, and counted as the server counts."""
    d.open()
    d.same(d.severe(), [], "errors while it loads")
    d.same(d.js("return document.activeElement.id"), "question", "where typing goes")
    d.same(d.js("return document.getElementById('go').disabled"), True, "asking nothing")
    proxy.pace = 0.03
    d.ask(QUESTION)
    for model in ("duet", "duet-M"):
        d.wait(f"a signal begins ({model})", "const l = document.querySelector(`.lane[data-model=\"${arguments[0]}\"]`); return l && l.querySelector('.signal .text').textContent && l.querySelector('.state').classList.contains('busy')", model)
    early = d.lane()
    d.same(early["answer"], "", "the answer before the signal's end")
    d.same(early["rows"][0][2].startswith("~"), True, "a count that runs")
    d.same(d.js("return document.getElementById('go').disabled"), True, "asking twice at once")
    pair, alone = d.ended(), d.lane("duet-M")
    d.same(pair["signal"].startswith(early["signal"]) and len(pair["signal"]) > len(early["signal"]), True, "the signal grows")
    d.same(bool(pair["answer"]) and bool(alone["answer"]) and bool(alone["signal"]), True, "both answer")
    d.same([r[:3] for r in pair["rows"]], [[s, str(proxy.ends["duet"][s]["prompt_tokens"]), str(proxy.ends["duet"][s]["output_tokens"])] for s in "Mm"], "the ledger of the pair")
    d.same(alone["rows"][0][2], str(proxy.ends["duet-M"]["M"]["output_tokens"]), "the ledger of M alone")
    d.same([abs(float(r[4]) / proxy.ends["duet"][r[0]]["cost"] - 1) < 0.01 for r in pair["rows"]], [True, True], f"costs: {pair['rows']}")
    d.same(f"{proxy.ends['duet']['M']['output_tokens']} tokens of M instead of {proxy.ends['duet-M']['M']['output_tokens']}" in d.js("return document.getElementById('compare').textContent"), True, "the comparison")
    colours = d.js("return ['.signal', '.answer'].map(s => getComputedStyle(document.querySelector('.lane ' + s)).borderLeftColor)")
    d.same(colours[0] != colours[1], True, "colours of M and m")
    d.same({a["model"] for a in proxy.asked}, {"duet", "duet-M"}, "models asked")
    proxy.pace = 0.0


def stop(d, proxy):
    from selenium.webdriver.common.keys import Keys
    for how in ("key", "button"):
        proxy.pace, before = 0.2, proxy.left + len(proxy.verbs)
        d.ask("b? b=a+1 a=2", beside=False)
        d.wait("a signal begins", "const t = document.querySelector('.lane .signal .text'); return t && t.textContent")
        if how == "key":
            d.b.switch_to.active_element.send_keys(Keys.ESCAPE)
        else:
            d.b.find_element("id", "stop").click()
        begun = time.time()
        lane = d.ended()
        d.same(lane["state"].startswith("stopped") and time.time() - begun < 3, True, f"stopped by {how}: {lane['state']}")
        d.same(bool(lane["signal"]), True, "what came before the stop stays")
        d.same(d.js("return document.querySelectorAll('.lane').length"), 1, "the pair without M beside it")
        end = time.time() + 5
        while time.time() < end and proxy.left + len(proxy.verbs) == before:
            time.sleep(0.05)
        d.same(proxy.left + len(proxy.verbs) > before, True, "the server hears of it")
        proxy.pace = 0.0


def budgets(d, proxy):
    from selenium.webdriver.common.keys import Keys
    d.budget(Keys.HOME)
    d.same(d.js("return document.getElementById('budget-text').textContent").startswith("none"), True, "the slider at 0")
    d.ask(QUESTION, beside=False)
    lane = d.ended()
    d.same((lane["signal"], lane["rows"][0][2]), ("no signal", "0"), "no budget, no signal")
    d.same(proxy.asked[-1]["thinking_budget"], 0, "the budget asked for")
    d.budget(Keys.ARROW_RIGHT)
    d.ask(QUESTION, beside=False)
    lane = d.ended()
    d.same((proxy.asked[-1]["thinking_budget"], lane["rows"][0][2]), (4, "4"), "a budget of 4")
    d.same("budget ended" in lane["why"], True, f"why the signal ended: {lane['why']}")
    d.budget(Keys.END)
    d.ask(QUESTION, beside=False)
    d.ended()
    d.same("thinking_budget" in proxy.asked[-1], False, "the server's own budget")


def history(d):
    n = len(d.b.find_elements("css selector", "#history li"))
    d.same(n, 6, "questions kept")
    before, first = d.lane(), d.js("return document.querySelectorAll('#history .open span')[5].textContent")
    d.same(first, QUESTION, "the oldest")
    d.open()
    d.same(len(d.b.find_elements("css selector", "#history li")), n, "questions kept after a reload")
    d.same(d.lane()["answer"], before["answer"], "the last answer after a reload")
    d.b.find_elements("css selector", "#history .open")[5].click()
    d.same([bool(d.lane(m)["answer"]) for m in ("duet", "duet-M")], [True, True], "an old answer, with M beside it")
    d.same(d.js("return document.getElementById('question').value"), QUESTION, "its question")
    d.b.find_elements("css selector", "#history .drop")[1].click()
    d.same(len(d.b.find_elements("css selector", "#history li")), n - 1, "one forgotten")
    d.js("const k = 'duet.history', h = JSON.parse(localStorage[k]); localStorage[k] = JSON.stringify([null, {id: 1}, {id: 2, question: 'x', lanes: [null]}, ...h, 7])")
    d.open()
    d.same(len(d.b.find_elements("css selector", "#history li")), n - 1, "what others left there")
    d.severe()  # stops that came after the server's end of an answer: 404, rightly
    for rubbish in ("{not json", "null", '{"a":1}'):
        d.js("localStorage.kept ??= localStorage['duet.history']; localStorage['duet.history'] = arguments[0]; localStorage['duet.budget'] = arguments[0]", rubbish)
        d.open()
        d.same(len(d.b.find_elements("css selector", "#history li")), 0, f"a history of {rubbish}")
        d.same(d.severe(), [], f"errors with {rubbish}")
    d.js("localStorage['duet.history'] = localStorage.kept; delete localStorage.kept; delete localStorage['duet.budget']")


def hostile(d, proxy):
    """Answers that servers and networks give at their worst."""
    def whole(h):
        h.begin()
        h.say(b": a comment\r\n\r\n" + chunk(role="assistant", content="") + chunk(reasoning_content=NASTY) + chunk(content=NASTY) + b"data: [DONE]\n\n", step=1)
    def cut(h):
        h.begin()
        h.say(chunk(reasoning_content="half a th") + chunk(reasoning_content="ought")[:30])
    def fault(h):
        h.begin()
        h.say(chunk(reasoning_content="then") + b'data: {"error":{"message":"M: the disk is on fire","type":"server_error"}}\n\n')
    def garbage(h):
        h.begin()
        h.say(b"data: {not json\n\n")
    def full(h):
        h.answer(429, b'{"error":{"message":"the queue is full","code":"queue_full"}}', Retry_After="7")
    def html(h):
        h.answer(502, b"<html>bad gateway</html>", "text/html")
    for script, wanted in ((whole, ""), (cut, "The connection was lost before the answer ended."), (fault, "M: the disk is on fire."), (garbage, "cannot be read"),
                           (full, "the queue is full. Try again in 7 s."), (html, "the server answers 502")):
        proxy.script = script
        d.ask("q", beside=False)
        lane = d.ended()
        d.same(wanted in lane["fault"] and bool(wanted) == bool(lane["fault"]), True, f"{script.__name__}: {lane['fault']!r}")
        if script is whole:
            d.same((lane["signal"], lane["answer"]), (NASTY, NASTY), "every character, whatever the pieces")
        if script is cut:
            d.same(lane["signal"], "half a th", "what came before the cut")
    proxy.script = None
    d.same("owned" in d.b.title, False, "a text ran")
    d.same(d.js("return document.querySelectorAll('main img, main script').length"), 0, "tags made of texts")
    d.severe()  # the statuses above are in the console, rightly


def hand_over(d, proxy):
    asked = threading.Event()
    def waits(h):
        h.begin("chatcmpl-7")
        h.say(chunk(reasoning_content="thinking"))
        for _ in range(200):
            if h.server.verbs:
                break
            h.say(b": wait\n\n")
            time.sleep(0.05)
        asked.set()
        h.say(chunk(content="over") + b"data: [DONE]\n\n")
    proxy.props, proxy.script = {"M": {"name": "big", "ctx": 4096}, "m": {"name": "small"}, "signal_budget": 128, "hand_over": True}, waits
    proxy.verbs.clear()
    d.open()
    d.same(d.js("return document.getElementById('models').textContent"), "M big · m small", "names of the models")
    button = d.b.find_element("id", "hand-over")
    d.same((button.is_displayed(), button.is_enabled()), (True, False), "the button before a signal")
    d.ask("q", beside=False)
    d.wait("the button wakes", "return !document.getElementById('hand-over').disabled")
    button.click()
    lane = d.ended()
    d.same((proxy.verbs, lane["answer"], asked.is_set()), (["/v1/answers/chatcmpl-7/hand_over"], "over", True), "handed over")
    proxy.script, proxy.props = None, {"signal_budget": 128, "hand_over": False}
    d.open()
    d.same(d.b.find_element("id", "hand-over").is_displayed(), False, "the button where nothing hands over")
    proxy.props = None


def slow_M(d, duet):
    """A duet serve whose M is far away and slow: what the buttons say reaches it, and the ledger still comes."""
    def thinks(h):
        h.begin()
        for _ in range(400):
            h.say(chunk(reasoning_content="on and "))
            time.sleep(0.05)
    far = Proxy(0)
    far.script = thinks
    server, url = Serve(duet, "-M", f"{far.url}v1#far", "-m", "models/register-m"), d.url
    try:
        d.url = f"http://127.0.0.1:{server.port}/"
        d.open()
        for button, wanted in (("hand-over", "s"), ("stop", "stopped")):
            d.ask(QUESTION, beside=False)
            d.wait("M's signal comes from afar", "const l = document.querySelector('.lane .signal .text'); return l && l.textContent.startsWith('on and on')")
            d.b.find_element("id", button).click()
            lane = d.ended()
            d.same((wanted in lane["state"], lane["fault"]), (True, ""), f"{button}: {lane['state']}")
            d.same(lane["signal"].startswith("on and on") and len(lane["signal"]) < 2000, True, "the signal until then")
            d.same(len(lane["rows"]), 2, "the ledger's rows")
            d.same(any("~" == r[2][:1] and r[1] == "" for r in lane["rows"]), False, f"the server's own counts: {lane['rows']}")
            d.same(button == "hand-over" and "on request" not in lane["why"], False, f"why: {lane['why']}")
            d.same(bool(lane["answer"]), button == "hand-over", "an answer of m")
    finally:
        server.end()
        d.url = url


def looks(d):
    def contrast(selector, prop="color"):
        return d.js("""const rgb = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const lum = c => rgb(c).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
            const e = document.querySelector(arguments[0]), s = getComputedStyle(e);
            const a = lum(s.color), b = lum(getComputedStyle(e.closest('.said')).backgroundColor);
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);""", selector)
    paper = lambda: d.js("return getComputedStyle(document.body).backgroundColor")
    d.open()
    seen = {}
    for theme in ("light", "dark"):
        d.b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        seen[theme] = paper()
        for part in (".signal .text", ".signal h4", ".answer .text", ".answer h4"):
            d.same(contrast(".lane " + part) >= 4.5, True, f"contrast of {part}, {theme}: {contrast('.lane ' + part):.2f}")
    d.same(seen["light"] != seen["dark"], True, "dark")
    d.b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]})
    for wanted in ("light", "dark", "light"):
        while wanted not in d.js("return document.getElementById('theme').textContent"):
            d.b.find_element("id", "theme").click()
        d.same(paper(), seen[wanted], f"theme {wanted}")
    from selenium.webdriver.common.keys import Keys
    for _ in range(4):  # the keyboard's place is seen
        d.b.switch_to.active_element.send_keys(Keys.TAB)
        d.same(d.js("return getComputedStyle(document.activeElement).outlineStyle"), "solid", "focus of " + d.js("return document.activeElement.id || document.activeElement.className"))
    d.b.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    d.open()
    d.ask("w" * 300, beside=True)
    d.ended()
    d.same(d.js("return document.documentElement.scrollWidth"), 390, "the width on a phone")
    d.same(d.js("return [...document.querySelectorAll('.buttons button')].filter(b => b.offsetHeight && b.offsetHeight < 40).length"), 0, "buttons too small for fingers")
    d.b.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    origins = d.js("return [...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]")
    d.same(origins, [d.url.rstrip("/")], "where things are loaded from")
    d.same(d.severe(), [], "errors in the console")


def keys(d, duet, models):
    server = Serve(duet, *models, "--api-key-env", "PAGE_KEY", env={"PAGE_KEY": "let me in"})
    try:
        d.url = f"http://127.0.0.1:{server.port}/"
        d.b.get(d.url)
        for word, wanted in (("wrong", False), ("let me in", True)):
            d.wait("a key is asked for", "return !document.getElementById('key').hidden")
            d.b.find_element("id", "key-text").send_keys(word)
            d.b.find_element("css selector", "#key button").click()
            if not wanted:
                d.wait("a wrong key is named", "return document.getElementById('note').textContent === 'The API key is wrong.'")
        d.wait("the right key opens", "return document.getElementById('key').hidden && /^[Mm]/.test(document.getElementById('models').textContent)")
        d.ask(QUESTION)
        d.same(bool(d.ended()["answer"]), True, "an answer with the key")
        d.same(d.js("return JSON.stringify(localStorage).includes('let me in')"), False, "the key kept for good")
    finally:
        server.end()
    d.ask(QUESTION)
    d.same(d.ended()["fault"], "The server cannot be reached.", "a server that is gone")
    server = Serve(duet, *models[2:])
    try:
        d.url = f"http://127.0.0.1:{server.port}/"
        d.open()
        d.ask(QUESTION)
        d.same((bool(d.ended("duet-m")["answer"]), d.lane()), (True, None), "m alone, where there is no M")
    finally:
        server.end()


def picture(d, proxy, path):
    d.b.set_window_size(1240, 910)
    d.open()
    d.b.execute_script("localStorage.clear()")
    d.open()
    for question in ("b? b=a+1 a=2", "d? a=5 b=a-2 c=b+6 d=c+c e=a+1", "h? g=f-2 f=e+5 h=g+1 e=d-6 d=c+3 c=b+2 b=a-4 a=3 k=a+6"):
        d.ask(question)
        d.ended()
    d.js("document.activeElement.blur()")
    time.sleep(0.3)
    d.b.save_screenshot(path)


def main():
    duet, shot = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    browser = chromium("serve_page", "1240,1000")
    if not browser:
        return
    models = ["-M", "models/register-M", "-m", "models/register-m"]
    server = Serve(duet, *models, "--price-M", "10", "--price-m", "0.4")
    try:
        proxy = Proxy(server.port)
        d = Desk(browser, proxy.url)
        watch(d, proxy)
        stop(d, proxy)
        budgets(d, proxy)
        history(d)
        hostile(d, proxy)
        hand_over(d, proxy)
        slow_M(d, duet)
        looks(d)
        keys(d, duet, models)
        if shot:
            d.url = proxy.url
            picture(d, proxy, shot)
        print(f"serve_page: the page of duet serve in Chromium: {d.checks} checks")
    finally:
        browser.quit()
        server.end()


if __name__ == "__main__":
    main()
