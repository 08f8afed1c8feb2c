(() => {
'use strict';
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const [H, W] = data.size, LAST = data.layers.length - 1;
const PLACE = data.output === 'class token' ? 'at the class token' : 'in the mean of the tokens';
const STAGED = LAST > 0 && !data.layers[1].name.startsWith('layer');
// Cividis, 17 of its colours: even in lightness, the same to colour-blind eyes.
const STOPS = ['00224e', '002e6a', '1a386f', '32436d', '434e6c', '535a6d', '61656f', '6f7073', '7d7c78', '8c8878', '9b9476', 'aba072', 'bcae6c', 'cdbb63', 'dec958', 'f0d846', 'fee838']
  .map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));
// Colour of each of the 256 shares that the file can hold.
const RAMP = Array.from({ length: 256 }, (_, q) => {
  const at = q / 255 * (STOPS.length - 1), i = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[i].map((low, k) => Math.round(low + (STOPS[i + 1][k] - low) * (at - i)));
});
const rgb = q => `rgb(${RAMP[q].join(',')})`;
// Exact: what is shown has as many digits as the file.
const exact = share => (100 * share).toFixed(2) + '\u00a0%';
const whole = q => Math.round(q / 2.55) + '\u00a0%';
const mean = values => values.reduce((a, b) => a + b, 0) / values.length;

const state = { pair: 0, layer: LAST, token: null, hover: null, overlay: true, opacity: 60, walking: false, sort: 'order', timer: 0 };
let order = data.pairs.map((_, i) => i);

// ------------------------------------------------------------------ the numbers

const offsets = [];
data.layers.reduce((at, l) => (offsets.push(at), at + l.special + l.grid[0] * l.grid[1]), 0);
// How many tokens of the input a token of each layer covers, rows and columns.
const spans = data.layers.map(l => l.grid.map((n, k) => Math.ceil(data.layers[0].grid[k] / n)));
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

const pairs = data.pairs.map((p, i) => {
  const article = document.querySelectorAll('.pair')[i];
  return { ...p, article, own_img: article.querySelector('.own'), partner_img: article.querySelector('.partner'), base: null, mask_px: null };
});
const sharesOf = pair => pair.bytes ||= bytes(pair.shares);

async function inflate(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
async function maskOf(mask) {
  if (mask.bytes) return inflate(mask.bytes);
  const full = new Uint8Array(H * W);
  if (mask.bits) {
    const packed = await inflate(mask.bits);
    for (let i = 0; i < full.length; i++) full[i] = packed[i >> 3] >> (7 - (i & 7)) & 1 ? 255 : 0;
    return full;
  }
  const [top, bottom, left, right] = mask.box;
  for (let y = top; y < bottom; y++) full.fill(255, y * W + left, y * W + right);
  return full;
}
async function load(pair) {
  if (pair.mixed) {
    pair.mixed_img = new Image();
    pair.mixed_img.src = pair.mixed;
  }
  pair.mask_px = await maskOf(pair.mask);
  await Promise.all([pair.own_img, pair.partner_img, pair.mixed_img].map(img => img && img.decode()));
}
// The cell of a layer that a token of the input is in.
const cellAt = (layer, { r, c }) => [r, c].map((x, k) => Math.min(Math.floor(x / spans[layer][k]), data.layers[layer].grid[k] - 1));
// The share of a token in a layer, 0 to 255; of its parts, where it is not merged yet.
function shareOf(pair, token, layer) {
  const all = sharesOf(pair), { grid, special } = data.layers[layer], at = offsets[layer];
  if (token.s !== undefined) return token.s < special ? all[at + token.s] : null;
  const here = cellAt(state.layer, token);
  const range = [0, 1].map(k => {
    const ratio = spans[state.layer][k] / spans[layer][k];
    if (ratio <= 1) return [cellAt(layer, token)[k]];
    const from = here[k] * ratio;
    return Array.from({ length: ratio }, (_, i) => Math.floor(from + i)).filter(i => i < grid[k]);
  });
  return mean(range[0].flatMap(r => range[1].map(c => all[at + special + r * grid[1] + c])));
}
const layerText = l => l === 0 ? `input, layer 0 of ${LAST}` : STAGED ? `${data.layers[l].name}, layer ${l} of ${LAST}` : `layer ${l} of ${LAST}`;
function tokenName(token) {
  if (token.s !== undefined) return data.special[token.s];
  const [r, c] = cellAt(state.layer, token);
  return `token row ${r + 1}, column ${c + 1}`;
}

// ------------------------------------------------------------------ the pictures

function compose(pair) {
  if (pair.base) return pair.base;
  const canvas = Object.assign(document.createElement('canvas'), { width: W, height: H });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  if (pair.mixed_img) pen.drawImage(pair.mixed_img, 0, 0, W, H);
  else {
    pen.drawImage(pair.partner_img, 0, 0, W, H);
    const over = pen.getImageData(0, 0, W, H).data;
    pen.drawImage(pair.own_img, 0, 0, W, H);
    const own = pen.getImageData(0, 0, W, H);
    for (let i = 0; i < own.data.length; i++) {
      const share = pair.mask_px[i >> 2] / 255;
      own.data[i] += share * (over[i] - own.data[i]);
    }
    pen.putImageData(own, 0, 0);
  }
  return pair.base = canvas;
}
const cells = document.createElement('canvas');
function paint(canvas, pair, layer, opacity) {
  const k = Math.max(1, Math.ceil(440 / Math.max(W, H)));
  if (canvas.width !== W * k || canvas.height !== H * k) Object.assign(canvas, { width: W * k, height: H * k });
  const pen = canvas.getContext('2d');
  pen.globalAlpha = 1;
  if (!pair.large) {
    pair.large = Object.assign(document.createElement('canvas'), { width: W * k, height: H * k });
    const first = pair.large.getContext('2d');
    first.imageSmoothingEnabled = Math.max(W, H) > 96;
    first.drawImage(compose(pair), 0, 0, W * k, H * k);
  }
  pen.drawImage(pair.large, 0, 0);
  if (!opacity) return;
  const { grid: [h, w], special } = data.layers[layer], all = sharesOf(pair), at = offsets[layer] + special;
  const map = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) map.data.set([...RAMP[all[at + i]], 255], 4 * i);
  Object.assign(cells, { width: w, height: h });
  cells.getContext('2d').putImageData(map, 0, 0);
  pen.globalAlpha = opacity;
  pen.imageSmoothingEnabled = false;
  const [sr, sc] = spans[layer], [ph, pw] = data.patch;
  // Tokens that stick out of the image are cut off by the canvas.
  pen.drawImage(cells, 0, 0, w * sc * pw * k, h * sr * ph * k);
}
// The outline of what is the partner's, along its pixels.
function outline(pair) {
  if (pair.outline !== undefined) return pair.outline;
  const on = (y, x) => y >= 0 && x >= 0 && y < H && x < W && pair.mask_px[y * W + x] > 127;
  const runs = (n, m, edge, line) => {
    let text = '';
    for (let i = 0; i <= n; i++) for (let j = 0, from = -1; j <= m; j++) {
      const here = j < m && edge(i, j);
      if (here && from < 0) from = j;
      if (!here && from >= 0) { text += line(i, from, j); from = -1; }
    }
    return text;
  };
  return pair.outline = runs(H, W, (y, x) => on(y, x) !== on(y - 1, x), (y, a, b) => `M${a} ${y}H${b}`)
    + runs(W, H, (x, y) => on(y, x) !== on(y, x - 1), (x, a, b) => `M${x} ${a}V${b}`);
}
function svg(tag, attributes, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// ---------------------------------------------------------------------- one pair

function showPair() {
  const pair = pairs[state.pair], at = order.indexOf(state.pair);
  $('place').textContent = `${at + 1} of ${order.length}`;
  $('pair').value = state.pair;
  for (const kind of ['own', 'partner']) {
    const figure = $(kind), img = figure.querySelector('img');
    img.src = pair[kind + '_img'].src;
    img.alt = kind === 'own'
      ? `own image: ${pair.own}, ${exact(1 - pair.area)} of the mixed image`
      : `partner image: ${pair.partner}, ${exact(pair.area)} of the mixed image`;
    figure.querySelector('figcaption').replaceChildren(
      el('span', {}, kind), ' ' + pair[kind] + (pair.same && kind === 'partner' ? ' (same class)' : ''));
    figure.title = pair.files[+(kind === 'partner')];
  }
  for (const kind of ['own', 'partner', 'mixed'])
    $(kind).querySelector('svg').replaceChildren(
      svg('path', { class: 'under', d: outline(pair) }), svg('path', { class: 'over', d: outline(pair) }));
  $('bars').replaceChildren(...pair.rules.map(rule => {
    const bar = el('span', { class: 'track' }, el('i', {}), el('u', {}));
    bar.firstChild.style.width = 100 * rule.share + '%';
    bar.lastChild.style.left = 100 * pair.area + '%';
    return el('div', {}, el('span', {}, rule.name), el('b', {}, exact(rule.share)), bar);
  }));
  $('rules').tBodies[0].replaceChildren(...pair.rules.map(rule => el('tr', {},
    el('th', { scope: 'row' }, rule.name + (rule.trained ? '\u00a0*' : '')),
    ...[rule.share, rule.own, rule.partner].map(v => el('td', {}, exact(v))), el('td', {}, rule.loss.toFixed(3)))),
  el('tr', { id: 'now', 'aria-current': 'true' }, el('th', { scope: 'row' }), el('td', {}), ...[1, 2, 3].map(() => el('td', {}, '–'))));
  $('rules-note').textContent = (pair.rules.some(r => r.trained) ? '* what this model learns. ' : '')
    + (pair.rules.some(r => r.name.includes('received')) ? 'Received: TransMix without a class token, an extension in no paper. ' : '')
    + 'Own, partner: what the target gives to their classes. Loss: of the prediction below with it. The line in each bar is the area.';
  $('best').replaceChildren(...pair.best.map(b => {
    const name = el('span', {}, b.name), bar = el('span', { class: 'track' }, el('i', {}));
    for (const kind of ['own', 'partner']) if (b[kind]) name.append(el('span', { class: 'tag ' + kind }, kind));
    bar.firstChild.style.width = 100 * b.p + '%';
    return el('li', {}, name, el('span', {}, exact(b.p)), bar);
  }));
  showLayer();
}

function showLayer(quiet) {
  const pair = pairs[state.pair], l = state.layer, layer = data.layers[l], read = exact(pair.read[l]);
  paint($('mixed').querySelector('canvas'), pair, l, state.overlay ? state.opacity / 100 : 0);
  $('layer').value = l;
  $('layer').setAttribute('aria-valuetext', `${layerText(l)}, ${Math.round(100 * pair.read[l])}\u00a0% of the partner ${PLACE}`);
  $('name').textContent = `${layer.name} · ${layer.grid.join('×')}`;
  $('percent').textContent = state.overlay ? state.opacity + '\u00a0%' : 'off';
  $('overlay').setAttribute('aria-pressed', state.overlay);
  $('walk').setAttribute('aria-pressed', state.walking);
  $('prev').disabled = l === 0;
  $('step').disabled = l === LAST;
  const now = $('now');
  now.cells[0].textContent = l === LAST ? 'traced to the end' : `traced so far`;
  now.title = layer.name;
  now.cells[1].textContent = read;
  $('mixed').querySelector('canvas').setAttribute('aria-label',
    `Mixed image: ${pair.own}, with ${exact(pair.area)} of the area from ${pair.partner}. At ${layerText(l)}, ${read} of the partner ${PLACE}.`);
  $('special').replaceChildren(...data.special.slice(0, layer.special).map((name, s) => {
    const q = shareOf(pair, { s }, l), square = el('i', {});
    square.style.background = rgb(q);
    const button = el('button', { type: 'button', 'data-s': s, 'aria-pressed': state.token?.s === s }, square, el('span', {}, `${name} ${whole(q)}`));
    button.addEventListener('click', () => pick(state.token?.s === s ? null : { s }));
    return button;
  }));
  showToken();
  if (!quiet) announce();
  keep();
}

// What belongs to the token under the pointer, or the one that is picked.
function showToken() {
  const pair = pairs[state.pair], token = state.hover || state.token, box = $('token'), over = $('mixed').querySelector('svg');
  over.querySelectorAll('.pick').forEach(node => node.remove());
  if (token && token.s === undefined) {
    const [r, c] = cellAt(state.layer, token), [sr, sc] = spans[state.layer], [ph, pw] = data.patch;
    const place = { class: 'pick', x: c * sc * pw, y: r * sr * ph, width: sc * pw, height: sr * ph };
    over.append(svg('rect', place), svg('rect', place));
  }
  if (token) {
    const line = data.layers.map((_, l) => shareOf(pair, token, l));
    const name = tokenName(token);
    box.replaceChildren(el('b', {}, name[0].toUpperCase() + name.slice(1) + ': ' + shown(line[state.layer])), ' of the partner at this layer. Over the layers: '
      + line.map(q => q === null ? '–' : Math.round(q / 2.55)).join(', ') + '\u00a0%.');
  } else box.textContent = 'Point at a token, click it or press t to see where its label came from.';
  chart(pair, token);
  table(pair, token);
}
const shown = q => q === null ? 'not there yet' : whole(q);

function announce() {
  const pair = pairs[state.pair], l = state.layer, text = layerText(l);
  $('status').textContent = `${text[0].toUpperCase()}${text.slice(1)}: ${exact(pair.read[l])} of the partner ${PLACE}; the area is ${exact(pair.area)}.`
    + (state.token ? ` ${tokenName(state.token).replace(/^./, c => c.toUpperCase())}: ${shown(shareOf(pair, state.token, l))}.` : '');
}

function table(pair, token) {
  const body = $('layers').tBodies[0], of = JSON.stringify([state.pair, token, token && spans[state.layer]]);
  if (body.dataset.of !== of) body.replaceChildren(...data.layers.map((layer, l) => {
    const row = el('tr', {}, el('th', { scope: 'row' }, layer.name),
      ...[layer.grid.join('×'), exact(pair.read[l]), pair.transmix[l] === null ? '–' : exact(pair.transmix[l]), token ? shown(shareOf(pair, token, l)) : '–'].map(v => el('td', {}, v)));
    return row;
  }));
  body.dataset.of = of;
  body.querySelector('[aria-current]')?.removeAttribute('aria-current');
  body.rows[state.layer].setAttribute('aria-current', 'true');
}

// --------------------------------------------------------------------- the chart

const EDGE = { left: 42, right: 14, top: 8, bottom: 22 }, TALL = 150;
function chart(pair, token) {
  const wide = Math.max(220, $('chart').clientWidth), inner = wide - EDGE.left - EDGE.right;
  const line = token ? data.layers.map((_, l) => { const q = shareOf(pair, token, l); return q === null ? null : q / 255; }) : [];
  const values = [pair.area, ...pair.read, ...pair.transmix, ...line].filter(v => v !== null && v !== undefined);
  const step = Math.max(...values) - Math.min(...values) > .45 ? .2 : .1;
  const low = Math.max(0, Math.floor(Math.min(...values) / step - .15) * step), high = Math.min(1, Math.ceil(Math.max(...values) / step + .15) * step);
  const x = l => EDGE.left + inner * (LAST ? l / LAST : .5), y = v => EDGE.top + (TALL - EDGE.top - EDGE.bottom) * (1 - (v - low) / (high - low || 1));
  const root = svg('svg', { role: 'img', viewBox: `0 0 ${wide} ${TALL}`, height: TALL, 'aria-label': `Share by layer: from ${exact(pair.read[0])} at the input to ${exact(pair.read[LAST])} at the last layer; area ${exact(pair.area)}.` });
  for (let v = low; v <= high + 1e-9; v += step)
    root.append(svg('line', { class: 'grid', x1: EDGE.left, x2: wide - EDGE.right, y1: y(v), y2: y(v) }), svg('text', { x: EDGE.left - 7, y: y(v) + 4, 'text-anchor': 'end' }, Math.round(100 * v) + ' %'));
  const every = Math.ceil((LAST + 1) / Math.max(4, Math.floor(inner / 34)));
  for (let l = 0; l <= LAST; l += every) root.append(svg('text', { x: x(l), y: TALL - 5, 'text-anchor': 'middle' }, l || 'input'));
  for (let l = 2; l <= LAST; l++) if (STAGED && data.layers[l].name.endsWith('block 1'))
    root.append(svg('line', { class: 'grid', x1: x(l - .5), x2: x(l - .5), y1: EDGE.top, y2: TALL - EDGE.bottom }));
  root.append(svg('line', { class: 'now', x1: x(state.layer), x2: x(state.layer), y1: EDGE.top, y2: TALL - EDGE.bottom }),
    svg('line', { class: 'l-area', x1: x(0), x2: x(LAST), y1: y(pair.area), y2: y(pair.area) }));
  for (const [name, list] of [['transmix', pair.transmix], ['token', line], ['traced', pair.read]]) {
    const known = list.map((v, l) => [v, l]).filter(([v]) => v !== null);
    if (!known.length) continue;
    root.append(svg('polyline', { class: 'l-' + name, points: known.map(([v, l]) => `${x(l)},${y(v)}`).join(' ') }));
    for (const [v, l] of known) root.append(name === 'token'
      ? svg('rect', { class: 'd-token', x: x(l) - 2.5, y: y(v) - 2.5, width: 5, height: 5 })
      : svg('circle', { class: 'd-' + name, cx: x(l), cy: y(v), r: name === 'traced' ? (l === state.layer ? 5 : 2.5) : 2 }));
  }
  $('chart').replaceChildren(root);
}
function chartLayer(event) {
  const box = $('chart').getBoundingClientRect();
  const at = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
  return Math.round(Math.min(1, Math.max(0, at)) * LAST);
}

// ------------------------------------------------------------------- what moves it

const to = layer => { state.layer = Math.min(LAST, Math.max(0, layer)); showLayer(); };
function go(steps) {
  const at = order.indexOf(state.pair) + steps;
  if (at >= 0 && at < order.length) { state.pair = order[at]; showPair(); }
}
function pick(token) {
  state.token = token;
  state.hover = null;
  const focused = document.activeElement?.dataset?.s;
  showLayer();
  if (focused !== undefined) document.querySelector(`[data-s="${focused}"]`)?.focus();
}
function walk(on) {
  state.walking = on;
  if (on && (!state.token || state.token.s !== undefined)) {
    const [h, w] = data.layers[0].grid;
    state.token = { r: h >> 1, c: w >> 1 };
  }
  showLayer();
}
function move(dr, dc) {
  const { grid } = data.layers[state.layer], [sr, sc] = spans[state.layer], [r, c] = cellAt(state.layer, state.token);
  const next = [Math.min(grid[0] - 1, Math.max(0, r + dr)), Math.min(grid[1] - 1, Math.max(0, c + dc))];
  pick(fromCell(next[0], next[1], sr, sc));
}
const fromCell = (r, c, sr, sc) => ({ r: Math.min(data.layers[0].grid[0] - 1, Math.floor((r + .5) * sr)), c: Math.min(data.layers[0].grid[1] - 1, Math.floor((c + .5) * sc)) });
function play(on) {
  clearInterval(state.timer);
  state.timer = 0;
  if (on) {
    if (state.layer === LAST) state.layer = 0;
    showLayer(true);
    state.timer = setInterval(() => {
      state.layer++;
      if (state.layer >= LAST) play(false); else showLayer(true);
    }, 450);
  } else showLayer();
  $('play').setAttribute('aria-pressed', Boolean(state.timer));
  $('play').textContent = state.timer ? 'Stop' : 'Play';
}
function sort(kind) {
  state.sort = kind;
  const key = { order: (p, i) => i, change: p => -Math.abs(p.read[LAST] - p.area), area: p => -p.area, loss: p => -(p.rules.find(r => r.trained) || p.rules[0]).loss }[kind];
  order = data.pairs.map((_, i) => i).sort((a, b) => key(data.pairs[a], a) - key(data.pairs[b], b) || a - b);
  $('sort').value = kind;
  $('pair').replaceChildren(...order.map(i => el('option', { value: i }, `${i + 1} · ${data.pairs[i].own} with ${data.pairs[i].partner}`)));
}

// ------------------------------------------------------------------- the address

let keeping = 0;
function keep() {
  clearTimeout(keeping);
  keeping = setTimeout(() => {
    const { token } = state, parts = [`pair=${state.pair + 1}`, `layer=${state.layer}`];
    if (token) parts.push('token=' + (token.s !== undefined ? `special${token.s + 1}` : cellAt(state.layer, token).map(n => n + 1).join(',')));
    if (state.sort !== 'order') parts.push(`sort=${state.sort}`);
    const hash = '#' + parts.join('&');
    if (hash !== location.hash) history.replaceState(null, '', hash);
  }, 120);
}
function restore() {
  const asked = new URLSearchParams(location.hash.slice(1)), number = (key, low, high, other) => {
    const value = asked.has(key) ? Number(asked.get(key)) : NaN;
    return Number.isInteger(value) ? Math.min(high, Math.max(low, value)) : other;
  };
  sort(['change', 'area', 'loss'].includes(asked.get('sort')) ? asked.get('sort') : 'order');
  state.pair = number('pair', 1, pairs.length, order[0] + 1) - 1;
  state.layer = number('layer', 0, LAST, LAST);
  const { grid, special } = data.layers[state.layer], text = asked.get('token') || '';
  const cell = /^(\d+),(\d+)$/.exec(text), named = /^special(\d+)$/.exec(text);
  state.token = null;
  if (cell && cell[1] >= 1 && cell[1] <= grid[0] && cell[2] >= 1 && cell[2] <= grid[1]) state.token = fromCell(cell[1] - 1, cell[2] - 1, ...spans[state.layer]);
  if (named && named[1] >= 1 && named[1] <= special) state.token = { s: named[1] - 1 };
  showPair();
}

// -------------------------------------------------------------------- the keyboard

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
function keys(event) {
  const focus = document.activeElement, tag = focus?.tagName;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (tag === 'SELECT' || tag === 'TEXTAREA' || (tag === 'INPUT' && focus.type !== 'range')) return;
  const key = event.key, scrolls = focus?.classList.contains('scroll') && focus.scrollWidth > focus.clientWidth;
  let done = true;
  if (key in ARROWS && state.walking) move(...ARROWS[key]);
  // A slider that has the focus moves by itself.
  else if (tag === 'INPUT' && (key in ARROWS || key === 'Home' || key === 'End') || scrolls && key in ARROWS) done = false;
  else if (key === 'ArrowLeft') to(state.layer - 1);
  else if (key === 'ArrowRight') to(state.layer + 1);
  else if (key === 'Home') to(0);
  else if (key === 'End') to(LAST);
  else if (key === 'j') go(1);
  else if (key === 'k') go(-1);
  else if (key === 'o') $('overlay').click();
  else if (key === 'p') $('play').click();
  else if (key === 't') walk(!state.walking);
  else if (key === '?') $('help').open = !$('help').open;
  else if (key === 'Escape') {
    if (state.timer) play(false);
    else if ($('help').open) $('help').open = false;
    else if (state.walking) walk(false);
    else if (state.token) pick(null);
    else done = false;
  } else done = false;
  if (done) event.preventDefault();
}

function tokenUnder(event) {
  const box = $('mixed').querySelector('canvas').getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * W, y = (event.clientY - box.top) / box.height * H;
  const r = Math.floor(y / data.patch[0]), c = Math.floor(x / data.patch[1]), [h, w] = data.layers[0].grid;
  return r >= 0 && c >= 0 && r < h && c < w ? { r, c } : null;
}
const sameCell = (a, b) => a && b && a.s === undefined && b.s === undefined && String(cellAt(state.layer, a)) === String(cellAt(state.layer, b));

async function start() {
  document.documentElement.classList.add('js');
  $('view').hidden = false;
  $('ramp').style.background = `linear-gradient(to right, ${STOPS.map(s => `rgb(${s.join(',')})`).join(', ')})`;
  $('layer').max = LAST;
  $('output').textContent = data.output;
  for (const shot of document.querySelectorAll('#view .shot')) {
    shot.style.aspectRatio = `${W} / ${H}`;
    if (Math.max(W, H) <= 96) shot.classList.add('tiny');
    shot.querySelector('svg').setAttribute('viewBox', `0 0 ${W} ${H}`);
  }
  const lines = [['traced', `traced, ${PLACE}`], ['transmix', 'TransMix with this layer’s attention'], ['area', 'area'], ['token', 'picked token']];
  $('legend').replaceChildren(...lines.map(([kind, text]) => el('li', {}, svg('svg', { viewBox: '0 0 30 10' }, svg('line', { class: 'l-' + kind, x1: 0, x2: 30, y1: 5, y2: 5 })), text)));
  await Promise.all(pairs.map(load));
  restore();

  document.addEventListener('keydown', keys);
  addEventListener('hashchange', restore);
  $('layer').addEventListener('input', () => to(Number($('layer').value)));
  $('opacity').addEventListener('input', () => { state.opacity = Number($('opacity').value); state.overlay = true; showLayer(true); });
  $('overlay').addEventListener('click', () => { state.overlay = !state.overlay; showLayer(true); });
  $('walk').addEventListener('click', () => walk(!state.walking));
  $('play').addEventListener('click', () => play(!state.timer));
  $('prev').addEventListener('click', () => to(state.layer - 1));
  $('step').addEventListener('click', () => to(state.layer + 1));
  $('back').addEventListener('click', () => go(-1));
  $('next').addEventListener('click', () => go(1));
  $('pair').addEventListener('change', () => { state.pair = Number($('pair').value); showPair(); });
  $('sort').addEventListener('change', () => { sort($('sort').value); showPair(); });
  const shot = $('mixed').querySelector('.shot');
  shot.addEventListener('pointermove', event => {
    const token = tokenUnder(event);
    if (!(token && state.hover && sameCell(token, state.hover))) { state.hover = token; showToken(); }
  });
  shot.addEventListener('pointerleave', () => { state.hover = null; showToken(); });
  shot.addEventListener('click', event => {
    const token = tokenUnder(event);
    pick(sameCell(token, state.token) ? null : token);
  });
  $('chart').addEventListener('pointerdown', event => to(chartLayer(event)));
  $('chart').addEventListener('pointermove', event => { if (event.buttons & 1 && chartLayer(event) !== state.layer) to(chartLayer(event)); });
  new ResizeObserver(() => showToken()).observe($('chart'));
  // Paper has no slider: every pair at the last layer.
  addEventListener('beforeprint', () => {
    for (const pair of pairs) {
      const canvas = el('canvas', { role: 'img', 'aria-label': 'mixed image at the last layer' });
      paint(canvas, pair, LAST, .6);
      const pen = canvas.getContext('2d'), k = canvas.width / W;
      pen.globalAlpha = 1;
      pen.scale(k, k);
      for (const [colour, dash] of [['#fff', []], ['#14181d', [8 / k, 8 / k]]]) {
        Object.assign(pen, { strokeStyle: colour, lineWidth: 6 / k });
        pen.setLineDash(dash);
        pen.stroke(new Path2D(outline(pair)));
      }
      pair.article.querySelector('.last').replaceChildren(canvas, el('figcaption', {}, `mixed; ${exact(pair.read[LAST])} of the partner ${PLACE}`));
    }
  });
  addEventListener('afterprint', () => pairs.forEach(pair => pair.article.querySelector('.last').replaceChildren()));
  document.documentElement.dataset.ready = 'yes';
}
start();
})();
