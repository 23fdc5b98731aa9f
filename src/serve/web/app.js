// The page of duet serve. It asks as any client does, POST v1/chat/completions with "stream": true, once for the pair and once
// for M alone; keeps what was said in this browser; and shows no number that the server did not give, but for "~" counts
// while a text is on its way (a chunk is a token, or a few that only together are text).
'use strict';

const $ = id => document.getElementById(id);
const KEEP = 60; // questions of the history

// ---- what the browser keeps ----

const kept = {
  get(store, name, other) {
    try { return JSON.parse(store().getItem(name)) ?? other; } catch { return other; }
  },
  put(store, name, value) {
    try { store().setItem(name, JSON.stringify(value)); return true; } catch { return false; }
  },
};
const local = () => localStorage, tab = () => sessionStorage;

// ---- state ----

const server = {models: [], budget: 8192, names: {}, handOver: false, ready: false};
let key = kept.get(tab, 'duet.key', '');
let history_ = [];
let shown = null;   // the run on the page: {id, at, question, budget, lanes}
let running = [];   // its lanes that still stream
let views = [];     // what shows each lane
let steps = [];     // budgets of the slider; null = the server's own
let retry = null;   // what to do again once there is a key

// ---- talking to the server ----

class Said extends Error {} // a sentence for people

function headers() {
  return {'Content-Type': 'application/json', ...(key ? {Authorization: `Bearer ${key}`} : {})};
}

async function request(path, options = {}) {
  let r;
  try {
    r = await fetch(path, {headers: headers(), cache: 'no-store', ...options});
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Said('The server cannot be reached.');
  }
  if (r.ok) return r;
  let error = {};
  try { error = (await r.json()).error ?? {}; } catch { /* not from duet: the status has to do */ }
  const after = r.headers.get('Retry-After');
  const said = new Said(sentence(error.message ?? `the server answers ${r.status} ${r.statusText}`) + (r.status === 429 && after ? ` Try again in ${after} s.` : ''));
  said.status = r.status;
  said.code = error.code;
  throw said;
}

function sentence(text) {
  const t = text.trim();
  return /[.!?]$/.test(t) ? t : t + '.';
}

// The data of server-sent events. Bytes may be cut anywhere: inside a character, a line, an event.
async function* events(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = '', data = [];
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (e) {
      if (e.name === 'AbortError') throw e;
      return; // the connection broke: whoever asked sees that the end is missing
    }
    rest += piece.done ? decoder.decode() : decoder.decode(piece.value, {stream: true});
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (line.startsWith('data:')) {
        data.push(line.slice(line[5] === ' ' ? 6 : 5));
      } else if (!line && data.length) {
        yield data.join('\n');
        data = [];
      }
    }
    if (piece.done) return;
  }
}

// ---- one answer ----

function newLane(model) {
  return {model, state: 'waits', signal: '', answer: '', nSignal: 0, nAnswer: 0, seconds: 0, first: null, duet: null, finish: null, fault: null};
}

// Runs to the end of the answer, whatever that is; never throws.
async function stream(run, lane, view) {
  const live = {lane, id: null, abort: new AbortController(), stopping: false};
  const begun = performance.now();
  running.push(live);
  const body = {model: lane.model, stream: true, messages: [{role: 'user', content: run.question}]};
  if (run.budget !== null && lane.model === 'duet') body.thinking_budget = run.budget;
  let whole = false;
  try {
    const r = await request('v1/chat/completions', {method: 'POST', body: JSON.stringify(body), signal: live.abort.signal});
    live.id = r.headers.get('X-Duet-Answer');
    for await (const data of events(r.body)) {
      if (data === '[DONE]') { whole = true; break; }
      hear(lane, JSON.parse(data), (performance.now() - begun) / 1000);
      lane.seconds = (performance.now() - begun) / 1000;
      view.later();
      buttons();
    }
    if (!whole) throw new Said('The connection was lost before the answer ended.');
    lane.state = live.stopping ? 'stopped' : 'done';
  } catch (e) {
    lane.state = e.name === 'AbortError' ? 'stopped' : 'failed';
    if (lane.state === 'failed') lane.fault = e instanceof Said ? e.message : `The server's answer cannot be read: ${e.message}.`;
    if (e.status === 401) askForKey(() => ask(run.question, run.budget));
  }
  lane.seconds = (performance.now() - begun) / 1000;
  running = running.filter(l => l !== live);
  view.now();
}

function hear(lane, chunk, at) {
  if (chunk.error) throw new Said(sentence(chunk.error.message ?? 'the server failed'));
  const choice = chunk.choices?.[0], delta = choice?.delta ?? {};
  const signal = delta.reasoning_content ?? delta.reasoning ?? '', answer = delta.content ?? '';
  if (signal) { lane.signal += signal; lane.nSignal++; lane.state = 'signal'; }
  if (answer) { lane.answer += answer; lane.nAnswer++; lane.state = 'answer'; }
  if ((signal || answer) && lane.first === null) lane.first = at;
  if (choice?.finish_reason) lane.finish = choice.finish_reason;
  if (chunk.duet) lane.duet = chunk.duet;
}

// ---- how a lane looks ----

function speaker(lane) { // of the answer
  return lane.model === 'duet-M' ? 'M' : 'm';
}

const TITLES = {duet: 'M signals, m answers', 'duet-M': 'M alone', 'duet-m': 'm alone'};
const WHY = {end: 'M ended its signal.', budget: 'The budget ended the signal.', eos: 'M ended its turn inside the signal.', empty: 'M left the signal empty.',
  request: 'Handed over on request.', requested: 'Handed over on request.', hand_over: 'Handed over on request.'};

function makeView(lane) {
  const root = $('lane').content.firstElementChild.cloneNode(true), part = s => root.querySelector(s);
  const texts = {signal: part('.signal .text'), answer: part('.answer .text')};
  let waits = false;
  part('h3').textContent = TITLES[lane.model] ?? lane.model;
  root.dataset.model = lane.model;
  part('.answer').classList.add('of-' + speaker(lane));
  part('.signal h4').textContent = 'M: signal';
  part('.answer h4').textContent = speaker(lane) + ': answer';
  part('.signal').hidden = lane.model === 'duet-m';

  // Appends what is new, so that a long answer costs no more than its length; follows the end unless one has scrolled away.
  function write(which) {
    const box = texts[which], old = box.firstChild, text = lane[which], busy = lane.state === which;
    const follows = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    box.classList.toggle('busy', busy);
    const empty = !text && !busy && !['waits', 'signal'].includes(lane.state);
    if (box.classList.toggle('empty', empty))
      box.textContent = which === 'signal' ? 'no signal' : lane.state === 'done' ? 'no answer' : '';
    else if (old && old.data.length && text.startsWith(old.data))
      old.appendData(text.slice(old.data.length));
    else
      box.textContent = text;
    if (follows) box.scrollTop = box.scrollHeight;
  }
  function now() {
    waits = false;
    write('signal');
    write('answer');
    const state = part('.state'), words = stateWords(lane);
    if (state.textContent !== words) state.textContent = words;
    state.classList.toggle('busy', isLive(lane));
    state.classList.toggle('of-M', lane.state === 'signal' || (lane.state === 'answer' && speaker(lane) === 'M'));
    state.classList.toggle('of-m', lane.state === 'answer' && speaker(lane) === 'm');
    const fault = part('.fault');
    fault.hidden = !lane.fault;
    if (fault.textContent !== (lane.fault ?? '')) fault.textContent = lane.fault ?? '';
    ledger(root, lane);
  }
  function later() {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => waits && now());
  }
  now();
  return {root, now, later, lane};
}

function isLive(lane) {
  return ['waits', 'signal', 'answer'].includes(lane.state);
}

function stateWords(lane) {
  const s = lane.seconds.toFixed(lane.seconds < 10 ? 2 : 1) + ' s';
  if (lane.state === 'waits') return 'asked';
  if (lane.state === 'signal') return 'M writes';
  if (lane.state === 'answer') return speaker(lane) + ' answers';
  if (lane.state === 'done') return lane.finish === 'length' ? `cut by its budget, ${s}` : s;
  return lane.state === 'stopped' ? `stopped after ${s}` : `failed after ${s}`;
}

// ---- the ledger ----

const number = new Intl.NumberFormat('en');
const count = n => n === null || n === undefined ? '?' : number.format(n);
const digits = new Intl.NumberFormat('en', {maximumSignificantDigits: 3, useGrouping: false});
const money = x => x === null || x === undefined ? '?' : digits.format(x);
const seconds = x => x === null || x === undefined ? '?' : x < 0.0995 ? x.toFixed(3) : x < 9.95 ? x.toFixed(2) : x.toFixed(1);

function row(name, cells) {
  const tr = document.createElement('tr'), th = document.createElement('th');
  th.scope = 'row';
  th.textContent = name;
  if (name === 'M' || name === 'm') th.className = 'of-' + name;
  tr.append(th);
  for (const [text, small] of cells) {
    const td = document.createElement('td');
    td.textContent = text;
    if (small) {
      const s = document.createElement('small');
      s.textContent = small;
      td.append(s);
    }
    tr.append(td);
  }
  return tr;
}

function sideRow(name, side, priced) {
  const about = side.estimated ? '~' : '';
  const cells = [[about + count(side.prompt_tokens), side.cached_tokens ? `${count(side.cached_tokens)} cached` : ''], [about + count(side.output_tokens)],
    [seconds(side.prefill_s === null || side.decode_s === null ? null : side.prefill_s + side.decode_s)]];
  return row(name, priced ? [...cells, [money(side.cost)]] : cells);
}

function ledger(root, lane) {
  const names = lane.model === 'duet' ? ['M', 'm'] : [speaker(lane)], d = lane.duet, priced = d !== null && d.cost !== null && d.cost !== undefined;
  root.querySelector('.cost').hidden = !priced;
  root.querySelector('.ledger').hidden = lane.state === 'failed' && !lane.nSignal && !lane.nAnswer;
  const wrote = name => (name === 'M' ? lane.nSignal : 0) + (name === speaker(lane) ? lane.nAnswer : 0);
  root.querySelector('tbody').replaceChildren(...names.map(name => d ? sideRow(name, d[name], priced) : row(name, [[''], [wrote(name) ? '~' + count(wrote(name)) : ''], ['']])));
  const words = [];
  if (d && lane.model === 'duet' && WHY[d.handoff] && lane.nSignal) words.push(WHY[d.handoff]);
  if (lane.first !== null && !isLive(lane)) words.push(`First text after ${seconds(lane.first)} s.`);
  if (!d && !isLive(lane) && lane.nSignal + lane.nAnswer) words.push('Counts are of pieces of text: the server told none.');
  root.querySelector('.why').textContent = words.join(' ');
}

function saved(run) { // share of M's tokens that the pair did without, against M alone on the same question; null = unknown
  const ledger = model => run.lanes.find(l => l.model === model && l.state === 'done')?.duet;
  const both = [ledger('duet'), ledger('duet-M')], [pair, alone] = both.map(d => d?.M?.output_tokens), costs = both.map(d => d?.cost ?? null);
  return pair === undefined || pair === null || !alone ? null : {pair, alone, share: 1 - pair / alone, costs: costs.includes(null) ? null : costs};
}

function compare(run) {
  const p = $('compare'), s = saved(run);
  p.replaceChildren();
  if (!s) return;
  const b = document.createElement('b');
  b.textContent = `${count(s.pair)} tokens of M instead of ${count(s.alone)}`;
  const rest = s.share > 0.0005 ? `: the pair saved ${(100 * s.share).toFixed(0)} % of them.` : s.share < -0.0005 ? ': the pair took more.' : ': the same.';
  p.append(b, rest, s.costs ? ` It cost ${money(s.costs[0])} instead of ${money(s.costs[1])}, both models counted.` : '');
}

// ---- the run on the page ----

function show(run) {
  shown = run;
  $('asked').hidden = !run;
  views = run ? run.lanes.map(makeView) : [];
  $('lanes').replaceChildren(...views.map(v => v.root));
  $('asked-text').textContent = run ? run.question : '';
  $('compare').replaceChildren();
  if (run) compare(run);
  listHistory();
}

async function ask(question, budget) {
  if (running.length) return;
  const has = name => server.models.includes(name);
  const models = has('duet') ? ['duet', ...($('beside').checked && has('duet-M') ? ['duet-M'] : [])] : server.models.slice(0, 1);
  const run = {id: Date.now() + '-' + Math.floor(Math.random() * 1e6), at: Date.now(), question, budget, lanes: models.map(newLane)};
  say('');
  show(run);
  const done = Promise.all(run.lanes.map((lane, i) => stream(run, lane, views[i])));
  buttons();
  await done;
  if (!run.lanes.every(l => l.state === 'failed' && !l.signal && !l.answer)) remember(run);
  if (shown === run) compare(run);
  buttons();
}

// On servers that know the way an answer is stopped by a word, so that its ledger still comes; else, or if that takes long, by
// leaving, which they notice as well.
function stop() {
  for (const live of running) {
    live.stopping = true;
    if (live.id && server.handOver) {
      request(`v1/answers/${encodeURIComponent(live.id)}/stop`, {method: 'POST', body: '{}'}).catch(() => live.abort.abort());
      setTimeout(() => live.abort.abort(), 1500);
    } else {
      live.abort.abort();
    }
  }
}

async function handOver() {
  const live = running.find(l => l.lane.model === 'duet' && l.id);
  $('hand-over').disabled = true;
  if (!live) return;
  try {
    await request(`v1/answers/${encodeURIComponent(live.id)}/hand_over`, {method: 'POST', body: '{}'});
  } catch (e) {
    if (e.code === 'not_found') { // a server without it
      server.handOver = false;
      buttons();
    }
    if (isLive(live.lane) && live.lane.state !== 'answer') say(e.message);
  }
}

function buttons() {
  const pair = running.find(l => l.lane.model === 'duet');
  $('stop').disabled = !running.length;
  $('go').disabled = running.length > 0 || !server.ready || !$('question').value.trim();
  $('hand-over').hidden = !server.handOver || !server.models.includes('duet');
  $('hand-over').disabled = !pair || !pair.id || !['waits', 'signal'].includes(pair.lane.state) || pair.lane.nAnswer > 0;
}

// ---- history ----

// Another version of this page may have written it: what does not look as it should is left out.
function readHistory() {
  const sound = l => l && l.model in TITLES && typeof l.signal === 'string' && typeof l.answer === 'string' && typeof l.seconds === 'number';
  const all = kept.get(local, 'duet.history', []);
  history_ = (Array.isArray(all) ? all : []).filter(run => run?.id && typeof run.question === 'string' && Array.isArray(run.lanes) && run.lanes.length && run.lanes.every(sound));
  for (const run of history_) for (const lane of run.lanes) if (isLive(lane)) lane.state = 'stopped'; // the page was closed meanwhile
}

function remember(run) {
  readHistory(); // other tabs add to it as well
  history_ = [run, ...history_.filter(r => r.id !== run.id)].slice(0, KEEP);
  while (!kept.put(local, 'duet.history', history_) && history_.length > 1) history_.pop(); // what the browser grants is full
  listHistory();
}

function forget(keep) {
  readHistory();
  history_ = history_.filter(keep);
  kept.put(local, 'duet.history', history_);
  if (shown && !running.length && !history_.some(r => r.id === shown.id)) show(null);
  listHistory();
}

function summary(run) {
  const s = saved(run), lane = run.lanes[0], budget = run.budget === null ? '' : `budget ${count(run.budget)} · `;
  const M = lane.duet?.M?.output_tokens;
  if (s) return `${budget}M ${count(s.pair)} of ${count(s.alone)} tokens`;
  return budget + (lane.state === 'done' && M !== undefined ? `M ${count(M)} tokens` : lane.state);
}

function button(name, text, what) {
  const b = document.createElement('button');
  b.type = 'button';
  b.className = name;
  b.append(text);
  b.addEventListener('click', what);
  return b;
}

function listHistory() {
  $('no-history').hidden = history_.length > 0;
  $('forget').hidden = !history_.length;
  $('history').replaceChildren(...history_.map(run => {
    const li = document.createElement('li'), text = document.createElement('span'), small = document.createElement('small');
    text.textContent = run.question;
    small.textContent = summary(run);
    const open = button('open', text, () => {
      if (running.length) return;
      $('question').value = run.question;
      setBudget(run.budget);
      show(run);
      buttons();
    });
    open.append(small);
    open.setAttribute('aria-current', String(run.id === shown?.id));
    const drop = button('quiet drop', '×', () => forget(r => r.id !== run.id));
    drop.setAttribute('aria-label', 'forget this question');
    li.append(open, drop);
    return li;
  }));
}

// ---- budget, key, theme ----

function makeSteps() {
  steps = [0];
  for (let n = 4; n < server.budget; n *= 2) steps.push(n);
  steps.push(null);
  $('budget').max = steps.length - 1;
  setBudget(kept.get(local, 'duet.budget', null));
}

function setBudget(budget) {
  const at = steps.indexOf(budget);
  $('budget').value = at < 0 ? steps.length - 1 : at;
  tellBudget();
}

function budgetNow() {
  return steps[Number($('budget').value)] ?? null;
}

function tellBudget() {
  const n = budgetNow();
  const words = n === 0 ? 'none, m alone decides' : n === null ? 'as long as M likes' : `at most ${count(n)} tokens`;
  $('budget-text').textContent = words;
  $('budget').setAttribute('aria-valuetext', words);
}

function say(text) {
  $('note').textContent = text;
  $('note').hidden = !text;
}

function askForKey(then) {
  retry = then;
  say(key ? 'The API key is wrong.' : '');
  $('key').hidden = false;
  $('key-text').focus();
}

const THEMES = ['system', 'light', 'dark'];
function setTheme(name) {
  const theme = THEMES.includes(name) ? name : 'system';
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $('theme').textContent = 'theme: ' + theme;
  kept.put(local, 'duet.theme', theme);
}

// ---- beginning ----

function tellModels() {
  const p = $('models');
  p.replaceChildren();
  const side = name => {
    const b = document.createElement('b');
    b.className = 'of-' + name;
    b.textContent = name;
    p.append(p.childNodes.length ? ' · ' : '', b, server.names[name] ? ' ' + server.names[name] : '');
  };
  const has = name => server.models.includes(name);
  if (has('duet') || has('duet-M')) side('M');
  if (has('duet') || has('duet-m')) side('m');
}

async function begin() {
  try {
    const models = await (await request('v1/models')).json();
    server.models = models.data.map(m => m.id).filter(id => id in TITLES);
  } catch (e) {
    $('models').textContent = '';
    if (e.status === 401) askForKey(begin);
    else say(e instanceof Said ? e.message : 'This is not a duet server.');
    return;
  }
  try { // servers without /props have no way to hand over either
    const props = await (await request('props')).json();
    for (const name of ['M', 'm']) if (props[name]?.name) server.names[name] = props[name].name;
    server.budget = props.signal_budget > 0 ? props.signal_budget : props.M?.ctx ?? server.budget;
    server.handOver = props.hand_over !== false;
  } catch { /* the page does without */ }
  server.ready = true;
  $('beside-label').hidden = !(server.models.includes('duet') && server.models.includes('duet-M'));
  document.querySelector('.budget').hidden = !server.models.includes('duet');
  makeSteps();
  tellModels();
  buttons();
}

$('ask').addEventListener('submit', e => {
  e.preventDefault();
  const question = $('question').value.trim();
  if (question && !$('go').disabled) ask(question, server.models.includes('duet') ? budgetNow() : null);
});
$('question').addEventListener('input', buttons);
$('budget').addEventListener('input', () => { tellBudget(); kept.put(local, 'duet.budget', budgetNow()); });
$('beside').addEventListener('change', () => kept.put(local, 'duet.beside', $('beside').checked));
$('stop').addEventListener('click', stop);
$('hand-over').addEventListener('click', handOver);
$('forget').addEventListener('click', () => forget(() => false));
$('theme').addEventListener('click', () => setTheme(THEMES[(THEMES.indexOf(kept.get(local, 'duet.theme', 'system')) + 1) % THEMES.length]));
$('key').addEventListener('submit', e => {
  e.preventDefault();
  key = $('key-text').value.trim();
  kept.put(tab, 'duet.key', key);
  $('key').hidden = true;
  $('key-text').value = '';
  const then = retry;
  retry = null;
  begin().then(() => { if (server.ready && then && then !== begin) then(); });
});
document.addEventListener('keydown', e => {
  if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) {
    e.preventDefault();
    $('ask').requestSubmit();
  } else if (e.key === 'Escape' && running.length) {
    e.preventDefault();
    stop();
  }
});
addEventListener('storage', e => { if (e.key === 'duet.history') { readHistory(); listHistory(); } });
addEventListener('pagehide', () => { if (running.length && shown) remember(shown); });

setTheme(kept.get(local, 'duet.theme', 'system'));
$('beside').checked = kept.get(local, 'duet.beside', true);
readHistory();
show(history_[0] ?? null);
begin();
