// The gallery: all clips of the tree beside this page, as cards of which only those in sight exist.
//
// data.js calls gallery(), data-<n>.js call clips(); the newest come first, and the page works while the others
// load. What strangers wrote gets in as text (textContent, value, option text), never as markup. The state of
// the filters stands in the address behind "#": poster=, channel=, month=, q=, sort=, play=<id>.
"use strict";

const ID = 0, PLACE = 1, POSTER = 2, TIME = 3, NAME = 4, FILE = 5, SAID = 6, SIZE = 7, RUNTIME = 8, WIDTH = 9,
  HEIGHT = 10, FLAGS = 11, MONTH = 12, WORDS = 13; // of a clip: what the data says, and two of our own
const THUMB = 1, FORWARDED = 2, DELETED = 4, UNREADABLE = 8;
const ROW_TEXT = 84, HEAD = 52, GAP = 16; // pixels, as in gallery.css
const SIGHT = 700; // pixels above and below the window in which cards exist
const PEOPLE = 24;

const $ = (id) => document.getElementById(id);
const shelf = $("shelf"), stage = $("stage"), video = $("video");
const fields = { q: $("q"), poster: $("poster"), channel: $("channel"), month: $("month"), sort: $("sort") };
const number = new Intl.NumberFormat();
const dayText = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const momentText = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short", timeZone: "UTC" });
const monthText = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "long", timeZone: "UTC" });

let told = null; // what data.js said
let all = []; // clips, the newest first
let shown = []; // those that the filters leave, in order
let rows = []; // {top, month, count} or {top, first, count}
let rowOf = new Int32Array(0); // index into shown -> index into rows
let columns = 1, cardWidth = 0, pictureHeight = 0;
let current = 0; // the card that has the focus, or had it last
let playing = -1;
let wanted = ""; // the id that the address wants played
let written = ""; // the address as this page wrote it last
let isLoading = true;
const alive = new Map(); // index into rows -> element

// --- data ---------------------------------------------------------------------------------------

function gallery(data) {
  told = data;
  readAddress();
  load(data.chunks - 1);
}

function load(chunk) {
  if (chunk < 0) {
    isLoading = false;
    refresh();
    return;
  }
  const script = document.createElement("script");
  script.src = `gallery/data-${chunk}.js`;
  script.onload = () => load(chunk - 1);
  script.onerror = () => {
    note("The catalogue has changed while this page was loading: reload it to see everything.");
    load(chunk - 1);
  };
  document.head.append(script);
}

function clips(chunk, more) {
  for (let at = more.length - 1; at >= 0; at--) all.push(prepared(more[at]));
  if (chunk === told.chunks - 1 || all.length % 20000 < more.length) refresh();
}

function prepared(clip) {
  const place = told.places[clip[PLACE]], poster = told.posters[clip[POSTER]];
  clip.push(new Date(clip[TIME] * 1000).toISOString().slice(0, 7));
  clip.push([clip[FILE], clip[SAID], poster[0], poster[1], place[0], place[1]].join("\n").toLowerCase());
  return clip;
}

const addressOf = (clip) => told.places[clip[PLACE]][2] + encodeURIComponent(clip[NAME]);
const channelOf = (place) => `${place[0]}/${place[1]}`;
const thumbOf = (clip) => `thumbs/${clip[ID]}.png`;

function note(text) {
  $("note").textContent = text;
  $("note").hidden = false;
}

// --- filters ------------------------------------------------------------------------------------

const ORDERS = {
  oldest: (a, b) => a[TIME] - b[TIME],
  longest: (a, b) => b[RUNTIME] - a[RUNTIME],
  largest: (a, b) => b[SIZE] - a[SIZE],
};

const chosen = (name) => fields[name].value || fields[name].dataset.asked || "";

function matching(leave) {
  const words = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const [poster, channel, month] = ["poster", "channel", "month"].map((name) => (name === leave ? "" : chosen(name)));
  const posters = told.posters.map((each) => !poster || each[0] === poster);
  const places = told.places.map((each) => !channel || channelOf(each) === channel);
  return all.filter((clip) => posters[clip[POSTER]] && places[clip[PLACE]] && (!month || clip[MONTH] === month)
    && words.every((word) => clip[WORDS].includes(word)));
}

function refresh() {
  offer();
  filter();
}

function filter() {
  shown = matching();
  const order = ORDERS[fields.sort.value];
  if (order) shown.sort(order);
  current = 0;
  tell();
  people();
  arrange();
  if (wanted) playWanted();
}

function playWanted() {
  const at = shown.findIndex((clip) => clip[ID] === wanted);
  if (at >= 0) {
    wanted = "";
    play(at);
  } else if (!isLoading) {
    wanted = "";
  }
}

function tell() {
  const seconds = shown.reduce((sum, clip) => sum + clip[RUNTIME], 0);
  const known = isLoading ? told.count : all.length;
  const some = shown.length === known ? number.format(known) : `${number.format(shown.length)} of ${number.format(known)}`;
  const long = seconds >= 60 ? ` · ${span(seconds)}` : "";
  $("count").textContent = `${some} ${known === 1 ? "clip" : "clips"}${long}${isLoading ? " · loading …" : ""}`;
  document.documentElement.dataset.state = isLoading ? "loading" : "ready";
  document.documentElement.dataset.shown = shown.length;
  for (const [name, field] of Object.entries(fields)) if (name !== "q") field.classList.toggle("set", Boolean(field.value));
  $("clear").hidden = !Object.values(fields).some((field) => field.value);
}

function span(seconds) {
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${number.format(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

function counted(key) {
  const counts = new Map();
  for (const clip of all) counts.set(key(clip), (counts.get(key(clip)) || 0) + 1);
  return counts;
}

function offer() {
  const byPoster = counted((clip) => told.posters[clip[POSTER]][0]);
  const byChannel = counted((clip) => channelOf(told.places[clip[PLACE]]));
  const byMonth = counted((clip) => clip[MONTH]);
  const displays = new Map(told.posters.map((each) => [each[0], each[1]]));
  const isOneServer = new Set(told.places.map((each) => each[0])).size === 1;
  const channelName = (key) => (isOneServer ? key.slice(key.indexOf("/") + 1) : key.replace("/", " · "));
  options(fields.poster, [...byPoster].sort((a, b) => displays.get(a[0]).localeCompare(displays.get(b[0]))), (key) => displays.get(key));
  options(fields.channel, [...byChannel].sort((a, b) => a[0].localeCompare(b[0])), channelName);
  options(fields.month, [...byMonth].sort((a, b) => (a[0] < b[0] ? 1 : -1)), monthName);
}

function options(field, counts, text) {
  const kept = field.value || field.dataset.asked || "";
  while (field.options.length > 1) field.remove(1);
  for (const [key, count] of counts) field.add(new Option(`${text(key)} (${number.format(count)})`, key));
  field.value = kept;
  if (field.value !== kept) field.value = "";
  field.dataset.asked = isLoading ? kept : "";
}

const monthName = (month) => monthText.format(new Date(`${month}-01T00:00:00Z`));

function people() {
  const counts = new Map();
  for (const clip of matching("poster")) counts.set(clip[POSTER], (counts.get(clip[POSTER]) || 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, PEOPLE);
  $("people").replaceChildren(...(told.posters.length > 1 ? most.map(([at, count]) => person(at, count)) : []));
}

function person(at, count) {
  const poster = told.posters[at], button = make("button");
  button.type = "button";
  button.setAttribute("aria-pressed", String(fields.poster.value === poster[0]));
  button.append(face(poster), make("bdi", "", poster[1]), make("small", "", number.format(count)));
  button.onclick = () => {
    fields.poster.value = fields.poster.value === poster[0] ? "" : poster[0];
    changed();
  };
  return button;
}

function face(poster) {
  const box = make("span", "face", [...poster[1]][0] || "?");
  box.setAttribute("aria-hidden", "true");
  box.style.setProperty("--hue", hue(poster[0]));
  if (poster[2]) {
    const image = new Image();
    image.alt = "";
    image.loading = "lazy";
    image.onload = () => box.replaceChildren(image);
    image.src = poster[2];
  }
  return box;
}

function hue(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

// --- the address ----------------------------------------------------------------------------------

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const [name, field] of Object.entries(fields)) {
    field.value = said.get(name) || "";
    if (field.tagName === "SELECT" && name !== "sort") field.dataset.asked = said.get(name) || "";
  }
  wanted = said.get("play") || "";
}

function writeAddress() {
  const said = new URLSearchParams();
  for (const name of Object.keys(fields)) {
    if (chosen(name)) said.set(name, chosen(name));
  }
  if (playing >= 0) said.set("play", shown[playing][ID]);
  const hash = `#${said}`;
  if (location.hash === hash || (!location.hash && hash === "#")) return;
  written = hash === "#" ? "" : hash;
  location.replace(hash);
}

function changed() {
  for (const field of Object.values(fields)) delete field.dataset.asked;
  scrollTo(0, 0);
  filter();
  writeAddress();
}

// --- where cards lie ------------------------------------------------------------------------------

function arrange() {
  const width = shelf.clientWidth, least = width < 560 ? 150 : 230;
  columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  cardWidth = Math.floor((width - GAP * (columns - 1)) / columns);
  pictureHeight = Math.round((cardWidth * 9) / 16);
  const byMonth = !fields.sort.value || fields.sort.value === "oldest";
  rows = [];
  rowOf = new Int32Array(shown.length);
  let top = byMonth ? 0 : GAP;
  for (let first = 0; first < shown.length; ) {
    const month = shown[first][MONTH];
    let end = first;
    while (end < shown.length && (!byMonth || shown[end][MONTH] === month)) end++;
    if (byMonth) {
      rows.push({ top, month, count: end - first });
      top += HEAD;
    }
    for (; first < end; first += columns) {
      const count = Math.min(columns, end - first);
      rowOf.fill(rows.length, first, first + count);
      rows.push({ top, first, count });
      top += pictureHeight + ROW_TEXT + GAP;
    }
    first = end;
  }
  shelf.style.height = `${top}px`;
  for (const element of alive.values()) element.remove();
  alive.clear();
  const isEmpty = told && !shown.length && !isLoading;
  shelf.replaceChildren(...(isEmpty ? [make("p", "empty", all.length ? "No clip is like that." : "There are no clips yet.")] : []));
  show();
}

function show() {
  const from = scrollY - shelf.offsetTop - SIGHT, to = scrollY - shelf.offsetTop + innerHeight + SIGHT;
  const first = Math.max(0, rowAt(from)), last = Math.min(rows.length - 1, rowAt(to));
  const focused = alive.size && shelf.contains(document.activeElement) ? rowOf[current] : -1;
  for (const [at, element] of alive) {
    if ((at < first || at > last) && at !== focused) {
      element.remove();
      alive.delete(at);
    }
  }
  for (let at = first; at <= last; at++) if (!alive.has(at)) put(at);
}

function put(at) {
  const row = rows[at], element = row.month ? head(row) : cards(row);
  element.style.transform = `translateY(${row.top}px)`;
  alive.set(at, element);
  const later = [...alive.keys()].filter((other) => other > at);
  shelf.insertBefore(element, later.length ? alive.get(Math.min(...later)) : null);
}

function rowAt(y) {
  let low = 0, high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle].top <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

// --- cards ------------------------------------------------------------------------------------------

function make(name, kind = "", text = "") {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

function head(row) {
  const element = make("h2", "month", monthName(row.month));
  element.append(make("small", "", `${number.format(row.count)} ${row.count === 1 ? "clip" : "clips"}`));
  return element;
}

function cards(row) {
  const element = make("div", "row");
  element.style.gap = `${GAP}px`;
  for (let at = row.first; at < row.first + row.count; at++) element.append(item(at));
  return element;
}

function item(at) {
  const box = make("div", "item");
  box.setAttribute("role", "listitem");
  box.setAttribute("aria-setsize", shown.length);
  box.setAttribute("aria-posinset", at + 1);
  box.append(card(at));
  return box;
}

function card(at) {
  const clip = shown[at], link = make("a", "card"), poster = told.posters[clip[POSTER]];
  link.href = addressOf(clip);
  link.dataset.at = at;
  link.tabIndex = at === current ? 0 : -1;
  link.style.width = `${cardWidth}px`;
  link.setAttribute("aria-label", spoken(clip));
  const by = make("p", "by");
  by.append(make("b", "", poster[1]), ` · ${dayText.format(new Date(clip[TIME] * 1000))}`);
  const words = make("div", "text-box");
  words.append(make("p", "called", titleOf(clip)), make("p", "said", clip[SAID] || `#${told.places[clip[PLACE]][1]}`), by);
  link.append(picture(clip, poster), words);
  return link;
}

const titleOf = (clip) => clip[FILE].replace(/\.[A-Za-z0-9]{1,5}$/, "");

function spoken(clip) {
  const poster = told.posters[clip[POSTER]], day = dayText.format(new Date(clip[TIME] * 1000));
  return [titleOf(clip), `by ${poster[1]}`, day, clip[RUNTIME] ? clock(clip[RUNTIME]) : "", clip[SAID]].filter(Boolean).join(", ");
}

function picture(clip, poster) {
  const box = make("div", `picture${clip[HEIGHT] > clip[WIDTH] ? " tall" : ""}`);
  box.style.height = `${pictureHeight}px`;
  box.style.setProperty("--hue", hue(poster[0]));
  if (clip[FLAGS] & THUMB) {
    const image = new Image();
    image.alt = "";
    image.loading = "lazy";
    image.decoding = "async";
    image.onload = () => box.classList.add("seen");
    image.onerror = () => image.remove();
    image.src = thumbOf(clip);
    box.append(image);
  }
  box.append(make("span", "play"));
  const state = clip[FLAGS] & DELETED ? "kept copy" : clip[FLAGS] & UNREADABLE ? "unreadable" : clip[FLAGS] & FORWARDED ? "forwarded" : "";
  if (state) box.append(make("span", "badge sort", state));
  if (clip[RUNTIME]) box.append(make("span", "badge time", clock(clip[RUNTIME])));
  return box;
}

function clock(seconds) {
  const whole = Math.max(1, Math.round(seconds)), two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

function bytes(size) {
  const steps = ["B", "kB", "MB", "GB"];
  let at = 0;
  for (; size >= 1000 && at < steps.length - 1; at++) size /= 1000;
  return `${size < 10 && at ? size.toFixed(1) : Math.round(size)} ${steps[at]}`;
}

// --- playing ------------------------------------------------------------------------------------------

function play(at) {
  if (at < 0 || at >= shown.length) return;
  const clip = shown[at], place = told.places[clip[PLACE]], poster = told.posters[clip[POSTER]];
  playing = current = at;
  $("trouble").hidden = true;
  $("stage-name").textContent = titleOf(clip);
  $("stage-text").textContent = clip[SAID];
  const size = clip[WIDTH] ? `${clip[WIDTH]} × ${clip[HEIGHT]}` : "";
  const facts = [poster[1], `${momentText.format(new Date(clip[TIME] * 1000))} UTC`, `${place[0]} #${place[1]}`, clip[RUNTIME] ? clock(clip[RUNTIME]) : "", size, bytes(clip[SIZE])];
  $("stage-facts").textContent = facts.filter(Boolean).join(" · ");
  $("file").href = addressOf(clip);
  $("back").disabled = at === 0;
  $("next").disabled = at === shown.length - 1;
  video.poster = clip[FLAGS] & THUMB ? thumbOf(clip) : "";
  video.src = addressOf(clip);
  if (!stage.open) stage.showModal();
  video.focus();
  video.play().catch(() => {}); // the browser wants a press of the button first
  writeAddress();
}

function closed() {
  video.pause();
  video.removeAttribute("src");
  video.load();
  playing = -1;
  writeAddress();
  focus(current);
}

video.addEventListener("error", () => {
  $("trouble").hidden = !video.getAttribute("src");
});
stage.addEventListener("close", closed);
stage.addEventListener("click", (event) => {
  if (event.target === stage) stage.close();
});
$("close").onclick = () => stage.close();
$("back").onclick = () => play(playing - 1);
$("next").onclick = () => play(playing + 1);

// --- keys and the rest ----------------------------------------------------------------------------------

function focus(at) {
  if (!shown.length) return;
  const before = shelf.querySelector('[tabindex="0"]');
  current = Math.max(0, Math.min(shown.length - 1, at));
  const row = rows[rowOf[current]], top = shelf.offsetTop + row.top, header = getComputedStyle($("top")).position === "sticky" ? $("top").offsetHeight : 0;
  const height = pictureHeight + ROW_TEXT;
  if (top - HEAD < scrollY + header) scrollTo(0, top - HEAD - header);
  else if (top + height + GAP > scrollY + innerHeight) scrollTo(0, top + height + GAP - innerHeight);
  show();
  if (before) before.tabIndex = -1;
  const link = shelf.querySelector(`[data-at="${current}"]`);
  if (link) {
    link.tabIndex = 0;
    link.focus({ preventScroll: true });
  }
}

function above(at, step) {
  const row = rows[rowOf[at]];
  let other = rowOf[at] + step;
  while (rows[other] && rows[other].month) other += step;
  if (!rows[other]) return at;
  return rows[other].first + Math.min(at - row.first, rows[other].count - 1);
}

const MOVES = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  ArrowUp: (at) => above(at, -1),
  ArrowDown: (at) => above(at, 1),
  Home: () => 0,
  End: () => shown.length - 1,
};

function stageKey(event) {
  if (event.key === "PageUp") play(playing - 1);
  else if (event.key === "PageDown") play(playing + 1);
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (stage.open) {
    stageKey(event);
    return;
  }
  const isTyping = event.target.matches("input, select");
  if (event.key === "/" && !isTyping) {
    fields.q.focus();
    fields.q.select();
  } else if (event.key === "Escape" && isTyping) {
    event.target.blur();
    focus(current);
  } else if (event.target === fields.q && (event.key === "ArrowDown" || event.key === "Enter")) {
    focus(0);
  } else if (!isTyping && MOVES[event.key] && (shelf.contains(event.target) || event.target === document.body)) {
    focus(shelf.contains(document.activeElement) ? MOVES[event.key](current) : current);
  } else {
    return;
  }
  event.preventDefault();
});

shelf.addEventListener("click", (event) => {
  const link = event.target.closest(".card");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  play(Number(link.dataset.at));
});
shelf.addEventListener("focusin", (event) => {
  const link = event.target.closest(".card");
  if (link) current = Number(link.dataset.at);
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  focus(current);
});

let typing = 0;
fields.q.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(changed, 120);
});
for (const [name, field] of Object.entries(fields)) if (name !== "q") field.addEventListener("change", changed);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => setTimeout(changed));
addEventListener("hashchange", () => {
  if (location.hash === written) return;
  const before = JSON.stringify(Object.values(fields).map((field) => field.value));
  const was = playing >= 0 ? shown[playing][ID] : "";
  readAddress();
  if (wanted === was) wanted = "";
  if (JSON.stringify(Object.values(fields).map((field) => field.value)) !== before || wanted) filter();
});
let drawing = 0;
addEventListener("scroll", () => {
  if (!drawing) drawing = requestAnimationFrame(() => {
    drawing = 0;
    show();
  });
}, { passive: true });
let widthBefore = 0;
new ResizeObserver(() => {
  if (shelf.clientWidth !== widthBefore && told) {
    widthBefore = shelf.clientWidth;
    arrange();
  }
}).observe(shelf);
